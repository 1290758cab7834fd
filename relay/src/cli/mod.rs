//! The commands of the `relay` program, one file for each.

pub mod log;
pub mod serve;
