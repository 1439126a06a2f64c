//! Bytes over TCP as they are, for what no honest client or origin would send.

use std::net::SocketAddr;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::AbortOnDropHandle;

use super::{beside, within};

/// Sends the bytes and reads until the other side closes. The test fails where it does not close.
pub(crate) async fn converse(authority: &str, bytes: &[u8]) -> String {
    let mut socket = TcpStream::connect(authority).await.expect("the port is open");
    // The other side may refuse, and close, before it has read all of it.
    let _refused = socket.write_all(bytes).await;
    let mut said = Vec::new();
    let what = format!("the close of the connection after {:?}", String::from_utf8_lossy(bytes));
    let _reset = within(&what, socket.read_to_end(&mut said)).await;
    String::from_utf8_lossy(&said).into_owned()
}

/// Reads from the socket until the text ends in an empty line, and returns it.
pub(crate) async fn head(socket: &mut (impl AsyncRead + Unpin)) -> String {
    let mut said = Vec::new();
    while !said.ends_with(b"\r\n\r\n") {
        match within("a head", socket.read_u8()).await {
            Ok(byte) => said.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8_lossy(&said).into_owned()
}

/// What a raw origin does with the connection when all is sent.
#[derive(Clone, Copy)]
pub(crate) enum Afterwards {
    Close,
    StayOpen,
}

/// An origin that answers each request's head with the same bytes.
pub(crate) struct RawOrigin {
    address: SocketAddr,
    _serving: AbortOnDropHandle<()>,
}

impl RawOrigin {
    pub(crate) async fn start(bytes: impl Into<Vec<u8>>, afterwards: Afterwards) -> Self {
        let bytes = bytes.into();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let serving = beside(async move {
            let mut open = Vec::new();
            while let Ok((mut socket, _)) = listener.accept().await {
                head(&mut socket).await;
                let _left = socket.write_all(&bytes).await;
                match afterwards {
                    Afterwards::Close => drop(socket),
                    Afterwards::StayOpen => open.push(socket),
                }
            }
        });
        Self { address, _serving: AbortOnDropHandle::new(serving) }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}
