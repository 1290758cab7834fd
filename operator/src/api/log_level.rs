use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How much a relay logs.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogLevel {
    /// What is broken.
    Error,
    /// Also what is suspicious.
    Warn,
    /// Also what it does.
    #[default]
    Info,
    /// Also why: much, for a short time.
    Debug,
}
