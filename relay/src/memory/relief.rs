//! What each step of the ladder does.

use super::Step;

type Switch = Box<dyn Fn(bool) + Send + Sync>;

/// What is switched on when a step is climbed, and off when it is left.
#[derive(Default)]
pub struct Relief {
    switches: Vec<(Step, Switch)>,
}

impl Relief {
    /// Has `switch` called with `true` when `step` is reached, and with `false` when it is left.
    pub fn at(&mut self, step: Step, switch: impl Fn(bool) + Send + Sync + 'static) {
        self.switches.push((step, Box::new(switch)));
    }

    /// Goes from one step to another.
    pub fn go(&self, from: Step, to: Step) {
        for (step, switch) in &self.switches {
            let (was_on, is_on) = (from >= *step, to >= *step);
            if was_on != is_on {
                switch(is_on);
            }
        }
    }
}
