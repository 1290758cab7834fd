//! The sequencer's part: what events make of the directory.

use super::changes::{Addition, Changes};
use super::key::DidKey;
use super::mark::Hidden;
use super::{Error, Touch};
use crate::account::{Account, Status};
use crate::protocol::did::Did;

/// How many events without any news may be looked at again by a start.
const UNNOTED_EVENTS_MAX: u64 = 10_000;

/// Events on their way into the directory.
pub struct Group<'a> {
    changes: Changes<'a>,
}

impl<'a> Group<'a> {
    pub(super) fn new(changes: Changes<'a>) -> Group<'a> {
        Group { changes }
    }

    /// Takes an event: the account as it was, if that is known, and as it is; and what a commit says of collections. May
    /// be tried again.
    pub fn event(
        &mut self,
        did: &Did,
        before: Option<&Account>,
        after: &Account,
        touches: &[Touch],
    ) -> Result<(), Error> {
        if before.map(|before| (before.is_active(), before.status)) != Some((after.is_active(), after.status)) {
            self.account(did, after)?;
        }
        let key = DidKey::of(did);
        for touch in touches {
            let id = self.changes.id(&touch.collection);
            if touch.is_there && id.is_some_and(|id| self.changes.writing.seen.has(key, id)) {
                continue;
            }
            self.changes.show(did, Hidden::Verified)?;
            if !touch.is_there {
                self.changes.remove(did, &touch.collection)?;
            } else if self.changes.add(did, &touch.collection)? != Addition::Refused
                && let Some(id) = self.changes.id(&touch.collection)
            {
                self.changes.writing.seen.insert(key, id);
            }
        }
        Ok(())
    }

    /// Writes what the events changed: visible at once, and there after a kill. May be tried again.
    pub fn write(&mut self, last_seq: u64) -> Result<(), Error> {
        let stored_seq = self.changes.writing.stored_seq;
        let is_due = stored_seq.is_none_or(|seq| last_seq >= seq.saturating_add(UNNOTED_EVENTS_MAX));
        if is_due || !self.changes.is_empty() {
            self.changes.write(Some(last_seq))?;
        }
        self.changes.writing.seq = Some(last_seq);
        Ok(())
    }

    fn account(&mut self, did: &Did, after: &Account) -> Result<(), Error> {
        if after.status == Status::Deleted {
            self.changes.forget(did, Some(Hidden::Inactive))?;
        } else if after.is_active() {
            self.changes.show(did, Hidden::Inactive)?;
        } else {
            self.changes.hide(did, Hidden::Inactive)?;
        }
        Ok(())
    }
}

impl Drop for Group<'_> {
    fn drop(&mut self) {
        if !self.changes.is_empty() {
            // Some of the pairs were not written after all.
            self.changes.writing.seen.clear();
        }
    }
}
