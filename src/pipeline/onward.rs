//! The request that goes on to the origin: the canonical one that many share, or the client's own.

use std::borrow::Cow;
use std::net::IpAddr;
use std::ops::Range;
use std::sync::Arc;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::header::{
    ACCEPT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, ETAG, EXPECT, FORWARDED, HOST, HeaderMap,
    HeaderName, HeaderValue, IF_NONE_MATCH, IF_RANGE, RANGE, VIA,
};
use http::uri::{Scheme, Uri};
use http::{Extensions, Method, Version};
use smallvec::SmallVec;

use crate::key::HostRule;
use crate::key::canonical::Target;
use crate::lookup::{Company, Held, Lookup, Until};
use crate::message::call::Call;
use crate::message::conditional::share_strong_tag;
use crate::message::fields::{
    CONDITIONS, Named, X_FORWARDED_FOR, X_FORWARDED_HOST, X_FORWARDED_PROTO, is_alias,
    is_of_one_hop, is_steering,
};
use crate::message::lines::FieldLines;
use crate::message::network::Network;
use crate::message::plain::Lines;
use crate::message::range::RangeSpec;
use crate::policy::revalidate::{conditions, quoted};
use crate::route::Route;

/// Whether the client asks for a part, or only for what is new to it.
pub(crate) fn is_conditional(fields: &HeaderMap) -> bool {
    fields.keys().any(|name| CONDITIONS.contains(name))
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

    /// The scheme of the client's own URL: the connection's, unless that is a trusted proxy's, which says how it was
    /// asked itself.
    pub(crate) fn scheme(&self, peer: IpAddr, connection: Scheme, fields: &HeaderMap) -> Scheme {
        let says = fields.keys().any(|name| *name == X_FORWARDED_PROTO || *name == FORWARDED);
        if says { self.told_scheme(peer, connection, fields) } else { connection }
    }

    /// The same for a request that has fields which may say so.
    pub(crate) fn told_scheme(
        &self,
        peer: IpAddr,
        connection: Scheme,
        fields: &dyn Lines,
    ) -> Scheme {
        match self.trust(peer) {
            Trust::Stranger => connection,
            Trust::Proxy => forwarded_scheme(fields).unwrap_or(connection),
        }
    }

    /// The client's address: the peer's, unless that is a trusted proxy, which says for whom it asks. Nothing where
    /// such a proxy says it in a way that is not understood.
    pub(crate) fn client(&self, peer: IpAddr, fields: &HeaderMap) -> Option<IpAddr> {
        let mut client = peer.to_canonical();
        if self.trust(client) == Trust::Stranger {
            return Some(client);
        }
        let lines: Vec<_> = fields.get_all(X_FORWARDED_FOR).iter().collect();
        if lines.is_empty() {
            // A proxy that asks for itself says nothing.
            return (!fields.contains_key(FORWARDED)).then_some(client);
        }
        // Each proxy adds whom it serves; what a stranger said before that is hearsay.
        for line in lines.iter().rev() {
            for address in line.to_str().ok()?.rsplit(',') {
                client = address.trim().parse::<IpAddr>().ok()?.to_canonical();
                if self.trust(client) == Trust::Stranger {
                    return Some(client);
                }
            }
        }
        Some(client)
    }
}

/// How the last proxy was asked, where it says so in a way that is understood.
fn forwarded_scheme(fields: &dyn Lines) -> Option<Scheme> {
    let known = |word: &str| {
        [Scheme::HTTPS, Scheme::HTTP].into_iter().find(|it| word.eq_ignore_ascii_case(it.as_str()))
    };
    // Each proxy adds its own word behind those before it. Nothing where there is no line, and none where the last word of
    // the last one is not understood.
    let last = |name: &HeaderName, read: fn(&str) -> Option<&str>| {
        let mut found = None;
        fields.each(name.as_str(), &mut |line| {
            let word = str::from_utf8(line).ok().and_then(|line| line.rsplit(',').next());
            found = Some(word.and_then(|word| read(word.trim())).and_then(known));
        });
        found
    };
    last(&X_FORWARDED_PROTO, |word| Some(word)).or_else(|| last(&FORWARDED, proto)).flatten()
}

/// RFC 7239 §4: "for=192.0.2.60;proto=http;by=203.0.113.43".
fn proto(element: &str) -> Option<&str> {
    element.split(';').find_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        name.trim().eq_ignore_ascii_case("proto").then(|| value.trim().trim_matches('"'))
    })
}

