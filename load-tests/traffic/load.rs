//! Clients that ask at a fixed rate, whether or not the earlier requests have been answered, and check each answer.
//!
//! Of each request a record of 16 bytes is written, little-endian: when it was due, in microseconds since 1970 (8), how
//! long it took from then on, in microseconds (4), the status (2), the layer that answered (1, 2; 3 is the origin) and
//! what was wrong ([`Fault`], 0 where nothing was).

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use clap::{Args, ValueEnum};
use http::header::{ACCEPT_LANGUAGE, HOST};
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use rand::Rng;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::timeout;

use crate::content;

/// Connections at most; who finds none waits, which counts.
const CONNECTIONS: usize = 1000;
/// After so long a request has failed.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Args)]
pub(crate) struct Options {
    /// Whom to ask, in turn.
    #[arg(required = true)]
    to: Vec<SocketAddr>,
    /// Requests per second.
    #[arg(long, default_value_t = 2000)]
    rate: u32,
    #[arg(long, value_enum, default_value_t = Mix::Reads)]
    mix: Mix,
    /// Where the records go.
    #[arg(long)]
    records: PathBuf,
}

/// What is asked for.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Mix {
    /// Hot, new, in languages, missing.
    Reads,
    /// The same, short-lived ones, slow ones, and writes, which purge.
    Everything,
}

/// What was wrong with an answer.
#[derive(Clone, Copy)]
enum Fault {
    Nothing = 0,
    /// No connection came about.
    Refused = 1,
    /// The whole answer did not come in time.
    Late = 2,
    /// The connection ended before the answer did.
    CutOff = 3,
    Status = 4,
    Body = 5,
}

struct Ask {
    method: Method,
    path: String,
    language: &'static str,
}

/// What came of a request.
struct Seen {
    status: u16,
    layer: u8,
    fault: Fault,
}

type Idle = Mutex<Vec<SendRequest<Empty<Bytes>>>>;

/// One of those who are asked, and the connections to it that nobody uses.
struct Server {
    address: SocketAddr,
    idle: Idle,
    room: Semaphore,
}

pub(crate) async fn run(
    options: Options,
    end: impl Future<Output = io::Result<()>>,
) -> io::Result<()> {
    let mut file = BufWriter::new(File::create(&options.records)?);
    let server =
        |address| Server { address, idle: Mutex::default(), room: Semaphore::new(CONNECTIONS) };
    let servers: Vec<Arc<Server>> = options.to.into_iter().map(server).map(Arc::new).collect();
    let (begin, mut due) = pace(options.rate);
    let since_1970 = since_1970();
    let (records, mut written) = unbounded_channel::<[u8; 16]>();
    let asking = async {
        let mut number = 0;
        while let Some(at) = due.recv().await {
            let ask = options.mix.ask(number);
            let server = servers[number % servers.len()].clone();
            let records = records.clone();
            number += 1;
            crate::beside(async move {
                let seen = server.ask(&ask).await;
                note(&records, since_1970 + (at - begin), at.elapsed(), &seen);
            });
        }
        Ok(())
    };
    let writing = async {
        while let Some(record) = written.recv().await {
            file.write_all(&record)?;
        }
        Ok(())
    };
    tokio::select! {
        ended = asking => ended,
        failed = writing => failed,
        ended = end => ended,
    }?;
    while let Ok(record) = written.try_recv() {
        file.write_all(&record)?;
    }
    file.flush()
}

#[allow(clippy::disallowed_methods, reason = "the records are finer than milliseconds")]
fn since_1970() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Says when each request is due. A thread of its own: a timer of the runtime is no finer than a millisecond.
fn pace(rate: u32) -> (Instant, UnboundedReceiver<Instant>) {
    let (due, told) = unbounded_channel();
    let begin = Instant::now();
    thread::spawn(move || {
        let step = Duration::from_secs(1) / rate.max(1);
        for number in 0.. {
            let at = begin + step * number;
            thread::sleep(at.saturating_duration_since(Instant::now()));
            if due.send(at).is_err() {
                return;
            }
        }
    });
    (begin, told)
}

