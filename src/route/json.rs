//! Values in a JSON body, by path.

use serde_json::Value;

/// A path into JSON: `$`, then names, numbers of elements, and `[*]` for all of them.
///
/// A small part of `JSONPath` (RFC 9535): what takes time in the size of the body at most, so neither `..` nor filters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JsonPath(Box<[Step]>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Name(Box<str>),
    Element(usize),
    /// Every element of an array, every member of an object.
    All,
}

/// Why a text is no path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a path into JSON is `$` with .name, ['name'], [0], .* or [*] behind it")]
pub struct BadPath;

impl JsonPath {
    pub fn parse(text: &str) -> Result<Self, BadPath> {
        let mut rest = text.strip_prefix('$').ok_or(BadPath)?;
        let mut steps = Vec::new();
        while !rest.is_empty() {
            let (step, behind) = step(rest).ok_or(BadPath)?;
            steps.push(step);
            rest = behind;
        }
        Ok(Self(steps.into()))
    }

    /// Calls `take` with the text of each string, number and truth value that the path leads to, until it says no.
    pub fn each<E>(
        &self,
        value: &Value,
        take: &mut impl FnMut(&str) -> Result<(), E>,
    ) -> Result<(), E> {
        walk(&self.0, value, take)
    }
}

fn walk<E>(
    steps: &[Step],
    value: &Value,
    take: &mut impl FnMut(&str) -> Result<(), E>,
) -> Result<(), E> {
    let Some((step, rest)) = steps.split_first() else { return leaf(value, take) };
    match (step, value) {
        (Step::Name(name), Value::Object(members)) => {
            members.get(&**name).map_or(Ok(()), |value| walk(rest, value, take))
        }
        (Step::Element(index), Value::Array(elements)) => {
            elements.get(*index).map_or(Ok(()), |value| walk(rest, value, take))
        }
        (Step::All, Value::Array(elements)) => {
            elements.iter().try_for_each(|value| walk(rest, value, take))
        }
        (Step::All, Value::Object(members)) => {
            members.values().try_for_each(|value| walk(rest, value, take))
        }
        (Step::Name(_) | Step::Element(_) | Step::All, _) => Ok(()),
    }
}

fn leaf<E>(value: &Value, take: &mut impl FnMut(&str) -> Result<(), E>) -> Result<(), E> {
    match value {
        Value::String(text) => take(text),
        Value::Number(number) => take(&number.to_string()),
        Value::Bool(truth) => take(if *truth { "true" } else { "false" }),
        Value::Null | Value::Array(_) | Value::Object(_) => Ok(()),
    }
}

fn step(text: &str) -> Option<(Step, &str)> {
    if let Some(rest) = text.strip_prefix('.') {
        if let Some(rest) = rest.strip_prefix('*') {
            return Some((Step::All, rest));
        }
        let end = rest.find(['.', '[']).unwrap_or(rest.len());
        let (name, rest) = rest.split_at(end);
        let is_name = |character: char| character.is_alphanumeric() || "_-".contains(character);
        return (!name.is_empty() && name.chars().all(is_name))
            .then(|| (Step::Name(name.into()), rest));
    }
    let inner = text.strip_prefix('[')?;
    for quote in ['\'', '"'] {
        if let Some(inner) = inner.strip_prefix(quote) {
            let (name, rest) = inner.split_once(quote)?;
            let rest = rest.strip_prefix(']')?;
            return (!name.contains('\\')).then(|| (Step::Name(name.into()), rest));
        }
    }
    let (inside, rest) = inner.split_once(']')?;
    let step = if inside == "*" { Step::All } else { Step::Element(inside.parse().ok()?) };
    Some((step, rest))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_path_leads_to_every_value_that_it_names() {
        let body = json!({
            "vendor": {"id": 7, "na-me": "x y", "a.b": true},
            "items": [{"id": "a"}, {"id": null}, {"other": 1}, {"id": 2.5}],
        });
        let rows: [(&str, &[&str]); 10] = [
            ("$.vendor.id", &["7"]),
            ("$.vendor.na-me", &["x y"]),
            ("$.vendor['a.b']", &["true"]),
            ("$.items[*].id", &["a", "2.5"]),
            ("$['items'][0]['id']", &["a"]),
            ("$.items[9].id", &[]),
            ("$.vendor.*", &["7", "x y", "true"]),
            ("$.vendor", &[]),
            ("$.items.id", &[]),
            ("$", &[]),
        ];
        for (text, expected) in rows {
            let mut found = Vec::new();
            let path = JsonPath::parse(text).unwrap();
            let taken: Result<(), ()> = path.each(&body, &mut |text| {
                found.push(text.to_owned());
                Ok(())
            });
            taken.unwrap();
            found.sort_unstable();
            let mut expected = expected.to_vec();
            expected.sort_unstable();
            assert_eq!(found, expected, "{text}");
        }
        for bad in
            ["", "a", "$a", "$.", "$..a", "$[", "$[a]", "$[-1]", "$.a b", "$[?(@.a)]", "$['a]"]
        {
            assert_eq!(JsonPath::parse(bad), Err(BadPath), "{bad}");
        }
    }
}
