//! Store memory.
