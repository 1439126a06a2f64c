//! What the origin of a row says when it is asked: bytes that no library has to agree to.

use std::time::Duration;

use larder::message::date;

/// A field's value as a table writes it.
#[derive(Clone)]
pub(crate) enum Value {
    /// `{path}` stands for the row's own path, `{host}` for the authority that the client asks.
    Bytes(Vec<u8>),
    /// An HTTP date, in seconds from the exchange's own time.
    Moment(i64),
}

impl Value {
    /// The bytes, said at `now` by a row under `path` at `host`.
    pub(crate) fn at(&self, place: &Place<'_>) -> Vec<u8> {
        match self {
            Self::Moment(offset) => {
                date::format(place.now.saturating_add_signed(*offset)).as_bytes().to_vec()
            }
            Self::Bytes(bytes) if bytes.contains(&b'{') => String::from_utf8_lossy(bytes)
                .replace("{path}", place.path)
                .replace("{host}", place.host)
                .into_bytes(),
            Self::Bytes(bytes) => bytes.clone(),
        }
    }
}

/// Where and when a row's values are said.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) path: &'a str,
    pub(crate) host: &'a str,
    /// Seconds since the epoch.
    pub(crate) now: u64,
}

/// What is done with the request.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Manner {
    Reply,
    /// The connection is closed without a word.
    Close,
    /// The connection is closed in the middle of the content.
    CutOff,
    /// These bytes, and then the close.
    Raw(Vec<u8>),
}

/// One scripted answer.
#[derive(Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) fields: Vec<(String, Value)>,
    /// The exchange's number is the content where the table gives none, so that no answer is taken for another.
    pub(crate) content: Option<Vec<u8>>,
    /// Bytes behind the content that nobody announced.
    pub(crate) surplus: &'static [u8],
    pub(crate) interim: Vec<(u16, Vec<(String, Value)>)>,
    pub(crate) delay: Duration,
    pub(crate) manner: Manner,
    /// Whether a `Date` of now is added where there is none.
    pub(crate) dated: bool,
}

pub(crate) fn status(status: u16) -> Answer {
    Answer {
        status,
        fields: Vec::new(),
        content: None,
        surplus: b"",
        interim: Vec::new(),
        delay: Duration::ZERO,
        manner: Manner::Reply,
        dated: true,
    }
}

pub(crate) fn ok() -> Answer {
    status(200)
}

/// A 200 with this `Cache-Control`.
pub(crate) fn controlled(directives: &str) -> Answer {
    ok().with("Cache-Control", directives)
}

/// A 200 that is fresh for an hour.
pub(crate) fn fresh() -> Answer {
    controlled("max-age=3600")
}

/// A 200 that is fresh for a second.
pub(crate) fn brief() -> Answer {
    controlled("max-age=1")
}

pub(crate) fn not_modified() -> Answer {
    status(304)
}

/// No answer at all.
pub(crate) fn closes() -> Answer {
    Answer { manner: Manner::Close, ..ok() }
}

/// Nothing but these bytes.
pub(crate) fn raw(bytes: &[u8]) -> Answer {
    Answer { manner: Manner::Raw(bytes.to_vec()), ..ok() }
}

impl Answer {
    /// Adds a field line; called twice with one name it makes two lines.
    pub(crate) fn with(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.fields.push((name.to_owned(), Value::Bytes(value.as_ref().to_vec())));
        self
    }

    /// Adds a date, in seconds from now.
    pub(crate) fn dated(mut self, name: &str, offset: i64) -> Self {
        self.fields.push((name.to_owned(), Value::Moment(offset)));
        self
    }

    pub(crate) fn undated(mut self) -> Self {
        self.dated = false;
        self
    }

    pub(crate) fn content(mut self, content: impl AsRef<[u8]>) -> Self {
        self.content = Some(content.as_ref().to_vec());
        self
    }

    pub(crate) fn then_more(mut self, surplus: &'static [u8]) -> Self {
        self.surplus = surplus;
        self
    }

    pub(crate) fn after(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    pub(crate) fn cut_off(mut self) -> Self {
        self.manner = Manner::CutOff;
        self
    }

    /// Says this first: an interim response with one field.
    pub(crate) fn first(mut self, status: u16, name: &str, value: &str) -> Self {
        let field = (name.to_owned(), Value::Bytes(value.as_bytes().to_vec()));
        self.interim.push((status, vec![field]));
        self
    }

    pub(crate) fn names(&self, name: &str) -> bool {
        self.fields.iter().any(|(own, _)| own.eq_ignore_ascii_case(name))
    }
}
