//! Memory for messages that are longer than a stream's buffer, shared by all streams.
//!
//! Any host may begin a message of five megabytes and stall, and thousands may do it together. The whole length of a
//! message is therefore reserved before any of it is kept, from a number of bytes that the streams share; who finds no
//! room does not read on meanwhile. While somebody waits, whoever has begun a message long ago and not ended it is cut,
//! the largest first.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::select;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

use super::socket::ReadError;
use crate::places::{Place, Places};
use crate::protocol::frame::FRAME_BYTES_MAX;

/// Least bytes that the streams share: the longest message.
pub const ROOM_BYTES_MIN: u64 = FRAME_BYTES_MAX as u64;
/// A message that others wait for has to be whole within this: 8 Mbit/s for the longest.
const MESSAGE_TIME_MAX: Duration = Duration::from_secs(5);

/// The bytes that all streams share.
#[derive(Debug)]
pub(super) struct Rooms {
    bytes: Arc<Places<()>>,
    begun: Mutex<Begun>,
}

/// Messages that are not whole.
#[derive(Debug, Default)]
struct Begun {
    last_id: u64,
    messages: HashMap<u64, Message>,
    /// Bytes of those that were cut and have not gone yet.
    going: u64,
}

#[derive(Debug)]
struct Message {
    since: Instant,
    bytes: u64,
    /// What counts as going, once it is cut.
    going: Option<u64>,
    cut: Arc<Notify>,
}

/// Room for a message, until dropped.
#[derive(Debug)]
pub(super) struct Room {
    rooms: Arc<Rooms>,
    place: Place<()>,
    /// Set while the message is not whole.
    id: Option<u64>,
    cut: Arc<Notify>,
}

impl Rooms {
    pub(super) fn new(bytes: u64) -> Arc<Rooms> {
        Arc::new(Rooms { bytes: Places::new(bytes.max(ROOM_BYTES_MIN)), begun: Mutex::default() })
    }

    /// Changes how many bytes the streams share.
    pub(super) fn set(&self, bytes: u64) {
        self.bytes.set(bytes.max(ROOM_BYTES_MIN));
    }

    /// Bytes that are reserved.
    pub(super) fn taken(&self) -> u64 {
        self.bytes.taken()
    }

    /// Waits for room for a message of so many bytes that begins now.
    pub(super) async fn reserve(self: &Arc<Rooms>, bytes: u64) -> Room {
        let place = self.wait_for(bytes).await;
        let mut begun = self.lock();
        begun.last_id += 1;
        let (id, cut) = (begun.last_id, Arc::new(Notify::new()));
        let message = Message { since: Instant::now(), bytes, going: None, cut: Arc::clone(&cut) };
        begun.messages.insert(id, message);
        drop(begun);
        Room { rooms: Arc::clone(self), place, id: Some(id), cut }
    }

    async fn wait_for(self: &Arc<Rooms>, bytes: u64) -> Place<()> {
        let mut take = std::pin::pin!(self.bytes.take((), bytes));
        loop {
            select! {
                biased;
                place = &mut take => return place,
                () = sleep(MESSAGE_TIME_MAX / 5) => self.cut_for(bytes),
            }
        }
    }

    /// Cuts as many of the messages that take too long as make room for `bytes`, the largest first.
    fn cut_for(&self, bytes: u64) {
        let mut begun = self.lock();
        let mut late: Vec<(u64, u64)> = begun
            .messages
            .iter()
            .filter(|(_, message)| message.going.is_none() && message.since.elapsed() >= MESSAGE_TIME_MAX)
            .map(|(id, message)| (message.bytes, *id))
            .collect();
        late.sort_unstable();
        while begun.going < bytes
            && let Some((size, id)) = late.pop()
        {
            begun.going += size;
            if let Some(message) = begun.messages.get_mut(&id) {
                message.going = Some(size);
                message.cut.notify_one();
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Begun> {
        self.begun.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self, id: u64) {
        let mut begun = self.lock();
        let going = begun.messages.remove(&id).and_then(|message| message.going);
        begun.going -= going.unwrap_or(0);
    }
}

impl Room {
    /// Waits until there is room for so many bytes of the same message.
    pub(super) async fn grow(&mut self, bytes: u64) -> Result<(), ReadError> {
        let more = bytes.saturating_sub(self.place.size());
        let place = select! {
            place = self.rooms.wait_for(more) => place,
            () = self.cut.notified() => return Err(ReadError::Cut),
        };
        self.place.join(place);
        let mut begun = self.rooms.lock();
        if let Some(message) = self.id.as_ref().and_then(|id| begun.messages.get_mut(id)) {
            message.bytes = self.place.size();
        }
        Ok(())
    }

    /// Returns when the message has taken too long while others wait.
    pub(super) async fn is_cut(&self) {
        self.cut.notified().await;
    }

    /// The message is whole: from now on it waits for us alone.
    pub(super) fn whole(&mut self) {
        if let Some(id) = self.id.take() {
            self.rooms.end(id);
        }
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.whole();
    }
}
