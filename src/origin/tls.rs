//! Whom an https origin has to be, and what Larder shows it of itself.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use http::Uri;
use http::uri::Scheme;
use hyper_rustls::ConfigBuilderExt;
use rustls::client::WantsClientCert;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ConfigBuilder, RootCertStore, WantsVerifier};

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
    #[error("cannot read {path}: {why}", path = .0.display(), why = .1)]
    File(PathBuf, String),
    #[error("{path} holds no certificate in PEM format", path = .0.display())]
    Empty(PathBuf),
    #[error("{key} is not the key of the certificate in {certificate}: {why}", key = .key.display(), certificate = .certificate.display())]
    Pair { certificate: PathBuf, key: PathBuf, why: rustls::Error },
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
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        let refused = |why: rustls::Error| IdentityFault::File(path.into(), why.to_string());
        roots.add(certificate).map_err(refused)?;
    }
    Ok(builder.with_root_certificates(roots))
}

fn shown(
    builder: ConfigBuilder<ClientConfig, WantsClientCert>,
    client: Option<&(PathBuf, PathBuf)>,
) -> Result<ClientConfig, IdentityFault> {
    let Some((certificate, key)) = client else { return Ok(builder.with_no_client_auth()) };
    let chain = certificates(certificate)?;
    let secret = PrivateKeyDer::from_pem_file(key)
        .map_err(|why| IdentityFault::File(key.clone(), why.to_string()))?;
    builder.with_client_auth_cert(chain, secret).map_err(|why| {
        let (certificate, key) = (certificate.clone(), key.clone());
        IdentityFault::Pair { certificate, key, why }
    })
}

/// The certificates of a file, at least one.
fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, IdentityFault> {
    let unreadable =
        |why: rustls::pki_types::pem::Error| IdentityFault::File(path.into(), why.to_string());
    let certificates = CertificateDer::pem_file_iter(path).map_err(unreadable)?;
    let certificates: Vec<_> = certificates.collect::<Result<_, _>>().map_err(unreadable)?;
    if certificates.is_empty() {
        return Err(IdentityFault::Empty(path.into()));
    }
    Ok(certificates)
}
