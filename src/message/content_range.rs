//! Which part of a representation a body is (RFC 9110 §14.4).

use std::ops::Range;

use http::header::{CONTENT_LENGTH, CONTENT_RANGE, HeaderMap};

/// One range of a representation whose length is known: never empty, never beyond its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContentRange {
    range: Range<u64>,
    complete: u64,
}

impl ContentRange {
    /// Nothing where the range is empty or ends beyond the representation.
    pub fn new(range: Range<u64>, complete: u64) -> Option<Self> {
        (range.start < range.end && range.end <= complete).then_some(Self { range, complete })
    }

    /// What the `Content-Range` of a response says; nothing where it is missing, repeated, of another unit, makes no
    /// sense, does not tell the complete length (`*`), or speaks of another number of bytes than `Content-Length`.
    pub fn of(fields: &HeaderMap) -> Option<Self> {
        let mut lines = fields.get_all(CONTENT_RANGE).iter();
        let (Some(line), None) = (lines.next(), lines.next()) else { return None };
        let (unit, said) = line.to_str().ok()?.trim().split_once(' ')?;
        let (range, complete) = said.trim_start().split_once('/')?;
        let (first, last) = range.split_once('-')?;
        let end = number(last)?.checked_add(1)?;
        let bytes = unit.eq_ignore_ascii_case("bytes");
        let part = bytes.then(|| Self::new(number(first)?..end, number(complete)?))??;
        let mut lengths = fields.get_all(CONTENT_LENGTH).iter();
        lengths
            .all(|length| length.to_str().ok().and_then(number) == Some(part.length()))
            .then_some(part)
    }

    pub fn range(&self) -> &Range<u64> {
        &self.range
    }

    /// The length of the whole representation.
    pub fn complete(&self) -> u64 {
        self.complete
    }

    /// How many bytes the part has; never none.
    pub fn length(&self) -> u64 {
        self.range.end - self.range.start
    }

    pub fn is_whole(&self) -> bool {
        self.length() == self.complete
    }

    /// Whether all bytes of `range` are in this part.
    pub fn holds(&self, range: &Range<u64>) -> bool {
        self.range.start <= range.start && range.end <= self.range.end
    }

    /// Where bytes of the representation lie within the part; nothing where it does not hold them all.
    pub fn within(&self, range: &Range<u64>) -> Option<Range<u64>> {
        self.holds(range).then(|| range.start - self.range.start..range.end - self.range.start)
    }

    /// What one request could complete the part with: all before it or all after it. Nothing for a part in the middle,
    /// and nothing for the whole.
    pub fn missing(&self) -> Option<Range<u64>> {
        match (self.range.start, self.range.end) {
            (0, end) if end < self.complete => Some(end..self.complete),
            (start, end) if start > 0 && end == self.complete => Some(0..start),
            _ => None,
        }
    }

    /// Both parts as one; nothing where they are of representations of different lengths, or do not touch.
    pub fn union(&self, other: &Self) -> Option<Self> {
        let touches = self.range.start <= other.range.end && other.range.start <= self.range.end;
        (self.complete == other.complete && touches).then(|| Self {
            range: self.range.start.min(other.range.start)..self.range.end.max(other.range.end),
            complete: self.complete,
        })
    }
}

/// Digits as a number that fits.
fn number(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn said(lines: &[&str]) -> Option<ContentRange> {
        let lines = lines.iter().map(|line| (CONTENT_RANGE, HeaderValue::from_str(line).unwrap()));
        let mut fields = HeaderMap::new();
        for (name, value) in lines {
            fields.append(name, value);
        }
        ContentRange::of(&fields)
    }

    fn part(range: Range<u64>, complete: u64) -> ContentRange {
        ContentRange::new(range, complete).unwrap()
    }

    #[test]
    fn a_content_range_is_read_in_every_good_form() {
        for (text, range) in [
            ("bytes 0-4/10", 0..5),
            ("Bytes 9-9/10", 9..10),
            ("bytes 0-9/10", 0..10),
            (" bytes  0-4/10 ", 0..5),
        ] {
            assert_eq!(said(&[text]), Some(part(range, 10)), "{text}");
        }
        let most = u64::MAX;
        let end = said(&[&format!("bytes 0-{}/{most}", most - 1)]);
        assert_eq!(end, Some(part(0..most, most)));
    }

    #[test]
    fn what_makes_no_sense_is_no_part() {
        for text in [
            "",
            "bytes",
            "bytes 0-4",
            "bytes 0-4/*",
            "bytes */10",
            "bytes 4-0/10",
            "bytes 0-10/10",
            "bytes 5-/10",
            "bytes -5/10",
            "items 0-4/10",
            "bytes=0-4/10",
            "bytes +0-4/10",
            "bytes 0-+4/10",
            "bytes 0 - 4/10",
            "bytes 0-18446744073709551615/18446744073709551615",
            "bytes 0-4/99999999999999999999",
            "bytes 99999999999999999999-99999999999999999999/10",
            "bytes 0-4/10, 5-9/10",
            "bytes 0-4/10/20",
            "bytes 0-0/0",
        ] {
            assert_eq!(said(&[text]), None, "{text}");
        }
        assert_eq!(said(&[]), None);
        assert_eq!(said(&["bytes 0-4/10", "bytes 0-4/10"]), None);
    }

    #[test]
    fn a_part_has_as_many_bytes_as_its_message() {
        let mut fields = HeaderMap::new();
        fields.insert(CONTENT_RANGE, HeaderValue::from_static("bytes 0-5/10"));
        for (length, is_part) in
            [("6", true), ("5", false), ("7", false), ("x", false), ("", false)]
        {
            fields.insert(CONTENT_LENGTH, HeaderValue::from_static(length));
            assert_eq!(ContentRange::of(&fields).is_some(), is_part, "{length}");
        }
    }

    #[test]
    fn one_request_completes_a_beginning_or_an_end_and_nothing_else() {
        assert_eq!(part(0..5, 10).missing(), Some(5..10));
        assert_eq!(part(5..10, 10).missing(), Some(0..5));
        assert_eq!(part(2..5, 10).missing(), None);
        assert_eq!(part(0..10, 10).missing(), None);
    }

    #[test]
    fn parts_that_touch_become_one_and_others_do_not() {
        let middle = part(3..6, 10);
        for (other, union) in
            [(0..3, 0..6), (6..10, 3..10), (4..5, 3..6), (0..10, 0..10), (2..4, 2..6)]
        {
            let (other, union) = (part(other, 10), part(union, 10));
            assert_eq!(
                (middle.union(&other), other.union(&middle)),
                (Some(union.clone()), Some(union))
            );
        }
        assert_eq!(middle.union(&part(7..10, 10)), None);
        assert_eq!(middle.union(&part(0..2, 10)), None);
        assert_eq!(middle.union(&part(3..6, 11)), None);
    }

    #[test]
    fn bytes_are_found_within_a_part_that_holds_them_all() {
        let part = part(3..6, 10);
        assert_eq!(part.within(&(3..6)), Some(0..3));
        assert_eq!(part.within(&(4..5)), Some(1..2));
        for beyond in [2..4, 5..7, 0..10] {
            assert_eq!(part.within(&beyond), None);
        }
    }
}
