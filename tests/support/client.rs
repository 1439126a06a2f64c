//! A client that adds nothing, follows nothing and hides nothing: one connection per request.

use std::future::{Future, IntoFuture};
use std::io;
use std::pin::Pin;
use std::time::Instant;

use bytes::Bytes;
use futures_util::stream;
use http::uri::PathAndQuery;
use http::{HeaderMap, Request, Response, Uri};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::{http1, http2};
use hyper::upgrade::Upgraded;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use super::reply::Reply;
use super::tls::TlsClient;
use super::{beside, within};

type Body = UnsyncBoxBody<Bytes, io::Error>;

/// How the request travels.
#[derive(Clone, Copy)]
enum Protocol {
    Http1,
    /// HTTP/2 in clear text, by prior knowledge.
    H2c,
}

enum Sending {
    Nothing,
    Whole(Bytes),
    Pieces(mpsc::Receiver<Bytes>),
}

/// A request to be sent: await it for the whole answer, or `open` it for the answer's head.
pub(crate) struct Ask {
    method: String,
    url: Uri,
    fields: Vec<(String, String)>,
    body: Sending,
    protocol: Protocol,
    tls: Option<TlsClient>,
    before: Vec<u8>,
}

pub(crate) fn get(url: impl AsRef<str>) -> Ask {
    ask("GET", url)
}

pub(crate) fn post(url: impl AsRef<str>) -> Ask {
    ask("POST", url)
}

/// A request by any method.
pub(crate) fn ask(method: &str, url: impl AsRef<str>) -> Ask {
    let url = url.as_ref().parse().unwrap_or_else(|error| panic!("{error}: {}", url.as_ref()));
    Ask {
        method: method.to_owned(),
        url,
        fields: Vec::new(),
        body: Sending::Nothing,
        protocol: Protocol::Http1,
        tls: None,
        before: Vec::new(),
    }
}

impl Ask {
    pub(crate) fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.fields.push((name.to_owned(), value.into()));
        self
    }

    pub(crate) fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = Sending::Whole(body.into());
        self
    }

    /// A body that the test sends piece by piece; dropping the sender ends it.
    pub(crate) fn streaming(mut self) -> (Self, mpsc::Sender<Bytes>) {
        let (sender, receiver) = mpsc::channel(8);
        self.body = Sending::Pieces(receiver);
        (self, sender)
    }

    pub(crate) fn over_h2c(mut self) -> Self {
        self.protocol = Protocol::H2c;
        self
    }

    /// By TLS, and by the protocol that is agreed on; `Host` is the one that the client knows the server by.
    pub(crate) fn over_tls(mut self, client: &TlsClient) -> Self {
        self.tls = Some(client.clone());
        self
    }

    /// Bytes that are sent before anything else, as a load balancer does.
    pub(crate) fn after(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.before = bytes.into();
        self
    }

    /// The whole answer, or why there is none.
    pub(crate) async fn attempt(self) -> Result<Reply, String> {
        let since = Instant::now();
        let what = format!("the answer to {} {}", self.method, self.url);
        let whole = async {
            let opened = self.send().await?;
            let (status, fields) = (opened.status, opened.fields.clone());
            let (body, trailers) = opened.rest_with_trailers().await?;
            Ok(Reply { status, fields, body, trailers, took: since.elapsed() })
        };
        within(&what, whole).await
    }

    /// Waits for the head only. Dropping what it returns closes the connection.
    pub(crate) async fn open(self) -> Opened {
        let what = format!("the head of the answer to {} {}", self.method, self.url);
        within(&what, self.send()).await.unwrap_or_else(|error| panic!("no {what}: {error}"))
    }

    async fn send(mut self) -> Result<Opened, String> {
        let authority =
            self.url.authority().expect("a URL of a test names a host and a port").clone();
        let mut socket = TcpStream::connect(authority.as_str())
            .await
            .map_err(|error| format!("connect: {error}"))?;
        let _unimportant = socket.set_nodelay(true);
        socket.write_all(&self.before).await.map_err(|error| format!("send: {error}"))?;
        let (response, connection) = match self.tls.take() {
            None => Box::pin(self.speak(socket)).await?,
            Some(client) => {
                let stream = Box::pin(client.over(socket)).await;
                let stream = stream.map_err(|error| format!("TLS: {error}"))?;
                if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
                    self.protocol = Protocol::H2c;
                }
                let path = self.url.path_and_query().map_or("/", PathAndQuery::as_str);
                let url = format!("https://{}{path}", client.host);
                self.url = url.parse().expect("a host and a path are a URL");
                Box::pin(self.speak(stream)).await?
            }
        };
        let (head, body) = response.into_parts();
        let on_upgrade = head.extensions.get::<hyper::upgrade::OnUpgrade>().cloned();
        Ok(Opened {
            status: head.status.as_u16(),
            fields: head.headers,
            body,
            on_upgrade,
            connection,
        })
    }

    async fn speak<S>(self, stream: S) -> Result<Sent, String>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let protocol = self.protocol;
        let request = self.request();
        match protocol {
            Protocol::Http1 => over_http1(TokioIo::new(stream), request).await,
            Protocol::H2c => over_h2c(TokioIo::new(stream), request).await,
        }
    }

    fn request(self) -> Request<Body> {
        let authority =
            self.url.authority().expect("a URL of a test names a host and a port").to_string();
        let mut builder = Request::builder().method(self.method.as_str());
        match self.protocol {
            Protocol::Http1 => {
                builder = builder.uri(self.url.path_and_query().map_or("/", PathAndQuery::as_str));
                if !self.fields.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
                    builder = builder.header("Host", authority);
                }
            }
            Protocol::H2c => builder = builder.uri(self.url),
        }
        for (name, value) in self.fields {
            builder = builder.header(name, value);
        }
        builder.body(self.body.into_body()).expect("a request of a test is well formed")
    }
}

