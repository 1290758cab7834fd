//! What is checked of an event, in order. Reads like the protocol's list; decides, and leaves acting to the shard.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::recent::Recent;
use super::{Change, Parts, Reason, Stats};
use crate::account::{self, Account, Repo, Status};
use crate::config::Validation;
use crate::host::Host;
use crate::identity::{Freshness, Identity, Lookup};
use crate::log::Kind;
use crate::protocol::did::Did;
use crate::protocol::frame::{self, AccountFrame, CommitFrame, Frame, IdentityFrame, SyncFrame};
use crate::protocol::proof::{self, Legacy};
use crate::protocol::tid::Tid;

/// How far a rev may lie ahead of our clock (protocol 20).
const REV_AHEAD_MAX: Duration = Duration::from_secs(5 * 60);

/// An event that passes.
pub(super) struct Ruling {
    pub(super) kind: Kind,
    pub(super) seq_span: Range<usize>,
    /// The frame to send instead of the host's.
    pub(super) rewritten: Option<Box<[u8]>>,
    pub(super) change: Option<Change>,
}

/// An event that does not pass, or not yet.
pub(super) enum Stop {
    Drop(Reason),
    Resolve(Freshness),
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
    /// The identity was just fetched: a second look would not change it.
    refreshed: bool,
}

impl Judge {
    pub(super) fn new(parts: Arc<Parts>, stats: Arc<Stats>, capacity: usize, applied: Arc<AtomicU64>) -> Judge {
        Judge { parts, stats, recent: Recent::new(capacity, applied) }
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
        &mut self,
        did: &Did,
        host: &Host,
        frame: &[u8],
        refreshed: bool,
        event: u64,
    ) -> Result<Ruling, Stop> {
        let origin = Origin { did, host, refreshed };
        let ruling = match frame::decode(frame).map_err(|_| Reason::Malformed)? {
            Frame::Commit(frame) => self.commit(&origin, &frame)?,
            Frame::Sync(frame) => self.sync(&origin, &frame)?,
            Frame::Identity(frame) => self.identity(&origin, &frame)?,
            Frame::Account(frame) => self.account(&origin, &frame)?,
            Frame::Info { .. } | Frame::Error { .. } | Frame::Unknown => return Err(Reason::Malformed.into()),
        };
        if let Some(change) = &ruling.change {
            self.recent.change(did, change.after, event);
        }
        Ok(ruling)
    }

    fn commit(&mut self, origin: &Origin<'_>, frame: &CommitFrame<'_>) -> Result<Ruling, Stop> {
        let identity = self.working_identity(origin)?;
        check_authority(origin, &identity)?;
        let before = self.account_of(origin.did)?;
        check_active(before)?;
        let repo = match self.proven_commit(origin, &identity, before, frame) {
            Ok(repo) => repo,
            Err(Stop::Drop(reason)) => self.observed(reason, account::repo_of_commit(frame))?,
            Err(stop) => return Err(stop),
        };
        check_rev(repo.rev, before)?;
        let after = Account { repo: Some(repo), ..self.on_host(origin, before)? };
        Ok(Ruling::of(Kind::Commit, &frame.seq_span, Change { before, after }))
    }

    /// The checks of a commit that a policy may wave through.
    fn proven_commit(
        &self,
        origin: &Origin<'_>,
        identity: &Identity,
        before: Option<Account>,
        frame: &CommitFrame<'_>,
    ) -> Result<Repo, Stop> {
        let legacy = if self.parts.policy == Validation::Lenient { Legacy::Accept } else { Legacy::Reject };
        let checked = proof::check_commit(frame, legacy).map_err(Reason::Invalid)?;
        // Before the signature: a stale commit is not worth its cost.
        check_rev(checked.rev, before)?;
        check_signature(origin, identity, |key| checked.signature.verify(key).is_ok())?;
        let known = before.and_then(|account| account.repo);
        if known.is_some_and(|repo| {
            checked.since != Some(repo.rev) || (repo.data.is_some() && checked.prev_data != repo.data)
        }) {
            self.stats.discontinuous();
        }
        Ok(Repo { rev: checked.rev, commit: checked.commit, data: Some(checked.data) })
    }

