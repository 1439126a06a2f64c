//! The access log: one line per request on stdout, written by a thread of its own.

use std::borrow::Cow;
use std::cell::RefCell;
use std::io::{self, Write};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, UNIX_EPOCH};

use parking_lot::{Condvar, Mutex};

use crate::telemetry::logs::Format;

/// What is said of one request; everything is borrowed, so that making one costs nothing.
#[derive(Clone, Debug)]
pub struct Line<'a> {
    /// Milliseconds since the epoch.
    pub at: u64,
    pub client: Option<IpAddr>,
    pub method: &'a str,
    pub host: &'a [u8],
    /// Path and query.
    pub path: &'a str,
    pub status: u16,
    pub bytes: u64,
    pub took: Duration,
    /// `HIT`, `MISS` and so on.
    pub cache: &'static str,
    /// `L1`, `L2` or `ORIGIN`.
    pub layer: &'static str,
    pub outcome: &'static str,
    /// Why; may be empty.
    pub detail: Cow<'a, str>,
    /// The route's name; may be empty.
    pub route: &'a str,
    pub ended: &'static str,
    /// May be empty.
    pub request_id: &'a [u8],
}

/// Takes lines from many threads. Cloning shares it.
///
/// A line is formatted where it is written and appended to a bounded buffer; a reader of stdout that does not keep
/// up costs lines, which are counted, and never a request.
#[derive(Clone)]
pub struct AccessLog(Arc<Shared>);

/// Has what was written so far flushed when it is dropped, within a second.
#[must_use = "dropping it ends the access log"]
pub struct AccessGuard {
    shared: Arc<Shared>,
    finished: mpsc::Receiver<()>,
}

struct Shared {
    mode: AtomicU8,
    pending: Mutex<Pending>,
    filled: Condvar,
    closing: Condvar,
    dropped: AtomicU64,
}

#[derive(Default)]
struct Pending {
    bytes: Vec<u8>,
    state: State,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Open,
    Closed,
}

/// How much may wait to be written.
const CAPACITY: usize = 4 * 1024 * 1024;
/// How long lines are gathered before they are written, so that a busy log costs few system calls.
const GATHER: Duration = Duration::from_millis(10);
/// How long a shutdown waits for a reader of stdout.
const PATIENCE: Duration = Duration::from_secs(1);

const OFF: u8 = 0;
const TEXT: u8 = 1;
const JSON: u8 = 2;

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// A thread's buffer, and the second that it wrote last.
#[derive(Default)]
struct Scratch {
    line: Vec<u8>,
    second: Option<(u64, String)>,
}

impl AccessLog {
    /// Starts the thread that writes to `out`. `None` writes nothing until [`AccessLog::set`] says otherwise.
    pub fn start<W>(format: Option<Format>, out: W) -> io::Result<(Self, AccessGuard)>
    where
        W: Write + Send + 'static,
    {
        let shared = Arc::new(Shared {
            mode: AtomicU8::new(mode(format)),
            pending: Mutex::default(),
            filled: Condvar::new(),
            closing: Condvar::new(),
            dropped: AtomicU64::new(0),
        });
        let (finish, finished) = mpsc::channel();
        let writer = shared.clone();
        thread::Builder::new().name("access-log".into()).spawn(move || {
            writer.write_out(out);
            // Nobody waits when the guard's patience is over.
            let _ = finish.send(());
        })?;
        Ok((Self(shared.clone()), AccessGuard { shared, finished }))
    }

    /// Writes lines in this format from now on, or none.
    pub fn set(&self, format: Option<Format>) {
        self.0.mode.store(mode(format), Ordering::Relaxed);
    }

    /// Whether lines are written at all.
    pub fn is_on(&self) -> bool {
        self.0.mode.load(Ordering::Relaxed) != OFF
    }

    /// Writes one line; when the log is off, nothing is formatted. Never blocks on the reader of the log.
    pub fn write(&self, line: &Line<'_>) {
        let mode = self.0.mode.load(Ordering::Relaxed);
        if mode == OFF {
            return;
        }
        SCRATCH.with_borrow_mut(|scratch| {
            scratch.line.clear();
            if mode == JSON {
                scratch.json(line);
            } else {
                scratch.text(line);
            }
            self.0.append(&scratch.line);
        });
    }

    /// How many lines nobody read fast enough.
    pub fn dropped(&self) -> u64 {
        self.0.dropped.load(Ordering::Relaxed)
    }
}

const fn mode(format: Option<Format>) -> u8 {
    match format {
        None => OFF,
        Some(Format::Text) => TEXT,
        Some(Format::Json) => JSON,
    }
}

impl Drop for AccessGuard {
    fn drop(&mut self) {
        self.shared.pending.lock().state = State::Closed;
        self.shared.filled.notify_one();
        self.shared.closing.notify_one();
        // A reader that does not read must not keep the process from ending.
        let _ = self.finished.recv_timeout(PATIENCE);
    }
}

