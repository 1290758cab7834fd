//! Where the working set is going.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// What happens within it is noise: of it, the lowest is kept.
const BLOCK: Duration = Duration::from_secs(10);
/// Blocks that a slope needs at least: five minutes.
const BLOCKS_MIN: usize = 30;
/// Blocks that are remembered: half an hour.
const BLOCKS_MAX: usize = 180;
/// The last minutes count by themselves where they say that less than this is left.
const SOON: Duration = Duration::from_secs(3600);
/// Nobody should care for what is further away.
const FAR: Duration = Duration::from_secs(30 * 86_400);

/// The working set of the last half hour, and its slope: the median of the slopes between any two blocks. Neither the
/// saw-teeth of memtables and the allocator nor a single step make a trend of their own.
#[derive(Debug, Clone, Default)]
pub struct Trend {
    /// The last is still open.
    blocks: VecDeque<Block>,
    /// Of all blocks but the open one, in bytes per second.
    slope: Option<f64>,
    /// Of the last [`BLOCKS_MIN`].
    recent: Option<f64>,
}

#[derive(Debug, Clone, Copy)]
struct Block {
    start: Instant,
    lowest: u64,
}

impl Trend {
    /// Notes the working set at a time. May be called as often as one likes.
    pub fn push(&mut self, at: Instant, bytes: u64) {
        match self.blocks.back_mut() {
            Some(open) if at < open.start + BLOCK => open.lowest = open.lowest.min(bytes),
            _ => {
                self.fit();
                self.blocks.push_back(Block { start: at, lowest: bytes });
            }
        }
    }

    /// The slope; none before five minutes are known.
    pub fn bytes_per_hour(&self) -> Option<f64> {
        Some(self.slope? * 3600.0)
    }

    /// When the working set reaches `limit` if it goes on like this from `now_bytes`; none when it does not rise, or so
    /// slowly that it takes more than a month.
    pub fn seconds_to(&self, limit: u64, now_bytes: u64) -> Option<u64> {
        let left = limit.saturating_sub(now_bytes) as f64;
        let seconds = |slope: Option<f64>| Some(left / slope.filter(|slope| *slope > 0.0)?);
        let long = seconds(self.slope).filter(|seconds| *seconds <= FAR.as_secs_f64());
        let soon = seconds(self.recent).filter(|seconds| *seconds <= SOON.as_secs_f64());
        Some(long.into_iter().chain(soon).reduce(f64::min)? as u64)
    }

    /// Forgets: what happened before says nothing of what comes, as after a change of plan.
    pub fn reset(&mut self) {
        *self = Trend::default();
    }

    /// Closes the open block: no more of it will come.
    fn fit(&mut self) {
        while self.blocks.len() > BLOCKS_MAX {
            self.blocks.pop_front();
        }
        let blocks = self.blocks.make_contiguous();
        self.slope = slope(blocks);
        self.recent = slope(&blocks[blocks.len().saturating_sub(BLOCKS_MIN)..]);
    }
}

