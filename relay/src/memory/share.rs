//! A share of memory that is given out in pieces.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Semaphore;

/// A share whose bytes are given out in pieces, and whose size can change while they are out; clones are the same share.
///
/// A share that has become smaller than what is out gives out nothing until enough has come back: it is in debt. The same
/// is so after a piece that was taken without asking.
#[derive(Debug, Clone)]
pub struct Share {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// Bytes that are there to be taken.
    free: Semaphore,
    state: Mutex<State>,
    /// The share never becomes smaller, and nobody waits for more at once: so whoever waits gets what he waits for.
    bytes_min: usize,
}

/// It holds that what is free and what is out are together `size + debt`.
#[derive(Debug, Clone, Copy)]
struct State {
    size: usize,
    /// Bytes that are out beyond the size.
    debt: usize,
}

/// Bytes of a share, which go back when this is dropped.
#[derive(Debug)]
pub struct Piece {
    share: Arc<Inner>,
    bytes: usize,
}

impl Share {
    /// A share of this size, and of `bytes_min` at least, whatever it is set to. Pieces up to `bytes_min` keep within it;
    /// of larger ones the rest is taken without asking.
    pub fn new(bytes: usize, bytes_min: usize) -> Share {
        let size = bytes.max(bytes_min);
        let state = Mutex::new(State { size, debt: 0 });
        Share { inner: Arc::new(Inner { free: Semaphore::new(size), state, bytes_min }) }
    }

    /// Waits for a piece, behind those who came before.
    pub async fn take(&self, bytes: usize) -> Piece {
        let asked = bytes.min(self.inner.bytes_min);
        match self.inner.free.acquire_many(u32::try_from(asked).unwrap_or(u32::MAX)).await {
            Ok(permit) => permit.forget(),
            // It is never closed.
            Err(_) => return self.overdraw(bytes),
        }
        let mut piece = Piece { share: Arc::clone(&self.inner), bytes: asked };
        piece.overdraw(bytes - asked);
        piece
    }

    /// A piece, if there are enough bytes.
    pub fn try_take(&self, bytes: usize) -> Option<Piece> {
        let permit = self.inner.free.try_acquire_many(u32::try_from(bytes).ok()?).ok()?;
        permit.forget();
        Some(Piece { share: Arc::clone(&self.inner), bytes })
    }

    /// A piece of bytes that are in use already: others wait the longer for theirs.
    pub fn overdraw(&self, bytes: usize) -> Piece {
        let mut piece = Piece { share: Arc::clone(&self.inner), bytes: 0 };
        piece.overdraw(bytes);
        piece
    }

    /// Makes the share larger or smaller. What is out stays out.
    pub fn set_bytes(&self, bytes: usize) {
        let bytes = bytes.max(self.inner.bytes_min);
        let mut state = self.inner.lock();
        let before = std::mem::replace(&mut state.size, bytes);
        if bytes < before {
            self.inner.withdraw(&mut state, before - bytes);
        } else {
            self.inner.put_back(&mut state, bytes - before);
        }
    }

    /// Its size.
    pub fn bytes(&self) -> usize {
        self.inner.lock().size
    }

    /// Bytes that are out.
    pub fn used(&self) -> usize {
        let state = self.inner.lock();
        (state.size + state.debt).saturating_sub(self.inner.free.available_permits())
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes bytes off what is free, and what is not free off what comes back.
    fn withdraw(&self, state: &mut State, bytes: usize) {
        let taken = self.free.forget_permits(bytes);
        state.debt += bytes - taken;
    }

    /// Bytes become free, once the debt is paid.
    fn put_back(&self, state: &mut State, bytes: usize) {
        let paid = state.debt.min(bytes);
        state.debt -= paid;
        self.free.add_permits(bytes - paid);
    }
}

impl Piece {
    /// Makes the piece larger by bytes that are in use already.
    pub fn overdraw(&mut self, bytes: usize) {
        if bytes > 0 {
            self.share.withdraw(&mut self.share.lock(), bytes);
            self.bytes += bytes;
        }
    }

