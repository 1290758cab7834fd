#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;

/// A limit of which a percent is a round number.
const LIMIT: u64 = 1000 << 20;
const DRAIN_TIME: Duration = Duration::from_secs(30);

/// A ladder that is told something every second, and what it has done so far.
struct Story {
    ladder: Ladder,
    begin: Instant,
    second: u64,
    droppable_percent: u64,
    pressure: Option<Pressure>,
    seconds_to_limit: Option<u64>,
}

impl Story {
    fn new() -> Story {
        Story {
            ladder: Ladder::new(DRAIN_TIME),
            begin: Instant::now(),
            second: 0,
            droppable_percent: 0,
            pressure: None,
            seconds_to_limit: None,
        }
    }

    fn sample(&self, percent: f64) -> Sample {
        Sample {
            at: self.begin + Duration::from_secs(self.second),
            working_set: (LIMIT as f64 / 100.0 * percent) as u64,
            droppable: LIMIT / 100 * self.droppable_percent,
            limit: LIMIT,
            marks: Marks::default(),
            pressure: self.pressure,
            seconds_to_limit: self.seconds_to_limit,
        }
    }

    /// A second at so many percent of the limit.
    fn at(&mut self, percent: f64) -> Option<Cause> {
        let cause = self.ladder.look(&self.sample(percent));
        self.second += 1;
        cause
    }

    /// So many seconds at so many percent of the limit: the steps in them, and the first cause with its second.
    fn stay(&mut self, percent: f64, seconds: u64) -> (Vec<Step>, Option<(u64, Cause)>) {
        let mut cause = None;
        let steps = (0..seconds).map(|second| {
            let asked = self.at(percent);
            cause = cause.or(asked.map(|asked| (second, asked)));
            self.ladder.step()
        });
        let mut steps: Vec<Step> = steps.collect();
        steps.dedup();
        (steps, cause)
    }
}

const UP_TO_CATCH_UP: [Step; 4] = [Step::Caches, Step::Purge, Step::Backfill, Step::CatchUp];

#[test]
fn below_the_soft_mark_nothing_happens() {
    assert_eq!(Story::new().stay(79.9, 7200), (vec![Step::None], None));
}

#[test]
fn above_the_soft_mark_a_step_is_climbed_every_five_seconds_but_nobody_is_refused() {
    let mut story = Story::new();
    let mut seconds = Vec::new();
    let mut last = Step::None;
    for second in 0..3600 {
        assert_eq!(story.at(81.0), None);
        if story.ladder.step() != last {
            last = story.ladder.step();
            seconds.push((second, last));
        }
    }
    assert_eq!(seconds, [0, 5, 10, 15].into_iter().zip(UP_TO_CATCH_UP).collect::<Vec<_>>());
}

#[test]
fn a_step_that_helps_is_the_last_one() {
    let mut story = Story::new();
    assert_eq!(story.stay(81.0, 7).0, [Step::Caches, Step::Purge]);
    assert_eq!(story.stay(76.0, 3600).0, [Step::Purge], "between leaving and climbing");
}

#[test]
fn consumers_are_refused_from_halfway_on() {
    assert_eq!(Story::new().stay(84.9, 3600).0, UP_TO_CATCH_UP);
    let (steps, cause) = Story::new().stay(85.1, 3600);
    assert_eq!((steps.last(), cause), (Some(&Step::Consumers), None));
}

#[test]
fn the_hard_mark_asks_for_a_restart_when_it_lasts() {
    let (steps, cause) = Story::new().stay(91.0, 40);
    assert_eq!(steps, [&UP_TO_CATCH_UP[..], &[Step::Consumers]].concat(), "the restart is for others to allow");
    assert_eq!(cause, Some((30, Cause::HardMark { seconds: 30 })));

    let mut story = Story::new();
    for peak in 0..20 {
        let (_, cause) = story.stay(91.0, 29);
        assert_eq!((cause, story.at(89.0)), (None, None), "peak {peak}");
    }
}

