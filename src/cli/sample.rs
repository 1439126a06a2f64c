//! A small API for the demo, which counts how often it was asked.

use std::convert::Infallible;
use std::error::Error;
use std::fmt::Write;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, HeaderMap, IF_NONE_MATCH};
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body::Body;
use http_body_util::{BodyExt, Collected, Full, Limited};
use parking_lot::Mutex;
use serde::Deserialize;
use tokio::net::TcpListener;
use tokio::time::sleep;
use tower::service_fn;

use crate::server;
use crate::server::introduction::{Caller, Threshold};
use crate::server::limits::Limits;
use crate::server::shutdown::Drain;

/// The sample API's products, and how often it was asked for each path.
#[derive(Default)]
struct Shop {
    /// The price of each product in cents, and how often it changed.
    products: Mutex<Vec<(u32, u32)>>,
    requests: AtomicU64,
}

/// The body of a change.
#[derive(Deserialize)]
struct Change {
    cents: u32,
}

/// The largest body that is read.
const LARGEST: usize = 1024;
/// How long the slow one takes.
const SLOW: Duration = Duration::from_secs(2);
const SURROGATE_KEY: HeaderName = HeaderName::from_static("surrogate-key");

/// Serves the sample API on `listener` until `drain` begins.
pub(super) async fn serve(listener: TcpListener, drain: Drain) {
    let shop = Arc::new(Shop::new());
    let make = move |_: Caller, _: &_| {
        let shop = shop.clone();
        server::Welcome::to(service_fn(move |request| answer(shop.clone(), request)))
    };
    server::serve(listener, Threshold::default(), make, Arc::new(Limits::default()), drain).await;
}

fn answer<B>(
    shop: Arc<Shop>,
    request: Request<B>,
) -> impl Future<Output = Result<Response<Full<Bytes>>, Infallible>> + Send
where
    B: Body<Data = Bytes> + Send,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let (request, body) = request.into_parts();
    async move {
        let number = shop.requests.fetch_add(1, Ordering::Relaxed) + 1;
        let path = request.uri.path();
        if path == "/slow" {
            sleep(SLOW).await;
        }
        Ok(match (&request.method, product(path)) {
            (&Method::GET | &Method::HEAD, Some(id)) => shop.show(id, number, &request.headers),
            (&Method::PUT, Some(id)) => {
                // What is too large, cut off or late is no price.
                let body = Limited::new(body, LARGEST).collect().await.ok();
                shop.change(id, body.map(Collected::to_bytes))
            }
            (&Method::GET | &Method::HEAD, None) => shop.page(path, number),
            _ => respond(StatusCode::METHOD_NOT_ALLOWED, "no-store", error("method not allowed")),
        })
    }
}

fn product(path: &str) -> Option<usize> {
    path.strip_prefix("/products/")?.parse().ok()
}

impl Shop {
    fn new() -> Self {
        let products = (0..100).map(|id| (995 + 100 * id, 1)).collect();
        Self { products: Mutex::new(products), requests: AtomicU64::new(0) }
    }

    /// One product: fresh for a minute, then stale for half a minute while it is fetched anew.
    fn show(&self, id: usize, number: u64, fields: &HeaderMap) -> Response<Full<Bytes>> {
        let Some((cents, version)) = self.products.lock().get(id).copied() else {
            return respond(StatusCode::NOT_FOUND, "max-age=5", error("no such product"));
        };
        let lifetime = "public, max-age=60, stale-while-revalidate=30, stale-if-error=3600";
        let tag = format!("W/\"product-{id}-{version}\"");
        let is_known = fields.get(IF_NONE_MATCH).is_some_and(|known| known == tag.as_str());
        let mut response = if is_known {
            respond(StatusCode::NOT_MODIFIED, lifetime, String::new())
        } else {
            let text = format!(
                "{{\"id\":{id},\"name\":\"Product {id}\",\"price\":{}.{:02},\"version\":{version},\
                 \"origin_request\":{number}}}\n",
                cents / 100,
                cents % 100
            );
            respond(StatusCode::OK, lifetime, text)
        };
        put(&mut response, ETAG, &tag);
        put(&mut response, SURROGATE_KEY, &format!("product:{id} products"));
        response
    }

