//! A real origin that does what a test tells it, and remembers what it was asked.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;

use super::answer::{Answer, Ending, Manner, Step, status};
use super::{beside, within};

type Body = UnsyncBoxBody<Bytes, io::Error>;
type Script = Box<dyn FnMut(&Asked) -> Answer + Send>;

/// One request as the origin got it.
#[derive(Clone)]
pub(crate) struct Asked {
    pub(crate) method: String,
    pub(crate) path: String,
    /// Path and query, byte for byte.
    pub(crate) target: String,
    pub(crate) fields: HeaderMap,
    body: Arc<Mutex<Vec<u8>>>,
}

impl Asked {
    /// The field's value, or nothing.
    pub(crate) fn field(&self, name: &str) -> &str {
        self.fields.get(name).map_or("", |value| value.to_str().expect("a field of a test is text"))
    }

    /// What has arrived of the body so far.
    pub(crate) fn body(&self) -> Vec<u8> {
        self.body.lock().clone()
    }
}

#[derive(Default)]
struct Book {
    scripts: Mutex<HashMap<String, Script>>,
    asked: watch::Sender<Vec<Asked>>,
}

/// A running origin; dropping it closes its port and every connection.
pub(crate) struct Origin {
    address: SocketAddr,
    book: Arc<Book>,
    serving: Option<AbortOnDropHandle<()>>,
}

impl Origin {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let book = Arc::new(Book::default());
        let serving = Some(serve(listener, Arc::clone(&book)));
        Self { address, book, serving }
    }

    /// `http://127.0.0.1:PORT`
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    /// From now on the path is always answered so. The path `*` stands for every path without an answer of its own.
    pub(crate) fn on(&self, path: &str, answer: Answer) {
        self.with(path, move |_| answer.clone());
    }

    /// From now on the path gets these answers one after another, and then the last one for ever.
    pub(crate) fn script<const N: usize>(&self, path: &str, answers: [Answer; N]) {
        let mut served = 0;
        self.with(path, move |_| {
            let answer = answers[served.min(N - 1)].clone();
            served += 1;
            answer
        });
    }

    /// From now on the path is answered by what `script` makes of the request.
    pub(crate) fn with(&self, path: &str, script: impl FnMut(&Asked) -> Answer + Send + 'static) {
        self.book.scripts.lock().insert(path.to_owned(), Box::new(script));
    }

    /// How many requests for this path have arrived.
    pub(crate) fn count(&self, path: &str) -> usize {
        count(&self.book.asked.borrow(), path)
    }

    /// What it was asked last.
    pub(crate) fn last(&self) -> Asked {
        self.book.asked.borrow().last().expect("it was asked").clone()
    }

    /// Every request for this path, in order of arrival.
    pub(crate) fn requests(&self, path: &str) -> Vec<Asked> {
        self.book.asked.borrow().iter().filter(|asked| asked.path == path).cloned().collect()
    }

    /// Waits until `n` requests for this path have arrived, ever.
    pub(crate) async fn seen(&self, path: &str, n: usize) {
        let mut watching = self.book.asked.subscribe();
        let what = format!("request {n} for {path} at the origin");
        let _seen = within(&what, watching.wait_for(|all| count(all, path) >= n))
            .await
            .expect("the book holds the sender");
    }

    /// Closes the port and all connections: from now on connecting is refused.
    pub(crate) async fn leave(&mut self) {
        if let Some(serving) = self.serving.take() {
            serving.abort();
            let _cancelled = serving.await;
        }
    }

    /// Listens again where it was.
    pub(crate) async fn come_back(&mut self) {
        let listener =
            TcpListener::bind(self.address).await.expect("the origin's port is still free");
        self.serving = Some(serve(listener, Arc::clone(&self.book)));
    }
}

fn count(asked: &[Asked], path: &str) -> usize {
    asked.iter().filter(|asked| asked.path == path).count()
}

fn serve(listener: TcpListener, book: Arc<Book>) -> AbortOnDropHandle<()> {
    AbortOnDropHandle::new(beside(async move {
        let mut connections = JoinSet::new();
        loop {
            let Ok((socket, _)) = listener.accept().await else { continue };
            let _unimportant = socket.set_nodelay(true);
            let book = Arc::clone(&book);
            connections.spawn(async move {
                let service = service_fn(|request| reply(Arc::clone(&book), request));
                let mut http = http1::Builder::new();
                let connection =
                    http.timer(TokioTimer::new()).serve_connection(TokioIo::new(socket), service);
                // A connection that a test breaks on purpose ends with an error; the test sees it at the other end.
                let _broken = connection.with_upgrades().await;
            });
            while connections.try_join_next().is_some() {}
        }
    }))
}

