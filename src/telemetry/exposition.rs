//! Every metric family, in one table, as a scraper reads it; the door to `prometheus-client`.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::exemplar::Exemplar;
use prometheus_client::registry::Registry;

use crate::telemetry::labels::{Ending, Eviction, Invalidation, Operation, Reading};
use crate::telemetry::metrics::{
    All, LayerMetrics, Metrics, OriginMetrics, RouteMetrics, ServerState,
};
use crate::telemetry::tally::{BOUNDS, Count, Snapshot};

type Written = Result<(), fmt::Error>;

/// Writes everything.
pub(super) fn render(metrics: &Metrics) -> String {
    let mut page = String::with_capacity(16 * 1024);
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Scrape(metrics.clone())));
    text::encode(&mut page, &registry).expect("nothing but memory can fail a write to a string");
    page
}

/// `part` of `whole`, or nought of nothing.
#[expect(clippy::cast_precision_loss, reason = "a ratio of counts needs no more than 52 bits")]
pub(super) fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

#[derive(Debug)]
struct Scrape(Metrics);

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Written {
        let all: Arc<All> = self.0.all().clone();
        let mut page = Page(&mut encoder);
        layers(&mut page, &all)?;
        page.gauge(
            "cache_hit_rate",
            "Part of the looked-up requests that the cache answered since the start, from 0 to 1",
            [([NO_LABEL; 0], self.0.hit_rate())],
        )?;
        readings(&mut page, &all)?;
        servers(&mut page, &all)?;
        let routes = all.routes.lock().clone();
        requests(&mut page, &routes)?;
        let origins = all.origins.lock().clone();
        asked(&mut page, &origins)?;
        bounds(&mut page, &all)?;
        counts(&mut page, &all)?;
        tripwires(&mut page, &all)?;
        process(&mut page, &all)
    }
}

/// The families of the layers.
fn layers(page: &mut Page<'_, '_>, all: &All) -> Written {
    let layers = [("L1", &all.l1), ("L2", &all.l2)];
    let each = |value: fn(&LayerMetrics) -> u64| {
        layers.map(|(name, layer)| ([("cache_layer", name)], value(layer)))
    };
    page.counter("cache_hits", "Lookups that a layer answered", each(LayerMetrics::hits))?;
    page.counter(
        "cache_misses",
        "Lookups that a layer could not answer",
        each(LayerMetrics::misses),
    )?;
    page.counter(
        "cache_errors",
        "Operations that failed in a layer; none of them failed a request",
        layers.iter().flat_map(|(name, layer)| {
            Operation::ALL.iter().map(move |operation| {
                let labels = [("cache_layer", *name), ("operation", operation.label())];
                (labels, layer.errors_of(*operation))
            })
        }),
    )?;
    page.counter(
        "larder_store_failures",
        "The same failures by reason",
        layers.iter().flat_map(|(name, layer)| {
            let failures = layer.failures().into_iter();
            failures.map(move |(why, number)| ([("cache_layer", *name), ("reason", why)], number))
        }),
    )?;
    page.counter(
        "cache_evictions",
        "Entries that a layer let go of by itself",
        layers.iter().flat_map(|(name, layer)| {
            Eviction::ALL.iter().map(move |reason| {
                let labels = [("cache_layer", *name), ("reason", reason.label())];
                (labels, layer.evictions_by(*reason))
            })
        }),
    )?;
    page.counter(
        "cache_invalidations",
        "Entries that were found purged, marked stale or beyond what the purge log vouches for",
        layers.iter().flat_map(|(name, layer)| {
            Invalidation::ALL.iter().map(move |reason| {
                let labels = [("cache_layer", *name), ("reason", reason.label())];
                (labels, layer.invalidations_by(*reason))
            })
        }),
    )?;
    page.histogram(
        "cache_operation_duration_seconds",
        "How long an operation on a layer took",
        layers.iter().flat_map(|(name, layer)| {
            Operation::ALL.iter().map(move |operation| {
                let labels = [("operation", operation.label()), ("cache_layer", *name)];
                (labels, layer.durations(*operation))
            })
        }),
    )
}

