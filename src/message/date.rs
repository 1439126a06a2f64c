//! HTTP dates.
