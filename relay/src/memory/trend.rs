//! Where the working set is going.

/// The slope of the working set over the last minutes.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Trend {
    /// Bytes per hour.
    pub bytes_per_hour: f64,
}
