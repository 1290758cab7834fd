//! From the first ask to the end, over kills, changes and schedules.

use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::backfill::Error;

const PARTS: [&str; 3] = ["p1.a.example.com", "p2.a.example.com", "p3.b.example.com"];
const ALL: (u64, u64, u64, u64, u64) = (3, 3, 0, 3 * PAGES * PER_PAGE, 3 * PAGES * PER_PAGE);

#[tokio::test]
async fn a_job_reads_all_its_parts() {
    let world = World::new(Script::honest());
    let jobs = world.start().await;
    let job = jobs.put(NAME, crawl(&PARTS), ADMIN).await.unwrap();
    assert_eq!((job.run, job.resumes, job.created_at.as_str()), (1, 0, "2026-11-24T10:00:00Z"));
    let job = until_state(&jobs, State::Done).await;
    assert_eq!(counts(&job), ALL);
    assert_eq!((job.reason, job.last_error, job.next_run_at), (None, None, None));
    assert_eq!(job.finished_at.as_deref(), Some("2026-11-24T10:00:00Z"));
    assert_eq!(world.pairs(), ALL.4);
    assert_eq!(world.script.asked().len() as u64, 3 * PAGES, "each page once");
    let (page, all) = jobs.parts(NAME, 1, 1).unwrap();
    assert_eq!((page.len(), page[0].key.as_str(), all), (1, PARTS[1], 3));
}

#[tokio::test]
async fn a_provider_is_asked_by_one_at_a_time_and_few_providers_at_once() {
    let parts: Vec<String> = (1..=12).map(|number| format!("p{number}.h{}.example.com", number % 6)).collect();
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    let world = World::new(Script::honest());
    let jobs = world.start().await;
    jobs.put("other", crawl(&parts), ADMIN).await.unwrap();
    jobs.put(NAME, Spec { concurrency: Some(2), ..crawl(&parts) }, ADMIN).await.unwrap();
    jobs.pause("other", ADMIN).await.unwrap();
    until_state(&jobs, State::Done).await;
    let most = world.script.busy.lock().unwrap().1;
    assert!((2..=6).contains(&most), "{most}");

    let alone = World::new(Script::honest());
    let jobs = alone.start().await;
    jobs.put(NAME, Spec { concurrency: Some(2), ..crawl(&parts) }, ADMIN).await.unwrap();
    until_state(&jobs, State::Done).await;
    assert_eq!(alone.script.busy.lock().unwrap().1, 2);
}

/// The note is in the directory, and the database cannot be written: a kill at this point of every step.
#[tokio::test]
async fn a_kill_between_directory_and_database_counts_nothing_twice_and_loses_nothing() {
    const TRIGGERS: [&str; 4] = [
        "CREATE TRIGGER full BEFORE UPDATE ON backfill_parts WHEN NEW.steps = 1 BEGIN SELECT RAISE(ABORT, 'full'); END",
        "CREATE TRIGGER full BEFORE UPDATE ON backfill_parts WHEN NEW.steps = 2 BEGIN SELECT RAISE(ABORT, 'full'); END",
        "CREATE TRIGGER full BEFORE UPDATE ON backfill_parts WHEN NEW.steps = 3 BEGIN SELECT RAISE(ABORT, 'full'); END",
        "CREATE TRIGGER full BEFORE UPDATE ON backfill_parts WHEN NEW.steps = 4 BEGIN SELECT RAISE(ABORT, 'full'); END",
    ];
    for (step, trigger) in (1u64..).zip(TRIGGERS) {
        let world = World::new(Script::honest());
        let jobs = world.start().await;
        world.sql(trigger).await;
        jobs.put(NAME, crawl(&PARTS), ADMIN).await.unwrap();
        let job = until_state(&jobs, State::Waiting).await;
        assert!(job.reason.as_ref().is_some_and(|reason| reason.contains("cannot store")), "{job:?}");
        jobs.kill().await;
        assert_eq!(world.pairs(), 2 * step * PER_PAGE, "a part of each provider came as far as step {step}");

        world.sql("DROP TRIGGER full").await;
        let jobs = world.start().await;
        let job = until_state(&jobs, State::Done).await;
        assert_eq!(counts(&job), ALL, "step {step}");
        assert_eq!(world.pairs(), ALL.4);
        let from =
            if step < PAGES { format!("{} after {step}", PARTS[0]) } else { format!("{} from its begin", PARTS[1]) };
        assert_eq!((job.run, job.resumes, job.resumed_from), (1, 1, Some(from)));
        assert_eq!(job.resumed_at.as_deref(), Some("2026-11-24T10:00:00Z"));
        assert_eq!(world.script.asked().len() as u64, 3 * PAGES, "no page again: the note has what it gave");
    }
}

