//! Plays the rows of threats, some at once, each against a Larder with its configuration and one origin for all.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, StreamExt};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio::time::timeout;

use crate::support::PATIENCE;
use crate::support::larder::Larder;

use super::http2;
use super::origin::Origin;
use super::row::{After, Answers, MARK, Row, Step, Talk, Threat};
use super::wire::{Incoming, Message, find};

/// How many rows are played at one moment.
const AT_ONCE: usize = 8;
/// Plays only rows whose names contain this.
const ONLY: &str = "LARDER_ROW";

/// Plays every row, and fails with all differences.
pub(crate) async fn play(threats: &[Threat]) {
    let stage = Stage { origin: Origin::start().await, larders: Mutex::default() };
    let only = std::env::var(ONLY).unwrap_or_default();
    let rows = threats.iter().flat_map(|threat| threat.rows.iter().map(move |row| (threat, row)));
    let rows = rows.filter(|(_, row)| row.name.contains(&only)).enumerate();
    let stage = &stage;
    let played: Vec<Option<String>> = stream::iter(rows)
        .map(|(number, (threat, row))| async move {
            let failures = stage.row(number, row).await;
            (!failures.is_empty())
                .then(|| format!("{}: {}\n    {}", threat.name, row.name, failures.join("\n    ")))
        })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    let count = played.len();
    let mut failed: Vec<String> = played.into_iter().flatten().collect();
    let strays = stage.origin.strays();
    failed.extend(strays.iter().map(|stray| format!("a request of no row: {:?}", stray.head)));
    assert!(failed.is_empty(), "{} of {count} rows failed\n{}", failed.len(), failed.join("\n"));
}

struct Stage {
    origin: Origin,
    /// By what stands in the file.
    larders: Mutex<HashMap<Option<String>, Arc<Larder>>>,
}

impl Stage {
    async fn larder(&self, configuration: Option<&String>) -> Arc<Larder> {
        let mut larders = self.larders.lock().await;
        if let Some(larder) = larders.get(&configuration.cloned()) {
            return larder.clone();
        }
        let url = self.origin.url();
        let larder = match configuration {
            None => Larder::serve(&["--origin", url, "--l2", "none"]).await,
            Some(yaml) => {
                let origins = format!(
                    "origins:\n  api: {{ endpoints: [ \"{url}\" ], timeouts: {{ first_byte: 20s }} }}"
                );
                Larder::start(&format!("{origins}\n{yaml}")).await
            }
        };
        let larder = Arc::new(larder);
        larders.insert(configuration.cloned(), larder.clone());
        larder
    }

    async fn row(&self, number: usize, row: &Row) -> Vec<String> {
        let own = Own(format!("{number:03}"));
        let name = format!("r{}", own.0);
        self.origin.play(&name, row.script);
        let larder = self.larder(row.configuration.as_ref()).await;
        let scene = Scene { own, authority: larder.authority().to_owned() };
        let (mut failures, mut held) = (Vec::new(), Vec::new());
        for (number, step) in row.steps.iter().enumerate() {
            let played = match step {
                Step::Talk(talk) => timeout(PATIENCE, scene.talk(talk)).await,
                Step::Hold(connections, bytes) => {
                    let opened = timeout(PATIENCE, scene.hold(*connections, bytes)).await;
                    opened.map(|opened| opened.map(|opened| held.extend(opened)))
                }
                Step::Frames(frames) => {
                    let bytes = scene.own.bytes(&frames.bytes);
                    let played = http2::exchange(&scene.authority, &bytes, &frames.expected);
                    timeout(PATIENCE, played).await
                }
            };
            let late = |_| Err(format!("is not over after {PATIENCE:?}"));
            if let Err(why) = played.unwrap_or_else(late) {
                failures.push(format!("step {}: {why}", number + 1));
            }
        }
        match timeout(PATIENCE, scene.alive()).await {
            Ok(Ok(())) => {}
            Ok(Err(why)) => failures.push(format!("afterwards: {why}")),
            Err(_) => failures.push("afterwards nobody is served".to_owned()),
        }
        drop(held);
        let seen = self.settled(&name, row).await;
        failures.extend(seen_as_wanted(row, &scene, &seen));
        failures
    }

