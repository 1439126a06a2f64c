//! One entry as bytes: how it is written to a store that outlives the process.
//!
//! ```text
//! offset  0   4       5            9            17       33     33 + head
//!         | LRDR | version | head length | body length | digest | head ... | body ... |
//! ```
//!
//! Lengths are big-endian; the digest is the first half of BLAKE3 over all bytes but its own. The head is
//! `MessagePack` in array form. The law of upgrades: a change of any of this is a new version, an unknown version is a
//! miss, and a version that a release wrote keeps its golden test.

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use http::StatusCode;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteArray;

use crate::entry::facts::{Epoch, Facts, Mark, RouteId, Tag};
use crate::entry::freshness::{Freshness, UseWithoutAsking};
use crate::entry::{Entry, Head, Stored};
use crate::key::Key;
use crate::key::vary::Variant;
use crate::time::Timestamp;

const MAGIC: &[u8; 4] = b"LRDR";
/// Version 2 added the epoch of `as_of`; without it, no log vouches for the entry.
const VERSION: u8 = 2;
const OLDEST: u8 = 1;
const PREFIX: usize = 33;
/// Where the digest lies within the prefix.
const DIGEST: std::ops::Range<usize> = 17..PREFIX;

/// Why bytes are not an entry that can be used. All of them are misses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Unreadable {
    #[error("this is no stored entry")]
    Foreign,
    #[error("the entry is of the unknown version {0}")]
    Version(u8),
    #[error("the entry is cut off")]
    Cut,
    #[error("the entry does not match its digest")]
    Digest,
    #[error("the entry's head makes no sense")]
    Malformed,
    #[error("the entry is another URL's")]
    OtherKey,
}

/// The entry as bytes; nothing while its body arrives, and nothing for a part: no version has a place to say that it is
/// one. Copies the body once.
pub fn encode(entry: &Entry) -> Option<Bytes> {
    let body = entry.whole().filter(|_| entry.part().is_none())?;
    // Numbers, texts and bytes into memory: there is nothing that could fail.
    let head = rmp_serde::to_vec(&WireHead::of(entry)).ok()?;
    let mut bytes = BytesMut::with_capacity(PREFIX + head.len() + body.len());
    bytes.put_slice(MAGIC);
    bytes.put_u8(VERSION);
    bytes.put_u32(u32::try_from(head.len()).ok()?);
    bytes.put_u64(body.len() as u64);
    bytes.put_bytes(0, DIGEST.len());
    bytes.put_slice(&head);
    bytes.put_slice(body);
    let digest = digest(&bytes);
    bytes[DIGEST].copy_from_slice(&digest);
    Some(bytes.freeze())
}

/// The entry that the bytes are, its body a slice of them. No bytes make it panic.
pub fn decode(bytes: &Bytes, expected: Key) -> Result<Entry, Unreadable> {
    if bytes.len() < PREFIX {
        return Err(if bytes.starts_with(MAGIC) { Unreadable::Cut } else { Unreadable::Foreign });
    }
    let (prefix, rest) = bytes.split_at(PREFIX);
    if !prefix.starts_with(MAGIC) {
        return Err(Unreadable::Foreign);
    }
    if !(OLDEST..=VERSION).contains(&prefix[4]) {
        return Err(Unreadable::Version(prefix[4]));
    }
    let head = u32::from_be_bytes(fixed(&prefix[5..9])) as usize;
    let body = u64::from_be_bytes(fixed(&prefix[9..17]));
    if (rest.len() as u64).checked_sub(head as u64) != Some(body) {
        return Err(Unreadable::Cut);
    }
    if digest(bytes) != prefix[DIGEST] {
        return Err(Unreadable::Digest);
    }
    let wire: WireHead<'_> =
        rmp_serde::from_slice(&rest[..head]).map_err(|_| Unreadable::Malformed)?;
    if wire.facts.key.into_array() != expected.bits().to_be_bytes() {
        return Err(Unreadable::OtherKey);
    }
    wire.entry(Stored::Whole(bytes.slice(PREFIX + head..))).ok_or(Unreadable::Malformed)
}

