//! A guard against cache deception: a page that its URL passes off as a static file is not kept.
//!
//! The attack (Gil, "Web Cache Deception", 2017): a victim is led to `/account/x.css`, the origin ignores the end of
//! the path and answers with the victim's account, and a cache keeps it for everybody because it looks like a
//! stylesheet. An answer that really is one says so in `Content-Type`.

use http::header::{CONTENT_TYPE, HeaderMap};

/// Extensions of static files, each with what the media type of such a file begins with.
const STATIC: &[(&str, &[&str])] = &[
    ("avif", IMAGE),
    ("bmp", IMAGE),
    ("gif", IMAGE),
    ("ico", IMAGE),
    ("jpeg", IMAGE),
    ("jpg", IMAGE),
    ("png", IMAGE),
    ("svg", IMAGE),
    ("tif", IMAGE),
    ("tiff", IMAGE),
    ("webp", IMAGE),
    ("css", &["text/css"]),
    ("js", SCRIPT),
    ("mjs", SCRIPT),
    ("eot", FONT),
    ("otf", FONT),
    ("ttf", FONT),
    ("woff", FONT),
    ("woff2", FONT),
    ("mp3", &["audio/"]),
    ("ogg", &["audio/", "video/", "application/ogg"]),
    ("mp4", &["video/", "audio/"]),
    ("webm", &["video/", "audio/"]),
    ("pdf", &["application/pdf"]),
    ("zip", &["application/zip", "application/x-zip"]),
    ("gz", &["application/gzip", "application/x-gzip"]),
];
const IMAGE: &[&str] = &["image/"];
const SCRIPT: &[&str] = &["text/javascript", "application/javascript", "application/x-javascript"];
const FONT: &[&str] =
    &["font/", "application/font", "application/x-font", "application/vnd.ms-font"];

/// What says nothing about the content, and so contradicts nothing.
const OPAQUE: &[&str] = &["application/octet-stream", "binary/octet-stream"];

/// Whether the response's media type contradicts the extension that its path ends with.
pub fn contradicts(path: &str, response: &HeaderMap) -> bool {
    let Some(media_type) = response.get(CONTENT_TYPE) else { return false };
    let Some(expected) = expected(path) else { return false };
    let media_type = media_type.as_bytes().to_ascii_lowercase();
    let begins = |with: &&str| media_type.trim_ascii_start().starts_with(with.as_bytes());
    !expected.iter().any(&begins) && !OPAQUE.iter().any(begins)
}

fn expected(path: &str) -> Option<&'static [&'static str]> {
    let (_, name) = path.rsplit_once('/')?;
    let (_, extension) = name.rsplit_once('.')?;
    let known = STATIC.iter().find(|(known, _)| known.eq_ignore_ascii_case(extension));
    known.map(|(_, expected)| *expected)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn only_a_page_that_is_passed_off_as_a_file_contradicts() {
        let rows = [
            ("/account/x.css", "text/html; charset=utf-8", true),
            ("/account/x.JPG", "application/json", true),
            ("/a/x.css", "Text/CSS", false),
            ("/a/x.js", "application/javascript", false),
            ("/a/x.png", "application/octet-stream", false),
            ("/a/x", "text/html", false),
            ("/a.css/x", "text/html", false),
            ("/a/x.html", "application/json", false),
        ];
        for (path, media_type, contradicted) in rows {
            let mut fields = HeaderMap::new();
            fields.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
            assert_eq!(contradicts(path, &fields), contradicted, "{path} as {media_type}");
        }
        assert!(!contradicts("/a/x.css", &HeaderMap::new()));
    }
}
