//! Every metric, in one table.

/// The handles of one route's metrics.
#[derive(Clone, Debug, Default)]
pub struct RouteMetrics {}