#[tokio::test]
async fn a_kill_at_any_moment_leads_to_the_same_end() {
    for moment in 0..30 {
        let world = World::new(Script::honest());
        let jobs = world.start().await;
        jobs.put(NAME, crawl(&PARTS), ADMIN).await.unwrap();
        until(&jobs, "some way", |job| job.progress.seen >= moment * 4).await;
        jobs.kill().await;
        let jobs = world.start().await;
        let job = until_state(&jobs, State::Done).await;
        assert_eq!((counts(&job), world.pairs()), (ALL, ALL.4), "after {} were seen", moment * 4);
    }
}

#[tokio::test]
async fn what_was_done_for_another_directory_is_done_again() {
    for (is_done, run) in [(true, 2), (false, 2)] {
        let world = World::new(Script::new(move |part| (is_done || part.seen == 0).then(|| page(part))));
        let jobs = world.start().await;
        jobs.put(NAME, crawl(&PARTS[..1]), ADMIN).await.unwrap();
        let reached = if is_done { PAGES * PER_PAGE } else { PER_PAGE };
        until(&jobs, "some way", |job| job.progress.seen == reached && (job.state == State::Done) == is_done).await;
        jobs.kill().await;
        world.sql("UPDATE backfill_jobs SET incarnation = incarnation + 1").await;

        let jobs = world.start().await;
        let job = until(&jobs, "a new run", |job| job.run == run && job.progress.seen == reached).await;
        assert_eq!((job.resumes, counts(&job).4), (0, 0), "the pairs were known, since it is the same one here");
        if !is_done {
            assert!(job.reason.as_ref().is_some_and(|reason| reason.contains("began anew")), "{job:?}");
        }
    }
}

#[tokio::test]
async fn the_same_spec_changes_nothing_and_another_one_keeps_what_is_still_asked_for() {
    let world = World::new(Script::honest());
    let jobs = world.start().await;
    let declared = Spec { declared_by: Some("operator".to_owned()), ..crawl(&PARTS[..2]) };
    jobs.put(NAME, declared.clone(), ADMIN).await.unwrap();
    let done = until_state(&jobs, State::Done).await;
    world.later(HOUR);
    assert_eq!(jobs.put(NAME, crawl(&PARTS[..2]), ADMIN).await.unwrap(), done, "nobody else declares it");
    let asked = world.script.asked().len();

    let scheduled = Spec { schedule: Some("@daily".to_owned()), ..declared.clone() };
    let job = jobs.put(NAME, scheduled, ADMIN).await.unwrap();
    assert_eq!((job.state, job.next_run_at.as_deref()), (State::Done, Some("2026-11-25T00:00:00Z")));
    assert_eq!((job.finished_at, job.progress), (done.finished_at, done.progress));

    jobs.put(NAME, crawl(&PARTS[1..]), ADMIN).await.unwrap();
    let job = until_state(&jobs, State::Done).await;
    assert_eq!((job.run, counts(&job).0, counts(&job).3), (1, 2, 2 * PAGES * PER_PAGE));
    assert_eq!(job.spec.declared_by.as_deref(), Some("operator"));
    let more = world.script.asked().split_off(asked);
    assert_eq!(more, vec![PARTS[2]; PAGES as usize], "the other part was done");

    jobs.put(NAME, crawl(&PARTS[..1]), ADMIN).await.unwrap();
    let job = until_state(&jobs, State::Done).await;
    assert_eq!((counts(&job).3, counts(&job).4), (PAGES * PER_PAGE, 0), "a part that had gone begins anew");
}

