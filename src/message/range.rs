//! Ranges of a stored response (RFC 9110 §14).

use std::ops::Range;

use bytes::{Bytes, BytesMut};
use http::StatusCode;
use http::header::{CONTENT_TYPE, DATE, HeaderMap, HeaderValue, IF_RANGE, RANGE};

use crate::message::conditional::{EntityTag, last_modified, only_date};
use crate::message::date;
use crate::message::fields::Named;

/// Which part of a stored response a request asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ranges {
    /// All of it, with 200.
    Whole,
    /// One range, with 206.
    One(Range<u64>),
    /// Two to eight that do not overlap, in the order asked for; `Whole` is an allowed answer too.
    Several(Vec<Range<u64>>),
    /// None of it, with 416.
    Unsatisfiable,
}

/// A `multipart/byteranges` body and its type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Multipart {
    pub body: Bytes,
    pub content_type: HeaderValue,
}

/// More than these are not served one by one.
const MOST: usize = 8;

/// What of a stored response of `length` bytes a GET asks for. Only for GET: "A server MUST ignore a Range header
/// field received with a request method that is unrecognized or for which range handling is not defined"
/// (RFC 9110 §14.2).
///
/// A `Range` that cannot be read, is of another unit, has too many or overlapping ranges, or whose `If-Range` does
/// not hold, is ignored, as the clause allows. Costs one look-up where there is none.
pub fn select(
    request_fields: &HeaderMap,
    stored_fields: &impl Named,
    status: StatusCode,
    length: u64,
) -> Ranges {
    let mut lines = request_fields.get_all(RANGE).iter();
    let (Some(line), None) = (lines.next(), lines.next()) else { return Ranges::Whole };
    if status != StatusCode::OK || !if_range_holds(request_fields, stored_fields) {
        return Ranges::Whole;
    }
    match parse(line.as_bytes()) {
        Some(wanted) => choose(&wanted, length),
        None => Ranges::Whole,
    }
}

/// `bytes 0-4/10`.
pub fn content_range(range: &Range<u64>, length: u64) -> HeaderValue {
    let last = range.end.saturating_sub(1);
    written(format!("bytes {}-{last}/{length}", range.start))
}

/// `bytes */10`, which goes with 416.
pub fn unsatisfied(length: u64) -> HeaderValue {
    written(format!("bytes */{length}"))
}

/// The ranges of `whole` as one body (RFC 9110 §14.6). Ranges beyond its end are cut. Copies the ranges.
pub fn multipart(whole: &Bytes, ranges: &[Range<u64>], stored_fields: &HeaderMap) -> Multipart {
    let length = whole.len() as u64;
    let parts: Vec<(Range<u64>, &[u8])> = ranges
        .iter()
        .map(|range| range.start.min(length)..range.end.min(length))
        .map(|range| (range.clone(), cut(whole, &range)))
        .collect();
    let boundary = boundary(&parts);
    let mut body = BytesMut::new();
    for (range, part) in parts {
        body.extend_from_slice(format!("--{boundary}\r\n").as_bytes());
        if let Some(kind) = stored_fields.get(CONTENT_TYPE) {
            body.extend_from_slice(b"Content-Type: ");
            body.extend_from_slice(kind.as_bytes());
            body.extend_from_slice(b"\r\n");
        }
        body.extend_from_slice(b"Content-Range: ");
        body.extend_from_slice(content_range(&range, length).as_bytes());
        body.extend_from_slice(b"\r\n\r\n");
        body.extend_from_slice(part);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
    let content_type = written(format!("multipart/byteranges; boundary={boundary}"));
    Multipart { body: body.freeze(), content_type }
}

fn written(text: String) -> HeaderValue {
    HeaderValue::try_from(text).expect("letters, digits, blanks and signs are a field value")
}

/// RFC 9110 §13.1.5: "If the HTTP-date validator provided exactly matches the `Last-Modified` field value", and is
/// strong; "If the entity-tag validator provided exactly matches the `ETag` field value [...] using the strong
/// comparison function".
fn if_range_holds(request_fields: &HeaderMap, stored_fields: &impl Named) -> bool {
    let Some(value) = request_fields.get(IF_RANGE) else { return true };
    match date::parse(value.as_bytes()) {
        // RFC 9110 §8.8.2.2: a modification date is strong where it is at least a second before `Date`.
        Some(named) => {
            last_modified(stored_fields) == Some(named)
                && only_date(stored_fields, &DATE).is_some_and(|dated| dated > named)
        }
        None => EntityTag::of(value.as_bytes())
            .zip(EntityTag::of_response(stored_fields))
            .is_some_and(|(named, stored)| named.is_strongly(&stored)),
    }
}

/// One range as a request writes it (RFC 9110 §14.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RangeSpec {
    /// `1-`
    From(u64),
    /// `1-2`, its last byte included.
    Between(u64, u64),
    /// `-2`, the last bytes.
    Last(u64),
}

