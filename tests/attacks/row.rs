//! What a table is made of: a threat, what stands against it, and rows of bytes that show it.

use super::origin::{Script, reflect};

/// The mark that is replaced by the row's number everywhere, so that lengths stay as they are.
pub(crate) const MARK: &str = "@@@";

/// A way to attack a shared cache.
pub(crate) struct Threat {
    pub(crate) name: &'static str,
    /// Which part of Larder stands against it, and how.
    pub(crate) defence: &'static str,
    pub(crate) rows: Vec<Row>,
    /// What shows it that is no exchange of bytes alone.
    pub(crate) stories: Vec<Story>,
}

/// A test elsewhere that shows a threat.
#[derive(Clone, Copy)]
pub(crate) struct Story {
    /// Below the package.
    pub(crate) file: &'static str,
    /// Its function.
    pub(crate) test: &'static str,
}

/// One attack: what is sent, what must come back, and what the origin must have seen.
pub(crate) struct Row {
    pub(crate) name: String,
    /// Keys of the one route; `None`: `larder serve --origin`, without a file.
    pub(crate) configuration: Option<String>,
    pub(crate) script: Script,
    pub(crate) steps: Vec<Step>,
    /// The whole requests that the origin gets, each `METHOD target`, in their order.
    pub(crate) reaches: Option<Vec<String>>,
    /// How many requests the origin gets, whole or not, at most.
    pub(crate) at_most: Option<usize>,
    /// In no request that the origin gets.
    pub(crate) keeps_back: Vec<String>,
    /// In some request that the origin gets.
    pub(crate) lets_through: Vec<String>,
}

pub(crate) enum Step {
    /// Bytes on a connection of their own.
    Talk(Talk),
    Frames(Frames),
    /// So many connections, on which this is sent, and which stay open until the row is over.
    Hold(usize, Vec<u8>),
}

pub(crate) struct Talk {
    pub(crate) bytes: Vec<u8>,
    /// Sent when the other side says that it may be.
    pub(crate) continued: Vec<u8>,
    pub(crate) answers: Answers,
    pub(crate) after: After,
    /// Within the last answer, whatever the case.
    pub(crate) says: Vec<String>,
    pub(crate) lacks: Vec<String>,
}

pub(crate) enum Answers {
    /// These, in this order, and no others.
    Exactly(Vec<u16>),
    /// One of these, or none at all, then the end.
    AnyOf(Vec<u16>),
}

/// What becomes of the connection.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum After {
    Closes,
    /// The next request on it gets its own answer.
    Lives,
}

/// HTTP/2 frames behind the preface, on a connection of their own.
pub(crate) struct Frames {
    pub(crate) bytes: Vec<u8>,
    pub(crate) expected: Expected,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Expected {
    /// The first stream gets this status.
    Status(u16),
    /// The first stream gets a status of 400 and above, or is reset; or the connection ends.
    Refused,
    /// The connection ends, with a GOAWAY or without.
    Ended,
    /// Nothing in particular: others go on being served.
    Survived,
}

pub(crate) fn threat(name: &'static str, defence: &'static str, rows: Vec<Row>) -> Threat {
    Threat { name, defence, rows, stories: Vec::new() }
}

impl Threat {
    /// The threat, which these tests of `file` show too.
    pub(crate) fn told_in(mut self, file: &'static str, tests: &[&'static str]) -> Self {
        self.stories.extend(tests.iter().map(|test| Story { file, test }));
        self
    }
}

/// A row without steps, before the origin that shows what it got and allows to keep it for a minute.
pub(crate) fn row(name: impl Into<String>) -> Row {
    Row {
        name: name.into(),
        configuration: None,
        script: reflect,
        steps: Vec::new(),
        reaches: None,
        at_most: None,
        keeps_back: Vec::new(),
        lets_through: Vec::new(),
    }
}

/// A request that is refused with 400 and a close, and of which the origin hears nothing.
pub(crate) fn refused(name: impl Into<String>, bytes: impl AsRef<[u8]>) -> Row {
    refused_with(400, name, bytes)
}

