//! A TCP proxy that delays, swallows or cuts what passes, told so by the test while it runs.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use super::{beside, resp};

/// What happens to bytes on their way.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Weather {
    Fair,
    /// Each piece arrives so much later.
    Slow(Duration),
    /// Nothing arrives any more, in either direction, and nothing is closed.
    BlackHole,
    /// Every connection is closed, and each new one at once.
    Cut,
    /// Every connection is closed when so many more bytes of an answer have passed.
    CutAfter(usize),
    /// Every command to a Redis is answered with this error, over new connections.
    Says(&'static str),
}

/// A running proxy; dropping it closes everything.
pub(crate) struct FaultProxy {
    address: SocketAddr,
    weather: Arc<watch::Sender<Weather>>,
    _serving: AbortOnDropHandle<()>,
}

impl FaultProxy {
    /// Stands before the local port `target`.
    pub(crate) async fn before(target: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let weather = Arc::new(watch::Sender::new(Weather::Fair));
        let told = Arc::clone(&weather);
        let serving = beside(async move {
            let mut passages = tokio::task::JoinSet::new();
            while let Ok((near, _)) = listener.accept().await {
                passages.spawn(carry(near, target, told.subscribe()));
                while passages.try_join_next().is_some() {}
            }
        });
        Self { address, weather, _serving: AbortOnDropHandle::new(serving) }
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    pub(crate) fn turns(&self, weather: Weather) {
        self.weather.send_replace(weather);
    }
}

async fn carry(near: TcpStream, target: u16, mut weather: watch::Receiver<Weather>) {
    let now = *weather.borrow();
    match now {
        Weather::Cut => return,
        Weather::Says(error) => return lie(near, error, weather).await,
        Weather::Fair | Weather::Slow(_) | Weather::BlackHole | Weather::CutAfter(_) => {}
    }
    let Ok(far) = TcpStream::connect(("127.0.0.1", target)).await else { return };
    let _unimportant = (near.set_nodelay(true), far.set_nodelay(true));
    let (near_in, near_out) = near.into_split();
    let (far_in, far_out) = far.into_split();
    let (there, back) = (weather.clone(), weather.clone());
    tokio::select! {
        _ = pump(near_in, far_out, there, Way::There) => {}
        _ = pump(far_in, near_out, back, Way::Back) => {}
        _ = weather.wait_for(|weather| matches!(weather, Weather::Cut | Weather::Says(_))) => {}
    }
}

/// Answers each command with the error, until the weather changes.
async fn lie(mut near: TcpStream, error: &str, mut weather: watch::Receiver<Weather>) {
    let answer = format!("-{error}\r\n");
    let mut read = BytesMut::new();
    let lying = async {
        while near.read_buf(&mut read).await? > 0 {
            while let Some(end) = resp::end(&read) {
                read.advance(end);
                near.write_all(answer.as_bytes()).await?;
            }
        }
        io::Result::Ok(())
    };
    tokio::select! {
        _ = lying => {}
        _ = weather.changed() => {}
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    There,
    Back,
}

async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut weather: watch::Receiver<Weather>,
    way: Way,
) -> io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let length = from.read(&mut buffer).await?;
        if length == 0 {
            return Ok(());
        }
        let now = *weather.borrow();
        match now {
            Weather::Fair | Weather::Cut | Weather::Says(_) => {}
            Weather::CutAfter(_) if way == Way::There => {}
            Weather::CutAfter(bytes) => {
                // What is whole goes through, so that a connection can be made.
                if length > bytes {
                    return to.write_all(&buffer[..bytes]).await;
                }
            }
            Weather::Slow(delay) => tokio::time::sleep(delay).await,
            Weather::BlackHole => {
                let _lifted = weather.wait_for(|weather| *weather != Weather::BlackHole).await;
            }
        }
        to.write_all(&buffer[..length]).await?;
    }
}
