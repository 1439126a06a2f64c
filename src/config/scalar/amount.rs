//! Durations, sizes and parts.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use bytesize::ByteSize;

use crate::config::scalar::Wrong;

/// The longest span: RFC 9111 §1.2.2 lets caches take 2^31 seconds for the greatest age there is.
const LONGEST: Duration = Duration::from_secs(1 << 31);

/// A duration such as `250ms`, `30s`, `5m`, `1h`, `1d`, at most 68 years.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span(pub Duration);

impl FromStr for Span {
    type Err = Wrong;

    fn from_str(text: &str) -> Result<Self, Wrong> {
        if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
            let right = format!("write the unit too, such as {text}s, {text}m or {text}ms");
            return Err(Wrong::new("it has no unit", right));
        }
        let wrong = || Wrong::new("", "write a number and a unit: 250ms, 30s, 5m, 1h or 1d");
        let span = humantime::parse_duration(text).map_err(|_| wrong())?;
        if span > LONGEST {
            return Err(Wrong::new("it is longer than 68 years", "write less"));
        }
        Ok(Self(span))
    }
}

impl fmt::Display for Span {
    /// In the largest unit that gives a whole number, so that nothing is lost.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = self.0.as_nanos();
        let units = [
            ("d", 86_400_000_000_000),
            ("h", 3_600_000_000_000),
            ("m", 60_000_000_000),
            ("s", 1_000_000_000),
            ("ms", 1_000_000),
            ("us", 1000),
        ];
        let whole = units.iter().find(|(_, unit)| nanos != 0 && nanos.is_multiple_of(*unit));
        match whole {
            Some((name, unit)) => write!(formatter, "{}{name}", nanos / unit),
            None if nanos == 0 => formatter.write_str("0s"),
            None => write!(formatter, "{nanos}ns"),
        }
    }
}

/// A size such as `64KiB` or `1MB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size(pub u64);

impl FromStr for Size {
    type Err = Wrong;

    fn from_str(text: &str) -> Result<Self, Wrong> {
        if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
            let right = format!("write the unit too, such as {text}B, {text}KiB or {text}MiB");
            return Err(Wrong::new("it has no unit", right));
        }
        let right = "write a number and a unit: 512B, 64KiB, 1MB or 10GiB";
        let size: ByteSize = text.parse().map_err(|_| Wrong::new("", right))?;
        Ok(Self(size.as_u64()))
    }
}

impl fmt::Display for Size {
    /// In the largest unit that gives a whole number, so that nothing is lost.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)];
        let whole = units.iter().find(|(_, bits)| self.0 != 0 && self.0.is_multiple_of(1 << bits));
        match whole {
            Some((unit, bits)) => write!(formatter, "{}{unit}", self.0 >> bits),
            None => write!(formatter, "{}B", self.0),
        }
    }
}

/// A part of the whole such as `20%`, from 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Part(pub f64);

impl FromStr for Part {
    type Err = Wrong;

    fn from_str(text: &str) -> Result<Self, Wrong> {
        let Some(number) = text.strip_suffix('%') else {
            let right = match text.parse::<f64>() {
                Ok(part) if part > 0.0 && part < 1.0 => format!("write {}%", part * 100.0),
                Ok(_) | Err(_) => "write a number and a percent sign, such as 20%".to_owned(),
            };
            return Err(Wrong::new("it has no percent sign", right));
        };
        let number: f64 =
            number.trim().parse().map_err(|_| Wrong::new("", "write a number, such as 20%"))?;
        if !(0.0..=100.0).contains(&number) {
            return Err(Wrong::new("it is out of range", "write 0% to 100%"));
        }
        Ok(Self(number / 100.0))
    }
}

impl fmt::Display for Part {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Rounded to a millionth, so that 7% is not shown as 7.000000000000001%.
        write!(formatter, "{}%", (self.0 * 1e8).round() / 1e6)
    }
}
