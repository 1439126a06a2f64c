//! Directives of requests and responses, parsed once.

use std::borrow::Cow;
use std::time::Duration;

use http::header::{CACHE_CONTROL, HeaderName, PRAGMA};

use crate::message::dictionary::{self, Value};
use crate::message::fields::{
    CDN_CACHE_CONTROL, LARDER_CACHE_CONTROL, Named, SURROGATE_CONTROL, list, members,
};

/// What a client's `Cache-Control` (or `Pragma`) asks for. The default asks for nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RequestDirectives {
    pub no_cache: bool,
    pub no_store: bool,
    pub only_if_cached: bool,
    pub max_age: Option<Duration>,
    pub min_fresh: Option<Duration>,
    pub max_stale: Option<MaxStale>,
}

/// How stale an answer the client is content with (RFC 9111 §5.2.1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MaxStale {
    Any,
    Up(Duration),
}

/// What a response's `Cache-Control`, or the targeted field in its place, says. The default says nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResponseDirectives {
    pub no_store: bool,
    pub public: bool,
    pub must_understand: bool,
    /// Zero where the directive has an argument that is no number: the response is then stale.
    pub max_age: Option<Duration>,
    pub s_maxage: Option<Duration>,
    pub stale_while_revalidate: Option<Duration>,
    pub stale_if_error: Option<Duration>,
    pub no_cache: Extent,
    pub private: Extent,
    pub revalidation: Revalidation,
}

/// How much of a response `no-cache` or `private` speaks of.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Extent {
    /// The directive is absent.
    #[default]
    Nothing,
    /// Only these fields (RFC 9111 §5.2.2.4 and §5.2.2.7, qualified form).
    Fields(Vec<FieldName>),
    Whole,
}

/// A field's name that can be ordered, so that extents can be compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldName(pub HeaderName);

/// Whether a stale response may be used without asking.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Revalidation {
    #[default]
    Free,
    /// `proxy-revalidate`: no shared cache may.
    ByProxies,
    /// `must-revalidate`: no cache may.
    Must,
}

/// The fields that speak to this cache alone, the most specific first (RFC 9213 §2.2).
const TARGETED: [HeaderName; 3] = [LARDER_CACHE_CONTROL, CDN_CACHE_CONTROL, SURROGATE_CONTROL];

/// "If a cache receives a delta-seconds value greater than the greatest integer it can represent, or if any of its
/// subsequent calculations overflows, the cache MUST consider the value to be 2147483648 (2^31) or the greatest
/// positive integer it can conveniently represent" (RFC 9111 §1.2.2).
pub const VERY_LONG: Duration = Duration::from_secs(1 << 31);

impl RequestDirectives {
    /// What a request asks for. Costs two look-ups, and nothing more, where it has neither field.
    pub fn of(fields: &impl Named) -> Self {
        let mut found = Self::default();
        if fields.has(&CACHE_CONTROL) {
            for member in members(fields, &CACHE_CONTROL) {
                found.take(&Directive::parse(member));
            }
        } else if fields.has(&PRAGMA) {
            // RFC 7234 §5.4: "When the Cache-Control header field is not present in a request, caches MUST consider
            // the no-cache request pragma-directive as having the same effect"; RFC 9111 §5.4 deprecates it, and
            // old clients still send it.
            found.no_cache =
                members(fields, &PRAGMA).any(|member| member.eq_ignore_ascii_case(b"no-cache"));
        }
        found
    }

    fn take(&mut self, directive: &Directive<'_>) {
        match directive {
            _ if directive.is("no-cache") => self.no_cache = true,
            _ if directive.is("no-store") => self.no_store = true,
            _ if directive.is("only-if-cached") => self.only_if_cached = true,
            // A client that asks in vain for a small age is asked for by the safe reading: none is small enough.
            _ if directive.is("max-age") => first(&mut self.max_age, directive.lifetime()),
            _ if directive.is("min-fresh") => {
                self.min_fresh = self.min_fresh.or_else(|| directive.delta());
            }
            _ if directive.is("max-stale") => {
                self.max_stale = self.max_stale.or_else(|| directive.max_stale());
            }
            _ => {}
        }
    }
}

impl ResponseDirectives {
    /// What `Cache-Control` says, on all its lines.
    pub fn of(fields: &impl Named) -> Self {
        let mut found = Self::default();
        for member in members(fields, &CACHE_CONTROL) {
            found.take(&Directive::parse(member));
            found.take_misseparated(member);
        }
        found
    }