impl Shared {
    fn append(&self, line: &[u8]) {
        let mut pending = self.pending.lock();
        if pending.state == State::Closed || pending.bytes.len() + line.len() > CAPACITY {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let was_empty = pending.bytes.is_empty();
        pending.bytes.extend_from_slice(line);
        drop(pending);
        if was_empty {
            self.filled.notify_one();
        }
    }

    /// Writes what is appended until the log is closed and empty.
    fn write_out(&self, mut out: impl Write) {
        let mut batch = Vec::new();
        loop {
            let state = self.take(&mut batch);
            if batch.is_empty() && state == State::Closed {
                return;
            }
            if out.write_all(&batch).and_then(|()| out.flush()).is_err() {
                let lines = batch.split(|byte| *byte == b'\n').count() - 1;
                self.dropped.fetch_add(lines as u64, Ordering::Relaxed);
            }
            batch.clear();
        }
    }

    /// Waits for lines and takes them all; takes none only when the log is closed.
    fn take(&self, batch: &mut Vec<u8>) -> State {
        let mut pending = self.pending.lock();
        let open = |pending: &mut Pending| pending.state == State::Open;
        self.filled.wait_while(&mut pending, |pending| pending.bytes.is_empty() && open(pending));
        self.closing.wait_while_for(&mut pending, open, GATHER);
        std::mem::swap(&mut pending.bytes, batch);
        pending.state
    }
}

impl Scratch {
    fn json(&mut self, line: &Line<'_>) {
        self.line.extend_from_slice(b"{\"time\":\"");
        self.time(line.at);
        self.line.extend_from_slice(b"\",\"client\":\"");
        self.client(line.client);
        self.json_text("method", line.method.as_bytes());
        self.json_text("host", line.host);
        self.json_text("path", line.path.as_bytes());
        self.line.extend_from_slice(b"\",\"status\":");
        self.number(line.status.into());
        self.line.extend_from_slice(b",\"bytes\":");
        self.number(line.bytes);
        self.line.extend_from_slice(b",\"duration_ms\":");
        self.milliseconds(line.took);
        self.line.extend_from_slice(b",\"cache\":\"");
        self.line.extend_from_slice(line.cache.as_bytes());
        self.json_text("layer", line.layer.as_bytes());
        self.json_text("outcome", line.outcome.as_bytes());
        self.json_text("route", line.route.as_bytes());
        self.json_text("ended", line.ended.as_bytes());
        if !line.detail.is_empty() {
            self.json_text("detail", line.detail.as_bytes());
        }
        if !line.request_id.is_empty() {
            self.json_text("request_id", line.request_id);
        }
        self.line.extend_from_slice(b"\"}\n");
    }

    /// Ends the text before and begins another, which is left open.
    fn json_text(&mut self, name: &str, value: &[u8]) {
        self.line.extend_from_slice(b"\",\"");
        self.line.extend_from_slice(name.as_bytes());
        self.line.extend_from_slice(b"\":\"");
        for chunk in value.utf8_chunks() {
            for byte in chunk.valid().bytes() {
                match byte {
                    b'"' | b'\\' => self.line.extend_from_slice(&[b'\\', byte]),
                    0..=0x1f | 0x7f => {
                        self.line.extend_from_slice(b"\\u00");
                        self.line.extend_from_slice(&hexadecimal(byte));
                    }
                    _ => self.line.push(byte),
                }
            }
            if !chunk.invalid().is_empty() {
                self.line.extend_from_slice("\u{fffd}".as_bytes());
            }
        }
    }

    fn text(&mut self, line: &Line<'_>) {
        self.time(line.at);
        self.line.push(b' ');
        self.client(line.client);
        self.word(line.method.as_bytes());
        self.word(line.host);
        // The path begins with a slash where the host ends.
        self.escaped(line.path.as_bytes());
        self.line.push(b' ');
        self.number(line.status.into());
        self.line.push(b' ');
        self.number(line.bytes);
        self.line.extend_from_slice(b"B ");
        self.milliseconds(line.took);
        self.line.extend_from_slice(b"ms");
        self.word(line.cache.as_bytes());
        self.word(line.layer.as_bytes());
        self.word(if line.route.is_empty() { b"-" } else { line.route.as_bytes() });
        self.word(line.ended.as_bytes());
        if !line.detail.is_empty() {
            self.line.extend_from_slice(b" (");
            for byte in line.detail.bytes() {
                self.line.push(if byte.is_ascii_control() { b'?' } else { byte });
            }
            self.line.push(b')');
        }
        self.line.push(b'\n');
    }

    fn word(&mut self, bytes: &[u8]) {
        self.line.push(b' ');
        self.escaped(bytes);
    }

    /// Nothing a client sends may end a word or a line.
    fn escaped(&mut self, bytes: &[u8]) {
        for byte in bytes {
            if byte.is_ascii_graphic() && *byte != b'\\' {
                self.line.push(*byte);
            } else {
                self.line.extend_from_slice(b"\\x");
                self.line.extend_from_slice(&hexadecimal(*byte));
            }
        }
    }