/// The median slope between any two blocks, in bytes per second (Theil and Sen).
fn slope(blocks: &[Block]) -> Option<f64> {
    if blocks.len() < BLOCKS_MIN {
        return None;
    }
    let mut slopes = Vec::with_capacity(blocks.len() * (blocks.len() - 1) / 2);
    for (number, later) in blocks.iter().enumerate() {
        let to_later = |earlier: &Block| {
            (later.lowest as f64 - earlier.lowest as f64) / (later.start - earlier.start).as_secs_f64()
        };
        slopes.extend(blocks[..number].iter().map(to_later));
    }
    let middle = slopes.len() / 2;
    Some(*slopes.select_nth_unstable_by(middle, f64::total_cmp).1)
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    use super::*;

    const MIB: f64 = 1024.0 * 1024.0;
    const MINUTE: u64 = 60;

    /// The trend after so many seconds with a sample each.
    fn after(seconds: u64, mib_at: impl Fn(f64) -> f64) -> Trend {
        let (mut trend, start) = (Trend::default(), Instant::now());
        for second in 0..seconds {
            trend.push(start + Duration::from_secs(second), (mib_at(second as f64) * MIB) as u64);
        }
        trend
    }

    fn mib_per_hour(trend: &Trend) -> f64 {
        trend.bytes_per_hour().expect("enough minutes") / MIB
    }

    fn assert_near(trend: &Trend, expected: f64, tolerance: f64) {
        let found = mib_per_hour(trend);
        assert!((found - expected).abs() <= tolerance, "{found} MiB per hour in place of {expected}");
    }

    /// A saw-tooth of so many MiB, that rises for so many seconds and falls at once.
    fn saw_tooth(second: f64, period: f64, mib: f64) -> f64 {
        (second % period) / period * mib
    }

    #[test]
    fn before_five_minutes_nothing_is_said() {
        let trend = after(5 * MINUTE, |second| 100.0 + second);
        assert_eq!((trend.bytes_per_hour(), trend.seconds_to(1 << 30, 1 << 28)), (None, None));
        assert!(after(5 * MINUTE + 10, |second| 100.0 + second).bytes_per_hour().is_some());
    }

    #[test]
    fn a_line_has_its_slope() {
        for slope in [-60.0, 0.0, 3.0, 600.0] {
            assert_near(&after(40 * MINUTE, |second| 500.0 + slope * second / 3600.0), slope, 0.01);
        }
    }

    #[test]
    fn noise_is_no_trend() {
        let random = std::cell::RefCell::new(StdRng::seed_from_u64(1));
        let noise = || random.borrow_mut().random_range(0.0..16.0);
        assert_near(&after(30 * MINUTE, |_| 500.0 + noise()), 0.0, 2.0);
        assert_near(&after(30 * MINUTE, |second| 500.0 + 60.0 * second / 3600.0 + noise()), 60.0, 2.0);
    }

    #[test]
    fn memtables_that_fill_and_empty_are_no_trend() {
        for period in [20.0, 45.0, 120.0] {
            assert_near(&after(30 * MINUTE, |second| 500.0 + saw_tooth(second, period, 32.0)), 0.0, 8.0);
        }
        let leaking = |second: f64| 500.0 + saw_tooth(second, 45.0, 32.0) + 120.0 * second / 3600.0;
        assert_near(&after(30 * MINUTE, leaking), 120.0, 8.0);
    }

    #[test]
    fn a_step_is_no_trend() {
        for at in [3.0, 8.0, 25.0] {
            let stepped = after(30 * MINUTE, |second| if second < at * 60.0 { 400.0 } else { 500.0 });
            assert_near(&stepped, 0.0, 0.01);
        }
    }

    #[test]
    fn the_time_to_the_limit_follows_the_slope() {
        let now = 600 << 20;
        let to_limit = |slope: f64| {
            let trend = after(30 * MINUTE, |second| 500.0 + slope * second / 3600.0);
            trend.seconds_to(900 << 20, now)
        };
        let seconds = to_limit(100.0).expect("it rises");
        assert!(seconds.abs_diff(3 * 3600) < 5, "300 MiB at 100 an hour: {seconds} s");
        assert_eq!(to_limit(0.0), None, "flat");
        assert_eq!(to_limit(-100.0), None, "falling");
        assert_eq!(to_limit(0.1), None, "in months");
        let over = after(30 * MINUTE, |second| 500.0 + second);
        assert_eq!(over.seconds_to(400 << 20, now), Some(0), "beyond it already");
    }

    /// Half an hour of calm does not hide what began five minutes ago.
    #[test]
    fn a_leak_that_begins_is_seen_while_it_matters() {
        let calm = 25.0 * 60.0;
        let leaking =
            |mib_per_hour: f64| after(30 * MINUTE, |second| 500.0 + (second - calm).max(0.0) * mib_per_hour / 3600.0);
        let fast = leaking(1200.0);
        assert_near(&fast, 0.0, 0.01);
        let seconds = fast.seconds_to(900 << 20, 600 << 20).expect("it rises");
        assert!(seconds.abs_diff(900) < 5, "300 MiB at 20 a minute: {seconds} s");
        assert_eq!(leaking(60.0).seconds_to(900 << 20, 600 << 20), None, "there is time to see whether it lasts");
    }

    #[test]
    fn what_is_forgotten_says_nothing() {
        let mut trend = after(30 * MINUTE, |second| 500.0 + second);
        trend.reset();
        assert_eq!(trend.bytes_per_hour(), None);
    }

    #[test]
    fn it_remembers_half_an_hour() {
        let trend = after(90 * MINUTE, |second| if second < 3600.0 { 500.0 + second } else { 4100.0 });
        assert_near(&trend, 0.0, 0.01);
        assert_eq!(trend.blocks.len(), BLOCKS_MAX + 1);
    }
}
