//! The origin: answers, at once where the path does not say otherwise, with what the URL must say, or fails when told to.

use std::convert::Infallible;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::header::{ACCEPT_LANGUAGE, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, VARY};
use http::request::Parts;
use http::{Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, Either, Full, StreamBody};
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{BufReader, Lines, Stdin};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::content;

/// How the origin fares.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Weather {
    Fair,
    /// Each answer comes so much later.
    Slow(Duration),
    /// Bodies end in their middle, and with them the connection.
    Cut,
    /// Every answer is a 503.
    Failing,
}

type Halves = stream::Iter<std::array::IntoIter<io::Result<Frame<Bytes>>, 2>>;
type Body = Either<Full<Bytes>, StreamBody<Halves>>;

impl Weather {
    fn of(order: &str) -> Option<Self> {
        match order.split_once(' ').unwrap_or((order, "")) {
            ("fair", _) => Some(Self::Fair),
            ("slow", millis) => Some(Self::Slow(Duration::from_millis(millis.parse().ok()?))),
            ("cut", _) => Some(Self::Cut),
            ("fail", _) => Some(Self::Failing),
            _ => None,
        }
    }
}

pub(crate) async fn serve(
    listener: TcpListener,
    mut orders: Lines<BufReader<Stdin>>,
) -> io::Result<()> {
    let (weather, told) = watch::channel(Weather::Fair);
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            order = orders.next_line() => {
                let Some(order) = order? else { return Ok(()) };
                let next = Weather::of(&order)
                    .ok_or_else(|| io::Error::other(format!("no such order: {order}")))?;
                weather.send_replace(next);
                crate::say("so be it")?;
            }
            accepted = listener.accept() => {
                let socket = accepted?.0;
                socket.set_nodelay(true)?;
                connections.spawn(attend(socket, told.clone()));
                while connections.try_join_next().is_some() {}
            }
        }
    }
}

async fn attend(socket: TcpStream, weather: watch::Receiver<Weather>) {
    let serving = http1::Builder::new().serve_connection(
        TokioIo::new(socket),
        service_fn(|request: Request<Incoming>| {
            let weather = *weather.borrow();
            async move {
                let added = match weather {
                    Weather::Slow(delay) => delay,
                    Weather::Fair | Weather::Cut | Weather::Failing => Duration::ZERO,
                };
                let delay = content::delay(request.uri().path()) + added;
                if !delay.is_zero() {
                    sleep(delay).await;
                }
                // As origins do, it answers when it knows what was sent. Where that is cut off, nobody listens any more.
                let (head, content) = request.into_parts();
                let _sent = content.collect().await;
                Ok::<_, Infallible>(answer(&head, weather))
            }
        }),
    );
    // A client that goes away is no news.
    let _ended = serving.await;
}

fn answer(request: &Parts, weather: Weather) -> Response<Body> {
    if weather == Weather::Failing {
        let mut response = Response::new(Either::Left(Full::default()));
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        return response;
    }
    let path = request.uri.path();
    let language = request.headers.get(ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok());
    let mut response = Response::builder()
        .status(content::status(path))
        .header(CACHE_CONTROL, content::cache_control(path))
        .header(CONTENT_TYPE, "text/plain")
        .header("Surrogate-Key", content::tag(path));
    if content::has_variants(path) {
        response = response.header(VARY, "Accept-Language");
    }
    let body = content::body(path, language.unwrap_or("en"));
    let body = if weather == Weather::Cut {
        response = response.header(CONTENT_LENGTH, body.len());
        let half = Ok(Frame::data(body.slice(..body.len() / 2)));
        Either::Right(StreamBody::new(stream::iter([half, Err(io::Error::other("cut off"))])))
    } else {
        Either::Left(Full::new(body))
    };
    response.body(body).expect("all fields are plain text")
}
