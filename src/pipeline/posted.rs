//! An answer to a POST that is what a GET of the URL would get: it is kept for those who ask later.

use http::header::CONTENT_LOCATION;
use http::{Response, StatusCode};
use tower::Service;
use tracing::debug;

use crate::key::canonical::Target;
use crate::lookup::Lookup;
use crate::lookup::answer::{Answer, Content};
use crate::lookup::in_hand::{Brought, InHand};
use crate::lookup::outcome::{Kept, Outcome};
use crate::message::body::Body;
use crate::origin::failure::OriginFailure;

/// Whether the content of the answer is a representation of the target itself (RFC 9110 §8.7, §9.3.3): "a 200 (OK)
/// response [...] with a Content-Location header field that has the same value as the POST's target URI".
pub(crate) fn is_of_target<B>(target: &Target, response: &Response<B>) -> bool {
    let mut named = response.headers().get_all(CONTENT_LOCATION).iter();
    let (Some(named), None) = (named.next(), named.next()) else { return false };
    let named = named.to_str().ok().and_then(|text| target.resolve(text).ok());
    response.status() == StatusCode::OK && named.as_ref() == Some(target)
}

/// Sends an answer down to where answers are kept, and returns it for the client, who reads along, with whether it is
/// kept.
pub(crate) async fn keep<S>(
    mut below: S,
    mut get: Box<Lookup>,
    brought: Brought,
) -> Result<(Response<Body>, bool), OriginFailure>
where
    S: Service<Box<Lookup>, Response = Answer, Error = OriginFailure>,
{
    let (head, body) = brought.response.into_parts();
    let response = Response::from_parts(head.clone(), body);
    get.in_hand = Some(InHand::new(Brought { response, ..brought }));
    let Answer { content, outcome, .. } = below.call(get).await?;
    if let Outcome::Miss(Kept::Left(why)) = &outcome {
        debug!(?why, "the answer to a POST is not kept");
    }
    let stored = matches!(outcome, Outcome::Miss(Kept::Stored));
    // The client's own head: what is kept lacks what is for it alone.
    Ok((Response::from_parts(head, body_of(content)), stored))
}

fn body_of(content: Content) -> Body {
    match content {
        Content::Once(reply) => reply.body,
        Content::Stored(entry) => entry.whole().map_or(Body::Empty, Body::from),
        Content::Arriving(entry, reader) => {
            Body::Arriving { reader, length: entry.arriving().and_then(|(_, length)| length) }
        }
    }
}

#[cfg(test)]
mod tests {
    use http::Request;
    use http::uri::Scheme;

    use super::*;

    #[test]
    fn only_a_200_whose_one_content_location_is_the_target_is_of_the_target() {
        let request = Request::builder().uri("http://h/a/b?x=1").body(()).unwrap();
        let target = Target::of(&request, Scheme::HTTP).unwrap();
        let is = |status: u16, named: &[&str]| {
            let mut response = Response::builder().status(status);
            for named in named {
                response = response.header(CONTENT_LOCATION, *named);
            }
            is_of_target(&target, &response.body(()).unwrap())
        };
        for named in [
            "/a/b?x=1",
            "b?x=1",
            "?x=1",
            "http://h/a/b?x=1",
            "http://h:80/a/b?x=1",
            "//H/a/b?x=1",
            "",
        ] {
            assert!(is(200, &[named]), "{named}");
        }
        for named in [
            "/a/b",
            "/a/c?x=1",
            "https://h/a/b?x=1",
            "http://i/a/b?x=1",
            "http://h:8/a/b?x=1",
            "::",
        ] {
            assert!(!is(200, &[named]), "{named}");
        }
        for status in [201, 203, 204, 206, 303, 404] {
            assert!(!is(status, &["?x=1"]), "{status}");
        }
        assert!(!is(200, &[]) && !is(200, &["?x=1", "?x=1"]));
    }
}
