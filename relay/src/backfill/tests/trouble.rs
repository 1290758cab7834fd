//! Sources that are busy, broken or lying, accounts that cannot be looked at, and a disk that is full.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::*;

const PARTS: [&str; 3] = ["p1.a.example.com", "p2.a.example.com", "p3.b.example.com"];
const PART: u64 = PAGES * PER_PAGE;

fn wait(after: Option<Duration>) -> Option<Result<Step, Trouble>> {
    Some(Err(Trouble::Wait { reason: "a.example.com answers 429".to_owned(), after }))
}

#[tokio::test]
async fn a_source_that_is_busy_for_an_hour_fails_nothing() {
    let is_well = Arc::new(AtomicBool::new(false));
    let state = Arc::clone(&is_well);
    let world = World::new(Script::new(move |part| {
        if part.steps == 2 && !state.load(Ordering::Relaxed) { wait(None) } else { Some(page(part)) }
    }));
    let jobs = world.start().await;
    jobs.put(NAME, crawl(&PARTS), ADMIN).await.unwrap();
    let job = until_state(&jobs, State::Waiting).await;
    assert_eq!(job.reason.as_deref(), Some("a.example.com answers 429"));
    let (begin, clock) = (*world.clock.borrow(), &world.clock);
    world.pass_until(&jobs, "an hour", |_| *clock.borrow() > begin + HOUR).await;
    let asked = world.script.asked().len();
    assert!(asked < 100, "it is asked ever more rarely: {asked}");
    assert_eq!(jobs.get(NAME).unwrap().progress.parts_failed, 0);
    is_well.store(true, Ordering::Relaxed);
    let job = world.pass_until(&jobs, "done", |job| job.state == State::Done).await;
    assert_eq!((counts(&job), job.reason), ((3, 3, 0, 3 * PART, 3 * PART), None));
    assert_eq!(job.last_error.as_deref(), Some("a.example.com answers 429"));
}

#[tokio::test]
async fn a_pause_that_is_asked_for_is_kept_up_to_a_day() {
    for (asked, kept) in [(2 * HOUR, 2 * HOUR), (100 * HOUR, 24 * HOUR)] {
        let times = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&times);
        let after = Duration::from_millis(asked.unsigned_abs());
        let world = World::new(Script::new(move |part| match count.fetch_add(1, Ordering::Relaxed) {
            0 => wait(Some(after)),
            _ => Some(page(part)),
        }));
        let jobs = world.start().await;
        jobs.put(NAME, crawl(&PARTS[..2]), ADMIN).await.unwrap();
        let job = until_state(&jobs, State::Waiting).await;
        let waits_until: jiff::Timestamp = job.waits_until.unwrap().parse().unwrap();
        assert_eq!(waits_until.as_millisecond(), BEGIN_MS + kept);
        assert_eq!(times.load(Ordering::Relaxed), 1, "the other part of the provider waits, too");
        world.later(kept);
        until_state(&jobs, State::Done).await;
    }
}

#[tokio::test]
async fn a_part_that_is_broken_does_not_keep_the_others_of_its_provider() {
    let world = World::new(Script::new(|part| if part.key == PARTS[0] { wait(None) } else { Some(page(part)) }));
    let jobs = world.start().await;
    jobs.put(NAME, crawl(&PARTS), ADMIN).await.unwrap();
    let job = world.pass_until(&jobs, "the others", |job| job.progress.parts_done == 2).await;
    assert_eq!(counts(&job), (3, 2, 0, 2 * PART, 2 * PART));
    until_state(&jobs, State::Waiting).await;
}

#[tokio::test]
async fn a_part_that_cannot_be_done_is_named_and_the_others_go_on() {
    let fail = || Some(Err(Trouble::Fail("it lies\u{0}\n".to_owned())));
    let world = World::new(Script::new(move |part| if part.key == PARTS[0] { fail() } else { Some(page(part)) }));
    let jobs = world.start().await;
    jobs.put(NAME, crawl(&PARTS), ADMIN).await.unwrap();
    let job = until_state(&jobs, State::Done).await;
    assert_eq!(counts(&job), (3, 2, 1, 2 * PART, 2 * PART));
    assert_eq!(job.reason.as_deref(), Some("1 of 3 parts failed: p1.a.example.com: it lies"));
    assert_eq!(jobs.parts(NAME, 0, 1).unwrap().0[0].error.as_deref(), Some("it lies"));

    let world = World::new(Script::new(move |_| fail()));
    let jobs = world.start().await;
    jobs.put(NAME, crawl(&PARTS), ADMIN).await.unwrap();
    assert_eq!(counts(&until_state(&jobs, State::Failed).await), (3, 0, 3, 0, 0));
}

