//! Whether an answer to a GraphQL request may be kept: it tells of errors in its content, not in its status.

use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap};
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::policy::storable::WhyNot;

/// What is looked for in an answer (GraphQL §7.1).
#[derive(Deserialize)]
struct Answer {
    errors: Option<Vec<IgnoredAny>>,
}

/// Whether nothing can be looked for, which is known from the head: parts that come one after another, a coded
/// body, a page for people.
pub fn unread(fields: &HeaderMap) -> Option<WhyNot> {
    let json = fields.get(CONTENT_TYPE).is_some_and(|value| is_json(value.as_bytes()));
    (!json || fields.contains_key(CONTENT_ENCODING)).then_some(WhyNot::GraphQlUnread)
}

/// Why the content forbids to keep the answer, if it does.
pub fn objection(content: &[u8]) -> Option<WhyNot> {
    if !content.trim_ascii_start().starts_with(b"{") {
        return Some(WhyNot::GraphQlUnread);
    }
    match serde_json::from_slice::<Answer>(content) {
        Ok(Answer { errors }) if errors.as_ref().is_none_or(Vec::is_empty) => None,
        Ok(_) => Some(WhyNot::GraphQlErrors),
        Err(_) => Some(WhyNot::GraphQlUnread),
    }
}

fn is_json(media_type: &[u8]) -> bool {
    let essence = media_type.split(|byte| *byte == b';').next().unwrap_or_default();
    let essence = essence.trim_ascii().to_ascii_lowercase();
    essence == b"application/json" || essence == b"application/graphql-response+json"
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn only_an_answer_without_errors_is_kept() {
        for (content, expected) in [
            (r#"{"data":{"a":1}}"#, None),
            (r#"{"errors":[],"data":null}"#, None),
            (r#"{"errors":null,"data":{}}"#, None),
            (r#"{"data":{"errors":[1]}}"#, None),
            (r#"{"data":{"a":1},"errors":[{"message":"x"}]}"#, Some(WhyNot::GraphQlErrors)),
            (r#"{"\u0065rrors":[1]}"#, Some(WhyNot::GraphQlErrors)),
            (r#"{"errors":[],"errors":[1]}"#, Some(WhyNot::GraphQlUnread)),
            (r#"{"errors":{"a":1}}"#, Some(WhyNot::GraphQlUnread)),
            (r#"[{"errors":[1]}]"#, Some(WhyNot::GraphQlUnread)),
            ("[null]", Some(WhyNot::GraphQlUnread)),
            ("", Some(WhyNot::GraphQlUnread)),
        ] {
            assert_eq!(objection(content.as_bytes()), expected, "{content}");
        }
    }

    #[test]
    fn what_is_coded_or_no_json_is_not_read() {
        let fields = |pairs: &[(&'static str, &'static str)]| -> HeaderMap {
            let pair = |(name, value): &(&'static str, &'static str)| {
                (http::HeaderName::from_static(name), HeaderValue::from_static(value))
            };
            pairs.iter().map(pair).collect()
        };
        let json = ("content-type", "application/graphql-response+json; charset=utf-8");
        assert_eq!(unread(&fields(&[json])), None);
        for other in [
            &[json, ("content-encoding", "gzip")][..],
            &[("content-type", "multipart/mixed; boundary=\"-\"")],
            &[],
        ] {
            assert_eq!(unread(&fields(other)), Some(WhyNot::GraphQlUnread), "{other:?}");
        }
    }
}