    /// What the most specific valid targeted field says, if there is one; `Cache-Control` and `Expires` are then
    /// not to be looked at.
    ///
    /// RFC 9213 §2.1: "If a targeted field in a given response is empty, or a parsing error is encountered, that
    /// field MUST be ignored by the cache (i.e., it behaves as if the field were not present, likely falling back
    /// to other cache-control mechanisms present)."
    pub fn targeted(fields: &impl Named) -> Option<Self> {
        TARGETED.iter().find_map(|name| {
            let parsed = dictionary::parse(fields, name)?;
            let mut found = Self::default();
            for (key, value) in &parsed {
                found.take_targeted(key, value)?;
            }
            (!parsed.is_empty()).then_some(found)
        })
    }

    fn take(&mut self, directive: &Directive<'_>) {
        match directive {
            _ if directive.is("no-store") => self.no_store = true,
            _ if directive.is("public") => self.public = true,
            _ if directive.is("must-understand") => self.must_understand = true,
            _ if directive.is("no-cache") => self.no_cache.widen(directive.extent()),
            _ if directive.is("private") => self.private.widen(directive.extent()),
            _ if directive.is("must-revalidate") => self.revalidation = Revalidation::Must,
            _ if directive.is("proxy-revalidate") => {
                self.revalidation = self.revalidation.max(Revalidation::ByProxies);
            }
            _ if directive.is("max-age") => first(&mut self.max_age, directive.lifetime()),
            _ if directive.is("s-maxage") => first(&mut self.s_maxage, directive.lifetime()),
            _ if directive.is("stale-while-revalidate") => {
                first(&mut self.stale_while_revalidate, directive.lifetime());
            }
            _ if directive.is("stale-if-error") => {
                first(&mut self.stale_if_error, directive.lifetime());
            }
            _ => {}
        }
    }

    /// `no-store; max-age=0` is one unknown directive, but whoever wrote it forbade something: what forbids counts
    /// also where a semicolon stands for the comma.
    fn take_misseparated(&mut self, member: &[u8]) {
        if !member.contains(&b';') {
            return;
        }
        let mut quoted = false;
        let pieces = member.split(|byte| {
            quoted ^= *byte == b'"';
            *byte == b';' && !quoted
        });
        for piece in pieces.map(|piece| Directive::parse(piece.trim_ascii())) {
            match piece {
                _ if piece.is("no-store") => self.no_store = true,
                _ if piece.is("no-cache") => self.no_cache = Extent::Whole,
                _ if piece.is("private") => self.private = Extent::Whole,
                _ => {}
            }
        }
    }

    /// Takes one member of a targeted field; nothing where its type is wrong, which spoils the field.
    fn take_targeted(&mut self, key: &str, value: &Value) -> Option<()> {
        if *value == Value::Boolean(false) {
            return Some(());
        }
        match key {
            "no-store" => self.no_store = true,
            "public" => self.public = true,
            "must-understand" => self.must_understand = true,
            "no-cache" => self.no_cache = Extent::Whole,
            "private" => self.private = Extent::Whole,
            "must-revalidate" => self.revalidation = Revalidation::Must,
            "proxy-revalidate" => {
                self.revalidation = self.revalidation.max(Revalidation::ByProxies);
            }
            "max-age" => self.max_age = Some(seconds(value)?),
            "s-maxage" => self.s_maxage = Some(seconds(value)?),
            "stale-while-revalidate" => self.stale_while_revalidate = Some(seconds(value)?),
            "stale-if-error" => self.stale_if_error = Some(seconds(value)?),
            _ => {}
        }
        Some(())
    }
}

impl Extent {
    fn widen(&mut self, other: Self) {
        let mine = std::mem::take(self);
        *self = match (mine, other) {
            (Self::Fields(mut names), Self::Fields(more)) => {
                names.extend(more);
                Self::Fields(names)
            }
            (mine, other) => mine.max(other),
        };
    }

    pub fn is_whole(&self) -> bool {
        *self == Self::Whole
    }

    /// The fields that the qualified form lists.
    pub fn fields(&self) -> impl Iterator<Item = &HeaderName> {
        let names = match self {
            Self::Fields(names) => names.as_slice(),
            Self::Nothing | Self::Whole => &[],
        };
        names.iter().map(|name| &name.0)
    }
}

impl PartialOrd for FieldName {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for FieldName {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.as_str().cmp(other.0.as_str())
    }
}

/// RFC 9111 §4.2.1: "When there is more than one value present for a given directive [...], either the first
/// occurrence should be used or the response should be considered stale." The first counts.
fn first(place: &mut Option<Duration>, found: Duration) {
    place.get_or_insert(found);
}

