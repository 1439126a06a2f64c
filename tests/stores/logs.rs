//! What every purge log promises, and what the fleet's does when Redis loses or withholds it.

use std::collections::HashSet;
use std::time::Duration;

use larder::entry::facts::{Epoch, Mark, Tag};
use larder::purge::log::{Instance, Page, PurgeLog};
use larder::purge::{Cause, Effect, Purge, Record, Scope};
use larder::store::local_log::{LocalLog, Retention};
use larder::store::redis::log::StreamLog;
use larder::store::redis::{Redis, Settings};
use larder::time::Timestamp;
use tempfile::TempDir;
use tokio::time::Instant;

use crate::benches::{cluster_settings, redis, redis_settings, secure_settings, sentinel_settings};
use crate::support::redis::RedisServer;
use crate::support::redis_groups::SecureRedis;
use crate::support::{PATIENCE, beside, until, within};

const LEASE: Duration = Duration::from_mins(1);
const AT_ONCE: Duration = Duration::ZERO;

fn record(tag: &str) -> Record {
    let purge = Purge { scope: Scope::Tag(Tag::new(tag)), effect: Effect::MarkStale };
    let cause = Cause {
        by: "test".into(),
        reason: Some("ä".into()),
        event: Some("user.updated".into()),
        from: Some("::1".into()),
        urls: vec!["http://h/é".into()],
        rewarm: Some(7),
    };
    Record { purges: vec![purge], cause, at: Timestamp::from_millis(5) }
}

fn keep(most: u64) -> Retention {
    Retention { most: usize::try_from(most).unwrap(), longest: Duration::from_hours(1) }
}

/// Those instances that are some: not whoever may still follow a log before this one.
async fn instances(log: &impl PurgeLog) -> Vec<Instance> {
    let mut instances = log.instances().await.unwrap();
    instances.retain(|instance| !instance.id.starts_with("before-"));
    instances.sort_by(|one, other| one.id.cmp(&other.id));
    instances
}

/// A log and what it needs.
trait Bench: Sized {
    type Log: PurgeLog;

    async fn start(retention: u64) -> Self;

    fn log(&self) -> Self::Log;
}

struct File(LocalLog, TempDir);

impl Bench for File {
    type Log = LocalLog;

    async fn start(retention: u64) -> Self {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("purges");
        Self(LocalLog::open(&path, "a", keep(retention)).unwrap(), directory)
    }

    fn log(&self) -> LocalLog {
        self.0.clone()
    }
}

struct InMemory(LocalLog);

impl Bench for InMemory {
    type Log = LocalLog;

    async fn start(retention: u64) -> Self {
        Self(LocalLog::in_memory("a", keep(retention)))
    }

    fn log(&self) -> LocalLog {
        self.0.clone()
    }
}

struct Stream {
    server: RedisServer,
    redis: Redis,
    retention: u64,
}

impl Stream {
    fn settings(&self, instance: &str) -> Settings {
        Settings { retention: self.retention, ..redis_settings(&self.server, instance) }
    }

    /// The same log as another instance sees it.
    fn as_seen_by(&self, instance: &str) -> StreamLog {
        redis(&self.settings(instance)).log()
    }
}

impl Bench for Stream {
    type Log = StreamLog;

    async fn start(retention: u64) -> Self {
        let server = RedisServer::start().await;
        let redis = redis(&Settings { retention, ..redis_settings(&server, "a") });
        Self { server, redis, retention }
    }

    fn log(&self) -> StreamLog {
        self.redis.log()
    }
}

/// In servers that the tests of this binary share.
struct InCluster(Redis);

impl Bench for InCluster {
    type Log = StreamLog;

    async fn start(retention: u64) -> Self {
        Self(redis(&Settings { retention, ..cluster_settings().await }))
    }

    fn log(&self) -> StreamLog {
        self.0.log()
    }
}

struct BehindSentinel(Redis);

impl Bench for BehindSentinel {
    type Log = StreamLog;

    async fn start(retention: u64) -> Self {
        Self(redis(&Settings { retention, ..sentinel_settings().await }))
    }

    fn log(&self) -> StreamLog {
        self.0.log()
    }
}

