//! What a pod of a new template has to prove.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::{Invalid, check, duration};
use crate::api::{GateSpec, patterns};

/// Shares of the delivery of before: nothing is no proof.
const PERCENT: RangeInclusive<i32> = 1..=100;

/// What a pod of a new template has to prove.
#[derive(Clone, Debug, PartialEq)]
pub struct Gate {
    /// Share of the delivery of before.
    pub min_percent: i32,
    /// In which time, as the spec has it.
    pub within: String,
}

impl Gate {
    /// In which time.
    #[must_use]
    pub fn within(&self) -> Duration {
        duration(&self.within)
    }
}

pub(super) fn gate(spec: &GateSpec) -> Result<Option<Gate>, Invalid> {
    check("spec.update.gate.within", &spec.within, patterns::DURATION)?;
    let min_percent = spec.min_delivery_percent;
    if !PERCENT.contains(&min_percent) {
        return Err(Invalid::Spec(format!(
            "spec.update.gate.minDeliveryPercent is {min_percent}; it must be between {} and {}",
            PERCENT.start(),
            PERCENT.end(),
        )));
    }
    Ok(spec.enabled.then(|| Gate { min_percent, within: spec.within.clone() }))
}
