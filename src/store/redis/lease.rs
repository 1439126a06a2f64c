//! Leases in Redis.

use std::time::Duration;

use crate::key::Key;
use crate::store::{Lease, Leases};

/// The fleet's leases.
#[derive(Clone)]
pub struct RedisLeases {}

/// A lease of this process; dropping it lets go in the background.
pub struct Held {}

impl Leases for RedisLeases {
    type Held = Held;

    async fn acquire(&self, _: Key, _: Duration) -> Lease<Held> {
        unimplemented!()
    }

    async fn released(&self, _: Key, _: Duration) {
        unimplemented!()
    }
}
