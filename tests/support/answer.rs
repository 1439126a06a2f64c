//! What a scripted origin answers: head, pieces of body, gates between them, and the ways in which it can go wrong.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Barrier, watch};

/// A place where the origin waits until the test says go on. Clones are the same gate.
#[derive(Clone)]
pub(crate) struct Gate(Arc<watch::Sender<bool>>);

impl Gate {
    pub(crate) fn closed() -> Self {
        Self(Arc::new(watch::Sender::new(false)))
    }

    /// Lets everyone through, now and later.
    pub(crate) fn open(&self) {
        self.0.send_replace(true);
    }

    pub(crate) async fn pass(&self) {
        let mut watching = self.0.subscribe();
        let _opened = watching.wait_for(|open| *open).await.expect("the gate holds its own sender");
    }
}

/// A place where requests wait until so many of them are there at once.
#[derive(Clone)]
pub(crate) struct Crowd(Arc<Barrier>);

impl Crowd {
    pub(crate) fn of(size: usize) -> Self {
        Self(Arc::new(Barrier::new(size)))
    }

    pub(crate) async fn gather(&self) {
        self.0.wait().await;
    }
}

/// One thing that happens, in order, before the head or within the body.
#[derive(Clone)]
pub(crate) enum Step {
    Send(Bytes),
    Hold(Gate),
    Join(Crowd),
    Wait(Duration),
}

/// How the answer ends.
#[derive(Clone)]
pub(crate) enum Ending {
    Whole,
    WithTrailer(String, String),
    CutOff,
}

/// What is done with the request.
#[derive(Clone)]
pub(crate) enum Manner {
    /// Its body is read, then the answer goes out.
    Reply,
    /// The connection is closed without an answer.
    Close,
    /// The request's body is the answer's body, piece by piece.
    Echo,
    /// 101, and then every byte comes back.
    Upgrade,
}

/// One scripted answer. Clones share their gates.
#[derive(Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) before: Vec<Step>,
    pub(crate) body: Vec<Step>,
    pub(crate) ending: Ending,
    pub(crate) manner: Manner,
}

/// A 200 with a body and no fields that speak of caching.
pub(crate) fn ok(body: impl Into<Bytes>) -> Answer {
    status(200).chunk(body)
}

/// A 200 that may be kept for a minute.
pub(crate) fn fresh(body: impl Into<Bytes>) -> Answer {
    ok(body).field("Cache-Control", "max-age=60")
}

/// An answer without a body.
pub(crate) fn status(status: u16) -> Answer {
    Answer {
        status,
        fields: Vec::new(),
        before: Vec::new(),
        body: Vec::new(),
        ending: Ending::Whole,
        manner: Manner::Reply,
    }
}

/// No answer at all.
pub(crate) fn close() -> Answer {
    Answer { manner: Manner::Close, ..status(200) }
}

/// The request's own body, streamed back.
pub(crate) fn echo() -> Answer {
    Answer { manner: Manner::Echo, ..status(200) }
}

/// A protocol switch to one that returns what it gets.
pub(crate) fn upgrade() -> Answer {
    Answer { manner: Manner::Upgrade, ..status(101) }
}

impl Answer {
    /// Adds a field line; called twice with one name it makes two lines.
    pub(crate) fn field(mut self, name: &str, value: impl Into<String>) -> Self {
        self.fields.push((name.to_owned(), value.into()));
        self
    }

    pub(crate) fn with_status(mut self, status: u16) -> Self {
        self.status = status;
        self
    }

    /// Adds a piece of body. Several pieces go out one by one, without a stated length.
    pub(crate) fn chunk(mut self, bytes: impl Into<Bytes>) -> Self {
        self.body.push(Step::Send(bytes.into()));
        self
    }

    /// Stops here in the body until the gate opens.
    pub(crate) fn pause(mut self, gate: &Gate) -> Self {
        self.body.push(Step::Hold(gate.clone()));
        self
    }

    /// Sends no head before the gate opens.
    pub(crate) fn held(mut self, gate: &Gate) -> Self {
        self.before.push(Step::Hold(gate.clone()));
        self
    }

    /// Sends no head before the crowd is complete.
    pub(crate) fn with_crowd(mut self, crowd: &Crowd) -> Self {
        self.before.push(Step::Join(crowd.clone()));
        self
    }

    /// Sends no head before this time has passed.
    pub(crate) fn after(mut self, delay: Duration) -> Self {
        self.before.push(Step::Wait(delay));
        self
    }

    /// Breaks the connection after the last piece, before the body is whole.
    pub(crate) fn cut(mut self) -> Self {
        self.ending = Ending::CutOff;
        self
    }

    pub(crate) fn trailer(mut self, name: &str, value: &str) -> Self {
        self.ending = Ending::WithTrailer(name.to_owned(), value.to_owned());
        self
    }
}

impl Step {
    /// Does it, and returns what is to be sent.
    pub(crate) async fn take(self) -> Option<Bytes> {
        match self {
            Self::Send(bytes) => return Some(bytes),
            Self::Hold(gate) => gate.pass().await,
            Self::Join(crowd) => crowd.gather().await,
            Self::Wait(delay) => tokio::time::sleep(delay).await,
        }
        None
    }
}
