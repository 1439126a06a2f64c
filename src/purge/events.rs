//! Events: what happened elsewhere, and what is purged because of it.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use crate::purge::Effect;
use crate::purge::template::{BadValue, MOST, Named, Rule, Value};

/// What is purged when something happens, by the name of what happened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Events {
    pub rules: Vec<EventRule>,
}

/// What events of one name, or of all names that fit a pattern, purge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventRule {
    pub name: NamePattern,
    pub purge: Vec<Rule>,
    pub effect: Effect,
    /// How many of the hottest entries that go are fetched again.
    pub rewarm: Option<u32>,
}

/// A name, in which `*` stands for at least one character.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamePattern(pub Box<str>);

/// What an event purges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meaning {
    /// Each thing once, with the harshest effect that a rule has for it. At least one.
    pub named: BTreeMap<Named, Effect>,
    pub rewarm: Option<u32>,
}

/// Why an event purges nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unclear {
    #[error("there is no such event")]
    Unknown,
    #[error("{0}")]
    Value(BadValue),
    #[error("its data names nothing")]
    Nothing,
}

impl Events {
    /// What the event `name` with this data purges: what all rules say that fit its name. All of it or nothing.
    pub fn meaning(&self, name: &str, data: &Json) -> Result<Meaning, Unclear> {
        let mut rules = self.rules.iter().filter(|rule| rule.name.is_match(name)).peekable();
        rules.peek().ok_or(Unclear::Unknown)?;
        let values = |hole: &str| find(data, hole);
        let mut meaning = Meaning { named: BTreeMap::new(), rewarm: None };
        for rule in rules {
            meaning.rewarm = meaning.rewarm.max(rule.rewarm);
            for purge in &rule.purge {
                for named in purge.fill(&values).map_err(Unclear::Value)? {
                    let effect = meaning.named.entry(named).or_insert(rule.effect);
                    *effect = rule.effect.max(*effect);
                }
            }
        }
        match meaning.named.len() {
            0 => Err(Unclear::Nothing),
            number if number > MOST => Err(Unclear::Value(BadValue::TooMany)),
            _ => Ok(meaning),
        }
    }
}

impl NamePattern {
    pub fn is_match(&self, name: &str) -> bool {
        let mut pieces = self.0.split('*');
        let Some(mut rest) = pieces.next().and_then(|first| name.strip_prefix(first)) else {
            return false;
        };
        let mut pieces = pieces.peekable();
        if pieces.peek().is_none() {
            return rest.is_empty();
        }
        while let Some(piece) = pieces.next() {
            // The wildcard takes one character at least.
            let Some(first) = rest.chars().next() else { return false };
            let behind = &rest[first.len_utf8()..];
            if pieces.peek().is_none() {
                return behind.ends_with(piece);
            }
            let Some(at) = behind.find(piece) else { return false };
            rest = &behind[at + piece.len()..];
        }
        false
    }
}

/// The values of this name in an event's data. A dot goes one level down, a list gives one value for each element.
pub fn find(data: &Json, name: &str) -> Result<Vec<Value>, BadValue> {
    let mut found = Vec::new();
    collect(data, Some(name), name, &mut found)?;
    Ok(found)
}

fn collect(
    data: &Json,
    path: Option<&str>,
    name: &str,
    found: &mut Vec<Value>,
) -> Result<(), BadValue> {
    if let Json::Array(elements) = data {
        return elements.iter().try_for_each(|element| match element {
            Json::Array(_) => Err(BadValue::Kind(name.to_owned())),
            _ => collect(element, path, name, found),
        });
    }
    let Some(path) = path else {
        found.push(scalar(data, name)?);
        return if found.len() > MOST { Err(BadValue::TooMany) } else { Ok(()) };
    };
    let (first, rest) =
        path.split_once('.').map_or((path, None), |(first, rest)| (first, Some(rest)));
    let value = data.get(first).ok_or_else(|| BadValue::Missing(name.to_owned()))?;
    collect(value, rest, name, found)
}