fn note(records: &UnboundedSender<[u8; 16]>, due: Duration, took: Duration, seen: &Seen) {
    let micros = |span: Duration| u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
    let mut record = [0; 16];
    record[..8].copy_from_slice(&micros(due).to_le_bytes());
    record[8..12].copy_from_slice(&u32::try_from(micros(took)).unwrap_or(u32::MAX).to_le_bytes());
    record[12..14].copy_from_slice(&seen.status.to_le_bytes());
    record[14] = seen.layer;
    record[15] = seen.fault as u8;
    // Whoever writes has ended: so does all.
    let _ended = records.send(record);
}

impl Mix {
    fn ask(self, number: usize) -> Ask {
        let mut dice = rand::rng();
        let one = |dice: &mut rand::rngs::ThreadRng, of: u32| dice.random_range(0..of);
        let language = content::LANGUAGES[dice.random_range(0..content::LANGUAGES.len())];
        let (method, path) = match (number % 20, self) {
            (0 | 10, _) => (Method::GET, format!("/cold/{number}")),
            (1 | 11, _) => (Method::GET, format!("/missing/{}", one(&mut dice, 50))),
            (2 | 6 | 12 | 16, _) => (Method::GET, format!("/tongue/{}", one(&mut dice, 50))),
            (3 | 13, Self::Everything) => (Method::GET, format!("/brief/{}", one(&mut dice, 100))),
            (5, Self::Everything) => (Method::GET, format!("/slow/{number}")),
            (4, Self::Everything) => (Method::POST, format!("/hot/{}", one(&mut dice, 400))),
            _ => (Method::GET, format!("/hot/{}", one(&mut dice, 400))),
        };
        Ask { method, path, language }
    }
}

impl Server {
    async fn ask(&self, ask: &Ask) -> Seen {
        let Ok(_room) = self.room.acquire().await else { return Seen::failed(Fault::Refused) };
        match timeout(PATIENCE, self.answer(ask)).await {
            Ok(Ok(seen)) => seen,
            Ok(Err(fault)) => Seen::failed(fault),
            Err(_) => Seen::failed(Fault::Late),
        }
    }

    async fn answer(&self, ask: &Ask) -> Result<Seen, Fault> {
        let (mut connection, response) = self.sent(ask).await?;
        let status = response.status();
        let layer = response.headers().get("X-Cache-Layer").map_or(&b""[..], |it| it.as_bytes());
        let layer = match layer {
            b"L1" => 1,
            b"L2" => 2,
            _ => 3,
        };
        let body = response.into_body().collect().await.map_err(|_| Fault::CutOff)?.to_bytes();
        if connection.ready().await.is_ok() {
            self.idle.lock().push(connection);
        }
        let fault = if status != content::status(&ask.path) {
            Fault::Status
        } else if body != content::body(&ask.path, ask.language) {
            Fault::Body
        } else {
            Fault::Nothing
        };
        Ok(Seen { status: status.as_u16(), layer, fault })
    }

    /// A connection that was closed while nobody used it has not sent the request: then another is made.
    async fn sent(
        &self,
        ask: &Ask,
    ) -> Result<(SendRequest<Empty<Bytes>>, Response<Incoming>), Fault> {
        loop {
            let idle = self.idle.lock().pop();
            let (mut connection, is_new) = match idle {
                Some(connection) => (connection, false),
                None => (connect(self.address).await.map_err(|_| Fault::Refused)?, true),
            };
            match connection.send_request(ask.request()).await {
                Ok(response) => return Ok((connection, response)),
                Err(error) if error.is_canceled() && !is_new => {}
                Err(_) => return Err(Fault::CutOff),
            }
        }
    }
}

impl Ask {
    fn request(&self) -> Request<Empty<Bytes>> {
        Request::builder()
            .method(self.method.clone())
            .uri(&self.path)
            .header(HOST, "shop.example")
            .header(ACCEPT_LANGUAGE, self.language)
            .body(Empty::new())
            .expect("all parts are plain text")
    }
}

impl Seen {
    fn failed(fault: Fault) -> Self {
        Self { status: 0, layer: 0, fault }
    }
}

async fn connect(address: SocketAddr) -> io::Result<SendRequest<Empty<Bytes>>> {
    let socket = TcpStream::connect(address).await?;
    socket.set_nodelay(true)?;
    let (sender, connection) = handshake(TokioIo::new(socket)).await.map_err(io::Error::other)?;
    crate::beside(async move {
        // Its end shows in the requests on it.
        let _ended = connection.await;
    });
    Ok(sender)
}
