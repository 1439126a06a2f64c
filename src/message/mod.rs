//! HTTP messages: fields, directives, dates, conditions, ranges and bodies, without any policy.

pub mod air;
pub(crate) mod authority;
pub mod bearer;
pub mod body;
pub mod cache_control;
pub mod call;
pub mod conditional;
pub mod content_range;
pub mod date;
pub(crate) mod dictionary;
pub mod failure;
pub mod fields;
pub mod fill;
pub mod interim;
pub mod lead;
pub mod lines;
pub mod network;
pub mod pieces;
pub mod plain;
pub mod problem;
pub mod range;
pub mod reading;
pub mod reply;
pub mod shelf;
pub mod update;
