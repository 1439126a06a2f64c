//! JSON in one spelling: the same values give the same bytes, and different values never do.
//!
//! The form is that of RFC 8785 but for numbers: members sorted by the UTF-16 of their names, no blanks, strings
//! with no more escapes than they need. Numbers stay as they are written: `1`, `1.0`, `1e0` and digits beyond a
//! double's are one value to some origins and several to others, so they are told apart.

use serde::de::IgnoredAny;

use crate::key::content::Unkeyable;

/// How deep values may be nested.
const DEPTH: usize = 64;

/// The members of an object with their canonical values, sorted.
pub(super) type Object = Vec<(String, Vec<u8>)>;

/// The canonical form of a JSON text.
pub(super) fn canonical(text: &[u8]) -> Result<Vec<u8>, Unkeyable> {
    let mut walk = Walk::over(text)?;
    let mut canonical = Vec::with_capacity(text.len());
    walk.value(&mut canonical, 0)?;
    Ok(canonical)
}

/// The members of a JSON text that is an object.
pub(super) fn object(text: &[u8]) -> Result<Object, Unkeyable> {
    let mut walk = Walk::over(text)?;
    if walk.peek() == Some(b'{') { walk.members(1) } else { Err(Unkeyable::Malformed) }
}

/// The canonical form of an object with these members, which are sorted.
pub(super) fn write(object: &Object) -> Vec<u8> {
    let mut text = vec![b'{'];
    for (index, (name, value)) in object.iter().enumerate() {
        if index > 0 {
            text.push(b',');
        }
        push_string(&mut text, name);
        text.push(b':');
        text.extend_from_slice(value);
    }
    text.push(b'}');
    text
}

/// The canonical form of a string.
pub(super) fn string(value: &str) -> Vec<u8> {
    let mut text = Vec::with_capacity(value.len() + 2);
    push_string(&mut text, value);
    text
}

fn push_string(text: &mut Vec<u8>, value: &str) {
    // Writing a string to memory cannot fail; were it to, nothing wrong would be equal to it.
    text.extend(serde_json::to_vec(value).unwrap_or_default());
}