impl IntoFuture for Ask {
    type Output = Reply;
    type IntoFuture = Pin<Box<dyn Future<Output = Reply> + Send>>;

    /// The whole answer; the test fails where there is none.
    fn into_future(self) -> Self::IntoFuture {
        let what = format!("{} {}", self.method, self.url);
        Box::pin(
            async move { self.attempt().await.unwrap_or_else(|error| panic!("{what}: {error}")) },
        )
    }
}

impl Sending {
    fn into_body(self) -> Body {
        match self {
            Self::Nothing => Empty::new().map_err(|never| match never {}).boxed_unsync(),
            Self::Whole(bytes) => Full::new(bytes).map_err(|never| match never {}).boxed_unsync(),
            Self::Pieces(receiver) => {
                StreamBody::new(stream::unfold(receiver, |mut receiver| async {
                    let bytes = receiver.recv().await?;
                    Some((Ok(Frame::data(bytes)), receiver))
                }))
                .boxed_unsync()
            }
        }
    }
}

type Sent = (Response<Incoming>, AbortOnDropHandle<()>);

async fn over_http1<S>(io: TokioIo<S>, request: Request<Body>) -> Result<Sent, String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) =
        http1::handshake(io).await.map_err(|error| format!("handshake: {error}"))?;
    let connection = AbortOnDropHandle::new(beside(async move {
        let _ended = connection.with_upgrades().await;
    }));
    let response =
        sender.send_request(request).await.map_err(|error| format!("no head: {error:?}"))?;
    Ok((response, connection))
}

async fn over_h2c<S>(io: TokioIo<S>, request: Request<Body>) -> Result<Sent, String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let shaken = http2::handshake(TokioExecutor::new(), io).await;
    let (mut sender, connection) = shaken.map_err(|error| format!("handshake: {error}"))?;
    let connection = AbortOnDropHandle::new(beside(async move {
        // Held so that the connection outlives the request.
        let _ended = connection.await;
    }));
    let response =
        sender.send_request(request).await.map_err(|error| format!("no head: {error:?}"))?;
    Ok((response, connection))
}

/// An answer of which the head has arrived.
pub(crate) struct Opened {
    pub(crate) status: u16,
    pub(crate) fields: HeaderMap,
    body: Incoming,
    on_upgrade: Option<hyper::upgrade::OnUpgrade>,
    connection: AbortOnDropHandle<()>,
}

impl Opened {
    pub(crate) fn field(&self, name: &str) -> &str {
        self.fields.get(name).map_or("", |value| value.to_str().unwrap_or("(not text)"))
    }

    /// The next piece of the body as it arrives; nothing at its end.
    pub(crate) async fn chunk(&mut self) -> Option<Bytes> {
        loop {
            let frame = within("the next piece of a body", self.body.frame()).await?;
            let frame = frame.unwrap_or_else(|error| panic!("the body broke off: {error:?}"));
            if let Ok(data) = frame.into_data() {
                return Some(data);
            }
        }
    }

    /// Everything up to the first `length` bytes of the body, at least.
    pub(crate) async fn at_least(&mut self, length: usize) -> Vec<u8> {
        let mut all = Vec::new();
        while all.len() < length {
            let chunk = self.chunk().await;
            all.extend_from_slice(&chunk.expect("the body is longer"));
        }
        all
    }

    /// What is left of the body, or how it broke off.
    pub(crate) async fn rest(self) -> Result<Bytes, String> {
        within("the rest of a body", self.rest_with_trailers()).await.map(|(body, _)| body)
    }

    async fn rest_with_trailers(self) -> Result<(Bytes, HeaderMap), String> {
        let whole =
            self.body.collect().await.map_err(|error| format!("the body broke off: {error:?}"))?;
        let trailers = whole.trailers().cloned().unwrap_or_default();
        Ok((whole.to_bytes(), trailers))
    }

    /// The connection after a 101, and what keeps it open.
    pub(crate) async fn tunnel(self) -> (TokioIo<Upgraded>, AbortOnDropHandle<()>) {
        let upgraded = self.on_upgrade.expect("the answer offers an upgrade").await;
        (TokioIo::new(upgraded.expect("the upgrade comes about")), self.connection)
    }
}
