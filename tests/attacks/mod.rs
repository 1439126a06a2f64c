//! The tables of attacks: what a row is, what plays it, and what the document says of it.
#![allow(clippy::too_many_lines, reason = "a table is as long as its subject")]

pub(crate) mod connection;
pub(crate) mod deception;
pub(crate) mod document;
pub(crate) mod floods;
pub(crate) mod framing;
pub(crate) mod http2;
pub(crate) mod origin;
pub(crate) mod parsing;
pub(crate) mod play;
pub(crate) mod poisoning;
pub(crate) mod row;
pub(crate) mod wire;
