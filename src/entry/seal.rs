//! What an entry goes through before it lies in a store: compression where it pays, and encryption under a ring of keys.
//!
//! The cipher is AES-256-GCM-SIV. A fleet writes billions of entries under one key with nonces that are drawn at random;
//! with plain GCM two equal nonces give the key's authentication away, here they tell no more than whether two entries
//! are the same.

use std::borrow::Cow;
use std::cell::RefCell;
use std::fmt;
use std::sync::Arc;

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, Salt};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use zstd::bulk::{Compressor, Decompressor};

use crate::entry::wire::Unreadable;
use crate::key::Key;
use crate::key::vary::Variant;

/// Bytes of a secret.
pub const SECRET: usize = 32;
/// Bytes that are drawn anew for each entry that is encrypted.
pub const NONCE: usize = 12;
/// Bytes that encryption adds at the end.
pub(super) const TAG: usize = 16;
/// Secrets with fewer different bytes were made by hand: of 32 random bytes 30 are different, about.
const DIFFERENT: usize = 16;
/// Compression is kept where it saves one part in so many.
const SAVES: usize = 8;
/// Begins the names of an index that are hidden; no field's name holds it.
const HIDDEN: char = '=';

/// How entries lie in a store. Cloning shares the keys.
#[derive(Clone, Debug, Default)]
pub struct Seal(Arc<Settings>);

/// What a [`Seal`] does.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// None: bodies are stored as they are. What was compressed is read all the same.
    pub compression: Option<Compression>,
    /// The first encrypts, all decrypt. None: entries lie in clear, and what is encrypted is absent.
    pub keys: Vec<SealKey>,
    /// The longest body, in bytes, that is made of a compressed one.
    pub max_object: u64,
}

/// Which bodies are compressed, with zstd.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compression {
    /// Bytes that a body has at least.
    pub over: u64,
    /// From 1 to 9.
    pub level: i32,
}

/// One key of the ring. Shows nothing of its secret.
#[derive(Clone)]
pub struct SealKey(Arc<Derived>);

struct Derived {
    id: Box<str>,
    cipher: LessSafeKey,
    /// Makes the names of variants, and the nonces of what is hidden in an index.
    names: [u8; 32],
}

/// A text that is no secret of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadSecret {
    #[error("it is not {SECRET} bytes in hexadecimal or base64")]
    Length,
    #[error("its bytes repeat, so that it is not random")]
    Repeats,
}

/// Where an entry lies: what was encrypted for one place opens nowhere else.
#[derive(Clone, Copy, Debug)]
pub struct Spot<'a> {
    /// Names the slot in its store.
    pub slot: &'a str,
    /// Names the variant within the slot, as [`Seal::field`] does.
    pub field: &'a str,
    pub key: Key,
}

/// A body in the form in which it is stored.
pub(super) enum Body<'a> {
    Plain(&'a [u8]),
    Zstd(Vec<u8>),
}

/// The bytes of a secret, from 64 hexadecimal digits or from base64. A passphrase is none: what lies in a store can be
/// tried at leisure, and no derivation makes a weak one strong.
pub fn secret(text: &str) -> Result<[u8; SECRET], BadSecret> {
    let digits = text.len() == 2 * SECRET && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let bytes = if digits {
        let pair = |at: usize| u8::from_str_radix(text.get(at..at + 2)?, 16).ok();
        (0..text.len()).step_by(2).map(pair).collect()
    } else {
        let forms = [STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD];
        forms.iter().find_map(|form| form.decode(text).ok())
    };
    let bytes: Vec<u8> = bytes.ok_or(BadSecret::Length)?;
    let bytes: [u8; SECRET] = bytes.try_into().map_err(|_| BadSecret::Length)?;
    let mut different = bytes;
    different.sort_unstable();
    let different = different.chunk_by(|one, other| one == other).count();
    if different < DIFFERENT { Err(BadSecret::Repeats) } else { Ok(bytes) }
}

