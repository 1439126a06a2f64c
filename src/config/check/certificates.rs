//! Whether the files that TLS needs are there, are what they should be, and fit each other.

use std::path::Path;

use crate::certificate::{self, Part, Unusable};
use crate::config::check::{At, Check};
use crate::time::Timestamp;

impl Check<'_> {
    /// A certificate and its key, read and held against each other.
    pub(super) fn certificate(&mut self, pair: (Option<&str>, Option<&str>), at: &At<'_>) {
        let (certificate, key) = match pair {
            (Some(certificate), Some(key)) => (certificate, key),
            (Some(_), None) => {
                let right = "add key: FILE";
                return self.fault(&at.key("key"), "this certificate has no `key`", right);
            }
            (None, _) => {
                let right = "add certificate: FILE";
                let what = "there is no `certificate`";
                return self.fault(&at.key("certificate"), what, right);
            }
        };
        match certificate::certified(Path::new(certificate), Path::new(key)) {
            Ok(read) if read.until <= now() => {
                let what = format!("the certificate in {certificate} is over: clients refuse it");
                self.warn(&at.key("certificate"), what, "have it renewed");
            }
            Ok(_) => {}
            Err(unusable) => self.unusable(&unusable, at),
        }
    }

    fn unusable(&mut self, unusable: &Unusable, at: &At<'_>) {
        let at = match unusable.part {
            Part::Certificate => at.key("certificate"),
            Part::Key => at.key("key"),
        };
        self.fault(&at, unusable.to_string(), unusable.why.right());
    }

    /// The certificates of those who sign others.
    pub(super) fn authorities(&mut self, ca: &str, at: &At<'_>) {
        if let Err(unusable) = certificate::authorities(Path::new(ca)) {
            self.fault(at, unusable.to_string(), unusable.why.right());
        }
    }
}

/// In seconds since the epoch.
fn now() -> i64 {
    i64::try_from(Timestamp::now().as_seconds()).unwrap_or(i64::MAX)
}
