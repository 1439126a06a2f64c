//! Names, patterns, secrets and other words.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use http::header::{AUTHORIZATION, HeaderName};
use secrecy::{ExposeSecret, SecretBox, SecretString};

use crate::config::scalar::{HIDDEN, Wrong};
use crate::entry::seal::{SECRET, secret};
use crate::key::host::HostPattern;
use crate::key::pattern::PathPattern;

/// A text that is never shown.
#[derive(Clone)]
pub struct Secret(pub SecretString);

impl FromStr for Secret {
    type Err = Wrong;

    fn from_str(text: &str) -> Result<Self, Wrong> {
        let is_printable = text.bytes().all(|byte| byte.is_ascii_graphic());
        if text.is_empty() || !is_printable {
            let why = "it is empty, or holds what a field cannot carry";
            return Err(Wrong::new(why, "name a variable that is set: ${TOKEN}"));
        }
        Ok(Self(text.into()))
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(HIDDEN)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(HIDDEN)
    }
}

/// 32 bytes that nobody can guess, and that are never shown.
#[derive(Clone)]
pub struct SealSecret(pub Arc<SecretBox<[u8; SECRET]>>);

impl FromStr for SealSecret {
    type Err = Wrong;

    fn from_str(text: &str) -> Result<Self, Wrong> {
        let right = "make one with `openssl rand -base64 32`, and name its variable: ${CACHE_KEY}";
        let bytes = secret(text).map_err(|bad| Wrong::new(bad.to_string(), right))?;
        Ok(Self(Arc::new(SecretBox::new(Box::new(bytes)))))
    }
}

impl fmt::Display for SealSecret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(HIDDEN)
    }
}

impl fmt::Debug for SealSecret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(HIDDEN)
    }
}

/// A text that may hold a secret, and is never shown: a field's value, or a body.
#[derive(Clone)]
pub struct FieldValue(pub SecretString);

impl FieldValue {
    pub(crate) fn text(&self) -> &str {
        self.0.expose_secret()
    }
}

impl FromStr for FieldValue {
    type Err = Wrong;

    fn from_str(text: &str) -> Result<Self, Wrong> {
        let is_text = text.chars().all(|char| !char.is_control() || char == '\n');
        if text.trim().is_empty() || !is_text {
            return Err(Wrong::new("it is empty, or holds control characters", "write a text"));
        }
        Ok(Self(text.into()))
    }
}

impl fmt::Display for FieldValue {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(HIDDEN)
    }
}

impl fmt::Debug for FieldValue {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(HIDDEN)
    }
}

/// The name of an event; `*` stands for any text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct EventName(pub String);

impl FromStr for EventName {
    type Err = Wrong;

    fn from_str(text: &str) -> Result<Self, Wrong> {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:/*".contains(&byte);
        if text.is_empty() || text.len() > 128 || !text.bytes().all(fits) || text.contains("**") {
            let right = "write 1 to 128 letters, digits, `-`, `_`, `.`, `:`, `/` and `*`";
            return Err(Wrong::new("", right));
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for EventName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// A name of ours: in keys of Redis, labels of metrics, and fields of responses.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(pub String);

impl FromStr for Name {
    type Err = Wrong;

    fn from_str(text: &str) -> Result<Self, Wrong> {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if text.is_empty() || text.len() > 64 || !text.bytes().all(fits) {
            return Err(Wrong::new("", "write 1 to 64 letters, digits, `-`, `_` and `.`"));
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// What a cache is called in responses: a token or a string of RFC 9651.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheName(pub String);

impl FromStr for CacheName {
    type Err = Wrong;

    fn from_str(text: &str) -> Result<Self, Wrong> {
        let fits = |byte: u8| byte == b' ' || byte.is_ascii_graphic();
        if text.is_empty() || text.len() > 64 || !text.bytes().all(fits) {
            return Err(Wrong::new("", "write 1 to 64 printable ASCII characters"));
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for CacheName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// A field's name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FieldName(pub String);

impl FieldName {
    pub(crate) fn name(&self) -> HeaderName {
        self.0.parse().expect("it was parsed when this was made")
    }
}

impl FromStr for FieldName {
    type Err = Wrong;

    fn from_str(text: &str) -> Result<Self, Wrong> {
        match text.parse::<HeaderName>() {
            Ok(_) => Ok(Self(text.to_owned())),
            Err(_) => Err(Wrong::new("", "write a name such as Accept-Language")),
        }
    }
}

impl fmt::Display for FieldName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// What tells clients apart that are counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RateKey {
    Address,
    Authorization,
    Header(FieldName),
}

impl RateKey {
    /// The field that tells them apart, where one does.
    pub(crate) fn field(&self) -> Option<HeaderName> {
        match self {
            Self::Address => None,
            Self::Authorization => Some(AUTHORIZATION),
            Self::Header(name) => Some(name.name()),
        }
    }
}

impl FromStr for RateKey {
    type Err = Wrong;

    fn from_str(text: &str) -> Result<Self, Wrong> {
        match (text, text.strip_prefix("header:")) {
            ("address", _) => Ok(Self::Address),
            ("authorization", _) => Ok(Self::Authorization),
            (_, Some(name)) => name.trim().parse().map(Self::Header),
            (_, None) => Err(Wrong::new(
                "",
                "write address, authorization, or header:NAME with a field's name",
            )),
        }
    }
}

impl fmt::Display for RateKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address => formatter.write_str("address"),
            Self::Authorization => formatter.write_str("authorization"),
            Self::Header(name) => write!(formatter, "header:{name}"),
        }
    }
}

/// See [`PathPattern`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path(pub PathPattern);

impl FromStr for Path {
    type Err = Wrong;

    fn from_str(text: &str) -> Result<Self, Wrong> {
        let right = "write a path such as /api/products/**, /images/*.jpg or /users/{id}";
        PathPattern::parse(text).map(Self).map_err(|error| Wrong::new(error.to_string(), right))
    }
}

impl fmt::Display for Path {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// See [`HostPattern`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host(pub HostPattern);

impl FromStr for Host {
    type Err = Wrong;

    fn from_str(text: &str) -> Result<Self, Wrong> {
        let right = "write a host such as shop.example, *.shop.example or 127.0.0.1:8080";
        HostPattern::parse(text).map(Self).map_err(|_| Wrong::new("", right))
    }
}

impl fmt::Display for Host {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// The status of a final answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Status(pub u16);

impl FromStr for Status {
    type Err = Wrong;

    fn from_str(text: &str) -> Result<Self, Wrong> {
        // RFC 9110 §15: "valid status codes range from 100 to 599"; some servers go on to 999. 1xx are not final.
        let status = text.parse().ok().filter(|status| (200..=999).contains(status));
        status
            .map(Self)
            .ok_or_else(|| Wrong::new("", "write a number from 200 to 999, such as 404"))
    }
}

impl fmt::Display for Status {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// A name that clients use, of a parameter, a cookie, or a value of a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Word(pub String);

impl FromStr for Word {
    type Err = Wrong;

    fn from_str(text: &str) -> Result<Self, Wrong> {
        let fits = |character: char| character.is_ascii_graphic() && !"&=;,#".contains(character);
        if text.is_empty() || !text.chars().all(fits) {
            let right = "write it as it is sent, percent-encoded, without `&`, `=`, `;` and `,`";
            return Err(Wrong::new("", right));
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for Word {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}
