//! Who is named in a URL: what of it may be shown, and whether something could be reached there.

use std::borrow::Cow;

use http::uri::Authority;

/// What stands in their place.
const HIDDEN: &str = "***";

/// A URL, or what was to be one, without its user and password; any other text as it is.
pub(crate) fn hidden(text: &str) -> Cow<'_, str> {
    let Some((before, host)) = text.rsplit_once('@') else { return Cow::Borrowed(text) };
    match before.split_once("://") {
        Some((scheme, _)) => Cow::Owned(format!("{scheme}://{HIDDEN}@{host}")),
        // The scheme may have been forgotten; a path may hold both characters.
        None if before.contains(':') && !before.starts_with('/') => {
            Cow::Owned(format!("{HIDDEN}@{host}"))
        }
        None => Cow::Borrowed(text),
    }
}

/// Whether what stands behind the host, if anything does, is a port that something could be at. To `http` a port that
/// is no number of 16 bits is a port that is not there, so that the scheme's own would be asked instead.
pub(crate) fn is_reachable(authority: &Authority) -> bool {
    let text = authority.as_str();
    let server = text.rsplit_once('@').map_or(text, |(_, server)| server);
    match authority.port_u16() {
        Some(port) => port != 0,
        None => authority.host() == server,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_none_or_one_that_something_can_be_at() {
        for text in ["h", "h:1", "u:p@h:65535", "u@h", "[::1]", "[::1]:80"] {
            assert!(is_reachable(&Authority::from_static(text)), "{text}");
        }
        for text in ["h:0", "h:65536", "h:80x", "h:", "u:p@h:99999", "[::1]:99999"] {
            assert!(!is_reachable(&Authority::from_static(text)), "{text}");
        }
    }

    #[test]
    fn user_and_password_are_hidden_and_all_else_is_shown() {
        let rows = [
            ("http://u:hunter2@h/x", "http://***@h/x"),
            ("http://hunter2@h", "http://***@h"),
            ("http://u:hunt@er2@h", "http://***@h"),
            ("u:hunter2@h:80", "***@h:80"),
            ("http://h:80/x", "http://h:80/x"),
            ("/users/a:b@c", "/users/a:b@c"),
            ("a@b", "a@b"),
            ("", ""),
        ];
        for (text, shown) in rows {
            assert_eq!(hidden(text), shown);
        }
    }
}
