//! One entry as bytes: how it is written to a store that outlives the process.
//!
//! ```text
//! offset  0   4         5        6      7           8             12              20                28
//!         | LRDR | version | coding | seal | id length | head length | body length | stored length | ...
//! in clear:   digest (16) | head ... | body ... |
//! encrypted:  nonce (12) | key's id ... | head ... and body ..., encrypted | tag (16) |
//! ```
//!
//! Numbers are big-endian. The body may be compressed: its length is what it becomes, the stored length what it takes
//! here. The digest is XXH3 of 128 bits over all that follows it, seeded with that of 64 bits over all before: it tells what
//! was damaged, and no digest without a key tells what was forged. What is encrypted is bound to all that stands
//! before it and to the place where it lies. The head is `MessagePack` in array form. The law of upgrades: a change of
//! any of this is a new version, an unknown version is a miss, and a version that a release wrote keeps its golden test.
//! Up to version 3 the digest is the first half of BLAKE3 over all bytes but its own. Versions 1 and 2 are in clear,
//! uncompressed, and begin with version, head length, body length and digest.

use std::time::Duration;

use bytes::{BufMut, Bytes};
use http::StatusCode;
use http::header::HeaderName;
use xxhash_rust::xxh3::{xxh3_64, xxh3_128_with_seed};

use crate::entry::facts::{Epoch, Facts, Mark, RouteId, Tag};
use crate::entry::freshness::{Freshness, UseWithoutAsking};
use crate::entry::lines::Lines;
use crate::entry::pack::{Reader, Writer};
use crate::entry::seal::{Body, NONCE, Seal, Spot, TAG};
use crate::entry::{Entry, Stored};
use crate::key::Key;
use crate::key::vary::Variant;
use crate::time::Timestamp;

const MAGIC: &[u8; 4] = b"LRDR";
/// Version 4 changed the digest: the other took 3,800 of the 12,200 instructions of reading an entry of a kilobyte.
const VERSION: u8 = 4;
/// Version 3 added compression and encryption.
const BLAKED: u8 = 3;
/// Version 2 added the epoch of `as_of`; without it, no log vouches for the entry.
const CLEAR: std::ops::RangeInclusive<u8> = 1..=2;
/// What stands before head and body in versions 1 and 2, and where the digest lies in it.
const OLD_PREFIX: usize = 33;
const OLD_DIGEST: std::ops::Range<usize> = 17..OLD_PREFIX;
/// What every entry since version 3 begins with.
const PREFIX: usize = 28;
const DIGEST: std::ops::Range<usize> = PREFIX..PREFIX + 16;

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
    #[error("the entry is in clear, where only encrypted ones are trusted")]
    Unsealed,
    #[error("the entry is encrypted under a key that is not known")]
    UnknownKey,
    #[error("the entry was changed or moved after it was encrypted")]
    Seal,
    #[error("the entry's body does not expand to what it should be")]
    Compression,
}

/// An entry as bytes.
pub struct Encoded {
    pub bytes: Bytes,
    /// Bytes of its body as it is served, and as it is stored.
    pub body: usize,
    pub stored: usize,
}

/// The entry as bytes for `spot`; nothing while its body arrives, and nothing for a part: no version has a place to say
/// that it is one. Of two entries that `seal` encrypts, no two may have one `nonce`. Copies the body once.
pub fn encode(entry: &Entry, seal: &Seal, spot: &Spot<'_>, nonce: [u8; NONCE]) -> Option<Encoded> {
    if entry.part().is_some() {
        return None;
    }
    let body = entry.bytes()?;
    let head = write_head(entry);
    let coded = seal.compress(&entry.fields(), &body);
    let (coding, stored) = match &coded {
        Body::Plain(body) => (0, *body),
        Body::Zstd(body) => (1, &**body),
    };
    let key = seal.key();
    let id = key.map_or("", |key| key.id());
    let mut bytes = Vec::with_capacity(PREFIX + NONCE + id.len() + head.len() + stored.len() + TAG);
    bytes.put_slice(MAGIC);
    bytes.put_slice(&[VERSION, coding, u8::from(key.is_some()), u8::try_from(id.len()).ok()?]);
    bytes.put_u32(u32::try_from(head.len()).ok()?);
    bytes.put_u64(body.len() as u64);
    bytes.put_u64(stored.len() as u64);
    match key {
        None => {
            bytes.put_bytes(0, DIGEST.len());
            bytes.put_slice(&head);
            bytes.put_slice(stored);
            let digest = digest(&bytes);
            bytes[DIGEST].copy_from_slice(&digest);
        }
        Some(key) => {
            bytes.put_slice(&nonce);
            bytes.put_slice(id.as_bytes());
            let mut text = [&head, stored].concat();
            key.encrypt(nonce, &about(&bytes, spot), &mut text);
            bytes.put_slice(&text);
        }
    }
    Some(Encoded { bytes: bytes.into(), body: body.len(), stored: stored.len() })
}

