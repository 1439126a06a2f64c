//! APIs that nobody here wrote, httpbin under gunicorn and nginx with files, asked directly and through the real binary.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops, and says where")]

#[path = "../support/mod.rs"]
mod support;

mod compare;
mod files;
mod httpbin;
mod https;