#[tokio::test]
async fn a_cursor_that_is_lost_lets_the_part_begin_anew_and_only_in_vain_fail() {
    let restart = || Some(Err(Trouble::Restart("the cursor has expired".to_owned())));
    // It comes further each time, and at last to its end.
    let times = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&times);
    let world = World::new(Script::new(move |part| {
        if part.steps > 0 && part.steps == count.load(Ordering::Relaxed) + 1 {
            count.fetch_add(1, Ordering::Relaxed);
            return restart();
        }
        Some(page(part))
    }));
    let jobs = world.start().await;
    jobs.put(NAME, crawl(&PARTS[..1]), ADMIN).await.unwrap();
    let job = world.pass_until(&jobs, "done", |job| job.state == State::Done).await;
    assert_eq!(times.load(Ordering::Relaxed), PAGES - 1);
    assert_eq!(counts(&job), (1, 1, 0, PART, PART), "what came twice counts once");

    let world = World::new(Script::new(move |part| if part.steps == 2 { restart() } else { Some(page(part)) }));
    let jobs = world.start().await;
    jobs.put(NAME, crawl(&PARTS[..1]), ADMIN).await.unwrap();
    let job = world.pass_until(&jobs, "failed", |job| job.state == State::Failed).await;
    assert!(job.reason.as_ref().is_some_and(|reason| reason.contains("begun anew 3 times")), "{job:?}");
    assert_eq!(world.script.asked().len(), 4 * 3);
    assert_eq!(counts(&job), (1, 0, 1, 2 * PER_PAGE, 2 * PER_PAGE));
}

#[tokio::test]
async fn an_endless_or_unkeepable_cursor_fails_the_part() {
    for cursor in ["x".repeat(5000), "a\u{0}b".to_owned()] {
        let world = World::new(Script::new(move |part| {
            Some(page(part).map(|step| Step { cursor: Some(cursor.clone()), ..step }))
        }));
        let jobs = world.start().await;
        jobs.put(NAME, crawl(&PARTS[..1]), ADMIN).await.unwrap();
        let job = until_state(&jobs, State::Failed).await;
        assert!(job.reason.as_ref().is_some_and(|reason| reason.contains("cursor")), "{job:?}");
    }
}

#[tokio::test]
async fn a_step_without_an_end_is_tried_again() {
    let times = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&times);
    let world = World::new(Script::new(move |part| (count.fetch_add(1, Ordering::Relaxed) > 0).then(|| page(part))));
    let jobs = world.start().await;
    jobs.put(NAME, crawl(&PARTS[..1]), ADMIN).await.unwrap();
    while times.load(Ordering::Relaxed) == 0 {
        tokio::task::yield_now().await;
    }
    world.later(300 * SECOND);
    let job = until_state(&jobs, State::Waiting).await;
    assert!(job.reason.as_ref().is_some_and(|reason| reason.contains("no end within 300 s")), "{job:?}");
    world.pass_until(&jobs, "done", |job| job.state == State::Done).await;
}

/// Steps that could not look at the first two accounts of their page.
fn partly(part: &Part) -> Option<Result<Step, Trouble>> {
    let mut step = page(part).unwrap();
    let left = step.edits.drain(..2);
    step.again = left
        .map(|edit| match edit {
            Edit::Add(did, _) => (did, "500".to_owned()),
            other => panic!("{other:?}"),
        })
        .collect();
    Some(Ok(step))
}

fn add(dids: &[Did]) -> Vec<Edit> {
    dids.iter().map(|did| Edit::Add(did.clone(), collection())).collect()
}

