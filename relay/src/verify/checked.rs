//! The inactive accounts whose host was lately asked whether they still are.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::protocol::did::Did;

/// A host is asked again about the same account after this.
const AGAIN_AFTER: Duration = Duration::from_secs(10 * 60);
/// Accounts remembered at once, in half a MiB at most; beyond that nobody is asked.
const ACCOUNTS_MAX: usize = 4096;

/// When each account was asked about.
#[derive(Default)]
pub(super) struct Checked(HashMap<Did, Instant>);

impl Checked {
    /// Whether the host may be asked `now`; if so, that is remembered.
    pub(super) fn may_ask(&mut self, did: &Did, now: Instant) -> bool {
        if self.0.len() >= ACCOUNTS_MAX {
            self.0.retain(|_, at| now < *at + AGAIN_AFTER);
        }
        let is_recent = self.0.get(did).is_some_and(|at| now < *at + AGAIN_AFTER);
        if is_recent || self.0.len() >= ACCOUNTS_MAX {
            return false;
        }
        self.0.insert(did.clone(), now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn did(number: usize) -> Did {
        Did::parse(&format!("did:web:host{number}.example.com")).expect("a DID")
    }

    #[test]
    fn a_host_is_asked_once_in_a_while_and_not_about_everybody() {
        let mut checked = Checked::default();
        let start = Instant::now();
        assert!(checked.may_ask(&did(0), start));
        assert!(!checked.may_ask(&did(0), start), "just asked");
        let later = start + AGAIN_AFTER;
        assert!(checked.may_ask(&did(0), later), "long ago");
        let asked = (1..2 * ACCOUNTS_MAX).filter(|number| checked.may_ask(&did(*number), later)).count();
        assert_eq!(asked, ACCOUNTS_MAX - 1);
        let last = did(2 * ACCOUNTS_MAX);
        assert!(!checked.may_ask(&last, later), "too many at once");
        assert!(checked.may_ask(&last, later + AGAIN_AFTER), "the others are forgotten by now");
    }
}