/// The families that are read when they are asked for; those that nobody gave are left out.
fn readings(page: &mut Page<'_, '_>, all: &All) -> Written {
    let readings = all.readings.lock();
    let value = |reading| readings.get(&reading).map(|read| read());
    let layered = |l1, l2| {
        let both = [("L1", value(l1)), ("L2", value(l2))];
        both.into_iter().filter_map(|(layer, value)| Some(([("cache_layer", layer)], value?)))
    };
    let alone = |reading| value(reading).map(|value| ([NO_LABEL; 0], value));
    page.gauge(
        "cache_memory_bytes",
        "Bytes that a layer holds, overhead included",
        layered(Reading::L1Bytes, Reading::L2Bytes),
    )?;
    page.gauge(
        "larder_layer_on",
        "Whether a layer is read and written: 1, or 0 where it was switched off",
        layered(Reading::L1On, Reading::L2On),
    )?;
    page.gauge(
        "cache_keys_total",
        "URLs that a layer holds",
        layered(Reading::L1Keys, Reading::L2Keys),
    )?;
    for (name, help, reading) in GAUGES {
        page.gauge(name, help, alone(*reading))?;
    }
    for (name, help, reading) in COUNTERS {
        page.counter(name, help, alone(*reading).map(|(labels, value)| (labels, whole(value))))?;
    }
    Ok(())
}

/// Readings without labels that only grow.
const COUNTERS: &[(&str, &str, Reading)] = &[
    (
        "larder_no_room",
        "Bodies that found no room beside others in the air: they were streamed, and not stored",
        Reading::AirRefused,
    ),
    (
        "larder_tls_handshakes_failed",
        "TLS handshakes of clients that came to nothing",
        Reading::HandshakesFailed,
    ),
    (
        "larder_proxy_headers_refused",
        "Connections of load balancers that did not say for whom",
        Reading::ProxyHeadersRefused,
    ),
    (
        "larder_client_connections_refused",
        "Connections refused because their client had too many",
        Reading::ClientsCrowding,
    ),
    (
        "larder_unreadable_requests",
        "Connections that ended because what came is no request, or has a longer head than any may have",
        Reading::UnreadableRequests,
    ),
    (
        "larder_access_log_dropped_lines",
        "Access log lines that were dropped because nobody read them fast enough",
        Reading::AccessLogDropped,
    ),
];

/// The families of the L2's servers.
fn servers(page: &mut Page<'_, '_>, all: &All) -> Written {
    let servers = all.servers.lock().as_ref().map(|read| read()).unwrap_or_default();
    let each = |value: fn(&ServerState) -> f64| {
        servers.iter().map(move |server| ([("server", server.name.as_str())], value(server)))
    };
    page.gauge(
        "larder_l2_server_up",
        "Whether a server of the L2 is connected",
        each(|server| f64::from(u8::from(server.is_up))),
    )?;
    page.gauge(
        "larder_l2_server_breaker_state",
        "The breaker of a server of the L2: 0 closed, 1 half open, 2 open",
        each(|server| small(server.breaker as u64)),
    )
}

/// Readings without labels.
const GAUGES: &[(&str, &str, Reading)] = &[
    ("larder_l2_write_queue", "Writes that wait for the L2", Reading::L2Writes),
    (
        "larder_l2_breaker_state",
        "The L2's breaker: 0 closed, 1 half open, 2 open",
        Reading::L2Breaker,
    ),
    ("larder_refresh_queue", "Refreshes that wait", Reading::Refreshes),
    ("larder_flights", "Fetches in the air that requests may share", Reading::Flights),
    (
        "larder_bodies_in_the_air_bytes",
        "Bytes that bodies hold which are gathered or shared, on their way to a store or to clients",
        Reading::AirBytes,
    ),
    (
        "larder_ledger_purges",
        "Purges in force that hits are checked against",
        Reading::LedgerPurges,
    ),
    (
        "larder_purges_pending",
        "Purges that hold here and wait for the purge log to take them",
        Reading::PurgesPending,
    ),
    (
        "larder_purge_lag_seconds",
        "Time since this instance last knew the end of the purge log",
        Reading::PurgeLag,
    ),
    (
        "larder_purge_log_vouches",
        "Whether the purge log vouches for what is stored: 1, or 0 while each stored response is validated first",
        Reading::PurgeTrust,
    ),
    (
        "larder_tripwire_sprung_routes",
        "Routes whose tripwire has sprung: their requests pass",
        Reading::SprungRoutes,
    ),
    ("larder_connections", "Open client connections", Reading::Connections),
    (
        "larder_certificate_expiry_timestamp_seconds",
        "When the first of the certificates that clients are shown is over",
        Reading::CertificateUntil,
    ),
];

