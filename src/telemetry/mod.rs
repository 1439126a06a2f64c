//! What is told to operators: metrics and logs.

pub mod access;
mod exposition;
pub mod labels;
pub mod logs;
pub mod metrics;
pub mod tally;
