//! One file per command: `run` and `crd`, and those of the kubectl plugin with what they share.

mod cluster;
pub mod crd;
mod drain;
mod events;
mod forward;
mod hosts;
mod logs;
pub mod plugin;
pub mod run;
mod status;
mod text;
