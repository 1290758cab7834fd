//! Verification: the steps that an event passes between its host and the sequencer.
//!
//! Events are spread over shards by their DID, one thread for each core. A shard owns its accounts: it sees all their
//! events in order and remembers their state, which nobody else looks into ([`shard`]). What is checked, and in which order, reads
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

use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

use self::parked::{Shares, Waiting};
use self::recent::Recent;
use crate::account::{Account, Accounts, Cause, Status};
use crate::host::{Host, RepoStatuses};
use crate::identity::{Freshness, Resolver};
use crate::log::Kind;
use crate::memory::{Piece, Share};
use crate::protocol::did::Did;
use crate::protocol::frame::FRAME_BYTES_MAX;
use crate::protocol::touched::Touch;

/// Events that may wait in front of one shard, and in front of the sequencer; their bytes are bounded by
/// [`Limits::ingest_bytes`].
const QUEUE_EVENTS: usize = 1024;
/// What an event takes beside its frame: its place in a queue, its account's DID and states, the collections that it
/// names.
const EVENT_BYTES: usize = size_of::<Verified>() + 256;
/// The share of events on their way never becomes smaller than what the largest one takes.
const INGEST_BYTES_MIN: usize = FRAME_BYTES_MAX + EVENT_BYTES;

/// An event as its host sent it, with what it holds of the relay's bounds.
pub struct Inbound {
    /// Where it came from.
    pub host: Arc<Host>,
    /// Its seq there.
    pub seq: u64,
    /// The message: exactly as many bytes as are counted.
    pub frame: Box<[u8]>,
    bytes: Option<Piece>,
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
    /// Bytes of accounts that all shards together remember.
    pub accounts_bytes: usize,
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
    shares: Shares,
    recent: Arc<[Recent]>,
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
    let shares = Shares {
        parked: Share::new(parts.limits.parked_bytes, 0),
        ingest: Share::new(parts.limits.ingest_bytes, INGEST_BYTES_MIN),
    };
    let (out, events) = mpsc::channel(QUEUE_EVENTS);
    let mut senders = Vec::with_capacity(count);
    let mut applied = Vec::with_capacity(count);
    let mut recents = Vec::with_capacity(count);
    for index in 0..count {
        let (sender, inbox) = mpsc::channel(QUEUE_EVENTS);
        let counter = Arc::new(AtomicU64::new(0));
        let recent = Recent::new(parts.limits.accounts_bytes / count, Arc::clone(&counter));
        let judge = judge::Judge::new(Arc::clone(&parts), Arc::clone(&stats), recent.clone());
        let shard = shard::Shard {
            index,
            inbox,
            itself: sender.clone(),
            out: out.clone(),
            runtime: runtime.clone(),
            parked: parked::Parked::new(shares.clone(), Arc::clone(&stats)),
            judge,
            parts: Arc::clone(&parts),
            stats: Arc::clone(&stats),
            checked: checked::Checked::default(),
            sent: 0,
        };
        std::thread::Builder::new().name(format!("verify-{index}")).spawn(move || shard.run())?;
        senders.push(sender);
        applied.push(counter);
        recents.push(recent);
    }
    let intake = Intake { shards: senders.into(), hasher: RandomState::new(), shares, recent: recents.into(), stats };
    Ok((intake, Outlet { events, applied }))
}

/// A place in front of a shard, kept for one event.
pub struct Place<'a> {
    shard: mpsc::Permit<'a, Message>,
    bytes: Piece,
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
        let bytes = self.shares.ingest.take(EVENT_BYTES + bytes).await;
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
        self.shares.ingest.used()
    }

    /// Gives these another share. What is on its way stays.
    pub fn set_ingest_bytes(&self, bytes: usize) {
        self.shares.ingest.set_bytes(bytes);
    }

    /// Bytes of events that wait for an identity, and of the look-ups that they wait for; those aside that found no room
    /// in this share.
    pub fn parked_bytes(&self) -> usize {
        self.shares.parked.used()
    }

    /// Gives these another share. What waits stays.
    pub fn set_parked_bytes(&self, bytes: usize) {
        self.shares.parked.set_bytes(bytes);
    }

    /// Bytes of the accounts that the shards remember.
    pub fn accounts_bytes(&self) -> usize {
        self.recent.iter().map(Recent::bytes).sum()
    }

    /// Gives these another share; what is too much is forgotten at once.
    pub fn set_accounts_bytes(&self, bytes: usize) {
        self.recent.iter().for_each(|recent| recent.set_bytes_max(bytes / self.recent.len()));
    }

    /// Lets the shards finish what they hold and end. Parked events stay unfinished: their hosts send them again.
    pub async fn drain(&self) {
        for shard in self.shards.iter() {
            // A shard that has ended already is drained.
            let _ = shard.send(Message::Drain).await;
        }
    }
}