/// What a request asks for, before anything is known of the representation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// All of it; also where `Range` cannot be read or has too many ranges, and is ignored.
    Whole,
    One(RangeSpec),
    /// Several ranges, or one with `If-Range`: nobody else's answer may do.
    Own,
}

/// What a GET asks for. Costs one look-up where there is no `Range`.
pub fn asked(request_fields: &HeaderMap) -> Asked {
    let mut lines = request_fields.get_all(RANGE).iter();
    let (Some(line), None) = (lines.next(), lines.next()) else { return Asked::Whole };
    match parse(line.as_bytes()).as_deref() {
        None => Asked::Whole,
        Some(several) if several.len() > MOST => Asked::Whole,
        Some([one]) if !request_fields.contains_key(IF_RANGE) => Asked::One(*one),
        Some(_) => Asked::Own,
    }
}

/// The ranges of a `bytes` unit; nothing for anything else, which includes a list without any.
fn parse(line: &[u8]) -> Option<Vec<RangeSpec>> {
    let equals = line.iter().position(|byte| *byte == b'=')?;
    let (unit, set) = (line[..equals].trim_ascii(), &line[equals + 1..]);
    if !unit.eq_ignore_ascii_case(b"bytes") {
        return None;
    }
    let specs = set.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    let wanted: Option<Vec<RangeSpec>> =
        specs.filter(|spec| !spec.is_empty()).map(wanted).collect();
    wanted.filter(|wanted| !wanted.is_empty())
}

fn wanted(spec: &[u8]) -> Option<RangeSpec> {
    let dash = spec.iter().position(|byte| *byte == b'-')?;
    match (&spec[..dash], &spec[dash + 1..]) {
        (b"", last) => number(last).map(RangeSpec::Last),
        (first, b"") => number(first).map(RangeSpec::From),
        (first, last) => {
            let (first, last) = (number(first)?, number(last)?);
            // "An int-range is invalid if the last-pos value is present and less than first-pos."
            (first <= last).then_some(RangeSpec::Between(first, last))
        }
    }
}

/// Digits as a number, at most the greatest.
fn number(text: &[u8]) -> Option<u64> {
    let digits = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    digits.then(|| {
        text.iter().fold(0_u64, |number, digit| {
            number.saturating_mul(10).saturating_add(u64::from(digit - b'0'))
        })
    })
}

fn choose(wanted: &[RangeSpec], length: u64) -> Ranges {
    if wanted.len() > MOST {
        return Ranges::Whole;
    }
    let ranges: Vec<Range<u64>> = wanted.iter().filter_map(|range| range.of(length)).collect();
    match ranges.as_slice() {
        // An empty representation has no range to give, and a suffix of it is satisfied by all of it.
        [] if length == 0 && wanted.iter().any(|range| matches!(range, RangeSpec::Last(1..))) => {
            Ranges::Whole
        }
        [] => Ranges::Unsatisfiable,
        [one] => Ranges::One(one.clone()),
        several if overlap(several) => Ranges::Whole,
        _ => Ranges::Several(ranges),
    }
}

impl From<&Range<u64>> for RangeSpec {
    fn from(range: &Range<u64>) -> Self {
        Self::Between(range.start, range.end.saturating_sub(1))
    }
}

impl RangeSpec {
    /// The field that asks for this range alone.
    pub fn field(self) -> HeaderValue {
        written(match self {
            Self::From(first) => format!("bytes={first}-"),
            Self::Between(first, last) => format!("bytes={first}-{last}"),
            Self::Last(count) => format!("bytes=-{count}"),
        })
    }

    /// The range in a representation of `length` bytes; nothing where it lies beyond it.
    pub fn of(self, length: u64) -> Option<Range<u64>> {
        let range = match self {
            Self::From(first) => first..length,
            Self::Between(first, last) => first..length.min(last.saturating_add(1)),
            Self::Last(count) => length.saturating_sub(count)..length,
        };
        (range.start < range.end).then_some(range)
    }
}

fn overlap(ranges: &[Range<u64>]) -> bool {
    let mut sorted: Vec<&Range<u64>> = ranges.iter().collect();
    sorted.sort_by_key(|range| range.start);
    sorted.windows(2).any(|pair| pair[0].end > pair[1].start)
}