/// The families of the routes.
fn requests(page: &mut Page<'_, '_>, routes: &BTreeMap<String, RouteMetrics>) -> Written {
    let each = routes.iter().flat_map(|(name, route)| {
        Ending::ALL.iter().map(move |ending| {
            ([("route", name.as_str()), ("outcome", ending.label())], route.durations(*ending))
        })
    });
    let each: Vec<_> = each.collect();
    page.counter(
        "larder_requests",
        "Requests by route and by how they ended",
        each.iter().map(|(labels, taken)| (*labels, taken.count())),
    )?;
    page.counter(
        "larder_response_bytes",
        "Bytes of response bodies sent to clients",
        routes.iter().map(|(name, route)| ([("route", name.as_str())], route.bytes())),
    )?;
    page.histogram(
        "larder_request_duration_seconds",
        "From a request's head to the end of its response",
        // A route has a dozen endings, most of which never happen: those have no histogram.
        each.into_iter().filter(|(_, taken)| taken.count() > 0),
    )
}

/// The families of the origins.
fn asked(page: &mut Page<'_, '_>, origins: &BTreeMap<String, OriginMetrics>) -> Written {
    let each = || origins.iter().map(|(name, origin)| (name.as_str(), origin.cells()));
    page.histogram(
        "larder_origin_duration_seconds",
        "From a request to an origin to the head of its answer",
        each().map(|(name, cells)| ([("origin", name)], cells.durations.snapshot())),
    )?;
    page.counter(
        "larder_origin_retries",
        "Requests to an origin that were sent again",
        each().map(|(name, cells)| ([("origin", name)], cells.retries.get())),
    )?;
    page.counter(
        "larder_origin_failures",
        "Requests that an origin did not answer",
        each().flat_map(|(name, cells)| {
            let failures = cells.failures.lock().clone().into_iter();
            failures.map(move |(why, number)| ([("origin", name), ("reason", why)], number))
        }),
    )?;
    page.gauge(
        "larder_origin_breaker_state",
        "An origin's breaker: 0 closed, 1 half open, 2 open",
        each().map(|(name, cells)| ([("origin", name)], small(cells.breaker()))),
    )?;
    let endpoints: Vec<_> = each()
        .flat_map(|(name, cells)| cells.endpoints().into_iter().map(move |it| (name, it)))
        .collect();
    page.gauge(
        "larder_origin_endpoint_up",
        "Whether an endpoint of an origin gets requests: 1, or 0 where its checks failed or it was out of reach",
        endpoints.iter().map(|(origin, endpoint)| {
            let labels = [("origin", *origin), ("endpoint", endpoint.name.as_str())];
            (labels, small(endpoint.is_used.into()))
        }),
    )
}

/// The families of [`Counts`](crate::telemetry::metrics::Counts) that tell of bounds.
fn bounds(page: &mut Page<'_, '_>, all: &All) -> Written {
    let counts = &all.counts;
    let table: [(&str, &str, &Count); 2] = [
        (
            "larder_rate_limited",
            "Requests refused because their client asks more often than it may",
            &counts.rate_limited,
        ),
        (
            "larder_too_many_keys",
            "Answers not stored because their route has as many keys stored as it may",
            &counts.too_many_keys,
        ),
    ];
    table.into_iter().try_for_each(|(name, help, count)| {
        page.counter(name, help, [([NO_LABEL; 0], count.get())])
    })
}