#[test]
fn at_the_brim_all_is_climbed_at_once_and_the_restart_comes_soon() {
    let mut story = Story::new();
    story.stay(70.0, 60);
    let (steps, cause) = story.stay(97.5, 10);
    assert_eq!(steps, [Step::Consumers]);
    assert_eq!(cause, Some((5, Cause::HardMark { seconds: 5 })));
}

#[test]
fn all_is_climbed_at_once_when_everything_waits_for_memory() {
    let pressure = Some(Pressure { some_avg10: 50.0, full_avg10: 12.0 });
    let (steps, cause) = Story { pressure, ..Story::new() }.stay(81.0, 600);
    assert_eq!((steps, cause), (vec![Step::Consumers], None));
    let (steps, cause) = Story { pressure, ..Story::new() }.stay(60.0, 600);
    assert_eq!((steps, cause), (vec![Step::None], None), "a slow disk below the soft mark is no shortage");
}

#[test]
fn what_reaches_the_limit_before_a_restart_is_through_asks_for_one() {
    for (seconds_to_limit, is_cause) in [(None, false), (Some(31), false), (Some(30), true), (Some(0), true)] {
        let (steps, cause) = Story { seconds_to_limit, ..Story::new() }.stay(81.0, 25);
        let expected = seconds_to_limit.filter(|_| is_cause);
        assert_eq!(cause, expected.map(|seconds_to_limit| (5, Cause::Trend { seconds_to_limit })));
        assert_eq!(steps, if is_cause { &[Step::Consumers] } else { &UP_TO_CATCH_UP[..] });
    }
    let (steps, cause) = Story { seconds_to_limit: Some(1), ..Story::new() }.stay(79.0, 600);
    assert_eq!((steps, cause), (vec![Step::None], None), "not below the soft mark");
}

#[test]
fn a_leak_of_a_percent_per_second_is_seen_in_time() {
    let mut story = Story::new();
    let mut percent = 60.0;
    let cause = loop {
        percent += 1.0;
        if let Some(cause) = story.at(percent) {
            break cause;
        }
        assert!(percent < 100.0, "killed at step {:?}", story.ladder.step());
    };
    assert!(matches!(cause, Cause::Trend { .. }), "{cause:?}");
    assert_eq!(percent, 85.0, "five seconds after the soft mark");
}

#[test]
fn page_cache_shrinks_caches_but_restarts_nobody() {
    let mut story = Story { droppable_percent: 30, ..Story::new() };
    let (steps, cause) = story.stay(99.0, 3600);
    assert_eq!((steps.first(), steps.last(), cause), (Some(&Step::Caches), Some(&Step::Consumers), None));
    story.droppable_percent = 5;
    let (_, cause) = story.stay(99.0, 40);
    assert_eq!(cause.map(|(second, _)| second), Some(30), "94 % of it is firm");
}

#[test]
fn the_way_down_is_a_step_at_a_time_and_caches_come_last() {
    let mut story = Story::new();
    story.stay(86.0, 60);
    let mut down = Vec::new();
    for second in 0..200 {
        let before = story.ladder.step();
        story.at(70.0);
        if story.ladder.step() != before {
            down.push((second, story.ladder.step()));
        }
    }
    let expected =
        [(30, Step::CatchUp), (61, Step::Backfill), (92, Step::Purge), (123, Step::Caches), (154, Step::None)];
    assert_eq!(down, expected);
}

#[test]
fn refused_consumers_come_back_before_the_rest() {
    let mut story = Story::new();
    story.stay(86.0, 60);
    let (steps, _) = story.stay(79.0, 3600);
    assert_eq!(steps, [Step::Consumers, Step::CatchUp], "79 % is 5 % below halfway, but not below the soft mark");
}

#[test]
fn caches_that_grow_back_again_and_again_stay_small_for_longer() {
    let mut story = Story::new();
    let mut small = Vec::new();
    for _ in 0..10 {
        while story.ladder.step() == Step::None {
            story.at(80.5);
        }
        let begin = story.second;
        while story.ladder.step() != Step::None {
            story.at(60.0);
        }
        small.push(story.second - begin);
    }
    assert_eq!(small, [31, 61, 121, 241, 481, 961, 1921, 3601, 3601, 3601]);
    story.stay(60.0, 3601);
    story.at(80.5);
    let (steps, _) = story.stay(60.0, 31);
    assert_eq!(steps.last(), Some(&Step::None), "after an hour of calm it is forgotten");
}

