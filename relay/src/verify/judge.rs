//! What is checked of an event, in order. Reads like the protocol's list; decides, and leaves acting to the shard.

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::recent::Recent;
use super::{Change, Decision, Parts, Reason, Stats};
use crate::account::{self, Account, Cause, Local, Repo, Status};
use crate::config::Validation;
use crate::host::{Host, LOCAL};
use crate::identity::{Freshness, Identity, Lookup};
use crate::log::Kind;
use crate::protocol::did::Did;
use crate::protocol::frame::{self, AccountFrame, CommitFrame, FRAME_BYTES_MAX, Frame, IdentityFrame, SyncFrame};
use crate::protocol::proof::{self, Legacy};
use crate::protocol::tid::Tid;
use crate::protocol::touched::Touch;

/// How far a rev may lie ahead of our clock (protocol 20).
const REV_AHEAD_MAX: Duration = Duration::from_secs(5 * 60);

/// Longest message that passes: our seq and header may take some bytes more than the host's (protocol 6).
const FRAME_BYTES_IN_MAX: usize = FRAME_BYTES_MAX - 64;

/// An event that passes.
pub(super) struct Ruling {
    pub(super) kind: Kind,
    pub(super) seq_span: Range<usize>,
    /// The frame to send instead of the host's.
    pub(super) rewritten: Option<Box<[u8]>>,
    pub(super) change: Option<Change>,
    pub(super) touches: Vec<Touch>,
}

/// A decision, as the `#account` that states it.
pub(super) struct Stated {
    pub(super) frame: Box<[u8]>,
    pub(super) seq_span: Range<usize>,
    pub(super) cause: Cause,
    pub(super) change: Change,
}

/// An event that does not pass, or not yet.
pub(super) enum Stop {
    Drop(Reason),
    /// The account's identity is to be looked up first.
    Resolve(Freshness),
    /// The account's host is to be asked first whether it is still inactive.
    Check,
    /// The account finds no place on its host.
    Hold,
    /// The account was held back and there is a place for it now.
    Free,
}

/// What was just found out for an event, so that it is not asked for again.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Fresh {
    /// The identity: a second look would not change it.
    pub(super) identity: bool,
    /// The account's status at its host.
    pub(super) status: bool,
}

impl From<Reason> for Stop {
    fn from(reason: Reason) -> Stop {
        Stop::Drop(reason)
    }
}

pub(super) struct Judge {
    parts: Arc<Parts>,
    stats: Arc<Stats>,
    recent: Recent,
}

/// What is known of where an event comes from.
struct Origin<'a> {
    did: &'a Did,
    host: &'a Host,
    fresh: Fresh,
}

impl Judge {
    pub(super) fn new(parts: Arc<Parts>, stats: Arc<Stats>, recent: Recent) -> Judge {
        Judge { parts, stats, recent }
    }

    /// Whose event a frame is.
    pub(super) fn did(frame: &[u8]) -> Result<Did, Reason> {
        match frame::peek(frame) {
            Ok(frame::Peek::Event { did, .. }) => Did::parse(did).map_err(|_| Reason::Did),
            _ => Err(Reason::Malformed),
        }
    }

    /// Decides on one event. `event` is the number under which its change is remembered if it passes.
    pub(super) fn examine(
        &self,
        did: &Did,
        host: &Host,
        frame: &[u8],
        fresh: Fresh,
        event: u64,
    ) -> Result<Ruling, Stop> {
        if frame.len() > FRAME_BYTES_IN_MAX {
            return Err(Reason::Oversize.into());
        }
        let origin = Origin { did, host, fresh };
        let ruling = match frame::decode(frame).map_err(|_| Reason::Malformed)? {
            Frame::Commit(frame) => self.commit(&origin, &frame)?,
            Frame::Sync(frame) => self.sync(&origin, &frame)?,
            Frame::Identity(frame) => self.identity(&origin, &frame)?,
            Frame::Account(frame) => self.account_event(&origin, &frame)?,
            Frame::Info { .. } | Frame::Error { .. } | Frame::Unknown => return Err(Reason::Malformed.into()),
        };
        if let Some(change) = &ruling.change {
            self.recent.change(did, change.after, event);
        }
        Ok(ruling)
    }

    /// The account as it is now, its change by earlier events included.
    pub(super) fn account(&self, did: &Did) -> Option<Account> {
        self.account_of(did).ok().flatten()
    }

