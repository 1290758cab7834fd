//! One file per command.

pub mod crd;
pub mod run;
