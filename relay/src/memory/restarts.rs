//! Planned restarts of late, remembered over them: a relay that does not fit its limit may not restart for ever.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;

const HOUR_MS: i64 = 3_600_000;
/// What is remembered is some numbers; a larger file is not ours.
const FILE_BYTES_MAX: u64 = 64 << 10;

/// How often the relay may restart itself.
#[derive(Debug, Clone)]
pub struct Restarts {
    /// File in the data folder that remembers them: their times in milliseconds since 1970, as JSON.
    pub file: PathBuf,
    /// Shortest time between two.
    pub cooldown: Duration,
    /// Most of them in an hour.
    pub per_hour_max: u32,
}

/// Why the relay may not restart itself now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Never.
    #[error("restarts-per-hour is 0")]
    Never,
    /// The last one was only just.
    #[error("the last one was less than {} s ago (restart-cooldown); the next one is possible at {until}", .cooldown.as_secs())]
    Cooldown {
        /// What is to be between two.
        cooldown: Duration,
        /// When it is over.
        until: Timestamp,
    },
    /// There were enough.
    #[error("there were {count} within the last hour (restarts-per-hour); the next one is possible at {until}")]
    PerHour {
        /// How many.
        count: usize,
        /// When there are fewer.
        until: Timestamp,
    },
    /// The next start would not know of it, and so restart again, for ever.
    #[error("it cannot be remembered in {file}: {error}")]
    Unwritten {
        /// Where.
        file: String,
        /// Why.
        error: String,
    },
}

/// The restarts that are remembered.
#[derive(Debug)]
pub(super) struct Past {
    rule: Restarts,
    at_ms: Vec<i64>,
}

impl Past {
    /// Reads them. A file that cannot be understood stands for a restart just now: whoever has written it, the cool-down
    /// is the safe side.
    pub(super) fn load(rule: Restarts, now: Timestamp) -> Past {
        let at_ms = match read(&rule.file) {
            Ok(at_ms) => at_ms,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => {
                let file = rule.file.display();
                tracing::warn!(%file, %error, "no restart for memory before restart-cooldown: the last ones are unknown");
                vec![now.as_millisecond()]
            }
        };
        Past { rule, at_ms }
    }

    /// How often it may be.
    pub(super) fn rule(&self) -> &Restarts {
        &self.rule
    }

    /// Whether the relay may restart now. A restart that the clock has not reached yet was just now: clocks are set back.
    pub(super) fn check(&mut self, now: Timestamp) -> Result<(), Refusal> {
        let now_ms = now.as_millisecond();
        let cooldown_ms = i64::try_from(self.rule.cooldown.as_millis()).unwrap_or(i64::MAX);
        self.at_ms.retain(|at_ms| now_ms.saturating_sub(*at_ms) < cooldown_ms.max(HOUR_MS));
        for at_ms in &mut self.at_ms {
            *at_ms = now_ms.min(*at_ms);
        }
        self.at_ms.sort_unstable();

        let after = |at_ms: i64, wait_ms: i64| {
            Timestamp::from_millisecond(at_ms.saturating_add(wait_ms)).unwrap_or(Timestamp::MAX)
        };
        let per_hour_max = self.rule.per_hour_max as usize;
        if per_hour_max == 0 {
            return Err(Refusal::Never);
        }
        if let Some(last_ms) = self.at_ms.last().filter(|last_ms| now_ms.saturating_sub(**last_ms) < cooldown_ms) {
            return Err(Refusal::Cooldown { cooldown: self.rule.cooldown, until: after(*last_ms, cooldown_ms) });
        }
        let within_hour = self.at_ms.iter().rev().filter(|at_ms| now_ms.saturating_sub(**at_ms) < HOUR_MS);
        match within_hour.clone().nth(per_hour_max - 1) {
            Some(oldest_ms) => Err(Refusal::PerHour { count: within_hour.count(), until: after(*oldest_ms, HOUR_MS) }),
            None => Ok(()),
        }
    }

    /// Remembers a restart, on disk before it happens, if there may be one.
    pub(super) fn begin(&mut self, now: Timestamp) -> Result<(), Refusal> {
        self.check(now)?;
        let at_ms = [&self.at_ms[..], &[now.as_millisecond()]].concat();
        match write(&self.rule.file, &at_ms) {
            Ok(()) => {
                self.at_ms = at_ms;
                Ok(())
            }
            Err(error) => {
                let file = self.rule.file.display().to_string();
                Err(Refusal::Unwritten { file, error: error.to_string() })
            }
        }
    }
}

fn read(file: &Path) -> io::Result<Vec<i64>> {
    let mut text = Vec::new();
    File::open(file)?.take(FILE_BYTES_MAX).read_to_end(&mut text)?;
    Ok(serde_json::from_slice(&text)?)
}