/// The entry that the bytes at `spot` are; its body is a slice of them where it is neither compressed nor encrypted. No
/// bytes make it panic, and none make it take more memory than they have and the largest object has.
pub fn decode(bytes: &Bytes, seal: &Seal, spot: &Spot<'_>) -> Result<Entry, Unreadable> {
    let too_short = || if bytes.starts_with(MAGIC) { Unreadable::Cut } else { Unreadable::Foreign };
    let version = *bytes.get(MAGIC.len()).ok_or_else(too_short)?;
    if !bytes.starts_with(MAGIC) {
        return Err(Unreadable::Foreign);
    }
    let opened = match version {
        version if CLEAR.contains(&version) => old(bytes, seal)?,
        BLAKED | VERSION => opened(bytes, seal, spot)?,
        version => return Err(Unreadable::Version(version)),
    };
    let whole = opened.decrypted.as_ref().unwrap_or(bytes);
    let text = whole.get(opened.begin..).ok_or(Unreadable::Cut)?;
    let (head, body) = text.split_at_checked(opened.head).ok_or(Unreadable::Cut)?;
    let head = ReadHead::from(head).ok_or(Unreadable::Malformed)?;
    if head.facts.key != spot.key {
        return Err(Unreadable::OtherKey);
    }
    let body = match opened.coding {
        Coding::Plain => whole.slice_ref(body),
        Coding::Zstd { length } => seal.expand(body, length)?.into(),
    };
    Ok(head.entry(Stored::Whole(body)))
}

/// What is known to be as it was written.
struct Opened {
    /// Where it was encrypted.
    decrypted: Option<Bytes>,
    /// Where head and body begin, in it or in all bytes.
    begin: usize,
    /// Bytes of the head.
    head: usize,
    coding: Coding,
}

enum Coding {
    Plain,
    Zstd { length: u64 },
}

/// Versions 1 and 2. A digest without a key is easily made: where there are keys, it is no proof.
fn old(bytes: &Bytes, seal: &Seal) -> Result<Opened, Unreadable> {
    let (prefix, rest) = bytes.split_at_checked(OLD_PREFIX).ok_or(Unreadable::Cut)?;
    let head = u32::from_be_bytes(fixed(&prefix[5..9])) as usize;
    let body = u64::from_be_bytes(fixed(&prefix[9..17]));
    if (rest.len() as u64).checked_sub(head as u64) != Some(body) {
        return Err(Unreadable::Cut);
    }
    if seal.key().is_some() {
        return Err(Unreadable::Unsealed);
    }
    if blaked(bytes, OLD_DIGEST) != prefix[OLD_DIGEST] {
        return Err(Unreadable::Digest);
    }
    Ok(Opened { decrypted: None, begin: OLD_PREFIX, head, coding: Coding::Plain })
}

/// Versions 3 and 4.
fn opened(bytes: &Bytes, seal: &Seal, spot: &Spot<'_>) -> Result<Opened, Unreadable> {
    let prefix = bytes.get(..PREFIX).ok_or(Unreadable::Cut)?;
    let head = u32::from_be_bytes(fixed(&prefix[8..12])) as usize;
    let length = u64::from_be_bytes(fixed(&prefix[12..20]));
    let stored = u64::from_be_bytes(fixed(&prefix[20..28]));
    let coding = match prefix[5] {
        0 if length == stored => Coding::Plain,
        1 => Coding::Zstd { length },
        _ => return Err(Unreadable::Malformed),
    };
    let id = usize::from(prefix[7]);
    let (begin, end) = match prefix[6] {
        0 if id == 0 => (DIGEST.end, 0),
        1 => (PREFIX + NONCE + id, TAG),
        _ => return Err(Unreadable::Malformed),
    };
    let rest = bytes.len().checked_sub(begin + end).and_then(|text| text.checked_sub(head));
    if rest.map(|body| body as u64) != Some(stored) {
        return Err(Unreadable::Cut);
    }
    if end == 0 {
        if seal.key().is_some() {
            return Err(Unreadable::Unsealed);
        }
        let digest = if prefix[4] == BLAKED { blaked(bytes, DIGEST) } else { digest(bytes) };
        if digest != bytes[DIGEST] {
            return Err(Unreadable::Digest);
        }
        return Ok(Opened { decrypted: None, begin, head, coding });
    }
    let key = seal.key_of(&bytes[PREFIX + NONCE..begin]).ok_or(Unreadable::UnknownKey)?;
    let (nonce, about) = (&bytes[PREFIX..PREFIX + NONCE], about(&bytes[..begin], spot));
    let decrypted = key.decrypt(nonce, &about, &bytes[begin..]).ok_or(Unreadable::Seal)?;
    Ok(Opened { decrypted: Some(decrypted.into()), begin: 0, head, coding })
}

