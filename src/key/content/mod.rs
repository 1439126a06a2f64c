//! Request content that tells two requests apart: what of it counts, and what is sent in its place.

pub mod graphql;
mod json;

use bytes::Bytes;
use http::header::{
    CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName,
};

use crate::message::fields::members;

/// How a request's content is made part of its key. What is keyed is what is sent to the origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContentRules {
    pub form: Form,
    /// The longest content that is read, in bytes; a longer one passes.
    pub limit: usize,
}

/// What form content is keyed in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// JSON in its canonical form, everything else as it is.
    #[default]
    Auto,
    /// As it is, byte for byte.
    Bytes,
    /// JSON in its canonical form; nothing else is keyed.
    Json {
        /// If given, only these members of the object are kept.
        members: Option<Vec<String>>,
    },
    /// GraphQL requests that only ask; nothing else is keyed.
    GraphQl { writes: Writes },
}

/// What a GraphQL request does that passes and may have changed something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Writes {
    /// It makes what is stored for its URL invalid, as every unsafe request does (RFC 9111 §4.4).
    #[default]
    Invalidate,
    /// Nothing: the route is purged by other means.
    Keep,
}

/// Why content cannot be part of a key; such a request passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unkeyable {
    /// It is longer than the route reads.
    TooLarge,
    /// There was no room for it beside the content of other requests.
    NoRoom,
    /// It did not arrive in time.
    Slow,
    /// Its client left, fell silent or broke its framing.
    Unread,
    /// It has no `Content-Type`.
    Untyped,
    /// Its `Content-Type` is not what the route keys.
    Type,
    /// It has a `Content-Encoding`.
    Coded,
    /// It may not be written anew, and its route keys no content as it is.
    Fixed,
    /// It is not JSON, or not an object where one is needed.
    Malformed,
    /// A member of an object stands there twice: readers differ in which one counts.
    Ambiguous,
    /// It is nested too deeply.
    TooDeep,
    /// It is no GraphQL request, or one whose operation cannot be told.
    NotGraphQl,
    Mutation,
    Subscription,
    /// Several GraphQL requests in one.
    Batch,
}

impl Default for ContentRules {
    fn default() -> Self {
        Self { form: Form::default(), limit: Self::LIMIT }
    }
}

impl ContentRules {
    /// The limit where a route gives none.
    pub const LIMIT: usize = 64 << 10;
    /// The largest limit that a route may give: a request that is read may hold so much memory.
    pub const MOST: usize = 1 << 20;

    /// What is known from the head: content that is not keyed, whatever it says.
    pub fn refusal(&self, fields: &HeaderMap) -> Option<Unkeyable> {
        // RFC 10008 has servers fail a QUERY without a Content-Type; the origin is the one to say so.
        let Some(media_type) = fields.get(CONTENT_TYPE) else { return Some(Unkeyable::Untyped) };
        if fields.get_all(CONTENT_TYPE).iter().count() > 1 {
            return Some(Unkeyable::Type);
        }
        match self.form {
            Form::Auto | Form::Bytes => None,
            Form::Json { .. } | Form::GraphQl { .. } => {
                if !is_json(media_type.as_bytes()) {
                    Some(Unkeyable::Type)
                } else if fields.contains_key(CONTENT_ENCODING) {
                    Some(Unkeyable::Coded)
                } else {
                    None
                }
            }
        }
    }

    /// The content that is keyed and sent, made from what came; its fields were not refused.
    pub fn content(&self, fields: &HeaderMap, came: &[u8]) -> Result<Bytes, Unkeyable> {
        let as_it_is = || Bytes::copy_from_slice(came);
        let fixed = is_fixed(fields);
        match &self.form {
            Form::Bytes => Ok(as_it_is()),
            Form::Auto if fixed || !is_plain_json(fields) => Ok(as_it_is()),
            Form::Json { members: None } if fixed => {
                json::canonical(came)?;
                Ok(as_it_is())
            }
            Form::Json { members: Some(_) } | Form::GraphQl { .. } if fixed => {
                Err(Unkeyable::Fixed)
            }
            Form::Auto | Form::Json { members: None } => json::canonical(came).map(Bytes::from),
            Form::Json { members: Some(members) } => {
                let mut object = json::object(came)?;
                object.retain(|(name, _)| members.contains(name));
                Ok(json::write(&object).into())
            }
            Form::GraphQl { .. } => graphql::content(came).map(Bytes::from),
        }
    }
}

/// The fields that say which bytes the content has (RFC 9530, and what came before it).
const DIGESTS: [HeaderName; 4] = [
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("repr-digest"),
    HeaderName::from_static("digest"),
    HeaderName::from_static("content-md5"),
];

/// Whether content may not be written anew: it comes with a digest, or its client asks for it to be left alone (RFC
/// 9111 §5.2.1.6).
fn is_fixed(fields: &HeaderMap) -> bool {
    DIGESTS.iter().any(|name| fields.contains_key(name))
        || members(fields, &CACHE_CONTROL)
            .any(|directive| directive.eq_ignore_ascii_case(b"no-transform"))
}

/// The fields that belong to the content, sorted: they are part of its key, and are sent with it.
///
/// RFC 10008 §2.7: "The cache key for a QUERY request MUST incorporate the request content and related metadata."
pub fn metadata(fields: &HeaderMap) -> Vec<&HeaderName> {
    let belongs = |name: &&HeaderName| {
        (name.as_str().starts_with("content-") && **name != CONTENT_LENGTH)
            || DIGESTS.contains(name)
    };
    let mut names: Vec<&HeaderName> = fields.keys().filter(belongs).collect();
    names.sort_unstable_by_key(|name| name.as_str());
    names
}