#[test]
fn a_restart_that_has_begun_is_not_taken_back() {
    let mut story = Story::new();
    story.stay(91.0, 31);
    story.ladder.restart(story.begin + Duration::from_secs(story.second));
    for percent in [99.0, 10.0] {
        assert_eq!(story.stay(percent, 3600), (vec![Step::Restart], None));
    }
}

#[test]
fn a_limit_that_grows_is_a_way_down() {
    let mut story = Story::new();
    let (_, cause) = story.stay(91.0, 40);
    assert!(cause.is_some());
    for second in 0..200 {
        let sample = Sample { limit: 2 * LIMIT, ..story.sample(91.0) };
        assert_eq!(story.ladder.look(&sample), None, "second {second}");
        story.second += 1;
    }
    assert_eq!(story.ladder.step(), Step::None);
}

/// Seconds of a working set that wanders, in percent of the limit.
fn wandering() -> impl Strategy<Value = Vec<f64>> {
    let stay = (50.0..100.0, 1..60usize).prop_map(|(percent, seconds)| vec![percent; seconds]);
    prop::collection::vec(stay, 1..40).prop_map(|stays| stays.concat())
}

proptest! {
    #[test]
    fn no_restart_is_asked_for_before_all_the_rest_has_been_tried(
        percents in wandering(),
        stalled in prop::collection::vec(0.0..20.0, 1..2000),
        slopes in prop::collection::vec(prop::option::of(0..100u64), 1..2000),
    ) {
        let mut story = Story::new();
        let mut refusing = 0;
        for (second, percent) in percents.into_iter().enumerate() {
            story.pressure = Some(Pressure { some_avg10: 0.0, full_avg10: stalled[second % stalled.len()] });
            story.seconds_to_limit = slopes[second % slopes.len()];
            let before = story.ladder.step();
            let cause = story.at(percent);
            let after = story.ladder.step();
            let is_step_up = Some(after) == before.next() || (after == Step::Consumers && before < after);
            let is_step_down = after == before.previous();
            prop_assert!(after == before || is_step_up || is_step_down, "{before:?} to {after:?}");
            prop_assert!(after <= before || percent >= 80.0, "up to {after:?} at {percent} %");
            prop_assert!(after >= before || percent < 80.0, "down to {after:?} at {percent} %");
            refusing = if before == Step::Consumers { refusing + 1 } else { 0 };
            if let Some(cause) = cause {
                prop_assert!(refusing >= 5, "{cause:?} when all was tried for {refusing} s");
                prop_assert!(percent >= 80.0, "{cause:?} at {percent} %");
            }
        }
    }

    #[test]
    fn what_only_grows_only_climbs_and_what_only_falls_below_the_marks_only_descends(mut percents in wandering()) {
        percents.sort_by(f64::total_cmp);
        let mut story = Story::new();
        let mut last = Step::None;
        for percent in &percents {
            story.at(*percent);
            prop_assert!(story.ladder.step() >= last);
            last = story.ladder.step();
        }
        for percent in percents.iter().rev().filter(|percent| **percent < 80.0) {
            story.at(*percent);
            prop_assert!(story.ladder.step() <= last);
            last = story.ladder.step();
        }
    }

    #[test]
    fn it_does_not_swing_faster_than_the_hysteresis(percents in wandering()) {
        let mut story = Story::new();
        let (mut last, mut up_at, mut downs) = (Step::None, 0, Vec::new());
        for percent in percents {
            story.at(percent);
            let step = story.ladder.step();
            if step > last {
                up_at = story.second;
            }
            if step < last {
                prop_assert!(story.second - up_at >= 30, "down {} s after up", story.second - up_at);
                downs.push(story.second);
            }
            last = step;
        }
        prop_assert!(downs.windows(2).all(|two| two[1] - two[0] >= 30), "{downs:?}");
    }
}
