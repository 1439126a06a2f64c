//! Clients that ask one server for one path at a fixed rate, and tell how long its answers took from when they were due.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use httparse::{EMPTY_HEADER, Status};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::yield_now;

/// What is read at a time.
const AT_ONCE: usize = 256 * 1024;
/// More fields than any of the servers that are compared sends.
const FIELDS: usize = 64;

#[derive(Args)]
pub(crate) struct Options {
    /// Whom to ask.
    to: SocketAddr,
    #[arg(long, default_value = "/x")]
    path: String,
    /// Requests per second.
    #[arg(long, default_value_t = 2000)]
    rate: u32,
    #[arg(long, default_value_t = 64)]
    connections: usize,
    #[arg(long, default_value_t = 2)]
    seconds: u32,
}

/// Who is free, and what is due where nobody was.
#[derive(Default)]
struct Desk {
    /// Whoever has rested longest is next, so that all connections are used.
    free: VecDeque<UnboundedSender<Instant>>,
    waiting: VecDeque<Instant>,
    /// Of each answer: until its first byte, and until its last.
    took: Vec<(Duration, Duration)>,
    failed: Option<String>,
}

/// Prints a line of JSON: how many were answered, and percentiles in microseconds.
///
/// An answer's time begins when the request was due, so that a server which stands still is charged for all who would
/// have asked it meanwhile. The pace is kept by spinning, since timers are no finer than a millisecond: it takes a core.
pub(crate) async fn run(options: Options) -> io::Result<()> {
    let desk = Arc::new(Mutex::new(Desk::default()));
    let request = format!("GET {} HTTP/1.1\r\nHost: {}\r\n\r\n", options.path, options.to);
    for _ in 0..options.connections {
        let socket = TcpStream::connect(options.to).await?;
        socket.set_nodelay(true)?;
        let (to, due) = unbounded_channel();
        desk.lock().free.push_back(to.clone());
        let (desk, request) = (desk.clone(), request.clone());
        crate::beside(async move {
            if let Err(why) = serve(&desk, socket, request.as_bytes(), due, to).await {
                desk.lock().failed = Some(why.to_string());
            }
        });
    }
    let (rate, all) = (options.rate.max(1), options.rate.max(1) * options.seconds);
    let step = Duration::from_secs(1) / rate;
    let begin = Instant::now();
    for number in 0..all {
        let due = begin + step * number;
        while Instant::now() < due {
            yield_now().await;
        }
        let mut desk = desk.lock();
        match desk.free.pop_front() {
            Some(to) => to.send(due).map_err(io::Error::other)?,
            None => desk.waiting.push_back(due),
        }
    }
    loop {
        {
            let desk = desk.lock();
            if let Some(why) = &desk.failed {
                return Err(io::Error::other(why.clone()));
            }
            if desk.took.len() == all as usize {
                break;
            }
        }
        yield_now().await;
    }
    tell(std::mem::take(&mut desk.lock().took))
}

/// Asks over one connection, one request after another.
async fn serve(
    desk: &Mutex<Desk>,
    mut socket: TcpStream,
    request: &[u8],
    mut orders: UnboundedReceiver<Instant>,
    own: UnboundedSender<Instant>,
) -> io::Result<()> {
    let mut room = vec![0; AT_ONCE];
    while let Some(due) = orders.recv().await {
        let mut next = Some(due);
        while let Some(due) = next {
            socket.write_all(request).await?;
            let first = answer(&mut socket, &mut room).await?;
            let mut desk = desk.lock();
            desk.took.push((first - due, due.elapsed()));
            next = desk.waiting.pop_front();
            if next.is_none() {
                desk.free.push_back(own.clone());
            }
        }
    }
    Ok(())
}

/// Reads one answer to its end, and tells when it began.
async fn answer(socket: &mut TcpStream, room: &mut [u8]) -> io::Result<Instant> {
    let mut there = more(socket, room).await?;
    let first = Instant::now();
    loop {
        if let Some((head, body)) = lengths(&room[..there])? {
            let mut left = (head + body).saturating_sub(there);
            while left > 0 {
                left = left.saturating_sub(more(socket, room).await?);
            }
            return Ok(first);
        }
        there += more(socket, &mut room[there..]).await?;
    }
}

async fn more(socket: &mut TcpStream, room: &mut [u8]) -> io::Result<usize> {
    match socket.read(room).await? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        more => Ok(more),
    }
}

/// The lengths of the head and of the body, once the head is there.
fn lengths(bytes: &[u8]) -> io::Result<Option<(usize, usize)>> {
    let mut fields = [EMPTY_HEADER; FIELDS];
    let mut response = httparse::Response::new(&mut fields);
    let Status::Complete(head) = response.parse(bytes).map_err(io::Error::other)? else {
        return Ok(None);
    };
    if response.code != Some(200) {
        return Err(io::Error::other(format!("it answers {:?}", response.code)));
    }
    let length = response.headers.iter().find(|it| it.name.eq_ignore_ascii_case("content-length"));
    let length = length.and_then(|it| str::from_utf8(it.value).ok()?.parse().ok());
    let length = length.ok_or_else(|| io::Error::other("it does not say how long it is"))?;
    Ok(Some((head, length)))
}

#[allow(clippy::cast_precision_loss, reason = "microseconds for people")]
fn tell(took: Vec<(Duration, Duration)>) -> io::Result<()> {
    let (mut first, mut whole): (Vec<_>, Vec<_>) = took.into_iter().unzip();
    first.sort_unstable();
    whole.sort_unstable();
    let at = |sorted: &[Duration], per_mille: usize| {
        let index = (sorted.len() * per_mille / 1000).min(sorted.len().saturating_sub(1));
        sorted.get(index).map_or(0.0, |it| it.as_nanos() as f64 / 1000.0)
    };
    crate::say(&format!(
        r#"{{"requests": {}, "first_p50": {:.1}, "p50": {:.1}, "p99": {:.1}, "p999": {:.1}}}"#,
        whole.len(),
        at(&first, 500),
        at(&whole, 500),
        at(&whole, 990),
        at(&whole, 999),
    ))
}
