//! One consumer: its cursor, what it is being sent, and when it is cut.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::select;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::kept::Keeping;
use super::outgoing::{Outgoing, Progress};
use super::registry::{ConsumerState, Registration};
use super::replay::{BATCH_HOLD_MAX, Chunk, ReplayError, Turn};
use super::ring::Found;
use super::stats::{Disconnect, add};
use super::ws::{self, ClientFrame, ClientFrames, CloseCode, ReadError};
use super::{Drain, Firehose, Limits};
use crate::log::{Cursor, Event};
use crate::protocol::frame;

/// Timeouts are looked at this often, or more often if they are short.
const TICK_MAX: Duration = Duration::from_secs(1);

/// Time for a client to close its side once it has everything, the close frame included.
const LINGER_MAX: Duration = Duration::from_secs(5);

/// Frames that a client may send between two ticks. It has nothing to say but pings and pongs.
const CLIENT_FRAMES_PER_TICK_MAX: u32 = 256;

/// A read of the log under way.
type Reading = Pin<Box<dyn Future<Output = Result<Chunk, ReplayError>> + Send>>;

/// A consumer and its task. What its socket does not take at once waits in `outgoing`, never more than a batch.
pub(super) struct Consumer {
    firehose: Arc<Firehose>,
    registration: Registration,
    drain: watch::Receiver<Option<Drain>>,
    /// Seq of the last event wholly written; 0 before the first if the consumer wants the whole window.
    cursor: u64,
    outgoing: Outgoing,
    /// Empty between reads of the ring; kept for its capacity.
    batch: Vec<Event>,
    reading: Option<Reading>,
    /// Where the last chunk of the log ended, if `cursor` is or will be there.
    position: Option<Cursor>,
    /// Held while `outgoing` holds a chunk of the log.
    turn: Option<Turn>,
    /// Held while `outgoing` holds a copy of a frame.
    keeping: Option<Keeping>,
    /// When `outgoing` was filled with a batch, unless that was given back.
    filled_at: Option<Instant>,
    /// When the socket last took something that was waiting, or something began to wait.
    active_at: Instant,
    /// When a ping was sent that has no answer yet.
    pinged_at: Option<Instant>,
    client_frames: u32,
    closing: Option<Closing>,
}

/// A connection that is being closed.
struct Closing {
    reason: Disconnect,
    /// When it ends, whatever the client does.
    end_at: Instant,
    /// Our close frame is written.
    flushed: bool,
    /// The client has sent its close frame.
    client_closed: bool,
}

/// The connection ends now.
struct Ended(Disconnect);

/// Where a consumer starts (protocol 4).
#[derive(Debug, PartialEq, Eq)]
enum Start {
    /// With the next event.
    Live,
    /// With the first event after this seq; 0 is the start of the window.
    After(u64),
    /// At the start of the window, after being told that events before it are gone.
    Outdated,
    /// Nowhere: the cursor has not been reached.
    Future,
}

impl Start {
    /// For a consumer with `cursor`, when log and ring hold the events from `first` to `last`.
    fn new(cursor: Option<u64>, first: u64, last: u64) -> Start {
        match cursor {
            None => Start::Live,
            Some(cursor) if cursor > last => Start::Future,
            Some(cursor) if cursor > 0 && cursor + 1 < first => Start::Outdated,
            Some(cursor) => Start::After(cursor),
        }
    }
}

impl Consumer {
    pub fn new(firehose: Arc<Firehose>, registration: Registration) -> Consumer {
        let now = Instant::now();
        Consumer {
            drain: firehose.drain.subscribe(),
            firehose,
            registration,
            cursor: 0,
            outgoing: Outgoing::default(),
            batch: Vec::new(),
            reading: None,
            position: None,
            turn: None,
            keeping: None,
            filled_at: None,
            active_at: now,
            pinged_at: None,
            client_frames: 0,
            closing: None,
        }
    }

    /// Serves the consumer from `cursor` until its connection ends, and says why it ended.
    pub async fn run(mut self, stream: impl AsyncRead + AsyncWrite + Unpin, cursor: Option<u64>) -> Disconnect {
        match self.serve(stream, cursor).await {
            Ok(never) => match never {},
            Err(Ended(reason)) => reason,
        }
    }