    /// Its size.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        self.share.put_back(&mut self.share.lock(), self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_share_that_shrinks_while_it_is_out_gives_out_nothing_until_enough_is_back() {
        let share = Share::new(100, 10);
        let (one, two) = (share.try_take(60).expect("room"), share.try_take(30).expect("room"));
        share.set_bytes(50);
        assert_eq!((share.bytes(), share.used()), (50, 90), "what is out stays out");
        assert!(share.try_take(1).is_none());
        drop(two);
        assert_eq!(share.used(), 60);
        assert!(share.try_take(1).is_none(), "still more is out than it has");
        drop(one);
        assert_eq!(share.used(), 0);
        assert!(share.try_take(51).is_none());
        assert!(share.try_take(50).is_some());
    }

    #[test]
    fn a_share_that_grows_wakes_who_waits() {
        let share = Share::new(10, 10);
        let all = share.try_take(10).expect("room");
        let mut waits = Box::pin(share.take(10));
        assert!((&mut waits).now_or_never().is_none());
        share.set_bytes(20);
        assert_eq!(waits.now_or_never().expect("room").bytes(), 10);
        drop(all);
        assert_eq!(share.used(), 0);
    }

    #[test]
    fn what_is_overdrawn_is_paid_before_others_get_more() {
        let share = Share::new(10, 10);
        let beyond = share.overdraw(25);
        assert_eq!(share.used(), 25);
        assert!(share.try_take(1).is_none());
        drop(beyond);
        assert_eq!(share.used(), 0);
        assert!(share.try_take(10).is_some());
    }

    #[test]
    fn whoever_waits_gets_his_piece_however_small_the_share_becomes() {
        let share = Share::new(100, 10);
        let all = share.try_take(100).expect("room");
        let mut waits = Box::pin(share.take(1000));
        assert!((&mut waits).now_or_never().is_none());
        share.set_bytes(0);
        assert_eq!(share.bytes(), 10, "no smaller than this");
        drop(all);
        let piece = waits.now_or_never().expect("it is alone");
        assert_eq!((piece.bytes(), share.used()), (1000, 1000), "counted in full");
        drop(piece);
        assert_eq!(share.used(), 0);
    }

    #[derive(Debug, Clone)]
    enum Act {
        Take(usize),
        Overdraw(usize),
        Drop(prop::sample::Index),
        Resize(usize),
    }

    fn any_act() -> impl Strategy<Value = Act> {
        prop_oneof![
            (0usize..50).prop_map(Act::Take),
            (0usize..50).prop_map(Act::Overdraw),
            any::<prop::sample::Index>().prop_map(Act::Drop),
            (0usize..200).prop_map(Act::Resize),
        ]
    }

    proptest! {
        /// Whatever happens, as much is counted as is out, nothing is given out beyond the size, and all of it is there
        /// in the end.
        #[test]
        fn no_byte_is_lost_or_made(acts in prop::collection::vec(any_act(), 0..60)) {
            let share = Share::new(100, 10);
            let mut pieces: Vec<Piece> = Vec::new();
            for act in acts {
                let out: usize = pieces.iter().map(Piece::bytes).sum();
                match act {
                    Act::Take(bytes) => {
                        let piece = share.try_take(bytes);
                        prop_assert_eq!(piece.is_some(), out + bytes <= share.bytes() || bytes == 0);
                        pieces.extend(piece);
                    }
                    Act::Overdraw(bytes) => pieces.push(share.overdraw(bytes)),
                    Act::Drop(index) if !pieces.is_empty() => drop(pieces.swap_remove(index.index(pieces.len()))),
                    Act::Drop(_) => {}
                    Act::Resize(bytes) => {
                        share.set_bytes(bytes);
                        prop_assert_eq!(share.bytes(), bytes.max(10));
                    }
                }
                prop_assert_eq!(share.used(), pieces.iter().map(Piece::bytes).sum::<usize>());
            }
            pieces.clear();
            prop_assert_eq!(share.used(), 0);
            prop_assert!(share.try_take(share.bytes()).is_some());
        }
    }
}
