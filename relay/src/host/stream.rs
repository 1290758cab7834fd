//! One host's stream: reads messages and hands events to the shards, until it ends.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, MissedTickBehavior, sleep, sleep_until, timeout};

use super::backoff::Backoff;
use super::context::Connected;
use super::dial::{DialError, dial};
use super::ramp::Rank;
use super::rate::Rate;
use super::socket::{Message, ReadError, Received, Socket};
use super::{Arrival, Host, HostsContext, Wait};
use crate::decisions::HostStatus;
use crate::places::Place;
use crate::protocol::frame::{self, FRAME_BYTES_MAX, Frame, Peek};
use crate::verify::{self, Inbound, Reason};

/// A ping goes out this often.
const PING_INTERVAL: Duration = Duration::from_secs(30);
/// A connection on which nothing came for this long, no pong either, is dead.
const SILENCE_MAX: Duration = Duration::from_secs(100);
/// A stream that is open for this long is one, whether or not anything comes on it: what a host has against us it says at
/// once.
const STEADY_AFTER: Duration = Duration::from_secs(10);
/// A stream that is open for this long ends when another host waits for one, which then gets it.
const SLOT_TIME: Duration = Duration::from_secs(300);
/// The time in events is looked at this often: it is for people.
const TIME_INTERVAL: Duration = Duration::from_secs(1);
/// Bytes of one host's events that may be on their way at once: the largest message there is. A host whose identities
/// cannot be resolved, or take long, holds up itself alone; one at full speed is not held up by a group commit of some
/// milliseconds.
const IN_FLIGHT_BYTES_MAX: usize = FRAME_BYTES_MAX;
/// What an event counts for at least, so that small ones stay within some hundreds.
const IN_FLIGHT_BYTES_MIN: usize = 8 << 10;
/// What is on its way mostly gets there within this; some events wait longer for their identity.
const IN_FLIGHT_TIME: Duration = Duration::from_secs(10);
/// Malformed messages in a row after which the connection is given up: that is no PDS. A single one is skipped, since
/// a reconnect would only meet it again (protocol 11 allows both).
const MALFORMED_IN_A_ROW_MAX: u32 = 16;

/// Why a stream ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum End {
    #[error(transparent)]
    Dial(#[from] DialError),
    #[error(
        "the host's stream ends before our cursor (FutureCursor): it has lost its past; reset the cursor to go on from \
         its live stream"
    )]
    FutureCursor,
    #[error("the host ended the stream: {0}")]
    Upstream(String),
    #[error("{MALFORMED_IN_A_ROW_MAX} malformed messages in a row")]
    Malformed,
    #[error("nothing came for {SILENCE_MAX:?}")]
    Silence,
    #[error("another host waited for a stream")]
    GaveWay,
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// The stream of a host, one connection after another.
pub(super) struct Stream {
    pub(super) host: Arc<Host>,
    pub(super) context: Arc<HostsContext>,
    pub(super) backoff: Backoff,
    in_flight: Arc<Semaphore>,
    /// The highest seq that came on any connection.
    last_seen: u64,
    /// Connections in a row that ended with an oversize message, with no event before it since the first.
    oversize: u32,
    /// Which of the calls for the host were answered, see [`Standing::wakes`](super::Standing::wakes).
    wakes: u64,
}

impl Stream {
    pub(super) fn new(host: Arc<Host>, context: Arc<HostsContext>) -> Stream {
        let in_flight = Arc::new(Semaphore::new(IN_FLIGHT_BYTES_MAX));
        Stream { host, context, backoff: Backoff::default(), in_flight, last_seen: 0, oversize: 0, wakes: 0 }
    }

    /// Whether the last connections ended with oversize messages, which the cursor tries to step over.
    pub(super) fn skips_oversize(&self) -> bool {
        self.oversize > 0
    }

    /// Forgets how far the stream was read, so that the next connection gets live events.
    pub(super) async fn forget(&mut self) {
        // Events of before that are still on their way would count as read after it; what is left when the time is up,
        // `Progress::reset` bears.
        let _ = timeout(IN_FLIGHT_TIME, self.in_flight.acquire_many(IN_FLIGHT_BYTES_MAX as u32)).await;
        self.context.forget_progress(&self.host);
        (self.oversize, self.last_seen) = (0, 0);
    }

