//! L2 in Redis: one hash per URL, one field per variant.

use std::sync::Arc;

use crate::entry::Entry;
use crate::key::vary::Selector;
use crate::store::{Place, Store, StoreError};

/// Entries in Redis.
#[derive(Clone)]
pub struct Entries {}

impl Store for Entries {
    async fn get(&self, _: &Place, _: &Selector<'_>) -> Result<Option<Arc<Entry>>, StoreError> {
        unimplemented!()
    }

    async fn put(&self, _: &Place, _: Arc<Entry>) -> Result<(), StoreError> {
        unimplemented!()
    }

    async fn remove(&self, _: &Place) -> Result<(), StoreError> {
        unimplemented!()
    }
}