fn cut<'a>(whole: &'a Bytes, range: &Range<u64>) -> &'a [u8] {
    let place = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(whole.len());
    &whole[place(range.start)..place(range.end.max(range.start))]
}

/// A boundary that occurs in none of the parts. Ends: a body has fewer bytes than there are numbers.
fn boundary(parts: &[(Range<u64>, &[u8])]) -> String {
    let mut number = 0_u64;
    loop {
        let boundary = format!("larder-part-{number}");
        if !parts.iter().any(|(_, part)| contains(part, boundary.as_bytes())) {
            return boundary;
        }
        number += 1;
    }
}

fn contains(part: &[u8], text: &[u8]) -> bool {
    part.windows(text.len()).any(|window| window == text)
}

#[cfg(test)]
mod tests {
    use http::header::HeaderName;

    use super::*;

    const MODIFIED: &str = "Sun, 06 Nov 1994 08:49:37 GMT";

    fn fields(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut fields = HeaderMap::new();
        for (name, value) in pairs {
            let value = HeaderValue::from_str(value).unwrap();
            fields.append(HeaderName::from_static(name), value);
        }
        fields
    }

    type Fields<'a> = &'a [(&'static str, &'a str)];

    fn of(range: &str, length: u64) -> Ranges {
        select(&fields(&[("range", range)]), &HeaderMap::new(), StatusCode::OK, length)
    }

    /// RFC 9110 §14.1.2.
    #[test]
    fn one_range_is_found_in_every_form() {
        let rows = [
            ("bytes=0-1", 0..2),
            ("bytes=1-", 1..10),
            ("bytes=-1", 9..10),
            ("bytes=-10", 0..10),
            // "If the selected representation is shorter than the specified suffix-length, the entire
            // representation is used."
            ("bytes=-11", 0..10),
            ("bytes=-99999999999999999999999", 0..10),
            // "greater than or equal to the current length of the representation data": "the remainder".
            ("bytes=9-10", 9..10),
            ("bytes=0-18446744073709551615", 0..10),
            ("bytes=0-99999999999999999999999", 0..10),
            ("Bytes=0-1", 0..2),
            ("BYTES= 0-1", 0..2),
            ("bytes=,0-1,", 0..2),
            ("bytes=0-1,20-30", 0..2),
            ("bytes=0-0", 0..1),
        ];
        for (range, expected) in rows {
            assert_eq!(of(range, 10), Ranges::One(expected), "{range}");
        }
    }

    #[test]
    fn a_range_beyond_the_end_cannot_be_satisfied() {
        for range in ["bytes=10-", "bytes=10-20", "bytes=-0", "bytes=99999999999999999999999-"] {
            assert_eq!(of(range, 10), Ranges::Unsatisfiable, "{range}");
        }
        assert_eq!(of("bytes=0-", 0), Ranges::Unsatisfiable);
        assert_eq!(of("bytes=-1", 0), Ranges::Whole);
        assert_eq!(of("bytes=-0", 0), Ranges::Unsatisfiable);
    }

    /// RFC 9110 §14.2: "A server MAY ignore the Range header field."
    #[test]
    fn what_cannot_be_read_is_ignored() {
        let rows = [
            "",
            "bytes",
            "bytes=",
            "bytes=,",
            "bytes=-",
            "bytes=a-b",
            "bytes=2-1",
            "bytes=1-2-3",
            "bytes=+1-2",
            "bytes=1 - 2",
            "items=0-1",
            "bytes=0-1,x",
            "bytes:0-1",
            "bytes=1",
        ];
        for range in rows {
            assert_eq!(of(range, 10), Ranges::Whole, "{range}");
        }
        assert_eq!(select(&HeaderMap::new(), &HeaderMap::new(), StatusCode::OK, 10), Ranges::Whole);
        let twice = fields(&[("range", "bytes=0-1"), ("range", "bytes=0-1")]);
        assert_eq!(select(&twice, &HeaderMap::new(), StatusCode::OK, 10), Ranges::Whole);
        let error = select(
            &fields(&[("range", "bytes=0-1")]),
            &HeaderMap::new(),
            StatusCode::NOT_FOUND,
            10,
        );
        assert_eq!(error, Ranges::Whole);
    }