/// With the rights that the manual gives, and no more.
struct Secured(Redis, #[expect(dead_code, reason = "it lives as long as the log")] SecureRedis);

impl Bench for Secured {
    type Log = StreamLog;

    async fn start(retention: u64) -> Self {
        let server = SecureRedis::start().await;
        Self(redis(&Settings { retention, ..secure_settings(&server) }), server)
    }

    fn log(&self) -> StreamLog {
        self.0.log()
    }
}

macro_rules! suite {
    ($($log:ident: $bench:ty),+; $cases:tt) => { $(suite!(@log $log, $bench, $cases);)+ };
    (@log $log:ident, $bench:ty, [$($case:ident: $retention:literal),+ $(,)?]) => {
        mod $log {
            use super::Bench;

            $(#[tokio::test]
            async fn $case() {
                super::$case(<$bench>::start($retention).await).await;
            })+
        }
    };
}

suite! {
    file: super::File, memory: super::InMemory, stream: super::Stream, cluster: super::InCluster,
    sentinel: super::BehindSentinel, secured: super::Secured;
    [
        records_come_back_in_the_order_of_their_marks: 10_000,
        the_first_page_tells_where_the_log_begins: 10_000,
        a_read_waits_for_a_record_and_no_longer_than_its_patience: 10_000,
        a_read_goes_on_after_its_mark: 10_000,
        appends_at_once_get_marks_of_their_own: 10_000,
        an_append_tells_what_it_comes_next_to: 10_000,
        what_is_older_than_its_retention_moves_its_beginning: 10,
        a_lease_names_a_live_instance_until_it_ends: 10_000,
    ]
}

async fn records_come_back_in_the_order_of_their_marks(bench: impl Bench) {
    let log = bench.log();
    let mut appended = Vec::new();
    for number in 0..50 {
        let record = record(&number.to_string());
        appended.push((log.append(&record).await.unwrap().mark, record));
    }
    assert!(appended.is_sorted_by(|(one, _), (other, _)| one < other));
    let page = log.read(Mark::ZERO, AT_ONCE).await.unwrap();
    assert_eq!(page.records, appended);
    assert_eq!(page.end, appended[49].0);
}

async fn the_first_page_tells_where_the_log_begins(bench: impl Bench) {
    let log = bench.log();
    let page = within("an empty log is read", log.read(Mark::ZERO, PATIENCE * 2)).await.unwrap();
    assert!(page.records.is_empty());
    assert!(page.beginning.epoch != Epoch::NONE && page.end >= page.beginning);
    let mark = log.append(&record("a")).await.unwrap().mark;
    assert!(mark > page.end);
    let page = log.read(page.end, AT_ONCE).await.unwrap();
    assert_eq!(page.records.len(), 1);
}

async fn a_read_waits_for_a_record_and_no_longer_than_its_patience(bench: impl Bench) {
    let log = bench.log();
    let end = log.read(Mark::ZERO, AT_ONCE).await.unwrap().end;
    let patience = Duration::from_millis(100);
    let asked = Instant::now();
    let page = within("patience ends", log.read(end, patience)).await.unwrap();
    assert!(page.records.is_empty() && asked.elapsed() >= patience, "{page:?}");
    let reader = beside({
        let log = log.clone();
        async move { log.read(end, PATIENCE * 2).await }
    });
    // Whether the read waits already or not: it must see the record.
    tokio::task::yield_now().await;
    let mark = log.append(&record("a")).await.unwrap().mark;
    let page = within("the record wakes the reader", reader).await.unwrap().unwrap();
    assert_eq!(page.records, [(mark, record("a"))]);
}

async fn a_read_goes_on_after_its_mark(bench: impl Bench) {
    let log = bench.log();
    let mut marks = Vec::new();
    for tag in ["a", "b", "c"] {
        marks.push(log.append(&record(tag)).await.unwrap().mark);
    }
    let page = log.read(marks[1], AT_ONCE).await.unwrap();
    assert_eq!(page.records, [(marks[2], record("c"))]);
    assert!(log.read(marks[2], AT_ONCE).await.unwrap().records.is_empty());
}

async fn an_append_tells_what_it_comes_next_to(bench: impl Bench) {
    let log = bench.log();
    let end = log.read(Mark::ZERO, AT_ONCE).await.unwrap().end;
    let first = log.append(&record("a")).await.unwrap();
    let second = log.append(&record("b")).await.unwrap();
    assert_eq!((first.after, second.after), (end, first.mark));
    assert!(second.mark > first.mark);
}

async fn appends_at_once_get_marks_of_their_own(bench: impl Bench) {
    let appends: Vec<_> = (0..50)
        .map(|number| {
            let log = bench.log();
            beside(async move { log.append(&record(&number.to_string())).await.unwrap().mark })
        })
        .collect();
    let mut marks = Vec::new();
    for append in appends {
        marks.push(append.await.unwrap());
    }
    let different: HashSet<_> = marks.iter().collect();
    assert_eq!(different.len(), 50);
    assert_eq!(bench.log().read(Mark::ZERO, AT_ONCE).await.unwrap().records.len(), 50);
}

async fn what_is_older_than_its_retention_moves_its_beginning(bench: impl Bench) {
    let log = bench.log();
    let begun = log.read(Mark::ZERO, AT_ONCE).await.unwrap().beginning;
    let mut marks = Vec::new();
    // A stream is trimmed in whole nodes of a hundred.
    for number in 0..500 {
        marks.push(log.append(&record(&number.to_string())).await.unwrap().mark);
    }
    let page = log.read(begun, AT_ONCE).await.unwrap();
    assert!((10..500).contains(&page.records.len()), "{}", page.records.len());
    let gone = 500 - page.records.len();
    assert!(page.beginning >= marks[gone - 1], "what is gone is not vouched for");
    assert!(page.beginning < marks[gone], "what is there is vouched for");
}

async fn a_lease_names_a_live_instance_until_it_ends(bench: impl Bench) {
    let log = bench.log();
    assert_eq!(instances(&log).await, []);
    let applied = Mark::new(17, 4).of(Epoch::new(7));
    log.acknowledge(applied, LEASE).await.unwrap();
    let live = instances(&log).await;
    assert_eq!((live.len(), live[0].id.as_str(), live[0].applied), (1, "a", applied));
    assert!(live[0].until > Timestamp::now());
    log.acknowledge(applied, Duration::ZERO).await.unwrap();
    assert_eq!(instances(&log).await, [], "it has left");
    log.acknowledge(applied, Duration::from_millis(30)).await.unwrap();
    until("its lease is over", async || instances(&log).await.is_empty().then_some(())).await;
}

#[tokio::test]
async fn a_file_keeps_what_was_appended_before_the_process_ended() {
    let File(log, directory) = File::start(100).await;
    let mark = log.append(&record("a")).await.unwrap().mark;
    let path = directory.path().join("purges");
    let reopened = LocalLog::open(&path, "a", keep(100)).unwrap();
    assert_eq!(reopened.read(Mark::ZERO, AT_ONCE).await.unwrap().records, [(mark, record("a"))]);
}

#[tokio::test]
async fn every_instance_sees_every_purge_and_every_instance() {
    let bench = Stream::start(1000).await;
    let (one, other) = (bench.log(), bench.as_seen_by("b"));
    let end = other.read(Mark::ZERO, AT_ONCE).await.unwrap().end;
    let mark = one.append(&record("a")).await.unwrap().mark;
    let page = within("the purge arrives", other.read(end, PATIENCE)).await.unwrap();
    assert_eq!(page.records, [(mark, record("a"))]);
    one.acknowledge(mark, LEASE).await.unwrap();
    other.acknowledge(Mark::ZERO, LEASE).await.unwrap();
    let live = instances(&one).await;
    let told: Vec<_> = live.iter().map(|one| (one.id.as_str(), one.applied)).collect();
    assert_eq!(told, [("a", mark), ("b", Mark::ZERO)]);
}

#[tokio::test]
async fn a_long_log_is_read_whole() {
    let bench = Stream::start(10_000).await;
    let log = bench.log();
    for _ in 0..2500 {
        log.append(&record("a")).await.unwrap();
    }
    let page = bench.as_seen_by("b").read(Mark::ZERO, AT_ONCE).await.unwrap();
    assert_eq!(page.records.len(), 2500);
}

/// Nothing that was dated before is taken for a part of the log.
fn is_new(page: &Page, old: Mark) -> bool {
    page.beginning.epoch != old.epoch && page.end >= page.beginning
}

#[tokio::test]
async fn a_log_that_lost_its_end_begins_anew_though_others_were_given_later_marks_since() {
    let bench = Stream::start(1000).await;
    let (one, other) = (bench.log(), bench.as_seen_by("b"));
    let kept = one.append(&record("kept")).await.unwrap().mark;
    other.read(Mark::ZERO, AT_ONCE).await.unwrap();
    let lost = one.append(&record("lost")).await.unwrap().mark;
    let id = lost.of(Epoch::NONE).to_string();
    bench.server.run(&["XDEL", "larder:{shop}:purges", &id]).await;
    // Who has not heard of it cannot miss it.
    let later = other.append(&record("later")).await.unwrap().mark;
    assert!(later > lost && lost > kept);
    let page = one.read(lost, AT_ONCE).await.unwrap();
    assert!(is_new(&page, lost), "{page:?}");
    let page = other.read(later, AT_ONCE).await.unwrap();
    assert!(is_new(&page, lost), "{page:?}");
}

#[tokio::test]
async fn after_a_log_began_the_followers_of_the_one_before_are_waited_for() {
    let bench = Stream::start(1000).await;
    let log = bench.log();
    let mark = log.append(&record("a")).await.unwrap().mark;
    let live = log.instances().await.unwrap();
    assert_eq!(live.len(), 1, "{live:?}");
    assert!(live[0].id.starts_with("before-") && live[0].applied != mark, "{live:?}");
    let left = live[0].until.since(Timestamp::now());
    assert!(left > Duration::from_secs(5) && left <= Duration::from_secs(11), "{left:?}");
}

#[tokio::test]
async fn what_is_older_than_it_is_kept_for_is_forgotten_and_no_younger_entry_suffers() {
    let server = RedisServer::start().await;
    let keep_for = Duration::from_millis(200);
    let log = redis(&Settings { keep_for, ..redis_settings(&server, "a") }).log();
    let begun = log.read(Mark::ZERO, AT_ONCE).await.unwrap().beginning;
    let old = log.append(&record("old")).await.unwrap().mark;
    let page = until("the old one is forgotten", async || {
        log.append(&record("young")).await.unwrap();
        let page = log.read(begun, AT_ONCE).await.unwrap();
        page.records.iter().all(|(mark, _)| *mark != old).then_some(page)
    })
    .await;
    assert!(page.beginning >= old && page.beginning < page.records[0].0, "{page:?}");
}

#[tokio::test]
async fn a_log_that_somebody_else_trimmed_vouches_for_nothing_before_its_first_record() {
    let bench = Stream::start(1000).await;
    let log = bench.log();
    let begun = log.read(Mark::ZERO, AT_ONCE).await.unwrap().beginning;
    let gone = log.append(&record("gone")).await.unwrap().mark;
    let kept = log.append(&record("kept")).await.unwrap().mark;
    bench.server.run(&["XTRIM", "larder:{shop}:purges", "MAXLEN", "1"]).await;
    let page = log.read(begun, AT_ONCE).await.unwrap();
    assert_eq!(page.records, [(kept, record("kept"))]);
    assert!(page.beginning >= gone && page.beginning < kept, "{page:?}");
}

#[tokio::test]
async fn a_log_that_is_lost_begins_anew_in_an_epoch_of_its_own() {
    for loss in [&["FLUSHALL"][..], &["DEL", "larder:{shop}:purges"], &["DEL", "larder:{shop}:log"]]
    {
        let bench = Stream::start(1000).await;
        let log = bench.log();
        let mark = log.append(&record("a")).await.unwrap().mark;
        let page = log.read(Mark::ZERO, AT_ONCE).await.unwrap();
        assert!(page.beginning < mark);
        let reader = beside({
            let log = log.clone();
            async move { log.read(mark, PATIENCE * 2).await }
        });
        bench.server.run(loss).await;
        let page = within("the reader notices the loss", reader).await.unwrap().unwrap();
        assert!(is_new(&page, mark) && page.records.is_empty(), "{loss:?}: {page:?}");
        let next = log.append(&record("b")).await.unwrap().mark;
        assert!(next > page.beginning, "{next} after {page:?}");
        let page = log.read(page.end, AT_ONCE).await.unwrap();
        assert_eq!(page.records, [(next, record("b"))]);
    }
}

#[tokio::test]
async fn a_server_that_comes_back_with_older_data_does_not_hide_that_purges_are_missing() {
    let mut bench = Stream::start(1000).await;
    let log = bench.log();
    let kept = log.append(&record("kept")).await.unwrap().mark;
    bench.server.run(&["SAVE"]).await;
    let lost = log.append(&record("lost")).await.unwrap().mark;
    bench.server.restart().await;
    assert_eq!(bench.server.keys("larder:{shop}:purges").await.len(), 1, "the old data is back");
    // An instance that knows nothing of the lost record must not vouch for what it purged.
    let page = until("the log is read again", async || {
        bench.as_seen_by("b").read(Mark::ZERO, AT_ONCE).await.ok()
    })
    .await;
    assert!(is_new(&page, kept), "{page:?}");
    let page =
        until("the one that knew more reads", async || log.read(lost, AT_ONCE).await.ok()).await;
    assert!(is_new(&page, lost), "{page:?}");
}

#[tokio::test]
async fn a_hung_server_is_noticed_by_reader_and_writer_and_taken_up_again() {
    let bench = Stream::start(1000).await;
    let log = bench.log();
    let mark = log.append(&record("a")).await.unwrap().mark;
    log.read(Mark::ZERO, AT_ONCE).await.unwrap();
    let reader = beside({
        let log = log.clone();
        async move { log.read(mark, PATIENCE * 10).await }
    });
    bench.server.pause();
    assert!(within("the reader gives up", reader).await.unwrap().is_err());
    assert!(within("the writer gives up", log.append(&record("b"))).await.is_err());
    assert!(within("the registry gives up", log.instances()).await.is_err());
    bench.server.resume();
    let next =
        until("purges are taken again", async || log.append(&record("c")).await.ok()).await.mark;
    let page = until("the log is read again", async || log.read(mark, AT_ONCE).await.ok()).await;
    assert!(page.records.contains(&(next, record("c"))));
    assert!(page.beginning < mark, "nothing was lost");
}

#[tokio::test]
async fn a_read_that_is_dropped_harms_no_later_one() {
    let bench = Stream::start(1000).await;
    let log = bench.log();
    let end = log.read(Mark::ZERO, AT_ONCE).await.unwrap().end;
    for _ in 0..5 {
        let wait = Duration::from_millis(20);
        assert!(tokio::time::timeout(wait, log.read(end, PATIENCE)).await.is_err());
    }
    let mark = log.append(&record("a")).await.unwrap().mark;
    let page = within("a record is read", log.read(end, PATIENCE)).await.unwrap();
    assert_eq!(page.records, [(mark, record("a"))]);
}

#[tokio::test]
async fn a_record_of_a_later_version_purges_everything() {
    let bench = Stream::start(1000).await;
    let log = bench.log();
    let end = log.read(Mark::ZERO, AT_ONCE).await.unwrap().end;
    bench.server.run(&["XADD", "larder:{shop}:purges", "*", "record", "{\"purges\":[7]}"]).await;
    let page = log.read(end, PATIENCE).await.unwrap();
    let everything = Purge { scope: Scope::Everything, effect: Effect::Remove };
    assert_eq!(page.records[0].1.purges, [everything]);
}

#[tokio::test]
async fn every_key_of_the_log_has_an_end() {
    let bench = Stream::start(1000).await;
    bench.log().append(&record("a")).await.unwrap();
    bench.log().acknowledge(Mark::ZERO, LEASE).await.unwrap();
    let mut keys = bench.server.keys("*").await;
    keys.sort();
    assert_eq!(keys, ["larder:{shop}:instances", "larder:{shop}:log", "larder:{shop}:purges"]);
    for key in keys {
        assert!(bench.server.seconds_left(&key).await > 3600, "{key}");
    }
}