/// The families of [`Counts`](crate::telemetry::metrics::Counts).
fn counts(page: &mut Page<'_, '_>, all: &All) -> Written {
    let counts = &all.counts;
    let table: [(&str, &str, &Count); 29] = [
        ("larder_flights_begun", "Fetches begun that requests may share", &counts.flights),
        ("larder_flight_followers", "Requests that joined another's fetch", &counts.followers),
        (
            "larder_hits_for_miss",
            "Requests sent straight on because their URL was uncacheable lately",
            &counts.hits_for_miss,
        ),
        (
            "larder_rollout_passed",
            "Requests passed because their key is not rolled out yet",
            &counts.rollout_passed,
        ),
        (
            "larder_layers_off_passed",
            "Requests passed because every layer of their route is off",
            &counts.layers_off_passed,
        ),
        ("larder_refreshes", "Refreshes asked for", &counts.refreshes_asked),
        (
            "larder_refreshes_dropped",
            "Refreshes dropped at a full queue",
            &counts.refreshes_dropped,
        ),
        ("larder_refreshes_failed", "Refreshes that brought nothing", &counts.refreshes_failed),
        (
            "larder_leases_taken",
            "Fetches that this instance had the fleet's lease for",
            &counts.leases_taken,
        ),
        ("larder_leases_waited", "Waits for another instance's fetch", &counts.leases_waited),
        ("larder_leases_missed", "Such waits that brought nothing", &counts.leases_missed),
        (
            "larder_purges_asked",
            "Purges asked of this instance over its admin API",
            &counts.purges_asked,
        ),
        ("larder_events", "Events told to this instance, webhooks among them", &counts.events),
        (
            "larder_events_refused",
            "Events from the stream that were not understood",
            &counts.events_refused,
        ),
        (
            "larder_rewarms_asked",
            "Hot purged entries that are to be fetched again",
            &counts.rewarms_asked,
        ),
        ("larder_rewarmed", "Entries fetched again after a purge", &counts.rewarmed),
        ("larder_rewarms_failed", "Such fetches that brought nothing", &counts.rewarms_failed),
        (
            "larder_rewarms_skipped",
            "Hot purged entries that cannot be asked for again",
            &counts.rewarms_skipped,
        ),
        ("larder_downstream_told", "Purges told downstream", &counts.downstream_told),
        (
            "larder_downstream_retried",
            "Attempts to tell a purge downstream that failed",
            &counts.downstream_retried,
        ),
        (
            "larder_downstream_failed",
            "Purges given up downstream, or not told whole",
            &counts.downstream_failed,
        ),
        ("larder_purges_detached", "Purges that the log did not take", &counts.purges_detached),
        ("larder_reloads", "Configurations taken over", &counts.reloads),
        (
            "larder_reloads_refused",
            "Configurations refused for their faults",
            &counts.reloads_refused,
        ),
        (
            "larder_bodies_cut_off",
            "Responses cut off because their origin was",
            &counts.bodies_cut_off,
        ),
        (
            "larder_l2_body_bytes",
            "Bytes of the bodies written to the L2, before they are compressed",
            &counts.bodies_put,
        ),
        (
            "larder_l2_stored_body_bytes",
            "Bytes that these bodies take in the L2",
            &counts.bodies_stored,
        ),
        ("larder_clients_left", "Responses whose client left before the end", &counts.clients_left),
        (
            "larder_admin_refusals",
            "Requests to the admin API that were not authorised",
            &counts.admin_refusals,
        ),
    ];
    table.into_iter().try_for_each(|(name, help, count)| {
        page.counter(name, help, [([NO_LABEL; 0], count.get())])
    })
}

/// What the tripwires did.
fn tripwires(page: &mut Page<'_, '_>, all: &All) -> Written {
    let counts = &all.counts;
    let table: [(&str, &str, &Count); 3] = [
        (
            "larder_tripwire_probes",
            "Stored entries compared with another identity's answer before they are shared",
            &counts.tripwire_probes,
        ),
        (
            "larder_tripwire_alarms",
            "Routes found to share what differs by identity",
            &counts.tripwire_alarms,
        ),
        (
            "larder_tripwire_passed",
            "Requests passed because their route's tripwire has sprung",
            &counts.tripwire_passed,
        ),
    ];
    table.into_iter().try_for_each(|(name, help, count)| {
        page.counter(name, help, [([NO_LABEL; 0], count.get())])
    })
}

