//! The origin: answers, at once where the path does not say otherwise, with what the URL must say.

use std::convert::Infallible;
use std::io;

use bytes::Bytes;
use http::header::{ACCEPT_LANGUAGE, CACHE_CONTROL, CONTENT_TYPE, VARY};
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::content;

pub(crate) async fn serve(listener: TcpListener) -> io::Result<()> {
    let mut connections = JoinSet::new();
    loop {
        let (socket, _) = listener.accept().await?;
        socket.set_nodelay(true)?;
        connections.spawn(async move {
            let serving = http1::Builder::new().serve_connection(
                TokioIo::new(socket),
                service_fn(|request| async move {
                    let delay = content::delay(request.uri().path());
                    if !delay.is_zero() {
                        sleep(delay).await;
                    }
                    Ok::<_, Infallible>(answer(&request))
                }),
            );
            // A client that goes away is no news.
            let _ended = serving.await;
        });
        while connections.try_join_next().is_some() {}
    }
}

fn answer(request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let path = request.uri().path();
    let language = request.headers().get(ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok());
    let mut response = Response::builder()
        .status(content::status(path))
        .header(CACHE_CONTROL, content::cache_control(path))
        .header(CONTENT_TYPE, "text/plain")
        .header("Surrogate-Key", content::tag(path));
    if content::has_variants(path) {
        response = response.header(VARY, "Accept-Language");
    }
    response
        .body(Full::new(content::body(path, language.unwrap_or("en"))))
        .expect("all fields are plain text")
}
