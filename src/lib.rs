//! Larder: an HTTP read-through caching reverse proxy.
