//! Jobs that are held for want of memory.

use super::*;

const PARTS: [&str; 3] = ["p1.a.example.com", "p2.a.example.com", "p3.b.example.com"];
const ALL: (u64, u64, u64, u64, u64) = (3, 3, 0, 3 * PAGES * PER_PAGE, 3 * PAGES * PER_PAGE);

fn is_held(job: &Job) -> bool {
    job.state == State::Waiting && job.reason.as_deref() == Some("memory is short")
}

#[tokio::test]
async fn a_held_job_waits_visibly_and_goes_on_by_itself() {
    let world = World::new(Script::honest());
    let jobs = world.start().await;
    for round in 0..5 {
        jobs.hold();
        jobs.put(NAME, crawl(&PARTS), ADMIN).await.unwrap();
        let held = until(&jobs, "held", is_held).await;
        assert_eq!((held.waits_until, held.last_error), (None, None), "nobody knows how long, and nothing went wrong");
        let asked = world.script.asked().len();
        world.later(HOUR);
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert_eq!(world.script.asked().len(), asked, "nobody is asked meanwhile");
        jobs.release();
        let job = until_state(&jobs, State::Done).await;
        assert_eq!((counts(&job).3, job.reason), (ALL.3, None), "round {round}");
        jobs.delete(NAME, ADMIN).await.unwrap();
    }
}

#[tokio::test]
async fn a_job_is_held_after_the_step_that_it_is_at_however_many_lanes_it_has() {
    let parts: Vec<String> = (1..=12).map(|number| format!("p{number}.h{number}.example.com")).collect();
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    let world = World::new(Script::honest());
    let jobs = world.start().await;
    jobs.put("other", crawl(&parts), ADMIN).await.unwrap();
    jobs.put(NAME, Spec { concurrency: Some(2), ..crawl(&parts) }, ADMIN).await.unwrap();
    until(&jobs, "some way", |job| job.progress.seen > 0).await;
    jobs.hold();
    let job = until(&jobs, "held", is_held).await;
    assert!(job.progress.seen < 12 * PAGES * PER_PAGE, "{job:?}");
    jobs.release();
    let job = until_state(&jobs, State::Done).await;
    assert_eq!((counts(&job).3, job.progress.parts_failed), (12 * PAGES * PER_PAGE, 0));
}

#[tokio::test]
async fn a_job_that_is_held_before_its_plan_does_not_plan() {
    let world = World::new(Script { plan: Box::new(|| panic!("it plans")), ..Script::honest() });
    let jobs = world.start().await;
    jobs.hold();
    jobs.put(NAME, crawl(&PARTS), ADMIN).await.unwrap();
    assert_eq!(until(&jobs, "held", is_held).await.progress.parts, 0);
    assert_eq!(jobs.pause(NAME, ADMIN).await.unwrap().state, State::Paused);
}

#[tokio::test]
async fn people_change_a_held_job_as_ever() {
    let world = World::new(Script::honest());
    let jobs = world.start().await;
    jobs.hold();
    jobs.put(NAME, crawl(&PARTS), ADMIN).await.unwrap();
    until(&jobs, "held", is_held).await;
    let paused = jobs.pause(NAME, ADMIN).await.unwrap();
    assert_eq!((paused.state, paused.reason), (State::Paused, None));
    jobs.release();
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert_eq!(jobs.get(NAME).unwrap().state, State::Paused, "a person's pause is not taken back");
    jobs.hold();
    jobs.resume(NAME, ADMIN).await.unwrap();
    until(&jobs, "held again", is_held).await;
    assert_eq!(jobs.cancel(NAME, ADMIN).await.unwrap().state, State::Cancelled);
}

#[tokio::test]
async fn a_start_finds_a_held_job_running() {
    for is_kill in [false, true] {
        let world = World::new(Script::honest());
        let jobs = world.start().await;
        jobs.put(NAME, crawl(&PARTS), ADMIN).await.unwrap();
        until(&jobs, "some way", |job| job.progress.seen > 0).await;
        jobs.hold();
        let held = until(&jobs, "held, or done before it", |job| is_held(job) || job.state == State::Done).await;
        if is_kill {
            jobs.kill().await
        } else {
            jobs.stop().await
        }

        let jobs = world.start().await;
        let job = until_state(&jobs, State::Done).await;
        assert_eq!((counts(&job), job.run), (ALL, 1));
        assert_eq!(job.resumes, u64::from(held.state != State::Done));
    }
}
