//! Dictionaries and lists of structured fields (RFC 8941 §3.2, §3.1), as far as caches need them.

use http::header::HeaderName;

use crate::message::fields::Named;

/// A member's value; what no cache directive can be is only checked for its syntax.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    Boolean(bool),
    Integer(i64),
    /// A decimal, string, token, byte sequence or inner list.
    Other,
}

/// The members of a field over all its lines, each key once with its last value; nothing where the field is absent
/// or is not a dictionary.
pub(crate) fn parse(fields: &impl Named, name: &HeaderName) -> Option<Vec<(String, Value)>> {
    Parser { rest: &combined(fields, name)? }.dictionary()
}

/// The members of a list of strings over all lines of a field, without their parameters; nothing where the field is
/// absent or is anything else.
pub(crate) fn strings(fields: &impl Named, name: &HeaderName) -> Option<Vec<String>> {
    Parser { rest: &combined(fields, name)? }.strings()
}

fn combined(fields: &impl Named, name: &HeaderName) -> Option<Vec<u8>> {
    let mut text: Option<Vec<u8>> = None;
    for line in fields.named(name).map(<[u8]>::trim_ascii) {
        let text = text.get_or_insert_default();
        // RFC 8941 §4.2: lines are combined with a comma and a blank; a line without members adds none.
        if !text.is_empty() && !line.is_empty() {
            text.extend_from_slice(b", ");
        }
        text.extend_from_slice(line);
    }
    text
}

struct Parser<'a> {
    rest: &'a [u8],
}

impl<'a> Parser<'a> {
    /// RFC 8941 §4.2.2.
    fn dictionary(&mut self) -> Option<Vec<(String, Value)>> {
        let mut found: Vec<(String, Value)> = Vec::new();
        self.skip(b" ");
        while !self.rest.is_empty() {
            let key = self.key()?;
            let value = if self.take(b'=') { self.member()? } else { Value::Boolean(true) };
            self.parameters()?;
            found.retain(|(known, _)| *known != key);
            found.push((key, value));
            self.separator()?;
        }
        Some(found)
    }

    /// RFC 8941 §4.2.1, for lists whose members are strings.
    fn strings(&mut self) -> Option<Vec<String>> {
        let mut found = Vec::new();
        self.skip(b" ");
        while !self.rest.is_empty() {
            self.rest.first().filter(|first| **first == b'"')?;
            found.push(self.string()?);
            self.parameters()?;
            self.separator()?;
        }
        Some(found)
    }

    /// The end, or a comma with another member behind it.
    fn separator(&mut self) -> Option<()> {
        self.skip(b" \t");
        if self.rest.is_empty() {
            return Some(());
        }
        if !self.take(b',') {
            return None;
        }
        self.skip(b" \t");
        // "If input_string is empty, there is a trailing comma; fail parsing."
        (!self.rest.is_empty()).then_some(())
    }

    fn member(&mut self) -> Option<Value> {
        if !self.take(b'(') {
            return self.item();
        }
        loop {
            self.skip(b" ");
            if self.take(b')') {
                return Some(Value::Other);
            }
            self.item()?;
            self.parameters()?;
            if !matches!(self.rest.first(), Some(b' ' | b')')) {
                return None;
            }
        }
    }

    fn parameters(&mut self) -> Option<()> {
        while self.take(b';') {
            self.skip(b" ");
            self.key()?;
            if self.take(b'=') {
                self.item()?;
            }
        }
        Some(())
    }

    fn item(&mut self) -> Option<Value> {
        match self.rest.first()? {
            b'-' | b'0'..=b'9' => self.number(),
            b'"' => self.string().map(|_| Value::Other),
            b':' => self.bytes(),
            b'?' => self.boolean(),
            b'*' | b'A'..=b'Z' | b'a'..=b'z' => {
                self.skip_while(is_token_byte);
                Some(Value::Other)
            }
            _ => None,
        }
    }

