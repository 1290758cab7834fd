//! Verification: the steps that an event passes between its host and the sequencer.
//!
//! Events are spread over shards by their DID, one thread for each core. A shard owns its accounts: it sees all their
//! events in order, remembers their state and needs no lock ([`shard`]). What is checked, and in which order, reads
//! from top to bottom in [`judge`]. Events whose identity is not known yet wait, in order, in [`parked`].

mod checked;
mod judge;
mod parked;
mod reason;
mod recent;
mod shard;
mod stats;

pub use reason::Reason;
pub use stats::Stats;

use std::hash::{BuildHasher, RandomState};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use self::parked::Waiting;
use crate::account::{Account, Accounts, Cause, Status};
use crate::host::{Host, RepoStatuses};
use crate::identity::{Freshness, Resolver};
use crate::log::Kind;
use crate::protocol::did::Did;
use crate::protocol::touched::Touch;

/// Events that may wait in front of one shard, and in front of the sequencer; their bytes are bounded by
/// [`Limits::ingest_bytes`].
const QUEUE_EVENTS: usize = 1024;

/// An event as its host sent it, with what it holds of the relay's bounds.
pub struct Inbound {
    /// Where it came from.
    pub host: Arc<Host>,
    /// Its seq there.
    pub seq: u64,
    /// The message: exactly as many bytes as are counted.
    pub frame: Box<[u8]>,
    bytes: Option<OwnedSemaphorePermit>,
    _in_flight: OwnedSemaphorePermit,
}

impl Inbound {
    /// An event of `host` that holds its share of what the host may have in flight.
    pub fn new(host: Arc<Host>, seq: u64, frame: Box<[u8]>, in_flight: OwnedSemaphorePermit) -> Inbound {
        Inbound { host, seq, frame, bytes: None, _in_flight: in_flight }
    }
}

/// An event that may be passed on.
pub struct Verified {
    /// Where it comes from.
    pub source: Source,
    /// What it is.
    pub kind: Kind,
    /// Whose it is.
    pub did: Did,
    /// Where the seq stands in the frame.
    pub seq_span: Range<usize>,
    /// What it changes of its account; nothing for an `#identity`.
    pub change: Option<Change>,
    /// What it says of collections; nothing unless it is a `#commit`.
    pub touches: Vec<Touch>,
    /// The shard that verified it.
    pub shard: usize,
}

/// Where an event comes from; its frame is what goes out, but for the seq.
pub enum Source {
    /// A host.
    Host(Inbound),
    /// This relay: an `#account` that states what was decided here.
    Relay {
        /// The message.
        frame: Box<[u8]>,
        /// The account's host.
        host: u32,
        /// What was decided.
        cause: Cause,
    },
}

impl Source {
    /// The message.
    pub fn frame(&self) -> &[u8] {
        match self {
            Source::Host(inbound) => &inbound.frame,
            Source::Relay { frame, .. } => frame,
        }
    }

    /// Id of the host.
    pub fn host(&self) -> u32 {
        match self {
            Source::Host(inbound) => inbound.host.id,
            Source::Relay { host, .. } => *host,
        }
    }

    /// What made it.
    pub fn cause(&self) -> Cause {
        match self {
            Source::Host(inbound) => Cause::Host(inbound.seq),
            Source::Relay { cause, .. } => *cause,
        }
    }
}

/// A change of an account.
#[derive(Debug, Clone, Copy)]
pub struct Change {
    /// As it was, if it was known.
    pub before: Option<Account>,
    /// As it is.
    pub after: Account,
}

/// Bounds of verification.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes of events between the hosts and the log.
    pub ingest_bytes: usize,
    /// Bytes of events that wait for an identity.
    pub parked_bytes: usize,
    /// Accounts that all shards together remember.
    pub recent_accounts: usize,
}

/// What the shards work with.
pub struct Parts {
    /// Who an account is.
    pub resolver: Arc<Resolver>,
    /// What is known of accounts.
    pub accounts: Accounts,
    /// Asks hosts how accounts stand.
    pub statuses: Arc<RepoStatuses>,
    /// Bounds.
    pub limits: Limits,
}

/// What is decided of an account besides its own events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// A person takes it down.
    TakeDown,
    /// It is held back, until its host has a place for it.
    Hold,
    /// Nothing is held against it any more, if its host has a place for it; the status is what its host says, where it
    /// was asked.
    Free(Option<Status>),
}

enum Message {
    Event(Inbound),
    /// The identity was looked up for the events of a host.
    Resolved {
        key: Waiting,
        freshness: Freshness,
        available: bool,
    },
    /// The host of an inactive account was asked for its status.
    Checked {
        key: Waiting,
        status: Option<Status>,
    },
    Decided {
        did: Did,
        host: Option<Arc<Host>>,
        decision: Decision,
        done: oneshot::Sender<Option<Account>>,
    },
    Drain,
}

