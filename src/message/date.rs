//! HTTP dates (RFC 9110 §5.6.7): all three forms read, the first one written.

use http::header::HeaderValue;

const DAYS: [&str; 7] =
    ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
/// The last second of the year 9999, beyond which the form has no room.
const LAST: u64 = 253_402_300_799;

/// Seconds since the Unix epoch; zero for a date before 1970; nothing for a text that is no HTTP date.
///
/// Names are taken in any case; nothing else deviates from the grammar. Whether the weekday is the date's own is
/// not looked at.
pub fn parse(text: &[u8]) -> Option<u64> {
    let text = text.trim_ascii();
    fixdate(text).or_else(|| rfc850(text)).or_else(|| asctime(text))
}

/// The date as `Sun, 06 Nov 1994 08:49:37 GMT`. Beyond the year 9999 its last second.
pub fn format(unix_seconds: u64) -> HeaderValue {
    let seconds = unix_seconds.min(LAST);
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil(days);
    // 1 January 1970 was a Thursday.
    let weekday = &DAYS[usize::try_from((days + 3) % 7).unwrap_or(0)][..3];
    let month = MONTHS[usize::try_from(month - 1).unwrap_or(0)];
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    let text =
        format!("{weekday}, {day:02} {month} {year:04} {hour:02}:{minute:02}:{second:02} GMT");
    written(text)
}

fn written(text: String) -> HeaderValue {
    HeaderValue::try_from(text).expect("letters, digits, blanks and colons are a field value")
}

/// `Sun, 06 Nov 1994 08:49:37 GMT`.
fn fixdate(text: &[u8]) -> Option<u64> {
    let (weekday, rest) = text.split_at_checked(3)?;
    let rest = rest.strip_prefix(b", ")?;
    let (day, rest) = (number(rest.get(..2)?)?, rest.get(2..)?.strip_prefix(b" ")?);
    let (month, rest) = (month(rest.get(..3)?)?, rest.get(3..)?.strip_prefix(b" ")?);
    let (year, rest) = (number(rest.get(..4)?)?, rest.get(4..)?.strip_prefix(b" ")?);
    let known = DAYS.iter().any(|name| name.as_bytes()[..3].eq_ignore_ascii_case(weekday));
    seconds((year, month, day), clock_and_zone(rest)?).filter(|_| known)
}

/// `Sunday, 06-Nov-94 08:49:37 GMT`.
///
/// RFC 9110 §5.6.7: a two-digit year "that appears to be more than 50 years in the future" is in the past. Without
/// a clock the border is fixed: nothing on the web is older than the epoch, so 70 to 99 are of the last century.
fn rfc850(text: &[u8]) -> Option<u64> {
    let comma = text.iter().position(|byte| *byte == b',')?;
    let (weekday, rest) = text.split_at(comma);
    let rest = rest.strip_prefix(b", ")?;
    let (day, rest) = (number(rest.get(..2)?)?, rest.get(2..)?.strip_prefix(b"-")?);
    let (month, rest) = (month(rest.get(..3)?)?, rest.get(3..)?.strip_prefix(b"-")?);
    let (year, rest) = (number(rest.get(..2)?)?, rest.get(2..)?.strip_prefix(b" ")?);
    let year = if year < 70 { 2000 + year } else { 1900 + year };
    let known = DAYS.iter().any(|name| name.as_bytes().eq_ignore_ascii_case(weekday));
    seconds((year, month, day), clock_and_zone(rest)?).filter(|_| known)
}

/// `Sun Nov  6 08:49:37 1994`.
fn asctime(text: &[u8]) -> Option<u64> {
    let (weekday, rest) = text.split_at_checked(3)?;
    let rest = rest.strip_prefix(b" ")?;
    let (month, rest) = (month(rest.get(..3)?)?, rest.get(3..)?.strip_prefix(b" ")?);
    let day = rest.get(..2)?;
    let day = number(day.strip_prefix(b" ").unwrap_or(day))?;
    let rest = rest.get(2..)?.strip_prefix(b" ")?;
    let (clock, rest) = (clock(rest.get(..8)?)?, rest.get(8..)?.strip_prefix(b" ")?);
    let year = number(rest.get(..4).filter(|year| year.len() == rest.len())?)?;
    let known = DAYS.iter().any(|name| name.as_bytes()[..3].eq_ignore_ascii_case(weekday));
    seconds((year, month, day), clock).filter(|_| known)
}

fn clock_and_zone(text: &[u8]) -> Option<u64> {
    let (time, zone) = text.split_at_checked(8)?;
    zone.eq_ignore_ascii_case(b" GMT").then(|| clock(time))?
}

/// `08:49:37` as seconds of the day; the 60th second is a leap second's.
fn clock(text: &[u8]) -> Option<u64> {
    if text.get(2) != Some(&b':') || text.get(5) != Some(&b':') {
        return None;
    }
    let (hour, minute, second) =
        (number(text.get(..2)?)?, number(text.get(3..5)?)?, number(text.get(6..)?)?);
    (hour < 24 && minute < 60 && second <= 60).then_some(hour * 3600 + minute * 60 + second)
}

fn month(text: &[u8]) -> Option<u64> {
    let index = MONTHS.iter().position(|name| name.as_bytes().eq_ignore_ascii_case(text))?;
    u64::try_from(index).ok().map(|index| index + 1)
}

fn number(text: &[u8]) -> Option<u64> {
    let digits = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    digits.then(|| text.iter().fold(0, |number, digit| number * 10 + u64::from(digit - b'0')))
}

