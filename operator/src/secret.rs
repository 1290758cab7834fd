//! Text that must not appear in a log, an event or a status.

use std::fmt;

/// A secret text. `Debug` hides it; [`Redacted::expose`] is the one way to it.
#[derive(Clone, PartialEq, Eq)]
pub struct Redacted(String);

impl Redacted {
    /// Hides `text`.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The text itself.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The first word: of a file of tokens, the one to use. The name of its holder may stand behind it.
    #[must_use]
    pub fn first_token(&self) -> &str {
        self.0.split_whitespace().next().unwrap_or_default()
    }
}

impl fmt::Debug for Redacted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<secret>")
    }
}
