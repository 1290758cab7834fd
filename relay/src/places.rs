//! A number of places that are taken and given back, and whose number may change meanwhile.
//!
//! A semaphore gives places in the order in which they were asked for, and its number cannot fall while they are taken.
//! Here the lowest rank goes first, then who came first; one that takes several places at once is not overtaken by
//! smaller ones; and when there are to be fewer, places that come back are not given again until enough have.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// The places, and who waits for them, by rank `R`.
#[derive(Debug)]
pub struct Places<R: Ord + Copy>(Mutex<State<R>>);

#[derive(Debug)]
struct State<R> {
    count: u64,
    taken: u64,
    waiting: BTreeMap<Ticket<R>, Waiter>,
    last_ticket: u64,
    /// Places that were promised to come back, see [`Place::gives_way`].
    leaving: u64,
}

/// Rank, then the order of asking.
type Ticket<R> = (R, u64);

#[derive(Debug)]
struct Waiter {
    size: u64,
    granted: oneshot::Sender<()>,
}

/// A place, or several, until this is dropped.
#[derive(Debug)]
pub struct Place<R: Ord + Copy> {
    places: Arc<Places<R>>,
    ticket: Ticket<R>,
    size: u64,
    is_leaving: bool,
}

impl<R: Ord + Copy> Places<R> {
    /// So many places, none of them taken.
    pub fn new(count: u64) -> Arc<Places<R>> {
        let state = State { count, taken: 0, waiting: BTreeMap::new(), last_ticket: 0, leaving: 0 };
        Arc::new(Places(Mutex::new(state)))
    }

    /// Changes their number; those that are taken stay taken.
    pub fn set(&self, count: u64) {
        let mut state = self.lock();
        state.count = count;
        state.grant();
    }

    /// Waits for `size` places: one by one would end with everybody holding some and nobody enough. More than there are
    /// at all are given when nobody else has any.
    pub async fn take(self: &Arc<Places<R>>, rank: R, size: u64) -> Place<R> {
        let (granted, grant) = oneshot::channel();
        let place = {
            let mut state = self.lock();
            state.last_ticket += 1;
            let ticket = (rank, state.last_ticket);
            state.waiting.insert(ticket, Waiter { size, granted });
            state.grant();
            Place { places: Arc::clone(self), ticket, size, is_leaving: false }
        };
        // The sender goes only with a grant.
        let _ = grant.await;
        place
    }

    /// How many are taken.
    pub fn taken(&self) -> u64 {
        self.lock().taken
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        self.lock().waiting.len()
    }

    fn lock(&self) -> MutexGuard<'_, State<R>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<R: Ord + Copy> State<R> {
    fn grant(&mut self) {
        while let Some(first) = self.waiting.first_entry() {
            let size = first.get().size;
            if self.taken > 0 && self.taken.saturating_add(size) > self.count {
                return;
            }
            self.taken += size;
            // One that has gone meanwhile gives back what it finds granted.
            let _ = first.remove().granted.send(());
        }
    }
}

impl<R: Ord + Copy> Place<R> {
    /// Whether whoever has this place should give it back soon, for one that waits or because there are to be fewer.
    /// Only as many are told so as are needed, and who has been told has to do it.
    pub fn gives_way(&mut self) -> bool {
        let mut state = self.places.lock();
        let wanted = state.waiting.len() as u64 + state.taken.saturating_sub(state.count);
        if !self.is_leaving && wanted > state.leaving {
            state.leaving += 1;
            self.is_leaving = true;
        }
        self.is_leaving
    }
}