fn seconds(value: &Value) -> Option<Duration> {
    match value {
        Value::Integer(number) => {
            Some(Duration::from_secs(u64::try_from(*number).unwrap_or(0)).min(VERY_LONG))
        }
        Value::Boolean(_) | Value::Other => None,
    }
}

/// A number of seconds (RFC 9111 §1.2.2): digits and nothing else; saturates.
pub fn delta_seconds(text: &[u8]) -> Option<Duration> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = text.iter().fold(0_u64, |number, digit| {
        number.saturating_mul(10).saturating_add(u64::from(digit - b'0'))
    });
    Some(Duration::from_secs(number).min(VERY_LONG))
}

/// The text of a quoted string without its quotes and escapes; nothing where it is not one, whole.
pub(crate) fn unquoted(text: &[u8]) -> Option<Cow<'_, [u8]>> {
    let inner = text.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    if !inner.iter().any(|byte| matches!(byte, b'"' | b'\\')) {
        return Some(Cow::Borrowed(inner));
    }
    let mut plain = Vec::with_capacity(inner.len());
    let mut bytes = inner.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => plain.push(*bytes.next()?),
            b'"' => return None,
            _ => plain.push(*byte),
        }
    }
    Some(Cow::Owned(plain))
}

struct Directive<'a> {
    name: &'a [u8],
    argument: Argument<'a>,
}

enum Argument<'a> {
    None,
    Text(Cow<'a, [u8]>),
    /// Blanks around the `=`, or a quoted string that is none.
    Broken,
}

impl<'a> Directive<'a> {
    fn parse(member: &'a [u8]) -> Self {
        let Some(equals) = member.iter().position(|byte| *byte == b'=') else {
            return Self { name: member, argument: Argument::None };
        };
        let (name, argument) = (&member[..equals], &member[equals + 1..]);
        let blank = name.trim_ascii_end() != name || argument.trim_ascii_start() != argument;
        let argument = match argument.first() {
            _ if blank => Argument::Broken,
            Some(b'"') => unquoted(argument).map_or(Argument::Broken, Argument::Text),
            Some(_) | None => Argument::Text(Cow::Borrowed(argument)),
        };
        Self { name: name.trim_ascii_end(), argument }
    }

    fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name.as_bytes())
    }

    fn delta(&self) -> Option<Duration> {
        match &self.argument {
            Argument::Text(text) => delta_seconds(text),
            Argument::None | Argument::Broken => None,
        }
    }

    /// The argument as a lifetime; zero where it is no number.
    ///
    /// RFC 9111 §4.2.1: "Caches are encouraged to consider responses that have invalid freshness information
    /// (e.g., a max-age directive with non-integer content) to be stale."
    fn lifetime(&self) -> Duration {
        self.delta().unwrap_or(Duration::ZERO)
    }

    fn max_stale(&self) -> Option<MaxStale> {
        match &self.argument {
            Argument::None => Some(MaxStale::Any),
            Argument::Text(_) | Argument::Broken => self.delta().map(MaxStale::Up),
        }
    }

    /// The fields listed, or the whole response where there is no list that can be read: the safe side.
    fn extent(&self) -> Extent {
        let Argument::Text(text) = &self.argument else { return Extent::Whole };
        let names: Option<Vec<FieldName>> =
            list(text).map(|name| HeaderName::from_bytes(name).ok().map(FieldName)).collect();
        match names {
            Some(names) if !names.is_empty() => Extent::Fields(names),
            Some(_) | None => Extent::Whole,
        }
    }
}

#[cfg(test)]
mod tests {
    use http::header::{HeaderMap, HeaderValue};

    use super::*;

    fn fields(lines: &[(&str, &[u8])]) -> HeaderMap {
        let mut fields = HeaderMap::new();
        for (name, value) in lines {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            fields.append(name, HeaderValue::from_bytes(value).unwrap());
        }
        fields
    }

    fn said(lines: &[&str]) -> ResponseDirectives {
        let lines: Vec<_> = lines.iter().map(|line| ("cache-control", line.as_bytes())).collect();
        ResponseDirectives::of(&fields(&lines))
    }

    fn asked(line: &str) -> RequestDirectives {
        RequestDirectives::of(&fields(&[("cache-control", line.as_bytes())]))
    }

    #[expect(clippy::unnecessary_wraps, reason = "it stands for the value of a directive")]
    const fn seconds(seconds: u64) -> Option<Duration> {
        Some(Duration::from_secs(seconds))
    }

