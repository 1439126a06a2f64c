//! The purger.
