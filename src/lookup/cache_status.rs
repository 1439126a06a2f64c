//! What `Cache-Status` says of one request (RFC 9211).

use std::fmt::{Arguments, Write};
use std::sync::Arc;

use http::{HeaderValue, StatusCode};

use crate::key::content::Unkeyable;
use crate::lookup::outcome::{Errand, Forwarded, Kept, Outcome, Source, WhyPassed};
use crate::origin::failure::OriginFailure;

/// What a cache calls itself (RFC 9211 §2: "a String or Token"), as it is written in the field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheId(Arc<str>);

impl CacheId {
    /// A token where `name` is one (RFC 9651 §3.3.4), otherwise a string.
    pub fn new(name: &str) -> Self {
        let mut text = String::new();
        if is_token(name) {
            text.push_str(name);
        } else {
            push_string(&mut text, name);
        }
        Self(text.into())
    }
}

/// What `Cache-Status` tells besides the outcome.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Why the request went forward, where it did.
    pub forwarded: Forwarded,
    /// The status of the origin's answer, where there was one and the client gets another (RFC 9211 §2.3:
    /// `fwd-status` "defaults to the status code sent in the response"); 200 where parts of it make the whole.
    pub forwarded_status: Option<StatusCode>,
    /// How many seconds the answer stays fresh, negative when it is stale; nothing for what is not stored.
    pub ttl: Option<i64>,
    /// What the request was looked up by, where the route shows it.
    pub key: Option<Box<str>>,
    /// Whether the answer to a request that passed is kept for others.
    pub stored: bool,
}

/// The `Cache-Status` member of a hit that stays fresh for `ttl` seconds: what [`cache_status`] says of it.
pub fn push_hit(text: &mut Vec<u8>, cache: &CacheId, ttl: i64) {
    text.extend_from_slice(cache.0.as_bytes());
    text.extend_from_slice(b"; hit; ttl=");
    text.extend_from_slice(itoa::Buffer::new().format(ttl).as_bytes());
}

/// The `Cache-Status` member of Larder (RFC 9211 §2).
pub fn cache_status(cache: &CacheId, outcome: &Outcome, status: &Status) -> HeaderValue {
    let mut text = String::with_capacity(64);
    text.push_str(&cache.0);
    let forwarded = status.forwarded.token();
    match outcome {
        // RFC 9211 §2.1: "hit" means that the request was not forwarded.
        // So is what is served stale "without going forward", because the origin is left alone.
        Outcome::Hit(_)
        | Outcome::Stale(_)
        | Outcome::Followed(Source::Layer(_))
        | Outcome::StaleOnError(_, OriginFailure::BreakerOpen { .. } | OriginFailure::Overloaded) =>
        {
            text.push_str("; hit");
        }
        Outcome::Revalidated(kept) | Outcome::Miss(kept) => {
            push_forwarded(&mut text, forwarded, status.forwarded_status);
            match kept {
                Kept::Stored => text.push_str("; stored"),
                Kept::Left(_) => {}
            }
        }
        // RFC 9211 §2.6: the request was collapsed with another that went forward. Only what is stored is shared.
        Outcome::Followed(Source::Origin) => {
            push_forwarded(&mut text, forwarded, status.forwarded_status);
            text.push_str("; stored; collapsed");
        }
        Outcome::Passed(why) => {
            push_forwarded(&mut text, why.token(), status.forwarded_status);
            if status.stored {
                text.push_str("; stored");
            }
        }
        Outcome::Failed(Errand::Passage(why), _) => push_forwarded(&mut text, why.token(), None),
        Outcome::StaleOnError(..) => {
            push_forwarded(&mut text, forwarded, status.forwarded_status);
        }
        Outcome::Failed(Errand::Lookup, _) => push_forwarded(&mut text, forwarded, None),
        Outcome::Purged | Outcome::Refused(_) => {}
    }
    if let Some(ttl) = status.ttl {
        text.push_str("; ttl=");
        text.push_str(itoa::Buffer::new().format(ttl));
    }
    if let Some(key) = &status.key {
        text.push_str("; key=");
        push_string(&mut text, key);
    }
    if let Some(why) = status_detail(outcome) {
        text.push_str("; detail=");
        text.push_str(why);
    }
    // Tokens, numbers and strings are always field content.
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("larder"))
}

