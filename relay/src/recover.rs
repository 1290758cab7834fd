//! Brings the derived rows and the directory of collections up to the log's end at start (ARCHITECTURE.md, "Derived rows
//! follow the log").

use std::collections::HashMap;

use rocksdb::{IteratorMode, WriteBatch};

use crate::account::{self, Account, AccountError, Accounts, Cause};
use crate::collections::{self, Directory};
use crate::firehose::ws;
use crate::host::{self, Progress, ProgressRow};
use crate::log::{self, Event, Reader};
use crate::protocol::did::Did;
use crate::protocol::frame::{self, Frame};
use crate::protocol::proof;
use crate::protocol::touched::Touch;
use crate::store::{Column, Store, StoreError};

/// Bytes of the log read at once.
const READ_BYTES: usize = 1 << 20;
/// Events of the log whose rows are written at once.
const BATCH_EVENTS: usize = 1000;

/// What the hosts were at, when the relay last stopped.
#[derive(Debug, Default)]
pub struct Recovered {
    /// How far each host's stream was processed.
    pub progress: HashMap<u32, Progress>,
    /// Accounts of each host.
    pub accounts: HashMap<u32, u64>,
    /// Accounts of each host that are held back.
    pub held: HashMap<u32, u64>,
    /// Events of the log whose rows had to be made again.
    pub replayed: u64,
}

