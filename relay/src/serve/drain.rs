//! Takes a running relay down, within the time that there is for it.
//!
//! Each phase is the end of what the next one needs: no more events come in; those that are here get into the log; the log
//! and all that is derived become durable; consumers get what is published and a close frame; requests get their answers.
//! Every phase has its part of the time. One that needs more is cut, which costs what a kill costs: the next start repairs
//! it from the log.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{AbortHandle, spawn_blocking};
use tokio::time::timeout;

use crate::backfill::Jobs;
use crate::decisions::Decisions;
use crate::firehose::Firehose;
use crate::http::Server;
use crate::store::Store;
use crate::verify::Intake;

/// Parts of the time, in percent. Together they leave something for the process to end in.
mod part {
    /// Everything between the hosts and the disk; backfill stops meanwhile.
    pub const PIPELINE: u32 = 50;
    /// Consumers that have not caught up by half of it get their close frame between two events.
    pub const CONSUMERS: u32 = 30;
    /// Requests that are being answered: probes are, until here.
    pub const REQUESTS: u32 = 5;
    /// Connections to the database.
    pub const DECISIONS: u32 = 5;
}

/// What has to be ended in order.
pub(super) struct Drain {
    pub(super) stop_hosts: watch::Sender<bool>,
    pub(super) background: Vec<AbortHandle>,
    pub(super) intake: Intake,
    pub(super) sequencing: JoinHandle<()>,
    pub(super) jobs: Jobs,
    pub(super) firehose: Arc<Firehose>,
    pub(super) store: Store,
    pub(super) decisions: Decisions,
}

/// The two listeners.
pub(super) struct Servers {
    pub(super) public: Server,
    pub(super) operators: Server,
}

/// The phases of a drain that were cut.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Cut(Vec<&'static str>);

impl Drain {
    /// Ends all of it within `time`, and says what was cut.
    pub(super) async fn run(self, time: Duration, servers: Servers) -> Cut {
        let mut cut = Cut::default();
        self.stop_hosts.send_replace(true);
        for task in self.background {
            task.abort();
        }
        let pipeline = async {
            self.intake.drain().await;
            spawn_blocking(move || self.sequencing.join()).await
        };
        let part = |percent| time * percent / 100;
        let (sequenced, stopped) =
            tokio::join!(timeout(part(part::PIPELINE), pipeline), timeout(part(part::PIPELINE), self.jobs.stop()));
        if let Some(Ok(Err(_)) | Err(_)) = cut.unless_in_time("events on their way", sequenced) {
            tracing::error!("the sequencer did not end well; the next start repairs what it left");
        }
        cut.unless_in_time("backfill", stopped);

        // What was written ahead survives the process anyway; this is for the machine.
        let store = self.store;
        let synced = timeout(part(part::CONSUMERS), spawn_blocking(move || store.sync()));
        let (left, synced) = tokio::join!(self.firehose.close_all(part(part::CONSUMERS)), synced);
        if left > 0 {
            tracing::warn!(consumers = left, "consumers cut that do not read");
            cut.0.push("consumers");
        }
        if let Some(Ok(Err(error))) = cut.unless_in_time("store", synced) {
            tracing::error!(%error, "store not synced");
        }

        let Servers { public, operators } = servers;
        let answered = async { tokio::join!(public.close(), operators.close()) };
        cut.unless_in_time("requests", timeout(part(part::REQUESTS), answered).await);
        cut.unless_in_time("database of decisions", timeout(part(part::DECISIONS), self.decisions.close()).await);
        cut
    }
}

impl Cut {
    /// What a phase came to; nothing where its time was up.
    fn unless_in_time<T, E>(&mut self, phase: &'static str, result: Result<T, E>) -> Option<T> {
        if result.is_err() {
            tracing::warn!(phase, "cut: its part of the drain time is up; the next start repairs what it left");
            self.0.push(phase);
        }
        result.ok()
    }
}

impl std::fmt::Display for Cut {
    /// For people: `drained`, or what was cut.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0.as_slice() {
            [] => f.write_str("drained"),
            phases => write!(f, "drained but for {}, which took too long", phases.join(", ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_phases_fit_into_the_time() {
        const { assert!(part::PIPELINE + part::CONSUMERS + part::REQUESTS + part::DECISIONS < 100) }
    }

    #[tokio::test]
    async fn a_phase_that_hangs_is_cut_and_named() {
        let mut cut = Cut::default();
        assert_eq!(cut.to_string(), "drained");
        assert_eq!(cut.unless_in_time("quick", timeout(Duration::from_secs(60), async { 1 }).await), Some(1));
        let hanging = timeout(Duration::from_millis(1), std::future::pending::<u8>()).await;
        assert_eq!(cut.unless_in_time("hanging", hanging), None);
        assert_eq!(cut.to_string(), "drained but for hanging, which took too long");
    }
}