#[tokio::test]
async fn a_person_stops_a_job_and_lets_it_go_on_where_it_was() {
    let is_open = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let gate = Arc::clone(&is_open);
    let world =
        World::new(Script::new(move |part| (part.seen == 0 || gate.load(Ordering::Relaxed)).then(|| page(part))));
    let jobs = world.start().await;
    jobs.put(NAME, crawl(&PARTS[..1]), ADMIN).await.unwrap();
    until(&jobs, "a page", |job| job.progress.seen == PER_PAGE).await;
    assert!(matches!(jobs.run(NAME, ADMIN).await, Err(Error::State { state: State::Running, .. })));
    assert_eq!(jobs.pause(NAME, ADMIN).await.unwrap().state, State::Paused);
    is_open.store(true, Ordering::Relaxed);
    jobs.kill().await;

    let jobs = world.start().await;
    assert_eq!(jobs.get(NAME).unwrap().state, State::Paused, "over a restart, too");
    jobs.resume(NAME, ADMIN).await.unwrap();
    let job = until_state(&jobs, State::Done).await;
    assert_eq!((counts(&job).3, job.resumes), (PAGES * PER_PAGE, 0));
    assert!(matches!(jobs.pause(NAME, ADMIN).await, Err(Error::State { state: State::Done, .. })));

    jobs.run(NAME, ADMIN).await.unwrap();
    let job = until(&jobs, "done again", |job| job.state == State::Done && job.run == 2).await;
    assert_eq!((counts(&job).3, counts(&job).4), (PAGES * PER_PAGE, 0), "counts are those of the run");

    jobs.delete(NAME, ADMIN).await.unwrap();
    assert!(matches!(jobs.get(NAME), Err(Error::NotFound(_))));
    assert!(matches!(jobs.delete(NAME, ADMIN).await, Err(Error::NotFound(_))));
    assert_eq!(world.pairs(), PAGES * PER_PAGE, "what it has found stays");
    let audit = jobs.shared.decisions.audit(None, 10).await.unwrap();
    let actions: Vec<&str> = audit.iter().rev().map(|row| row.action.as_str()).collect();
    let expected = ["put", "pause", "resume", "run", "delete"].map(|action| format!("{action}_backfill_job"));
    assert_eq!(actions, expected);
}

#[tokio::test]
async fn a_job_that_is_made_again_does_not_take_the_notes_of_the_one_before() {
    let world = World::new(Script::honest());
    let jobs = world.start().await;
    world.sql("CREATE TRIGGER full BEFORE UPDATE ON backfill_parts BEGIN SELECT RAISE(ABORT, 'full'); END").await;
    jobs.put(NAME, crawl(&PARTS), ADMIN).await.unwrap();
    until_state(&jobs, State::Waiting).await;
    jobs.kill().await;
    // As another database would be: the directory has notes of a job that it does not know.
    world.sql("DROP TRIGGER full").await;
    world.sql("DELETE FROM backfill_jobs").await;
    world.sql("DELETE FROM backfill_parts").await;
    world.later(SECOND);
    let jobs = world.start().await;
    jobs.put(NAME, crawl(&PARTS), ADMIN).await.unwrap();
    let job = until_state(&jobs, State::Done).await;
    assert_eq!(job.progress.seen, ALL.3);
    assert_eq!(job.progress.added, ALL.4 - 2 * PER_PAGE, "those of the job before were there");
}

#[tokio::test]
async fn a_schedule_runs_the_job_again_and_once_for_what_was_missed() {
    let world = World::new(Script::honest());
    let jobs = world.start().await;
    jobs.put(NAME, Spec { schedule: Some("@hourly".to_owned()), ..crawl(&PARTS[..1]) }, ADMIN).await.unwrap();
    let job = until_state(&jobs, State::Done).await;
    assert_eq!((job.run, job.next_run_at.as_deref()), (1, Some("2026-11-24T11:00:00Z")));
    world.later(HOUR - 1);
    tokio::task::yield_now().await;
    assert_eq!(jobs.get(NAME).unwrap().run, 1);
    world.later(1);
    let job = until(&jobs, "the second run", |job| job.run == 2 && job.state == State::Done).await;
    assert_eq!(job.next_run_at.as_deref(), Some("2026-11-24T12:00:00Z"));

    jobs.kill().await;
    world.later(30 * HOUR);
    let jobs = world.start().await;
    let job = until(&jobs, "the third run", |job| job.run == 3 && job.state == State::Done).await;
    assert_eq!(job.next_run_at.as_deref(), Some("2026-11-25T18:00:00Z"));
    jobs.cancel(NAME, ADMIN).await.unwrap_err();
    assert_eq!(world.script.asked().len() as u64, 3 * PAGES);
}

#[tokio::test]
async fn the_plan_is_made_anew_for_each_run_and_waits_as_a_part_does() {
    let asked = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&asked);
    let mut script = Script::honest();
    script.plan = Box::new(move || match count.fetch_add(1, Ordering::Relaxed) {
        0..3 => Err(Trouble::Wait { reason: "the list is away".to_owned(), after: None }),
        _ => Ok(()),
    });
    let world = World::new(script);
    let jobs = world.start().await;
    jobs.put(NAME, crawl(&PARTS), ADMIN).await.unwrap();
    let job = until_state(&jobs, State::Waiting).await;
    assert_eq!(job.reason.as_deref(), Some("the list is away"));
    let job = world.pass_until(&jobs, "done", |job| job.state == State::Done).await;
    assert_eq!((counts(&job), job.last_error.as_deref()), (ALL, Some("the list is away")));
    jobs.run(NAME, ADMIN).await.unwrap();
    until(&jobs, "done again", |job| job.run == 2 && job.state == State::Done).await;
    assert_eq!(asked.load(Ordering::Relaxed), 5);
}
