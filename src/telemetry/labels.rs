//! The values that labels take: closed sets, so that no series ever comes from outside.

/// How a request ended, as a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ending {
    HitL1,
    HitL2,
    StaleL1,
    StaleL2,
    StaleOnError,
    Revalidated,
    Miss,
    Uncacheable,
    Coalesced,
    Bypass,
    Purge,
    Failed,
    Refused,
}

impl Ending {
    pub const ALL: [Self; 13] = [
        Self::HitL1,
        Self::HitL2,
        Self::StaleL1,
        Self::StaleL2,
        Self::StaleOnError,
        Self::Revalidated,
        Self::Miss,
        Self::Uncacheable,
        Self::Coalesced,
        Self::Bypass,
        Self::Purge,
        Self::Failed,
        Self::Refused,
    ];
    /// Looked up, and answered from what was stored.
    pub(super) const ANSWERED: [Self; 5] =
        [Self::HitL1, Self::HitL2, Self::StaleL1, Self::StaleL2, Self::StaleOnError];
    /// Looked up, and answered by asking the origin.
    pub(super) const ASKED: [Self; 5] =
        [Self::Revalidated, Self::Miss, Self::Uncacheable, Self::Coalesced, Self::Failed];

    pub const fn label(self) -> &'static str {
        match self {
            Self::HitL1 => "hit_l1",
            Self::HitL2 => "hit_l2",
            Self::StaleL1 => "stale_l1",
            Self::StaleL2 => "stale_l2",
            Self::StaleOnError => "stale_on_error",
            Self::Revalidated => "revalidated",
            Self::Miss => "miss",
            Self::Uncacheable => "uncacheable",
            Self::Coalesced => "coalesced",
            Self::Bypass => "bypass",
            Self::Purge => "purge",
            Self::Failed => "failed",
            Self::Refused => "refused",
        }
    }
}

/// Names a closed set of label values: the enum, all its values, and their labels.
macro_rules! labels {
    ($(#[$about:meta])* $name:ident { $($(#[$doc:meta])* $value:ident = $label:literal,)+ }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$doc])* $value,)+ }

        impl $name {
            pub const ALL: &[Self] = &[$(Self::$value,)+];

            pub const fn label(self) -> &'static str {
                match self { $(Self::$value => $label,)+ }
            }
        }
    };
}

labels! {
    /// What is done to a layer.
    Operation {
        Get = "get",
        Put = "put",
        Remove = "remove",
    }
}

labels! {
    /// Why a layer let go of an entry by itself.
    Eviction {
        /// Others needed the room.
        Capacity = "capacity",
        /// Its URL had too many variants.
        Variants = "variants",
        /// It was found expired or purged when the layer was swept.
        Swept = "swept",
        /// It could not be read.
        Corrupt = "corrupt",
    }
}

labels! {
    /// What the purge log said about an entry that was found.
    Invalidation {
        Purged = "purged",
        MarkedStale = "marked_stale",
        /// The log cannot vouch for it.
        Unvouched = "unvouched",
    }
}

labels! {
    /// The state of a circuit breaker.
    BreakerState {
        Closed = "closed",
        HalfOpen = "half_open",
        Open = "open",
    }
}

/// A value that is read when it is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reading {
    /// Bytes that a layer holds, overhead included.
    L1Bytes,
    L2Bytes,
    /// 1 where a layer is on, 0 where it is off.
    L1On,
    L2On,
    /// URLs that a layer holds.
    L1Keys,
    L2Keys,
    /// Writes that wait for the L2.
    L2Writes,
    /// The state of the L2's breaker, as [`BreakerState`]'s number.
    L2Breaker,
    /// Refreshes that wait.
    Refreshes,
    /// Fetches in the air that requests may share.
    Flights,
    /// Bytes that bodies in the air hold, and how often there was no room for one.
    AirBytes,
    AirRefused,
    /// Purges that the ledger holds.
    LedgerPurges,
    /// Purges that are applied here and wait for the log to take them.
    PurgesPending,
    /// Seconds since the purge log was last read to its end.
    PurgeLag,
    /// Whether the purge log vouches for what is stored.
    PurgeTrust,
    /// Routes whose tripwire has sprung.
    SprungRoutes,
    /// Open client connections.
    Connections,
    /// When the first of the certificates that clients are shown is over, in seconds since the epoch.
    CertificateUntil,
    /// TLS handshakes of clients that came to nothing.
    HandshakesFailed,
    /// Load balancers that did not say for whom they connect.
    ProxyHeadersRefused,
    /// Connections of clients that had too many.
    ClientsCrowding,
    UnreadableRequests,
    /// Access log lines that were dropped, because nobody read them fast enough.
    AccessLogDropped,
}
