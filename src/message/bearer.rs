//! Bearer tokens: read from a request, and compared so that time tells nothing of them.

use std::fmt;

use http::header::{AUTHORIZATION, HeaderMap};
use subtle::{Choice, ConstantTimeEq};

/// A digest of a secret; the secret itself is not kept, and secrets of all lengths compare in the same time.
#[derive(Clone, Copy)]
pub struct Digest([u8; 32]);

impl Digest {
    pub fn of(secret: &[u8]) -> Self {
        Self(*blake3::hash(secret).as_bytes())
    }

    /// The digest of the token that a request carries.
    pub fn sent(fields: &HeaderMap) -> Option<Self> {
        bearer(fields).map(Self::of)
    }
}

impl PartialEq for Digest {
    fn eq(&self, other: &Self) -> bool {
        let equal: Choice = self.0.ct_eq(&other.0);
        bool::from(equal)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("***")
    }
}

/// The one of `tokens` that is `sent`. Compares with each.
pub fn known<T>(tokens: &[T], sent: Digest, digest: impl Fn(&T) -> Digest) -> Option<&T> {
    let mut found = None;
    for token in tokens {
        if digest(token) == sent {
            found = Some(token);
        }
    }
    found
}

/// The credentials of RFC 6750 §2.1; the scheme's case does not count (RFC 9110 §11.1).
fn bearer(fields: &HeaderMap) -> Option<&[u8]> {
    let mut lines = fields.get_all(AUTHORIZATION).iter();
    let value = lines.next()?.as_bytes();
    if lines.next().is_some() {
        return None;
    }
    let (scheme, token) = value.split_at_checked(7)?;
    let token = token.trim_ascii();
    (scheme.eq_ignore_ascii_case(b"bearer ") && !token.is_empty()).then_some(token)
}