    fn key(&mut self) -> Option<String> {
        if !matches!(self.rest.first()?, b'*' | b'a'..=b'z') {
            return None;
        }
        let key = self.skip_while(
            |byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'.' | b'*'),
        );
        std::str::from_utf8(key).ok().map(str::to_owned)
    }

    /// RFC 8941 §4.2.4: at most 15 digits, or 12 and 3 of a decimal.
    fn number(&mut self) -> Option<Value> {
        let negative = self.take(b'-');
        let digits = self.skip_while(|byte| byte.is_ascii_digit());
        if digits.is_empty() || digits.len() > 15 {
            return None;
        }
        if self.take(b'.') {
            let fraction = self.skip_while(|byte| byte.is_ascii_digit());
            let fits = digits.len() <= 12 && (1..=3).contains(&fraction.len());
            return fits.then_some(Value::Other);
        }
        let number = digits.iter().fold(0, |number, digit| number * 10 + i64::from(digit - b'0'));
        Some(Value::Integer(if negative { -number } else { number }))
    }

    fn string(&mut self) -> Option<String> {
        self.next()?;
        let mut text = String::new();
        loop {
            let byte = match self.next()? {
                b'"' => return Some(text),
                b'\\' => self.next().filter(|escaped| matches!(escaped, b'"' | b'\\'))?,
                byte @ b' '..=b'~' => byte,
                _ => return None,
            };
            text.push(byte.into());
        }
    }

    fn bytes(&mut self) -> Option<Value> {
        self.next()?;
        self.skip_while(|byte| byte.is_ascii_alphanumeric() || b"+/=".contains(&byte));
        self.take(b':').then_some(Value::Other)
    }

    fn boolean(&mut self) -> Option<Value> {
        self.next()?;
        match self.next()? {
            b'0' => Some(Value::Boolean(false)),
            b'1' => Some(Value::Boolean(true)),
            _ => None,
        }
    }

    fn next(&mut self) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }

    fn take(&mut self, byte: u8) -> bool {
        let found = self.rest.first() == Some(&byte);
        if found {
            self.rest = &self.rest[1..];
        }
        found
    }

    fn skip(&mut self, bytes: &[u8]) {
        self.skip_while(|byte| bytes.contains(&byte));
    }

    fn skip_while(&mut self, wanted: impl Fn(u8) -> bool) -> &'a [u8] {
        let end = self.rest.iter().position(|byte| !wanted(*byte)).unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at(end);
        self.rest = rest;
        taken
    }
}

fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~:/".contains(&byte)
}

#[cfg(test)]
mod tests {
    use http::header::{HeaderMap, HeaderValue};

    use super::*;

    const NAME: HeaderName = HeaderName::from_static("x");

    fn parsed(lines: &[&[u8]]) -> Option<Vec<(String, Value)>> {
        let mut fields = HeaderMap::new();
        for line in lines {
            fields.append(NAME, HeaderValue::from_bytes(line).unwrap());
        }
        parse(&fields, &NAME)
    }

    /// RFC 8941 §4.2.2.
    #[test]
    fn every_type_of_value_is_recognised() {
        let line = br#"a=1, b=-2;p;q="x", c=?0, d, e="s\"\\", f=tok/en, g=:YQ==:, h=(1 "a";x=2 t), i=1.5, *k=?1"#;
        let found = parsed(&[line]).unwrap();
        let expected = [
            ("a", Value::Integer(1)),
            ("b", Value::Integer(-2)),
            ("c", Value::Boolean(false)),
            ("d", Value::Boolean(true)),
            ("e", Value::Other),
            ("f", Value::Other),
            ("g", Value::Other),
            ("h", Value::Other),
            ("i", Value::Other),
            ("*k", Value::Boolean(true)),
        ];
        assert_eq!(found, expected.map(|(key, value)| (key.to_owned(), value)));
    }

    #[test]
    fn what_breaks_the_grammar_breaks_the_field() {
        let rows: [&[u8]; 22] = [
            b"&",
            b"A=1",
            b"a=",
            b"a= 1",
            b"a =1",
            b"a=1 b=2",
            b"a=1,",
            b"a=1,,b=2",
            b",a=1",
            b"a=--1",
            b"a=1.",
            b"a=1.2345",
            b"a=1234567890123456",
            b"a=?2",
            b"a=\"x",
            b"a=\"\\x\"",
            b"a=\"\xe9\"",
            b"a=:YQ==",
            b"a=(1",
            b"a=(1\"x\")",
            b"a;=1",
            b"a=1x",
        ];
        for row in rows {
            assert_eq!(parsed(&[row]), None, "{}", String::from_utf8_lossy(row));
        }
    }

    #[test]
    fn a_list_of_strings_has_all_its_members_or_is_none() {
        let listed = |line: &'static str| {
            let fields = HeaderMap::from_iter([(NAME, HeaderValue::from_static(line))]);
            strings(&fields, &NAME)
        };
        assert_eq!(listed(r#""a", "b c";p=1 ,"\"\\""#).unwrap(), ["a", "b c", "\"\\"]);
        for wrong in ["a", "\"a\",", "(\"a\")", "\"a\" \"b\"", "\"a", "1"] {
            assert_eq!(listed(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn lines_are_combined_and_an_absent_field_is_none() {
        let found = parsed(&[b"a=1", b" ", b"b=2\t,\tc"]).unwrap();
        assert_eq!(found.len(), 3);
        assert_eq!(parsed(&[b"a=1,", b"b"]), None);
        assert_eq!(parsed(&[]), None);
        assert_eq!(parsed(&[b""]), Some(Vec::new()));
    }
}
