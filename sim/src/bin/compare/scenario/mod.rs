//! What the relays are put through.

mod faults;
mod narrow;
mod wide;

use std::sync::Arc;
use std::time::Duration;

use clap::ValueEnum;
use sim::Traffic;

use crate::figures::Figures;
use crate::peer::{Lab, Which};

/// After the last event of a stretch, what the relay does in the background still counts for so long.
const SETTLING: Duration = Duration::from_secs(1);

/// What the relays are put through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Scenario {
    /// 50 hosts: full speed, replay, many consumers
    Narrow,
    /// 2,800 hosts: idle, a steady rate, a burst
    Wide,
    /// Bad events, and crashes
    Faults,
}

impl Scenario {
    /// All of them.
    pub const ALL: [Scenario; 3] = [Scenario::Narrow, Scenario::Wide, Scenario::Faults];

    /// The events of it, the same for all relays and rounds.
    pub fn traffic(self, scale: f64) -> Arc<Traffic> {
        let plan = match self {
            Scenario::Narrow => narrow::plan(scale),
            Scenario::Wide => wide::plan(scale),
            Scenario::Faults => faults::plan(scale),
        };
        let traffic = Arc::new(Traffic::make(&plan));
        eprintln!("  {} events of {} bytes on average", traffic.events().len(), traffic.average_bytes());
        traffic
    }

    /// Runs it once.
    pub async fn run(
        self,
        lab: &Lab,
        which: Which,
        traffic: &Arc<Traffic>,
        figures: &mut Figures,
    ) -> anyhow::Result<()> {
        match self {
            Scenario::Narrow => narrow::run(lab, which, traffic, figures).await,
            Scenario::Wide => wide::run(lab, which, traffic, figures).await,
            Scenario::Faults => faults::run(lab, which, traffic, figures).await,
        }
    }
}

/// A share of a number, at least one.
fn scaled(number: usize, scale: f64) -> usize {
    ((number as f64 * scale) as usize).max(1)
}