impl<R: Ord + Copy> Drop for Place<R> {
    fn drop(&mut self) {
        let mut state = self.places.lock();
        if state.waiting.remove(&self.ticket).is_none() {
            state.taken -= self.size;
        }
        state.leaving -= u64::from(self.is_leaving);
        state.grant();
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures_util::FutureExt;
    use proptest::prelude::*;

    use super::*;

    /// Whether the place is there at once.
    fn now<R: Ord + Copy>(take: impl Future<Output = Place<R>>) -> Option<Place<R>> {
        take.now_or_never()
    }

    #[test]
    fn who_comes_first_is_first_but_for_the_rank() {
        let places = Places::new(1);
        let held = now(places.take(5, 1)).expect("a free place");
        let (mut last, mut second) = (pin!(places.take(5, 1)), pin!(places.take(5, 1)));
        let mut first = pin!(places.take(1, 1));
        assert!(last.as_mut().now_or_never().is_none() && first.as_mut().now_or_never().is_none());
        assert!(second.as_mut().now_or_never().is_none());
        assert_eq!((places.taken(), places.waiting()), (1, 3));
        drop(held);
        let held = first.now_or_never().expect("the lowest rank");
        assert!(last.as_mut().now_or_never().is_none());
        drop(held);
        let held = last.now_or_never().expect("who asked first of the same rank");
        assert!(second.as_mut().now_or_never().is_none());
        drop(held);
        assert!(second.now_or_never().is_some());
        assert_eq!((places.taken(), places.waiting()), (0, 0));
    }

    #[test]
    fn who_gives_up_waiting_leaves_nothing_behind() {
        let places = Places::new(1);
        let held = now(places.take((), 1)).expect("a free place");
        assert!(now(places.take((), 1)).is_none());
        assert_eq!(places.waiting(), 0, "it has given up");
        {
            let mut granted = Box::pin(places.take((), 1));
            assert!(granted.as_mut().now_or_never().is_none());
            drop(held);
            assert_eq!(places.taken(), 1, "granted, and nobody has looked");
        }
        assert_eq!(places.taken(), 0);
    }

    #[test]
    fn a_large_one_is_not_overtaken_and_one_too_large_goes_alone() {
        let places = Places::new(10);
        let held = now(places.take((), 6)).expect("room");
        let mut large = Box::pin(places.take((), 8));
        assert!(large.as_mut().now_or_never().is_none());
        assert!(now(places.take((), 1)).is_none(), "behind the large one");
        drop(held);
        let held = large.now_or_never().zip(now(places.take((), 2)));
        assert!(held.is_some() && places.taken() == 10);
        let mut huge = Box::pin(places.take((), 100));
        assert!(huge.as_mut().now_or_never().is_none());
        drop(held);
        assert!(huge.now_or_never().is_some(), "alone");
    }

    #[test]
    fn fewer_places_are_reached_when_enough_come_back() {
        let places = Places::new(3);
        let mut held: Vec<_> = (0..3).map(|_| now(places.take((), 1)).expect("a free place")).collect();
        assert!(!held[0].gives_way(), "nobody wants it");
        places.set(1);
        assert!(held[0].gives_way() && held[1].gives_way() && !held[2].gives_way(), "two have to go");
        assert!(held[0].gives_way(), "and still have to");
        held.remove(0);
        assert!(now(places.take((), 1)).is_none(), "two of one are taken");
        held.clear();
        assert!(now(places.take((), 1)).is_some());
        places.set(2);
        let held = now(places.take((), 1)).zip(now(places.take((), 1)));
        let (mut one, mut other) = held.expect("two");
        let mut waiting = Box::pin(places.take((), 1));
        assert!(waiting.as_mut().now_or_never().is_none());
        assert!(one.gives_way() && !other.gives_way(), "one waits, so one goes");
        drop(one);
        assert!(waiting.now_or_never().is_some());
        assert!(!other.gives_way());
    }

    proptest! {
        /// Whatever comes, goes and changes: never too many, and nobody waits for what is free.
        #[test]
        fn places_are_neither_lost_nor_made_up(steps in prop::collection::vec((0u8..4, 1u64..6), 1..200)) {
            let places = Places::new(5);
            let (mut held, mut waiting) = (Vec::new(), Vec::new());
            for (step, size) in steps {
                match step {
                    0 => waiting.push(Box::pin(places.take(size % 2, size))),
                    1 if !held.is_empty() => drop(held.remove(size as usize % held.len())),
                    2 if !waiting.is_empty() => drop(waiting.remove(size as usize % waiting.len())),
                    _ => places.set(size + 2),
                }
                let mut still = Vec::new();
                for mut take in waiting {
                    match take.as_mut().now_or_never() {
                        Some(place) => held.push(place),
                        None => still.push(take),
                    }
                }
                waiting = still;
                let sum: u64 = held.iter().map(|place| place.size).sum();
                prop_assert_eq!((sum, waiting.len()), (places.taken(), places.waiting()));
                prop_assert!(sum <= 7 || held.len() == 1, "more than there ever were: {}", sum);
                prop_assert!(!held.is_empty() || waiting.is_empty(), "somebody waits though all is free");
            }
            drop((held, waiting));
            prop_assert_eq!(places.taken(), 0);
        }
    }
}