    /// Connects, when it is the host's turn, and reads until the connection ends.
    pub(super) async fn run(&mut self) -> End {
        let slot = self.wait(Wait::Stream).await;
        let turn = self.wait(Wait::Dial).await;
        self.wakes = self.host.standing.borrow().wakes;
        let dialled = dial(&self.host, self.cursor(), &self.context).await;
        drop(turn);
        let mut socket = match dialled {
            Ok(socket) => socket,
            Err(error) => return error.into(),
        };
        let connected = Connected::new(Arc::clone(&self.host), Arc::clone(&self.context));
        let end = self.read(&mut socket, slot).await;
        drop(connected);
        self.wakes = self.host.standing.borrow().wakes;
        match end {
            End::Read(ReadError::Oversize) => self.oversize += 1,
            End::Read(ReadError::Cut) => drop(self.context.messages_cut.fetch_add(1, Ordering::Relaxed)),
            _ => {}
        }
        end
    }

    /// Waits for a stream that may be open, or a dial: not for long, when somebody has asked for the host or asks now.
    async fn wait(&self, wait: Wait) -> Place<Rank> {
        let _waiting = self.host.pulse.waiting(wait);
        let mut standing = self.host.watch();
        let is_asked = async { drop(standing.wait_for(|now| now.wakes != self.wakes).await) };
        tokio::select! {
            biased;
            () = is_asked => self.place(wait, Rank::Asked).await,
            place = self.place(wait, Rank::of(&self.host)) => place,
        }
    }

    async fn place(&self, wait: Wait, rank: Rank) -> Place<Rank> {
        match wait {
            // Hosts that have just had a stream do not come before those that wait.
            Wait::Stream => self.context.slots.take(if rank == Rank::Active { Rank::Other } else { rank }, 1).await,
            Wait::Dial => self.context.ramp.turn(rank).await,
        }
    }

    /// Where to subscribe. The seq of an oversize message is not known, only that it follows the last one seen: the
    /// cursor steps over it by one, and by more each time that was not enough.
    fn cursor(&self) -> Option<u64> {
        let cursor = self.host.cursor()?;
        match self.oversize {
            0 => Some(cursor),
            times => {
                let skip = 1u64.checked_shl(times - 1).unwrap_or(u64::MAX);
                Some(cursor.max(self.last_seen).saturating_add(skip))
            }
        }
    }

    async fn read<T>(&mut self, socket: &mut Socket<T>, mut slot: Place<Rank>) -> End
    where
        T: AsyncRead + AsyncWrite + Unpin,
    {
        let now = Instant::now();
        let mut reader = Reader::new(now);
        let mut ping = tokio::time::interval(PING_INTERVAL);
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut heard = now;
        loop {
            let received = tokio::select! {
                received = socket.next() => received,
                () = sleep_until(now + STEADY_AFTER), if !reader.is_steady => {
                    reader.steady(self).await;
                    continue;
                }
                _ = ping.tick() => {
                    if heard.elapsed() > SILENCE_MAX {
                        return End::Silence;
                    }
                    // A host that sends nothing is not held back by its limit any more.
                    reader.settle(self).await;
                    if now.elapsed() > SLOT_TIME && slot.gives_way() {
                        return End::GaveWay;
                    }
                    socket.ping();
                    continue;
                }
            };
            heard = Instant::now();
            let end = match received {
                Ok(Received::Message(message)) => reader.receive(self, message).await.err(),
                Ok(Received::Close(reason)) => Some(End::Upstream(reason)),
                Ok(Received::Other) => None,
                Err(error) => Some(error.into()),
            };
            if let Some(end) = end {
                return end;
            }
        }
    }
}

/// What one connection's reading remembers between messages.
struct Reader {
    last_seq: u64,
    malformed: u32,
    rate: Rate,
    /// The host has said nothing against us, in time or by an event.
    is_steady: bool,
    /// When to look at the time in an event again.
    time_at: Instant,
}

impl Reader {
    fn new(now: Instant) -> Reader {
        Reader { last_seq: 0, malformed: 0, rate: Rate::default(), is_steady: false, time_at: now }
    }