fn digest(bytes: &[u8]) -> [u8; 16] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&bytes[..DIGEST.start]);
    hasher.update(&bytes[DIGEST.end..]);
    fixed(&hasher.finalize().as_bytes()[..16])
}

fn fixed<const N: usize>(bytes: &[u8]) -> [u8; N] {
    bytes.try_into().expect("the slice was cut to this length")
}

/// The head as it is written, in the order in which it is written.
#[derive(Serialize, Deserialize)]
struct WireHead<'a> {
    #[serde(borrow)]
    facts: WireFacts<'a>,
    status: u16,
    #[serde(borrow)]
    fields: Vec<(&'a serde_bytes::Bytes, &'a serde_bytes::Bytes)>,
    freshness: WireFreshness,
    /// The names of the fields that selected the variant, with their values.
    #[serde(borrow)]
    variant: Vec<(&'a str, Option<&'a serde_bytes::Bytes>)>,
}

#[derive(Serialize, Deserialize)]
struct WireFacts<'a> {
    key: ByteArray<16>,
    url_key: ByteArray<16>,
    url: &'a str,
    route: &'a str,
    #[serde(borrow)]
    tags: Vec<&'a str>,
    as_of: (u64, u64),
    /// The epoch of `as_of`; since version 2.
    #[serde(default)]
    epoch: u64,
}

/// Milliseconds, all but the last.
#[derive(Serialize, Deserialize)]
struct WireFreshness {
    received: u64,
    initial_age: u64,
    lifetime: u64,
    stale_while_revalidate: u64,
    stale_if_error: u64,
    keep: u64,
    fetch_time: u64,
    use_without_asking: u8,
}

impl<'a> WireHead<'a> {
    fn of(entry: &'a Entry) -> Self {
        let fields = entry.lines.iter();
        let fields = fields
            .map(|(name, value)| (serde_bytes::Bytes::new(name), serde_bytes::Bytes::new(value)));
        let variant = entry.variant.parts();
        let variant =
            variant.map(|(name, value)| (name.as_str(), value.map(serde_bytes::Bytes::new)));
        Self {
            facts: WireFacts::of(&entry.facts),
            status: entry.status.as_u16(),
            fields: fields.collect(),
            freshness: WireFreshness::of(&entry.freshness()),
            variant: variant.collect(),
        }
    }

    fn entry(&self, body: Stored) -> Option<Entry> {
        let head = Head { status: StatusCode::from_u16(self.status).ok()?, fields: self.fields()? };
        let freshness = self.freshness.freshness()?;
        Some(Entry::new(self.facts.facts(), &head, freshness, self.variant()?, body))
    }

    fn fields(&self) -> Option<HeaderMap> {
        // Room for the fields that an answer adds, so that a copy of the map need not grow.
        let mut fields = HeaderMap::try_with_capacity(self.fields.len() + 6).ok()?;
        for (name, value) in &self.fields {
            let name = HeaderName::from_bytes(name).ok()?;
            fields.try_append(name, HeaderValue::from_bytes(value).ok()?).ok()?;
        }
        Some(fields)
    }

    fn variant(&self) -> Option<Variant> {
        let parts: Option<Vec<_>> = self
            .variant
            .iter()
            .map(|(name, value)| {
                let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
                Some((name, value.map(|value| Box::from(&**value))))
            })
            .collect();
        Some(Variant::from_parts(parts?))
    }
}

impl<'a> WireFacts<'a> {
    fn of(facts: &'a Facts) -> Self {
        Self {
            key: ByteArray::new(facts.key.bits().to_be_bytes()),
            url_key: ByteArray::new(facts.url_key.bits().to_be_bytes()),
            url: &facts.url,
            route: facts.route.as_str(),
            tags: facts.tags.iter().map(Tag::as_str).collect(),
            as_of: (facts.as_of.millis, facts.as_of.number),
            epoch: facts.as_of.epoch.number(),
        }
    }

