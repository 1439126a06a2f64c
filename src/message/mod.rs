//! HTTP messages: fields, directives, dates, conditions, ranges and bodies, without any policy.

pub mod body;
pub mod cache_control;
pub mod conditional;
pub mod date;
pub(crate) mod dictionary;
pub mod failure;
pub mod fields;
pub mod fill;
pub mod interim;
pub mod problem;
pub mod range;
pub mod reading;