fn is_plain_json(fields: &HeaderMap) -> bool {
    !fields.contains_key(CONTENT_ENCODING)
        && fields.get(CONTENT_TYPE).is_some_and(|value| is_json(value.as_bytes()))
}

/// Whether a media type is JSON by its name (RFC 8259 §11, RFC 6839 §3.1), in UTF-8.
pub fn is_json(media_type: &[u8]) -> bool {
    let mut parts = media_type.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
    let essence = parts.next().unwrap_or_default().to_ascii_lowercase();
    let named = essence == b"application/json"
        || (essence.starts_with(b"application/") && essence.ends_with(b"+json"));
    named
        && parts.all(|parameter| {
            let parameter = parameter.to_ascii_lowercase();
            let charset = parameter.strip_prefix(b"charset=");
            charset.is_none_or(|charset| charset == b"utf-8" || charset == b"\"utf-8\"")
        })
}

impl Unkeyable {
    /// One word for `Cache-Status` and logs.
    pub const fn token(self) -> &'static str {
        match self {
            Self::TooLarge => "body-too-large",
            Self::NoRoom => "body-no-room",
            Self::Slow => "body-slow",
            Self::Unread => "body-unread",
            Self::Untyped => "body-untyped",
            Self::Type => "body-type",
            Self::Coded => "body-coded",
            Self::Fixed => "body-fixed",
            Self::Malformed => "body-malformed",
            Self::Ambiguous => "body-ambiguous",
            Self::TooDeep => "body-too-deep",
            Self::NotGraphQl => "graphql-unparsed",
            Self::Mutation => "graphql-mutation",
            Self::Subscription => "graphql-subscription",
            Self::Batch => "graphql-batch",
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::strategy::Strategy;
    use proptest::test_runner::{Config, RngSeed, TestCaseError, TestRunner};

    use super::*;

    /// Runs a property over many cases; a failure tells the seed, which `LARDER_SEED` repeats.
    pub(super) fn always<S: Strategy>(
        what: S,
        property: impl Fn(S::Value) -> Result<(), TestCaseError>,
    ) {
        let seed = std::env::var("LARDER_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed: u64 = seed.unwrap_or_else(rand::random);
        let config = Config {
            cases: 2000,
            rng_seed: RngSeed::Fixed(seed),
            failure_persistence: None,
            ..Config::default()
        };
        let outcome = TestRunner::new(config).run(&what, property);
        outcome.unwrap_or_else(|failure| panic!("LARDER_SEED={seed}: {failure}"));
    }

    fn fields(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut fields = HeaderMap::new();
        for (name, value) in pairs {
            fields.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        fields
    }

    fn json(members: Option<&[&str]>) -> Form {
        let texts = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Form::Json { members: members.map(texts) }
    }

    fn keyed(form: Form, pairs: &[(&'static str, &'static str)], came: &str) -> Option<String> {
        let rules = ContentRules { form, ..ContentRules::default() };
        let fields = fields(pairs);
        if rules.refusal(&fields).is_some() {
            return None;
        }
        let content = rules.content(&fields, came.as_bytes()).ok()?;
        Some(String::from_utf8(content.to_vec()).unwrap())
    }

    const JSON: (&str, &str) = ("content-type", "application/json; charset=UTF-8");

    #[test]
    fn json_is_canonical_by_its_type_and_everything_else_is_what_it_is() {
        let (came, sorted) = (r#"{"b": 1, "a": 2}"#, r#"{"a":2,"b":1}"#);
        for (form, pairs, expected) in [
            (Form::Auto, &[JSON][..], Some(sorted)),
            (Form::Auto, &[("content-type", "application/vnd.q+json")], Some(sorted)),
            (Form::Auto, &[("content-type", "text/plain")], Some(came)),
            (Form::Auto, &[("content-type", "application/json; charset=utf-16")], Some(came)),
            (Form::Auto, &[JSON, ("content-encoding", "gzip")], Some(came)),
            (Form::Auto, &[JSON, ("content-digest", "sha-256=:x:")], Some(came)),
            (Form::Auto, &[], None),
            (Form::Bytes, &[JSON], Some(came)),
            (json(None), &[JSON], Some(sorted)),
            (json(None), &[JSON, ("digest", "x")], Some(came)),
            (json(None), &[JSON, ("content-encoding", "gzip")], None),
            (json(None), &[("content-type", "text/plain")], None),
            (json(None), &[JSON, JSON], None),
            (json(Some(&["b", "c"])), &[JSON], Some(r#"{"b":1}"#)),
            (json(Some(&["b"])), &[JSON, ("digest", "x")], None),
            (Form::Auto, &[JSON, ("cache-control", "max-age=0, No-Transform")], Some(came)),
        ] {
            let told = format!("{form:?} {pairs:?}");
            assert_eq!(keyed(form, pairs, came).as_deref(), expected, "{told}");
        }
    }

    #[test]
    fn metadata_is_every_field_of_the_content_but_its_length() {
        let fields = fields(&[
            ("content-type", "a"),
            ("content-length", "1"),
            ("content-language", "en"),
            ("digest", "x"),
            ("accept", "b"),
        ]);
        let names: Vec<&str> = metadata(&fields).iter().map(|name| name.as_str()).collect();
        assert_eq!(names, ["content-language", "content-type", "digest"]);
    }
}
