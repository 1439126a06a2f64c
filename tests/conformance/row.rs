//! What a table is made of: a clause as its RFC words it, and rows of exchanges that show it on the wire.

use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::answer::{Answer, Value, ok};

/// How binding a clause is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    Must,
    Should,
    May,
    /// The clause defines something, or leaves it open; the row shows what Larder makes of it.
    Defined,
}

/// A sentence of an RFC, and the rows that show it.
pub(crate) struct Clause {
    pub(crate) section: &'static str,
    pub(crate) level: Level,
    pub(crate) quote: &'static str,
    pub(crate) rows: Vec<Row>,
}

/// One story for one URL of its own.
#[derive(Clone)]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) exchanges: Vec<Exchange>,
}

/// One request, what the origin says if it is asked on its behalf, and what must come of it.
#[derive(Clone)]
pub(crate) struct Exchange {
    pub(crate) pause: Duration,
    pub(crate) request: Request,
    /// One after another; the last one for ever.
    pub(crate) answers: Vec<Answer>,
    pub(crate) asked: Asked,
    pub(crate) source: Source,
    pub(crate) checks: Vec<Check>,
}

#[derive(Clone)]
pub(crate) struct Request {
    pub(crate) method: String,
    /// Behind the row's own path.
    pub(crate) suffix: String,
    pub(crate) fields: Vec<(String, Value)>,
    pub(crate) content: Option<Vec<u8>>,
}

/// How often the origin is asked on behalf of the exchange.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    Times(usize),
    /// Once, after the client has its answer.
    Beside,
}

/// Where the client's answer comes from: its status, its content and every field are compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// What the origin said in this exchange.
    Origin,
    /// What the origin said in an earlier one, by its number from 1.
    Stored(usize),
    /// What it said in an earlier one, updated by the fields of the 304 of this one.
    Updated(usize),
    /// 304, with the fields that the earlier one's 200 has and RFC 9110 §15.4.5 demands.
    NotModified(usize),
    /// Larder itself: a problem (RFC 9457) with this status and nothing of the origin's.
    Larder(u16),
    /// The checks say it all.
    Unsaid,
}

/// A thing that must hold besides.
#[derive(Clone)]
pub(crate) enum Check {
    Status(u16),
    Content(Vec<u8>),
    Has(String, Value),
    HasSome(String),
    /// The field has a member, or the member a parameter, of this text.
    Says(String, String),
    Lacks(String),
    Age(RangeInclusive<u64>),
    Interim(Vec<u16>),
    /// The connection ends before the content does.
    CutOff,
    OriginSaw(String, Value),
    OriginSawNo(String),
    OriginSawMethod(String),
    OriginSawTarget(String),
    OriginSawContent(Vec<u8>),
}

pub(crate) fn clause(section: &'static str, level: Level, quote: &'static str) -> Clause {
    Clause { section, level, quote, rows: Vec::new() }
}

impl Clause {
    pub(crate) fn row<const N: usize>(mut self, name: &str, exchanges: [Exchange; N]) -> Self {
        self.rows.push(Row { name: name.to_owned(), exchanges: exchanges.into() });
        self
    }

    /// One row for each of these; `{}` in the name stands for it.
    pub(crate) fn each<T: fmt::Display + Copy, const N: usize>(
        mut self,
        name: &str,
        values: &[T],
        exchanges: impl Fn(T) -> [Exchange; N],
    ) -> Self {
        for value in values {
            let name = name.replace("{}", &value.to_string());
            self.rows.push(Row { name, exchanges: exchanges(*value).into() });
        }
        self
    }
}

pub(crate) fn get() -> Exchange {
    ask("GET")
}

pub(crate) fn head() -> Exchange {
    ask("HEAD")
}

pub(crate) fn post() -> Exchange {
    ask("POST").sending("something")
}

/// A request by any method. Unless it says otherwise the origin is asked once, and answers for itself alone.
pub(crate) fn ask(method: &str) -> Exchange {
    Exchange {
        pause: Duration::ZERO,
        request: Request {
            method: method.to_owned(),
            suffix: String::new(),
            fields: Vec::new(),
            content: None,
        },
        answers: vec![ok().with("Cache-Control", "no-store")],
        asked: Asked::Times(1),
        source: Source::Origin,
        checks: Vec::new(),
    }
}

impl Exchange {
    /// Waits so many seconds before the request.
    pub(crate) fn after(mut self, seconds: u64) -> Self {
        self.pause = Duration::from_secs(seconds);
        self
    }

    /// Adds to the row's path: `?query`, `/name`.
    pub(crate) fn to(mut self, suffix: &str) -> Self {
        suffix.clone_into(&mut self.request.suffix);
        self
    }

    pub(crate) fn with(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.request.fields.push((name.to_owned(), Value::Bytes(value.as_ref().to_vec())));
        self
    }

    /// Adds a date, in seconds from now, to the request.
    pub(crate) fn dated(mut self, name: &str, offset: i64) -> Self {
        self.request.fields.push((name.to_owned(), Value::Moment(offset)));
        self
    }

    pub(crate) fn sending(mut self, content: &str) -> Self {
        self.request.content = Some(content.as_bytes().to_vec());
        self
    }