/// What is missing of a part that is held, and the tag under which it may be combined with that, where one range more
/// makes it whole and the whole is asked for.
pub(crate) fn rest(lookup: &Lookup) -> Option<Rest> {
    let Held { entry, until: Until::Validated(_) | Until::Completed, .. } = lookup.held.as_ref()?
    else {
        return None;
    };
    let fields = &lookup.request.headers;
    let whole = lookup.range.is_none()
        && lookup.request.method == Method::GET
        && (lookup.company == Company::Shared || !is_conditional(fields));
    let part = entry.part().filter(|_| whole)?;
    let held = entry.fields();
    let strong = share_strong_tag(&held, &held);
    let tag = held.get(ETAG).filter(|_| strong).and_then(quoted)?;
    Some(Rest { range: part.missing()?, complete: part.complete(), tag })
}

/// A range that is still missing, of the representation with this strong tag.
pub(crate) struct Rest {
    pub(crate) range: Range<u64>,
    /// The length of the whole.
    pub(crate) complete: u64,
    tag: HeaderValue,
}

impl Rest {
    fn spec(&self) -> RangeSpec {
        if self.range.end == self.complete {
            RangeSpec::From(self.range.start)
        } else {
            RangeSpec::from(&self.range)
        }
    }
}

/// The request that `lookup` needs the origin to answer. A shared one is what every client would send: with no
/// content but what is keyed, without a range (but for the one that the lookup is shared by, and for the rest of what is
/// held here) and without conditions (but for those about what is held here).
pub(crate) fn request(lookup: &Lookup, rest: Option<&Rest>, trust: Trust) -> Call<Bytes> {
    let own = lookup.company != Company::Shared;
    let (route, came) = (&lookup.route, rewritten(lookup));
    let method =
        if own || lookup.content.is_some() { lookup.request.method.clone() } else { Method::GET };
    let reads_bodies = route.tags.read_bodies();
    let stays = |name: &HeaderName| match *name {
        EXPECT | CONTENT_LENGTH => false,
        // A request without content has no content fields either.
        CONTENT_TYPE => lookup.content.is_some(),
        ACCEPT_ENCODING => !reads_bodies,
        _ => (own || !CONDITIONS.contains(name)) && route.forward.sends(name),
    };
    let target = &lookup.target;
    let sender =
        Sender { address: lookup.client, trust, version: lookup.request.version, route, target };
    let mut fields = sent_by_us(&came, sender, stays);
    if reads_bodies {
        // Tags stand in the body, which is stored as it comes.
        fields.push(&ACCEPT_ENCODING, b"identity");
    }
    // A POST has no conditions: an origin would answer 412 where it answers others with 304 (RFC 9110 §13.1.2).
    if matches!(method, Method::GET | Method::QUERY) && !(own && is_conditional(&came)) {
        for (name, value) in about_held(lookup, rest) {
            fields.push(&name, value.as_bytes());
        }
        if let Some(range) = lookup.range {
            fields.push(&RANGE, range.field().as_bytes());
        }
    }
    if let Some(content) = &lookup.content {
        // The length of what is sent, which need not be that of what came.
        fields.push(&CONTENT_LENGTH, itoa::Buffer::new().format(content.len()).as_bytes());
    }
    let uri = Uri::from(target.path_and_query().clone());
    let body = lookup.content.as_deref().cloned().unwrap_or_default();
    Call { method, uri, fields, extensions: Extensions::new(), body }
}

/// What came, with what was normalised for the variant, by who goes alone as well: its answer may be kept, and the origin must
/// see no more than what the variant is named after.
fn rewritten(lookup: &Lookup) -> Cow<'_, HeaderMap> {
    let came = &lookup.request.headers;
    if lookup.route.vary.normalize.is_empty() {
        return Cow::Borrowed(came);
    }
    let mut came = came.clone();
    lookup.route.vary.rewrite(&mut came);
    Cow::Owned(came)
}

/// How many fields a request gets from us, and one to spare.
const OURS: usize = 6;

/// Room for the text of those.
const USUAL: usize = 256;

/// What is asked about the stored response that is held: whether it still holds, or the rest of it.
fn about_held(lookup: &Lookup, rest: Option<&Rest>) -> Vec<(HeaderName, HeaderValue)> {
    match (&lookup.held, rest) {
        // RFC 9110 §13.1.5: "send me the part(s) I'm missing; otherwise, send me the entire representation."
        (Some(_), Some(rest)) => {
            vec![(RANGE, rest.spec().field()), (IF_RANGE, rest.tag.clone())]
        }
        (Some(Held { entry, until: Until::Validated(_), .. }), None) => {
            let mut conditions = conditions(&entry.fields());
            // RFC 9111 §4.3.1 has a date sent only "if the request is not for a subrange".
            conditions.retain(|(name, _)| *name == IF_NONE_MATCH || lookup.range.is_none());
            conditions
        }
        (Some(_) | None, _) => Vec::new(),
    }
}