    fn facts(&self) -> Facts {
        Facts {
            key: Key::from_bits(u128::from_be_bytes(self.key.into_array())),
            url_key: Key::from_bits(u128::from_be_bytes(self.url_key.into_array())),
            url: self.url.into(),
            route: RouteId::new(self.route),
            tags: self.tags.iter().map(|tag| Tag::new(tag)).collect(),
            as_of: Mark::new(self.as_of.0, self.as_of.1).of(Epoch::new(self.epoch)),
        }
    }
}

impl WireFreshness {
    fn of(freshness: &Freshness) -> Self {
        Self {
            received: freshness.received.as_millis(),
            initial_age: millis(freshness.initial_age),
            lifetime: millis(freshness.lifetime),
            stale_while_revalidate: millis(freshness.stale_while_revalidate),
            stale_if_error: millis(freshness.stale_if_error),
            keep: millis(freshness.keep),
            fetch_time: millis(freshness.fetch_time),
            use_without_asking: match freshness.use_without_asking {
                UseWithoutAsking::Allowed => 0,
                UseWithoutAsking::OnlyFresh => 1,
                UseWithoutAsking::Never => 2,
            },
        }
    }

    fn freshness(&self) -> Option<Freshness> {
        Some(Freshness {
            received: Timestamp::from_millis(self.received),
            initial_age: Duration::from_millis(self.initial_age),
            lifetime: Duration::from_millis(self.lifetime),
            stale_while_revalidate: Duration::from_millis(self.stale_while_revalidate),
            stale_if_error: Duration::from_millis(self.stale_if_error),
            keep: Duration::from_millis(self.keep),
            fetch_time: Duration::from_millis(self.fetch_time),
            use_without_asking: match self.use_without_asking {
                0 => UseWithoutAsking::Allowed,
                1 => UseWithoutAsking::OnlyFresh,
                2 => UseWithoutAsking::Never,
                _ => return None,
            },
        })
    }
}

