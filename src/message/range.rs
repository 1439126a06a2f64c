//! Ranges of a stored response (RFC 9110 §14).

use std::ops::Range;

use bytes::{Bytes, BytesMut};
use http::StatusCode;
use http::header::{CONTENT_TYPE, DATE, ETAG, HeaderMap, HeaderValue, IF_RANGE, RANGE};

use crate::message::conditional::{EntityTag, last_modified, only_date};
use crate::message::date;

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
    stored_fields: &HeaderMap,
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
    HeaderValue::try_from(format!("bytes {}-{last}/{length}", range.start))
        .expect("digits and signs are a field value")
}

/// `bytes */10`, which goes with 416.
pub fn unsatisfied(length: u64) -> HeaderValue {
    HeaderValue::try_from(format!("bytes */{length}")).expect("digits and signs are a field value")
}

/// The ranges of `whole` as one body (RFC 9110 §14.6). Ranges beyond its end are cut. Copies the ranges.
pub fn multipart(whole: &Bytes, ranges: &[Range<u64>], stored_fields: &HeaderMap) -> Multipart {
    let parts: Vec<(&Range<u64>, &[u8])> =
        ranges.iter().map(|range| (range, cut(whole, range))).collect();
    let boundary = boundary(parts.iter().map(|(_, part)| *part));
    let mut body = BytesMut::new();
    for (range, part) in parts {
        body.extend_from_slice(format!("--{boundary}\r\n").as_bytes());
        if let Some(kind) = stored_fields.get(CONTENT_TYPE) {
            body.extend_from_slice(b"Content-Type: ");
            body.extend_from_slice(kind.as_bytes());
            body.extend_from_slice(b"\r\n");
        }
        body.extend_from_slice(b"Content-Range: ");
        body.extend_from_slice(content_range(range, whole.len() as u64).as_bytes());
        body.extend_from_slice(b"\r\n\r\n");
        body.extend_from_slice(part);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
    let content_type = HeaderValue::try_from(format!("multipart/byteranges; boundary={boundary}"))
        .expect("letters, digits and signs are a field value");
    Multipart { body: body.freeze(), content_type }
}

/// RFC 9110 §13.1.5: "If the HTTP-date validator provided exactly matches the Last-Modified field value", and is
/// strong; "If the entity-tag validator provided exactly matches the ETag field value [...] using the strong
/// comparison function".
fn if_range_holds(request_fields: &HeaderMap, stored_fields: &HeaderMap) -> bool {
    let Some(value) = request_fields.get(IF_RANGE) else { return true };
    match date::parse(value.as_bytes()) {
        // RFC 9110 §8.8.2.2: a modification date is strong where it is at least a second before `Date`.
        Some(named) => {
            last_modified(stored_fields) == Some(named)
                && only_date(stored_fields, &DATE).is_some_and(|dated| dated > named)
        }
        None => EntityTag::of(value.as_bytes())
            .zip(stored_fields.get(ETAG).and_then(|tag| EntityTag::of(tag.as_bytes())))
            .is_some_and(|(named, stored)| named.is_strongly(&stored)),
    }
}

/// One range as it is written.
#[derive(Clone, Copy)]
enum Wanted {
    From(u64),
    Between(u64, u64),
    Last(u64),
}

/// The ranges of a `bytes` unit; nothing for anything else, which includes a list without any.
fn parse(line: &[u8]) -> Option<Vec<Wanted>> {
    let equals = line.iter().position(|byte| *byte == b'=')?;
    let (unit, set) = (line[..equals].trim_ascii(), &line[equals + 1..]);
    if !unit.eq_ignore_ascii_case(b"bytes") {
        return None;
    }
    let specs = set.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    let wanted: Option<Vec<Wanted>> = specs.filter(|spec| !spec.is_empty()).map(wanted).collect();
    wanted.filter(|wanted| !wanted.is_empty())
}

fn wanted(spec: &[u8]) -> Option<Wanted> {
    let dash = spec.iter().position(|byte| *byte == b'-')?;
    match (&spec[..dash], &spec[dash + 1..]) {
        (b"", last) => number(last).map(Wanted::Last),
        (first, b"") => number(first).map(Wanted::From),
        (first, last) => {
            let (first, last) = (number(first)?, number(last)?);
            // "An int-range is invalid if the last-pos value is present and less than first-pos."
            (first <= last).then_some(Wanted::Between(first, last))
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

fn choose(wanted: &[Wanted], length: u64) -> Ranges {
    if wanted.len() > MOST {
        return Ranges::Whole;
    }
    let ranges: Vec<Range<u64>> = wanted.iter().filter_map(|range| range.of(length)).collect();
    match ranges.as_slice() {
        // An empty representation has no range to give, and a suffix of it is satisfied by all of it.
        [] if length == 0 && wanted.iter().any(|range| matches!(range, Wanted::Last(1..))) => {
            Ranges::Whole
        }
        [] => Ranges::Unsatisfiable,
        [one] => Ranges::One(one.clone()),
        several if overlap(several) => Ranges::Whole,
        _ => Ranges::Several(ranges),
    }
}

impl Wanted {
    /// The range in a representation of `length` bytes; nothing where it lies beyond it.
    fn of(self, length: u64) -> Option<Range<u64>> {
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

/// A boundary that occurs in none of the parts.
fn boundary<'a>(parts: impl Iterator<Item = &'a [u8]> + Clone) -> String {
    (0_u64..)
        .map(|number| format!("larder-part-{number}"))
        .find(|boundary| {
            let text = boundary.as_bytes();
            !parts.clone().any(|part| part.windows(text.len()).any(|window| window == text))
        })
        .expect("a body has fewer bytes than there are numbers")
}
