//! Numbers of bytes, as Kubernetes writes them.

use std::fmt;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

/// Binary units from the largest, then decimal ones.
const UNITS: [(&str, u64); 8] = [
    ("Ti", 1 << 40),
    ("Gi", 1 << 30),
    ("Mi", 1 << 20),
    ("Ki", 1 << 10),
    ("T", 1_000_000_000_000),
    ("G", 1_000_000_000),
    ("M", 1_000_000),
    ("k", 1_000),
];

/// A number of bytes. It is displayed with the largest unit that leaves a whole number, which is the form
/// that the API server stores: what the operator applies equals what it reads back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

impl ByteSize {
    /// Reads a whole number with an optional unit; `None` when it is something else or above 2^64.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let unit = &text[digits.len()..];
        let factor = match unit {
            "" => 1,
            _ => UNITS.iter().find(|(name, _)| *name == unit)?.1,
        };
        digits.parse::<u64>().ok()?.checked_mul(factor).map(Self)
    }

    /// A short form for people, rounded to whole units of 1024: 70Mi.
    #[must_use]
    pub fn rounded(self) -> String {
        let binary = &UNITS[..4];
        match binary.iter().find(|(_, factor)| self.0 >= 10 * factor) {
            Some((name, factor)) => format!("{}{name}", (self.0 + factor / 2) / factor),
            None => self.to_string(),
        }
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fitting = UNITS.iter().filter(|(_, factor)| self.0 != 0 && self.0.is_multiple_of(*factor));
        match fitting.max_by_key(|(_, factor)| *factor) {
            Some((name, factor)) => write!(f, "{}{name}", self.0 / factor),
            None => write!(f, "{}", self.0),
        }
    }
}

impl From<ByteSize> for Quantity {
    fn from(size: ByteSize) -> Self {
        Self(size.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_written_as_the_api_server_writes_them() {
        #[rustfmt::skip]
        let table = [
            ("1Gi", Some((1 << 30, "1Gi"))),
            ("1024Mi", Some((1 << 30, "1Gi"))),
            ("1536Mi", Some((1_610_612_736, "1536Mi"))),
            ("2G", Some((2_000_000_000, "2G"))),
            ("1500M", Some((1_500_000_000, "1500M"))),
            ("1024", Some((1024, "1Ki"))),
            ("7", Some((7, "7"))),
            ("18446744073709551616", None),
            ("20000000Ti", None),
            ("1.5Gi", None),
            ("Gi", None),
            ("", None),
            ("5Xi", None),
            ("é", None),
        ];
        for (text, want) in table {
            let got = ByteSize::parse(text).map(|size| (size.0, size.to_string()));
            assert_eq!(got, want.map(|(bytes, shown)| (bytes, shown.to_string())), "{text}");
        }
    }

    #[test]
    fn sizes_for_people_are_short() {
        for (bytes, want) in [(73_400_320, "70Mi"), (1 << 30, "1024Mi"), (12_345_678_901, "11Gi"), (512, "512")] {
            assert_eq!(ByteSize(bytes).rounded(), want);
        }
    }
}