/// Where we are in a text that is known to be JSON.
struct Walk<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Walk<'a> {
    fn over(text: &'a [u8]) -> Result<Self, Unkeyable> {
        let text = std::str::from_utf8(text).map_err(|_| Unkeyable::Malformed)?;
        serde_json::from_str::<IgnoredAny>(text).map_err(|_| Unkeyable::Malformed)?;
        Ok(Self { text, at: 0 })
    }

    /// The next byte that is no blank.
    fn peek(&mut self) -> Option<u8> {
        let rest = &self.text.as_bytes()[self.at..];
        self.at += rest.iter().take_while(|byte| b" \t\r\n".contains(byte)).count();
        self.text.as_bytes().get(self.at).copied()
    }

    fn value(&mut self, canonical: &mut Vec<u8>, depth: usize) -> Result<(), Unkeyable> {
        match self.peek() {
            Some(b'{' | b'[') if depth >= DEPTH => return Err(Unkeyable::TooDeep),
            Some(b'{') => canonical.extend(write(&self.members(depth + 1)?)),
            Some(b'[') => self.elements(canonical, depth + 1)?,
            Some(b'"') => push_string(canonical, &self.string()?),
            Some(_) | None => canonical.extend_from_slice(self.word().as_bytes()),
        }
        Ok(())
    }

    fn members(&mut self, depth: usize) -> Result<Object, Unkeyable> {
        let mut members = Object::new();
        self.at += 1;
        while self.peek() == Some(b'"') {
            let name = self.string()?;
            self.pass(b':');
            let mut value = Vec::new();
            self.value(&mut value, depth)?;
            members.push((name, value));
            self.pass(b',');
        }
        self.pass(b'}');
        members.sort_by(|one, other| one.0.encode_utf16().cmp(other.0.encode_utf16()));
        if members.windows(2).any(|pair| pair[0].0 == pair[1].0) {
            return Err(Unkeyable::Ambiguous);
        }
        Ok(members)
    }

    fn elements(&mut self, canonical: &mut Vec<u8>, depth: usize) -> Result<(), Unkeyable> {
        self.at += 1;
        canonical.push(b'[');
        let mut first = true;
        while self.peek().is_some_and(|byte| byte != b']') {
            if !first {
                canonical.push(b',');
            }
            first = false;
            self.value(canonical, depth)?;
            self.pass(b',');
        }
        self.pass(b']');
        canonical.push(b']');
        Ok(())
    }

    /// The string that begins here. Half a surrogate pair is JSON by its grammar, and no text.
    fn string(&mut self) -> Result<String, Unkeyable> {
        let rest = &self.text[self.at..];
        let mut escaped = false;
        let end = rest.bytes().skip(1).position(|byte| {
            let ends = byte == b'"' && !escaped;
            escaped = byte == b'\\' && !escaped;
            ends
        });
        let end = end.map_or(rest.len(), |end| end + 2);
        self.at += end;
        serde_json::from_str(&rest[..end]).map_err(|_| Unkeyable::Malformed)
    }

    /// A number, `true`, `false` or `null`, as it is written.
    fn word(&mut self) -> &'a str {
        let rest = &self.text[self.at..];
        let end = rest.bytes().position(|byte| b",]} \t\r\n".contains(&byte));
        let word = &rest[..end.unwrap_or(rest.len())];
        self.at += word.len();
        word
    }

    /// Steps over `byte`, if it is the next.
    fn pass(&mut self, byte: u8) {
        if self.peek() == Some(byte) {
            self.at += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use proptest::collection::vec;
    use proptest::prelude::{Just, Strategy, any, prop_oneof};
    use rand::rngs::StdRng;
    use rand::seq::SliceRandom;
    use rand::{Rng, SeedableRng};

    use super::*;
    use crate::key::content::tests::always;

    fn said(text: &str) -> Result<String, Unkeyable> {
        canonical(text.as_bytes()).map(|bytes| String::from_utf8(bytes).unwrap())
    }

    #[test]
    fn blanks_order_and_escapes_do_not_count_and_numbers_stay_as_written() {
        for (text, expected) in [
            (" { \"b\" : [ 1 , 2 ] ,\n\"a\" : { } } ", r#"{"a":{},"b":[1,2]}"#),
            (r#""\u0041\/\u00e9\n\u0007""#, "\"A/é\\n\\u0007\""),
            (r#""a\\\"b""#, r#""a\\\"b""#),
            (
                "[1, 1.0, 1e0, -0, 0.10, 12345678901234567890123]",
                "[1,1.0,1e0,-0,0.10,12345678901234567890123]",
            ),
            (" null ", "null"),
            ("[]", "[]"),
            // By UTF-16, as RFC 8785 §3.2.3 sorts: a surrogate pair comes before U+FB33.
            ("{\"\u{fb33}\":1,\"😀\":2,\"\u{80}\":3}", "{\"\u{80}\":3,\"😀\":2,\"\u{fb33}\":1}"),
        ] {
            assert_eq!(said(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_readers_could_differ_about_is_not_keyed() {
        let deep = format!("{}{}", "[".repeat(DEPTH + 1), "]".repeat(DEPTH + 1));
        for (text, why) in [
            (r#"{"a":1,"a":1}"#, Unkeyable::Ambiguous),
            (r#"{"a":1,"\u0061":2}"#, Unkeyable::Ambiguous),
            (r#"[{"b":{"a":1,"a":1}}]"#, Unkeyable::Ambiguous),
            (r#""\ud800""#, Unkeyable::Malformed),
            (r#"{"a":1}x"#, Unkeyable::Malformed),
            ("[1,]", Unkeyable::Malformed),
            ("{,}", Unkeyable::Malformed),
            ("01", Unkeyable::Malformed),
            ("", Unkeyable::Malformed),
            ("\u{feff}1", Unkeyable::Malformed),
            (deep.as_str(), Unkeyable::TooDeep),
        ] {
            assert_eq!(said(text), Err(why), "{text}");
        }
        assert_eq!(canonical(b"\"\xff\""), Err(Unkeyable::Malformed));
    }

    /// A JSON value that keeps its numbers as they are written.
    #[derive(Clone, Debug, PartialEq)]
    enum Value {
        Word(&'static str),
        Text(String),
        List(Vec<Value>),
        Object(Vec<(String, Value)>),
    }

    fn values() -> impl Strategy<Value = Value> {
        let words = ["null", "true", "false", "0", "-0", "1", "1.0", "1e0", "10", "0.1", "0.10"];
        let leaf = prop_oneof![
            (0..words.len()).prop_map(move |index| Value::Word(words[index])),
            any::<String>().prop_map(Value::Text),
            // Small enough for two of them to differ in little.
            "[a ]{0,2}".prop_map(Value::Text),
            Just(Value::Text("\"\\/\u{8}\u{7f}é😀".into())),
        ];
        leaf.prop_recursive(4, 24, 5, |inner| {
            prop_oneof![
                vec(inner.clone(), 0..5).prop_map(Value::List),
                vec(("[a-c\"é]{0,2}", inner), 0..5).prop_map(|members| {
                    let mut names = std::collections::HashSet::new();
                    let mut members: Vec<_> = members;
                    members.retain(|(name, _)| names.insert(name.clone()));
                    members.sort_by(|one, other| one.0.cmp(&other.0));
                    Value::Object(members)
                }),
            ]
        })
    }

    /// One of the ways in which the value can be written.
    fn spelled(value: &Value, dice: &mut StdRng) -> String {
        let blank = |dice: &mut StdRng| [" ", "\n", "\t", "", ""][dice.random_range(0..5)];
        let (before, after) = (blank(dice), blank(dice));
        let text = match value {
            Value::Word(word) => (*word).to_owned(),
            Value::Text(text) => spelled_text(text, dice),
            Value::List(list) => {
                let parts: Vec<_> = list.iter().map(|value| spelled(value, dice)).collect();
                format!("[{}{}]", blank(dice), parts.join(","))
            }
            Value::Object(members) => {
                let mut members: Vec<_> = members.iter().collect();
                members.shuffle(dice);
                let parts: Vec<_> = members
                    .into_iter()
                    .map(|(name, value)| {
                        let name = spelled_text(name, dice);
                        format!("{}{name}{}:{}", blank(dice), blank(dice), spelled(value, dice))
                    })
                    .collect();
                format!("{{{}{}}}", blank(dice), parts.join(","))
            }
        };
        format!("{before}{text}{after}")
    }

    fn spelled_text(text: &str, dice: &mut StdRng) -> String {
        let mut spelled = String::from("\"");
        for letter in text.chars() {
            if dice.random_bool(0.2) {
                for unit in letter.encode_utf16(&mut [0; 2]) {
                    write!(spelled, "\\u{unit:04X}").unwrap();
                }
            } else {
                let plain = serde_json::to_string(&letter).unwrap();
                spelled.push_str(&plain[1..plain.len() - 1]);
            }
        }
        spelled + "\""
    }

    #[test]
    fn every_spelling_of_a_value_has_one_form_which_is_its_own() {
        always((values(), any::<u64>()), |(value, seed)| {
            let dice = &mut StdRng::seed_from_u64(seed);
            let (one, other) = (spelled(&value, dice), spelled(&value, dice));
            let form = said(&one).unwrap();
            proptest::prop_assert_eq!(&form, &said(&other).unwrap(), "{} and {}", one, other);
            proptest::prop_assert_eq!(&form, &said(&form).unwrap());
            Ok(())
        });
    }

    #[test]
    fn different_values_never_have_the_same_form() {
        always((values(), values(), any::<u64>()), |(one, other, seed)| {
            let dice = &mut StdRng::seed_from_u64(seed);
            let (first, second) = (spelled(&one, dice), spelled(&other, dice));
            let same = said(&first).unwrap() == said(&second).unwrap();
            proptest::prop_assert_eq!(same, one == other, "{} and {}", first, second);
            Ok(())
        });
    }
}
