//! L2 on disk: restarts, kills, damage, and directories that cannot be had.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::Ordering;
use std::time::Duration;

use http::HeaderMap;
use larder::entry::seal::Seal;
use larder::store::disk::{Disk, OpenError, Settings};
use larder::store::{Store, StoreError};
use tempfile::TempDir;

use crate::benches::{BACKGROUND, Bench, MAX_OBJECT, OnDisk, body, disk_settings};
use crate::entries::{Recipe, of, request};
use crate::support::PATIENCE;

/// Says to this test binary that it is the process to be killed, and where it shall write.
const VICTIM: &str = "LARDER_TEST_DISK_VICTIM";

async fn open(settings: Settings) -> Result<Disk, OpenError> {
    Disk::open(settings, BACKGROUND.handle()).await
}

fn recipes() -> impl Iterator<Item = Recipe> {
    (0..300).map(|number| of(&format!("http://h/{number}")).says(vec![b'x'; 5000]))
}

/// More than what the store bridges in memory, so that most of it is read from the disk.
async fn fill(disk: &Disk) {
    for _ in 0..2 {
        for recipe in recipes() {
            disk.put(&recipe.place(), recipe.entry()).await.unwrap();
        }
        disk.flush(PATIENCE).await;
    }
}

async fn found(disk: &Disk) -> usize {
    let mut found = 0;
    for recipe in recipes() {
        let body = body(disk, &recipe, &HeaderMap::new()).await.unwrap();
        if let Some(body) = body {
            assert_eq!(body.len(), 5000, "never a wrong byte");
            found += 1;
        }
    }
    found
}

#[tokio::test]
async fn entries_variants_and_removals_survive_a_restart() {
    let OnDisk { disk, directory } = OnDisk::start().await;
    fill(&disk).await;
    let url = of("http://h/varied");
    for coding in ["br", "gzip"] {
        let recipe = url.clone().varies("accept-encoding", coding).says(coding);
        disk.put(&recipe.place(), recipe.entry()).await.unwrap();
    }
    let removed = of("http://h/7");
    disk.remove(&removed.place()).await.unwrap();
    disk.close(PATIENCE).await;
    let disk = open(disk_settings(&directory)).await.unwrap();
    assert_eq!(found(&disk).await, 299);
    assert_eq!(body(&disk, &removed, &HeaderMap::new()).await.unwrap(), None);
    for coding in ["br", "gzip"] {
        let found = body(&disk, &url, &request("accept-encoding", coding)).await.unwrap();
        assert_eq!(found.as_deref(), Some(coding));
    }
    disk.close(PATIENCE).await;
}

#[tokio::test]
async fn an_update_under_load_never_leaves_the_old_value() {
    let OnDisk { disk, directory } = OnDisk::start().await;
    for round in 1..=3 {
        for recipe in recipes() {
            let recipe =
                recipe.fetched_at(round).says(vec![b'0' + u8::try_from(round).unwrap(); 5000]);
            disk.put(&recipe.place(), recipe.entry()).await.unwrap();
        }
        disk.flush(PATIENCE).await;
    }
    disk.close(PATIENCE).await;
    let disk = open(disk_settings(&directory)).await.unwrap();
    for recipe in recipes() {
        let body = body(&disk, &recipe, &HeaderMap::new()).await.unwrap();
        assert!(body.is_none_or(|body| body.starts_with('3')), "an old value is back");
    }
    disk.close(PATIENCE).await;
}

/// Writes until it is killed, when it is told so; otherwise it is no test.
#[tokio::test]
async fn a_victim_writes_until_it_is_killed() {
    let Some(directory) = std::env::var_os(VICTIM) else { return };
    let settings = settings(Path::new(&directory));
    let disk = open(settings).await.unwrap();
    fill(&disk).await;
    let recipe = of("http://h/more").says(vec![b'y'; 5000]);
    let mut round = 0;
    loop {
        round += 1;
        let recipe = recipe.clone().fetched_at(round);
        disk.put(&recipe.place(), recipe.entry()).await.unwrap();
        disk.flush(PATIENCE).await;
        if round == 20 {
            // The parent waits for this line.
            eprintln!("written");
        }
    }
}

fn settings(directory: &Path) -> Settings {
    Settings {
        directory: directory.to_owned(),
        capacity: 32 << 20,
        max_object: MAX_OBJECT as u64,
        timeout: PATIENCE,
        write_queue: 1000,
        seal: Seal::default(),
    }
}

#[tokio::test]
async fn a_kill_in_the_midst_of_writing_loses_little_and_spoils_nothing() {
    let directory = TempDir::new().unwrap();
    let mut victim = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "disk::a_victim_writes_until_it_is_killed", "--nocapture"])
        .env(VICTIM, directory.path())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(victim.stderr.take().unwrap()).lines();
    let written = lines.any(|line| line.unwrap().contains("written"));
    let in_use = open(disk_settings(&directory)).await;
    victim.kill().unwrap();
    victim.wait().unwrap();
    assert!(written, "the victim ended by itself");
    assert!(matches!(in_use, Err(OpenError::InUse { .. })), "two processes in one directory");
    let disk = open(disk_settings(&directory)).await.unwrap();
    let found = found(&disk).await;
    assert!(found >= 290, "{found} of 300 survived");
    let more = body(&disk, &of("http://h/more"), &HeaderMap::new()).await.unwrap();
    assert!(more.is_none_or(|more| more == "y".repeat(5000)));
    disk.close(PATIENCE).await;
}