    async fn serve(
        &mut self,
        stream: impl AsyncRead + AsyncWrite + Unpin,
        cursor: Option<u64>,
    ) -> Result<Infallible, Ended> {
        let (read, mut write) = tokio::io::split(stream);
        let mut input = ClientFrames::new(read);
        let mut wake = self.firehose.wake.clone();
        let mut ticks = interval(tick(&self.firehose.limits));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);

        let entry = Arc::clone(&self.registration.entry);
        self.begin(cursor);
        loop {
            self.refill();
            self.linger(&mut write).await?;
            let is_waiting = self.outgoing.is_empty();
            let is_open = self.closing.is_none();
            select! {
                frame = input.next() => self.on_frame(frame)?,
                progress = self.outgoing.write_to(&mut write), if !is_waiting => self.on_written(progress)?,
                chunk = next_chunk(&mut self.reading), if self.reading.is_some() => self.on_chunk(chunk),
                _ = wake.changed(), if is_open && is_waiting && self.reading.is_none() => {}
                _ = self.drain.changed(), if is_open => {}
                () = entry.cut(), if is_open => self.close(Disconnect::Operator, CloseCode::Policy, "cut by an operator"),
                now = ticks.tick() => self.on_tick(now)?,
            }
        }
    }

    /// Decides where the consumer starts.
    fn begin(&mut self, cursor: Option<u64>) {
        let Firehose { reader, ring, .. } = &*self.firehose;
        let (first, last) = (reader.first_seq().min(ring.floor() + 1), reader.last_seq());
        match Start::new(cursor, first, last) {
            Start::Live => self.cursor = ring.head(),
            Start::After(cursor) => self.cursor = cursor,
            Start::Outdated => {
                let message = format!("the oldest event here is {first}; events between your cursor and it are lost");
                let mut info = Vec::new();
                frame::encode_info("OutdatedCursor", Some(&message), &mut info);
                self.outgoing.push_notice(ws::binary(&info));
            }
            Start::Future => {
                let message = format!("the cursor is ahead of the newest event, {last}");
                self.fail(Disconnect::FutureCursor, "FutureCursor", &message);
            }
        }
        self.registration.entry.note_cursor(self.cursor);
    }

    /// Gets the next events once the last are written: from the ring, or by a read of the log.
    fn refill(&mut self) {
        let is_draining = self.drain.borrow().is_some();
        if self.closing.is_some() || !self.outgoing.is_empty() || (self.reading.is_some() && !is_draining) {
            return;
        }
        (self.turn, self.keeping) = (None, None);
        while !self.refill_from_ring(is_draining) {}
    }

    /// Takes the next events from the ring, or begins to read the log; `false` when all of the events are hidden, so that
    /// those behind them do not wait for the next one.
    fn refill_from_ring(&mut self, is_draining: bool) -> bool {
        match self.firehose.ring.read_after(self.cursor, &mut self.batch) {
            Found::Events => {
                self.position = None;
                self.registration.entry.note_state(ConsumerState::Live);
                let events = std::mem::take(&mut self.batch);
                self.batch = self.send(events);
                return !self.outgoing.is_empty();
            }
            Found::UpToDate | Found::Behind { .. } if is_draining => self.close_for_drain(),
            Found::UpToDate => self.registration.entry.note_state(ConsumerState::Live),
            Found::Behind { floor } => {
                self.registration.entry.note_state(ConsumerState::Replaying);
                let reader = self.firehose.reader.clone();
                let chunk = self.firehose.turns.read(reader, self.position.take(), self.cursor, floor);
                self.reading = Some(Box::pin(chunk));
            }
        }
        true
    }

    /// Puts the next events into `outgoing`, which is empty, but for those that are hidden; gives back the empty vector.
    fn send(&mut self, mut events: Vec<Event>) -> Vec<Event> {
        let last = events.last().map(|event| event.header.seq);
        self.firehose.hidden.filter(&mut events);
        match last {
            // Nothing of it goes out, so the consumer is past it.
            Some(last) if events.is_empty() => self.cursor = last,
            _ => self.outgoing.push_events(events.drain(..)),
        }
        self.active_at = Instant::now();
        self.filled_at = Some(self.active_at);
        events
    }

    fn on_chunk(&mut self, chunk: Result<Chunk, ReplayError>) {
        self.reading = None;
        match chunk {
            Ok(Chunk { events, floor, .. }) if events.is_empty() => self.cursor = self.cursor.max(floor),
            Ok(Chunk { events, next, turn, .. }) => {
                add(&self.firehose.stats.events_replayed, events.len() as u64);
                self.position = Some(next);
                self.turn = Some(turn);
                self.send(events);
            }
            Err(ReplayError::Outrun) => {
                let message = "the events after your cursor have left the replay window";
                self.fail(Disconnect::TooSlow, "ConsumerTooSlow", message);
            }
            Err(error) => {
                tracing::error!(%error, cursor = self.cursor, "cannot replay to a consumer");
                self.close(Disconnect::Log, CloseCode::Internal, "the relay cannot read its log");
            }
        }
    }

    fn on_written(&mut self, progress: io::Result<Progress>) -> Result<(), Ended> {
        let progress = progress.map_err(|_| self.gone())?;
        self.active_at = Instant::now();
        if let Some(cursor) = progress.cursor {
            self.cursor = cursor;
            self.registration.entry.note_cursor(cursor);
        }
        self.registration.entry.note_sent(&progress);
        add(&self.firehose.stats.events_sent, progress.events);
        add(&self.firehose.stats.bytes_sent, progress.bytes as u64);
        Ok(())
    }

    fn on_frame(&mut self, frame: Result<ClientFrame, ReadError>) -> Result<(), Ended> {
        self.pinged_at = None;
        self.client_frames += 1;
        let is_open = self.closing.is_none();
        match frame {
            Err(ReadError::Gone(_)) => return Err(self.gone()),
            Ok(ClientFrame::Close(code)) => self.on_close(code),
            Err(error) if is_open => {
                let code = if matches!(error, ReadError::TooBig(_)) { CloseCode::TooBig } else { CloseCode::Protocol };
                self.close(Disconnect::Protocol, code, &error.to_string());
            }
            _ if is_open && self.client_frames > CLIENT_FRAMES_PER_TICK_MAX => {
                self.close(Disconnect::Protocol, CloseCode::Policy, "too many frames; this stream takes none");
            }
            Ok(ClientFrame::Ping(payload)) if is_open => self.send_heartbeat(ws::pong(&payload)),
            _ => {}
        }
        Ok(())
    }

    fn send_heartbeat(&mut self, wire: Bytes) {
        if self.outgoing.is_empty() {
            self.active_at = Instant::now();
        }
        self.outgoing.push_heartbeat(wire);
    }

    /// The client's close frame either answers ours or is answered.
    fn on_close(&mut self, code: Option<u16>) {
        if self.closing.is_none() {
            self.end_with(Disconnect::Client, ws::close_echo(code));
        }
        if let Some(closing) = &mut self.closing {
            closing.client_closed = true;
        }
    }

    fn on_tick(&mut self, now: Instant) -> Result<(), Ended> {
        self.client_frames = 0;
        if let Some(drain) = *self.drain.borrow()
            && now >= drain.end_at
        {
            return Err(self.ended(Disconnect::Draining));
        }
        match &self.closing {
            Some(closing) if now >= closing.end_at => return Err(Ended(closing.reason)),
            Some(_) => return Ok(()),
            None => {}
        }
        if self.drain.borrow().is_some_and(|drain| now >= drain.cut_at) {
            self.close_for_drain();
        } else if self.outgoing.is_empty() {
            self.check_idle(now)?;
        } else {
            self.check_progress(now)?;
        }
        Ok(())
    }

    /// Pings a consumer that was sent nothing for a while (protocol 6).
    fn check_idle(&mut self, now: Instant) -> Result<(), Ended> {
        let limits = &self.firehose.limits;
        match self.pinged_at {
            Some(at) if now >= at + limits.pong_timeout => return Err(Ended(Disconnect::PingTimeout)),
            None if now >= self.active_at + limits.ping_interval => {
                self.pinged_at = Some(now);
                self.send_heartbeat(ws::ping());
            }
            _ => {}
        }
        Ok(())
    }

    /// Cuts a consumer that takes nothing and has fallen behind the ring (protocol 7). Before that, it gives back what
    /// it does not take.
    fn check_progress(&mut self, now: Instant) -> Result<(), Ended> {
        let stall_timeout = self.firehose.limits.stall_timeout;
        if now >= self.active_at + stall_timeout && self.cursor < self.firehose.ring.floor() {
            let message =
                format!("nothing was taken for {} s; reconnect with your last cursor", stall_timeout.as_secs());
            self.fail(Disconnect::TooSlow, "ConsumerTooSlow", &message);
        } else if self.filled_at.is_some_and(|at| now >= at + BATCH_HOLD_MAX) {
            self.filled_at = None;
            self.position = None;
            let bytes = self.outgoing.keep_first();
            self.turn = None;
            if !self.keep(bytes) {
                // In the middle of a frame nothing can be said.
                return Err(Ended(Disconnect::TooSlow));
            }
        }
        Ok(())
    }

    /// Counts what `outgoing` has a copy of; says whether there is room for it.
    fn keep(&mut self, bytes: usize) -> bool {
        self.keeping = None;
        self.keeping = self.firehose.kept.keep(bytes);
        bytes == 0 || self.keeping.is_some()
    }

    /// Sends an error message (protocol 3) and closes.
    fn fail(&mut self, reason: Disconnect, error: &str, message: &str) {
        self.outgoing.keep_begun();
        let mut last_words = Vec::new();
        frame::encode_error(error, Some(message), &mut last_words);
        self.outgoing.push_notice(ws::binary(&last_words));
        self.close(reason, CloseCode::Policy, error);
    }

    fn close_for_drain(&mut self) {
        let text = "the relay restarts; reconnect with your last cursor";
        self.close(Disconnect::Draining, CloseCode::Restart, text);
    }

    fn close(&mut self, reason: Disconnect, code: CloseCode, text: &str) {
        self.end_with(reason, ws::close(code, text));
    }

    /// Finishes the frame that was begun, sends `close_frame`, and ends.
    fn end_with(&mut self, reason: Disconnect, close_frame: Bytes) {
        self.reading = None;
        self.position = None;
        self.turn = None;
        let bytes = self.outgoing.keep_begun();
        self.outgoing.push_notice(close_frame);
        let grace = if self.keep(bytes) { self.firehose.limits.close_grace } else { Duration::ZERO };
        let end_at = Instant::now() + grace;
        self.closing = Some(Closing { reason, end_at, flushed: false, client_closed: false });
    }

    /// What is left to do once the close frame is written: end our side, and wait for the client to end its own.
    async fn linger(&mut self, write: &mut (impl AsyncWrite + Unpin)) -> Result<(), Ended> {
        let is_written = self.outgoing.is_empty();
        let Some(closing) = self.closing.as_mut().filter(|_| is_written) else { return Ok(()) };
        if !closing.flushed {
            closing.flushed = true;
            closing.end_at = closing.end_at.min(Instant::now() + LINGER_MAX);
            let _ = write.shutdown().await; // the client may be gone already
        }
        if closing.client_closed { Err(Ended(closing.reason)) } else { Ok(()) }
    }

    /// The connection is gone: why, if it was not being closed already.
    fn gone(&self) -> Ended {
        self.ended(Disconnect::Client)
    }

    /// Ends the connection for the reason it is being closed for, else for `reason`.
    fn ended(&self, reason: Disconnect) -> Ended {
        Ended(self.closing.as_ref().map_or(reason, |closing| closing.reason))
    }
}

/// Waits for the read under way; forever if there is none.
async fn next_chunk(reading: &mut Option<Reading>) -> Result<Chunk, ReplayError> {
    match reading {
        Some(reading) => reading.await,
        None => std::future::pending().await,
    }
}

/// How often timeouts are looked at: often enough for the shortest.
fn tick(limits: &Limits) -> Duration {
    let shortest = limits.stall_timeout.min(limits.ping_interval).min(limits.pong_timeout).min(limits.close_grace);
    (shortest / 4).clamp(Duration::from_millis(1), TICK_MAX)
}

#[cfg(test)]
mod tests;