    /// Another price, as `{"cents": 1250}` gives it.
    fn change(&self, id: usize, body: Option<Bytes>) -> Response<Full<Bytes>> {
        let body: Option<Change> = body.and_then(|body| serde_json::from_slice(&body).ok());
        let price = body.map(|change| change.cents);
        let mut products = self.products.lock();
        match (products.get_mut(id), price) {
            (Some((cents, version)), Some(price)) => {
                (*cents, *version) = (price, *version + 1);
                respond(StatusCode::OK, "no-store", format!("{{\"id\":{id},\"changed\":true}}\n"))
            }
            (Some(_), None) => {
                let text = error("send a body such as {'cents': 1250}, as JSON");
                respond(StatusCode::BAD_REQUEST, "no-store", text)
            }
            (None, _) => respond(StatusCode::NOT_FOUND, "no-store", error("no such product")),
        }
    }

    fn page(&self, path: &str, number: u64) -> Response<Full<Bytes>> {
        match path {
            "/" => {
                let text = "{\"try\":[\"/products\",\"/products/1\",\"/slow\",\"/cart\"]}\n";
                respond(StatusCode::OK, "max-age=60", text.to_owned())
            }
            "/products" => {
                let mut response = respond(StatusCode::OK, "max-age=30", self.list(number));
                put(&mut response, SURROGATE_KEY, "products");
                response
            }
            "/slow" => {
                let text = format!("{{\"slow\":true,\"origin_request\":{number}}}\n");
                respond(StatusCode::OK, "max-age=60", text)
            }
            "/cart" => {
                let text = format!("{{\"items\":[],\"origin_request\":{number}}}\n");
                respond(StatusCode::OK, "private, no-store", text)
            }
            _ => respond(StatusCode::NOT_FOUND, "max-age=5", error("no such path")),
        }
    }

    fn list(&self, number: u64) -> String {
        let mut text = format!("{{\"origin_request\":{number},\"products\":[");
        for (id, (cents, _)) in self.products.lock().iter().enumerate().skip(1) {
            let comma = if id == 1 { "" } else { "," };
            write!(text, "{comma}{{\"id\":{id},\"cents\":{cents}}}")
                .expect("nothing but memory can fail a write to a string");
        }
        text.push_str("]}\n");
        text
    }
}

fn error(what: &str) -> String {
    format!("{{\"error\":\"{what}\"}}\n")
}

fn respond(status: StatusCode, lifetime: &'static str, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    put(&mut response, CACHE_CONTROL, lifetime);
    put(&mut response, CONTENT_TYPE, "application/json");
    response
}

fn put(response: &mut Response<Full<Bytes>>, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn ask(shop: &Arc<Shop>, request: http::request::Builder) -> Response<Full<Bytes>> {
        send(shop, request, "").await
    }

    async fn send(
        shop: &Arc<Shop>,
        request: http::request::Builder,
        body: &'static str,
    ) -> Response<Full<Bytes>> {
        let body = Full::new(Bytes::from(body));
        answer(shop.clone(), request.body(body).unwrap()).await.unwrap()
    }

    async fn text(response: Response<Full<Bytes>>) -> String {
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    #[tokio::test]
    async fn a_product_keeps_its_tag_until_it_changes() {
        let shop = Arc::new(Shop::new());
        let first = ask(&shop, Request::get("/products/1")).await;
        let tag = first.headers()[ETAG].clone();
        assert_eq!(first.headers()[SURROGATE_KEY], "product:1 products");
        let known = ask(&shop, Request::get("/products/1").header(IF_NONE_MATCH, &tag)).await;
        assert_eq!(known.status(), StatusCode::NOT_MODIFIED);
        let put = || Request::put("/products/1");
        assert_eq!(send(&shop, put(), "1250").await.status(), StatusCode::BAD_REQUEST);
        assert_eq!(send(&shop, put(), "{\"cents\": 1250}").await.status(), StatusCode::OK);
        let changed = ask(&shop, Request::get("/products/1").header(IF_NONE_MATCH, &tag)).await;
        assert_eq!(changed.status(), StatusCode::OK);
        assert!(text(changed).await.contains("\"price\":12.50"));
    }

    #[tokio::test]
    async fn every_page_is_json_and_says_which_request_it_answers() {
        let shop = Arc::new(Shop::new());
        for (number, path) in ["/products", "/products/1", "/cart"].into_iter().enumerate() {
            let page = text(ask(&shop, Request::get(path)).await).await;
            let page: serde_json::Value = serde_json::from_str(&page).unwrap();
            assert_eq!(page["origin_request"], number + 1, "{path}");
        }
    }
}
