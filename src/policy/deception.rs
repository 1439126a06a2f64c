//! Guards against cache deception: a page that its URL passes off as something else is not kept.
//!
//! The attack (Gil, "Web Cache Deception", 2017): a victim is led to `/account/x.css`, the origin ignores the end of
//! the path and answers with the victim's account, and a cache keeps it for everybody because it looks like a
//! stylesheet. An answer that really is one says so in `Content-Type`. And where routes have rules of their own, a path
//! that looks like one route's and is read by the origin as another's (`/static/..%2faccount`) must have the rules of
//! neither (Mirheidari et al., "Web Cache Deception Escalates!", 2022).

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

/// Whether the response's media type contradicts the extension that its path ends with, in any reading.
pub fn contradicts(path: &str, response: &HeaderMap) -> bool {
    let Some(media_type) = response.get(CONTENT_TYPE) else { return false };
    let media_type = media_type.as_bytes().to_ascii_lowercase();
    let begins = |with: &&str| media_type.trim_ascii_start().starts_with(with.as_bytes());
    let contradicted = |path: &str| {
        expected(path).is_some_and(|expected| !expected.iter().any(&begins))
            && !OPAQUE.iter().any(begins)
    };
    contradicted(path) || readings(path).any(|path| contradicted(&path))
}

fn expected(path: &str) -> Option<&'static [&'static str]> {
    // What some origins and file systems take away.
    let (_, name) = path.trim_end_matches(['/', '.']).rsplit_once('/')?;
    let (_, extension) = name.rsplit_once('.')?;
    let known = STATIC.iter().find(|(known, _)| known.eq_ignore_ascii_case(extension));
    known.map(|(_, expected)| *expected)
}

/// How often a path may be decoded before it is what the origin reads.
const DECODINGS: usize = 3;

/// What else an origin may take the path for: decoded, once or again, with backslashes as slashes, without empty and dot
/// segments, without what follows a control character, `?` or `#`; with the parameters of segments (`;a=b`) and without.
///
/// Costs nothing where the path has one reading; otherwise two texts for each decoding.
pub fn readings(path: &str) -> impl Iterator<Item = String> {
    let mut coded = may_be_read_otherwise(path);
    let mut bytes = if coded { path.as_bytes().to_vec() } else { Vec::new() };
    (0..=DECODINGS)
        .map_while(move |_| {
            if !coded {
                return None;
            }
            let these = [reading(&bytes, Parameters::Kept), reading(&bytes, Parameters::Dropped)];
            let decoded = decoded(&bytes);
            coded = decoded != bytes;
            bytes = decoded;
            Some(these)
        })
        .flatten()
}

/// Every hit asks this: one pass.
fn may_be_read_otherwise(path: &str) -> bool {
    let mut before = 0;
    path.bytes().any(|byte| {
        let slashes = byte == b'/' && before == b'/';
        before = byte;
        slashes || matches!(byte, b'%' | b';' | b'\\')
    })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Parameters {
    Kept,
    Dropped,
}

fn reading(path: &[u8], parameters: Parameters) -> String {
    let ends = |byte: &u8| byte.is_ascii_control() || matches!(byte, b'?' | b'#');
    let end = path.iter().position(ends).unwrap_or(path.len());
    let mut kept: Vec<&[u8]> = Vec::new();
    let mut last: &[u8] = b"";
    for segment in path[..end].split(|byte| matches!(byte, b'/' | b'\\')) {
        let bare = segment.split(|byte| *byte == b';').next().unwrap_or_default();
        last = match parameters {
            Parameters::Kept => segment,
            Parameters::Dropped => bare,
        };
        match last {
            b"" | b"." => {}
            b".." => drop(kept.pop()),
            _ => kept.push(last),
        }
    }
    // A path keeps the slash that it ends with, as a pattern may want it.
    let open = if matches!(last, b"" | b"." | b"..") && !kept.is_empty() { "/" } else { "" };
    let path = String::from_utf8_lossy(&kept.join(&b'/')).into_owned();
    format!("/{path}{open}")
}

/// The bytes with each `%41` as the byte that it means, where that is one that needs no coding (RFC 3986 §6.2.2.2), or one
/// that parts, ends or codes a path. Patterns of routes are written coded, and so all else stays, as what is no triplet.
fn decoded(path: &[u8]) -> Vec<u8> {
    let counts = |byte: &u8| {
        byte.is_ascii_alphanumeric() || byte.is_ascii_control() || b"-._~/\\;?#%".contains(byte)
    };
    let digit =
        |byte: &u8| char::from(*byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let mut decoded = Vec::with_capacity(path.len());
    let mut rest = path;
    while let Some((byte, after)) = rest.split_first() {
        let triplet = match after {
            [high, low, after @ ..] if *byte == b'%' => {
                let coded = digit(high).zip(digit(low)).map(|(high, low)| high << 4 | low);
                coded.filter(counts).zip(Some(after))
            }
            _ => None,
        };
        let (byte, after) = triplet.unwrap_or((*byte, after));
        decoded.push(byte);
        rest = after;
    }
    decoded
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
            ("/account/x.css;y", "text/html", true),
            ("/account/x.css%3fy", "text/html", true),
            ("/account/x%2ecss", "text/html", true),
            ("/account/x.css/", "text/html", true),
            ("/account/x.css.", "text/html", true),
            ("/a/x%20y.css", "text/css", false),
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

    #[test]
    fn a_plain_path_has_no_other_reading() {
        for path in ["/", "/a", "/a/b.css", "/a/", "/a-b_c~d!$&'()*+,=:@"] {
            assert_eq!(readings(path).count(), 0, "{path}");
        }
    }

    #[test]
    fn whatever_an_origin_may_read_is_among_the_readings() {
        let rows = [
            ("/static/..%2faccount", "/account"),
            ("/static/..%2Faccount", "/account"),
            ("/static/%2e%2e%2faccount", "/account"),
            ("/static/..%252faccount", "/account"),
            ("/static/..%25252faccount", "/account"),
            ("/static/..%5caccount", "/account"),
            ("/static\\..\\account", "/account"),
            ("/static/..;/account", "/account"),
            ("/static/..;x=y/account", "/account"),
            ("/static/.%2e;%2faccount", "/account"),
            ("/account;x.css", "/account"),
            ("/account%3bx.css", "/account"),
            ("/account;/x.css", "/account/x.css"),
            ("/account%00.css", "/account"),
            ("/account%0a.css", "/account"),
            ("/account%3fx.css", "/account"),
            ("/account%23x.css", "/account"),
            ("//account", "/account"),
            ("/account//x", "/account/x"),
            ("/%61ccount", "/account"),
            ("/%2561ccount", "/account"),
            ("/account%2f", "/account/"),
            ("/a/%2e/b", "/a/b"),
            ("/a%2fb", "/a/b"),
            ("/%zz/%", "/%zz/%"),
            ("/caf%C3%A9%20%61", "/caf%C3%A9%20a"),
            ("/..%2f..%2f", "/"),
        ];
        for (path, read) in rows {
            assert!(
                readings(path).any(|reading| reading == read),
                "{path} as {read}: {:?}",
                readings(path).collect::<Vec<_>>()
            );
        }
    }
}
