//! What each URL must say, known to the origin and to the clients alike.
//!
//! | path | what |
//! |---|---|
//! | `/hot/N`, `/cold/N` | 200, fresh for an hour |
//! | `/tongue/N` | the same in the language that the request names: a variant each |
//! | `/brief/N` | 200, fresh for a second, then stale while it is fetched again |
//! | `/slow/N` | as `/hot/N`, but after half a second |
//! | `/missing/N` | 404, fresh for an hour |

use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;

/// Bytes of each body.
pub(crate) const LENGTH: usize = 1024;
pub(crate) const LANGUAGES: [&str; 4] = ["de", "en", "fr", "uk"];

/// The status of a path.
pub(crate) fn status(path: &str) -> StatusCode {
    if path.starts_with("/missing/") { StatusCode::NOT_FOUND } else { StatusCode::OK }
}

/// How long it is fresh.
pub(crate) fn cache_control(path: &str) -> &'static str {
    if path.starts_with("/brief/") { "max-age=1, stale-while-revalidate=5" } else { "max-age=3600" }
}

/// How long the origin takes.
pub(crate) fn delay(path: &str) -> Duration {
    Duration::from_millis(if path.starts_with("/slow/") { 500 } else { 0 })
}

/// Whether the language of a request counts.
pub(crate) fn has_variants(path: &str) -> bool {
    path.starts_with("/tongue/")
}

/// The tag of a path: its number, of which there are fifty.
pub(crate) fn tag(path: &str) -> String {
    let number = path.rsplit('/').next().and_then(|last| last.parse::<u64>().ok()).unwrap_or(0);
    format!("t{}", number % 50)
}

/// The body of a path in a language.
pub(crate) fn body(path: &str, language: &str) -> Bytes {
    let language = if has_variants(path) { language } else { "any" };
    let line = format!("{path} in {language}\n");
    let mut text = line.repeat(LENGTH / line.len() + 1);
    text.truncate(LENGTH);
    text.into()
}
