//! Where servers listen, and how they are reached: account, TLS, sockets.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use redis::io::tcp::TcpSettings;
use redis::io::tcp::socket2::TcpKeepalive;
use redis::{
    Client, ClientTlsConfig, ConnectionAddr, ConnectionInfo, IntoConnectionInfo,
    RedisConnectionInfo, TlsCertificates,
};
use std::time::Duration;

use crate::store::redis::{Account, BadServers, Certificates};

/// A server's host and port, as the configuration or the other servers tell it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Address {
    pub(super) host: Arc<str>,
    pub(super) port: u16,
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.host, self.port)
    }
}

impl Address {
    pub(super) fn new(host: &str, port: u16) -> Self {
        Self { host: host.into(), port }
    }

    /// The server that a redirection names. `MOVED` may leave out the host: it is the answering server's then.
    pub(super) fn redirected(to: &str, by: &Self) -> Option<Self> {
        let (host, port) = to.rsplit_once(':')?;
        let host = if host.is_empty() { &*by.host } else { host };
        Some(Self::new(host, u16::from_str(port).ok()?))
    }
}

/// Makes clients of the servers of one Redis: they differ by their address alone.
#[derive(Clone)]
pub(super) struct Dialer {
    account: RedisConnectionInfo,
    tls: Option<TlsCertificates>,
}

impl Dialer {
    /// What the URL says of all servers, and the address that it names.
    pub(super) fn of(url: &str, tls: Option<&Tls>) -> Result<(Self, Address), BadServers> {
        let told = |error: redis::RedisError| BadServers::Url(error.category().to_owned());
        let info = url.into_connection_info().map_err(told)?;
        let (host, port, is_tls) = match info.addr() {
            ConnectionAddr::Tcp(host, port) => (host, *port, false),
            ConnectionAddr::TcpTls { host, port, .. } => (host, *port, true),
            _ => return Err(BadServers::Url("it names no host".into())),
        };
        let address = Address::new(host, port);
        // Not every server knows the command, and not every account may use it.
        let account = info.redis_settings().clone().set_skip_set_lib_name();
        let tls = is_tls.then(|| tls.cloned().unwrap_or_default().0);
        Ok((Self { account, tls }, address))
    }

    /// The same with another account.
    pub(super) fn by(&self, account: &Account) -> Self {
        let mut settings =
            RedisConnectionInfo::default().set_db(account.database).set_skip_set_lib_name();
        if let Some(name) = &account.username {
            settings = settings.set_username(name);
        }
        if let Some(password) = &account.password {
            settings = settings.set_password(password);
        }
        Self { account: settings, tls: self.tls.clone() }
    }

    pub(super) fn client(&self, address: &Address) -> Result<Client, BadServers> {
        let (host, port) = (address.host.to_string(), address.port);
        let place = match &self.tls {
            None => ConnectionAddr::Tcp(host, port),
            Some(_) => ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None },
        };
        let keepalive = TcpKeepalive::new().with_time(Duration::from_secs(30));
        let tcp = TcpSettings::default().set_nodelay(true).set_keepalive(keepalive);
        let client = place.into_connection_info().and_then(|info: ConnectionInfo| {
            let info = info.set_redis_settings(self.account.clone()).set_tcp_settings(tcp);
            match &self.tls {
                None => Client::open(info),
                Some(certificates) => Client::build_with_tls(info, certificates.clone()),
            }
        });
        client.map_err(|error| BadServers::Tls(error.category().to_owned()))
    }
}

/// Certificates as they were read.
#[derive(Clone)]
pub(super) struct Tls(TlsCertificates);

impl Default for Tls {
    /// The authorities that the machine trusts, and no certificate of our own.
    fn default() -> Self {
        Self(TlsCertificates { client_tls: None, root_cert: None })
    }
}

impl Tls {
    /// Reads the files, once: a changed certificate is taken up at the next start.
    pub(super) fn read(files: &Certificates) -> Result<Self, BadServers> {
        let read = |path: &PathBuf| {
            std::fs::read(path).map_err(|why| BadServers::File(path.clone(), why.to_string()))
        };
        let client_tls = match &files.client {
            Some((certificate, key)) => {
                Some(ClientTlsConfig { client_cert: read(certificate)?, client_key: read(key)? })
            }
            None => None,
        };
        let root_cert = files.authority.as_ref().map(read).transpose()?;
        Ok(Self(TlsCertificates { client_tls, root_cert }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_url_is_told_without_its_password() {
        let error = Dialer::of("http://:secret@host", None).err().unwrap().to_string();
        assert!(!error.contains("secret") && error.starts_with("the Redis URL is not valid: "));
    }

    #[test]
    fn a_redirection_without_a_host_means_the_host_that_answered() {
        let by = Address::new("10.0.0.1", 7000);
        assert_eq!(Address::redirected("10.0.0.2:7001", &by), Some(Address::new("10.0.0.2", 7001)));
        assert_eq!(Address::redirected(":7001", &by), Some(Address::new("10.0.0.1", 7001)));
        assert_eq!(Address::redirected("fd00::1:7001", &by), Some(Address::new("fd00::1", 7001)));
        assert_eq!(Address::redirected("nowhere", &by), None);
        assert_eq!(Address::redirected("h:99999", &by), None);
    }
}
