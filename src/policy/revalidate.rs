//! Ask again and merge.