#[tokio::test]
async fn accounts_that_cannot_be_looked_at_are_asked_again_after_the_part_and_over_a_kill() {
    let times = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&times);
    let mut script = Script::new(partly);
    script.again = Box::new(move |dids| {
        // The first time one of them still fails.
        let failing = usize::from(count.fetch_add(1, Ordering::Relaxed) == 0);
        let again = dids[..failing].iter().map(|did| (did.clone(), "still 500".to_owned())).collect();
        Ok(Step { edits: add(&dids[failing..]), again, ..Step::default() })
    });
    let world = World::new(script);
    let jobs = world.start().await;
    jobs.put(NAME, crawl(&PARTS[..1]), ADMIN).await.unwrap();
    let job = until_state(&jobs, State::Waiting).await;
    assert_eq!(job.progress.retrying, 2 * PAGES);
    assert_eq!(job.reason.as_deref(), Some("8 accounts are asked again"));
    assert_eq!((counts(&job).3, counts(&job).4), (PART, PART - 2 * PAGES));
    jobs.kill().await;

    let jobs = world.start().await;
    let job = world.pass_until(&jobs, "done", |job| job.state == State::Done).await;
    assert_eq!((counts(&job), job.progress.retrying), ((1, 1, 0, PART, PART), 0));
    assert_eq!(world.pairs(), PART);
    assert_eq!(job.resumed_from.as_deref(), Some("accounts that are asked again"));
}

#[tokio::test]
async fn accounts_that_never_answer_are_given_up_and_counted() {
    let mut script = Script::new(partly);
    script.again = Box::new(|dids| {
        let (well, ill): (Vec<Did>, Vec<Did>) = dids.iter().cloned().partition(|did| *did != super::did(1000));
        let again = ill.into_iter().map(|did| (did, "500".to_owned())).collect();
        Ok(Step { edits: add(&well), again, ..Step::default() })
    });
    let world = World::new(script);
    let jobs = world.start().await;
    jobs.put(NAME, crawl(&PARTS[..1]), ADMIN).await.unwrap();
    let job = world.pass_until(&jobs, "done", |job| job.state == State::Done).await;
    assert_eq!(counts(&job), (1, 1, 0, PART, PART - 1));
    assert_eq!(job.progress.classes.get("unreachable"), Some(&1));
    let retries = world.script.asked().iter().filter(|asked| asked.ends_with("again")).count();
    assert!(retries >= 11, "after twelve tries, the first one by the step: {retries}");
}

#[tokio::test]
async fn retries_do_not_keep_the_next_part() {
    let world = World::new(Script::new(partly));
    let jobs = world.start().await;
    jobs.put(NAME, crawl(&PARTS[..2]), ADMIN).await.unwrap();
    let job = until(&jobs, "both are read", |job| job.progress.seen == 2 * PART).await;
    assert_eq!(job.progress.retrying, 4 * PAGES);
    assert!(world.script.asked().iter().all(|asked| !asked.ends_with("again")), "{:?}", world.script.asked());
}

#[tokio::test]
async fn a_full_disk_is_waited_for_and_nothing_is_lost_or_counted_twice() {
    let world = World::new(Script::honest());
    let jobs = world.start().await;
    world.sql("CREATE TRIGGER full BEFORE UPDATE ON backfill_parts WHEN NEW.steps = 2 BEGIN SELECT RAISE(ABORT, 'database or disk is full'); END").await;
    jobs.put(NAME, crawl(&PARTS), ADMIN).await.unwrap();
    let job = until_state(&jobs, State::Waiting).await;
    assert!(job.reason.as_ref().is_some_and(|reason| reason.contains("disk is full")), "{job:?}");
    let asked = world.script.asked().len();
    world.later(SECOND);
    until_state(&jobs, State::Waiting).await;
    world.sql("DROP TRIGGER full").await;
    let job = world.pass_until(&jobs, "done", |job| job.state == State::Done).await;
    assert_eq!((counts(&job), world.pairs()), ((3, 3, 0, 3 * PART, 3 * PART), 3 * PART));
    assert_eq!((asked, world.script.asked().len() as u64), (4, 3 * PAGES), "no page again");

    // At the very begin, too.
    world.sql("CREATE TRIGGER full BEFORE UPDATE ON backfill_jobs WHEN NEW.state = 'running' BEGIN SELECT RAISE(ABORT, 'database or disk is full'); END").await;
    jobs.run(NAME, ADMIN).await.unwrap();
    until(&jobs, "cannot begin", |job| job.last_error.as_ref().is_some_and(|error| error.contains("full"))).await;
    world.sql("DROP TRIGGER full").await;
    world.later(SECOND);
    until(&jobs, "done", |job| job.run == 2 && job.state == State::Done).await;
}