    fn client(&mut self, client: Option<IpAddr>) {
        match client {
            Some(address) => {
                write!(self.line, "{address}").expect("nothing fails a write to memory");
            }
            None => self.line.push(b'-'),
        }
    }

    fn number(&mut self, number: u64) {
        self.line.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
    }

    fn milliseconds(&mut self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.number(micros / 1000);
        self.line.push(b'.');
        self.three_digits(micros % 1000);
    }

    fn three_digits(&mut self, number: u64) {
        for unit in [100, 10, 1] {
            let digit = u8::try_from(number / unit % 10).unwrap_or_default();
            self.line.push(b'0' + digit);
        }
    }

    /// RFC 3339 in UTC; the part that changes once a second is kept.
    fn time(&mut self, at: u64) {
        let second = at / 1000;
        let known = self.second.take().filter(|(known, _)| *known == second);
        let (_, text) = self.second.insert(known.unwrap_or_else(|| (second, rfc3339(second))));
        self.line.extend_from_slice(text.as_bytes());
        self.line.push(b'.');
        self.three_digits(at % 1000);
        self.line.push(b'Z');
    }
}

/// A second as RFC 3339 writes it, without its `Z`.
fn rfc3339(second: u64) -> String {
    /// The last second that four digits of a year can name.
    const LAST: u64 = 253_402_300_799;
    let moment = UNIX_EPOCH + Duration::from_secs(second.min(LAST));
    let mut text = humantime::format_rfc3339_seconds(moment).to_string();
    text.pop();
    text
}

fn hexadecimal(byte: u8) -> [u8; 2] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Keeps what is written, and says when it was dropped.
    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn line() -> Line<'static> {
        Line {
            at: 1_700_000_000_007,
            client: Some([127, 0, 0, 1].into()),
            method: "GET",
            host: b"shop.example",
            path: "/a?x=\"\n",
            status: 200,
            bytes: 12,
            took: Duration::from_micros(1234),
            cache: "HIT",
            layer: "L1",
            outcome: "hit_l1",
            detail: "".into(),
            route: "products",
            ended: "complete",
            request_id: b"",
        }
    }

    fn written(format: Format, lines: &[Line<'_>]) -> String {
        let kept = Kept::default();
        let (log, guard) = AccessLog::start(Some(format), kept.clone()).unwrap();
        for line in lines {
            log.write(line);
        }
        drop(guard);
        String::from_utf8(kept.0.lock().clone()).unwrap()
    }

    #[test]
    fn a_json_line_is_json_whatever_a_client_sends() {
        let odd = Line { host: b"a\xff\"b", request_id: b"r-1", detail: "why".into(), ..line() };
        let text = written(Format::Json, &[line(), odd]);
        let lines: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines[0]["time"], "2023-11-14T22:13:20.007Z");
        assert_eq!(lines[0]["path"], "/a?x=\"\n");
        assert_eq!(lines[0]["status"], 200);
        assert_eq!(lines[0]["duration_ms"], 1.234);
        assert_eq!(lines[0].get("request_id"), None);
        assert_eq!(lines[1]["host"], "a\u{fffd}\"b");
        assert_eq!(lines[1]["detail"], "why");
        assert_eq!(lines[1]["request_id"], "r-1");
    }

    #[test]
    fn a_text_line_is_one_line_whatever_a_client_sends() {
        assert_eq!(
            written(Format::Text, &[Line { detail: "a\nb".into(), ..line() }]),
            "2023-11-14T22:13:20.007Z 127.0.0.1 GET shop.example/a?x=\"\\x0a 200 12B 1.234ms HIT L1 \
             products complete (a?b)\n"
        );
    }

    #[test]
    fn what_was_written_before_the_guard_fell_is_written_out() {
        let lines = vec![line(); 1000];
        assert_eq!(written(Format::Json, &lines).lines().count(), 1000);
    }

    #[test]
    fn nothing_is_written_when_the_log_is_off() {
        let kept = Kept::default();
        let (log, guard) = AccessLog::start(None, kept.clone()).unwrap();
        log.write(&line());
        log.set(Some(Format::Text));
        log.write(&line());
        log.set(None);
        log.write(&line());
        drop(guard);
        assert_eq!(String::from_utf8(kept.0.lock().clone()).unwrap().lines().count(), 1);
    }

    #[test]
    fn a_reader_that_does_not_read_costs_lines_and_nothing_else() {
        struct Stuck(mpsc::Receiver<()>);
        impl Write for Stuck {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                // Until the test is over.
                let _ = self.0.recv();
                Ok(bytes.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let (release, held) = mpsc::channel();
        let (access, guard) = AccessLog::start(Some(Format::Text), Stuck(held)).unwrap();
        let path = "/".repeat(64 * 1024);
        for _ in 0..200 {
            access.write(&Line { path: &path, ..line() });
        }
        assert!(access.dropped() > 0);
        assert!(access.0.pending.lock().bytes.len() <= CAPACITY);
        drop(release);
        drop(guard);
    }
}