/// What an encrypted entry is bound to: all that stands before it, and where it lies.
fn about(before: &[u8], spot: &Spot<'_>) -> Vec<u8> {
    let length = (spot.slot.len() as u64).to_be_bytes();
    [before, &length, spot.slot.as_bytes(), spot.field.as_bytes()].concat()
}

/// The digest of an entry whose own digest stands at its place, whatever that is.
fn digest(bytes: &[u8]) -> [u8; 16] {
    let (before, after) = (&bytes[..DIGEST.start], &bytes[DIGEST.end..]);
    xxh3_128_with_seed(after, xxh3_64(before)).to_be_bytes()
}

/// The digest of former versions.
fn blaked(bytes: &[u8], its_own: std::ops::Range<usize>) -> [u8; 16] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&bytes[..its_own.start]);
    hasher.update(&bytes[its_own.end..]);
    fixed(&hasher.finalize().as_bytes()[..16])
}

fn fixed<const N: usize>(bytes: &[u8]) -> [u8; N] {
    bytes.try_into().expect("the slice was cut to this length")
}

/// The head, in the order in which it is written: facts, status, fields, freshness, variant.
fn write_head(entry: &Entry) -> Vec<u8> {
    let mut head = Writer::default();
    head.array(5);
    write_facts(&mut head, &entry.facts);
    head.number(entry.status.as_u16().into());
    head.array(entry.lines.iter().count());
    for (name, value) in entry.lines.iter() {
        head.array(2);
        head.bytes(name);
        head.bytes(value);
    }
    write_freshness(&mut head, &entry.freshness());
    head.array(entry.variant.parts().count());
    for (name, value) in entry.variant.parts() {
        head.array(2);
        head.text(name.as_str());
        head.bytes_or_nil(value);
    }
    head.into_bytes()
}

fn write_facts(head: &mut Writer, facts: &Facts) {
    head.array(7);
    head.bytes(&facts.key.bits().to_be_bytes());
    head.bytes(&facts.url_key.bits().to_be_bytes());
    head.text(&facts.url);
    head.text(facts.route.as_str());
    head.array(facts.tags.len());
    facts.tags.iter().for_each(|tag| head.text(tag.as_str()));
    head.array(2);
    head.number(facts.as_of.millis);
    head.number(facts.as_of.number);
    head.number(facts.as_of.epoch.number());
}

/// Milliseconds, all but the last.
fn write_freshness(head: &mut Writer, freshness: &Freshness) {
    head.array(8);
    head.number(freshness.received.as_millis());
    for span in [
        freshness.initial_age,
        freshness.lifetime,
        freshness.stale_while_revalidate,
        freshness.stale_if_error,
        freshness.keep,
        freshness.fetch_time,
    ] {
        head.number(millis(span));
    }
    head.number(match freshness.use_without_asking {
        UseWithoutAsking::Allowed => 0,
        UseWithoutAsking::OnlyFresh => 1,
        UseWithoutAsking::Never => 2,
    });
}

/// A head as it was read.
struct ReadHead {
    facts: Facts,
    status: StatusCode,
    lines: Lines,
    freshness: Freshness,
    variant: Variant,
}

impl ReadHead {
    fn from(bytes: &[u8]) -> Option<Self> {
        let mut head = Reader::new(bytes);
        head.array_of(5..=5)?;
        let facts = read_facts(&mut head)?;
        let status = StatusCode::from_u16(head.number()?).ok()?;
        let fields = head.array()?;
        let lines = Lines::read((0..fields).map(|_| {
            head.array_of(2..=2)?;
            Some((head.bytes()?, head.bytes()?))
        }))?;
        let freshness = read_freshness(&mut head)?;
        let parts = head.array()?;
        let parts = (0..parts).map(|_| {
            head.array_of(2..=2)?;
            let name = HeaderName::from_bytes(head.text()?.as_bytes()).ok()?;
            Some((name, if head.nil() { None } else { Some(head.bytes()?.into()) }))
        });
        let variant = Variant::from_parts(parts.collect::<Option<Vec<_>>>()?);
        Some(Self { facts, status, lines, freshness, variant })
    }