    /// States a decision, under the number under which it is remembered; `None` when it changes nothing. An account that
    /// is set free without finding a place on its host is held back instead.
    pub(super) fn decide(&self, did: &Did, host: Option<&Host>, decision: Decision, event: u64) -> Option<Stated> {
        let before = self.account_of(did).ok()?;
        let account = before.unwrap_or_else(|| Account::new(LOCAL));
        let account = host.map_or(account, |host| Account { host: host.id, ..account });
        let after = match decision {
            Decision::TakeDown => Account { local: Local::TakenDown, ..account },
            Decision::Hold => Account { local: Local::Held, ..account },
            Decision::Free(status) => {
                let free = Account { local: Local::Free, status: status.unwrap_or(account.status), ..account };
                match host {
                    Some(host) if !has_place(host, before, &free) => Account { local: Local::Held, ..account },
                    _ => free,
                }
            }
        };
        if before == Some(after) {
            return None;
        }
        let cause = match after.local {
            Local::Free => Cause::Free,
            Local::TakenDown => Cause::TakeDown,
            Local::Held => Cause::Hold,
        };
        let time = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string();
        let (active, status) = (after.is_active(), after.status_name());
        let stated = AccountFrame { did: did.as_str(), time: &time, active, status, ..AccountFrame::default() };
        let mut frame = Vec::new();
        let seq_span = frame::encode_account(&stated, &mut frame);
        self.recent.change(did, after, event);
        Some(Stated { frame: frame.into(), seq_span, cause, change: Change { before, after } })
    }

    fn commit(&self, origin: &Origin<'_>, frame: &CommitFrame<'_>) -> Result<Ruling, Stop> {
        let identity = self.working_identity(origin)?;
        self.check_authority(origin, &identity)?;
        let before = self.account_of(origin.did)?;
        check_active(origin, before)?;
        let (repo, touches) = match self.proven_commit(origin, &identity, before, frame) {
            Ok(proven) => proven,
            Err(Stop::Drop(reason)) => {
                let repo = self.observed(origin, reason, account::repo_of_commit(frame))?;
                (repo, proof::touches_of_commit(frame))
            }
            Err(stop) => return Err(stop),
        };
        check_rev(repo.rev, before)?;
        let since = frame.since.and_then(|since| since.parse().ok());
        let known = before.and_then(|account| account.repo);
        let breaks = known.is_some_and(|known| !known.is_continued_by(since, frame.prev_data));
        let discontinuities = before.map_or(0, |account| account.discontinuities).saturating_add(u32::from(breaks));
        let after = Account { repo: Some(repo), discontinuities, ..account_on(origin, before) };
        take_place(origin, before, &after)?;
        if breaks {
            self.stats.discontinuous();
        }
        Ok(Ruling { touches, ..Ruling::of(Kind::Commit, &frame.seq_span, Some(Change { before, after })) })
    }

    /// The checks of a commit that a policy may wave through.
    fn proven_commit(
        &self,
        origin: &Origin<'_>,
        identity: &Identity,
        before: Option<Account>,
        frame: &CommitFrame<'_>,
    ) -> Result<(Repo, Vec<Touch>), Stop> {
        let is_lenient = origin.host.validation() == Validation::Lenient;
        let legacy = if is_lenient { Legacy::Accept } else { Legacy::Reject };
        let checked = proof::check_commit(frame, legacy).map_err(Reason::Invalid)?;
        // Before the signature: a stale commit is not worth its cost.
        check_rev(checked.rev, before)?;
        check_signature(origin, identity, |key| checked.signature.verify(key).is_ok())?;
        Ok((Repo { rev: checked.rev, commit: checked.commit, data: Some(checked.data) }, checked.touches))
    }

    fn sync(&self, origin: &Origin<'_>, frame: &SyncFrame<'_>) -> Result<Ruling, Stop> {
        let identity = self.working_identity(origin)?;
        self.check_authority(origin, &identity)?;
        let before = self.account_of(origin.did)?;
        check_active(origin, before)?;
        let checked = proof::check_sync(frame).map_err(Reason::Invalid)?;
        if before.and_then(|account| account.repo).is_some_and(|repo| repo.rev == checked.rev) {
            return Err(Reason::Unchanged.into());
        }
        check_rev(checked.rev, before)?;
        let repo = Repo { rev: checked.rev, commit: checked.commit, data: Some(checked.data) };
        match check_signature(origin, &identity, |key| checked.signature.verify(key).is_ok()) {
            Ok(()) => {}
            Err(Stop::Drop(reason)) => drop(self.observed(origin, reason, repo)?),
            Err(stop) => return Err(stop),
        }
        let after = Account { repo: Some(repo), ..account_on(origin, before) };
        take_place(origin, before, &after)?;
        Ok(Ruling::of(Kind::Sync, &frame.seq_span, Some(Change { before, after })))
    }

