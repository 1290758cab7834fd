//! Memory for messages that are longer than a stream's buffer, shared by all streams.
//!
//! Any host may begin a message of five megabytes and stall, and thousands may do it together. The whole length of a
//! message is therefore reserved before any of it is kept, from a number of bytes that the streams share; who finds no
//! room does not read on meanwhile. While somebody waits, whoever has begun a message long ago and not ended it is cut,
//! the largest first. A part is for messages of some kilobytes, which are many, and do not wait behind the few long ones.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::select;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

use super::socket::ReadError;
use crate::places::{Place, Places};
use crate::protocol::frame::FRAME_BYTES_MAX;

/// Least bytes that the streams share: room for the longest message, and a part for those that are not long.
pub const ROOM_BYTES_MIN: u64 = (FRAME_BYTES_MAX + FRAME_BYTES_MAX / 4) as u64;
/// Messages up to this are not long. Almost all are shorter.
const MEDIUM_BYTES_MAX: u64 = 64 << 10;
/// A message that others wait for has to be whole within this: 8 Mbit/s for the longest.
const MESSAGE_TIME_MAX: Duration = Duration::from_secs(5);

/// The bytes that all streams share.
#[derive(Debug)]
pub(super) struct Rooms {
    medium: Part,
    long: Part,
}

/// The part for messages of one kind.
#[derive(Debug)]
struct Part {
    message_time_max: Duration,
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
    is_cut: bool,
    cut: Arc<Notify>,
}

/// Room for a message, until dropped.
#[derive(Debug)]
pub(super) struct Room {
    rooms: Arc<Rooms>,
    bytes: u64,
    since: Instant,
    /// Its entry among the messages that are not whole, while it is not.
    id: Option<u64>,
    cut: Arc<Notify>,
    #[expect(dead_code, reason = "held for its drop")]
    place: Place<()>,
}

impl Rooms {
    pub(super) fn new(bytes: u64) -> Arc<Rooms> {
        Rooms::with_patience(bytes, MESSAGE_TIME_MAX)
    }

    /// The same with another time for messages that others wait for.
    pub(super) fn with_patience(bytes: u64, message_time_max: Duration) -> Arc<Rooms> {
        let rooms = Rooms { medium: Part::new(message_time_max), long: Part::new(message_time_max) };
        rooms.set(bytes);
        Arc::new(rooms)
    }

    /// Changes how many bytes the streams share.
    pub(super) fn set(&self, bytes: u64) {
        let bytes = bytes.max(ROOM_BYTES_MIN);
        self.medium.bytes.set(bytes / 5);
        self.long.bytes.set(bytes - bytes / 5);
    }

    /// Bytes that are reserved.
    pub(super) fn taken(&self) -> u64 {
        self.medium.bytes.taken() + self.long.bytes.taken()
    }

    /// Waits for room for a message of so many bytes that begins now.
    pub(super) async fn reserve(self: &Arc<Rooms>, bytes: u64) -> Room {
        let place = self.part(bytes).wait_for(bytes).await;
        self.room(bytes, place, Instant::now())
    }

    fn room(self: &Arc<Rooms>, bytes: u64, place: Place<()>, since: Instant) -> Room {
        let cut = Arc::new(Notify::new());
        let id = self.part(bytes).begin(Message { since, bytes, is_cut: false, cut: Arc::clone(&cut) });
        Room { rooms: Arc::clone(self), bytes, since, id: Some(id), cut, place }
    }

    fn part(&self, bytes: u64) -> &Part {
        if bytes > MEDIUM_BYTES_MAX { &self.long } else { &self.medium }
    }
}

impl Part {
    fn new(message_time_max: Duration) -> Part {
        Part { message_time_max, bytes: Places::new(0), begun: Mutex::default() }
    }

    async fn wait_for(&self, bytes: u64) -> Place<()> {
        let mut take = pin!(self.bytes.take((), bytes));
        loop {
            select! {
                biased;
                place = &mut take => return place,
                () = sleep(self.message_time_max / 5) => self.cut_for(bytes),
            }
        }
    }

    /// Cuts as many of the messages that take too long as make room for `bytes`, the largest first.
    fn cut_for(&self, bytes: u64) {
        let mut begun = self.lock();
        let is_late = |message: &Message| !message.is_cut && message.since.elapsed() >= self.message_time_max;
        let late = begun.messages.iter().filter(|(_, message)| is_late(message));
        let mut late: Vec<(u64, u64)> = late.map(|(id, message)| (message.bytes, *id)).collect();
        late.sort_unstable();
        while begun.going < bytes
            && let Some((size, id)) = late.pop()
        {
            begun.going += size;
            if let Some(message) = begun.messages.get_mut(&id) {
                message.is_cut = true;
                message.cut.notify_one();
            }
        }
    }

    fn begin(&self, message: Message) -> u64 {
        let mut begun = self.lock();
        begun.last_id += 1;
        let id = begun.last_id;
        begun.messages.insert(id, message);
        id
    }

    fn end(&self, id: u64) {
        let mut begun = self.lock();
        if let Some(Message { is_cut: true, bytes, .. }) = begun.messages.remove(&id) {
            begun.going -= bytes;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Begun> {
        self.begun.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Room {
    /// Waits until there is room for so many bytes of the same message. What there was is held meanwhile: it is copied.
    pub(super) async fn grow(&mut self, bytes: u64) -> Result<(), ReadError> {
        let place = select! {
            place = self.rooms.part(bytes).wait_for(bytes) => place,
            () = self.cut.notified() => return Err(ReadError::Cut),
        };
        *self = self.rooms.room(bytes, place, self.since);
        Ok(())
    }

    /// Returns when the message has taken too long while others wait.
    pub(super) async fn is_cut(&self) {
        self.cut.notified().await;
    }

    /// The message is whole: from now on it waits for us alone.
    pub(super) fn whole(&mut self) {
        if let Some(id) = self.id.take() {
            self.rooms.part(self.bytes).end(id);
        }
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.whole();
    }
}