/// Who sends a request, and for what.
#[derive(Clone, Copy)]
pub(crate) struct Sender<'a> {
    pub(crate) address: IpAddr,
    pub(crate) trust: Trust,
    /// Of the client's own request.
    pub(crate) version: Version,
    pub(crate) route: &'a Route,
    pub(crate) target: &'a Target,
}

/// What of a client's fields goes on in a request of ours, with what we say ourselves: one host, no field of the last hop, and
/// nothing that says who asked but us. Of all this only what `stays`. What `Connection` names is out of them already.
pub(crate) fn sent_by_us(
    came: &HeaderMap,
    sender: Sender<'_>,
    stays: impl Fn(&HeaderName) -> bool,
) -> FieldLines<Vec<u8>> {
    let Sender { address, trust, version, route, target } = sender;
    let length = |(name, value): (&HeaderName, &HeaderValue)| name.as_str().len() + value.len() + 4;
    let length: usize = came.iter().map(length).sum();
    let mut lines = FieldLines::with_capacity(came.len() + OURS, length + USUAL);
    // What is not in the key is not sent; the origin puts its own name there.
    let host = (route.key.host == HostRule::Keyed).then(|| target.host().as_bytes());
    if let Some(host) = host {
        lines.push(&HOST, host);
    }
    for (name, value) in came {
        let text = name.as_str();
        let is_ours = matches!(text, "host" | "x-forwarded-for" | "x-forwarded-proto");
        let is_of_last_hop = is_of_one_hop(text.as_bytes());
        let misleads = trust == Trust::Stranger && is_steering(text)
            || is_alias(name, came, &route.key.headers);
        if !is_ours && !is_of_last_hop && !misleads && stays(name) {
            lines.push(name, value.as_bytes());
        }
    }
    lines.push(&VIA, via(version).as_bytes());
    if stays(&X_FORWARDED_FOR) {
        lines.push(&X_FORWARDED_FOR, &forwarded_for(came, trust, address));
    }
    // What a trusted proxy says of it is in the target already, and so in the key.
    let scheme = if *target.scheme() == Scheme::HTTPS { "https" } else { "http" };
    lines.push(&X_FORWARDED_PROTO, scheme.as_bytes());
    if let Some(host) = host
        && !lines.has(&X_FORWARDED_HOST)
    {
        lines.push(&X_FORWARDED_HOST, host);
    }
    lines
}

/// RFC 9110 §7.6.3: an intermediary "MUST send an appropriate Via header field".
pub(crate) fn via(version: Version) -> HeaderValue {
    HeaderValue::from_static(match version {
        Version::HTTP_2 => "2.0 larder",
        Version::HTTP_10 => "1.0 larder",
        _ => "1.1 larder",
    })
}

/// Who asked, behind whom proxies name that are believed.
fn forwarded_for(came: &HeaderMap, trust: Trust, client: IpAddr) -> SmallVec<[u8; 64]> {
    let mut text = SmallVec::new();
    if trust == Trust::Proxy {
        for line in came.get_all(X_FORWARDED_FOR).iter().map(HeaderValue::as_bytes) {
            if !line.trim_ascii().is_empty() {
                text.extend_from_slice(line);
                text.extend_from_slice(b", ");
            }
        }
    }
    push(&mut text, client.to_canonical());
    text
}

