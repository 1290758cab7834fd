//! Following a job until it ends.

use std::time::{Duration, Instant};

use crate::backfill::{Job, State};
use indicatif::{ProgressBar, ProgressStyle};
use reqwest::Method;
use serde_json::Value;

use super::client::{Admin, Body, Failure, understand};
use super::text;

/// The relay is asked this often.
const INTERVAL: Duration = Duration::from_millis(500);
/// A relay that is away may take its time to start.
const AWAY_INTERVAL: Duration = Duration::from_secs(2);
/// Without a terminal, a line is written when something has changed, and this often.
const LINE_INTERVAL: Duration = Duration::from_secs(30);

/// Follows a job until it ends, over restarts of the relay; gives it as the relay shows it, and as it is understood.
pub(super) async fn until_ended(admin: &Admin, job: Job) -> Result<(Value, Job), Failure> {
    let mut view = View::new();
    view.show(&job);
    loop {
        let answer = admin.send::<Value>(Method::GET, &["jobs", &job.name], &[], Body::None).await;
        match answer.and_then(|answer| Ok((understand::<Job>(&answer)?, answer))) {
            Ok((job, answer)) if is_over(job.state) => {
                view.end();
                return Ok((answer, job));
            }
            Ok((job, _)) => {
                view.show(&job);
                tokio::time::sleep(INTERVAL).await;
            }
            Err(failure) if failure.is_passing() => {
                view.say(&format!("{failure} Still trying; the job goes on when the relay does."));
                tokio::time::sleep(failure.after().unwrap_or(AWAY_INTERVAL)).await;
            }
            Err(failure) => {
                view.end();
                return Err(failure);
            }
        }
    }
}

fn is_over(state: State) -> bool {
    match state {
        State::Queued | State::Running | State::Waiting | State::Paused => false,
        State::Done | State::Failed | State::Cancelled => true,
    }
}

/// What is seen of the job meanwhile, on standard error: a bar on a terminal, a line now and then elsewhere.
struct View {
    bar: ProgressBar,
    said: String,
    said_at: Instant,
}

impl View {
    fn new() -> View {
        let bar = ProgressBar::new(0);
        if let Ok(style) = ProgressStyle::with_template("{spinner} [{bar:30}] {msg}") {
            bar.set_style(style.progress_chars("=> "));
        }
        View { bar, said: String::new(), said_at: Instant::now() }
    }

    fn show(&mut self, job: &Job) {
        let progress = &job.progress;
        self.bar.set_length(progress.parts);
        self.bar.set_position(progress.parts_done + progress.parts_failed);
        let mut line = format!("{} parts, {}", text::parts(progress), text::found(progress));
        if job.state == State::Running {
            line += &format!(", {}/s", text::number(progress.per_second.round() as u64));
            line += &progress.eta_seconds.map(|eta| format!(", about {} left", text::span(eta))).unwrap_or_default();
        }
        let standing = text::standing(job);
        if self.bar.is_hidden() {
            let is_due = self.said_at.elapsed() >= LINE_INTERVAL;
            if self.said != standing || is_due {
                eprintln!("{}: {standing}; {line}", job.name);
                self.said_at = Instant::now();
            }
        } else {
            self.bar.set_message(format!("{standing}; {line}"));
            self.bar.tick();
        }
        self.said = standing;
    }

    fn say(&mut self, trouble: &str) {
        if self.bar.is_hidden() {
            if self.said != trouble {
                eprintln!("{trouble}");
            }
        } else {
            self.bar.set_message(trouble.to_owned());
            self.bar.tick();
        }
        trouble.clone_into(&mut self.said);
    }

    fn end(&self) {
        self.bar.finish_and_clear();
    }
}