    /// An identity event may come from any host; its handle stays only if the identity, fetched anew, agrees and names
    /// that host (protocol 18, 29). So that nobody can announce an account under another spelling, the DID goes out in
    /// its normal form (protocol 16).
    fn identity(&self, origin: &Origin<'_>, frame: &IdentityFrame<'_>) -> Result<Ruling, Stop> {
        if !origin.fresh.identity {
            return Err(self.announced(origin));
        }
        let confirmed = frame.handle.is_none()
            || matches!(self.parts.resolver.get(origin.did), Lookup::Known(identity)
                if is_on(&identity, origin.host) && identity.handle.as_deref() == frame.handle);
        let did = origin.did.as_str();
        if confirmed && frame.did == did {
            return Ok(Ruling::of(Kind::Identity, &frame.seq_span, None));
        }
        let handle = frame.handle.filter(|_| confirmed);
        let mut rewritten = Vec::new();
        let seq_span = frame::encode_identity(&IdentityFrame { did, handle, ..frame.clone() }, &mut rewritten);
        Ok(Ruling { rewritten: Some(rewritten.into()), ..Ruling::of(Kind::Identity, &seq_span, None) })
    }

    /// How to look at an identity that is said to have changed. A host that is not the account's can say so of any, and
    /// must not hold up the account's events by it.
    fn announced(&self, origin: &Origin<'_>) -> Stop {
        let resolver = &self.parts.resolver;
        let (is_foreign, freshness) = match resolver.get(origin.did) {
            Lookup::Known(identity) if is_on(&identity, origin.host) => (false, Freshness::Forced),
            Lookup::Known(_) => (true, Freshness::Suggested),
            Lookup::Absent => (true, Freshness::Forced),
            Lookup::Unknown => (false, Freshness::Forced),
        };
        if is_foreign && !resolver.may_refresh_foreign(origin.host.id) {
            return Reason::ForeignLookups.into();
        }
        if freshness == Freshness::Forced {
            resolver.purge(origin.did);
        }
        Stop::Resolve(freshness)
    }

    /// What the host says of an account. What the relay itself has made of it overrides that (protocol 19): then nothing
    /// changes for consumers, and the host is asked once the account is set free.
    fn account_event(&self, origin: &Origin<'_>, frame: &AccountFrame<'_>) -> Result<Ruling, Stop> {
        let identity = self.identity_of(origin)?.ok_or(Reason::IdentityAbsent)?;
        self.check_authority(origin, &identity)?;
        let before = self.account_of(origin.did)?;
        check_local(origin, before)?;
        let status = Status::of_event(frame.active, frame.status);
        let after = Account { status, ..account_on(origin, before) };
        take_place(origin, before, &after)?;
        Ok(Ruling::of(Kind::Account, &frame.seq_span, Some(Change { before, after })))
    }

    /// Lets an invalid event pass where the policy says so.
    fn observed<R>(&self, origin: &Origin<'_>, reason: Reason, unproven: impl Into<Option<R>>) -> Result<R, Stop> {
        let is_observed = origin.host.validation() == Validation::Observe && reason.is_about_validity();
        match unproven.into() {
            Some(unproven) if is_observed => {
                self.stats.observed(reason);
                Ok(unproven)
            }
            _ => Err(reason.into()),
        }
    }

    /// The identity with a key and a host: without both, nothing of the account's repository passes (protocol 17).
    fn working_identity(&self, origin: &Origin<'_>) -> Result<Arc<Identity>, Stop> {
        let identity = self.identity_of(origin)?.filter(|identity| identity.is_working());
        identity.ok_or(Reason::IdentityAbsent.into())
    }

    /// The account's identity must name the event's host; if it does not, it may have changed (protocol 18). Whether it
    /// has is worth a wait: after a migration, the first events of the new host would be lost else.
    fn check_authority(&self, origin: &Origin<'_>, identity: &Identity) -> Result<(), Stop> {
        if is_on(identity, origin.host) {
            Ok(())
        } else if origin.fresh.identity {
            Err(Reason::WrongHost.into())
        } else if self.parts.resolver.may_refresh_foreign(origin.host.id) {
            Err(Stop::Resolve(Freshness::Awaited))
        } else {
            Err(Reason::ForeignLookups.into())
        }
    }