/// The entrance: where hosts put their events.
#[derive(Clone)]
pub struct Intake {
    shards: Arc<[mpsc::Sender<Message>]>,
    hasher: RandomState,
    bytes: Arc<Semaphore>,
    ingest_bytes: usize,
    stats: Arc<Stats>,
}

/// The exit: what the sequencer reads and answers.
pub struct Outlet {
    /// Verified events, those of each shard in its order.
    pub events: mpsc::Receiver<Verified>,
    /// For each shard, how many of its events the derived store includes; the sequencer counts here.
    pub applied: Vec<Arc<AtomicU64>>,
}

/// Starts the shards, one for each core. They end after [`Intake::drain`].
pub fn start(parts: Parts, stats: Arc<Stats>) -> std::io::Result<(Intake, Outlet)> {
    let count = std::thread::available_parallelism().map_or(1, usize::from);
    let runtime = tokio::runtime::Handle::current();
    let parts = Arc::new(parts);
    let parked_bytes = Arc::new(Semaphore::new(parts.limits.parked_bytes));
    let (out, events) = mpsc::channel(QUEUE_EVENTS);
    let mut senders = Vec::with_capacity(count);
    let mut applied = Vec::with_capacity(count);
    for index in 0..count {
        let (sender, inbox) = mpsc::channel(QUEUE_EVENTS);
        let counter = Arc::new(AtomicU64::new(0));
        let capacity = parts.limits.recent_accounts / count;
        let judge = judge::Judge::new(Arc::clone(&parts), Arc::clone(&stats), capacity, Arc::clone(&counter));
        let shard = shard::Shard {
            index,
            inbox,
            itself: sender.clone(),
            out: out.clone(),
            runtime: runtime.clone(),
            parked: parked::Parked::new(Arc::clone(&parked_bytes), Arc::clone(&stats)),
            judge,
            parts: Arc::clone(&parts),
            stats: Arc::clone(&stats),
            checked: checked::Checked::default(),
            sent: 0,
        };
        std::thread::Builder::new().name(format!("verify-{index}")).spawn(move || shard.run())?;
        senders.push(sender);
        applied.push(counter);
    }
    let ingest_bytes = parts.limits.ingest_bytes;
    let bytes = Arc::new(Semaphore::new(ingest_bytes));
    let intake = Intake { shards: senders.into(), hasher: RandomState::new(), bytes, ingest_bytes, stats };
    Ok((intake, Outlet { events, applied }))
}

/// A place in front of a shard, kept for one event.
pub struct Place<'a> {
    shard: mpsc::Permit<'a, Message>,
    bytes: OwnedSemaphorePermit,
}

impl Place<'_> {
    /// Hands the event over.
    pub fn put(self, event: Inbound) {
        self.shard.send(Message::Event(Inbound { bytes: Some(self.bytes), ..event }));
    }
}

impl Intake {
    /// Waits for room for an event of `did`; `None` when the shards have ended.
    pub async fn reserve(&self, did: &str, bytes: usize) -> Option<Place<'_>> {
        let wanted = u32::try_from(bytes.min(self.ingest_bytes)).unwrap_or(u32::MAX);
        let bytes = Arc::clone(&self.bytes).acquire_many_owned(wanted).await.ok()?;
        let shard = self.shard_of(did).reserve().await.ok()?;
        Some(Place { shard, bytes })
    }

    /// Decides something of an account on `host`, in order with its events. Answers with the account as it is then, on
    /// its way to the log; `None` when the shards have ended.
    pub async fn decide(&self, did: Did, host: Option<Arc<Host>>, decision: Decision) -> Option<Account> {
        let (done, decided) = oneshot::channel();
        self.shard_of(did.as_str()).send(Message::Decided { did, host, decision, done }).await.ok()?;
        decided.await.ok().flatten()
    }

    fn shard_of(&self, did: &str) -> &mpsc::Sender<Message> {
        // A DID's case does not matter to who it is, so it must not matter to where it goes.
        let shard = self.hasher.hash_one(did.to_ascii_lowercase()) % self.shards.len() as u64;
        &self.shards[shard as usize]
    }

    /// Counters of verification.
    pub fn stats(&self) -> &Arc<Stats> {
        &self.stats
    }

    /// Bytes of events between the hosts and the log.
    pub fn ingest_bytes(&self) -> usize {
        self.ingest_bytes - self.bytes.available_permits()
    }

    /// Lets the shards finish what they hold and end. Parked events stay unfinished: their hosts send them again.
    pub async fn drain(&self) {
        for shard in self.shards.iter() {
            // A shard that has ended already is drained.
            let _ = shard.send(Message::Drain).await;
        }
    }
}