impl Derived {
    fn from(id: &str, secret: &[u8; SECRET]) -> Self {
        let root = Salt::new(HKDF_SHA256, b"larder: entries at rest").extract(secret);
        let cipher = root.expand(&[b"entries"], &AES_256_GCM_SIV);
        let cipher = UnboundKey::from(cipher.expect("a key is shorter than what HKDF gives"));
        let mut names = [0; 32];
        root.expand(&[b"names"], HKDF_SHA256)
            .and_then(|okm| okm.fill(&mut names))
            .expect("a digest is as long as what HKDF gives at once");
        Self { id: id.into(), cipher: LessSafeKey::new(cipher), names }
    }
}

impl SealKey {
    /// A key whose `id`, of at most 255 bytes, stands in clear beside what it encrypts.
    pub fn new(id: &str, secret: &[u8; SECRET]) -> Self {
        Self(Arc::new(Derived::from(id, secret)))
    }

    pub(super) fn id(&self) -> &str {
        &self.0.id
    }

    /// Encrypts `text` where it is, and adds the tag.
    pub(super) fn encrypt(&self, nonce: [u8; NONCE], about: &[u8], text: &mut Vec<u8>) {
        let nonce = Nonce::assume_unique_for_key(nonce);
        let sealed = self.0.cipher.seal_in_place_append_tag(nonce, Aad::from(about), text);
        sealed.expect("an entry is far shorter than what the cipher takes");
    }

    /// Nothing where one bit of any of it is not what it was.
    pub(super) fn decrypt(&self, nonce: &[u8], about: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let (sealed, tag) = sealed.split_at_checked(sealed.len().checked_sub(TAG)?)?;
        let mut text = vec![0; sealed.len()];
        let about = Aad::from(about);
        let opened = self.0.cipher.open_separate_gather(nonce, about, sealed, tag, &mut text);
        opened.ok().map(|()| text)
    }

    /// A name that says nothing of `digest` to who has not the key, and is another one in each slot.
    fn field(&self, slot: &str, digest: u128) -> String {
        let mut hasher = blake3::Hasher::new_keyed(&self.0.names);
        hasher.update(b"field").update(&digest.to_be_bytes()).update(slot.as_bytes());
        let half = hasher.finalize().as_bytes()[..16].try_into().unwrap_or_default();
        format!("{:032x}", u128::from_be_bytes(half))
    }

    fn hide(&self, slot: &str, field: &str, names: &str) -> String {
        let mut hasher = blake3::Hasher::new_keyed(&self.0.names);
        hasher.update(b"names").update(&(slot.len() as u64).to_be_bytes());
        hasher.update(slot.as_bytes()).update(field.as_bytes()).update(names.as_bytes());
        // The nonce of a text is always the same: so is what becomes of it, and that is all that it tells.
        let nonce = hasher.finalize().as_bytes()[..NONCE].try_into().unwrap_or_default();
        let mut text = names.as_bytes().to_vec();
        self.encrypt(nonce, &about_names(slot, field), &mut text);
        let sealed = STANDARD_NO_PAD.encode([nonce.as_slice(), &text].concat());
        format!("{HIDDEN}{}{HIDDEN}{sealed}", self.0.id)
    }

    fn reveal(&self, slot: &str, field: &str, hidden: &str) -> Option<String> {
        let bytes = STANDARD_NO_PAD.decode(hidden).ok()?;
        let (nonce, sealed) = bytes.split_at_checked(NONCE)?;
        String::from_utf8(self.decrypt(nonce, &about_names(slot, field), sealed)?).ok()
    }
}

fn about_names(slot: &str, field: &str) -> Vec<u8> {
    [b"names".as_slice(), &(slot.len() as u64).to_be_bytes(), slot.as_bytes(), field.as_bytes()]
        .concat()
}

impl Seal {
    pub fn new(settings: Settings) -> Self {
        Self(Arc::new(settings))
    }

    /// What encrypts, where something does.
    pub(super) fn key(&self) -> Option<&SealKey> {
        self.0.keys.first()
    }

    /// What decrypts what was encrypted under this id.
    pub(super) fn key_of(&self, id: &[u8]) -> Option<&SealKey> {
        self.0.keys.iter().find(|key| key.0.id.as_bytes() == id)
    }

