//! TLS towards clients: what is agreed on, which certificate is shown, and the handshake.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::crypto::aws_lc_rs::{Ticketer, default_provider};
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::version::TLS13;
use rustls::{ALL_VERSIONS, RootCertStore, ServerConfig};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::certificate::Certified;

/// What HTTP/2 is called in a handshake (RFC 9113 §3.2).
pub(crate) const H2: &[u8] = b"h2";

/// What is offered, dearest first.
const PROTOCOLS: [&[u8]; 2] = [H2, b"http/1.1"];

/// What clients are offered.
#[derive(Clone, Debug)]
pub struct Offer {
    /// The first is for clients that name no host, or one that no certificate is for.
    pub certificates: Vec<Certified>,
    pub clients: Clients,
    pub oldest: Oldest,
}

/// What clients must show.
#[derive(Clone, Debug)]
pub enum Clients {
    Nothing,
    /// A certificate that one of these signed, if they show one at all.
    Optional(RootCertStore),
    /// A certificate that one of these signed.
    Required(RootCertStore),
}

/// The oldest version that is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Oldest {
    Tls12,
    Tls13,
}

/// Why an offer cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum BadOffer {
    #[error("there is no certificate")]
    NoCertificate,
    #[error(transparent)]
    Clients(#[from] rustls::server::VerifierBuilderError),
    #[error(transparent)]
    Tls(#[from] rustls::Error),
}

/// The terms of handshakes to come. Clones see the same change.
#[derive(Clone, Debug)]
pub struct Terms(Arc<ArcSwap<InForce>>);

#[derive(Debug)]
struct InForce {
    config: Arc<ServerConfig>,
    until: i64,
}

impl Terms {
    pub fn new(offer: Offer) -> Result<Self, BadOffer> {
        Ok(Self(Arc::new(ArcSwap::from_pointee(terms(offer)?))))
    }

    /// Handshakes that begin from now on are held on these terms; connections that are open go on. On an error
    /// nothing changes.
    pub fn change(&self, offer: Offer) -> Result<(), BadOffer> {
        self.0.store(Arc::new(terms(offer)?));
        Ok(())
    }

    /// When the first of the certificates is over, in seconds since the epoch.
    pub fn until(&self) -> i64 {
        self.0.load().until
    }

    /// The handshake with one client. May be dropped.
    pub(crate) async fn shake_hands(
        &self,
        tcp: TcpStream,
    ) -> io::Result<Box<TlsStream<TcpStream>>> {
        let stream = TlsAcceptor::from(self.0.load().config.clone()).accept(tcp).await?;
        Ok(Box::new(stream))
    }
}

fn terms(offer: Offer) -> Result<InForce, BadOffer> {
    let until = offer.certificates.iter().map(|certificate| certificate.until).min();
    let until = until.ok_or(BadOffer::NoCertificate)?;
    let provider = Arc::new(default_provider());
    let versions: &[_] = match offer.oldest {
        Oldest::Tls12 => ALL_VERSIONS,
        Oldest::Tls13 => &[&TLS13],
    };
    let builder =
        ServerConfig::builder_with_provider(provider.clone()).with_protocol_versions(versions)?;
    let verifier = |roots| WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    let builder = match offer.clients {
        Clients::Nothing => builder.with_no_client_auth(),
        Clients::Required(roots) => builder.with_client_cert_verifier(verifier(roots).build()?),
        Clients::Optional(roots) => {
            builder.with_client_cert_verifier(verifier(roots).allow_unauthenticated().build()?)
        }
    };
    let mut terms = builder.with_cert_resolver(Arc::new(Shown::new(offer.certificates)?));
    terms.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
    // Tickets are good on the terms that they were given on, and no longer: who was let in by a certificate that
    // counts no more must show another.
    terms.ticketer = Ticketer::new()?;
    Ok(InForce { config: Arc::new(terms), until })
}

/// Certificates by the names that they are for.
#[derive(Debug)]
struct Shown {
    /// In lower case; of several for one name the first.
    exact: HashMap<String, Arc<CertifiedKey>>,
    /// By what stands behind the `*.`.
    wild: HashMap<String, Arc<CertifiedKey>>,
    otherwise: Arc<CertifiedKey>,
}

impl Shown {
    fn new(certificates: Vec<Certified>) -> Result<Self, BadOffer> {
        let first = certificates.first().ok_or(BadOffer::NoCertificate)?;
        let otherwise = first.key.clone();
        let (mut exact, mut wild) = (HashMap::new(), HashMap::new());
        for Certified { key, names, .. } in certificates {
            for name in names {
                match name.strip_prefix("*.") {
                    Some(parent) => wild.entry(parent.to_owned()).or_insert_with(|| key.clone()),
                    None => exact.entry(name).or_insert_with(|| key.clone()),
                };
            }
        }
        Ok(Self { exact, wild, otherwise })
    }

    fn find(&self, host: Option<&str>) -> &Arc<CertifiedKey> {
        let named = host.and_then(|host| {
            let host = host.trim_end_matches('.').to_ascii_lowercase();
            let wild = || self.wild.get(host.split_once('.')?.1);
            self.exact.get(&host).or_else(wild)
        });
        named.unwrap_or(&self.otherwise)
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.find(hello.server_name()).clone())
    }
}