/// The value of `detail` (RFC 9211 §2.8): a token, and nothing of what an origin or a client sent.
const fn status_detail(outcome: &Outcome) -> Option<&'static str> {
    match outcome {
        Outcome::Hit(_)
        | Outcome::Stale(_)
        | Outcome::Revalidated(Kept::Stored)
        | Outcome::Miss(Kept::Stored)
        | Outcome::Followed(Source::Origin)
        | Outcome::Passed(WhyPassed::Method | WhyPassed::Route | WhyPassed::Purge) => None,
        Outcome::Purged => Some("purge"),
        Outcome::Followed(Source::Layer(_)) => Some("coalesced"),
        Outcome::Revalidated(Kept::Left(why)) | Outcome::Miss(Kept::Left(why)) => Some(why.token()),
        Outcome::StaleOnError(..) => Some("stale-if-error"),
        Outcome::Failed(_, OriginFailure::Overloaded) => Some("overloaded"),
        Outcome::Failed(..) => Some("origin-failed"),
        Outcome::Passed(WhyPassed::Upgrade) => Some("upgrade"),
        Outcome::Passed(WhyPassed::Rollout) => Some("rollout"),
        Outcome::Passed(WhyPassed::LayersOff) => Some("layers-off"),
        Outcome::Passed(WhyPassed::Tripwire) => Some("tripwire"),
        Outcome::Passed(WhyPassed::Path) => Some("path"),
        Outcome::Passed(WhyPassed::Content(why)) => Some(why.token()),
        Outcome::Refused(why) => Some(why.token()),
    }
}

fn push_forwarded(text: &mut String, why: &str, status: Option<StatusCode>) {
    text.push_str("; fwd=");
    text.push_str(why);
    if let Some(status) = status {
        text.push_str("; fwd-status=");
        text.push_str(status.as_str());
    }
}

fn push(text: &mut String, what: Arguments<'_>) {
    text.write_fmt(what).expect("nothing but memory can fail a write to a string");
}

/// RFC 9651 §3.3.3: printable ASCII, with a backslash before quotes and backslashes. Bytes that a string cannot hold
/// are percent-encoded, as in a URL.
fn push_string(text: &mut String, value: &str) {
    text.push('"');
    for byte in value.bytes() {
        match byte {
            b'"' | b'\\' => text.extend(['\\', char::from(byte)]),
            b' '..=b'~' => text.push(char::from(byte)),
            _ => push(text, format_args!("%{byte:02X}")),
        }
    }
    text.push('"');
}

/// RFC 9651 §3.3.4.
fn is_token(text: &str) -> bool {
    let begins = text.starts_with(|first: char| first.is_ascii_alphabetic() || first == '*');
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~:/".contains(&byte);
    begins && text.bytes().all(fits)
}

impl Forwarded {
    /// The value of `fwd` (RFC 9211 §2.2).
    pub const fn token(self) -> &'static str {
        match self {
            Self::UriMiss => "uri-miss",
            Self::VaryMiss => "vary-miss",
            // A refresh goes forward because what is stored is, or soon will be, stale.
            Self::Stale | Self::Refresh => "stale",
            Self::Partial => "partial",
            Self::Request => "request",
            // RFC 9211 §2.2: "The cache did not contain any responses that could be used to satisfy this request".
            Self::Unshared => "miss",
        }
    }
}

