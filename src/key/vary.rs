//! Which request fields selected a stored response, and whether another request selects it too (RFC 9111 §4.1).

use http::header::{
    ACCEPT_ENCODING, ACCEPT_LANGUAGE, CONTENT_LANGUAGE, HeaderMap, HeaderName, HeaderValue, VARY,
    VIA,
};
use smallvec::SmallVec;

use crate::message::fields::{X_FORWARDED_FOR, list, members};

/// How a route compares the fields that `Vary` names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VaryRules {
    /// Fields whose values are reduced to the first of these that the client accepts (or to nothing).
    pub normalize: Vec<(HeaderName, Vec<String>)>,
    /// How many variants of a URL are kept.
    pub max_variants: usize,
    pub language: LanguageRule,
}

/// Whether a response's `Content-Language` has a say in who selects it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LanguageRule {
    /// RFC 9111 §4.1: the request fields alone select.
    #[default]
    Unheard,
    /// A success in one language also answers who wants that language most.
    Heard,
}

impl Default for VaryRules {
    fn default() -> Self {
        Self { normalize: Vec::new(), max_variants: 64, language: LanguageRule::Unheard }
    }
}

/// A request's side of the comparison.
#[derive(Clone, Copy)]
pub struct Selector<'a> {
    pub fields: &'a HeaderMap,
    pub rules: &'a VaryRules,
}

/// The response's side: the fields that selected it with their normalised values, by name. One pointer, which is
/// none where the response did not vary.
#[derive(Clone, Debug, Default)]
pub struct Variant(Option<Box<Selection>>);

#[derive(Clone, Debug)]
struct Selection {
    /// Sorted by name, each once; `None` where the request had no such field.
    selected: Box<[Part]>,
    /// The one language of a response that varies by it, in lower case; follows from the response.
    language: Option<Box<[u8]>>,
}

/// The same variant is what the same requests selected, whatever language the origin chose for them.
impl PartialEq for Variant {
    fn eq(&self, other: &Self) -> bool {
        self.selected() == other.selected()
    }
}

impl Eq for Variant {}

/// A field's name, and its normalised value where the request had it.
pub type Part = (HeaderName, Option<Box<[u8]>>);

/// `Vary: *`: no other request selects the response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unselectable;

/// A field's value in the form in which two of them are compared; short ones need no allocation.
type Normal = SmallVec<[u8; 128]>;

impl Variant {
    /// The variant that a response with these fields is, for the request that `selector` speaks of.
    ///
    /// Fails on a member `*` on any line, and on a member that is no field name: nothing could match it. So it does on fields
    /// that we write anew for every request.
    pub fn of(response: &HeaderMap, selector: &Selector<'_>) -> Result<Self, Unselectable> {
        let mut names = Vec::new();
        for member in members(response, &VARY) {
            if member == b"*" {
                return Err(Unselectable);
            }
            let name = HeaderName::from_bytes(member).map_err(|_| Unselectable)?;
            // The origin sees another value than the client sent, and another one from each client.
            if name == X_FORWARDED_FOR || name == VIA {
                return Err(Unselectable);
            }
            names.push(name);
        }
        Ok(Self::from_parts(names.into_iter().map(|name| {
            let value = selector.value(&name);
            (name, value.map(|value| value.to_vec().into_boxed_slice()))
        })))
    }

    /// Whether the request selects this variant. Costs nothing when the response did not vary.
    pub fn is_selected_by(&self, selector: &Selector<'_>) -> bool {
        self.selected().iter().all(|(name, value)| {
            selector.value(name).as_deref() == value.as_deref()
                || *name == ACCEPT_LANGUAGE && self.is_in_the_best_language(selector)
        })
    }

