//! Processes that follow each other on one socket, as a service manager has them do: no connection is refused or lost.

use std::fs::File;
use std::net::TcpListener;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tempfile::TempDir;
use tokio::net::UnixDatagram;

use crate::support::answer::fresh;
use crate::support::client::get;
use crate::support::larder::{Larder, bare, hand_over};
use crate::support::origin::Origin;
use crate::support::yaml::all_to;
use crate::support::{beside, until, within};

fn on(socket: &TcpListener, origin: &Origin) -> String {
    let address = socket.local_addr().unwrap();
    all_to(origin).top(&format!("listen: {address}")).top("workers: 2").text()
}

#[tokio::test]
async fn successors_on_one_socket_take_over_without_a_gap() {
    let origin = Origin::start().await;
    origin.on("/x", fresh("hello"));
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let (yaml, url) = (on(&socket, &origin), format!("http://{}/x", socket.local_addr().unwrap()));
    let mut larder = Larder::start_managed(&yaml, &[&socket], None).await;
    let (answered, ended) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let clients: Vec<_> = (0..8)
        .map(|_| {
            let (url, answered, ended) = (url.clone(), answered.clone(), ended.clone());
            beside(async move {
                while !ended.load(Ordering::Relaxed) {
                    // A connection of its own for each.
                    get(url.clone()).await.has_status(200).says("hello");
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    let more = async || {
        let so_far = answered.load(Ordering::Relaxed);
        let enough = async || (answered.load(Ordering::Relaxed) > so_far + 50).then_some(());
        until("clients go on being answered", enough).await;
    };
    for _ in 0..3 {
        more().await;
        let successor = Larder::start_managed(&yaml, &[&socket], None).await;
        more().await;
        assert!(larder.stop().await.success());
        larder = successor;
    }
    // Nobody serves for a while: clients wait in the queue.
    assert!(larder.stop().await.success());
    let _larder = Larder::start_managed(&yaml, &[&socket], None).await;
    more().await;
    ended.store(true, Ordering::Relaxed);
    for client in clients {
        within("the last answer", client).await.unwrap();
    }
}

#[tokio::test]
async fn a_socket_for_which_no_listener_is_configured_is_told() {
    let origin = Origin::start().await;
    let [ours, other] = [0; 2].map(|_| TcpListener::bind("127.0.0.1:0").unwrap());
    let larder = Larder::start_managed(&on(&ours, &origin), &[&other, &ours], None).await;
    let address = other.local_addr().unwrap().to_string();
    let told =
        |line: &str| (line.contains("was handed over") && line.contains(&address)).then_some(());
    larder.errors().find("the log says so", told).await.unwrap();
    get(larder.url("/x")).await.has_status(404);
}

#[tokio::test]
async fn what_is_no_socket_is_told_at_the_start() {
    let directory = TempDir::new().unwrap();
    let mut command = bare(directory.path());
    command.args(["serve", "--origin", "http://127.0.0.1:1", "--l2", "none"]);
    hand_over(&mut command, [File::open("/dev/null").unwrap().into()].into_iter());
    let child = command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let ended = tokio::task::spawn_blocking(move || child.wait_with_output());
    let output = within("the refusal", ended).await.unwrap().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{errors}");
    assert!(errors.contains("LISTEN_FDS hands over what is no TCP socket"), "{errors}");
}

#[tokio::test]
async fn a_service_manager_is_told_when_it_serves_and_when_it_ends() {
    let origin = Origin::start().await;
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut larder = Larder::start_managed(&on(&socket, &origin), &[&socket], Some(&path)).await;
    let said = async || {
        let mut text = [0; 100];
        let length = within("a word to the manager", manager.recv(&mut text)).await.unwrap();
        String::from_utf8_lossy(&text[..length]).trim().to_owned()
    };
    assert_eq!(said().await, "READY=1");
    larder.ask_to_stop();
    assert_eq!(said().await, "STOPPING=1");
    assert!(larder.ended().await.success());
}