    /// Most entries are answers without a map of their fields, and so none is made here.
    fn entry(self, body: Stored) -> Entry {
        let Self { facts, status, lines, freshness, mut variant } = self;
        if variant.heeds_language() && status.is_success() {
            variant = variant.in_language_of(&lines.map());
        }
        Entry::of_lines(facts, (status, lines), freshness, variant, body)
    }
}

fn read_facts(head: &mut Reader<'_>) -> Option<Facts> {
    let values = head.array_of(6..=7)?;
    let key = read_key(head)?;
    let url_key = read_key(head)?;
    let url = head.text()?.into();
    let route = RouteId::new(head.text()?);
    let tags = head.array()?;
    let tags = (0..tags).map(|_| head.text().map(Tag::new)).collect::<Option<_>>()?;
    head.array_of(2..=2)?;
    let as_of = Mark::new(head.number()?, head.number()?);
    // Since version 2.
    let epoch = if values == 7 { Epoch::new(head.number()?) } else { Epoch::NONE };
    Some(Facts { key, url_key, url, route, tags, as_of: as_of.of(epoch) })
}

fn read_key(head: &mut Reader<'_>) -> Option<Key> {
    Some(Key::from_bits(u128::from_be_bytes(head.bytes()?.try_into().ok()?)))
}

fn read_freshness(head: &mut Reader<'_>) -> Option<Freshness> {
    head.array_of(8..=8)?;
    let received = Timestamp::from_millis(head.number()?);
    let mut span = || head.number().map(Duration::from_millis);
    Some(Freshness {
        received,
        initial_age: span()?,
        lifetime: span()?,
        stale_while_revalidate: span()?,
        stale_if_error: span()?,
        keep: span()?,
        fetch_time: span()?,
        use_without_asking: match head.number()? {
            0_u8 => UseWithoutAsking::Allowed,
            1 => UseWithoutAsking::OnlyFresh,
            2 => UseWithoutAsking::Never,
            _ => return None,
        },
    })
}

