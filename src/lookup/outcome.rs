//! Every way in which a request ends, and its words, in one table.

use crate::key::content::Unkeyable;
use crate::origin::failure::OriginFailure;

/// How a request ended.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// Served as fresh.
    Hit(Layer),
    /// Served inside its stale window; a refresh was asked for.
    Stale(Layer),
    /// Served stale because the origin failed.
    StaleOnError(Layer, OriginFailure),
    /// The origin confirmed what was stored.
    Revalidated(Kept),
    /// Fetched.
    Miss(Kept),
    /// Shared another request's fetch.
    Followed(Source),
    /// Not ours to cache.
    Passed(WhyPassed),
    /// The origin failed, and nothing stored could stand in.
    Failed(Errand, OriginFailure),
    /// A purge was asked for, and answered by Larder itself.
    Purged,
    /// Answered by Larder itself.
    Refused(WhyRefused),
}

/// A layer of the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Layer {
    L1,
    L2,
}

/// Where an answer came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    Layer(Layer),
    Origin,
}

/// Whether what was fetched or confirmed is kept, and if not, why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    Stored,
    Left(crate::policy::storable::WhyNot),
}

/// Why a request had to go to the origin (RFC 9211 §2.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Forwarded {
    /// Nothing is stored under the URL.
    #[default]
    UriMiss,
    /// What is stored under the URL is selected by other request fields.
    VaryMiss,
    /// What is stored is stale, or must be validated.
    Stale,
    /// What is stored is a part that does not hold what is asked for.
    Partial,
    /// The client's directives demand it.
    Request,
    /// A refresh in the background.
    Refresh,
    /// What is stored was fetched for another identity, and is compared with what this one gets first.
    Unshared,
}

/// What the origin was asked for when it failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Errand {
    /// For what the cache did not have.
    Lookup,
    /// For what was passed.
    Passage(WhyPassed),
}

/// Why a request was passed by the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhyPassed {
    /// The method is not one that is looked up.
    Method,
    /// The route says so.
    Route,
    /// The client asks for another protocol.
    Upgrade,
    /// The origin may read the path as one that another route is for.
    Path,
    /// The client asks for a purge, which the route takes.
    Purge,
    /// Its key is not one of those that the route caches so far.
    Rollout,
    /// Every layer of its route is switched off.
    LayersOff,
    /// What its route shares was found to differ by identity.
    Tripwire,
    /// It would be told apart by its content, and that cannot be keyed.
    Content(Unkeyable),
}

/// Why Larder answered by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhyRefused {
    Malformed,
    /// It has more of a head than the limits allow.
    TooLarge,
    OnlyIfCached,
    Overloaded,
    NoRoute,
    MethodNotAllowed,
    /// The client asks more often than it may.
    RateLimited,
    /// The client may not purge.
    PurgeForbidden,
    /// The request is to go no further (`Max-Forwards`).
    LastRecipient,
    /// The client stopped sending its content.
    RequestSilent,
    /// The client's content did not come to its end, or not by the letter.
    RequestBody,
}
