//! Store disk.
