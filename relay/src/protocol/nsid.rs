//! Names of collections.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::syntax;

/// The name of a collection, like `com.example.fooBar`; cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Nsid(Arc<str>);

/// Text that is not an NSID.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an NSID; write one like com.example.record")]
pub struct NsidError(String);

/// Bytes of a malformed NSID that a message shows.
const SHOWN_CHARS_MAX: usize = 64;

impl Nsid {
    /// Reads an NSID.
    pub fn parse(text: &str) -> Result<Nsid, NsidError> {
        if syntax::is_nsid(text) {
            Ok(Nsid(text.into()))
        } else {
            Err(NsidError(text.chars().take(SHOWN_CHARS_MAX).collect()))
        }
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Nsid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Nsid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Borrow<str> for Nsid {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl Serialize for Nsid {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Nsid {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Nsid, D::Error> {
        let text = String::deserialize(deserializer)?;
        Nsid::parse(&text).map_err(de::Error::custom)
    }
}
