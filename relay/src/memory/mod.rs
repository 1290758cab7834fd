//! Memory: the limit, how it is divided, who holds what of it, and what happens when it runs short.
//!
//! The limit is the cgroup's. What counts against it is the working set, as the kubelet counts it: everything charged to
//! the cgroup but the page cache that the kernel can drop at once. [`plan`] divides the limit among [`Owner`]s, the
//! [`ledger`] knows what each of them holds and gives it its share, [`usage`] is the same from the kernel's and the
//! allocator's side, and the [`watch`] follows all of it and climbs the [`relief`] step by step, up to a planned restart.

mod allocator;
mod cgroup;
mod decay;
mod follow;
mod ladder;
mod ledger;
mod limit;
mod owner;
mod pages;
mod plan;
mod pressure;
mod probe;
mod proc;

mod relief;
mod remembered;
mod restarts;
mod share;
mod size;
mod sprint;
mod trend;
mod usage;
mod watch;

pub use allocator::Allocator;
pub use cgroup::{Cgroup, FileError, KernelParts, Pressure, Stat};
pub use decay::set_decay;
pub use ladder::{Cause, Ladder, Sample};
pub use ledger::{Held, Ledger};
pub use limit::{Limit, LimitSource};
pub use owner::Owner;
pub use plan::{LIMIT_BYTES_MIN, Misfit, Needs, Plan, PlanError, Setting};
pub use pressure::{Marks, MarksError, Step};
pub use probe::{Machine, Probe, Seen};
pub use relief::Relief;
pub use remembered::{Memo, Remembered};
pub use restarts::{Refusal, Restarts};
pub use share::{Piece, Share};
#[cfg(test)]
pub(crate) use size::measured;
pub use size::{allocated_bytes, arc_bytes, table_bytes};
pub use trend::Trend;
pub use usage::{Part, Usage};
pub use watch::{RestartReason, Watch, WatchOptions, WatchView};