    /// How the variant of a response without `Vary` is named in a slot.
    pub fn plain(&self, slot: &str) -> Cow<'static, str> {
        const { assert!(Variant::PLAIN == 0) }
        match self.key() {
            Some(key) => key.field(slot, Variant::PLAIN).into(),
            None => "0".into(),
        }
    }

    /// How a variant with this digest is named in a slot; digits, whose meaning is hidden where there is a key.
    pub fn field(&self, slot: &str, digest: u128) -> String {
        self.key().map_or_else(|| format!("{digest:x}"), |key| key.field(slot, digest))
    }

    /// The names of the fields that select the variant at `field`, as they are to stand in an index.
    pub fn hide(&self, slot: &str, field: &str, names: String) -> String {
        match self.key() {
            Some(key) => key.hide(slot, field, &names),
            None => names,
        }
    }

    /// The names behind what stands in an index, and how whoever hid them names a variant there.
    pub fn reveal<'a>(
        &'a self,
        slot: &'a str,
        field: &str,
        names: &str,
    ) -> Result<(String, impl Fn(u128) -> String + use<'a>), Unreadable> {
        let (names, key) = match (names.strip_prefix(HIDDEN), self.key()) {
            (None, None) => (names.to_owned(), None),
            (None, Some(_)) => return Err(Unreadable::Unsealed),
            (Some(hidden), _) => {
                let (id, hidden) = hidden.split_once(HIDDEN).ok_or(Unreadable::Seal)?;
                let key = self.key_of(id.as_bytes()).ok_or(Unreadable::UnknownKey)?;
                (key.reveal(slot, field, hidden).ok_or(Unreadable::Seal)?, Some(key))
            }
        };
        let field = move |digest| match key {
            Some(key) => key.field(slot, digest),
            None => format!("{digest:x}"),
        };
        Ok((names, field))
    }

    /// The body as it is stored: compressed, where that is wanted and saves enough.
    pub(super) fn compress<'a>(&self, fields: &HeaderMap, body: &'a [u8]) -> Body<'a> {
        let compression = self.0.compression.filter(|it| body.len() as u64 >= it.over);
        match compression.filter(|_| may_shrink(fields)).and_then(|it| compressed(body, it.level)) {
            Some(shrunk) => Body::Zstd(shrunk),
            None => Body::Plain(body),
        }
    }

    /// The body, which is to have `length` bytes: no memory is taken for more than the store's largest object.
    pub(super) fn expand(&self, stored: &[u8], length: u64) -> Result<Vec<u8>, Unreadable> {
        if length > self.0.max_object {
            return Err(Unreadable::Compression);
        }
        let length = usize::try_from(length).map_err(|_| Unreadable::Compression)?;
        let body = expanded(stored, length).filter(|body| body.len() == length);
        body.ok_or(Unreadable::Compression)
    }
}

impl fmt::Debug for SealKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("SealKey").field(&self.0.id).finish()
    }
}

/// Media types whose bytes are compressed already.
const COMPRESSED: &[&str] = &[
    "application/gzip",
    "application/java-archive",
    "application/vnd.openxmlformats-",
    "application/vnd.rar",
    "application/x-7z-compressed",
    "application/x-bzip",
    "application/x-gzip",
    "application/x-rar-compressed",
    "application/x-xz",
    "application/zip",
    "application/zstd",
    "audio/",
    "font/woff",
    "image/",
    "video/",
];

/// Pictures that are not.
const PLAIN_PICTURES: &[&str] = &["image/svg+xml", "image/bmp", "image/x-icon"];

fn may_shrink(fields: &HeaderMap) -> bool {
    let kind = fields.get(CONTENT_TYPE).map_or(&b""[..], |value| value.as_bytes());
    let begins = |with: &&str| {
        kind.get(..with.len()).is_some_and(|kind| kind.eq_ignore_ascii_case(with.as_bytes()))
    };
    !fields.contains_key(CONTENT_ENCODING)
        && (!COMPRESSED.iter().any(begins) || PLAIN_PICTURES.iter().any(begins))
}

