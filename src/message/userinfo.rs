//! Texts as they may be shown: a URL without the user and the password in it.

use std::borrow::Cow;

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

#[cfg(test)]
mod tests {
    use super::*;

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