    /// RFC 9111 §1.2.2: "The delta-seconds rule specifies a non-negative integer, representing time in seconds",
    /// and §4.2.1: invalid freshness information is stale.
    #[test]
    fn max_age_is_digits_and_saturates_and_anything_else_is_zero() {
        let long = VERY_LONG.as_secs();
        let rows: [(&str, u64); 21] = [
            ("max-age=3600", 3600),
            ("MaX-aGe=3600", 3600),
            ("max-age=003600", 3600),
            ("max-age=\"3600\"", 3600),
            ("max-age=0", 0),
            ("max-age=2147483647", long - 1),
            ("max-age=2147483648", long),
            ("max-age=2147483649", long),
            ("max-age=99999999999", long),
            ("max-age=99999999999999999999999", long),
            ("max-age=-3600", 0),
            ("max-age='3600'", 0),
            ("max-age=3600.0", 0),
            ("max-age=3600.5", 0),
            ("max-age=a3600", 0),
            ("max-age=3600a", 0),
            ("max-age =3600", 0),
            ("max-age= 3600", 0),
            ("max-age=", 0),
            ("max-age", 0),
            ("max-age=\"3600", 0),
        ];
        for (line, lifetime) in rows {
            assert_eq!(said(&[line]).max_age, seconds(lifetime), "{line}");
        }
        assert_eq!(said(&["max-age=3600 , a"]).max_age, seconds(3600));
        assert_eq!(said(&["public"]).max_age, None);
    }

    /// RFC 9111 §4.2.1: "either the first occurrence should be used or the response should be considered stale".
    #[test]
    fn of_two_values_the_first_counts_on_one_line_and_on_two() {
        assert_eq!(said(&["max-age=1, max-age=3600"]).max_age, seconds(1));
        assert_eq!(said(&["max-age=3600", "max-age=1"]).max_age, seconds(3600));
        assert_eq!(said(&["s-maxage=7, s-maxage=9"]).s_maxage, seconds(7));
    }

    /// RFC 9110 §5.6.4: a quoted string is "parsed as a single value".
    #[test]
    fn what_stands_in_a_quoted_string_is_no_directive() {
        let rows = [
            "foo=\"max-age=3600\", max-age=1",
            "max-age=1, foo=\"max-age=3600\"",
            "foo=\"a, max-age=3600, b\", max-age=1",
            "foo=\"\\\", max-age=3600, \\\"\", max-age=1",
            "foo=\"a; no-store; private\", max-age=1",
        ];
        for line in rows {
            let said = said(&[line]);
            assert_eq!((said.max_age, said.no_store), (seconds(1), false), "{line}");
            assert_eq!(said.private, Extent::Nothing, "{line}");
        }
    }

    #[test]
    fn directives_are_found_on_all_lines_in_any_case_beside_any_byte() {
        let lines = fields(&[
            ("cache-control", b"caf\xe9=\xff, No-Store"),
            ("cache-control", b""),
            ("cache-control", b",,PUBLIC,"),
            ("cache-control", b"Must-Understand, stale-while-revalidate=5, STALE-IF-ERROR=6"),
        ]);
        let said = ResponseDirectives::of(&lines);
        assert!(said.no_store && said.public && said.must_understand);
        assert_eq!(said.stale_while_revalidate, seconds(5));
        assert_eq!(said.stale_if_error, seconds(6));
    }

    #[test]
    fn the_stricter_revalidation_counts_in_either_order() {
        assert_eq!(said(&["proxy-revalidate"]).revalidation, Revalidation::ByProxies);
        assert_eq!(said(&["must-revalidate, proxy-revalidate"]).revalidation, Revalidation::Must);
        assert_eq!(said(&["proxy-revalidate, must-revalidate"]).revalidation, Revalidation::Must);
        assert_eq!(said(&["max-age=1"]).revalidation, Revalidation::Free);
    }

    /// RFC 9111 §5.2.2.4 and §5.2.2.7: the qualified form "with an argument that lists one or more field names".
    #[test]
    fn a_list_of_fields_qualifies_and_what_is_no_list_does_not() {
        let listed = |extent: &Extent| -> Vec<String> {
            extent.fields().map(|name| name.as_str().to_owned()).collect()
        };
        let said = said(&["private=\"Set-Cookie, a\", no-cache=b", "private=\"c\""]);
        assert_eq!(listed(&said.private), ["set-cookie", "a", "c"]);
        assert_eq!(listed(&said.no_cache), ["b"]);
        for line in ["private", "private=", "private=\"\"", "private=\"a b\"", "private = \"a\""] {
            assert!(self::said(&[line]).private.is_whole(), "{line}");
        }
        for lines in [["private", "private=\"a\""], ["private=\"a\"", "private"]] {
            assert!(self::said(&lines).private.is_whole(), "{lines:?}");
        }
    }