    /// The same variant, of a successful response with these fields: its one language is remembered where it
    /// varies by it.
    ///
    /// Heard only where the route says so ([`LanguageRule::Heard`]): RFC 9111 §4.1 lets requests match whose fields
    /// mean the same "according to the header field's specification", and these do not. By RFC 9110 §12.5.4 a
    /// request ranks languages by their weights alone. That the origin has the language which a request wants most,
    /// and above all others, is shown by the stored response; an origin that heeds nothing else would choose it.
    /// Where two languages are wanted alike, or the best is a wildcard or a wider range, or the response is in
    /// several languages or is an error, the choice is the origin's and nothing matches so.
    #[must_use]
    pub fn in_language_of(mut self, response: &HeaderMap) -> Self {
        let mut languages = members(response, &CONTENT_LANGUAGE);
        let varies = self.heeds_language();
        if let Some(selection) = &mut self.0 {
            selection.language = match (languages.next(), languages.next()) {
                (Some(only), None) if varies => Some(only.to_ascii_lowercase().into()),
                _ => None,
            };
        }
        self
    }

    /// Whether the response was chosen by the language that was asked for.
    pub fn heeds_language(&self) -> bool {
        self.names().any(|name| *name == ACCEPT_LANGUAGE)
    }

    fn selected(&self) -> &[Part] {
        self.0.as_ref().map_or(&[], |selection| &selection.selected)
    }

    fn language(&self) -> Option<&[u8]> {
        self.0.as_ref().and_then(|selection| selection.language.as_deref())
    }

    /// Whether every request selects it: the response did not vary.
    pub fn is_plain(&self) -> bool {
        self.0.is_none()
    }

    fn is_in_the_best_language(&self, selector: &Selector<'_>) -> bool {
        let rules = selector.rules;
        rules.language == LanguageRule::Heard
            && rules.offered(&ACCEPT_LANGUAGE).is_none()
            && self.language().is_some_and(|language| {
                best_language(selector.fields).is_some_and(|best| best[..] == *language)
            })
    }

    /// The names of the fields that select, sorted.
    pub fn names(&self) -> impl Iterator<Item = &HeaderName> {
        self.selected().iter().map(|(name, _)| name)
    }

    /// A name for the variant, equal on every machine; that of a response that did not vary is [`Variant::PLAIN`].
    pub fn digest(&self) -> u128 {
        digest(self.parts())
    }

    /// The digest of the variant that `selector`'s request selects among those that vary by `names`, in any order.
    pub fn digest_for<'a>(
        names: impl IntoIterator<Item = &'a HeaderName>,
        selector: &Selector<'_>,
    ) -> u128 {
        let mut selected: SmallVec<[(&HeaderName, Option<Normal>); 4]> =
            names.into_iter().map(|name| (name, selector.value(name))).collect();
        selected.sort_by(|one, other| one.0.as_str().cmp(other.0.as_str()));
        selected.dedup_by(|one, other| one.0 == other.0);
        digest(selected.iter().map(|(name, value)| (*name, value.as_deref())))
    }

    /// The digest of a response that did not vary.
    pub const PLAIN: u128 = 0;

    /// Names and normalised values, sorted by name: what goes over the wire.
    pub fn parts(&self) -> impl Iterator<Item = (&HeaderName, Option<&[u8]>)> {
        self.selected().iter().map(|(name, value)| (name, value.as_deref()))
    }

    /// The variant of these parts, in any order; of two with one name the first counts.
    pub fn from_parts(parts: impl IntoIterator<Item = Part>) -> Self {
        let mut selected: Vec<Part> = parts.into_iter().collect();
        selected.sort_by(|one, other| one.0.as_str().cmp(other.0.as_str()));
        selected.dedup_by(|one, other| one.0 == other.0);
        Self(
            (!selected.is_empty())
                .then(|| Box::new(Selection { selected: selected.into(), language: None })),
        )
    }

    /// What the variant costs in memory beyond its struct: allocators round up, by an eighth on average.
    pub(crate) fn weight(&self) -> usize {
        let Some(selection) = &self.0 else { return 0 };
        let texts = selection.selected.iter().map(|(name, value)| {
            size_of::<Part>() + name.as_str().len() + value.as_ref().map_or(0, |value| value.len())
        });
        let language = selection.language.as_ref().map_or(0, |language| language.len());
        (size_of::<Selection>() + texts.sum::<usize>() + language) * 9 / 8
    }
}

