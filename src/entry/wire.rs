//! One entry as bytes: how it is written to a store that outlives the process.

use bytes::Bytes;

use crate::entry::Entry;
use crate::key::Key;

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

/// The entry as bytes; nothing while its body arrives.
pub fn encode(entry: &Entry) -> Option<Bytes> {
    let _ = entry;
    unimplemented!()
}

/// The entry that the bytes are, its body a slice of them.
pub fn decode(bytes: Bytes, expected: Key) -> Result<Entry, Unreadable> {
    let _ = (bytes, expected);
    unimplemented!()
}