    /// RFC 9110 §14.2 lets a server ignore overlapping ranges and "a set of many small ranges"; §17.15 says why.
    #[test]
    fn a_few_ranges_apart_are_given_and_many_or_overlapping_ones_are_not() {
        assert_eq!(of("bytes=4-5, 0-1", 10), Ranges::Several(vec![4..6, 0..2]));
        assert_eq!(of("bytes=0-1,2-3", 10), Ranges::Several(vec![0..2, 2..4]));
        assert_eq!(of("bytes=0-1,1-3", 10), Ranges::Whole);
        assert_eq!(of("bytes=5-,-1", 10), Ranges::Whole);
        let ranges = |count: u32| {
            let list: Vec<String> = (0..count).map(|at| format!("{}-{}", 3 * at, 3 * at)).collect();
            of(&format!("bytes={}", list.join(",")), 100)
        };
        assert!(matches!(ranges(8), Ranges::Several(several) if several.len() == 8));
        assert_eq!(ranges(9), Ranges::Whole);
    }

    /// RFC 9110 §13.1.5.
    #[test]
    fn if_range_needs_the_same_strong_validator() {
        let later = "Sun, 06 Nov 1994 08:49:38 GMT";
        let rows: [(&str, Fields, bool); 9] = [
            ("\"a\"", &[("etag", "\"a\"")], true),
            ("\"b\"", &[("etag", "\"a\"")], false),
            ("W/\"a\"", &[("etag", "W/\"a\"")], false),
            ("\"a\"", &[("etag", "W/\"a\"")], false),
            ("\"a\"", &[], false),
            (MODIFIED, &[("last-modified", MODIFIED), ("date", later)], true),
            (later, &[("last-modified", MODIFIED), ("date", later)], false),
            (MODIFIED, &[("last-modified", MODIFIED), ("date", MODIFIED)], false),
            (MODIFIED, &[("last-modified", MODIFIED)], false),
        ];
        for (condition, stored, holds) in rows {
            let request = fields(&[("range", "bytes=0-1"), ("if-range", condition)]);
            let expected = if holds { Ranges::One(0..2) } else { Ranges::Whole };
            let found = select(&request, &fields(stored), StatusCode::OK, 10);
            assert_eq!(found, expected, "{condition} against {stored:?}");
        }
    }

    #[test]
    fn one_range_without_a_condition_may_be_asked_for_in_many_names() {
        let asks = |pairs: Fields| asked(&fields(pairs));
        for (range, field) in
            [("bytes=0-1", "bytes=0-1"), ("Bytes= 1-,", "bytes=1-"), ("bytes=-02", "bytes=-2")]
        {
            let Asked::One(spec) = asks(&[("range", range)]) else { panic!("{range}") };
            assert_eq!(spec.field(), field);
        }
        assert_eq!(RangeSpec::from(&(3..5)).of(10), Some(3..5));
        for range in ["bytes=0-1,3-4", "bytes=0-0,-1"] {
            assert_eq!(asks(&[("range", range)]), Asked::Own, "{range}");
        }
        assert_eq!(asks(&[("range", "bytes=0-1"), ("if-range", "\"a\"")]), Asked::Own);
        let many = "bytes=0-0,2-2,4-4,6-6,8-8,10-10,12-12,14-14,16-16";
        for range in [many, "bytes=x", "lines=0-1", ""] {
            assert_eq!(asks(&[("range", range)]), Asked::Whole, "{range}");
        }
        assert_eq!(asks(&[]), Asked::Whole);
        assert_eq!(asks(&[("range", "bytes=0-1"), ("range", "bytes=0-1")]), Asked::Whole);
    }

    #[test]
    fn fields_name_the_range_and_the_length() {
        assert_eq!(content_range(&(0..5), 10), "bytes 0-4/10");
        assert_eq!(unsatisfied(10), "bytes */10");
    }

    /// RFC 9110 §14.6.
    #[test]
    fn several_ranges_become_one_body_whose_boundary_is_its_own() {
        let whole = Bytes::from_static(b"0123--larder-part-0--9");
        let stored = fields(&[("content-type", "text/plain")]);
        let made = multipart(&whole, &[0..2, 4..19, 20..99], &stored);
        assert_eq!(made.content_type, "multipart/byteranges; boundary=larder-part-1");
        let expected = "--larder-part-1\r\nContent-Type: text/plain\r\nContent-Range: bytes 0-1/22\r\n\r\n01\r\n\
            --larder-part-1\r\nContent-Type: text/plain\r\nContent-Range: bytes 4-18/22\r\n\r\n--larder-part-0\r\n\
            --larder-part-1\r\nContent-Type: text/plain\r\nContent-Range: bytes 20-21/22\r\n\r\n-9\r\n\
            --larder-part-1--\r\n";
        assert_eq!(made.body, expected);
    }
}