impl Selector<'_> {
    /// The request's value of a field in its normal form; nothing where the request has no such field.
    fn value(&self, name: &HeaderName) -> Option<Normal> {
        if let Some(offered) = self.rules.offered(name) {
            return choose(self.fields, name, offered).map(|value| value.as_bytes().into());
        }
        if !self.fields.contains_key(name) {
            return None;
        }
        Some(match *name {
            ACCEPT_ENCODING => codings(self.fields),
            ACCEPT_LANGUAGE => languages(self.fields),
            _ => combined(self.fields, name),
        })
    }
}

impl VaryRules {
    /// Gives the fields that are normalised the very values that are compared: the origin must not see what the
    /// variant does not know.
    pub fn rewrite(&self, fields: &mut HeaderMap) {
        for (name, offered) in &self.normalize {
            let chosen = choose(fields, name, offered).and_then(|value| value.parse().ok());
            match chosen {
                Some(value) => {
                    fields.insert(name, value);
                }
                // RFC 9110 §12.5.3: without the field "any content coding is considered acceptable".
                None if *name == ACCEPT_ENCODING => {
                    fields.insert(name, HeaderValue::from_static("identity"));
                }
                None => {
                    fields.remove(name);
                }
            }
        }
    }

    fn offered(&self, name: &HeaderName) -> Option<&[String]> {
        let found = self.normalize.iter().find(|(known, _)| known == name);
        found.map(|(_, offered)| offered.as_slice())
    }
}

/// Lines joined by commas, without the blanks around commas and without empty members.
///
/// RFC 9111 §4.1: fields match if they can be made alike by "combining multiple header field lines with the same
/// field name" and "adding or removing whitespace, where allowed in the header field's syntax".
fn combined(fields: &HeaderMap, name: &HeaderName) -> Normal {
    let mut normal = Normal::new();
    for member in members(fields, name) {
        push(&mut normal, member);
    }
    normal
}

/// Members of an `Accept-…` field with their weights, in lower case.
type Ranking = SmallVec<[(u16, SmallVec<[u8; 16]>); 8]>;

