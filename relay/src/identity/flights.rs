//! Requests under way: one at a time for each DID, and not too many refreshes of the same.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::{Identity, Transient};
use crate::memory::{arc_bytes, table_bytes};
use crate::protocol::did::Did;

/// How a request ended.
pub(super) type Landing = Result<Option<Arc<Identity>>, Transient>;

/// The requests under way, and the refreshes of late.
pub(super) struct Flights {
    table: Mutex<Table>,
    refresh_interval: Duration,
    refresh_burst: u32,
}

#[derive(Default)]
struct Table {
    tracks: HashMap<Did, Track>,
    /// Tracks without use are looked for when the table has grown to this; it then holds half of that at most.
    sweep_at: usize,
}

/// Smallest [`Table::sweep_at`].
const SWEEP_AT_MIN: usize = 1024;

/// One DID.
#[derive(Default)]
struct Track {
    flight: Option<Flight>,
    /// Refreshes are paid for with time: until then, this one's refreshes are paid.
    refreshes_paid_until: Option<Instant>,
}

struct Flight {
    landing: watch::Receiver<Option<Landing>>,
    /// What it brings was asked for before something changed.
    is_outdated: bool,
}

/// A place on a request that is under way.
pub(super) struct Ticket(watch::Receiver<Option<Landing>>);

/// The duty to make a request. Dropped before [`Departure::land`], it ends in [`Transient::Stopping`].
pub(super) struct Departure {
    did: Did,
    is_refresh: bool,
    flights: Arc<Flights>,
    landing: watch::Sender<Option<Landing>>,
}

/// How to get what a DID resolves to.
pub(super) struct Boarding {
    /// Waits for it.
    pub(super) ticket: Ticket,
    /// Set when nobody has made the request yet.
    pub(super) departure: Option<Departure>,
}

/// A DID was refreshed too often; the next refresh may start then.
pub(super) struct TooSoon(pub(super) Instant);

impl Flights {
    /// Allows one refresh of a DID per interval, and `refresh_burst` of them at once.
    pub(super) fn new(refresh_interval: Duration, refresh_burst: u32) -> Flights {
        Flights { table: Mutex::default(), refresh_interval, refresh_burst }
    }

    /// Asks for a DID, together with whoever asks for it at the moment.
    pub(super) fn board(self: &Arc<Self>, did: &Did, now: Instant) -> Boarding {
        let mut table = self.lock();
        let track = table.track(did, now);
        self.join_or_depart(did, track, false)
    }

    /// Asks for a DID anew. A request that is met may have been sent before the change that its caller wants to see:
    /// then it has to be waited for, and the next one counts.
    pub(super) fn board_refresh(self: &Arc<Self>, did: &Did, now: Instant) -> Result<Boarding, TooSoon> {
        let mut table = self.lock();
        let track = table.track(did, now);
        let credit = self.refresh_interval * self.refresh_burst.saturating_sub(1);
        match track.refreshes_paid_until {
            Some(until) if track.flight.is_none() && until > now + credit => Err(TooSoon(until - credit)),
            _ => Ok(self.join_or_depart(did, track, true)),
        }
    }

    /// Says that what a request under way will bring is outdated.
    pub(super) fn outdate(&self, did: &Did) {
        if let Some(flight) = self.lock().tracks.get_mut(did).and_then(|track| track.flight.as_mut()) {
            flight.is_outdated = true;
        }
    }

    fn join_or_depart(self: &Arc<Self>, did: &Did, track: &mut Track, is_refresh: bool) -> Boarding {
        if let Some(flight) = &track.flight {
            return Boarding { ticket: Ticket(flight.landing.clone()), departure: None };
        }
        let (sender, landing) = watch::channel(None);
        track.flight = Some(Flight { landing: landing.clone(), is_outdated: false });
        let departure = Departure { did: did.clone(), is_refresh, flights: Arc::clone(self), landing: sender };
        Boarding { ticket: Ticket(landing), departure: Some(departure) }
    }

    /// Bytes of the table.
    pub(super) fn bytes(&self) -> usize {
        let table = self.lock();
        let dids: usize = table.tracks.keys().map(|did| arc_bytes(did.as_str().len())).sum();
        table_bytes::<(Did, Track)>(table.tracks.capacity()) + dids
    }

    /// DIDs that are remembered.
    #[cfg(test)]
    pub(super) fn tracks(&self) -> usize {
        self.lock().tracks.len()
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn track(&mut self, did: &Did, now: Instant) -> &mut Track {
        if self.tracks.len() >= self.sweep_at.max(SWEEP_AT_MIN) {
            // What nobody asks for, and whose refreshes are paid, is as good as new.
            let is_paying = |track: &Track| track.refreshes_paid_until.is_some_and(|until| until > now);
            self.tracks.retain(|_, track| track.flight.is_some() || is_paying(track));
            self.sweep_at = 2 * self.tracks.len();
            self.tracks.shrink_to(self.sweep_at.max(SWEEP_AT_MIN));
        }
        self.tracks.entry(did.clone()).or_default()
    }
}

impl Departure {
    /// Ends the request. `keep` is called before anyone hears of it, `forget` after it if what was kept is outdated.
    pub(super) fn land(self, landing: Landing, keep: impl FnOnce(&Landing), forget: impl FnOnce()) {
        keep(&landing);
        // A refresh that failed has not refreshed anything, and costs nothing.
        let is_outdated = self.end(self.is_refresh && landing.is_ok());
        if is_outdated {
            forget();
        }
        self.landing.send_replace(Some(landing));
    }

    /// Takes the flight off the table, and says whether it was outdated.
    fn end(&self, is_charged: bool) -> bool {
        let mut table = self.flights.lock();
        let Some(track) = table.tracks.get_mut(&self.did) else { return false };
        if is_charged {
            let now = Instant::now();
            let paid_until = track.refreshes_paid_until.map_or(now, |until| until.max(now));
            track.refreshes_paid_until = Some(paid_until + self.flights.refresh_interval);
        }
        track.flight.take().is_some_and(|flight| flight.is_outdated)
    }
}

impl Drop for Departure {
    fn drop(&mut self) {
        // Of no effect after a landing, unless the next flight has departed since.
        if self.landing.borrow().is_none() {
            self.end(false);
        }
    }
}

impl Ticket {
    /// Waits for the end of the request.
    pub(super) async fn landed(mut self) -> Landing {
        match self.0.wait_for(Option::is_some).await {
            Ok(landing) => landing.clone().unwrap_or(Err(Transient::Stopping)),
            Err(_) => Err(Transient::Stopping),
        }
    }
}
