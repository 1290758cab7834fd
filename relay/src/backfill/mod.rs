//! Backfill: jobs that fill the directory from outside, and look whether what it says is still so.

mod pace;
mod provider;
mod spec;
mod told;
mod web;
mod work;

pub use spec::{Collections, Job, Kind, Progress, Spec, State};
pub use web::{Refusal, Web};
pub use work::{Later, Part, Planned, Step, Trouble, Work};
