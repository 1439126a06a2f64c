//! Dated statements about entries: what is purged, how, and why.

pub mod announce;
pub mod audit;
pub mod events;
pub mod glob;
pub mod ledger;
pub mod log;
mod patterns;
pub mod purger;
pub mod receipt;
mod scope;
pub mod template;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::entry::facts::{RouteId, Tag};
use crate::key::Key;
use crate::key::host::HostPattern;
use crate::purge::glob::UrlGlob;
use crate::time::Timestamp;

/// One statement: these entries are gone, or stale from now on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Purge {
    pub scope: Scope,
    pub effect: Effect,
}

/// Which entries a purge speaks of.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Scope {
    /// One URL, all its variants, by [`Key::of_url`].
    #[serde(with = "key_bits")]
    Url(Key),
    Tag(Tag),
    /// What carries all of these tags; never none of them.
    AllTags(Box<[Tag]>),
    /// What carries this tag and is of this origin, such as `http://shop.example` (RFC 9875 §2.1).
    Group {
        origin: Arc<str>,
        tag: Tag,
    },
    /// One path with its query, on every host, all its variants.
    Path(Arc<str>),
    /// Every URL that begins so: with a scheme and a host, or, where it begins with a slash, on every host.
    Prefix(Arc<str>),
    Glob(UrlGlob),
    /// Every URL on these hosts, and every one that is the same on all hosts.
    Host(HostPattern),
    Route(RouteId),
    Everything,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Effect {
    /// Soft: stale from now on; served stale only where the stale windows allow.
    MarkStale,
    /// Hard: gone.
    Remove,
}

/// The version of a record as it is written. The law of upgrades: whatever an older reader would take for less than is
/// meant is a new version, or a scope that it does not know; it then purges everything.
const VERSION: u32 = 1;

/// What one call purges, all or nothing: one record of the log under one mark.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub struct Record {
    pub purges: Vec<Purge>,
    pub cause: Cause,
    /// When it was asked for, by the clock of the instance that was asked; told, never compared with marks.
    pub at: Timestamp,
}

/// A record as it is written. A member that is not known is an error: it may widen what is meant.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    /// Records without it are of the first.
    #[serde(default = "first")]
    version: u32,
    purges: Vec<Purge>,
    cause: Cause,
    #[serde(with = "millis")]
    at: Timestamp,
}

/// Why a record is not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the record is of version {0}, and only {VERSION} is known here")]
struct Unknown(u32);

const fn first() -> u32 {
    1
}

impl TryFrom<Written> for Record {
    type Error = Unknown;

    fn try_from(written: Written) -> Result<Self, Unknown> {
        let Written { version, purges, cause, at } = written;
        if (1..=VERSION).contains(&version) {
            Ok(Self { purges, cause, at })
        } else {
            Err(Unknown(version))
        }
    }
}

impl From<Record> for Written {
    fn from(Record { purges, cause, at }: Record) -> Self {
        Self { version: VERSION, purges, cause, at }
    }
}

/// Who purged, and why; for the audit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cause {
    /// The token's name, `public` for a write through the proxy, or the address.
    pub by: String,
    pub reason: Option<String>,
    /// The event that was told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<String>,
    /// The address that it came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The URLs that [`Scope::Url`] stands for, as they were named.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub urls: Vec<String>,
    /// How many of the hottest entries that go the instance that was asked fetches again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rewarm: Option<u32>,
}

mod key_bits {
    //! A key as 32 hexadecimal digits.
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::key::Key;

    pub(super) fn serialize<S: Serializer>(key: &Key, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&key.to_string())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Key, D::Error> {
        let text = String::deserialize(deserializer)?;
        u128::from_str_radix(&text, 16).map(Key::from_bits).map_err(serde::de::Error::custom)
    }
}

mod millis {
    //! A moment as milliseconds.
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::time::Timestamp;

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
    pub(super) fn serialize<S: Serializer>(
        at: &Timestamp,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(at.as_millis())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Timestamp, D::Error> {
        u64::deserialize(deserializer).map(Timestamp::from_millis)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Record, serde_json::Error> {
        serde_json::from_str(text)
    }

    #[test]
    fn a_record_of_the_first_release_is_read_for_ever() {
        let record = read(
            r#"{"purges":[{"scope":{"Tag":"a"},"effect":"Remove"},{"scope":"Everything","effect":"MarkStale"}],
                "cause":{"by":"ci","reason":null},"at":5}"#,
        );
        let record = record.unwrap();
        assert_eq!(record.purges[0].scope, Scope::Tag(Tag::new("a")));
        assert_eq!(record.at, Timestamp::from_millis(5));
    }

    #[test]
    fn every_scope_is_written_and_read_alike() {
        let tags = ["a", "b"].map(Tag::new);
        let scopes = [
            Scope::Url(Key::from_bits(7)),
            Scope::Tag(Tag::new("a")),
            Scope::AllTags(tags.into()),
            Scope::Group { origin: "http://h".into(), tag: Tag::new("g") },
            Scope::Path("/a?b".into()),
            Scope::Prefix("/a".into()),
            Scope::Glob(UrlGlob::parse("//*.shop.example/a/**?x=*").unwrap()),
            Scope::Host(HostPattern::parse("*.shop.example").unwrap()),
            Scope::Route(RouteId::new("r")),
            Scope::Everything,
        ];
        let purge = |scope| Purge { scope, effect: Effect::Remove };
        let purges = scopes.into_iter().map(purge).collect();
        let record = Record { purges, cause: Cause::default(), at: Timestamp::from_millis(1) };
        let text = serde_json::to_string(&record).unwrap();
        assert_eq!(read(&text).unwrap(), record, "{text}");
    }

    #[test]
    fn what_a_later_release_may_mean_is_not_read_as_less() {
        let rest = r#""purges":[],"cause":{"by":""},"at":5}"#;
        assert!(read(&format!("{{\"version\":1,{rest}")).is_ok());
        for start in ["\"version\":2,", "\"version\":0,", "\"except\":[],"] {
            assert!(read(&format!("{{{start}{rest}")).is_err(), "{start}");
        }
        for purge in [
            r#"{"scope":{"Moon":"x"},"effect":"Remove"}"#,
            r#"{"scope":{"Glob":"no slash"},"effect":"Remove"}"#,
            r#"{"scope":"Everything","effect":"Remove","after":1}"#,
            r#"{"scope":"Everything","effect":"Later"}"#,
        ] {
            let text = rest.replace("[]", &format!("[{purge}]"));
            assert!(read(&format!("{{{text}")).is_err(), "{purge}");
        }
    }
}
