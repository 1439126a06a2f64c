//! Plain requests, and those who answer them from their bytes.

use http::HeaderMap;

use crate::message::shelf::Whole;

/// A GET for an origin-form target, without content and without any field that asks for more than the resource: what
/// is in memory for it can be answered from its bytes as they came.
#[derive(Clone, Copy, Debug)]
pub struct Plain<'a> {
    /// `Host`, as it was sent.
    pub host: &'a str,
    /// Path and query, as they were sent.
    pub target: &'a str,
    /// `X-Request-Id`; empty where there is none.
    pub request_id: &'a [u8],
    pub bears: Bears,
    /// Whether a field says how a proxy was asked.
    pub is_forwarded: bool,
}

/// Whether a request has a field that says who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bears {
    Nothing,
    Identity,
}

/// Answers plain requests at once, without waiting, or leaves them to the service.
pub trait Shortcut: Send {
    /// Answers `asked`, with these fields, through `outlet`, or does nothing at all. The answer's head is written at the end
    /// of `head`, where answers to requests before it may stand.
    fn answer(
        &self,
        asked: &Plain<'_>,
        fields: &dyn Lines,
        head: &mut Vec<u8>,
        outlet: &mut dyn Outlet,
    ) -> Told;
}

/// The field lines of a request, as they were sent.
pub trait Lines {
    /// Gives the value of each line with this name, in their order.
    fn each(&self, name: &str, take: &mut dyn FnMut(&[u8]));
}

impl Lines for HeaderMap {
    fn each(&self, name: &str, take: &mut dyn FnMut(&[u8])) {
        self.get_all(name).iter().for_each(|value| take(value.as_bytes()));
    }
}

/// Where an answer goes.
pub trait Outlet {
    /// Sends as much of an answer as goes out at once, and tells how much of the body that was; or takes all of it over,
    /// to send it with those that follow.
    fn send(&mut self, head: &mut Vec<u8>, body: Whole<'_>) -> Sent;

    /// Whether what is on a shelf is sent from there, and not copied first.
    fn sends_from_shelf(&self) -> bool;
}

/// How much of an answer went out, or is certain to go out first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    All,
    /// So many bytes of the body; the outlet keeps what was left of the head.
    Part(usize),
}

/// What became of a plain request.
pub enum Told {
    /// Nothing was done: the service answers it.
    Left,
    /// It is answered.
    All,
    /// It is being answered.
    Begun(Box<dyn Remainder>),
}

/// What is left of an answer. Dropped before its end, its client left.
pub trait Remainder: Send {
    /// The body, and how much of it went out.
    fn body(&self) -> (Whole<'_>, usize);

    /// So much more of it went out.
    fn advance(&mut self, sent: usize);
}
