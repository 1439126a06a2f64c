//! Reads one scalar as its schema wants it.

use serde_json::Value;

use crate::config::fault::{listed, nearest};
use crate::config::scalar::kind::Kind;

/// What is wrong with a scalar, before it knows its key.
pub(crate) struct Unfit {
    pub(crate) wanted: String,
    /// May repeat the value, as `right` may.
    pub(crate) why: String,
    pub(crate) right: String,
    /// What would be right, whatever the value.
    pub(crate) general: String,
}

impl Unfit {
    fn new(wanted: impl Into<String>, right: impl Into<String>) -> Self {
        let right = right.into();
        Self { wanted: wanted.into(), why: String::new(), general: right.clone(), right }
    }
}

pub(crate) fn of_kind(text: &str, kind: &Kind) -> Result<Value, Unfit> {
    (kind.check)(text).map(|()| text.into()).map_err(|wrong| Unfit {
        wanted: kind.noun.to_owned(),
        why: wrong.why,
        right: wrong.right,
        general: format!("write one such as {}", kind.example),
    })
}

pub(crate) fn one_of(text: &str, words: &[&str]) -> Result<Value, Unfit> {
    if words.contains(&text) {
        return Ok(text.into());
    }
    let general = match words {
        [only] => format!("write `{only}`"),
        several => format!("write one of {}", listed(several.iter().copied())),
    };
    let near = nearest(text, words.iter().copied());
    let right = near.map_or_else(|| general.clone(), |near| format!("did you mean `{near}`?"));
    let wanted = listed(words.iter().copied()).replace(" and ", " or ");
    Err(Unfit { wanted, why: String::new(), right, general })
}

pub(crate) fn truth(text: &str) -> Result<Value, Unfit> {
    text.parse::<bool>().map(Value::Bool).map_err(|_| {
        let right = match text.to_lowercase().as_str() {
            "yes" | "on" | "1" | "true" => "write true",
            "no" | "off" | "0" | "false" => "write false",
            _ => "write true or false",
        };
        let general = "write true or false".to_owned();
        Unfit { general, ..Unfit::new("`true` or `false`", right) }
    })
}

pub(crate) fn whole(text: &str, schema: &Value) -> Result<Value, Unfit> {
    let least = schema.get("minimum").and_then(Value::as_u64).unwrap_or(0);
    let format = schema.get("format").and_then(Value::as_str);
    let widest = if format == Some("uint32") { u64::from(u32::MAX) } else { u64::MAX };
    let most = schema.get("maximum").and_then(Value::as_u64).unwrap_or(widest);
    match text.parse::<u64>() {
        Ok(number) if (least..=most).contains(&number) => Ok(number.into()),
        Ok(number) if number < least => {
            Err(Unfit::new("a whole number", format!("write {least} or more")))
        }
        Ok(_) => Err(Unfit::new("a whole number", format!("write {most} or less"))),
        Err(_) => Err(Unfit::new("a whole number", "write digits only, without a unit")),
    }
}

pub(crate) fn number(text: &str, schema: &Value) -> Result<Value, Unfit> {
    let above = schema.get("exclusiveMinimum").and_then(Value::as_f64);
    let most = schema.get("maximum").and_then(Value::as_f64);
    let number = text.parse::<f64>().ok().filter(|number| number.is_finite());
    let Some(number) = number else {
        return Err(Unfit::new("a number", "write a number such as 1.0"));
    };
    if above.is_some_and(|above| number <= above) {
        let above = above.unwrap_or_default();
        return Err(Unfit::new("a number", format!("write more than {above}")));
    }
    if most.is_some_and(|most| number > most) {
        return Err(Unfit::new("a number", format!("write {} or less", most.unwrap_or_default())));
    }
    Ok(number.into())
}

/// The words that a schema allows, if it allows only some.
pub(crate) fn words<'a>(schema: &'a Value) -> Vec<&'a str> {
    if let Some(words) = schema.get("enum").and_then(Value::as_array) {
        let word = |value: &'a Value| match value {
            Value::String(word) => Some(word.as_str()),
            Value::Bool(true) => Some("true"),
            Value::Bool(false) => Some("false"),
            Value::Null | Value::Number(_) | Value::Array(_) | Value::Object(_) => None,
        };
        return words.iter().filter_map(word).collect();
    }
    let branches = schema.get("oneOf").and_then(Value::as_array).into_iter().flatten();
    branches
        .flat_map(|branch| match branch.get("const").and_then(Value::as_str) {
            Some(word) => vec![word],
            None => words(branch),
        })
        .collect()
}