/// A number that is not whole has no one spelling.
fn scalar(value: &Json, name: &str) -> Result<Value, BadValue> {
    match value {
        Json::String(text) => Ok(Value::Plain(text.clone())),
        Json::Bool(truth) => Ok(Value::Plain(truth.to_string())),
        Json::Number(number) if !number.is_f64() => Ok(Value::Plain(number.to_string())),
        Json::Null => Err(BadValue::Missing(name.to_owned())),
        Json::Number(_) | Json::Array(_) | Json::Object(_) => Err(BadValue::Kind(name.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::purge::template::Holes;

    fn events(rules: &[(&str, &[&str], Effect)]) -> Events {
        let rule = |(name, purge, effect): &(&str, &[&str], Effect)| EventRule {
            name: NamePattern((*name).into()),
            purge: purge.iter().map(|text| Rule::parse(text, Holes::OfData).unwrap()).collect(),
            effect: *effect,
            rewarm: None,
        };
        Events { rules: rules.iter().map(rule).collect() }
    }

    fn tags(meaning: &Meaning) -> Vec<&str> {
        fn tag(named: &Named) -> &str {
            match named {
                Named::Tag(tag) => tag.as_str(),
                other => panic!("{other:?}"),
            }
        }
        meaning.named.keys().map(tag).collect()
    }

    #[test]
    fn names_fit_patterns_whole() {
        let rows = [
            ("a.b", "a.b", true),
            ("a.b", "a.bc", false),
            ("a.*", "a.b", true),
            ("a.*", "a.", false),
            ("a.*", "b.a.b", false),
            ("a.*", "a.b.c", true),
            ("*.done", "a.done", true),
            ("*.done", "a.done.x", false),
            ("a*b*c", "a1b2c", true),
            ("a*b*c", "abc", false),
            ("*", "x", true),
        ];
        for (pattern, name, expected) in rows {
            assert_eq!(NamePattern(pattern.into()).is_match(name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn values_are_found_by_nested_names_and_lists_give_several() {
        let events = events(&[(
            "order.*",
            &["tag:user:{user.id}", "tag:item:{items.id}", "tag:{flag}-{ids}"],
            Effect::Remove,
        )]);
        let data = json!({
            "user": {"id": 7}, "items": [{"id": "a"}, {"id": "b"}], "flag": true, "ids": [1, 2],
        });
        let meaning = events.meaning("order.paid", &data).unwrap();
        assert_eq!(tags(&meaning), ["item:a", "item:b", "true-1", "true-2", "user:7"]);
    }

    #[test]
    fn what_is_missing_or_odd_refuses_the_whole_event() {
        let events = events(&[("e", &["tag:all", "tag:user:{user.id}"], Effect::Remove)]);
        let name = || "user.id".to_owned();
        let rows = [
            (json!({}), BadValue::Missing(name())),
            (json!({"user": {}}), BadValue::Missing(name())),
            (json!({"user": "7"}), BadValue::Missing(name())),
            (json!({"user": {"id": null}}), BadValue::Missing(name())),
            (json!({"user": {"id": {}}}), BadValue::Kind(name())),
            (json!({"user": {"id": 1.5}}), BadValue::Kind(name())),
            (json!({"user": {"id": [[1]]}}), BadValue::Kind(name())),
            (json!({"user": {"id": ""}}), BadValue::Empty("user.id".into())),
            (json!({"user": [{"id": 1}, {}]}), BadValue::Missing(name())),
            (json!(null), BadValue::Missing(name())),
        ];
        for (data, expected) in rows {
            assert_eq!(events.meaning("e", &data), Err(Unclear::Value(expected)), "{data}");
        }
        assert_eq!(events.meaning("f", &json!({})), Err(Unclear::Unknown));
    }

    #[test]
    fn an_event_whose_lists_are_empty_names_nothing() {
        let events = events(&[("e", &["tag:{ids}"], Effect::Remove)]);
        assert_eq!(events.meaning("e", &json!({"ids": []})), Err(Unclear::Nothing));
    }

    #[test]
    fn all_rules_that_fit_count_and_the_harshest_effect_wins() {
        let events = events(&[
            ("user.*", &["tag:a", "tag:b"], Effect::MarkStale),
            ("user.gone", &["tag:b"], Effect::Remove),
        ]);
        let meaning = events.meaning("user.gone", &json!({})).unwrap();
        let effects: Vec<_> = meaning.named.values().copied().collect();
        assert_eq!(tags(&meaning), ["a", "b"]);
        assert_eq!(effects, [Effect::MarkStale, Effect::Remove]);
    }
}
