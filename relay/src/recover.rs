//! Brings the derived rows up to the log's end at start (DESIGN.md, "the log is the truth").

use std::collections::HashMap;

use rocksdb::{IteratorMode, WriteBatch};

use crate::account::{self, Account, AccountError, Accounts, Cause};
use crate::firehose::ws;
use crate::host::{self, Progress, ProgressRow};
use crate::log::{self, Event, Reader};
use crate::protocol::did::Did;
use crate::protocol::frame::{self, Frame};
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
    /// The log cannot be read.
    #[error(transparent)]
    Log(#[from] log::Error),
}

/// Reads the log from where the derived rows end and brings them up to date.
pub fn recover(store: &Store, accounts: &Accounts, log: &Reader) -> Result<Recovered, RecoverError> {
    let applied = store.applied()?;
    let mut recovered = Recovered { accounts: stored_counts(store)?, ..Recovered::default() };
    let floors = floors(store)?;
    let mut passed_since: HashMap<u32, Vec<u64>> = HashMap::new();
    let mut cursor = log.cursor(applied.accounts.min(applied.hosts));
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
            let later = events.iter().filter(|event| event.header.seq > applied.accounts);
            apply(store, accounts, later, &mut recovered)?;
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

/// Makes the rows of some events again, in the order of the log.
fn apply<'a>(
    store: &Store,
    accounts: &Accounts,
    events: impl Iterator<Item = &'a Event>,
    recovered: &mut Recovered,
) -> Result<(), RecoverError> {
    let mut rows = WriteBatch::default();
    let mut changed: HashMap<Did, Account> = HashMap::new();
    let mut last = None;
    for event in events {
        last = Some(event.header.seq);
        recovered.replayed += 1;
        let Some(Ok(frame)) = ws::payload(&event.wire).map(frame::decode) else { continue };
        let Some(did) = did_of(&frame) else { continue };
        let before = match changed.get(&did) {
            Some(account) => Some(*account),
            None => accounts.get(did.as_str())?,
        };
        let cause = Cause::of_upstream_seq(event.header.upstream_seq);
        let Some(after) = account::after(before, event.header.host, cause, &frame) else { continue };
        let (was, is) = (before.and_then(|account| account.counted_on()), after.counted_on());
        if was != is {
            let counts = &mut recovered.accounts;
            if let Some(host) = was {
                counts.entry(host).and_modify(|count| *count = count.saturating_sub(1));
            }
            if let Some(host) = is {
                *counts.entry(host).or_default() += 1;
            }
        }
        accounts.put(&mut rows, &did, before.as_ref(), &after);
        changed.insert(did, after);
    }
    let Some(last) = last else { return Ok(()) };
    for (host, count) in &recovered.accounts {
        store.put(&mut rows, Column::Host, &host::accounts_key(*host), &count.to_be_bytes());
    }
    store.put_applied_accounts(&mut rows, last);
    Ok(store.write(&rows)?)
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
