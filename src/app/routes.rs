//! Compiled routes and their origins from a configuration, at the start and at each reload.

use std::collections::HashMap;
use std::sync::Arc;

use http::Uri;
use tokio_util::task::TaskTracker;

use crate::app::StartError;
use crate::breaker;
use crate::config::settings::{self, Settings};
use crate::origin::places::{Places, Queue};
use crate::origin::tls::Identity;
use crate::origin::{self, HostRule, Origin, Protocol, Retries, Timeouts, health, recovery};
use crate::rate::Rates;
use crate::route::census::Census;
use crate::route::table::RouteTable;
use crate::route::{Parts, Route};
use crate::telemetry::metrics::{EndpointState, Metrics, OriginMetrics};

/// The origins in use, by name, each with the settings that it was built from.
pub(crate) type Origins = HashMap<Arc<str>, (settings::Origin, Arc<Origin>)>;

/// The table of the configuration's routes. Origins whose settings did not change since `before` are kept, with
/// their connections, their breakers and what is known of their endpoints; so are limiters, whose rate did not change, with what they counted.
pub(crate) fn table(
    settings: &Settings,
    metrics: &Metrics,
    before: &Origins,
    rates: &Rates,
) -> Result<(RouteTable, Origins), StartError> {
    let mut origins = Origins::new();
    for wanted in &settings.origins {
        let kept = before.get(&wanted.name).filter(|(known, _)| known == wanted);
        let origin = match kept {
            Some((_, origin)) => origin.clone(),
            None => origin(wanted, metrics)?,
        };
        origins.insert(wanted.name.clone(), (wanted.clone(), origin));
    }
    let route = |settings: &crate::route::Settings| {
        let (of_origin, origin) = origins.get(&settings.origin).ok_or_else(|| {
            StartError::Configuration(format!("there is no origin `{}`", settings.origin))
        })?;
        let rate = settings.rate.as_ref();
        let parts = Parts {
            origin: origin.clone(),
            census: settings.max_keys.map(|most| Arc::new(Census::new(most))),
            places: settings.max_fetches.map(|most| Places::new(most.get(), queue(of_origin))),
            rate: rate.map(|rate| rates.limiter(settings.id.as_str(), rate)),
            metrics: metrics.route(&settings.id),
        };
        Ok(Arc::new(Route::new(settings.clone(), parts)))
    };
    let routes = settings.routes.iter().map(route).collect::<Result<Vec<_>, StartError>>()?;
    let table = RouteTable::new(routes, route(&settings.last_resort)?)
        .with(settings.events.clone(), settings.depends.clone());
    Ok((table, origins))
}

/// A new origin, whose endpoints the metrics tell of for as long as there is one of this name.
fn origin(settings: &settings::Origin, metrics: &Metrics) -> Result<Arc<Origin>, StartError> {
    let metrics = metrics.origin(&settings.name);
    let origin = Arc::new(build(settings, metrics.clone())?);
    let told = Arc::downgrade(&origin);
    metrics.read_endpoints(move || {
        let endpoints = told.upgrade().map(|origin| origin.condition().endpoints);
        let endpoints = endpoints.into_iter().flatten();
        endpoints.map(|(uri, is_used)| EndpointState { name: place(&uri), is_used }).collect()
    });
    Ok(origin)
}

/// An endpoint without the slash that a URI ends with.
fn place(uri: &Uri) -> String {
    uri.to_string().trim_end_matches('/').to_owned()
}

fn build(settings: &settings::Origin, metrics: OriginMetrics) -> Result<Origin, StartError> {
    let fault = |why: String| StartError::Configuration(why);
    let endpoints = settings.endpoints.iter().map(|endpoint| {
        let address = format!("{}://{}", endpoint.scheme, endpoint.authority);
        address.parse::<Uri>().map_err(|why| fault(format!("endpoint {address}: {why}")))
    });
    let endpoints = endpoints.collect::<Result<Vec<_>, _>>()?;
    let settings = origin::Settings {
        timeouts: Timeouts {
            connect: settings.connect_timeout,
            first_byte: settings.first_byte_timeout,
            idle: settings.idle_timeout,
            queue: settings.queue_timeout,
        },
        retries: Retries { attempts: settings.retry_attempts, budget: settings.retry_budget },
        breaker: breaker::Settings {
            failures: settings.breaker.failures,
            open_for: settings.breaker.open_for,
        },
        max_connections: settings.max_connections,
        max_waiting: settings.queue_length,
        host: match &settings.host {
            None => HostRule::Preserve,
            Some(authority) => HostRule::Fixed(authority.clone()),
        },
        protocol: match settings.protocol {
            settings::OriginProtocol::Auto => Protocol::Auto,
            settings::OriginProtocol::Http2 => Protocol::Http2,
        },
        health: settings.health.as_ref().map(health),
        slow_start: settings.slow_start,
        identity: Identity {
            authority: settings.tls.authority.clone(),
            client: settings.tls.client.clone(),
            server_name: settings.tls.server_name.clone(),
        },
        ..origin::Settings::new(settings.name.clone(), endpoints)
    };
    Origin::new(settings, metrics).map_err(|why| fault(why.to_string()))
}

fn queue(settings: &settings::Origin) -> Queue {
    Queue { length: settings.queue_length, patience: settings.queue_timeout }
}

fn health(settings: &settings::Health) -> health::Settings {
    health::Settings {
        path: settings.path.clone(),
        every: settings.every,
        timeout: settings.timeout,
        unhealthy_after: settings.unhealthy_after,
        healthy_after: settings.healthy_after,
    }
}

/// Has every origin watched that is not among those `before`, for as long as there is that origin.
pub(crate) fn watch(origins: &Origins, before: &Origins, tasks: &TaskTracker) {
    for (name, (_, origin)) in origins {
        let is_known = before.get(name).is_some_and(|(_, known)| Arc::ptr_eq(known, origin));
        if !is_known {
            tasks.spawn(health::watch(Arc::downgrade(origin)));
            tasks.spawn(recovery::watch(Arc::downgrade(origin)));
        }
    }
}
