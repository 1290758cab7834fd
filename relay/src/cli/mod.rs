//! The commands of the `relay` program, one file for each.

pub mod serve;