async fn reply(book: Arc<Book>, request: Request<Incoming>) -> io::Result<Response<Body>> {
    let asked = Asked {
        method: request.method().to_string(),
        path: request.uri().path().to_owned(),
        target: request.uri().to_string(),
        fields: request.headers().clone(),
        body: Arc::default(),
    };
    let answer = answer_for(&book, &asked);
    let body = Arc::clone(&asked.body);
    book.asked.send_modify(|all| all.push(asked));
    match answer.manner {
        Manner::Reply => {
            record(request.into_body(), &body).await?;
            before(&answer).await;
            response(&answer, pieces(&answer))
        }
        Manner::Close => {
            before(&answer).await;
            Err(io::Error::other("the script says to close"))
        }
        Manner::Echo => {
            response(&answer, request.into_body().map_err(io::Error::other).boxed_unsync())
        }
        Manner::Upgrade => switch(request, &answer),
    }
}

async fn before(answer: &Answer) {
    for step in answer.before.clone() {
        step.take().await;
    }
}

fn answer_for(book: &Book, asked: &Asked) -> Answer {
    let mut scripts = book.scripts.lock();
    if let Some(script) = scripts.get_mut(&asked.path) {
        return script(asked);
    }
    match scripts.get_mut("*") {
        Some(script) => script(asked),
        None => status(404).chunk("the test has no answer for this path"),
    }
}

async fn record(mut body: Incoming, into: &Mutex<Vec<u8>>) -> io::Result<()> {
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame.map_err(io::Error::other)?.into_data() {
            into.lock().extend_from_slice(&data);
        }
    }
    Ok(())
}

/// One piece that ends whole goes out with its length; everything else in pieces.
fn pieces(answer: &Answer) -> Body {
    match (answer.body.as_slice(), &answer.ending) {
        ([], Ending::Whole) => return Empty::new().map_err(never).boxed_unsync(),
        ([Step::Send(bytes)], Ending::Whole) => {
            return Full::new(bytes.clone()).map_err(never).boxed_unsync();
        }
        _ => {}
    }
    let steps = answer.body.clone().into_iter();
    let ending = Some(answer.ending.clone());
    StreamBody::new(stream::unfold((steps, ending), |(mut steps, mut ending)| async move {
        for step in steps.by_ref() {
            if let Some(bytes) = step.take().await {
                return Some((Ok(Frame::data(bytes)), (steps, ending)));
            }
        }
        match ending.take()? {
            Ending::Whole => None,
            Ending::WithTrailer(name, value) => {
                Some((Ok(Frame::trailers(trailers(&name, &value))), (steps, ending)))
            }
            Ending::CutOff => {
                // What was sent so far has to leave before the connection breaks.
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                Some((Err(io::Error::other("the script says to cut")), (steps, ending)))
            }
        }
    }))
    .boxed_unsync()
}

fn never(never: Infallible) -> io::Error {
    match never {}
}

fn trailers(name: &str, value: &str) -> HeaderMap {
    let name: http::HeaderName = name.parse().expect("a field name of a test is valid");
    HeaderMap::from_iter([(name, value.parse().expect("a field value of a test is valid"))])
}

fn response(answer: &Answer, body: Body) -> io::Result<Response<Body>> {
    let mut builder = Response::builder().status(answer.status);
    for (name, value) in &answer.fields {
        builder = builder.header(name, value);
    }
    if let Ending::WithTrailer(name, _) = &answer.ending {
        builder = builder.header("Trailer", name);
    }
    builder.body(body).map_err(io::Error::other)
}

fn switch(mut request: Request<Incoming>, answer: &Answer) -> io::Result<Response<Body>> {
    let protocol = request.headers().get("upgrade").cloned();
    let Some(protocol) = protocol else { return response(&status(426), pieces(&status(426))) };
    let upgraded = hyper::upgrade::on(&mut request);
    beside(async move {
        if let Ok(upgraded) = upgraded.await {
            let (mut reader, mut writer) = tokio::io::split(TokioIo::new(upgraded));
            let _ended = tokio::io::copy(&mut reader, &mut writer).await;
        }
    });
    let mut response = response(answer, pieces(answer))?;
    response.headers_mut().insert("upgrade", protocol);
    response.headers_mut().insert("connection", http::HeaderValue::from_static("upgrade"));
    Ok(response)
}