    #[test]
    fn what_forbids_counts_behind_a_semicolon_too() {
        assert!(said(&["no-store; max-age=60"]).no_store);
        assert!(said(&["no-store;"]).no_store);
        assert!(said(&["max-age=60; private"]).private.is_whole());
        assert!(said(&["max-age=60;no-cache"]).no_cache.is_whole());
        assert_eq!(said(&["a; max-age=60"]).max_age, None);
    }

    /// RFC 9111 §5.2.1.
    #[test]
    fn request_directives_are_read() {
        let all = asked("max-age=1, min-fresh=2, max-stale=3, No-Cache, no-store, only-if-cached");
        assert!(all.no_cache && all.no_store && all.only_if_cached);
        assert_eq!((all.max_age, all.min_fresh), (seconds(1), seconds(2)));
        assert_eq!(all.max_stale, Some(MaxStale::Up(Duration::from_secs(3))));
        assert_eq!(asked("max-stale").max_stale, Some(MaxStale::Any));
        assert_eq!(asked("max-stale=x, min-fresh=x"), RequestDirectives::default());
        assert_eq!(asked("max-stale=, min-fresh="), RequestDirectives::default());
        assert_eq!(asked("max-age=x").max_age, seconds(0));
        assert_eq!(asked("nothing-to-see-here"), RequestDirectives::default());
    }

    /// RFC 7234 §5.4, deprecated by RFC 9111 §5.4.
    #[test]
    fn pragma_counts_only_without_cache_control() {
        let alone = fields(&[("pragma", b"foo, No-Cache")]);
        assert!(RequestDirectives::of(&alone).no_cache);
        let beside = fields(&[("pragma", b"no-cache"), ("cache-control", b"x")]);
        assert_eq!(RequestDirectives::of(&beside), RequestDirectives::default());
        assert_eq!(RequestDirectives::of(&HeaderMap::new()), RequestDirectives::default());
        assert_eq!(ResponseDirectives::of(&alone), ResponseDirectives::default());
    }

    fn targeted(value: &str) -> Option<ResponseDirectives> {
        ResponseDirectives::targeted(&fields(&[("cdn-cache-control", value.as_bytes())]))
    }

    /// RFC 9213 §2.1: "Targeted fields are Dictionary Structured Fields".
    #[test]
    fn a_targeted_field_is_a_dictionary_or_nothing() {
        let lifetime = |value: &str| targeted(value).and_then(|said| said.max_age);
        assert_eq!(lifetime("max-age=10000"), seconds(10_000));
        assert_eq!(lifetime("max-age=99999999999"), Some(VERY_LONG));
        assert_eq!(lifetime("max-age=-1"), seconds(0));
        assert_eq!(lifetime("foo, max-age=5;a=b"), seconds(5));
        // RFC 8941 §3.2: of duplicate keys the last counts.
        assert_eq!(lifetime("max-age=5, max-age=6"), seconds(6));
        let ignored = [
            "max-age=10000, &&&&&",
            "max-age=\"10000\"",
            "max-age=10000.5",
            "max-age",
            "max-age=x",
            "max-age =10000",
            "max-age= 10000",
            "MaX-aGe=10000",
            "max-age=10000,",
            "max-age=1234567890123456",
            "",
            "  ",
        ];
        for value in ignored {
            assert_eq!(targeted(value), None, "{value}");
        }
    }

    #[test]
    fn a_targeted_field_forbids_and_false_means_absent() {
        let said = targeted("private, no-cache, no-store, must-revalidate").unwrap();
        assert!(said.private.is_whole() && said.no_cache.is_whole() && said.no_store);
        assert_eq!(said.revalidation, Revalidation::Must);
        assert!(targeted("private=\"a\"").unwrap().private.is_whole());
        assert!(!targeted("no-store=?0, max-age=1").unwrap().no_store);
    }

    /// RFC 9213 §2.2: "the first (in target-list order) field with a valid, non-empty value".
    #[test]
    fn the_most_specific_valid_field_counts() {
        let all = fields(&[
            ("surrogate-control", b"max-age=3"),
            ("cdn-cache-control", b"max-age=2"),
            ("larder-cache-control", b"max-age=1"),
        ]);
        assert_eq!(ResponseDirectives::targeted(&all).unwrap().max_age, seconds(1));
        let broken = fields(&[
            ("surrogate-control", b"max-age=3, content=\"ESI/1.0\""),
            ("cdn-cache-control", b"&"),
            ("larder-cache-control", b""),
        ]);
        assert_eq!(ResponseDirectives::targeted(&broken).unwrap().max_age, seconds(3));
        assert_eq!(ResponseDirectives::targeted(&HeaderMap::new()), None);
    }
}
