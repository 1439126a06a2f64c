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
    let year = number(rest).filter(|_| rest.len() == 4)?;
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