/// A crash leaves the old content or the new one.
fn write(file: &Path, at_ms: &[i64]) -> io::Result<()> {
    let new = file.with_extension("new");
    let mut opened = File::create(&new)?;
    opened.write_all(&serde_json::to_vec(at_ms)?)?;
    opened.sync_all()?;
    std::fs::rename(&new, file)?;
    match file.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    const COOLDOWN: Duration = Duration::from_secs(600);

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_795_514_400 + second).unwrap()
    }

    struct World {
        folder: tempfile::TempDir,
    }

    impl World {
        fn new() -> World {
            World { folder: tempfile::tempdir().unwrap() }
        }

        fn file(&self) -> PathBuf {
            self.folder.path().join("restarts.json")
        }

        /// The memory of a relay that starts at this second.
        fn start(&self, second: i64, per_hour_max: u32) -> Past {
            Past::load(Restarts { file: self.file(), cooldown: COOLDOWN, per_hour_max }, at(second))
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn however_often_it_wants_to_it_restarts_no_more_often_than_it_may(
            waits in prop::collection::vec(1..1500i64, 1..40),
            per_hour_max in 1..5u32,
        ) {
            let world = World::new();
            let (mut second, mut restarts) = (0, Vec::new());
            let mut past = world.start(0, per_hour_max);
            for wait in waits {
                second += wait;
                let last = restarts.iter().copied().filter(|then| second - then < 3600).collect::<Vec<i64>>();
                let is_due = last.len() < per_hour_max as usize && last.iter().all(|then| second - then >= 600);
                let begun = past.begin(at(second));
                prop_assert_eq!(begun.is_ok(), is_due, "{:?} at {} after {:?}", begun, second, restarts);
                if begun.is_ok() {
                    restarts.push(second);
                    past = world.start(second, per_hour_max);
                }
                if let Err(Refusal::Cooldown { until, .. } | Refusal::PerHour { until, .. }) = begun {
                    prop_assert!(until > at(second), "until {until} at {}", at(second));
                }
            }
        }
    }

    fn cooldown(until: i64) -> Result<(), Refusal> {
        Err(Refusal::Cooldown { cooldown: COOLDOWN, until: at(until) })
    }

    #[test]
    fn restarts_are_remembered_over_restarts() {
        let world = World::new();
        assert_eq!(world.start(0, 2).begin(at(0)), Ok(()));
        assert_eq!(world.start(5, 2).begin(at(5)), cooldown(600));
        assert_eq!(world.start(5, 2).begin(at(599)), cooldown(600));
        assert_eq!(world.start(5, 2).begin(at(600)), Ok(()));
        let mut past = world.start(605, 2);
        assert_eq!(past.begin(at(700)), cooldown(1200));
        assert_eq!(past.begin(at(1200)), Err(Refusal::PerHour { count: 2, until: at(3600) }));
        assert_eq!(past.begin(at(3600)), Ok(()));
        assert_eq!(world.start(3605, 2).begin(at(4200)), Ok(()), "both that were first are more than an hour ago");
    }

    #[test]
    fn a_refused_restart_is_not_remembered() {
        let world = World::new();
        world.start(0, 2).begin(at(0)).unwrap();
        let mut past = world.start(1, 2);
        for second in 1..600 {
            assert_eq!(past.begin(at(second)), cooldown(600));
        }
        assert_eq!(past.begin(at(600)), Ok(()));
    }

    #[test]
    fn never_is_never() {
        let world = World::new();
        assert_eq!(world.start(0, 0).begin(at(0)), Err(Refusal::Never));
        assert!(!world.file().exists());
    }

    #[test]
    fn a_longer_cooldown_than_an_hour_is_kept() {
        let world = World::new();
        let rule = Restarts { file: world.file(), cooldown: Duration::from_secs(7200), per_hour_max: 9 };
        Past::load(rule.clone(), at(0)).begin(at(0)).unwrap();
        assert!(Past::load(rule.clone(), at(5000)).begin(at(7199)).is_err());
        assert_eq!(Past::load(rule, at(5000)).begin(at(7200)), Ok(()));
    }

    #[test]
    fn a_clock_that_was_set_back_does_not_block_for_ever() {
        let world = World::new();
        world.start(1_000_000, 2).begin(at(1_000_000)).unwrap();
        let mut past = world.start(0, 2);
        assert_eq!(past.begin(at(0)), cooldown(600), "as if it were just now");
        assert_eq!(past.begin(at(600)), Ok(()));
    }

    #[test]
    fn a_file_that_is_torn_or_foreign_means_the_cooldown() {
        for text in ["", "[17955144", "{}", "[\"x\"]", "[1.5]", "\u{0}\u{1}", &"[".repeat(100_000)] {
            let world = World::new();
            std::fs::write(world.file(), text).unwrap();
            let mut past = world.start(0, 2);
            assert_eq!(past.begin(at(1)), cooldown(600), "{text:.20}");
            assert_eq!(past.begin(at(600)), Ok(()), "{text:.20}");
            assert_eq!(world.start(601, 2).at_ms.len(), 2, "it is a good one now: {text:.20}");
        }
        let world = World::new();
        std::fs::write(world.file(), format!("[{}, {}]", i64::MIN, i64::MAX)).unwrap();
        assert_eq!(world.start(0, 2).begin(at(1)), cooldown(601), "times that cannot be");
    }

    #[test]
    fn what_cannot_be_remembered_does_not_happen() {
        let world = World::new();
        let file = world.folder.path().join("missing/restarts.json");
        let mut past = Past::load(Restarts { file, cooldown: COOLDOWN, per_hour_max: 2 }, at(0));
        for second in [0, 10] {
            let refused = past.begin(at(second));
            assert!(
                matches!(&refused, Err(Refusal::Unwritten { file, .. }) if file.contains("missing")),
                "{refused:?}"
            );
        }
    }
}
