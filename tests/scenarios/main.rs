//! Stories on the wire: the real binary between real clients and a scripted origin, one story per file.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops, and says where")]

#[path = "../support/mod.rs"]
mod support;

mod tools;