/// Writes an address; one of IPv4 digit by digit, since the formatter takes 1,300 instructions for it.
fn push(text: &mut SmallVec<[u8; 64]>, address: IpAddr) {
    let IpAddr::V4(address) = address else {
        return text.extend_from_slice(address.to_string().as_bytes());
    };
    for (index, part) in address.octets().into_iter().enumerate() {
        if index > 0 {
            text.push(b'.');
        }
        text.extend_from_slice(itoa::Buffer::new().format(part).as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The peer, the fields, and who is believed to ask.
    type Row<'a> = (&'a str, &'a [(&'static str, &'static str)], Option<&'a str>);

    #[test]
    fn a_trusted_proxy_says_how_it_was_asked_and_strangers_say_nothing() {
        let trusted = Trusted::new(&[Network { address: "10.0.0.0".parse().unwrap(), bits: 8 }]);
        let scheme = |peer: &str, lines: &[(&'static str, &'static str)], connection| {
            let mut fields = HeaderMap::new();
            for (name, value) in lines {
                fields.append(*name, HeaderValue::from_static(value));
            }
            trusted.scheme(peer.parse().unwrap(), connection, &fields)
        };
        let (proxy, stranger) = ("10.0.0.1", "192.0.2.1");
        let says = [("x-forwarded-proto", "https")];
        assert_eq!(scheme(proxy, &says, Scheme::HTTP), Scheme::HTTPS);
        assert_eq!(scheme(stranger, &says, Scheme::HTTP), Scheme::HTTP);
        assert_eq!(
            scheme(stranger, &[("x-forwarded-proto", "http")], Scheme::HTTPS),
            Scheme::HTTPS
        );
        for (lines, expected) in [
            ([].as_slice(), Scheme::HTTP),
            (&[("x-forwarded-proto", "HTTPS")], Scheme::HTTPS),
            (&[("x-forwarded-proto", "http, https")], Scheme::HTTPS),
            (&[("x-forwarded-proto", "https"), ("x-forwarded-proto", "http")], Scheme::HTTP),
            (&[("x-forwarded-proto", "wss")], Scheme::HTTP),
            (&[("forwarded", "for=192.0.2.1;proto=https")], Scheme::HTTPS),
            (&[("forwarded", "proto=http, for=1.2.3.4;Proto=\"https\"")], Scheme::HTTPS),
            (&[("forwarded", "for=192.0.2.1")], Scheme::HTTP),
        ] {
            assert_eq!(scheme(proxy, lines, Scheme::HTTP), expected, "{lines:?}");
        }
    }

    #[test]
    fn addresses_are_written_as_they_are_read() {
        for part in 0..=u8::MAX {
            let address = IpAddr::from([part, part.reverse_bits(), 255 - part, part]);
            let mut text = SmallVec::new();
            push(&mut text, address);
            assert_eq!(str::from_utf8(&text).unwrap(), address.to_string());
        }
    }

    #[test]
    fn who_asked_is_added_behind_whom_others_name() {
        for (before, client, expected) in [
            (&[][..], "192.0.2.255", "192.0.2.255"),
            (&["10.0.0.1"], "::ffff:1.2.3.0", "10.0.0.1, 1.2.3.0"),
            (&["10.0.0.1, a", "", "b"], "2001:db8::1", "10.0.0.1, a, b, 2001:db8::1"),
        ] {
            let mut fields = HeaderMap::new();
            for line in before {
                fields.append(X_FORWARDED_FOR, HeaderValue::from_static(line));
            }
            let client = client.parse().unwrap();
            let said = forwarded_for(&fields, Trust::Proxy, client);
            assert_eq!(str::from_utf8(&said).unwrap(), expected);
            let alone = forwarded_for(&fields, Trust::Stranger, client);
            assert!(expected.as_bytes().ends_with(&alone) && !alone.contains(&b','));
        }
    }

    #[test]
    fn a_trusted_proxy_says_who_asks_and_strangers_say_nothing() {
        let trusted = Trusted::new(&[Network { address: "10.0.0.0".parse().unwrap(), bits: 8 }]);
        let client = |peer: &str, lines: &[(&'static str, &'static str)]| {
            let mut fields = HeaderMap::new();
            for (name, value) in lines {
                fields.append(*name, HeaderValue::from_static(value));
            }
            let client = trusted.client(peer.parse().unwrap(), &fields);
            client.map(|client| client.to_string())
        };
        let rows: [Row<'_>; 8] = [
            ("192.0.2.1", &[("x-forwarded-for", "10.0.0.9")], Some("192.0.2.1")),
            ("10.0.0.1", &[], Some("10.0.0.1")),
            ("10.0.0.1", &[("forwarded", "for=192.0.2.1")], None),
            ("10.0.0.1", &[("x-forwarded-for", "192.0.2.1")], Some("192.0.2.1")),
            (
                "10.0.0.1",
                &[("x-forwarded-for", "10.0.0.9, 192.0.2.1, 10.0.0.2")],
                Some("192.0.2.1"),
            ),
            (
                "10.0.0.1",
                &[("x-forwarded-for", "10.0.0.9"), ("x-forwarded-for", "192.0.2.1")],
                Some("192.0.2.1"),
            ),
            ("10.0.0.1", &[("x-forwarded-for", "10.0.0.9, 10.0.0.2")], Some("10.0.0.9")),
            ("10.0.0.1", &[("x-forwarded-for", "10.0.0.9, unknown")], None),
        ];
        for (peer, lines, expected) in rows {
            assert_eq!(client(peer, lines).as_deref(), expected, "{peer} {lines:?}");
        }
    }
}
