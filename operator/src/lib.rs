//! Kubernetes operator for AT Protocol relays.
//!
//! A person applies one [`api::Relay`]; the operator makes what it needs, keeps it so, and says in its status
//! how it is. [`relay::reconcile`] is the main path.

pub mod api;
pub mod lease;
pub mod life;
pub mod metrics;
pub mod relay;
pub mod relay_admin;
pub mod requests;
pub mod secret;
pub mod server;
