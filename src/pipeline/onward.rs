//! The request that goes on to the origin: the canonical one that many share, or the client's own.

use std::fmt::Write;
use std::net::IpAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::header::{
    CONTENT_LENGTH, CONTENT_TYPE, EXPECT, FORWARDED, HOST, HeaderMap, HeaderValue, VIA,
};
use http::request::Parts;
use http::uri::Uri;
use http::{Method, Request, Version};

use crate::key::HostRule;
use crate::key::canonical::Target;
use crate::lookup::{Company, Held, Lookup, Until};
use crate::message::fields::{
    CONDITIONS, STEERING, X_FORWARDED_FOR, X_FORWARDED_HOST, X_FORWARDED_PROTO, remove_hop_by_hop,
};
use crate::policy::revalidate::conditions;
use crate::route::Route;

/// Whether the client asks for a part, or only for what is new to it.
pub(crate) fn is_conditional(fields: &HeaderMap) -> bool {
    CONDITIONS.iter().any(|name| fields.contains_key(name))
}

/// Who asked, and what may be believed of what it says about others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trust {
    /// What it says about clients before it is passed on.
    Proxy,
    Stranger,
}

/// The networks whose proxies are believed. Clones see the same change.
#[derive(Clone, Debug)]
pub struct Trusted(Arc<ArcSwap<Vec<Network>>>);

/// A network: an address, and how many of its leading bits count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    pub address: IpAddr,
    pub bits: u8,
}

impl Trusted {
    pub fn new(networks: &[Network]) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(networks.to_vec())))
    }

    /// Believes these, and no others, from now on.
    pub fn set(&self, networks: &[Network]) {
        self.0.store(Arc::new(networks.to_vec()));
    }

    pub(crate) fn trust(&self, address: IpAddr) -> Trust {
        let address = address.to_canonical();
        if self.0.load().iter().any(|network| network.contains(address)) {
            Trust::Proxy
        } else {
            Trust::Stranger
        }
    }
}

impl Network {
    fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(net), IpAddr::V4(address)) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.bits.min(32))).unwrap_or(0);
                net.to_bits() & mask == address.to_bits() & mask
            }
            (IpAddr::V6(net), IpAddr::V6(address)) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.bits.min(128))).unwrap_or(0);
                net.to_bits() & mask == address.to_bits() & mask
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

/// The request that `lookup` needs the origin to answer. A shared one is what every client would send: with no
/// content but what is keyed, without a range and conditions (but for those about what is held here).
pub(crate) fn request(lookup: &Lookup, trust: Trust) -> Request<Bytes> {
    let mut parts = lookup.request.clone();
    parts.extensions = http::Extensions::new();
    if let Some(interim) = &lookup.interim {
        parts.extensions.insert(interim.clone());
    }
    let fields = &mut parts.headers;
    let own = lookup.company != Company::Shared;
    if !own {
        if lookup.content.is_none() {
            parts.method = Method::GET;
        }
        for name in CONDITIONS {
            fields.remove(name);
        }
    }
    // What was normalised for the variant is sent so, by who goes alone as well: its answer may be kept, and the
    // origin must see no more than what the variant is named after.
    lookup.route.vary.rewrite(fields);
    // A POST has no conditions: an origin would answer 412 where it answers others with 304 (RFC 9110 §13.1.2).
    if matches!(parts.method, Method::GET | Method::QUERY)
        && !is_conditional(fields)
        && let Some(Held { entry, until: Until::Validated(_), .. }) = &lookup.held
    {
        for (name, value) in conditions(&entry.head.fields) {
            fields.insert(name, value);
        }
    }
    fields.remove(EXPECT);
    let content = lookup.content.as_deref().cloned().unwrap_or_default();
    if lookup.content.is_some() {
        // The length of what is sent, which need not be that of what came.
        fields.insert(CONTENT_LENGTH, HeaderValue::from(content.len()));
    } else {
        // A request without content has no content fields either.
        fields.remove(CONTENT_LENGTH);
        fields.remove(CONTENT_TYPE);
    }
    sent_by_us(&mut parts, &lookup.route, &lookup.target, Sender { address: lookup.client, trust });
    Request::from_parts(parts, content)
}

/// The client of a request.
#[derive(Clone, Copy)]
pub(crate) struct Sender {
    pub(crate) address: IpAddr,
    pub(crate) trust: Trust,
}

/// Makes a client's request ours: one URL, no field of the last hop, and nothing that says who asked but us.
pub(crate) fn sent_by_us(parts: &mut Parts, route: &Route, target: &Target, sender: Sender) {
    let via = via(parts.version);
    parts.uri = Uri::from(target.path_and_query().clone());
    parts.version = Version::HTTP_11;
    let fields = &mut parts.headers;
    remove_hop_by_hop(fields);
    if sender.trust == Trust::Stranger {
        for name in &STEERING {
            fields.remove(name);
        }
        for name in [X_FORWARDED_FOR, X_FORWARDED_PROTO, FORWARDED] {
            fields.remove(name);
        }
    }
    match route.key.host {
        HostRule::Keyed => fields.insert(HOST, target.host().clone()),
        // What is not in the key is not sent; the origin puts its own name there.
        HostRule::Ignored => fields.remove(HOST),
    };
    fields.append(VIA, via);
    append(fields, sender.address);
    if !fields.contains_key(X_FORWARDED_PROTO)
        && let Ok(scheme) = HeaderValue::from_str(target.scheme().as_str())
    {
        fields.insert(X_FORWARDED_PROTO, scheme);
    }
    if route.key.host == HostRule::Keyed && !fields.contains_key(X_FORWARDED_HOST) {
        fields.insert(X_FORWARDED_HOST, target.host().clone());
    }
}

/// RFC 9110 §7.6.3: an intermediary "MUST send an appropriate Via header field".
pub(crate) fn via(version: Version) -> HeaderValue {
    HeaderValue::from_static(match version {
        Version::HTTP_2 => "2.0 larder",
        Version::HTTP_10 => "1.0 larder",
        _ => "1.1 larder",
    })
}

fn append(fields: &mut HeaderMap, client: IpAddr) {
    let mut text = String::new();
    for line in fields.get_all(X_FORWARDED_FOR) {
        let _ = write!(text, "{}, ", String::from_utf8_lossy(line.as_bytes()));
    }
    let _ = write!(text, "{}", client.to_canonical());
    if let Ok(value) = HeaderValue::from_str(&text) {
        fields.insert(X_FORWARDED_FOR, value);
    }
}
