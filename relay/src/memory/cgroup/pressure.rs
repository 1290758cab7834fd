//! How much the kernel says that tasks wait for memory.

/// Pressure stall information of the last ten seconds: how much of them some task, and all tasks, have waited for memory.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Pressure {
    /// Some, in percent.
    pub some_avg10: f64,
    /// All, in percent.
    pub full_avg10: f64,
}

impl Pressure {
    /// Reads `memory.pressure`; nothing when that is not what it is.
    pub(super) fn parse(text: &str) -> Option<Pressure> {
        let avg10 = |who: &str| -> Option<f64> {
            let mut fields = text.lines().find_map(|line| line.strip_prefix(who))?.split_whitespace();
            let percent: f64 = fields.find_map(|field| field.strip_prefix("avg10="))?.parse().ok()?;
            (0.0..=100.0).contains(&percent).then_some(percent)
        };
        Some(Pressure { some_avg10: avg10("some ")?, full_avg10: avg10("full ")? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_ten_seconds_are_read() {
        let text =
            "some avg10=3.27 avg60=1.20 avg300=0.31 total=5298731\nfull avg10=0.91 avg60=0.40 avg300=0.10 total=1\n";
        assert_eq!(Pressure::parse(text), Some(Pressure { some_avg10: 3.27, full_avg10: 0.91 }));
    }

    #[test]
    fn what_is_not_that_is_nothing() {
        for text in
            ["", "some avg10=3.27\n", "some avg10=x\nfull avg10=0.00\n", "some avg10=NaN\nfull avg10=0.00\n", "max"]
        {
            assert_eq!(Pressure::parse(text), None, "{text:?}");
        }
    }
}