    /// What the origin saw, once it has seen as much as it should: an abandoned upload may come late.
    async fn settled(&self, name: &str, row: &Row) -> Vec<Message> {
        let wanted = row.reaches.as_ref().map_or(0, Vec::len);
        for _ in 0..50 {
            let seen = self.origin.seen(name);
            if seen.iter().filter(|seen| seen.whole).count() >= wanted {
                return seen;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.origin.seen(name)
    }
}

/// A row's number, in the place of the mark.
struct Own(String);

impl Own {
    fn text(&self, text: &str) -> String {
        text.replace(MARK, &self.0)
    }

    fn bytes(&self, bytes: &[u8]) -> Vec<u8> {
        let mut own = bytes.to_vec();
        let mut from = 0;
        while let Some(at) = find(&own[from..], MARK.as_bytes()) {
            from += at;
            own[from..from + MARK.len()].copy_from_slice(self.0.as_bytes());
        }
        own
    }
}

struct Scene {
    own: Own,
    authority: String,
}

impl Scene {
    async fn connect(&self) -> Result<TcpStream, String> {
        TcpStream::connect(&self.authority).await.map_err(|error| format!("no connection: {error}"))
    }

    async fn hold(&self, connections: usize, bytes: &[u8]) -> Result<Vec<TcpStream>, String> {
        let mut opened = Vec::new();
        for _ in 0..connections {
            let mut socket = self.connect().await?;
            let sent = socket.write_all(&self.own.bytes(bytes)).await;
            sent.map_err(|error| format!("nothing can be sent: {error}"))?;
            opened.push(socket);
        }
        Ok(opened)
    }

    async fn talk(&self, talk: &Talk) -> Result<(), String> {
        let mut socket = self.connect().await?;
        let bytes = self.own.bytes(&talk.bytes);
        // The other side may refuse, and close, before it has read all of it.
        let _refused = socket.write_all(&bytes).await;
        let method = if bytes.starts_with(b"HEAD ") { "HEAD" } else { "GET" };
        let mut incoming = Incoming::default();
        if !talk.continued.is_empty() {
            incoming.interim(&mut socket).await.ok_or("there was no word to go on")?;
            let _refused = socket.write_all(&self.own.bytes(&talk.continued)).await;
        }
        let mut last = Message::default();
        match &talk.answers {
            Answers::Exactly(statuses) => {
                for (number, wanted) in statuses.iter().enumerate() {
                    let answer = incoming.response(&mut socket, method).await;
                    let Some(answer) = answer else {
                        return Err(format!(
                            "closed in the place of answer {}, {wanted}",
                            number + 1
                        ));
                    };
                    if answer.status() != *wanted {
                        return Err(format!("{:?} instead of {wanted}", answer.text()));
                    }
                    last = answer;
                }
            }
            Answers::AnyOf(statuses) => {
                if let Some(answer) = incoming.response(&mut socket, method).await {
                    if !statuses.contains(&answer.status()) {
                        return Err(format!("{:?} instead of {statuses:?}", answer.text()));
                    }
                    last = answer;
                }
            }
        }
        self.says(talk, &last)?;
        match talk.after {
            After::Closes => {
                let rest = incoming.rest(&mut socket).await;
                if rest.is_empty() {
                    return Ok(());
                }
                Err(format!("{:?} after the last answer", String::from_utf8_lossy(&rest)))
            }
            After::Lives => self.alive_on(socket, incoming).await,
        }
    }

    fn says(&self, talk: &Talk, last: &Message) -> Result<(), String> {
        let text = last.text().to_ascii_lowercase();
        let there = |wanted: &str| text.contains(&self.own.text(wanted).to_ascii_lowercase());
        if let Some(missing) = talk.says.iter().find(|wanted| !there(wanted)) {
            return Err(format!("{missing:?} is not in {text:?}"));
        }
        match talk.lacks.iter().find(|unwanted| there(unwanted)) {
            Some(unwanted) => Err(format!("{unwanted:?} is in {text:?}")),
            None => Ok(()),
        }
    }

    /// Somebody else is served as if nothing had been.
    async fn alive(&self) -> Result<(), String> {
        self.alive_on(self.connect().await?, Incoming::default()).await
    }

    async fn alive_on(&self, mut socket: TcpStream, mut incoming: Incoming) -> Result<(), String> {
        let request = "GET /alive HTTP/1.1\r\nHost: r@@@.example\r\nConnection: close\r\n\r\n";
        let sent = socket.write_all(self.own.text(request).as_bytes()).await;
        sent.map_err(|error| format!("the next request cannot be sent: {error}"))?;
        let answer = incoming.response(&mut socket, "GET").await;
        let answer = answer.ok_or("the next request is not answered")?;
        if answer.status() != 200 || find(&answer.body, b"GET /alive ").is_none() {
            return Err(format!("the next request gets {:?}", answer.text()));
        }
        Ok(())
    }
}

fn seen_as_wanted(row: &Row, scene: &Scene, seen: &[Message]) -> Vec<String> {
    let mut failures = Vec::new();
    let line = |seen: &Message| format!("{} {}", seen.method(), seen.target());
    if let Some(reaches) = &row.reaches {
        let wanted: Vec<String> = reaches.iter().map(|it| scene.own.text(it)).collect();
        let whole: Vec<String> = seen.iter().filter(|seen| seen.whole).map(line).collect();
        if whole != wanted {
            failures.push(format!("the origin saw {whole:?} instead of {wanted:?}"));
        }
    }
    if let Some(most) = row.at_most.filter(|most| seen.len() > *most) {
        failures.push(format!("the origin saw {} requests, more than {most}", seen.len()));
    }
    let texts: Vec<String> = seen.iter().map(|seen| seen.text().to_ascii_lowercase()).collect();
    let own = |text: &str| scene.own.text(text).to_ascii_lowercase();
    for unwanted in row.keeps_back.iter().map(|text| own(text)) {
        if let Some(text) = texts.iter().find(|text| text.contains(&unwanted)) {
            failures.push(format!("the origin got {unwanted:?} in {text:?}"));
        }
    }
    for wanted in row.lets_through.iter().map(|text| own(text)) {
        if !texts.iter().any(|text| text.contains(&wanted)) {
            failures.push(format!("the origin did not get {wanted:?}: {texts:?}"));
        }
    }
    failures
}
