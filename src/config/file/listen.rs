//! Where clients connect, and what precedes HTTP there: TLS, and what a load balancer says.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::scalar::address::{Address, Network};

/// One listener, or several in a list.
//
// The list stands first: a map may be read from a list, in the order of its keys.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
#[schemars(inline)]
pub enum Listeners {
    #[schemars(extend("minItems" = 1))]
    Many(Vec<Listen>),
    One(Listen),
}

/// An address with a port, or more about it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
#[schemars(inline)]
pub enum Listen {
    At(Address),
    As(Listener),
}

/// A listener of which there is more to say than its address.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Listener {
    /// The address and the port. Port 0 lets the system choose.
    pub address: Option<Address>,
    /// Whether TLS is spoken. Where no listener says so, all speak it if there is a `tls`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<bool>,
    /// Load balancers that say, by the PROXY protocol, for whom they connect.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy_protocol: Option<ProxyProtocol>,
}

/// The PROXY protocol, version 1 or 2.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ProxyProtocol {
    /// The balancers' addresses and networks. Who connects from there must send the header; what others send as one is
    /// answered 400.
    #[schemars(extend("minItems" = 1))]
    pub from: Option<Vec<Network>>,
}

/// TLS for clients. Files in PEM format, read again when they change.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Tls {
    /// The certificate, and behind it those that signed it; where there is one for all hosts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<String>,
    /// The certificate's key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Several: each client is shown the one for the host that it names, and the first otherwise.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub certificates: Vec<Certificate>,
    /// Whose certificates clients show.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<Client>,
    /// The oldest version that is spoken.
    pub min_version: TlsVersion,
}

/// A certificate and its key.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Certificate {
    /// The certificate, and behind it those that signed it.
    pub certificate: Option<String>,
    /// The certificate's key.
    pub key: Option<String>,
}

/// The certificates of clients.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Client {
    /// Who signs them.
    pub ca: Option<String>,
    /// Whether a client without one is turned away. One with a certificate of somebody else always is.
    pub required: bool,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TlsVersion {
    #[default]
    #[serde(rename = "1.2")]
    Tls12,
    #[serde(rename = "1.3")]
    Tls13,
}

impl Default for Client {
    fn default() -> Self {
        Self { ca: None, required: true }
    }
}

impl Listeners {
    pub(crate) fn as_slice(&self) -> &[Listen] {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::Many(many) => many,
        }
    }

    fn as_mut_slice(&mut self) -> &mut [Listen] {
        match self {
            Self::One(one) => std::slice::from_mut(one),
            Self::Many(many) => many,
        }
    }

    /// Has every listener say itself whether it speaks TLS: where none does, all do if there are certificates.
    pub(crate) fn decide(&mut self, tls: Option<&Tls>) {
        let is_said = |listen: &Listen| listen.tls().is_some();
        if tls.is_none() || self.as_slice().iter().any(is_said) {
            return;
        }
        for listen in self.as_mut_slice() {
            let said = match listen {
                Listen::At(address) => Listener { address: Some(*address), ..Listener::default() },
                Listen::As(listener) => listener.clone(),
            };
            *listen = Listen::As(Listener { tls: Some(true), ..said });
        }
    }
}

impl Listen {
    pub(crate) fn address(&self) -> Option<Address> {
        match self {
            Self::At(address) => Some(*address),
            Self::As(listener) => listener.address,
        }
    }

    pub(crate) fn tls(&self) -> Option<bool> {
        match self {
            Self::At(_) => None,
            Self::As(listener) => listener.tls,
        }
    }

    pub(crate) fn proxy_protocol(&self) -> Option<&ProxyProtocol> {
        match self {
            Self::At(_) => None,
            Self::As(listener) => listener.proxy_protocol.as_ref(),
        }
    }

    /// The networks of its balancers.
    pub(crate) fn balancers(&self) -> &[Network] {
        self.proxy_protocol().and_then(|it| it.from.as_deref()).unwrap_or_default()
    }
}

impl Tls {
    /// The certificates, in the order in which they are written: each with its key.
    pub(crate) fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        let alone = self.certificate.as_deref().zip(self.key.as_deref());
        let several = self.certificates.iter();
        let several = several.filter_map(|it| it.certificate.as_deref().zip(it.key.as_deref()));
        alone.into_iter().chain(several)
    }

    /// The certificates of those who sign clients' certificates.
    pub(crate) fn ca(&self) -> Option<&str> {
        self.client.as_ref()?.ca.as_deref()
    }
}