/// The members of a field without those that refuse nothing; case and order do not count.
///
/// RFC 9110 §12.4.2: "a value of 0 means 'not acceptable'". It says something where the member would be acceptable
/// without it.
fn ranking(
    fields: &HeaderMap,
    name: &HeaderName,
    says: impl Fn(&[u8], &[Weighted<'_>]) -> bool,
) -> Ranking {
    let all: SmallVec<[Weighted<'_>; 8]> = members(fields, name).map(Weighted::parse).collect();
    let counts = |member: &&Weighted<'_>| member.weight > 0 || says(member.name, &all);
    let mut ranking: Ranking =
        all.iter().filter(counts).map(|member| (member.weight, lower(member.name))).collect();
    ranking.sort_unstable();
    ranking.dedup();
    ranking
}

/// The codings that are accepted and refused, each with its weight. One that is not listed is refused, but for `identity`, and
/// where there is a wildcard (RFC 9110 §12.5.3).
fn codings(fields: &HeaderMap) -> Normal {
    let ranking = ranking(fields, &ACCEPT_ENCODING, |refused, all| {
        refused == b"*"
            || refused.eq_ignore_ascii_case(b"identity")
            || all.iter().any(|other| other.name == b"*" && other.weight > 0)
    });
    let mut normal = Normal::new();
    for (weight, coding) in ranking {
        push(&mut normal, &coding);
        // Nearly all are written without a weight.
        if weight < 1000 {
            normal.extend_from_slice(b";");
            normal.extend_from_slice(&weight.to_be_bytes());
        }
    }
    normal
}

/// The languages that are accepted, each with its weight, and those refused that an accepted range holds, or falls back to (RFC
/// 4647 §3.3.1 and §3.4).
fn languages(fields: &HeaderMap) -> Normal {
    let ranking = ranking(fields, &ACCEPT_LANGUAGE, |refused, all| {
        all.iter().any(|other| {
            let range = other.name;
            let is_related = is_within(refused, range) || is_within(range, refused);
            other.weight > 0 && (range == b"*" || is_related)
        })
    });
    let mut normal = Normal::new();
    for (weight, range) in ranking {
        push(&mut normal, &range);
        normal.extend_from_slice(b";");
        normal.extend_from_slice(&weight.to_be_bytes());
    }
    normal
}

/// Whether a language is one of those in a range.
fn is_within(language: &[u8], range: &[u8]) -> bool {
    language.len() > range.len()
        && language[range.len()] == b'-'
        && language[..range.len()].eq_ignore_ascii_case(range)
}

/// The language that is wanted more than every other, if there is exactly one, in lower case.
fn best_language(fields: &HeaderMap) -> Option<SmallVec<[u8; 16]>> {
    let ranges = || members(fields, &ACCEPT_LANGUAGE).map(Weighted::parse);
    let highest = ranges().map(|range| range.weight).max().filter(|weight| *weight > 0)?;
    let mut best = ranges().filter(|range| range.weight == highest).map(|range| lower(range.name));
    let first = best.next().filter(|range| range[..] != *b"*")?;
    best.all(|other| other == first).then_some(first)
}

fn lower(name: &[u8]) -> SmallVec<[u8; 16]> {
    name.iter().map(u8::to_ascii_lowercase).collect()
}

fn push(normal: &mut Normal, member: &[u8]) {
    if !normal.is_empty() {
        normal.push(b',');
    }
    normal.extend_from_slice(member);
}

/// A member of an `Accept-…` field.
struct Weighted<'a> {
    name: &'a [u8],
    /// Thousandths.
    weight: u16,
}

impl<'a> Weighted<'a> {
    /// RFC 9110 §12.4.2; a weight that cannot be read is taken as 1.
    fn parse(member: &'a [u8]) -> Self {
        let mut parts = member.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
        let name = parts.next().unwrap_or_default();
        let weight = parts.find_map(|parameter| {
            let value = parameter.strip_prefix(b"q=").or_else(|| parameter.strip_prefix(b"Q="))?;
            thousandths(value)
        });
        Self { name, weight: weight.unwrap_or(1000) }
    }

    /// How well what the origin offers meets this member, if it does: the weight.
    fn accepts(&self, field: &HeaderName, offered: &str) -> bool {
        let (name, offered) = (self.name, offered.as_bytes());
        if name == b"*" || name.eq_ignore_ascii_case(offered) {
            return true;
        }
        // RFC 4647 §3.4: a language is also found by cutting the range off at its hyphens.
        *field == ACCEPT_LANGUAGE
            && name.len() > offered.len()
            && name[offered.len()] == b'-'
            && name[..offered.len()].eq_ignore_ascii_case(offered)
    }
}

/// `0.5`, `1`, `1.000`, `0.` as thousandths, at most 1000.
fn thousandths(text: &[u8]) -> Option<u16> {
    let (whole, fraction) = match text.iter().position(|byte| *byte == b'.') {
        Some(dot) => (&text[..dot], &text[dot + 1..]),
        None => (text, &b""[..]),
    };
    let digits = |text: &[u8]| text.iter().all(u8::is_ascii_digit);
    if !matches!(whole, b"0" | b"1") || fraction.len() > 3 || !digits(fraction) {
        return None;
    }
    let mut value = u16::from(whole[0] - b'0');
    for place in 0..3 {
        value = value * 10 + fraction.get(place).map_or(0, |digit| u16::from(digit - b'0'));
    }
    Some(value.min(1000))
}

/// The first of what is offered that the client accepts; of languages the one it wants most.
fn choose<'a>(fields: &HeaderMap, name: &HeaderName, offered: &'a [String]) -> Option<&'a str> {
    let weigh = |offer: &str| weight_of(fields, name, offer);
    let accepted =
        offered.iter().map(|offer| (weigh(offer), offer)).filter(|(weight, _)| *weight > 0);
    if *name == ACCEPT_LANGUAGE {
        // The first of equals: `max_by_key` would take the last.
        let mut best: Option<(u16, &String)> = None;
        for (weight, offer) in accepted {
            if best.is_none_or(|(highest, _)| weight > highest) {
                best = Some((weight, offer));
            }
        }
        return best.map(|(_, offer)| offer.as_str());
    }
    let mut accepted = accepted;
    accepted.next().map(|(_, offer)| offer.as_str())
}

