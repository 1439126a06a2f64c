//! What comes before a client's first request: who a load balancer connects for, and the TLS handshake.

use std::future::poll_fn;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;

use http::uri::Scheme;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use crate::message::network::Network;
use crate::server::line::Line;
use crate::server::proxied::{self, Header, Heard, Link};
use crate::server::pulse::{Order, Pulse};
use crate::server::tls::Terms;

/// How much of a PROXY header is looked at in one go: more than most are long.
const GLANCE: usize = 536;

/// The first byte of a TLS handshake (RFC 8446 §5.1).
const HANDSHAKE: u8 = 22;

/// What the clients of one listener go through before they are heard. Clones share their counts.
#[derive(Clone, Debug, Default)]
pub struct Threshold {
    /// The load balancers here, which must say for whom they connect.
    pub balancers: Arc<[Network]>,
    /// Spoken by all who connect, or by none.
    pub tls: Option<Terms>,
    pub counts: Arc<Counts>,
}

/// Connections that ended at a threshold.
#[derive(Debug, Default)]
pub struct Counts {
    /// TLS that was not agreed on, took too long, or was no TLS.
    pub handshakes_failed: AtomicU64,
    /// Balancers that did not say who connects in a way that is understood, or not in time.
    pub proxy_headers_refused: AtomicU64,
    /// Clients that had too many connections open.
    pub crowding: AtomicU64,
    /// Heads that are no request, or longer than any may be: nobody knows what was asked for.
    pub unreadable: AtomicU64,
}

/// Who connects, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    pub address: IpAddr,
    /// What the client's own URLs begin with.
    pub scheme: Scheme,
}

/// Why a caller is not let in.
#[derive(Debug)]
pub(crate) enum Stranger {
    /// A balancer that does not say for whom it connects.
    Unannounced,
    /// HTTP, where TLS is spoken.
    Plain(TcpStream),
    Handshake(io::Error),
    /// Ended before anything was said.
    Left,
}

impl Threshold {
    /// Whether there is nothing to be said before HTTP.
    pub(crate) fn is_open(&self) -> bool {
        self.tls.is_none() && self.balancers.is_empty()
    }

    fn expects_balancer(&self, peer: IpAddr) -> bool {
        self.balancers.iter().any(|network| network.contains(peer))
    }

    /// Who connects. May be dropped.
    pub(crate) async fn announced(
        &self,
        tcp: &mut TcpStream,
        peer: IpAddr,
    ) -> Result<Caller, Stranger> {
        let scheme = if self.tls.is_some() { Scheme::HTTPS } else { Scheme::HTTP };
        if !self.expects_balancer(peer) {
            return Ok(Caller { address: peer, scheme });
        }
        let Header { client, link, .. } =
            header(tcp).await.map_err(|_| Stranger::Left)?.ok_or(Stranger::Unannounced)?;
        let scheme = match link {
            Link::Tls => Scheme::HTTPS,
            Link::Untold => scheme,
        };
        Ok(Caller { address: client.unwrap_or(peer), scheme })
    }

    /// The line on which HTTP is spoken. May be dropped.
    pub(crate) async fn line(&self, tcp: TcpStream) -> Result<Line, Stranger> {
        let Some(terms) = &self.tls else { return Ok(Line::Plain(tcp)) };
        let mut first = [0];
        match tcp.peek(&mut first).await {
            Ok(0) | Err(_) => Err(Stranger::Left),
            Ok(_) if first[0].is_ascii_uppercase() => Err(Stranger::Plain(tcp)),
            Ok(_) if first[0] != HANDSHAKE => {
                Err(Stranger::Handshake(io::ErrorKind::InvalidData.into()))
            }
            Ok(_) => terms.shake_hands(tcp).await.map(Line::Tls).map_err(Stranger::Handshake),
        }
    }
}

/// Takes the header that a balancer sends, and not a byte more; nothing where it sends something else. One that ends
/// before its first byte, as those do that only look whether somebody is there, is an error.
async fn header(tcp: &mut TcpStream) -> io::Result<Option<Header>> {
    let mut said = Vec::new();
    loop {
        let had = said.len();
        said.resize(had + GLANCE, 0);
        let there = tcp.peek(&mut said[had..]).await?;
        said.truncate(had + there);
        let (header, taken) = match proxied::read(&said) {
            Heard::Malformed => return Ok(None),
            Heard::More if there == 0 && had == 0 => {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            Heard::More if there == 0 => return Ok(None),
            Heard::More => (None, said.len()),
            Heard::Whole(header) => (Some(header), header.length),
        };
        tcp.read_exact(&mut said[had..taken]).await?;
        if header.is_some() {
            return Ok(header);
        }
    }
}

/// Returns when the connection is told to end at once: who is told to finish may still ask once. May be dropped.
pub(crate) async fn told_to_end(pulse: &Pulse) {
    poll_fn(|cx| {
        pulse.listen(cx.waker());
        match pulse.order() {
            Order::Continue | Order::Finish | Order::Close => Poll::Pending,
            Order::Cut => Poll::Ready(()),
        }
    })
    .await;
}

impl Counts {
    pub(crate) fn one(count: &AtomicU64) {
        count.fetch_add(1, Ordering::Relaxed);
    }
}