/// Rounded down: a lifetime is never lengthened by being written.
fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use http::header::{ETAG, SET_COOKIE};
    use proptest::prelude::{Strategy, any, prop};
    use proptest::{prop_assert, prop_assert_eq, prop_assume, proptest};

    use super::*;

    const KEY: Key = Key::from_bits(0x0011_2233_4455_6677_8899_aabb_ccdd_eeff);

    /// `entry()` as the first release wrote it: its mark has no epoch.
    const VERSION_1: &str = concat!(
        "4c52445201000000d900000000000000051f67b5902e0307ae2ae6ba78806ed45e9596c4100011223344",
        "5566778899aabbccddeeffc41000000000000000000000000000000007b9687474703a2f2f73686f702e",
        "6578616d706c652f613f623d31a870726f647563747392a970726f647563743a31a2c3a492cf0000018b",
        "cfe5680003cd01949392c40a7365742d636f6f6b6965c403613d3192c40a7365742d636f6f6b6965c403",
        "623d3292c40465746167c40422e4ff2298cf0000018bcfe5687b01cdea60cd07d0cd0bb8cd0fa0050192",
        "92af6163636570742d656e636f64696e67c4036272ff92af6163636570742d6c616e6775616765c06865",
        "6c6c6f",
    );

    /// `entry()` with the epoch of its mark.
    const VERSION_2: &str = concat!(
        "4c52445202000000e200000000000000053fcd2f41ae8e910908fdbf7a25da39b89597c4100011223344",
        "5566778899aabbccddeeffc41000000000000000000000000000000007b9687474703a2f2f73686f702e",
        "6578616d706c652f613f623d31a870726f647563747392a970726f647563743a31a2c3a492cf0000018b",
        "cfe5680003cf0000001f3a5b7c9dcd01949392c40a7365742d636f6f6b6965c403613d3192c40a736574",
        "2d636f6f6b6965c403623d3292c40465746167c40422e4ff2298cf0000018bcfe5687b01cdea60cd07d0",
        "cd0bb8cd0fa005019292af6163636570742d656e636f64696e67c4036272ff92af6163636570742d6c61",
        "6e6775616765c068656c6c6f",
    );

    fn entry() -> Entry {
        let facts = Facts {
            key: KEY,
            url_key: Key::from_bits(7),
            url: "http://shop.example/a?b=1".into(),
            route: RouteId::new("products"),
            tags: [Tag::new("product:1"), Tag::new("ä")].into(),
            as_of: Mark::new(1_700_000_000_000, 3).of(Epoch::new(0x1f_3a5b_7c9d)),
        };
        let mut fields = HeaderMap::new();
        fields.append(SET_COOKIE, HeaderValue::from_static("a=1"));
        fields.append(SET_COOKIE, HeaderValue::from_static("b=2"));
        fields.append(ETAG, HeaderValue::from_bytes(b"\"\xe4\xff\"").unwrap());
        let freshness = Freshness {
            received: Timestamp::from_millis(1_700_000_000_123),
            initial_age: Duration::from_millis(1),
            lifetime: Duration::from_mins(1),
            stale_while_revalidate: Duration::from_secs(2),
            stale_if_error: Duration::from_secs(3),
            keep: Duration::from_secs(4),
            fetch_time: Duration::from_millis(5),
            use_without_asking: UseWithoutAsking::OnlyFresh,
        };
        let variant = Variant::from_parts([
            (HeaderName::from_static("accept-encoding"), Some(b"br\xff".as_slice().into())),
            (HeaderName::from_static("accept-language"), None),
        ]);
        let body = Stored::Whole(Bytes::from_static(b"hello"));
        let head = Head { status: StatusCode::NOT_FOUND, fields };
        Entry::new(facts, &head, freshness, variant, body)
    }

    fn encoded() -> Bytes {
        encode(&entry()).unwrap()
    }

    fn assert_same(left: &Entry, right: &Entry) {
        assert_eq!(left.facts, right.facts);
        assert_eq!(left.head(), right.head());
        assert_eq!(left.freshness(), right.freshness());
        assert_eq!(left.variant, right.variant);
        assert_eq!(left.whole(), right.whole());
    }

    #[test]
    fn an_entry_comes_back_as_it_was_with_repeated_lines_and_odd_bytes() {
        let back = decode(&encoded(), KEY).unwrap();
        assert_same(&back, &entry());
        let fields = back.fields();
        let cookies: Vec<_> = fields.get_all(SET_COOKIE).iter().collect();
        assert_eq!(cookies, ["a=1", "b=2"]);
    }

    #[test]
    fn the_body_is_a_slice_of_what_was_read() {
        let bytes = encoded();
        let back = decode(&bytes, KEY).unwrap();
        assert!(bytes.as_ptr_range().contains(&back.whole().unwrap().as_ptr()));
    }

    fn golden(text: &str) -> Bytes {
        let digit = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
        (0..text.len()).step_by(2).map(digit).collect()
    }

    #[test]
    fn version_1_is_read_for_ever_and_no_log_vouches_for_it() {
        let old = entry();
        let facts = Facts { as_of: old.facts.as_of.of(Epoch::NONE), ..old.facts.clone() };
        assert_same(&decode(&golden(VERSION_1), KEY).unwrap(), &Entry { facts, ..old });
    }

    #[test]
    fn version_2_is_read_for_ever() {
        assert_same(&decode(&golden(VERSION_2), KEY).unwrap(), &entry());
        assert_eq!(encoded(), golden(VERSION_2));
    }

    #[test]
    fn an_arriving_body_is_not_written() {
        let (_writer, fill) = crate::message::fill::Fill::open(10);
        assert!(encode(&entry().with_body(Stored::Arriving { fill, length: None })).is_none());
    }

    #[test]
    fn a_part_is_not_written_since_it_would_be_read_as_the_whole() {
        let part = crate::message::content_range::ContentRange::new(0..5, 10);
        assert!(part.is_some() && encode(&entry().of_part(part)).is_none());
    }

    #[test]
    fn every_reason_has_its_name() {
        let mut next = encoded().to_vec();
        next[4] = VERSION + 1;
        assert_eq!(decode(&next.into(), KEY).unwrap_err(), Unreadable::Version(VERSION + 1));
        assert_eq!(decode(&encoded(), Key::from_bits(1)).unwrap_err(), Unreadable::OtherKey);
        assert_eq!(decode(&Bytes::new(), KEY).unwrap_err(), Unreadable::Foreign);
        assert_eq!(decode(&encoded().slice(..40), KEY).unwrap_err(), Unreadable::Cut);
        assert_eq!(decode(&sealed(b"\xc0", b""), KEY).unwrap_err(), Unreadable::Malformed);
    }

    /// A head and a body with the right lengths and the right digest.
    fn sealed(head: &[u8], body: &[u8]) -> Bytes {
        let mut bytes = MAGIC.to_vec();
        bytes.push(VERSION);
        bytes.extend_from_slice(&u32::try_from(head.len()).unwrap().to_be_bytes());
        bytes.extend_from_slice(&(body.len() as u64).to_be_bytes());
        bytes.extend_from_slice(&[0; 16]);
        bytes.extend_from_slice(head);
        bytes.extend_from_slice(body);
        let digest = digest(&bytes);
        bytes[DIGEST].copy_from_slice(&digest);
        bytes.into()
    }

    fn bytes(length: usize) -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(any::<u8>(), 0..length)
    }

    proptest! {
        #[test]
        fn random_bytes_are_refused(bytes in bytes(300)) {
            prop_assert!(decode(&bytes.into(), KEY).is_err());
        }

        #[test]
        fn random_heads_under_a_right_digest_are_refused(head in bytes(300), body in bytes(20)) {
            prop_assert!(decode(&sealed(&head, &body), KEY).is_err());
        }

        #[test]
        fn a_head_with_a_changed_byte_is_refused_or_read_but_never_panics(
            at in any::<prop::sample::Index>(), byte in any::<u8>(),
        ) {
            let whole = encoded();
            let head = whole.len() - PREFIX - 5;
            let mut changed = whole[PREFIX..PREFIX + head].to_vec();
            changed[at.index(head)] = byte;
            if let Ok(entry) = decode(&sealed(&changed, b"hello"), KEY) {
                let _never_panics = (entry.freshness().last_use(), entry.freshness().age(Timestamp::now()));
            }
        }

        #[test]
        fn a_cut_entry_is_refused(at in any::<prop::sample::Index>()) {
            let whole = encoded();
            prop_assert!(decode(&whole.slice(..at.index(whole.len())), KEY).is_err());
        }

        #[test]
        fn more_bytes_than_there_should_be_are_refused(more in bytes(20)) {
            prop_assume!(!more.is_empty());
            let longer = [encoded().to_vec(), more].concat();
            prop_assert_eq!(decode(&longer.into(), KEY).unwrap_err(), Unreadable::Cut);
        }

        #[test]
        fn a_flipped_bit_is_always_noticed(at in any::<prop::sample::Index>(), bit in 0..8_u8) {
            let mut changed = encoded().to_vec();
            let at = at.index(changed.len());
            changed[at] ^= 1 << bit;
            prop_assert!(decode(&changed.into(), KEY).is_err());
        }

        #[test]
        fn whatever_is_stored_comes_back(
            status in 100_u16..1000,
            values in prop::collection::vec("[ -~\\x{a0}-\\x{ff}]{0,20}", 0..20),
            body in bytes(2000),
            numbers in any::<[u32; 6]>(),
        ) {
            let entry = entry().with_body(Stored::Whole(body.into()));
            let mut head = entry.head();
            head.status = StatusCode::from_u16(status).unwrap();
            for value in values {
                let value: Vec<u8> = value.chars().map(|char| char as u8).collect();
                head.fields.append(ETAG, HeaderValue::from_bytes(&value).unwrap());
            }
            let entry = entry.with_head(&head);
            let [initial_age, lifetime, swr, sie, keep, _] = numbers.map(|n| Duration::from_millis(n.into()));
            let freshness = Freshness {
                initial_age, lifetime, stale_while_revalidate: swr, stale_if_error: sie, keep,
                ..entry.freshness()
            };
            let entry = entry.with_freshness(freshness);
            assert_same(&decode(&encode(&entry).unwrap(), KEY).unwrap(), &entry);
        }
    }
}