/// A start that cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    /// The derived store fails.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// An account row cannot be read.
    #[error(transparent)]
    Account(#[from] AccountError),
    /// The directory of collections cannot be read or written.
    #[error(transparent)]
    Collections(#[from] collections::Error),
    /// The log cannot be read.
    #[error(transparent)]
    Log(#[from] log::Error),
}

/// What is made again from the log.
struct Derived<'a> {
    store: &'a Store,
    accounts: &'a Accounts,
    directory: &'a Directory,
    /// Seq up to which the account rows are right.
    accounts_at: u64,
    /// Seq up to which the directory is right. It is written before the rows and survives a kill, so that it is ahead of
    /// them, but for events that changed nothing of it.
    directory_at: u64,
}

/// Reads the log from where the derived rows or the directory end and brings them up to date.
pub fn recover(
    store: &Store,
    accounts: &Accounts,
    directory: &Directory,
    log: &Reader,
) -> Result<Recovered, RecoverError> {
    let applied = store.applied()?;
    // A new directory was made from the accounts as their rows say.
    let directory_at = directory.applied()?.unwrap_or(applied.accounts);
    let derived = Derived { store, accounts, directory, accounts_at: applied.accounts, directory_at };
    let mut recovered = Recovered { accounts: stored_counts(store)?, ..Recovered::default() };
    let floors = floors(store)?;
    let mut passed_since: HashMap<u32, Vec<u64>> = HashMap::new();
    let mut cursor = log.cursor(applied.accounts.min(applied.hosts).min(directory_at));
    let mut events = Vec::new();
    loop {
        events.clear();
        cursor.read(READ_BYTES, &mut events)?;
        if events.is_empty() {
            break;
        }
        for events in events.chunks(BATCH_EVENTS) {
            for event in events.iter().filter(|event| event.header.seq > applied.hosts) {
                let floor = floors.get(&event.header.host);
                let is_after_reset = floor.is_none_or(|floor| event.header.seq > *floor);
                if let (true, Cause::Host(seq)) = (is_after_reset, Cause::of_upstream_seq(event.header.upstream_seq)) {
                    passed_since.entry(event.header.host).or_default().push(seq);
                }
            }
            derived.apply(events, &mut recovered)?;
        }
    }
    for row in store.iterate(Column::Host, IteratorMode::From(b"p", rocksdb::Direction::Forward)) {
        let (key, value) = row?;
        if let (Some(id), Some(row)) = (host::id_of_key(b'p', &key), ProgressRow::decode(&value)) {
            let passed = passed_since.remove(&id).unwrap_or_default();
            recovered.progress.insert(id, Progress::resume(Some(row), &passed));
        }
    }
    for (id, passed) in passed_since {
        recovered.progress.insert(id, Progress::resume(None, &passed));
    }
    recovered.held = accounts.held()?;
    Ok(recovered)
}

/// Accounts of each host.
fn stored_counts(store: &Store) -> Result<HashMap<u32, u64>, StoreError> {
    stored_numbers(store, b'a')
}

/// For each host whose cursor was reset, up to which seq of the log its events say nothing of its progress.
fn floors(store: &Store) -> Result<HashMap<u32, u64>, StoreError> {
    stored_numbers(store, b'r')
}

/// The rows of one kind that hold a number for each host.
fn stored_numbers(store: &Store, kind: u8) -> Result<HashMap<u32, u64>, StoreError> {
    let mut numbers = HashMap::new();
    for row in store.iterate(Column::Host, IteratorMode::From(&[kind], rocksdb::Direction::Forward)) {
        let (key, value) = row?;
        if let (Some(id), Ok(number)) = (host::id_of_key(kind, &key), value.as_ref().try_into()) {
            numbers.insert(id, u64::from_be_bytes(number));
        }
    }
    Ok(numbers)
}

impl Derived<'_> {
    /// Makes what some events have changed again, in the order of the log. As when they came, the directory is written
    /// before the account rows.
    fn apply(&self, events: &[Event], recovered: &mut Recovered) -> Result<(), RecoverError> {
        let Some(last) = events.last().map(|event| event.header.seq) else { return Ok(()) };
        let mut group = self.directory.group();
        let mut rows = WriteBatch::default();
        let mut changed: HashMap<Did, Account> = HashMap::new();
        for event in events {
            let (of_rows, of_directory) = (event.header.seq > self.accounts_at, event.header.seq > self.directory_at);
            recovered.replayed += u64::from(of_rows);
            if !of_rows && !of_directory {
                continue;
            }
            let Some(Ok(frame)) = ws::payload(&event.wire).map(frame::decode) else { continue };
            let Some(did) = did_of(&frame) else { continue };
            let known = match changed.get(&did) {
                Some(account) => Some(*account),
                None => self.accounts.get(did.as_str())?,
            };
            let cause = Cause::of_upstream_seq(event.header.upstream_seq);
            let Some(after) = account::after(known, event.header.host, cause, &frame) else { continue };
            if of_directory {
                // A row that is ahead does not say how the account was, only what became of it.
                let before = known.filter(|_| of_rows);
                group.event(&did, before.as_ref(), &after, &touches(cause, &frame))?;
            }
            if of_rows {
                count(&mut recovered.accounts, known, &after);
                self.accounts.put(&mut rows, &did, known.as_ref(), &after);
                changed.insert(did, after);
            }
        }
        if last > self.directory_at {
            group.write(last)?;
        }
        if last > self.accounts_at {
            for (host, count) in &recovered.accounts {
                self.store.put(&mut rows, Column::Host, &host::accounts_key(*host), &count.to_be_bytes());
            }
            self.store.put_applied_accounts(&mut rows, last);
            self.store.write(&rows)?;
        }
        Ok(())
    }
}

/// Keeps the numbers of accounts of each host in step with a change.
fn count(counts: &mut HashMap<u32, u64>, before: Option<Account>, after: &Account) {
    let (was, is) = (before.and_then(|account| account.counted_on()), after.counted_on());
    if was == is {
        return;
    }
    if let Some(host) = was {
        counts.entry(host).and_modify(|count| *count = count.saturating_sub(1));
    }
    if let Some(host) = is {
        *counts.entry(host).or_default() += 1;
    }
}

fn touches(cause: Cause, frame: &Frame<'_>) -> Vec<Touch> {
    match (cause, frame) {
        (Cause::Host(_), Frame::Commit(commit)) => proof::touches_of_commit(commit),
        _ => Vec::new(),
    }
}

fn did_of(frame: &Frame<'_>) -> Option<Did> {
    let did = match frame {
        Frame::Commit(commit) => commit.did,
        Frame::Sync(sync) => sync.did,
        Frame::Account(account) => account.did,
        _ => return None,
    };
    Did::parse(did).ok()
}

#[cfg(test)]
mod tests;