/// The weight that the client gives to an offer: that of the longest member that names it.
fn weight_of(fields: &HeaderMap, name: &HeaderName, offer: &str) -> u16 {
    fields
        .get_all(name)
        .iter()
        .flat_map(|line| list(line.as_bytes()))
        .map(Weighted::parse)
        .filter(|member| member.accepts(name, offer))
        // `en` says more about `en` than `en-gb` does, and both more than `*`.
        .max_by_key(|member| match member.name {
            b"*" => 0,
            named if named.len() == offer.len() => 2,
            _ => 1,
        })
        .map_or(0, |member| member.weight)
}

/// Parts with their lengths before them, so that no two variants read the same; absent is not empty.
fn digest<'a>(parts: impl Iterator<Item = (&'a HeaderName, Option<&'a [u8]>)>) -> u128 {
    let mut text: SmallVec<[u8; 256]> = SmallVec::new();
    for (name, value) in parts {
        part(&mut text, name.as_str().as_bytes());
        match value {
            Some(value) => {
                text.push(1);
                part(&mut text, value);
            }
            None => text.push(0),
        }
    }
    if text.is_empty() {
        return Variant::PLAIN;
    }
    let mut bits = [0; 16];
    bits.copy_from_slice(&blake3::hash(&text).as_bytes()[..16]);
    u128::from_be_bytes(bits)
}