    async fn receive(&mut self, stream: &mut Stream, message: Message) -> Result<(), End> {
        let bytes = &message.bytes;
        let (host, context) = (Arc::clone(&stream.host), Arc::clone(&stream.context));
        let stats = Arc::clone(context.intake.stats());
        host.counts.received.fetch_add(1, Ordering::Relaxed);
        stats.received();
        let peek = match frame::peek(bytes) {
            Ok(peek) => peek,
            Err(error) => {
                tracing::debug!(host = %host.name, %error, "malformed message");
                stats.dropped(Reason::Malformed);
                host.counts.dropped.fetch_add(1, Ordering::Relaxed);
                self.malformed += 1;
                return if self.malformed < MALFORMED_IN_A_ROW_MAX { Ok(()) } else { Err(End::Malformed) };
            }
        };
        self.malformed = 0;
        match peek {
            Peek::Event { did, seq, .. } => {
                stream.oversize = 0;
                stream.last_seen = stream.last_seen.max(seq);
                host.pulse.event_read(self.time_of(bytes));
                if let Some((place, share)) = self.admit(stream, &context, did, seq, bytes.len()).await {
                    // No await after `begin`: a stream that is cut here must not leave an event begun that nobody
                    // finishes.
                    match host.begin(seq) {
                        Arrival::Repeated => refuse(stream, Reason::Repeated),
                        Arrival::New => {
                            place.put(Inbound::new(Arc::clone(&host), seq, message.bytes.into(), share));
                        }
                    }
                }
                host.pulse.event_taken();
                Ok(())
            }
            Peek::Other => match frame::decode(bytes) {
                Ok(Frame::Info { name, .. }) => {
                    // The host no longer holds what we missed (protocol 12).
                    tracing::info!(host = %host.name, name, "the host reports");
                    stats.upstream_info();
                    Ok(())
                }
                Ok(Frame::Error { error: "FutureCursor", .. }) => Err(End::FutureCursor),
                Ok(Frame::Error { error, message }) => {
                    Err(End::Upstream(format!("{error} {}", message.unwrap_or_default())))
                }
                // A kind of message that this version does not know (protocol 11).
                _ => Ok(()),
            },
        }
    }

    /// Waits until an event may go on its way, in front of its shard and in the share of its host.
    async fn admit<'c>(
        &mut self,
        stream: &mut Stream,
        context: &'c HostsContext,
        did: &str,
        seq: u64,
        bytes: usize,
    ) -> Option<(verify::Place<'c>, OwnedSemaphorePermit)> {
        if seq <= self.last_seq {
            refuse(stream, Reason::OutOfOrder);
            return None;
        }
        self.last_seq = seq;
        self.keep_rate(stream).await;
        let counted = bytes.clamp(IN_FLIGHT_BYTES_MIN, IN_FLIGHT_BYTES_MAX) as u32;
        let share = Arc::clone(&stream.in_flight).acquire_many_owned(counted).await.ok()?;
        if stream.host.cursor().is_none() {
            context.start_host_at(&stream.host, seq.saturating_sub(1));
        }
        Some((context.intake.reserve(did, bytes).await?, share))
    }

    /// Waits as long as the host's event limit wants it.
    async fn keep_rate(&mut self, stream: &mut Stream) {
        let pause = match stream.host.limits().events_per_second {
            Some(per_second) => self.rate.pause(per_second),
            None => {
                self.rate.lift();
                Duration::ZERO
            }
        };
        self.steady(stream).await;
        if !pause.is_zero() {
            sleep(pause).await;
        }
    }

    /// The host delivers, or could: whatever went wrong before is over.
    async fn steady(&mut self, stream: &mut Stream) {
        self.is_steady = true;
        stream.backoff.succeeded();
        self.settle(stream).await;
    }

    /// The status of a host with a steady stream: active, or throttled while its event limit holds it back.
    async fn settle(&self, stream: &Stream) {
        if self.is_steady {
            let status = if self.rate.is_throttled() { HostStatus::Throttled } else { HostStatus::Active };
            stream.context.set_status(&stream.host, status).await;
        }
    }

    /// When the host made an event, asked for from time to time.
    fn time_of(&mut self, event: &[u8]) -> Option<jiff::Timestamp> {
        let now = Instant::now();
        if now < self.time_at {
            return None;
        }
        self.time_at = now + TIME_INTERVAL;
        frame::time(event)?.parse().ok()
    }
}

/// Counts an event that goes no further.
fn refuse(stream: &Stream, reason: Reason) {
    stream.context.intake.stats().dropped(reason);
    stream.host.counts.dropped.fetch_add(1, Ordering::Relaxed);
}
