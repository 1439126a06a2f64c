//! The tables of conformance, played on the wire: what a row is, what plays it, and what the document says of it.
#![allow(dead_code, reason = "each test binary uses its own part of this")]
#![allow(clippy::wrong_self_convention, reason = "a row reads as a sentence about its exchange")]
#![allow(clippy::too_many_lines, reason = "a table is as long as its RFC")]

pub(crate) mod answer;
pub(crate) mod check;
pub(crate) mod document;
pub(crate) mod origin;
pub(crate) mod play;
pub(crate) mod row;
pub(crate) mod wire;

pub(crate) mod rfc10008;
pub(crate) mod rfc5861;
pub(crate) mod rfc9110;
pub(crate) mod rfc9111;
pub(crate) mod rfc9211;
pub(crate) mod rfc9213;
