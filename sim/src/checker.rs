//! Holds what hosts have sent, and says what became of it at a consumer.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use relay::protocol::cid::Cid;

use crate::consumer::Delivered;
use crate::event::Event;
use crate::host::{Host, Sent};

/// What was sent, and what of it has been delivered. All that counts is an event's content: everything but its seq.
#[derive(Default)]
pub struct Checker {
    sent: HashMap<Cid, Fate>,
    /// Events so far of each account, and the place of the last one delivered.
    accounts: HashMap<String, Places>,
    /// What the consumer got, in its order.
    delivered: Vec<(u64, Cid)>,
    disordered: usize,
    foreign: usize,
    seqs_back: usize,
}

/// An event that must be delivered once.
struct Fate {
    /// Its place among the events of its account.
    place: usize,
    sent_at: Instant,
    deliveries: usize,
    latency: Option<Duration>,
}

#[derive(Default)]
struct Places {
    sent: usize,
    /// Count of events up to the last one delivered.
    delivered: usize,
}

/// What went wrong, in events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Report {
    /// Sent, and not delivered.
    pub lost: usize,
    /// Delivered more often than once: each time after the first.
    pub repeated: usize,
    /// Delivered behind a later event of their account.
    pub disordered: usize,
    /// Delivered, and never sent as good.
    pub foreign: usize,
    /// Delivered under a seq that is not above the one before.
    pub seqs_back: usize,
}

impl Report {
    /// Nothing went wrong.
    pub const CLEAN: Report = Report { lost: 0, repeated: 0, disordered: 0, foreign: 0, seqs_back: 0 };
}

impl Checker {
    /// Emits an event that must be delivered.
    pub fn emit(&mut self, host: &Host, event: impl Into<Event>) -> Sent {
        let event = event.into();
        let did = event.did().to_owned();
        let sent_at = Instant::now();
        let sent = host.emit(event);
        let places = self.accounts.entry(did).or_default();
        let fate = Fate { place: places.sent, sent_at, deliveries: 0, latency: None };
        places.sent += 1;
        let earlier = self.sent.insert(Cid::of(&sent.content()), fate);
        assert!(earlier.is_none(), "an account never does the same twice");
        sent
    }

    /// Takes note of an event that the consumer got.
    pub fn receive(&mut self, event: &Delivered) {
        let id = Cid::of(&event.content());
        self.seqs_back += usize::from(self.delivered.last().is_some_and(|(seq, _)| *seq >= event.seq));
        self.delivered.push((event.seq, id));
        let Some(fate) = self.sent.get_mut(&id) else {
            self.foreign += 1;
            return;
        };
        fate.deliveries += 1;
        if fate.deliveries > 1 {
            return;
        }
        fate.latency = Some(fate.sent_at.elapsed());
        let places = self.accounts.entry(event.did.clone()).or_default();
        self.disordered += usize::from(fate.place < places.delivered);
        places.delivered = places.delivered.max(fate.place + 1);
    }

    /// How many events must be delivered.
    pub fn sent(&self) -> usize {
        self.sent.len()
    }

    /// How many events the consumer got.
    pub fn delivered(&self) -> usize {
        self.delivered.len()
    }

    /// What has gone wrong so far; what is still on its way counts as lost.
    pub fn report(&self) -> Report {
        Report {
            lost: self.sent.values().filter(|fate| fate.deliveries == 0).count(),
            repeated: self.sent.values().map(|fate| fate.deliveries.saturating_sub(1)).sum(),
            disordered: self.disordered,
            foreign: self.foreign,
            seqs_back: self.seqs_back,
        }
    }

    /// The latency that so many events in a hundred do not exceed, from their host to the consumer.
    pub fn latency(&self, percent: usize) -> Option<Duration> {
        let mut latencies: Vec<Duration> = self.sent.values().filter_map(|fate| fate.latency).collect();
        latencies.sort_unstable();
        latencies.get((latencies.len() * percent / 100).min(latencies.len().checked_sub(1)?)).copied()
    }

    /// Whether a replay after a cursor begins like what the consumer got live, under the same seqs.
    pub fn is_replay(&self, cursor: u64, replay: &[Delivered]) -> bool {
        let start = self.delivered.partition_point(|(seq, _)| *seq <= cursor);
        let live = &self.delivered[start..];
        replay.len() <= live.len()
            && replay.iter().zip(live).all(|(event, (seq, id))| event.seq == *seq && Cid::of(&event.content()) == *id)
    }

    /// The seqs that the consumer got.
    pub fn seqs(&self) -> impl Iterator<Item = u64> {
        self.delivered.iter().map(|(seq, _)| *seq)
    }
}

impl Sent {
    /// The event as a relay delivers it under `seq`: for tests of this crate.
    #[cfg(test)]
    fn deliver(&self, seq: u64) -> Delivered {
        use relay::protocol::frame::{Peek, peek};
        let Ok(Peek::Event { kind, did, .. }) = peek(&self.frame) else { panic!("no event") };
        Delivered { seq, kind, did: did.to_owned(), frame: self.frame.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::account::Account;

    #[tokio::test]
    async fn each_way_to_go_wrong_is_told() {
        let host = Host::start().await;
        let mut account = Account::new(1, 0);
        let emit = |checker: &mut Checker, account: &mut Account| {
            let sent: Vec<Sent> = (0..4).map(|_| checker.emit(&host, account.post())).collect();
            sent
        };
        type Delivery = (usize, u64);
        let cases: [(&str, &[Delivery], Report); 5] = [
            ("clean", &[(0, 1), (1, 2), (2, 3), (3, 4)], Report::CLEAN),
            ("lost", &[(0, 1), (1, 2), (3, 4)], Report { lost: 1, ..Report::CLEAN }),
            ("repeated", &[(0, 1), (1, 2), (1, 3), (2, 4), (3, 5)], Report { repeated: 1, ..Report::CLEAN }),
            ("disordered", &[(0, 1), (2, 2), (1, 3), (3, 4)], Report { disordered: 1, ..Report::CLEAN }),
            ("seqs", &[(0, 1), (1, 3), (2, 2), (3, 4)], Report { seqs_back: 1, ..Report::CLEAN }),
        ];
        for (what, deliveries, expected) in cases {
            let mut checker = Checker::default();
            let sent = emit(&mut checker, &mut account);
            deliveries.iter().for_each(|(event, seq)| checker.receive(&sent[*event].deliver(*seq)));
            assert_eq!(checker.report(), expected, "{what}");
        }
        let mut checker = Checker::default();
        emit(&mut checker, &mut account);
        let bad = host.emit(account.post());
        checker.receive(&bad.deliver(1));
        assert_eq!(checker.report(), Report { lost: 4, foreign: 1, ..Report::CLEAN }, "foreign");
    }

    #[tokio::test]
    async fn a_replay_is_the_same_events_under_the_same_seqs() {
        let host = Host::start().await;
        let mut account = Account::new(1, 0);
        let mut checker = Checker::default();
        let sent: Vec<Sent> = (0..4).map(|_| checker.emit(&host, account.post())).collect();
        let live: Vec<Delivered> = (0..4).map(|number| sent[number].deliver(10 + number as u64)).collect();
        live.iter().for_each(|event| checker.receive(event));
        assert!(checker.is_replay(0, &live));
        assert!(checker.is_replay(11, &live[2..]));
        assert!(!checker.is_replay(11, &live[1..]), "the event at the cursor is not in its replay");
        assert!(!checker.is_replay(10, &live[2..]), "a hole");
        assert!(!checker.is_replay(10, &[sent[1].deliver(12)]), "another seq");
        assert!(checker.latency(50).is_some());
    }
}
