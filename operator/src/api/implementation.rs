use kube::core::Rule;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which program the relay is.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Implementation {
    /// The relay of this project.
    #[default]
    Bundled,
    /// The relay of Bluesky's indigo, in Go.
    Indigo,
    /// zlay, in Zig.
    Zlay,
}

impl Implementation {
    /// Its name, as in the spec.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Bundled => "Bundled",
            Self::Indigo => "Indigo",
            Self::Zlay => "Zlay",
        }
    }
}

/// Smallest memory limit of a relay that does not plan its memory: less than that is gone before the first host is
/// connected and a burst of events has come.
pub const FOREIGN_MIN_LIMIT: &str = "256Mi";
/// What a relay of another project needs of its spec, in the words of the schema and of the operator.
pub const FOREIGN_NEEDS_IMAGE: &str =
    "the operator has no image of another implementation than Bundled; name one in spec.image";
/// See [`FOREIGN_NEEDS_IMAGE`].
pub const FOREIGN_NEEDS_MEMORY: &str = "another implementation than Bundled needs a memory.limit of at least 256Mi";
/// See [`FOREIGN_NEEDS_IMAGE`].
pub const FOREIGN_NEEDS_NEVER: &str = "memory.resize: InPlace needs implementation: Bundled; others read how much memory they may use at their start only";
/// See [`FOREIGN_NEEDS_IMAGE`].
pub const ZLAY_NEEDS_DATABASE: &str = "zlay needs a PostgreSQL database; name the Secret with its URL in spec.database.externalSecretRef, or let spec.database.cloudNativePG make one";

/// A rule for relays of other projects.
pub(super) fn foreign_rule(expression: &str, message: &str) -> Rule {
    Rule::new(format!("self.spec.implementation == 'Bundled' || {expression}")).message(message)
}
