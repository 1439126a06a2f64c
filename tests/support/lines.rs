//! What a process says on one of its outputs, line by line, collected as it comes.

use std::io::{BufRead, BufReader, Read};
use std::sync::Arc;
use std::thread;

use tokio::sync::watch;

use super::within;

#[derive(Default)]
struct Said {
    lines: Vec<String>,
    ended: bool,
}

/// All lines so far, and those to come. Clones share them.
#[derive(Clone)]
pub(crate) struct Lines(Arc<watch::Sender<Said>>);

impl Lines {
    /// Reads `output` to its end on a thread of its own, so that the process never blocks on a full pipe.
    pub(crate) fn of(output: impl Read + Send + 'static) -> Self {
        let said = Self(Arc::new(watch::Sender::default()));
        let writer = said.clone();
        thread::spawn(move || {
            let mut reader = BufReader::new(output);
            let mut line = Vec::new();
            while matches!(reader.read_until(b'\n', &mut line), Ok(length) if length > 0) {
                let text = String::from_utf8_lossy(&line).trim_end().to_owned();
                writer.0.send_modify(|said| said.lines.push(text));
                line.clear();
            }
            writer.0.send_modify(|said| said.ended = true);
        });
        said
    }

    pub(crate) fn all(&self) -> Vec<String> {
        self.0.borrow().lines.clone()
    }

    pub(crate) fn text(&self) -> String {
        self.all().join("\n")
    }

    /// Waits for the first line, from the beginning, that `found` recognises; `None` when the process closed the output before.
    pub(crate) async fn find<T>(&self, what: &str, found: impl Fn(&str) -> Option<T>) -> Option<T> {
        let mut watching = self.0.subscribe();
        let look = |said: &Said| said.lines.iter().find_map(|line| found(line));
        let said = within(what, watching.wait_for(|said| said.ended || look(said).is_some())).await;
        look(&said.expect("the sender lives as long as this value"))
    }

    /// Waits until the process has closed the output, and returns all of it.
    pub(crate) async fn whole(&self) -> String {
        let mut watching = self.0.subscribe();
        let ended = within("the end of the output", watching.wait_for(|said| said.ended)).await;
        ended.expect("the sender lives as long as this value").lines.join("\n")
    }
}
