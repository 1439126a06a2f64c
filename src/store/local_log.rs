//! Store local_log.