fn part(text: &mut SmallVec<[u8; 256]>, bytes: &[u8]) {
    text.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
    text.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(lines: &[(&str, &[u8])]) -> HeaderMap {
        let mut fields = HeaderMap::new();
        for (name, value) in lines {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            fields.append(name, HeaderValue::from_bytes(value).unwrap());
        }
        fields
    }

    fn of(vary: &[&str], request: &HeaderMap, rules: &VaryRules) -> Result<Variant, Unselectable> {
        let lines: Vec<_> = vary.iter().map(|line| ("vary", line.as_bytes())).collect();
        Variant::of(&fields(&lines), &Selector { fields: request, rules })
    }

    /// Whether a request with `second` selects what was stored for one with `first`; also by digest.
    fn selects(vary: &[&str], first: &[(&str, &[u8])], second: &[(&str, &[u8])]) -> bool {
        matches(vary, &VaryRules::default(), first, second)
    }

    fn matches(
        vary: &[&str],
        rules: &VaryRules,
        first: &[(&str, &[u8])],
        second: &[(&str, &[u8])],
    ) -> bool {
        let (first, second) = (fields(first), fields(second));
        let variant = of(vary, &first, rules).unwrap();
        let selector = Selector { fields: &second, rules };
        let selected = variant.is_selected_by(&selector);
        let by_digest = Variant::digest_for(variant.names(), &selector) == variant.digest();
        assert_eq!(selected, by_digest, "the digest says something else");
        let carried = variant.parts().map(|(name, value)| (name.clone(), value.map(Box::from)));
        assert_eq!(Variant::from_parts(carried), variant);
        selected
    }

    #[test]
    fn a_variant_weighs_its_names_its_values_and_a_place_for_each() {
        let request = fields(&[("a", b"12345")]);
        let variant = of(&["a", "bcd"], &request, &VaryRules::default()).unwrap();
        let places = size_of::<Selection>() + 2 * size_of::<Part>();
        assert_eq!(variant.weight(), (places + (1 + 5) + 3) * 9 / 8);
        assert_eq!(of(&[], &request, &VaryRules::default()).unwrap().weight(), 0);
    }

    /// RFC 9111 §4.1: "If (after any normalization that might take place) a header field is absent from a request,
    /// it can only match another request if it is also absent there."
    #[test]
    fn every_named_field_must_match_and_no_other_counts() {
        let one: &[(&str, &[u8])] = &[("foo", b"1"), ("x", b"a")];
        assert!(selects(&["Foo"], one, &[("x", b"b"), ("foo", b"1")]));
        assert!(!selects(&["Foo"], one, &[("foo", b"2")]));
        assert!(!selects(&["Foo"], one, &[]));
        assert!(!selects(&["Foo"], &[], one));
        assert!(!selects(&["Foo"], &[("foo", b"")], &[]));
        assert!(selects(&["Foo"], &[], &[("x", b"b")]));
        assert!(selects(&[], one, &[]) && selects(&["", ","], one, &[]));
        let three: &[(&str, &[u8])] = &[("foo", b"1"), ("bar", b"2"), ("baz", b"3")];
        let turned: &[(&str, &[u8])] = &[("baz", b"3"), ("foo", b"1"), ("bar", b"2")];
        assert!(selects(&["foo, Bar", "BAZ,foo"], three, turned));
        assert!(!selects(&["foo, Bar", "BAZ"], three, &[("foo", b"1"), ("bar", b"2")]));
        // The value of one field is never taken for another's.
        assert!(!selects(&["a, b"], &[("a", b"1")], &[("b", b"1")]));
        assert!(!selects(&["a, b"], &[("a", b"1"), ("b", b"2")], &[("a", b"2"), ("b", b"1")]));
    }

    /// RFC 9111 §4.1: "A stored response with a Vary header field value containing a member "*" always fails to
    /// match."
    #[test]
    fn a_star_anywhere_or_a_member_that_is_no_name_selects_nothing() {
        let rows: [&[&str]; 11] = [
            &["X-Forwarded-For"],
            &["foo, via"],
            &["*"],
            &["*, *"],
            &["*", "*"],
            &[", *"],
            &["", "*"],
            &["*, Foo"],
            &["Foo, *"],
            &["Foo", "*"],
            &["foo bar"],
        ];
        for vary in rows {
            let found = of(vary, &HeaderMap::new(), &VaryRules::default());
            assert_eq!(found, Err(Unselectable), "{vary:?}");
        }
    }

    /// RFC 9111 §4.1: "adding or removing whitespace", "combining multiple header field lines".
    #[test]
    fn blanks_around_commas_and_lines_do_not_count_and_everything_else_does() {
        type Lines<'a> = &'a [&'a [u8]];
        let rows: [(Lines, Lines, bool); 10] = [
            (&[b"1,2"], &[b"1, 2"], true),
            (&[b"1,2"], &[b" 1\t ,, 2 "], true),
            (&[b"1", b"2"], &[b"1, 2"], true),
            (&[b"1", b"2"], &[b"1", b"2"], true),
            (&[b"1", b"2"], &[b"1", b"3"], false),
            (&[b"1", b"2"], &[b"2", b"1"], false),
            (&[b"a"], &[b"A"], false),
            (&[b"a b"], &[b"ab"], false),
            (&[b"\"a, b\""], &[b"\"a,b\""], false),
            (&[b"caf\xe9"], &[b"caf\xe8"], false),
        ];
        let lines = |values: &[&'static [u8]]| -> Vec<(&str, &[u8])> {
            values.iter().map(|value| ("foo", *value)).collect()
        };
        for (first, second, expected) in rows {
            assert_eq!(selects(&["foo"], &lines(first), &lines(second)), expected, "{first:?}");
        }
    }

    #[test]
    fn accepted_languages_match_in_any_order_case_and_spelling_of_weights() {
        let rows = [
            ("en, de", "de, en", true),
            ("en, de", "EN,DE", true),
            ("en;q=0.5, de;q=1.0", "de, en;q=0.500", true),
            ("en;q=0.5, de", "en, de;q=0.5", false),
            ("en, fr;q=0", "en", true),
            ("en, *, fr;q=0", "en, *", false),
            ("en, EN-gb;q=0", "en", false),
            ("en, en-gb;q=0", "EN-GB;q=0, en", true),
            ("en, en-gb, en-gb-x;q=0", "en, en-gb", false),
            ("en, ens;q=0", "en", true),
            ("de-at, de;q=0", "de-at", false),
            ("en", "en-gb", false),
            ("en", "en, de", false),
            ("en", "", false),
        ];
        for (first, second, expected) in rows {
            let found = selects(
                &["Accept-Language"],
                &[("accept-language", first.as_bytes())],
                &[("accept-language", second.as_bytes())],
            );
            assert_eq!(found, expected, "{first} and {second}");
        }
    }

    /// RFC 9111 §4.1, RFC 9110 §12.5.4.
    #[test]
    fn a_response_in_the_language_that_is_wanted_most_matches_where_the_choice_is_clear() {
        let rows = [
            ("de", "fr;q=0.5, de;q=1.0", true),
            ("DE", "fr;q=0.5, de", true),
            ("de", "en, de", true),
            ("de", "DE;q=0.2", true),
            ("de", "fr, de", false),
            ("de", "fr, de;q=0.9", false),
            ("de", "fr;q=0, *", false),
            ("de", "de;q=0", false),
            ("de", "de-AT", false),
            ("de-AT", "de", false),
            ("de, en", "de", false),
            ("*", "*", false),
            ("", "de", false),
        ];
        let stored = fields(&[("accept-language", b"en, de")]);
        let rules = VaryRules { language: LanguageRule::Heard, ..VaryRules::default() };
        for (language, wanted, expected) in rows {
            let response = fields(&[("content-language", language.as_bytes())]);
            let variant = of(&["accept-language, foo"], &stored, &rules).unwrap();
            let variant = variant.in_language_of(&response);
            let selected = |request: &[(&str, &[u8])]| {
                let fields = &fields(request);
                variant.is_selected_by(&Selector { fields, rules: &rules })
            };
            let wanted = ("accept-language", wanted.as_bytes());
            assert_eq!(selected(&[wanted]), expected, "{language} for {wanted:?}");
            assert!(!selected(&[wanted, ("foo", b"1")]), "the other fields count as ever");
            assert!(!selected(&[]), "no wish is no choice");
        }
    }

    /// RFC 9111 §4.1: a cache "MUST NOT use that stored response without revalidation unless all the presented
    /// request header fields nominated by that Vary field value match".
    #[test]
    fn the_language_of_a_response_selects_nobody_unless_the_route_says_so() {
        let rules = VaryRules::default();
        let stored = fields(&[("accept-language", b"en, de")]);
        let variant = of(&["accept-language"], &stored, &rules).unwrap();
        let variant = variant.in_language_of(&fields(&[("content-language", b"de")]));
        for wanted in [&b"de"[..], b"fr;q=0.5, de;q=1.0"] {
            let fields = &fields(&[("accept-language", wanted)]);
            assert!(!variant.is_selected_by(&Selector { fields, rules: &rules }));
        }
    }

    #[test]
    fn accepted_codings_match_in_any_order_and_refusals_count_where_they_say_something() {
        let rows = [
            ("gzip, br", "br,GZIP", true),
            ("gzip, br", "br;q=1.0, gzip;q=1", true),
            ("gzip, br", "br;q=0.9, gzip", false),
            ("gzip, br;q=0.1", "br, gzip;q=0.1", false),
            ("*", "*, gzip;q=0", false),
            ("*, gzip;q=0", "GZIP;q=0.0, *", true),
            ("gzip", "gzip, identity;q=0", false),
            ("gzip", "gzip, *;q=0", false),
            ("", "identity;q=0", false),
            ("gzip, *;q=0", "gzip, *;q=0, br;q=0", true),
            ("gzip, gzip", "gzip", true),
            ("gzip, br;q=0", "gzip", true),
            ("gzip, br; q=0.000", "gzip", true),
            ("gzip, br", "gzip", false),
            ("gzip;q=0", "gzip", false),
            ("gzip, *", "gzip", false),
        ];
        for (first, second, expected) in rows {
            let found = selects(
                &["accept-encoding"],
                &[("accept-encoding", first.as_bytes())],
                &[("accept-encoding", second.as_bytes())],
            );
            assert_eq!(found, expected, "{first} and {second}");
        }
    }

    fn rules() -> VaryRules {
        let offered = |values: &[&str]| values.iter().map(|value| (*value).to_owned()).collect();
        VaryRules {
            normalize: vec![
                (ACCEPT_ENCODING, offered(&["br", "gzip"])),
                (ACCEPT_LANGUAGE, offered(&["en", "de"])),
            ],
            ..VaryRules::default()
        }
    }

    /// What the request looks like to the origin.
    fn rewritten(name: &'static str, value: Option<&str>) -> Option<String> {
        let mut request = HeaderMap::new();
        if let Some(value) = value {
            request.insert(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
        }
        rules().rewrite(&mut request);
        request.get(name).map(|value| value.to_str().unwrap().to_owned())
    }

    #[test]
    fn a_normalised_field_is_reduced_to_what_the_client_accepts_first() {
        let codings = [
            (Some("gzip, deflate, br"), "br"),
            (Some("gzip, deflate"), "gzip"),
            (Some("gzip, br;q=0"), "gzip"),
            (Some("*"), "br"),
            (Some("*, br;q=0"), "gzip"),
            (Some("*;q=0, gzip"), "gzip"),
            (Some("deflate"), "identity"),
            (Some(""), "identity"),
            (None, "identity"),
        ];
        for (sent, expected) in codings {
            assert_eq!(rewritten("accept-encoding", sent).as_deref(), Some(expected), "{sent:?}");
        }
        let languages = [
            (Some("de, en"), Some("en")),
            (Some("en;q=0.5, de"), Some("de")),
            (Some("de-AT"), Some("de")),
            (Some("EN-gb;q=0.1, fr"), Some("en")),
            (Some("en;q=0, *"), Some("de")),
            // What names it exactly says more than what it is the beginning of.
            (Some("en;q=0, en-gb, de;q=0.5"), Some("de")),
            (Some("en-gb;q=0, en, de;q=0.5"), Some("en")),
            (Some("deu"), None),
            (Some("fr"), None),
            (None, None),
        ];
        for (sent, expected) in languages {
            assert_eq!(rewritten("accept-language", sent).as_deref(), expected, "{sent:?}");
        }
    }

    #[test]
    fn requests_that_are_reduced_alike_share_a_variant() {
        let vary = ["accept-encoding, accept-language"];
        let chrome: &[(&str, &[u8])] = &[
            ("accept-encoding", b"gzip, deflate, br, zstd"),
            ("accept-language", b"de-DE,de;q=0.9"),
        ];
        let curl: &[(&str, &[u8])] = &[("accept-encoding", b"br"), ("accept-language", b"de")];
        let old: &[(&str, &[u8])] = &[("accept-encoding", b"gzip"), ("accept-language", b"de")];
        assert!(matches(&vary, &rules(), chrome, curl));
        assert!(!matches(&vary, &rules(), chrome, old));
        assert!(!matches(&vary, &VaryRules::default(), chrome, curl));
        assert!(matches(&vary, &rules(), &[("accept-encoding", b"deflate")], &[]));
    }

    #[test]
    fn digests_are_the_same_everywhere_and_differ_where_variants_do() {
        assert_eq!(Variant::default().digest(), Variant::PLAIN);
        let digest = |request: &[(&str, &[u8])]| {
            of(&["a, b"], &fields(request), &VaryRules::default()).unwrap().digest()
        };
        let all = [
            digest(&[]),
            digest(&[("a", b"")]),
            digest(&[("b", b"")]),
            digest(&[("a", b"x")]),
            digest(&[("a", b"x"), ("b", b"y")]),
            digest(&[("a", b"xb"), ("b", b"y")]),
        ];
        for (at, one) in all.iter().enumerate() {
            assert!(!all[..at].contains(one), "{at}");
        }
        // Written down: other machines and later versions must agree.
        assert_eq!(digest(&[("a", b"x"), ("b", b"y")]), DIGEST_OF_A_X_B_Y);
        let names = [HeaderName::from_static("b"), HeaderName::from_static("a")];
        let request = fields(&[("a", b"x"), ("b", b"y")]);
        let selector = Selector { fields: &request, rules: &VaryRules::default() };
        assert_eq!(Variant::digest_for(&names, &selector), DIGEST_OF_A_X_B_Y);
    }

    const DIGEST_OF_A_X_B_Y: u128 = 155_547_718_163_629_718_142_078_524_870_758_836_220;
}