    fn identity_of(&self, origin: &Origin<'_>) -> Result<Option<Arc<Identity>>, Stop> {
        match self.parts.resolver.get(origin.did) {
            Lookup::Known(identity) => Ok(Some(identity)),
            Lookup::Absent => Ok(None),
            Lookup::Unknown => Err(Stop::Resolve(Freshness::Cached)),
        }
    }

    fn account_of(&self, did: &Did) -> Result<Option<Account>, Stop> {
        if let Some(account) = self.recent.get(did) {
            return Ok(account);
        }
        let account = self.parts.accounts.get(did.as_str()).map_err(|error| {
            tracing::error!(%error, "account not read");
            Reason::Internal
        })?;
        self.recent.read(did, account);
        Ok(account)
    }
}

impl Ruling {
    fn of(kind: Kind, seq_span: &Range<usize>, change: Option<Change>) -> Ruling {
        Ruling { kind, seq_span: seq_span.clone(), rewritten: None, change, touches: Vec::new() }
    }
}

fn is_on(identity: &Identity, host: &Host) -> bool {
    identity.pds.as_ref().is_some_and(|pds| pds.host == host.name.as_str())
}

/// What the relay itself holds against an account comes first.
fn check_local(origin: &Origin<'_>, account: Option<Account>) -> Result<(), Stop> {
    match account.map(|account| (account.local, account.host)) {
        Some((Local::TakenDown, _)) => Err(Reason::TakenDown.into()),
        // On another host it may find a place.
        Some((Local::Held, _)) if origin.host.has_place() => Err(Stop::Free),
        Some((Local::Held, host)) if host == origin.host.id => Err(Reason::HostAccountLimit.into()),
        Some((Local::Held, _)) => Err(Stop::Hold),
        _ => Ok(()),
    }
}

/// Only active accounts have commits; one that is not may have become active without our hearing of it.
fn check_active(origin: &Origin<'_>, account: Option<Account>) -> Result<(), Stop> {
    check_local(origin, account)?;
    match account {
        Some(account) if !account.status.is_active() && origin.fresh.status => Err(Reason::AccountInactive.into()),
        Some(account) if !account.status.is_active() => Err(Stop::Check),
        _ => Ok(()),
    }
}

/// The account as the event's host has it.
fn account_on(origin: &Origin<'_>, before: Option<Account>) -> Account {
    let host = origin.host.id;
    before.map_or_else(|| Account::new(host), |account| Account { host, ..account })
}

/// An account that begins to count on the event's host needs a place there.
fn take_place(origin: &Origin<'_>, before: Option<Account>, after: &Account) -> Result<(), Stop> {
    if has_place(origin.host, before, after) { Ok(()) } else { Err(Stop::Hold) }
}

/// Takes a place if the change needs one; the answer is `false` when there is none.
fn has_place(host: &Host, before: Option<Account>, after: &Account) -> bool {
    let is_counted = before.and_then(|account| account.counted_on()) == after.counted_on();
    is_counted || after.counted_on().is_none() || host.take_place()
}

/// Revs only grow, and not beyond our clock (protocol 20).
fn check_rev(rev: Tid, account: Option<Account>) -> Result<(), Stop> {
    if account.and_then(|account| account.repo).is_some_and(|repo| rev <= repo.rev) {
        return Err(Reason::StaleRev.into());
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    if Duration::from_micros(rev.timestamp_us()) > now + REV_AHEAD_MAX {
        return Err(Reason::FutureRev.into());
    }
    Ok(())
}

/// A signature that does not verify may be of a key that has changed (protocol 22).
fn check_signature(
    origin: &Origin<'_>,
    identity: &Identity,
    verifies: impl FnOnce(&crate::protocol::key::PublicKey) -> bool,
) -> Result<(), Stop> {
    let key = identity.key.as_ref().ok_or(Reason::IdentityAbsent)?;
    match (verifies(key), origin.fresh.identity) {
        (true, _) => Ok(()),
        (false, true) => Err(Reason::Signature.into()),
        (false, false) => Err(Stop::Resolve(Freshness::Forced)),
    }
}