/// The families of the process.
fn process(page: &mut Page<'_, '_>, all: &All) -> Written {
    let version = [("version", env!("CARGO_PKG_VERSION")), ("service", all.service.as_str())];
    page.gauge("larder_build_info", "Always 1; its labels say what runs", [(version, 1.0)])?;
    let uptime = all.born.elapsed().as_secs_f64();
    page.gauge("larder_uptime_seconds", "Time since the start", [([NO_LABEL; 0], uptime)])?;
    page.gauge(
        "process_resident_memory_bytes",
        "Resident memory of the process",
        resident().map(|bytes| ([NO_LABEL; 0], bytes)),
    )
}

/// What Linux says of the process's memory; nothing elsewhere.
fn resident() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u32 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(f64::from(kibibytes) * 1024.0)
}

/// Stands for the labels of a family that has none.
const NO_LABEL: (&str, &str) = ("", "");

/// What is written to; each call writes one family, or nothing when it has no samples.
struct Page<'a, 'b>(&'a mut DescriptorEncoder<'b>);

impl Page<'_, '_> {
    /// The encoder appends `_total` to the name, and a full stop to the help.
    fn counter<'l, const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = ([(&'l str, &'l str); N], u64)>,
    ) -> Written {
        self.family((name, help, MetricType::Counter), samples, |encoder, value| {
            encoder.encode_counter(&value, None::<&Exemplar<[(&str, &str); 0], u64>>)
        })
    }

    fn gauge<'l, const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = ([(&'l str, &'l str); N], f64)>,
    ) -> Written {
        self.family((name, help, MetricType::Gauge), samples, |encoder, value| {
            encoder.encode_gauge(&value)
        })
    }

    fn histogram<'l, const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = ([(&'l str, &'l str); N], Snapshot)>,
    ) -> Written {
        self.family((name, help, MetricType::Histogram), samples, |encoder, taken| {
            let bounds = BOUNDS.iter().map(|nanos| seconds(*nanos)).chain([f64::INFINITY]);
            let buckets: Vec<_> = bounds.zip(taken.buckets).collect();
            let (sum, count) = (seconds(taken.nanos), taken.count());
            encoder.encode_histogram::<[(&str, &str); 0]>(sum, count, &buckets, None)
        })
    }

    fn family<'l, const N: usize, V>(
        &mut self,
        (name, help, kind): (&str, &str, MetricType),
        samples: impl IntoIterator<Item = ([(&'l str, &'l str); N], V)>,
        mut write: impl FnMut(&mut MetricEncoder<'_>, V) -> Written,
    ) -> Written {
        let mut samples = samples.into_iter().peekable();
        if samples.peek().is_none() {
            return Ok(());
        }
        let mut encoder = self.0.encode_descriptor(name, help, None, kind)?;
        for (labels, value) in samples {
            if N == 0 {
                write(&mut encoder, value)?;
            } else {
                write(&mut encoder.encode_family(&labels)?, value)?;
            }
        }
        Ok(())
    }
}

#[expect(clippy::cast_precision_loss, reason = "seconds need no more than 52 bits of nanoseconds")]
fn seconds(nanos: u64) -> f64 {
    nanos as f64 / 1e9
}