impl WhyPassed {
    /// The value of `fwd` (RFC 9211 §2.2).
    const fn token(self) -> &'static str {
        match self {
            Self::Method
            | Self::Purge
            | Self::Content(Unkeyable::Mutation | Unkeyable::Subscription | Unkeyable::Batch) => {
                "method"
            }
            Self::Route
            | Self::Upgrade
            | Self::Path
            | Self::Rollout
            | Self::LayersOff
            | Self::Tripwire
            | Self::Content(_) => "bypass",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lookup::outcome::{Layer, WhyRefused};
    use crate::policy::storable::WhyNot;

    fn said(outcome: &Outcome, status: &Status) -> String {
        let value = cache_status(&CacheId::new("larder"), outcome, status);
        value.to_str().unwrap().to_owned()
    }

    fn told(outcome: &Outcome, ttl: Option<i64>) -> String {
        let forwarded_status = Some(StatusCode::OK);
        said(outcome, &Status { forwarded_status, ttl, ..Status::default() })
    }

    #[test]
    fn cache_status_says_hit_or_why_it_went_forward_and_never_both() {
        let stale = Status {
            forwarded: Forwarded::Stale,
            forwarded_status: Some(StatusCode::NOT_MODIFIED),
            ttl: Some(60),
            ..Status::default()
        };
        let kept = Status { stored: true, ..Status::default() };
        assert_eq!(said(&Outcome::Passed(WhyPassed::Method), &kept), "larder; fwd=method; stored");
        assert_eq!(told(&Outcome::Hit(Layer::L1), Some(57)), "larder; hit; ttl=57");
        assert_eq!(told(&Outcome::Stale(Layer::L2), Some(-5)), "larder; hit; ttl=-5");
        assert_eq!(
            told(&Outcome::Miss(Kept::Stored), Some(60)),
            "larder; fwd=uri-miss; fwd-status=200; stored; ttl=60"
        );
        assert_eq!(
            said(&Outcome::Revalidated(Kept::Stored), &stale),
            "larder; fwd=stale; fwd-status=304; stored; ttl=60"
        );
        assert_eq!(
            told(&Outcome::Passed(WhyPassed::Method), None),
            "larder; fwd=method; fwd-status=200"
        );
        let passed = |why| told(&Outcome::Passed(WhyPassed::Content(why)), None);
        assert_eq!(
            passed(Unkeyable::Mutation),
            "larder; fwd=method; fwd-status=200; detail=graphql-mutation"
        );
        assert_eq!(
            passed(Unkeyable::TooLarge),
            "larder; fwd=bypass; fwd-status=200; detail=body-too-large"
        );
        for (why, token) in [(WhyPassed::Rollout, "rollout"), (WhyPassed::LayersOff, "layers-off")]
        {
            let passed = told(&Outcome::Passed(why), None);
            assert_eq!(passed, format!("larder; fwd=bypass; fwd-status=200; detail={token}"));
        }
        assert_eq!(
            told(&Outcome::Refused(WhyRefused::OnlyIfCached), None),
            "larder; detail=only-if-cached"
        );
    }

    #[test]
    fn a_hit_is_told_alike_from_either_side() {
        for ttl in [0, 57, -1] {
            let mut text = Vec::new();
            push_hit(&mut text, &CacheId::new("larder"), ttl);
            assert_eq!(text, told(&Outcome::Hit(Layer::L1), Some(ttl)).into_bytes());
        }
    }

    /// RFC 9211 §2.5 and §2.6.
    #[test]
    fn what_others_brought_is_stored_and_collapsed_and_what_was_not_kept_says_why() {
        assert_eq!(
            told(&Outcome::Followed(Source::Origin), Some(60)),
            "larder; fwd=uri-miss; fwd-status=200; stored; collapsed; ttl=60"
        );
        assert_eq!(
            told(&Outcome::Followed(Source::Layer(Layer::L2)), Some(60)),
            "larder; hit; ttl=60; detail=coalesced"
        );
        assert_eq!(
            told(&Outcome::Miss(Kept::Left(WhyNot::NoStore)), None),
            "larder; fwd=uri-miss; fwd-status=200; detail=no-store"
        );
        let stale = Status { forwarded: Forwarded::Stale, ..Status::default() };
        assert_eq!(
            said(&Outcome::Revalidated(Kept::Left(WhyNot::NoStore)), &stale),
            "larder; fwd=stale; detail=no-store"
        );
    }

    /// RFC 9211 §2, RFC 9651 §3.3.3 and §3.3.4.
    #[test]
    fn a_cache_is_called_by_a_token_where_its_name_is_one_and_by_a_string_otherwise() {
        let rows = [
            ("larder", "larder"),
            ("eu-west.shop:8080/a", "eu-west.shop:8080/a"),
            ("*~1", "*~1"),
            ("1st", "\"1st\""),
            ("a cache", "\"a cache\""),
            ("a,b;c=d", "\"a,b;c=d\""),
            ("a\"b\\c", "\"a\\\"b\\\\c\""),
        ];
        for (name, written) in rows {
            let value =
                cache_status(&CacheId::new(name), &Outcome::Hit(Layer::L1), &Status::default());
            assert_eq!(value, format!("{written}; hit"), "{name}");
        }
    }

    /// RFC 9211 §2.7.
    #[test]
    fn a_key_is_a_string_whatever_is_in_the_url() {
        let keyed = |key: &str| {
            let status = Status { key: Some(key.into()), ttl: Some(1), ..Status::default() };
            said(&Outcome::Hit(Layer::L1), &status)
        };
        assert_eq!(keyed("http://h/a?b=1 0f"), "larder; hit; ttl=1; key=\"http://h/a?b=1 0f\"");
        assert_eq!(keyed("/\"\\"), "larder; hit; ttl=1; key=\"/\\\"\\\\\"");
        assert_eq!(keyed("/\u{e4}\u{7f}\n"), "larder; hit; ttl=1; key=\"/%C3%A4%7F%0A\"");
    }
}