thread_local! {
    // A context costs more to make than to use.
    static COMPRESSOR: RefCell<Option<(i32, Compressor<'static>)>> = const { RefCell::new(None) };
    static DECOMPRESSOR: RefCell<Option<Decompressor<'static>>> = const { RefCell::new(None) };
}

/// Nothing where it does not fit into what would be worth it.
fn compressed(body: &[u8], level: i32) -> Option<Vec<u8>> {
    let mut shrunk = Vec::with_capacity(body.len() - body.len() / SAVES);
    COMPRESSOR.with_borrow_mut(|held| {
        if held.as_ref().is_none_or(|(known, _)| *known != level) {
            *held = Some((level, Compressor::new(level).ok()?));
        }
        let (_, compressor) = held.as_mut()?;
        compressor.compress_to_buffer(body, &mut shrunk).ok()
    })?;
    shrunk.shrink_to_fit();
    (shrunk.len() <= body.len() - body.len() / SAVES).then_some(shrunk)
}

fn expanded(stored: &[u8], length: usize) -> Option<Vec<u8>> {
    let mut body = Vec::with_capacity(length);
    DECOMPRESSOR.with_borrow_mut(|held| {
        if held.is_none() {
            *held = Some(Decompressor::new().ok()?);
        }
        held.as_mut()?.decompress_to_buffer(stored, &mut body).ok()
    })?;
    Some(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
    }

    fn ring(ids: &[&str]) -> Seal {
        let key = |id: &&str| SealKey::new(id, blake3::hash(id.as_bytes()).as_bytes());
        Seal::new(Settings { keys: ids.iter().map(key).collect(), ..Settings::default() })
    }

    #[test]
    fn a_secret_is_32_random_bytes_in_hexadecimal_or_base64_and_no_passphrase() {
        let bytes = *blake3::hash(b"a").as_bytes();
        for text in [hex(&bytes), STANDARD.encode(bytes), URL_SAFE_NO_PAD.encode(bytes)] {
            assert_eq!(secret(&text), Ok(bytes), "{text}");
        }
        for text in ["", "correct horse battery staple", &hex(&bytes)[..62], "change-me"] {
            assert_eq!(secret(text), Err(BadSecret::Length), "{text}");
        }
        for text in ["0".repeat(64), "deadbeef".repeat(8), STANDARD.encode([b'x'; 32])] {
            assert_eq!(secret(&text), Err(BadSecret::Repeats), "{text}");
        }
    }

    #[test]
    fn an_index_hides_names_and_digests_and_whoever_has_the_key_finds_them() {
        let (old, new) = (ring(&["a"]), ring(&["b", "a"]));
        let field = old.field("slot", 7);
        let hidden = old.hide("slot", &field, "accept-language,cookie".into());
        assert!(!hidden.contains("cookie") && field != "7");
        assert_ne!(field, old.field("other", 7), "slots cannot be compared");
        let (names, name) = new.reveal("slot", &field, &hidden).unwrap();
        assert_eq!((names.as_str(), name(7)), ("accept-language,cookie", field.clone()));
        let why = |seal: &Seal, slot, names: &str| seal.reveal(slot, &field, names).err();
        assert_eq!(why(&new, "other", &hidden), Some(Unreadable::Seal));
        assert_eq!(why(&new, "slot", "cookie"), Some(Unreadable::Unsealed));
        assert_eq!(why(&ring(&["b"]), "slot", &hidden), Some(Unreadable::UnknownKey));
        assert_eq!(why(&ring(&[]), "slot", &hidden), Some(Unreadable::UnknownKey));
    }

    #[test]
    fn the_plain_variant_has_the_name_of_its_digest() {
        for seal in [ring(&[]), ring(&["a"])] {
            assert_eq!(seal.plain("slot"), seal.field("slot", Variant::PLAIN));
        }
    }

    #[test]
    fn a_key_shows_nothing_of_its_secret() {
        assert_eq!(format!("{:?}", SealKey::new("a", &[7; SECRET])), "SealKey(\"a\")");
    }
}
