//! What descends through the layers, and what ascends.

pub mod answer;
pub mod cache_status;
pub mod in_hand;
pub mod outcome;
pub mod record;

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::Method;
use http::request::Parts;

use crate::entry::{Entry, Head};
use crate::key::Key;
use crate::key::canonical::Target;
use crate::key::vary::Selector;
use crate::lookup::in_hand::InHand;
use crate::lookup::outcome::{Forwarded, Layer};
use crate::message::cache_control::RequestDirectives;
use crate::message::content_range::ContentRange;
use crate::message::interim::Interim;
use crate::message::range::{RangeSpec, Ranges, select};
use crate::policy::reuse::OnError;
use crate::route::Route;
use crate::store::Place;
use crate::time::Timestamp;

/// A question to the cache, on its way down.
#[derive(Clone)]
pub struct Lookup {
    pub route: Arc<Route>,
    pub key: Key,
    /// Tells apart the variants of the URL as far as they are known: requests share a fetch only where this is
    /// the same. Zero where no variant is known.
    pub variant: u128,
    /// The range that the origin is asked for, where it is not asked for the whole: requests share such a fetch only
    /// where this is the same.
    pub range: Option<RangeSpec>,
    pub target: Target,
    /// The client's request without its body; in a shared fetch only what every client would send is passed on.
    pub request: Parts,
    /// The content that is part of the key, where the request is told apart by it: every fetch sends it. Behind one
    /// pointer, so that a lookup without is not larger for it.
    pub content: Option<Arc<Bytes>>,
    pub client: IpAddr,
    /// Where the client hears what precedes its answer, if there is a client.
    pub interim: Option<Interim>,
    pub directives: RequestDirectives,
    pub accepts: Accepts,
    pub company: Company,
    pub fleet: Fleet,
    /// What a layer above holds but may not serve as it is.
    pub held: Option<Held>,
    /// What the origin has answered already: it is kept, and nobody is asked.
    pub in_hand: Option<InHand>,
    /// Why no layer so far could answer.
    pub forwarded: Forwarded,
    /// When the request was taken up.
    pub now: Timestamp,
}

/// A stored response that a layer above holds but may not serve as it is.
#[derive(Clone)]
pub struct Held {
    pub entry: Arc<Entry>,
    /// Where it was found.
    pub layer: Layer,
    pub until: Until,
}

/// What a held response waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// The origin's word: it is asked conditionally.
    Validated(OnError),
    /// A look at the fleet's store: it is served unless that has a newer one.
    Compared,
    /// The origin's word for this very asker: it was fetched for another, and is compared first.
    Cleared,
    /// The rest of it: it is a part that does not hold what is asked for.
    Completed,
}

/// What the asker is content with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accepts {
    /// A client: stale answers as far as their windows allow.
    StaleInWindow,
    /// A refresh: only what is fresh, and not about to end.
    OnlyFresh,
}

/// With whom a lookup's answer may be shared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Company {
    /// With everybody who asks for the same: the fetch is canonical.
    Shared,
    /// With nobody: should a fetch be needed, it is the client's own request (HEAD, `no-store`).
    Alone,
    /// With nobody, because the URL's answers are known not to be kept, or because the answer is in hand: no store is
    /// asked on the way down.
    Unshared,
}

/// Whether the fleet could be asked so far: who has waited for it once in vain does not wait again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fleet {
    #[default]
    InReach,
    OutOfReach,
}

impl Lookup {
    /// What of this request selects a variant.
    pub fn selector(&self) -> Selector<'_> {
        Selector { fields: &self.request.headers, rules: &self.route.vary }
    }

    /// Whether a response, of which this part is there, holds all that is asked for. RFC 9111 §3.3: "A cache MUST NOT
    /// use an incomplete response to answer requests unless the response has been made complete, or the request is
    /// partial and specifies a range wholly within the incomplete response."
    pub fn is_answered_by(&self, head: &Head, part: Option<&ContentRange>) -> bool {
        let Some(part) = part else { return true };
        let wanted = match self.range {
            Some(range) => range.of(part.complete()),
            None if self.request.method != Method::GET => None,
            None => {
                let asked = &self.request.headers;
                match select(asked, &head.fields, head.status, part.complete()) {
                    Ranges::One(range) => Some(range),
                    Ranges::Whole | Ranges::Several(_) | Ranges::Unsatisfiable => None,
                }
            }
        };
        wanted.is_some_and(|wanted| part.holds(&wanted))
    }

    /// Whether a stored response holds all that is asked for; costs nothing where it is no part.
    pub fn is_answered_by_entry(&self, entry: &Entry) -> bool {
        entry.part().is_none() || self.is_answered_by(&entry.head(), entry.part())
    }

    /// Where the answer is stored.
    pub fn place(&self) -> Place {
        Place {
            key: self.key,
            route: self.route.id.clone(),
            max_variants: self.route.vary.max_variants,
            max_ttl: self.route.caps.l2,
        }
    }
}
