//! What settings hold: modes, patterns, durations and sizes, as people write them.

use std::convert::Infallible;
use std::str::FromStr;
use std::time::Duration;

use clap::ValueEnum;
use serde::Deserialize;

/// The policy for events that fail verification (protocol 26, 27).
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Validation {
    /// Invalid events are dropped.
    Enforce,
    /// Invalid events are counted and passed on.
    Observe,
    /// Commits without the fields of sync 1.1 pass; the others are enforced.
    Lenient,
}

impl Validation {
    /// Every mode.
    pub const ALL: [Validation; 3] = [Validation::Enforce, Validation::Observe, Validation::Lenient];

    /// Its name in settings, the database and the admin API.
    pub fn as_str(self) -> &'static str {
        match self {
            Validation::Enforce => "enforce",
            Validation::Observe => "observe",
            Validation::Lenient => "lenient",
        }
    }
}

/// A mode for the hosts that a pattern matches, written `*.example.com=lenient`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValidationRule {
    /// A host's name, or `*.` and a domain.
    pub pattern: String,
    /// What happens to their events that fail verification.
    pub mode: Validation,
}

/// When an event counts as written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Durability {
    /// After the disk has confirmed it.
    Sync,
    /// After the operating system has taken it.
    Os,
}

/// Whether the operations on all `did:plc` are followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PlcExport {
    /// No.
    Off,
    /// Those of the PLC directory.
    On,
    /// Those that the directory at a URL has.
    At(String),
}

/// What becomes of older files of the event log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogCompression {
    /// They are compressed.
    Zstd,
    /// They stay as they are; those that are compressed already can be read all the same.
    None,
}

/// A length of time as people write it: `72h`, `90 min`, `3d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span(pub Duration);

/// A number of bytes as people write it: `1073741824`, `512Mi`, `2G`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bytes(pub u64);

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Span, String> {
        let refuse = || format!("{text:?} is not a duration; write 72h, 90m or 3d");
        // A day is 24 hours here; calendars do not matter to a log.
        let span: jiff::Span = text.parse().map_err(|_| refuse())?;
        let relative = jiff::SpanRelativeTo::days_are_24_hours();
        let seconds = span.to_duration(relative).map_err(|_| refuse())?;
        Duration::try_from(seconds).map(Span).map_err(|_| refuse())
    }
}

impl FromStr for ValidationRule {
    type Err = String;

    fn from_str(text: &str) -> Result<ValidationRule, String> {
        let parse = || {
            let (pattern, mode) = text.split_once('=')?;
            let mode = Validation::ALL.into_iter().find(|known| known.as_str() == mode.trim())?;
            let pattern = pattern.trim().to_ascii_lowercase();
            (!pattern.is_empty()).then_some(ValidationRule { pattern, mode })
        };
        parse().ok_or_else(|| {
            format!("{text:?} is not a rule; write a host or a pattern, =, and enforce, observe or lenient")
        })
    }
}

impl<'de> Deserialize<'de> for ValidationRule {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl FromStr for Bytes {
    type Err = String;

    fn from_str(text: &str) -> Result<Bytes, String> {
        let refuse = || format!("{text:?} is not a size; write bytes, or a number with Ki, Mi, Gi, Ti, K, M, G or T");
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let factor: u64 = match unit {
            "" | "B" => 1,
            "Ki" => 1 << 10,
            "Mi" => 1 << 20,
            "Gi" => 1 << 30,
            "Ti" => 1 << 40,
            "K" | "k" => 1_000,
            "M" => 1_000_000,
            "G" => 1_000_000_000,
            "T" => 1_000_000_000_000,
            _ => return Err(refuse()),
        };
        let number: u64 = number.parse().map_err(|_| refuse())?;
        number.checked_mul(factor).map(Bytes).ok_or_else(refuse)
    }
}

impl FromStr for PlcExport {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<PlcExport, Infallible> {
        Ok(match text {
            "false" => PlcExport::Off,
            "true" => PlcExport::On,
            url => PlcExport::At(url.to_owned()),
        })
    }
}

impl<'de> Deserialize<'de> for PlcExport {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Switch(bool),
            Text(String),
        }
        Ok(match Written::deserialize(deserializer)? {
            Written::Switch(false) => PlcExport::Off,
            Written::Switch(true) => PlcExport::On,
            Written::Text(url) => PlcExport::At(url),
        })
    }
}

/// In the file these two may be numbers (seconds, bytes) or text.
macro_rules! deserialize_from_number_or_text {
    ($name:ty, $from_number:expr) => {
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                #[derive(Deserialize)]
                #[serde(untagged)]
                enum Written {
                    Number(u64),
                    Text(String),
                }
                match Written::deserialize(deserializer)? {
                    Written::Number(number) => Ok($from_number(number)),
                    Written::Text(text) => text.parse().map_err(serde::de::Error::custom),
                }
            }
        }
    };
}

deserialize_from_number_or_text!(Span, |seconds| Span(Duration::from_secs(seconds)));
deserialize_from_number_or_text!(Bytes, Bytes);
