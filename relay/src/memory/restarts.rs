//! Planned restarts of the last hour, remembered over them.

use std::path::PathBuf;
use std::time::Duration;

/// How often the relay may restart itself.
#[derive(Debug, Clone)]
pub struct Restarts {
    /// File in the data folder that remembers them.
    pub file: PathBuf,
    /// Shortest time between two.
    pub cooldown: Duration,
    /// Most of them in an hour.
    pub per_hour_max: u32,
}