    /// What the origin says when it is asked.
    pub(crate) fn origin(mut self, answer: Answer) -> Self {
        self.answers = vec![answer];
        self
    }

    /// What it says when it is asked again for the same exchange; it is.
    pub(crate) fn origin_again(mut self, answer: Answer) -> Self {
        self.answers.push(answer);
        let times = self.answers.len();
        self.asked(times)
    }

    pub(crate) fn asked(mut self, times: usize) -> Self {
        self.asked = Asked::Times(times);
        self
    }

    fn comes_from(mut self, source: Source) -> Self {
        self.source = source;
        self
    }

    /// The origin is not asked: the stored answer of exchange `number` is the answer, with an `Age`.
    pub(crate) fn reuses(self, number: usize) -> Self {
        self.asked(0).comes_from(Source::Stored(number))
    }

    /// The stored answer of exchange `number` is the answer at once, and the origin is asked beside it.
    pub(crate) fn reuses_and_refreshes(mut self, number: usize) -> Self {
        self.asked = Asked::Beside;
        self.comes_from(Source::Stored(number))
    }

    /// The origin was asked in vain: the stored answer of exchange `number` is the answer.
    pub(crate) fn falls_back_to(self, number: usize) -> Self {
        self.comes_from(Source::Stored(number))
    }

    /// The origin is asked with `conditions` and no others, says 304, and the stored answer of exchange `number` is
    /// the answer, updated.
    pub(crate) fn validates<const N: usize>(
        self,
        number: usize,
        conditions: [(&str, &str); N],
    ) -> Self {
        self.offers(conditions).comes_from(Source::Updated(number))
    }

    /// The origin is asked with `conditions` and no others; what it says is the answer.
    pub(crate) fn offers<const N: usize>(mut self, conditions: [(&str, &str); N]) -> Self {
        const ALL: [&str; 6] = [
            "If-None-Match",
            "If-Modified-Since",
            "If-Match",
            "If-Unmodified-Since",
            "If-Range",
            "Range",
        ];
        for name in ALL {
            self = match conditions.iter().find(|(own, _)| own.eq_ignore_ascii_case(name)) {
                Some((_, value)) => self.origin_saw(name, value),
                None => self.origin_saw_no(name),
            };
        }
        self
    }

    /// 304 from the stored answer of exchange `number`, without asking.
    pub(crate) fn is_not_modified(self, number: usize) -> Self {
        self.asked(0).comes_from(Source::NotModified(number))
    }

    /// Larder answers by itself, with a problem.
    pub(crate) fn is_refused(self, status: u16) -> Self {
        self.comes_from(Source::Larder(status))
    }

    /// Only what the checks say matters of the answer.
    pub(crate) fn says_of_itself(self) -> Self {
        self.comes_from(Source::Unsaid)
    }

    fn check(mut self, check: Check) -> Self {
        self.checks.push(check);
        self
    }

    pub(crate) fn status(self, status: u16) -> Self {
        self.check(Check::Status(status))
    }

    pub(crate) fn content(self, content: impl AsRef<[u8]>) -> Self {
        self.check(Check::Content(content.as_ref().to_vec()))
    }

    /// The field is this, byte for byte; several lines count as one with commas.
    pub(crate) fn has(self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.check(Check::Has(name.to_owned(), Value::Bytes(value.as_ref().to_vec())))
    }

    pub(crate) fn has_date(self, name: &str, offset: i64) -> Self {
        self.check(Check::Has(name.to_owned(), Value::Moment(offset)))
    }

    /// The field is there, whatever it says.
    pub(crate) fn has_some(self, name: &str) -> Self {
        self.check(Check::HasSome(name.to_owned()))
    }

    pub(crate) fn says(self, name: &str, text: &str) -> Self {
        self.check(Check::Says(name.to_owned(), text.to_owned()))
    }

    pub(crate) fn lacks(self, name: &str) -> Self {
        self.check(Check::Lacks(name.to_owned()))
    }

    pub(crate) fn age(self, seconds: RangeInclusive<u64>) -> Self {
        self.check(Check::Age(seconds))
    }

    pub(crate) fn interim(self, statuses: &[u16]) -> Self {
        self.check(Check::Interim(statuses.to_vec()))
    }

    pub(crate) fn is_cut_off(self) -> Self {
        self.says_of_itself().check(Check::CutOff)
    }

    pub(crate) fn origin_saw(self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.check(Check::OriginSaw(name.to_owned(), Value::Bytes(value.as_ref().to_vec())))
    }

    pub(crate) fn origin_saw_no(self, name: &str) -> Self {
        self.check(Check::OriginSawNo(name.to_owned()))
    }

    pub(crate) fn origin_saw_method(self, method: &str) -> Self {
        self.check(Check::OriginSawMethod(method.to_owned()))
    }

    /// The request target that the origin got is the row's path with this behind it.
    pub(crate) fn origin_saw_target(self, suffix: &str) -> Self {
        self.check(Check::OriginSawTarget(suffix.to_owned()))
    }

    pub(crate) fn origin_saw_content(self, content: &str) -> Self {
        self.check(Check::OriginSawContent(content.as_bytes().to_vec()))
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Must => "MUST",
            Self::Should => "SHOULD",
            Self::May => "MAY",
            Self::Defined => "defined",
        })
    }
}
