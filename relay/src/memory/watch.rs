//! The watch: follows the working set, acts on it, and says when the relay has to restart.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use std::{io, thread};

use jiff::Timestamp;
use tokio::sync::watch;

use super::follow::Follower;
use super::{Cgroup, Held, Ledger, Machine, Needs, Plan, Probe, Refusal, Relief, Restarts, Step, Usage};
use crate::vital::Vital;

/// Time between two looks.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// What the watch is told at its start.
pub struct WatchOptions {
    /// The plan at the start.
    pub plan: Plan,
    /// What the configuration asks for, for plans on new limits.
    pub needs: Needs,
    /// The limit that was set, if one was.
    pub limit_setting: Option<u64>,
    /// The cgroup, if there is one.
    pub cgroup: Option<Cgroup>,
    /// Who holds memory.
    pub ledger: Arc<Ledger>,
    /// What the steps do, but for those of the ledger and the allocator.
    pub relief: Relief,
    /// How often it may restart.
    pub restarts: Restarts,
    /// How long a drain takes at most.
    pub drain_time: Duration,
}

/// Why the relay restarts, for the termination message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestartReason {
    /// `MemoryHardMark` or `MemoryTrend`.
    pub reason: &'static str,
    /// The same in a sentence, with its figures.
    pub message: String,
    /// Working set when it was decided, in bytes.
    pub working_set: u64,
    /// The limit, in bytes.
    pub limit: u64,
}

/// What the watch has last seen and done.
#[derive(Debug, Clone)]
pub struct WatchView {
    /// The plan in force: that of the limit as it is now.
    pub plan: Plan,
    /// The step that has been climbed to.
    pub step: Step,
    /// Where the working set is.
    pub usage: Usage,
    /// Where it is going; none before enough minutes are known.
    pub bytes_per_hour: Option<f64>,
    /// When it reaches the limit, if it goes on like this.
    pub seconds_to_limit: Option<u64>,
    /// How often each step was climbed, in the order of [`Step::ALL`].
    pub climbed: [u64; Step::ALL.len()],
    /// How often the allocator was asked to give back.
    pub purges: u64,
    /// How often the limit has changed, and with it the plan.
    pub replans: u64,
    /// How often a restart was due and not allowed.
    pub restarts_refused: u64,
    /// Why one that is due is not allowed.
    pub restart_refusal: Option<Refusal>,
}

impl WatchView {
    /// Nothing has been done yet.
    pub(super) fn new(plan: Plan, usage: Usage) -> WatchView {
        WatchView {
            plan,
            step: Step::None,
            usage,
            bytes_per_hour: None,
            seconds_to_limit: None,
            climbed: [0; Step::ALL.len()],
            purges: 0,
            replans: 0,
            restarts_refused: 0,
            restart_refusal: None,
        }
    }
}

/// Follows the memory in a thread of its own, for as long as it is there.
pub struct Watch {
    shared: Arc<Shared>,
    ledger: Arc<Ledger>,
    /// The thread and what ends it.
    thread: Option<(Sender<()>, JoinHandle<()>)>,
}

/// What the thread says.
struct Shared {
    view: RwLock<WatchView>,
    restart: watch::Sender<Option<RestartReason>>,
}

impl Watch {
    /// Begins to follow the memory of this process.
    pub fn new(mut options: WatchOptions) -> io::Result<Arc<Watch>> {
        let machine = Machine { limit_setting: options.limit_setting, cgroup: options.cgroup.take() };
        Watch::with(options, Box::new(machine), LOOK_INTERVAL)
    }

    /// Begins to follow what `probe` says, looking at it in this interval.
    pub fn with(options: WatchOptions, probe: Box<dyn Probe>, interval: Duration) -> io::Result<Arc<Watch>> {
        let ledger = Arc::clone(&options.ledger);
        let follower = Follower::new(options, probe, Timestamp::now());
        let shared = Arc::new(Shared { view: RwLock::new(follower.view().clone()), restart: watch::Sender::new(None) });
        let (end, ended) = channel();
        let says = Arc::clone(&shared);
        let run = move || follow(follower, &says, &ended, interval);
        let thread = thread::Builder::new().name("memory".to_owned()).spawn(run)?;
        Ok(Arc::new(Watch { shared, ledger, thread: Some((end, thread)) }))
    }

    /// What it has last seen and done.
    pub fn view(&self) -> WatchView {
        self.shared.view.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What each owner holds.
    pub fn held(&self) -> Vec<Held> {
        self.ledger.held()
    }

    /// Waits until the relay has to restart, and says why.
    pub async fn restart(&self) -> RestartReason {
        let mut restart = self.shared.restart.subscribe();
        match restart.wait_for(Option::is_some).await.map(|reason| reason.clone()) {
            Ok(Some(reason)) => reason,
            // The sender lives as long as this.
            Ok(None) | Err(_) => std::future::pending().await,
        }
    }
}

impl Drop for Watch {
    /// When it is gone, its thread holds nothing of anybody any more.
    fn drop(&mut self) {
        if let Some((end, thread)) = self.thread.take() {
            drop(end);
            let _ = thread.join();
        }
    }
}

fn follow(mut follower: Follower, shared: &Shared, ended: &Receiver<()>, interval: Duration) {
    let _vital = Vital("memory");
    while ended.recv_timeout(interval) == Err(RecvTimeoutError::Timeout) {
        let restart = follower.look(Instant::now(), Timestamp::now());
        shared.view.write().unwrap_or_else(PoisonError::into_inner).clone_from(follower.view());
        if restart.is_some() {
            shared.restart.send_replace(restart);
        }
    }
}
