//! Whether anyone may name a host by requestCrawl.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::decisions::{self, Actor, Decisions, Setting};

/// The switch of public requestCrawl; on, until an operator turns it off.
#[derive(Debug)]
pub struct RequestCrawl {
    enabled: AtomicBool,
    decisions: Decisions,
}

impl RequestCrawl {
    /// The switch as it was left.
    pub async fn load(decisions: Decisions) -> Result<RequestCrawl, decisions::Error> {
        let left = decisions.setting(Setting::RequestCrawl).await?;
        Ok(RequestCrawl { enabled: AtomicBool::new(left.as_deref() != Some("false")), decisions })
    }

    /// Whether it is on.
    pub fn is_enabled(&self) -> bool {
        self.enabled.load(Ordering::Relaxed)
    }

    /// Turns it on or off.
    pub async fn set_enabled(&self, enabled: bool, by: Actor<'_>) -> Result<(), decisions::Error> {
        self.decisions.set(Setting::RequestCrawl, if enabled { "true" } else { "false" }, by).await?;
        self.enabled.store(enabled, Ordering::Relaxed);
        Ok(())
    }
}
