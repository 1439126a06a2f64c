//! Certificates made for a test, and clients that believe in them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Who signs the certificates of a test; their files live as long as this.
pub(crate) struct Authority {
    directory: TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    pub(crate) fn new() -> Self {
        // The binary does it for itself; a test may be faster than another.
        let _already = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let directory = TempDir::new().expect("a temporary directory can be made");
        let mut params = CertificateParams::new(vec![]).expect("no names are names");
        params.distinguished_name.push(DnType::CommonName, "authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key can be made");
        let issuer = CertifiedIssuer::self_signed(params, key).expect("it can be signed");
        std::fs::write(directory.path().join("ca.pem"), issuer.pem()).expect("it can be written");
        Self { directory, issuer }
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Writes `NAME.pem` and `NAME.key`, for these hosts. Each file is replaced at once, the key first.
    pub(crate) fn issue(&self, name: &str, hosts: &[&str]) {
        let hosts: Vec<_> = hosts.iter().map(ToString::to_string).collect();
        self.write(name, &CertificateParams::new(hosts).expect("hosts are names"));
    }

    /// One that was good until the first day of 2020.
    pub(crate) fn issue_old(&self, name: &str, host: &str) {
        let params = CertificateParams::new(vec![host.to_owned()]);
        let mut params = params.expect("a host is a name");
        params.not_before = date_time_ymd(2019, 1, 1);
        params.not_after = date_time_ymd(2020, 1, 1);
        self.write(name, &params);
    }

    fn write(&self, name: &str, params: &CertificateParams) {
        let key = KeyPair::generate().expect("a key can be made");
        let signed = params.signed_by(&key, &self.issuer).expect("it can be signed");
        self.put(&format!("{name}.key"), &key.serialize_pem());
        self.put(&format!("{name}.pem"), &signed.pem());
    }

    /// Writes a file in one step, as tools that renew certificates do.
    pub(crate) fn put(&self, name: &str, text: &str) {
        let beside = self.file("new");
        std::fs::write(&beside, text).expect("the directory can be written");
        std::fs::rename(&beside, self.file(name)).expect("the file can be replaced");
    }

    /// `certificate: …, key: …` of what was issued under this name.
    pub(crate) fn pair(&self, name: &str) -> String {
        let file = |name: String| self.file(&name).display().to_string();
        let (certificate, key) = (file(format!("{name}.pem")), file(format!("{name}.key")));
        format!("certificate: \"{certificate}\", key: \"{key}\"")
    }

    /// The certificate in a file, as it is shown.
    pub(crate) fn certificate(&self, name: &str) -> CertificateDer<'static> {
        CertificateDer::from_pem_file(self.file(&format!("{name}.pem"))).expect("it was issued")
    }

    /// A client of `host` that believes this authority, and would rather speak HTTP/2.
    pub(crate) fn client(&self, host: &str) -> TlsClient {
        self.client_of(host, rustls::ALL_VERSIONS)
    }

    pub(crate) fn client_of(
        &self,
        host: &str,
        versions: &[&'static SupportedProtocolVersion],
    ) -> TlsClient {
        let config = ClientConfig::builder_with_protocol_versions(versions)
            .with_root_certificates(self.roots())
            .with_no_client_auth();
        TlsClient::new(host, config)
    }

    /// A client that shows the certificate of this name.
    pub(crate) fn client_with(&self, host: &str, name: &str) -> TlsClient {
        let certificate = self.file(&format!("{name}.pem"));
        let key = PrivateKeyDer::from_pem_file(self.file(&format!("{name}.key")));
        let config = ClientConfig::builder()
            .with_root_certificates(self.roots())
            .with_client_auth_cert(chain(&certificate), key.expect("it was issued"));
        TlsClient::new(host, config.expect("the key is the certificate's"))
    }

    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone()).expect("it is a certificate");
        roots
    }
}

fn chain(file: &Path) -> Vec<CertificateDer<'static>> {
    let read = CertificateDer::pem_file_iter(file).expect("it was issued");
    read.collect::<Result<_, _>>().expect("it is PEM")
}

/// How a client shakes hands.
#[derive(Clone)]
pub(crate) struct TlsClient {
    pub(crate) host: String,
    config: Arc<ClientConfig>,
}

impl TlsClient {
    fn new(host: &str, mut config: ClientConfig) -> Self {
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Self { host: host.to_owned(), config: Arc::new(config) }
    }

    /// Offers these protocols instead.
    pub(crate) fn offering(mut self, protocols: &[&str]) -> Self {
        let config = Arc::make_mut(&mut self.config);
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        self
    }

    /// Names no host in the handshake.
    pub(crate) fn nameless(mut self) -> Self {
        Arc::make_mut(&mut self.config).enable_sni = false;
        self
    }

    /// The handshake, as far as the client knows of it.
    pub(crate) async fn connect(&self, authority: &str) -> std::io::Result<TlsStream<TcpStream>> {
        let socket = TcpStream::connect(authority).await?;
        self.over(socket).await
    }

    pub(crate) async fn over(&self, socket: TcpStream) -> std::io::Result<TlsStream<TcpStream>> {
        let name = ServerName::try_from(self.host.clone()).expect("the host is a name");
        TlsConnector::from(self.config.clone()).connect(name, socket).await
    }

    /// The certificate that is shown at `authority`.
    pub(crate) async fn shown(&self, authority: &str) -> CertificateDer<'static> {
        let stream = self.connect(authority).await.expect("hands are shaken");
        let chain = stream.get_ref().1.peer_certificates().expect("a server shows one");
        chain[0].clone().into_owned()
    }
}