#[tokio::test]
async fn damage_on_the_disk_is_a_miss_and_never_a_wrong_byte() {
    let OnDisk { disk, directory } = OnDisk::start().await;
    fill(&disk).await;
    disk.close(PATIENCE).await;
    let seed: u64 = rand::random();
    eprintln!("seed {seed}");
    let mut random = blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof();
    for file in fs::read_dir(directory.path()).unwrap() {
        let path = file.unwrap().path();
        let mut bytes = fs::read(&path).unwrap();
        for _ in 0..40 {
            let mut spot = [0; 8];
            random.fill(&mut spot);
            if let Some(at) = usize::from_le_bytes(spot).checked_rem(bytes.len()) {
                bytes[at] ^= 0x55;
            }
        }
        fs::write(&path, bytes).unwrap();
    }
    let disk = open(disk_settings(&directory)).await.unwrap();
    found(&disk).await;
    fill(&disk).await;
    assert!(found(&disk).await > 250, "it goes on");
    disk.close(PATIENCE).await;
}

#[tokio::test]
async fn the_disk_is_never_used_beyond_its_capacity() {
    let OnDisk { disk, directory } = OnDisk::start().await;
    for number in 0..8000 {
        let recipe = of(&format!("http://h/{number}")).says(vec![b'x'; 8000]);
        if let Err(StoreError::QueueFull) = disk.put(&recipe.place(), recipe.entry()).await {
            disk.flush(PATIENCE).await;
        }
    }
    disk.close(PATIENCE).await;
    let files = fs::read_dir(directory.path()).unwrap();
    let bytes: u64 = files.map(|file| file.unwrap().metadata().unwrap().len()).sum();
    assert!(bytes <= 33 << 20, "{bytes} bytes");
}

#[tokio::test]
async fn a_directory_that_cannot_be_used_is_one_clear_sentence() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, "").unwrap();
    for path in [file.clone(), file.join("below")] {
        let error = open(settings(&path)).await.err().unwrap().to_string();
        assert!(error.starts_with("the cache directory ") && !error.contains('\n'), "{error}");
    }
    let small = Settings { capacity: 1000, ..settings(directory.path()) };
    let error = open(small).await.err().unwrap().to_string();
    assert!(error.contains("at least"), "{error}");
}

#[tokio::test]
async fn one_process_does_not_open_a_directory_twice_until_it_has_closed_it() {
    let OnDisk { disk, directory } = OnDisk::start().await;
    let again = open(disk_settings(&directory)).await;
    assert!(matches!(again, Err(OpenError::InUse { .. })));
    disk.close(PATIENCE).await;
    assert!(open(disk_settings(&directory)).await.is_ok());
    let late = disk.put(&of("http://h/a").place(), of("http://h/a").entry()).await;
    assert!(late.is_err(), "a closed store takes nothing");
}

#[tokio::test]
async fn an_object_larger_than_a_block_is_refused_rather_than_lost() {
    let directory = TempDir::new().unwrap();
    let small = Settings { capacity: 1 << 20, max_object: 10 << 20, ..settings(directory.path()) };
    let disk = open(small).await.unwrap();
    let largest = usize::try_from(disk.max_object()).unwrap();
    let larger = of("http://h/a").says(vec![b'x'; largest + 1]);
    let refused = disk.put(&larger.place(), larger.entry()).await;
    assert!(matches!(refused, Err(StoreError::TooLarge)));
    let fits = of("http://h/b").says(vec![b'x'; largest / 2]);
    disk.put(&fits.place(), fits.entry()).await.unwrap();
    disk.flush(Duration::from_secs(10)).await;
    assert!(body(&disk, &fits, &HeaderMap::new()).await.unwrap().is_some());
    disk.close(PATIENCE).await;
}

#[tokio::test]
async fn a_full_queue_of_the_disk_drops_and_counts_and_repeated_writes_take_one_place() {
    let directory = TempDir::new().unwrap();
    let disk = open(Settings { write_queue: 3, ..settings(directory.path()) }).await.unwrap();
    let mut full = 0;
    for recipe in recipes().chain(recipes()) {
        match disk.put(&recipe.place(), recipe.entry()).await {
            Ok(()) => {}
            Err(StoreError::QueueFull) => full += 1,
            Err(error) => panic!("{error}"),
        }
        assert!(disk.queued() <= 3);
    }
    assert!(full > 0, "the writer is never that fast");
    assert_eq!(disk.counts().queue_full.load(Ordering::Relaxed), full);
    disk.flush(PATIENCE).await;
    let (url, before) = (of("http://h/a"), disk.counts().queue_full.load(Ordering::Relaxed));
    for round in 0..1000 {
        let recipe = url.clone().fetched_at(round);
        disk.put(&recipe.place(), recipe.says(round.to_string()).entry()).await.unwrap();
    }
    disk.flush(PATIENCE).await;
    let found = body(&disk, &url, &HeaderMap::new()).await.unwrap();
    assert_eq!(found.as_deref(), Some("999"));
    assert_eq!(disk.counts().queue_full.load(Ordering::Relaxed), before);
    disk.close(PATIENCE).await;
}

#[tokio::test]
async fn what_is_queued_when_the_disk_closes_is_written_first() {
    let OnDisk { disk, directory } = OnDisk::start().await;
    for recipe in recipes() {
        disk.put(&recipe.place(), recipe.entry()).await.unwrap();
    }
    disk.close(PATIENCE).await;
    assert_eq!(disk.queued(), 0);
    let disk = open(disk_settings(&directory)).await.unwrap();
    assert_eq!(found(&disk).await, 300);
    disk.close(PATIENCE).await;
}

#[tokio::test]
async fn a_directory_that_is_made_is_for_nobody_else() {
    use std::os::unix::fs::PermissionsExt;

    let parent = TempDir::new().unwrap();
    let path = parent.path().join("made");
    let disk = open(settings(&path)).await.unwrap();
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700, "what clients were sent lies there");
    disk.close(PATIENCE).await;
}
