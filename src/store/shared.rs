//! Store shared.
