//! What clients go through before they are heard, as configured: certificates are read here.

use std::sync::Arc;

use crate::app::StartError;
use crate::certificate::{Unusable, authorities, certified};
use crate::config::settings::{Listener, Presence, Settings, Speaks, Tls, TlsVersion};
use crate::message::network::Network;
use crate::server::introduction::{Counts, Threshold};
use crate::server::tls::{BadOffer, Clients, Offer, Oldest, Terms};

/// What the thresholds of all listeners share.
#[derive(Clone, Default)]
pub(crate) struct Thresholds {
    /// Where there are certificates.
    pub(crate) terms: Option<Terms>,
    pub(crate) counts: Arc<Counts>,
}

impl Thresholds {
    /// Reads the certificates.
    pub(crate) fn new(settings: &Settings) -> Result<Self, StartError> {
        let terms = match &settings.tls {
            Some(tls) => Some(Terms::new(offer(tls)?).map_err(unfit)?),
            None => None,
        };
        Ok(Self { terms, counts: Arc::default() })
    }

    pub(crate) fn of(&self, listener: &Listener) -> Threshold {
        let balancers = listener.balancers.iter();
        let tls = match listener.speaks {
            Speaks::Plain => None,
            Speaks::Tls => self.terms.clone(),
        };
        Threshold {
            balancers: balancers.map(|it| Network { address: it.address, bits: it.bits }).collect(),
            tls,
            counts: self.counts.clone(),
        }
    }
}

/// Reads what a reload may put in the place of the certificates in force.
pub(crate) fn offer(tls: &Tls) -> Result<Offer, StartError> {
    let unusable = |why: Unusable| StartError::Configuration(why.to_string());
    let certificates =
        tls.certificates.iter().map(|(certificate, key)| certified(certificate, key));
    let clients = match &tls.client {
        None => Clients::Nothing,
        Some(client) => {
            let roots = authorities(&client.ca).map_err(unusable)?;
            match client.presence {
                Presence::Required => Clients::Required(roots),
                Presence::Optional => Clients::Optional(roots),
            }
        }
    };
    Ok(Offer {
        certificates: certificates.collect::<Result<_, _>>().map_err(unusable)?,
        clients,
        oldest: match tls.oldest {
            TlsVersion::Tls12 => Oldest::Tls12,
            TlsVersion::Tls13 => Oldest::Tls13,
        },
    })
}

#[expect(clippy::needless_pass_by_value, reason = "it turns one error into another")]
pub(crate) fn unfit(why: BadOffer) -> StartError {
    StartError::Configuration(format!("TLS cannot be offered: {why}"))
}
