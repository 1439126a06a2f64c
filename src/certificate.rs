//! Certificates and keys as PEM files hold them: whole and fitting each other, or why not.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys, RootCertStore};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

/// A certificate with the chain that it is sent with, and its key. Cheap to clone; shows no key.
#[derive(Clone, Debug)]
pub struct Certified {
    pub key: Arc<CertifiedKey>,
    /// The host names that it is for, in lower case; `*.` stands for one label.
    pub names: Vec<String>,
    /// When it is over, in seconds since the epoch.
    pub until: i64,
}

/// Which of two files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    Certificate,
    Key,
}

/// Why files cannot be used: which of them, and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {why}", file.display())]
pub struct Unusable {
    pub part: Part,
    pub file: PathBuf,
    pub why: Why,
}

/// What is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    Unreadable(String),
    NotPem,
    NoCertificate,
    NoKey,
    NoCertificateThatIsOne(String),
    NoKeyThatIsOne(String),
    /// The key is another certificate's.
    Mismatch,
}

impl Why {
    /// What would be right.
    pub const fn right(&self) -> &'static str {
        match self {
            Self::Unreadable(_) => "name a file that Larder may read",
            Self::NotPem => "name a file in PEM format, with -----BEGIN …----- lines",
            Self::NoCertificate => {
                "name a PEM file with the certificate first, and behind it those that signed it"
            }
            Self::NoKey => "name a PEM file with an unencrypted PRIVATE KEY",
            Self::NoCertificateThatIsOne(_) => "write the file again from where it was issued",
            Self::NoKeyThatIsOne(_) => "use an RSA key of 2048 bits or more, ECDSA, or Ed25519",
            Self::Mismatch => "name the key that the certificate was made for",
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(reason) => write!(formatter, "it cannot be read: {reason}"),
            Self::NotPem => formatter.write_str("it is not in PEM format"),
            Self::NoCertificate => formatter.write_str("there is no certificate in it"),
            Self::NoKey => formatter.write_str("there is no private key in it"),
            Self::NoCertificateThatIsOne(reason) => {
                write!(formatter, "a certificate in it is none: {reason}")
            }
            Self::NoKeyThatIsOne(reason) => {
                write!(formatter, "the key in it cannot be used: {reason}")
            }
            Self::Mismatch => formatter.write_str("the key in it is not the certificate's"),
        }
    }
}

/// Reads a certificate and its key, and holds them against each other. Blocks while it reads.
pub fn certified(certificate: &Path, key: &Path) -> Result<Certified, Unusable> {
    let chain = chain(certificate)?;
    let unusable = |part, why| {
        let file = match part {
            Part::Certificate => certificate,
            Part::Key => key,
        };
        Unusable { part, file: file.to_owned(), why }
    };
    let Some((names, until)) = chain.first().and_then(|first| told_by(first)) else {
        let why = Why::NoCertificateThatIsOne("it is not X.509".into());
        return Err(unusable(Part::Certificate, why));
    };
    let secret = PrivateKeyDer::from_pem_file(key)
        .map_err(|error| unusable(Part::Key, unread(error, Why::NoKey)))?;
    let key = CertifiedKey::from_der(chain, secret, &default_provider()).map_err(|error| {
        // Whatever else is wrong with a key is told in general words: nothing of it is to be shown.
        let why = match error {
            Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => Why::Mismatch,
            _ => Why::NoKeyThatIsOne("it is damaged, or of a kind that is not supported".into()),
        };
        unusable(Part::Key, why)
    })?;
    Ok(Certified { key: Arc::new(key), names, until })
}

/// Reads the certificates of those who may have signed another. At least one. Blocks while it reads.
pub fn authorities(file: &Path) -> Result<RootCertStore, Unusable> {
    let mut roots = RootCertStore::empty();
    for certificate in chain(file)? {
        roots.add(certificate).map_err(|error| Unusable {
            part: Part::Certificate,
            file: file.to_owned(),
            why: Why::NoCertificateThatIsOne(error.to_string()),
        })?;
    }
    Ok(roots)
}

/// At least one.
fn chain(file: &Path) -> Result<Vec<CertificateDer<'static>>, Unusable> {
    let unusable = |why| Unusable { part: Part::Certificate, file: file.to_owned(), why };
    let read = CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let chain = read.map_err(|error| unusable(unread(error, Why::NoCertificate)))?;
    if chain.is_empty() { Err(unusable(Why::NoCertificate)) } else { Ok(chain) }
}

fn unread(error: pem::Error, missing: Why) -> Why {
    match error {
        pem::Error::NoItemsFound => missing,
        pem::Error::Io(error) => Why::Unreadable(match error.kind() {
            io::ErrorKind::NotFound => "there is none".to_owned(),
            io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
            io::ErrorKind::IsADirectory => "it is a directory".to_owned(),
            _ => error.to_string(),
        }),
        _ => Why::NotPem,
    }
}

/// The host names of a certificate, and its end.
fn told_by(certificate: &CertificateDer<'_>) -> Option<(Vec<String>, i64)> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let alternatives = certificate.subject_alternative_name().ok().flatten();
    let names = alternatives.into_iter().flat_map(|names| &names.value.general_names);
    let names = names.filter_map(|name| match name {
        GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
        _ => None,
    });
    Some((names.collect(), certificate.validity().not_after.timestamp()))
}