/// A state's number.
fn small(number: u64) -> f64 {
    f64::from(u8::try_from(number).unwrap_or(u8::MAX))
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a count that was read as a float"
)]
fn whole(value: f64) -> u64 {
    value as u64
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::time::Duration;

    use super::*;

    fn sample<'a>(page: &'a str, name: &str) -> &'a str {
        page.lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))
            .unwrap_or_else(|| panic!("no {name} in\n{page}"))
    }

    #[test]
    fn a_route_that_is_registered_again_goes_on_counting() {
        let metrics = Metrics::new("shop");
        metrics.route("products").record(Ending::HitL1, 10, Duration::from_micros(20));
        metrics.route("products").record(Ending::HitL1, 5, Duration::from_micros(30));
        let page = metrics.render();
        let requests = r#"larder_requests_total{route="products",outcome="hit_l1"}"#;
        assert_eq!(sample(&page, requests), "2");
        assert_eq!(sample(&page, r#"larder_response_bytes_total{route="products"}"#), "15");
        let fast = r#"larder_request_duration_seconds_bucket{le="0.000025",route="products",outcome="hit_l1"}"#;
        assert_eq!(sample(&page, fast), "1");
    }

    #[test]
    fn the_promised_families_have_their_names_and_no_suffix_twice() {
        let metrics = Metrics::new("shop");
        metrics.l1().hit();
        metrics.l2().miss();
        metrics.l2().failed(Operation::Get, "late");
        metrics.l1().read_evictions(Eviction::Capacity, || 1);
        metrics.l1().invalidated(Invalidation::Purged);
        metrics.read(Reading::L1Bytes, || 512.0);
        metrics.read(Reading::L1Keys, || 1.0);
        let page = metrics.render();
        let rows = [
            (r#"cache_hits_total{cache_layer="L1"}"#, "1"),
            (r#"cache_misses_total{cache_layer="L2"}"#, "1"),
            ("cache_hit_rate", "0.0"),
            (r#"cache_operation_duration_seconds_count{operation="get",cache_layer="L1"}"#, "0"),
            (r#"cache_memory_bytes{cache_layer="L1"}"#, "512.0"),
            (r#"cache_keys_total{cache_layer="L1"}"#, "1.0"),
            (r#"cache_evictions_total{cache_layer="L1",reason="capacity"}"#, "1"),
            (r#"cache_invalidations_total{cache_layer="L1",reason="purged"}"#, "1"),
            (r#"cache_errors_total{cache_layer="L2",operation="get"}"#, "1"),
        ];
        for (name, value) in rows {
            assert_eq!(sample(&page, name), value);
        }
        assert!(!page.contains("total_total"));
        assert!(page.ends_with("# EOF\n"));
    }

    #[test]
    fn every_family_is_described_once_and_every_sample_is_written_once() {
        let metrics = Metrics::new("shop");
        metrics.origin("api").failed("reset");
        let page = metrics.render();
        let mut seen = HashSet::new();
        for line in page.lines() {
            let name = match line.strip_prefix("# ") {
                Some(described) => described.split(' ').take(2).collect::<Vec<_>>().join(" "),
                None => line.rsplit_once(' ').unwrap().0.to_owned(),
            };
            assert!(seen.insert(name), "twice: {line}");
        }
    }

    #[test]
    fn the_hit_rate_counts_what_was_looked_up_and_nothing_else() {
        let metrics = Metrics::new("shop");
        let route = metrics.route("products");
        for ending in [Ending::HitL1, Ending::HitL2, Ending::StaleL1, Ending::Miss] {
            route.record(ending, 0, Duration::ZERO);
        }
        route.record(Ending::Bypass, 0, Duration::ZERO);
        assert!((metrics.hit_rate() - 0.75).abs() < 1e-9);
    }

    #[test]
    fn every_family_is_in_the_runbook() {
        let metrics = Metrics::new("shop");
        metrics.origin("api").failed("reset");
        metrics.l2().failed(Operation::Get, "late");
        for (.., reading) in GAUGES {
            metrics.read(*reading, || 1.0);
        }
        for reading in [Reading::L1Bytes, Reading::L1Keys, Reading::AccessLogDropped] {
            metrics.read(reading, || 1.0);
        }
        let runbook = include_str!("../../docs/operations.md");
        let page = metrics.render();
        for line in page.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
            let name = line.strip_suffix(" counter").map_or_else(
                || line.split(' ').next().unwrap_or_default().to_owned(),
                |name| format!("{name}_total"),
            );
            assert!(runbook.contains(&name), "{name} is missing");
        }
    }

    #[test]
    fn names_with_odd_characters_are_escaped() {
        let metrics = Metrics::new("a\"b");
        assert!(metrics.render().contains(r#"service="a\"b""#));
    }
}