pub(crate) fn refused_with(status: u16, name: impl Into<String>, bytes: impl AsRef<[u8]>) -> Row {
    row(name).step(send(bytes).answered(&[status]).closes()).reaches(&[])
}

/// Bytes on a connection of their own, that are answered with a 200 and leave the connection in order.
pub(crate) fn send(bytes: impl AsRef<[u8]>) -> Talk {
    Talk {
        bytes: bytes.as_ref().to_vec(),
        continued: Vec::new(),
        answers: Answers::Exactly(vec![200]),
        after: After::Lives,
        says: Vec::new(),
        lacks: Vec::new(),
    }
}

/// A GET of `target` for the row's own host, with these field lines.
pub(crate) fn get(target: &str, fields: &str) -> Talk {
    send(request("GET", target, fields))
}

/// A whole head for the row's own host.
pub(crate) fn request(method: &str, target: &str, fields: &str) -> String {
    format!("{method} {target} HTTP/1.1\r\nHost: r{MARK}.example\r\n{fields}\r\n")
}

impl Talk {
    /// Waits for a 100 before it sends this.
    pub(crate) fn continued(mut self, bytes: impl AsRef<[u8]>) -> Self {
        self.continued = bytes.as_ref().to_vec();
        self
    }

    pub(crate) fn answered(mut self, statuses: &[u16]) -> Self {
        self.answers = Answers::Exactly(statuses.to_vec());
        self
    }

    pub(crate) fn answered_with_any_of(mut self, statuses: &[u16]) -> Self {
        self.answers = Answers::AnyOf(statuses.to_vec());
        self.closes()
    }

    /// One of these, and the connection goes on.
    pub(crate) fn answered_by_one_of(mut self, statuses: &[u16]) -> Self {
        self.answers = Answers::AnyOf(statuses.to_vec());
        self
    }

    pub(crate) fn closes(mut self) -> Self {
        self.after = After::Closes;
        self
    }

    pub(crate) fn says(mut self, text: &str) -> Self {
        self.says.push(text.to_owned());
        self
    }

    pub(crate) fn lacks(mut self, text: &str) -> Self {
        self.lacks.push(text.to_owned());
        self
    }
}

impl Row {
    /// Keys of a route for everything.
    pub(crate) fn route(self, keys: &str) -> Self {
        self.configured(&format!("routes:\n  - name: all\n    match: {{ path: \"/**\" }}\n{keys}"))
    }

    /// What stands in the file beside the origin.
    pub(crate) fn configured(mut self, yaml: &str) -> Self {
        self.configuration = Some(yaml.to_owned());
        self
    }

    pub(crate) fn origin(mut self, script: Script) -> Self {
        self.script = script;
        self
    }

    pub(crate) fn step(mut self, talk: Talk) -> Self {
        self.steps.push(Step::Talk(talk));
        self
    }

    pub(crate) fn frames(mut self, bytes: Vec<u8>, expected: Expected) -> Self {
        self.steps.push(Step::Frames(Frames { bytes, expected }));
        self
    }

    pub(crate) fn reaches(mut self, requests: &[&str]) -> Self {
        self.reaches = Some(requests.iter().map(ToString::to_string).collect());
        self
    }

    pub(crate) fn at_most(mut self, requests: usize) -> Self {
        self.at_most = Some(requests);
        self
    }

    /// So many connections on which this was sent stay open until the row is over.
    pub(crate) fn hold(mut self, connections: usize, bytes: impl AsRef<[u8]>) -> Self {
        self.steps.push(Step::Hold(connections, bytes.as_ref().to_vec()));
        self
    }

    pub(crate) fn keeps_back(mut self, text: &str) -> Self {
        self.keeps_back.push(text.to_owned());
        self
    }

    pub(crate) fn lets_through(mut self, text: &str) -> Self {
        self.lets_through.push(text.to_owned());
        self
    }
}