    fn sync(&mut self, origin: &Origin<'_>, frame: &SyncFrame<'_>) -> Result<Ruling, Stop> {
        let identity = self.working_identity(origin)?;
        check_authority(origin, &identity)?;
        let before = self.account_of(origin.did)?;
        check_active(before)?;
        let checked = match proof::check_sync(frame) {
            Ok(checked) => checked,
            Err(invalid) => return Err(Reason::Invalid(invalid).into()),
        };
        if before.and_then(|account| account.repo).is_some_and(|repo| repo.rev == checked.rev) {
            return Err(Reason::Unchanged.into());
        }
        check_rev(checked.rev, before)?;
        let repo = Repo { rev: checked.rev, commit: checked.commit, data: Some(checked.data) };
        match check_signature(origin, &identity, |key| checked.signature.verify(key).is_ok()) {
            Ok(()) => {}
            Err(Stop::Drop(reason)) => drop(self.observed(reason, repo)?),
            Err(stop) => return Err(stop),
        }
        let after = Account { repo: Some(repo), ..self.on_host(origin, before)? };
        Ok(Ruling::of(Kind::Sync, &frame.seq_span, Change { before, after }))
    }

    /// An identity event may come from any host; its handle stays only if the identity, fetched anew, agrees and names
    /// that host (protocol 18, 29).
    fn identity(&mut self, origin: &Origin<'_>, frame: &IdentityFrame<'_>) -> Result<Ruling, Stop> {
        if !origin.refreshed {
            self.parts.resolver.purge(origin.did);
            return Err(Stop::Resolve(Freshness::Forced));
        }
        let confirmed = frame.handle.is_none()
            || matches!(self.parts.resolver.get(origin.did), Lookup::Known(identity)
                if is_on(&identity, origin.host) && identity.handle.as_deref() == frame.handle);
        if confirmed {
            let seq_span = frame.seq_span.clone();
            return Ok(Ruling { kind: Kind::Identity, seq_span, rewritten: None, change: None });
        }
        let mut rewritten = Vec::new();
        let seq_span = frame::encode_identity(&IdentityFrame { handle: None, ..frame.clone() }, &mut rewritten);
        Ok(Ruling { kind: Kind::Identity, seq_span, rewritten: Some(rewritten.into()), change: None })
    }

    fn account(&mut self, origin: &Origin<'_>, frame: &AccountFrame<'_>) -> Result<Ruling, Stop> {
        let identity = self.identity_of(origin)?.ok_or(Reason::IdentityAbsent)?;
        check_authority(origin, &identity)?;
        let before = self.account_of(origin.did)?;
        let status = Status::of_event(frame.active, frame.status);
        let after = Account { status, ..self.on_host(origin, before)? };
        Ok(Ruling::of(Kind::Account, &frame.seq_span, Change { before, after }))
    }

    /// Lets an invalid event pass where the policy says so.
    fn observed<R>(&self, reason: Reason, unproven: impl Into<Option<R>>) -> Result<R, Stop> {
        match unproven.into() {
            Some(unproven) if self.parts.policy == Validation::Observe && reason.is_about_validity() => {
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

    fn identity_of(&self, origin: &Origin<'_>) -> Result<Option<Arc<Identity>>, Stop> {
        match self.parts.resolver.get(origin.did) {
            Lookup::Known(identity) => Ok(Some(identity)),
            Lookup::Absent => Ok(None),
            Lookup::Unknown => Err(Stop::Resolve(Freshness::Cached)),
        }
    }

    fn account_of(&mut self, did: &Did) -> Result<Option<Account>, Stop> {
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

    /// The account as the event's host has it: a new one, and one that comes from another host, needs a place there.
    fn on_host(&self, origin: &Origin<'_>, before: Option<Account>) -> Result<Account, Stop> {
        let host = origin.host.id;
        let counted = before.is_some_and(|account| account.counted_on() == Some(host));
        if !counted && !origin.host.take_place() {
            return Err(Reason::HostAccountLimit.into());
        }
        Ok(before.map_or_else(|| Account::new(host), |account| Account { host, ..account }))
    }
}

impl Ruling {
    fn of(kind: Kind, seq_span: &Range<usize>, change: Change) -> Ruling {
        Ruling { kind, seq_span: seq_span.clone(), rewritten: None, change: Some(change) }
    }
}

/// The account's identity must name the event's host; if it does not, it may have changed (protocol 18).
fn check_authority(origin: &Origin<'_>, identity: &Identity) -> Result<(), Stop> {
    match (is_on(identity, origin.host), origin.refreshed) {
        (true, _) => Ok(()),
        (false, true) => Err(Reason::WrongHost.into()),
        (false, false) => Err(Stop::Resolve(Freshness::Forced)),
    }
}

fn is_on(identity: &Identity, host: &Host) -> bool {
    identity.pds.as_ref().is_some_and(|pds| pds.host == host.name.as_str())
}

fn check_active(account: Option<Account>) -> Result<(), Stop> {
    match account {
        Some(account) if !account.status.is_active() => Err(Reason::AccountInactive.into()),
        _ => Ok(()),
    }
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
    match (verifies(key), origin.refreshed) {
        (true, _) => Ok(()),
        (false, true) => Err(Reason::Signature.into()),
        (false, false) => Err(Stop::Resolve(Freshness::Forced)),
    }
}