/// Rounded down: a lifetime is never lengthened by being written.
fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use http::header::{ETAG, HeaderMap, HeaderValue, SET_COOKIE};
    use proptest::prelude::{Strategy, any, prop};
    use proptest::{prop_assert, prop_assert_eq, prop_assume, proptest};
    use serde::{Deserialize, Serialize};
    use serde_bytes::ByteBuf;

    use super::*;
    use crate::entry::Head;
    use crate::entry::seal::{self, Compression, SealKey};

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

    /// The same, and `long()`, which may be compressed.
    const VERSION_3: &str = concat!(
        "4c52445203000000000000e2000000000000000500000000000000056c28f6e174b127157cb0b2cf5130",
        "80669597c41000112233445566778899aabbccddeeffc41000000000000000000000000000000007b968",
        "7474703a2f2f73686f702e6578616d706c652f613f623d31a870726f647563747392a970726f64756374",
        "3a31a2c3a492cf0000018bcfe5680003cf0000001f3a5b7c9dcd01949392c40a7365742d636f6f6b6965",
        "c403613d3192c40a7365742d636f6f6b6965c403623d3292c40465746167c40422e4ff2298cf0000018b",
        "cfe5687b01cdea60cd07d0cd0bb8cd0fa005019292af6163636570742d656e636f64696e67c4036272ff",
        "92af6163636570742d6c616e6775616765c068656c6c6f",
    );
    const VERSION_3_ZSTD: &str = concat!(
        "4c52445203010000000000e200000000000008340000000000000027fd1f6249833bc1f10ad2e7d3100d",
        "f3a19597c41000112233445566778899aabbccddeeffc41000000000000000000000000000000007b968",
        "7474703a2f2f73686f702e6578616d706c652f613f623d31a870726f647563747392a970726f64756374",
        "3a31a2c3a492cf0000018bcfe5680003cf0000001f3a5b7c9dcd01949392c40a7365742d636f6f6b6965",
        "c403613d3192c40a7365742d636f6f6b6965c403623d3292c40465746167c40422e4ff2298cf0000018b",
        "cfe5687b01cdea60cd07d0cd0bb8cd0fa005019292af6163636570742d656e636f64696e67c4036272ff",
        "92af6163636570742d6c616e6775616765c028b52ffd603407ed0000a8616c6c20776f726b20616e6420",
        "6e6f20706c61792001003980fe6402",
    );
    /// Under the key `2026a`, with a nonce of sevens.
    const VERSION_3_SEALED: &str = concat!(
        "4c52445203000105000000e2000000000000000500000000000000050707070707070707070707073230",
        "32366128834f68b200a04f59303c235d793584795de9f98d6f0c0e1a15a3769a6842cba65815b66cd795",
        "1fd4defe8a957189456429bd22e5daac39c156a038d939b9b356add2ee490c53bf7a22bc5263cc8b19fe",
        "33821f9218c3fba6b973bbc728c861179fe1b97a24e2ced3977f821839dca0448bbd2c474a4f4f5d1094",
        "f620ae54e2695a46ce29ce7364ae9bd130bf331a23301f74eaf46168948ab6a5a9ee02038bf51308fe5f",
        "9795f099be3e6b048e9f450b94c4d176ca6d0849b829e706d4a9b43e3f32cfbf75822b57664cef4555da",
        "4f414db709ac8efc30e95af2d6967ba24cfc1d5e8067ad036ee7e0ec500da2c288b67ec14b531387",
    );

    /// What stands in the place of their digests in version 4.
    const DIGEST_4: &str = "43a8df0c6dc0a0864c1bd5cf23a6065e";
    const DIGEST_4_ZSTD: &str = "0f1b0f5ce7e525882bdac98bab224135";
    const VERSION_4_SEALED: &str = concat!(
        "4c52445204000105000000e2000000000000000500000000000000050707070707070707070707073230",
        "3236619927c6b838db3516393a212fdd2aadd24c9e43a55749b0ac882625f31f7b31161dbd59a39f80cb",
        "e3866ac1c7b01b07322f028d89aaaa918e82c9e3d098941b7779fe2121db422f1ed3f027e79b40abd495",
        "42cb5221a2cb92d1a776ca9d2ea4514360299ebfaf2c2da08ff8e3ddc9d2d357b160ba2c675ffd3117a5",
        "5b6127a71230d5dd553523b5df400b0e2e8ecde4d8d0fa0d962bf720297b15a99198bae3552009bed556",
        "d1b15d77d5bc8b2ba418368afb1a38e9fa99339da6bd4099e05eaaf41e7c640f062f468c340813aae6e6",
        "b455b7cef3dc0119f573c11de8e5b2f5231f6e4ff1b9ca8682ccb2558ec8aedb0f1a7e588f24bb0e",
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

    const SPOT: Spot<'static> = Spot { slot: "cache:shop:products:1", field: "0", key: KEY };

    fn write(entry: &Entry) -> Option<Bytes> {
        encode(entry, &Seal::default(), &SPOT, [0; NONCE]).map(|encoded| encoded.bytes)
    }

    fn read(bytes: &Bytes) -> Result<Entry, Unreadable> {
        decode(bytes, &Seal::default(), &SPOT)
    }

    fn seal(keys: &[&str], over: u64) -> Seal {
        let key = |id: &&str| SealKey::new(id, blake3::hash(id.as_bytes()).as_bytes());
        Seal::new(seal::Settings {
            compression: Some(Compression { over, level: 3 }),
            keys: keys.iter().map(key).collect(),
            max_object: 10_000,
        })
    }

    /// An entry whose body shrinks.
    fn long() -> Entry {
        entry().with_body(Stored::Whole(Bytes::from("all work and no play ".repeat(100))))
    }

    /// The same with one more field.
    fn with(name: &'static str, value: &str) -> Entry {
        let mut head = long().head();
        head.fields.insert(name, value.parse().unwrap());
        long().with_head(&head)
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
    }

    fn encoded() -> Bytes {
        write(&entry()).unwrap()
    }

    fn assert_same(left: &Entry, right: &Entry) {
        assert_eq!(left.facts, right.facts);
        assert_eq!(left.head(), right.head());
        assert_eq!(left.freshness(), right.freshness());
        assert_eq!(left.variant, right.variant);
        assert_eq!(left.bytes(), right.bytes());
    }

    #[test]
    fn an_entry_comes_back_as_it_was_with_repeated_lines_and_odd_bytes() {
        let back = read(&encoded()).unwrap();
        assert_same(&back, &entry());
        let fields = back.fields();
        let cookies: Vec<_> = fields.get_all(SET_COOKIE).iter().collect();
        assert_eq!(cookies, ["a=1", "b=2"]);
    }

    #[test]
    fn the_body_is_a_slice_of_what_was_read() {
        let bytes = encoded();
        let back = read(&bytes).unwrap();
        assert!(bytes.as_ptr_range().contains(&back.bytes().unwrap().as_ptr()));
    }

    fn golden(text: &str) -> Bytes {
        let digit = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
        (0..text.len()).step_by(2).map(digit).collect()
    }

    #[test]
    fn version_1_is_read_for_ever_and_no_log_vouches_for_it() {
        let old = entry();
        let facts = Facts { as_of: old.facts.as_of.of(Epoch::NONE), ..old.facts.clone() };
        assert_same(&read(&golden(VERSION_1)).unwrap(), &Entry { facts, ..old });
    }

    #[test]
    fn version_2_is_read_for_ever() {
        assert_same(&read(&golden(VERSION_2)).unwrap(), &entry());
    }

    #[test]
    fn version_3_is_read_for_ever_in_clear_compressed_and_encrypted() {
        let (clear, ring) = (seal(&[], 1), seal(&["2026a"], 1));
        assert_same(&decode(&golden(VERSION_3), &clear, &SPOT).unwrap(), &entry());
        assert_same(&decode(&golden(VERSION_3_ZSTD), &clear, &SPOT).unwrap(), &long());
        assert_same(&decode(&golden(VERSION_3_SEALED), &ring, &SPOT).unwrap(), &entry());
    }

    #[test]
    fn version_4_is_version_3_with_another_digest() {
        let (clear, ring) = (seal(&[], 1), seal(&["2026a"], 1));
        let sealed = encode(&entry(), &ring, &SPOT, [7; NONCE]).unwrap();
        let packed = encode(&long(), &clear, &SPOT, [7; NONCE]).unwrap();
        for (written, digest, before) in
            [(encoded(), DIGEST_4, VERSION_3), (packed.bytes, DIGEST_4_ZSTD, VERSION_3_ZSTD)]
        {
            let mut expected = golden(before).to_vec();
            expected[4] = 4;
            expected[DIGEST].copy_from_slice(&golden(digest));
            assert_eq!(hex(&written), hex(&expected));
            // Neither is taken for the other.
            expected[4] = 3;
            assert_eq!(read(&expected.into()).unwrap_err(), Unreadable::Digest);
        }
        assert_same(&decode(&golden(VERSION_4_SEALED), &ring, &SPOT).unwrap(), &entry());
        assert_eq!(hex(&sealed.bytes), VERSION_4_SEALED);
    }

    #[test]
    fn where_there_are_keys_what_lies_in_clear_is_absent_whatever_its_version() {
        let ring = seal(&["2026a"], 1);
        for clear in [VERSION_1, VERSION_2, VERSION_3, VERSION_3_ZSTD] {
            let read = decode(&golden(clear), &ring, &SPOT);
            assert_eq!(read.unwrap_err(), Unreadable::Unsealed);
        }
    }

    #[test]
    fn every_key_of_the_ring_decrypts_and_no_other_does() {
        let old = encode(&long(), &seal(&["2026a"], 1), &SPOT, [7; NONCE]).unwrap().bytes;
        assert_same(&decode(&old, &seal(&["2026b", "2026a"], 1), &SPOT).unwrap(), &long());
        for without in [seal(&["2026b"], 1), Seal::default()] {
            assert_eq!(decode(&old, &without, &SPOT).unwrap_err(), Unreadable::UnknownKey);
        }
        let same_id = SealKey::new("2026a", &[9; 32]);
        let same_id = seal::Settings { keys: vec![same_id], ..seal::Settings::default() };
        let read = decode(&old, &Seal::new(same_id), &SPOT);
        assert_eq!(read.unwrap_err(), Unreadable::Seal);
    }

    #[test]
    fn what_is_encrypted_opens_only_where_it_was_put() {
        let ring = seal(&["2026a"], 1);
        let bytes = encode(&entry(), &ring, &SPOT, [7; NONCE]).unwrap().bytes;
        for moved in [Spot { slot: "cache:shop:products:2", ..SPOT }, Spot { field: "1", ..SPOT }] {
            assert_eq!(decode(&bytes, &ring, &moved).unwrap_err(), Unreadable::Seal);
        }
    }

    #[test]
    fn nothing_that_was_said_lies_in_clear() {
        let ring = seal(&["2026a"], 10_000);
        let bytes = encode(&long(), &ring, &SPOT, [7; NONCE]).unwrap().bytes;
        for said in ["shop.example", "product:1", "products", "all work", "set-cookie", "a=1"] {
            let is_there = bytes.windows(said.len()).any(|window| window == said.as_bytes());
            assert!(!is_there, "{said}");
        }
    }

    #[test]
    fn compression_is_kept_where_it_pays() {
        let clear = seal(&[], 100);
        let stored = |entry: &Entry| encode(entry, &clear, &SPOT, [7; NONCE]).unwrap().stored;
        assert!(stored(&long()) < 100);
        assert_eq!(stored(&entry()), 5, "too short");
        let mut noise = [0; 2000];
        blake3::Hasher::new().finalize_xof().fill(&mut noise);
        let noise = Bytes::copy_from_slice(&noise);
        assert_eq!(stored(&entry().with_body(Stored::Whole(noise))), 2000, "it saves nothing");
        for (name, value) in [("content-encoding", "br"), ("content-type", "Image/PNG")] {
            assert_eq!(stored(&with(name, value)), 2100, "{value}");
        }
        assert!(stored(&with("content-type", "image/svg+xml")) < 100);
    }

    #[test]
    fn a_bomb_is_absent_and_takes_no_memory() {
        let bomb = Bytes::from(vec![0; 1 << 20]);
        let bomb = entry().with_body(Stored::Whole(bomb));
        let bytes = encode(&bomb, &seal(&[], 1), &SPOT, [7; NONCE]).unwrap().bytes;
        assert!(bytes.len() < 1000);
        assert_eq!(decode(&bytes, &seal(&[], 1), &SPOT).unwrap_err(), Unreadable::Compression);
        // The same, of a length that would be allowed.
        let mut lying = bytes.to_vec();
        lying[12..20].copy_from_slice(&10_000_u64.to_be_bytes());
        let right = digest(&lying);
        lying[DIGEST].copy_from_slice(&right);
        let read = decode(&lying.into(), &seal(&[], 1), &SPOT);
        assert_eq!(read.unwrap_err(), Unreadable::Compression);
    }

    #[test]
    fn an_arriving_body_is_not_written() {
        let share = crate::message::air::Air::bounded(10).take(0).unwrap();
        let (_writer, fill) = crate::message::fill::Fill::open(10, share);
        assert!(write(&entry().with_body(Stored::arriving(fill, None))).is_none());
    }

    #[test]
    fn a_part_is_not_written_since_it_would_be_read_as_the_whole() {
        let part = crate::message::content_range::ContentRange::new(0..5, 10);
        assert!(part.is_some() && write(&entry().of_part(part)).is_none());
    }

    #[test]
    fn every_reason_has_its_name() {
        let mut next = encoded().to_vec();
        next[4] = VERSION + 1;
        assert_eq!(read(&next.into()).unwrap_err(), Unreadable::Version(VERSION + 1));
        assert_eq!(
            decode(&encoded(), &Seal::default(), &Spot { key: Key::from_bits(1), ..SPOT })
                .unwrap_err(),
            Unreadable::OtherKey
        );
        assert_eq!(read(&Bytes::new()).unwrap_err(), Unreadable::Foreign);
        assert_eq!(read(&encoded().slice(..40)).unwrap_err(), Unreadable::Cut);
        assert_eq!(read(&written(b"\xc0", b"")).unwrap_err(), Unreadable::Malformed);
    }

    /// A head and a body with the right lengths and the right digest.
    fn written(head: &[u8], body: &[u8]) -> Bytes {
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&[VERSION, 0, 0, 0]);
        bytes.extend_from_slice(&u32::try_from(head.len()).unwrap().to_be_bytes());
        bytes.extend_from_slice(&(body.len() as u64).to_be_bytes());
        bytes.extend_from_slice(&(body.len() as u64).to_be_bytes());
        bytes.extend_from_slice(&[0; 16]);
        bytes.extend_from_slice(head);
        bytes.extend_from_slice(body);
        let digest = digest(&bytes);
        bytes[DIGEST].copy_from_slice(&digest);
        bytes.into()
    }

    /// The head as a library writes and reads it.
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Told {
        facts: (ByteBuf, ByteBuf, String, String, Vec<String>, (u64, u64), u64),
        status: u16,
        fields: Vec<(ByteBuf, ByteBuf)>,
        freshness: (u64, u64, u64, u64, u64, u64, u64, u8),
        variant: Vec<(String, Option<ByteBuf>)>,
    }

    impl Told {
        fn of(entry: &Entry) -> Self {
            let buf = |bytes: &[u8]| ByteBuf::from(bytes);
            let (facts, freshness) = (&entry.facts, entry.freshness());
            let as_of = facts.as_of;
            let variant = entry.variant.parts();
            Self {
                facts: (
                    buf(&facts.key.bits().to_be_bytes()),
                    buf(&facts.url_key.bits().to_be_bytes()),
                    facts.url.to_string(),
                    facts.route.to_string(),
                    facts.tags.iter().map(|tag| tag.as_str().to_owned()).collect(),
                    (as_of.millis, as_of.number),
                    as_of.epoch.number(),
                ),
                status: entry.status.as_u16(),
                fields: entry.lines.iter().map(|(name, value)| (buf(name), buf(value))).collect(),
                freshness: (
                    freshness.received.as_millis(),
                    millis(freshness.initial_age),
                    millis(freshness.lifetime),
                    millis(freshness.stale_while_revalidate),
                    millis(freshness.stale_if_error),
                    millis(freshness.keep),
                    millis(freshness.fetch_time),
                    freshness.use_without_asking as u8,
                ),
                variant: variant
                    .map(|(name, value)| (name.to_string(), value.map(ByteBuf::from)))
                    .collect(),
            }
        }
    }

    fn bytes(length: usize) -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(any::<u8>(), 0..length)
    }

    proptest! {
        #[test]
        fn random_bytes_are_refused(bytes in bytes(300)) {
            prop_assert!(read(&bytes.into()).is_err());
        }

        #[test]
        fn random_heads_under_a_right_digest_are_refused(head in bytes(300), body in bytes(20)) {
            prop_assert!(read(&written(&head, &body)).is_err());
        }

        #[test]
        fn a_head_with_a_changed_byte_is_refused_or_read_but_never_panics(
            at in any::<prop::sample::Index>(), byte in any::<u8>(),
        ) {
            let whole = encoded();
            let head = whole.len() - DIGEST.end - 5;
            let mut changed = whole[DIGEST.end..DIGEST.end + head].to_vec();
            changed[at.index(head)] = byte;
            if let Ok(entry) = read(&written(&changed, b"hello")) {
                let _never_panics = (entry.freshness().last_use(), entry.freshness().age(Timestamp::now()));
            }
        }

        /// No value of a head is left unread, and none may be left out.
        #[test]
        fn a_cut_head_is_refused_whatever_its_digest(at in any::<prop::sample::Index>()) {
            let head = write_head(&entry());
            let read = read(&written(&head[..at.index(head.len())], b"hello"));
            prop_assert_eq!(read.unwrap_err(), Unreadable::Malformed);
        }

        #[test]
        fn a_cut_entry_is_refused(at in any::<prop::sample::Index>()) {
            let whole = encoded();
            prop_assert!(read(&whole.slice(..at.index(whole.len()))).is_err());
        }

        #[test]
        fn more_bytes_than_there_should_be_are_refused(more in bytes(20)) {
            prop_assume!(!more.is_empty());
            let longer = [encoded().to_vec(), more].concat();
            prop_assert_eq!(read(&longer.into()).unwrap_err(), Unreadable::Cut);
        }

        #[test]
        fn a_flipped_bit_is_always_noticed(at in any::<prop::sample::Index>(), bit in 0..8_u8) {
            let mut changed = encoded().to_vec();
            let at = at.index(changed.len());
            changed[at] ^= 1 << bit;
            prop_assert!(read(&changed.into()).is_err());
        }

        #[test]
        fn a_flipped_bit_of_what_is_encrypted_or_compressed_is_always_noticed(
            at in any::<prop::sample::Index>(), bit in 0..8_u8, is_encrypted in any::<bool>(),
        ) {
            let ring = seal(if is_encrypted { &["2026a"] } else { &[] }, 1);
            let mut changed = encode(&long(), &ring, &SPOT, [7; NONCE]).unwrap().bytes.to_vec();
            let at = at.index(changed.len());
            changed[at] ^= 1 << bit;
            prop_assert!(decode(&changed.into(), &ring, &SPOT).is_err());
        }

        #[test]
        fn what_is_encrypted_is_refused_when_it_is_cut(at in any::<prop::sample::Index>()) {
            let ring = seal(&["2026a"], 1);
            let whole = encode(&long(), &ring, &SPOT, [7; NONCE]).unwrap().bytes;
            prop_assert!(decode(&whole.slice(..at.index(whole.len())), &ring, &SPOT).is_err());
        }

        #[test]
        fn random_bytes_after_a_right_beginning_never_panic(
            mut begin in prop::collection::vec(0..4_u8, 24), rest in bytes(300),
        ) {
            begin[0] = 3;
            let bytes = Bytes::from([MAGIC.as_slice(), &begin, &rest].concat());
            for ring in [seal(&[], 1), seal(&["2026a"], 1)] {
                prop_assert!(decode(&bytes, &ring, &SPOT).is_err());
            }
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
            let head = write_head(&entry);
            prop_assert_eq!(&head, &rmp_serde::to_vec(&Told::of(&entry)).unwrap());
            prop_assert_eq!(rmp_serde::from_slice::<Told>(&head).unwrap(), Told::of(&entry));
            for ring in [seal(&[], 1), seal(&["2026a"], 1), seal(&["2026a"], 10_000)] {
                let bytes = encode(&entry, &ring, &SPOT, [7; NONCE]).unwrap().bytes;
                assert_same(&decode(&bytes, &ring, &SPOT).unwrap(), &entry);
            }
        }
    }
}
