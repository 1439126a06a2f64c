//! Puts values of the environment, and of files beside it, into scalars.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

/// Where `${NAME}` and `${file:PATH}` get their values.
pub trait Variables {
    /// The variable's value, if it is set.
    fn variable(&self, name: &str) -> Option<String>;

    /// A file's text without the line end behind it.
    fn file(&self, path: &str) -> Option<String>;
}

/// The environment of this process, and files; relative paths begin at the configuration's directory.
pub struct Environment {
    directory: PathBuf,
}

impl Environment {
    pub fn beside(file: &Path) -> Self {
        Self { directory: file.parent().map(Path::to_owned).unwrap_or_default() }
    }
}

impl Variables for Environment {
    fn variable(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }

    fn file(&self, path: &str) -> Option<String> {
        let text = std::fs::read_to_string(self.directory.join(path)).ok()?;
        Some(text.trim_end_matches(['\r', '\n']).to_owned())
    }
}

/// Why a scalar cannot be completed. Names, but never values.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadVariable {
    #[error("the environment has no `{0}`")]
    Unset(String),
    #[error("the file `{0}` cannot be read")]
    NoFile(String),
    #[error("a `${{` without its `}}`")]
    Open,
    #[error("`${{{0}}}` names no variable")]
    Name(String),
}

impl BadVariable {
    pub(crate) fn right(&self) -> String {
        match self {
            Self::Unset(name) => format!("set it, or give a default: ${{{name}:-default}}"),
            Self::NoFile(_) => "name a file that can be read, relative to this one".to_owned(),
            Self::Open => "write ${NAME}, or $${ for the two characters themselves".to_owned(),
            Self::Name(_) => {
                "write ${NAME}, ${NAME:-default}, ${file:PATH}, or $${ for the characters themselves"
                    .to_owned()
            }
        }
    }
}

/// The text with every `${NAME}`, `${NAME:-default}` and `${file:PATH}` replaced, and `$${` made `${`.
///
/// Or everything that is wrong with it. As in a shell, the default also stands in for an empty value. Values are not looked through again.
pub(crate) fn complete<'a>(
    text: &'a str,
    variables: &dyn Variables,
) -> Result<Cow<'a, str>, Vec<BadVariable>> {
    if !text.contains("${") {
        return Ok(Cow::Borrowed(text));
    }
    let mut whole = String::with_capacity(text.len());
    let mut bad = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        let (before, marked) = rest.split_at(at);
        if let Some(kept) = before.strip_suffix('$') {
            whole.push_str(kept);
            whole.push_str("${");
            rest = &marked[2..];
            continue;
        }
        whole.push_str(before);
        let Some((inner, behind)) = marked[2..].split_once('}') else {
            bad.push(BadVariable::Open);
            break;
        };
        match value(inner, variables) {
            Ok(value) => whole.push_str(&value),
            Err(error) => bad.push(error),
        }
        rest = behind;
    }
    whole.push_str(rest);
    if bad.is_empty() { Ok(Cow::Owned(whole)) } else { Err(bad) }
}

fn value(inner: &str, variables: &dyn Variables) -> Result<String, BadVariable> {
    if let Some(path) = inner.strip_prefix("file:") {
        return variables.file(path).ok_or_else(|| BadVariable::NoFile(path.to_owned()));
    }
    let (name, default) =
        inner.split_once(":-").map_or((inner, None), |(name, default)| (name, Some(default)));
    let is_name = name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && name.chars().all(|other| other.is_ascii_alphanumeric() || other == '_');
    if !is_name {
        return Err(BadVariable::Name(inner.to_owned()));
    }
    match (variables.variable(name), default) {
        (Some(value), None) => Ok(value),
        (Some(value), Some(_)) if !value.is_empty() => Ok(value),
        (_, Some(default)) => Ok(default.to_owned()),
        (None, None) => Err(BadVariable::Unset(name.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixed;

    impl Variables for Fixed {
        fn variable(&self, name: &str) -> Option<String> {
            match name {
                "NAME" => Some("value".into()),
                "EMPTY" => Some(String::new()),
                "DOLLAR" => Some("${NAME}".into()),
                _ => None,
            }
        }

        fn file(&self, path: &str) -> Option<String> {
            (path == "token").then(|| "from file".into())
        }
    }

    #[test]
    fn variables_are_replaced_once_and_only_where_they_are_meant() {
        let rows = [
            ("plain $NAME {x} $", "plain $NAME {x} $"),
            ("a${NAME}b${NAME}", "avaluebvalue"),
            ("${OTHER:-d:-e}", "d:-e"),
            ("${EMPTY:-d}", "d"),
            ("${EMPTY}", ""),
            ("${NAME:-d}", "value"),
            ("$${NAME}", "${NAME}"),
            ("$$${NAME}", "$${NAME}"),
            ("${DOLLAR}", "${NAME}"),
            ("${file:token}", "from file"),
        ];
        for (text, expected) in rows {
            assert_eq!(complete(text, &Fixed).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn every_variable_that_cannot_be_had_is_told() {
        let unset = |name: &str| BadVariable::Unset(name.into());
        assert_eq!(complete("${A}${NAME}${B}", &Fixed), Err(vec![unset("A"), unset("B")]));
    }

    #[test]
    fn variables_that_cannot_be_had_are_told_by_name() {
        let rows = [
            ("${OTHER}", BadVariable::Unset("OTHER".into())),
            ("${file:x}", BadVariable::NoFile("x".into())),
            ("${NAME", BadVariable::Open),
            ("${}", BadVariable::Name(String::new())),
            ("${NAME:?x}", BadVariable::Name("NAME:?x".into())),
            ("${1A}", BadVariable::Name("1A".into())),
        ];
        for (text, expected) in rows {
            assert_eq!(complete(text, &Fixed), Err(vec![expected]), "{text}");
        }
    }
}