fn seconds((year, month, day): (u64, u64, u64), clock: u64) -> Option<u64> {
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let longest = match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    if day == 0 || day > longest {
        return None;
    }
    if year < 1970 {
        return Some(0);
    }
    Some(days(year, month, day) * 86_400 + clock)
}

/// Days from the epoch to a date of the Gregorian calendar, by years that begin in March, so that the leap day is
/// their last.
fn days(year: u64, month: u64, day: u64) -> u64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let before = 365 * year + year / 4 - year / 100 + year / 400;
    before + (153 * month + 2) / 5 + day - 1 - 719_468
}

/// The date that is so many days after the epoch; the inverse of [`days`].
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let year = year + era * 400;
    if month < 10 { (year, month + 3, day) } else { (year + 1, month - 9, day) }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    /// RFC 9110 §5.6.7: "A recipient that parses a timestamp value in an HTTP field MUST accept all three
    /// HTTP-date formats."
    #[test]
    fn all_three_forms_are_read() {
        let rows = [
            ("Sun, 06 Nov 1994 08:49:37 GMT", 784_111_777),
            ("sUN, 06 nOV 1994 08:49:37 gmt", 784_111_777),
            (" Sun, 06 Nov 1994 08:49:37 GMT ", 784_111_777),
            ("Sunday, 06-Nov-94 08:49:37 GMT", 784_111_777),
            ("SUNDAY, 06-nov-94 08:49:37 gmt", 784_111_777),
            ("Sun Nov  6 08:49:37 1994", 784_111_777),
            ("Sun Nov 16 08:49:37 1994", 784_975_777),
            ("Thursday, 18-Aug-50 02:01:18 GMT", 2_544_400_878),
            ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
            ("Wed, 31 Dec 1969 23:59:59 GMT", 0),
            ("Thu, 01 Jan 0001 00:00:00 GMT", 0),
            ("Tue, 19 Jan 2038 03:14:08 GMT", 1 << 31),
            ("Sat, 20 Nov 2286 17:46:41 GMT", 10_000_000_001),
            ("Tue, 29 Feb 2000 00:00:00 GMT", 951_782_400),
            ("Fri, 31 Dec 2016 23:59:60 GMT", 1_483_228_800),
            ("Fri, 31 Dec 9999 23:59:59 GMT", LAST),
        ];
        for (text, seconds) in rows {
            assert_eq!(parse(text.as_bytes()), Some(seconds), "{text}");
        }
    }

    #[test]
    fn whatever_deviates_is_no_date() {
        let rows = [
            "Sun Nov  6 08:49:37 19941",
            "Sun Nov  6 08:49:37 199411111111111111111111111111111111",
            "",
            "0",
            "foo",
            "Sun",
            "Sun, ",
            "Sun, 06 Nov 1994 08:49:37 UTC",
            "Sun, 06 Nov 1994 08:49:37 AEST",
            "Sun, 06 Nov 1994 08:49:37 +0000",
            "Sun, 06 Nov 1994 08:49:37",
            "Sun, 06 Nov 1994 08:49:37GMT",
            "Sun, 06 Nov 94 08:49:37 GMT",
            "Sun 06 Nov 1994 08:49:37 GMT",
            "Sun,06 Nov 1994 08:49:37 GMT",
            "Sun,  06 Nov 1994 08:49:37 GMT",
            "Sun, 06  Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov  1994 08:49:37 GMT",
            "Sun, 06 Nov 1994  08:49:37 GMT",
            "Sun, 06-Nov-1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 08.49.37 GMT",
            "Sun, 06 Nov 1994 8:49:37 GMT",
            "Sun, 6 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 24:00:00 GMT",
            "Sun, 06 Nov 1994 08:60:00 GMT",
            "Sun, 06 Nov 1994 08:00:61 GMT",
            "Sun, 00 Nov 1994 08:49:37 GMT",
            "Sun, 31 Nov 1994 08:49:37 GMT",
            "Thu, 29 Feb 2100 08:49:37 GMT",
            "Xxx, 06 Nov 1994 08:49:37 GMT",
            "Sun, 06 Xxx 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 08:49:37 GMT x",
            "Sun, 06-Nov-94 08:49:37 GMT",
            "Sunday, 06-Nov-94 08:49:37 UTC",
            "Sunday, 06 Nov 94 08:49:37 GMT",
            "Sunday, 06-Nov-1994 08:49:37 GMT",
            "Sun Nov 6 08:49:37 1994",
            "Sun Nov   6 08:49:37 1994",
            "Sun Nov  6 08:49:37 94",
            "Sun Nov  6 08:49:37 1994 GMT",
        ];
        for text in rows {
            assert_eq!(parse(text.as_bytes()), None, "{text}");
        }
        assert_eq!(parse(b"S\xfcn, 06 Nov 1994 08:49:37 GMT"), None);
    }

    #[test]
    fn what_is_written_is_read_again_and_agrees_with_another_implementation() {
        let step = 86_400 * 13 + 12_345;
        for seconds in (0..=LAST).step_by(step).chain([LAST, 951_782_399, 951_868_800]) {
            let text = format(seconds);
            assert_eq!(parse(text.as_bytes()), Some(seconds), "{text:?}");
            let theirs = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(seconds));
            assert_eq!(text, theirs.as_str());
        }
        assert_eq!(format(u64::MAX), format(LAST));
    }
}
