//! Whom an https origin has to be, and what Larder shows it of itself.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use http::Uri;
use http::uri::Scheme;
use hyper_rustls::ConfigBuilderExt;
use rustls::client::WantsClientCert;
use rustls::pki_types::ServerName;
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, ConfigBuilder, RootCertStore, WantsVerifier};

use crate::certificate::{Certified, Unusable, authorities, certified};
use crate::origin::Protocol;

/// Whom an https origin has to be, and what Larder shows it. Files are in PEM format, and are read when the origin is
/// set up: a changed file is taken up when the origin's settings change, or at the next start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// Who signed its certificate; none: whom this machine trusts.
    pub authority: Option<PathBuf>,
    /// Larder's certificate and its key, for an origin that wants one.
    pub client: Option<(PathBuf, PathBuf)>,
    /// The name that it is asked for (SNI) and that its certificate must bear; none: the host of the endpoint.
    pub server_name: Option<ServerName<'static>>,
}

/// Why TLS to an origin cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum IdentityFault {
    /// This machine trusts nobody, or nobody knows whom.
    #[error("cannot read the machine's certificate authorities: {0}")]
    Trust(io::Error),
    #[error(transparent)]
    Unusable(#[from] Unusable),
}

/// TLS as the two ways want it: they differ in the protocols that ALPN offers.
#[derive(Clone)]
pub(crate) struct Tls {
    pub(super) usual: Arc<ClientConfig>,
    pub(super) upgrade: Arc<ClientConfig>,
    pub(super) server_name: Option<ServerName<'static>>,
}

impl Tls {
    /// Reads authorities and certificates only if an endpoint needs them.
    pub(super) fn of(
        endpoints: &[Uri],
        protocol: Protocol,
        identity: &Identity,
    ) -> Result<Self, IdentityFault> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the provider knows the protocol versions that rustls has by default");
        let is_https = |uri: &Uri| uri.scheme() == Some(&Scheme::HTTPS);
        let mut usual = if endpoints.iter().any(is_https) {
            shown(trusting(builder, identity.authority.as_deref())?, identity.client.as_ref())?
        } else {
            builder.with_root_certificates(RootCertStore::empty()).with_no_client_auth()
        };
        let mut upgrade = usual.clone();
        upgrade.alpn_protocols = vec![b"http/1.1".to_vec()];
        usual.alpn_protocols = match protocol {
            Protocol::Auto => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
            Protocol::Http2 => vec![b"h2".to_vec()],
        };
        let server_name = identity.server_name.clone();
        Ok(Self { usual: Arc::new(usual), upgrade: Arc::new(upgrade), server_name })
    }
}

fn trusting(
    builder: ConfigBuilder<ClientConfig, WantsVerifier>,
    authority: Option<&Path>,
) -> Result<ConfigBuilder<ClientConfig, WantsClientCert>, IdentityFault> {
    let Some(path) = authority else {
        return builder.with_native_roots().map_err(IdentityFault::Trust);
    };
    Ok(builder.with_root_certificates(authorities(path)?))
}

fn shown(
    builder: ConfigBuilder<ClientConfig, WantsClientCert>,
    client: Option<&(PathBuf, PathBuf)>,
) -> Result<ClientConfig, IdentityFault> {
    let Some((certificate, key)) = client else { return Ok(builder.with_no_client_auth()) };
    let Certified { key, .. } = certified(certificate, key)?;
    Ok(builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(key))))
}
