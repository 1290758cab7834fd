//! The events of a whole network, made before they are sent, so that sending them costs next to nothing.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use relay::firehose::ws::frame_header;
use relay::protocol::frame::{self, Frame, IdentityFrame, encode_identity};
use relay::protocol::tid::Tid;

use crate::account::{Account, POSTS};
use crate::event::content;
use crate::mutation::Mutation;
use crate::repo::Write;

/// Records that an account of the network has, about; with them its commits have 3.1 KB on average.
pub const RECORDS: usize = 1_000;
/// One account of so many makes every second event.
const BUSY_ONE_IN: usize = 10;
/// Of a thousand events this many are `#identity`, one of an account at most, and …
const IDENTITIES_IN_1000: u32 = 5;
/// … this many `#account`, or a few more for those; the rest are commits.
const STATUSES_IN_1000: u32 = 15;
/// So much later than a bad commit is the next good one, so that a relay which lets the bad one pass does not take the
/// good one for a repetition.
const AFTER_BAD_US: u64 = 10_000;

/// What traffic to make.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Everything but the signatures on P-256 follows from it.
    pub seed: u64,
    /// Hosts.
    pub hosts: usize,
    /// Accounts on each.
    pub accounts_per_host: usize,
    /// Records that each account has from the start; they decide how large its commits are.
    pub records: usize,
    /// Good events, besides the one that each account makes at first.
    pub events: usize,
    /// Bad ones among them, of each of these kinds so many.
    pub bad: Vec<(Mutation, usize)>,
}

/// The events of a network, in order: first one of each account, by which relays get to know it, then all others.
pub struct Traffic {
    accounts: Vec<Account>,
    accounts_per_host: usize,
    scripts: Vec<Arc<Script>>,
    events: Vec<Said>,
    by_content: HashMap<u64, usize>,
}

/// An event by its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Said {
    /// Number of the host that says it.
    pub host: usize,
    /// Its place among that host's events. Its seq is one more.
    pub place: usize,
    /// What is wrong with it, if it must not pass.
    pub bad: Option<Mutation>,
}

/// What one host says: WebSocket messages, one after the other, as they are on the wire.
pub struct Script {
    wire: Bytes,
    /// Where each message ends.
    ends: Vec<usize>,
}

impl Script {
    /// Messages.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether the host says nothing.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The bytes from the start of one message to the start of another.
    pub fn between(&self, from: usize, to: usize) -> &[u8] {
        &self.wire[self.start(from)..self.start(to)]
    }

    /// The last place, up to `until`, to which the messages from `from` are no more than `bytes`; one is always in.
    pub fn within(&self, from: usize, until: usize, bytes: usize) -> usize {
        let limit = self.start(from) + bytes;
        let fitting = self.ends[from..until].partition_point(|end| *end <= limit);
        (from + fitting.max(1)).min(until)
    }

    fn start(&self, place: usize) -> usize {
        place.checked_sub(1).map_or(0, |before| self.ends[before])
    }
}

/// What an account is to do for an event.
#[derive(Clone, Copy)]
enum Act {
    Any,
    Identity,
    Status,
    Bad(Mutation),
}

/// An event that is still to be made.
struct Task {
    event: usize,
    seq: u64,
    act: Act,
}

/// An event that was made.
struct Made {
    event: usize,
    frame: Vec<u8>,
    content: u64,
}

impl Traffic {
    /// Makes it, on all cores.
    pub fn make(plan: &Plan) -> Traffic {
        let accounts: Vec<Account> =
            (0..plan.hosts * plan.accounts_per_host).map(|number| Account::new(plan.seed, number as u64)).collect();
        let mut random = StdRng::seed_from_u64(plan.seed);
        let acts = draw(plan, accounts.len(), &mut random);
        let mut events = Vec::with_capacity(acts.len());
        let mut tasks: Vec<Vec<Task>> = accounts.iter().map(|_| Vec::new()).collect();
        let mut said = vec![0; plan.hosts];
        for (event, (account, act)) in acts.into_iter().enumerate() {
            let host = account / plan.accounts_per_host;
            let place = said[host];
            said[host] += 1;
            let bad = if let Act::Bad(mutation) = act { Some(mutation) } else { None };
            events.push(Said { host, place, bad });
            tasks[account].push(Task { event, seq: place as u64 + 1, act });
        }
        let mut made = perform(&accounts, plan.records, tasks);
        made.sort_unstable_by_key(|made| made.event);
        let by_content = made.iter().map(|made| (made.content, made.event)).collect();
        let scripts = scripts(plan.hosts, &events, made).into_iter().map(Arc::new).collect();
        Traffic { accounts, accounts_per_host: plan.accounts_per_host, scripts, events, by_content }
    }

    /// The accounts as they are before they do anything, with the number of the host that each is on.
    pub fn accounts(&self) -> impl Iterator<Item = (usize, &Account)> {
        self.accounts.iter().enumerate().map(|(number, account)| (number / self.accounts_per_host, account))
    }

    /// What each host says.
    pub fn scripts(&self) -> &[Arc<Script>] {
        &self.scripts
    }

    /// All events, in order.
    pub fn events(&self) -> &[Said] {
        &self.events
    }

    /// How many of them come first, one of each account.
    pub fn greetings(&self) -> usize {
        self.accounts.len()
    }

    /// Which event a frame is; `None` when it is none of these. What a relay may change is not looked at: the seq, and
    /// the handle of an `#identity`.
    pub fn find(&self, frame: &[u8]) -> Option<usize> {
        self.by_content.get(&fingerprint(frame)).copied()
    }

    /// Average length of an event, in bytes.
    pub fn average_bytes(&self) -> usize {
        self.scripts.iter().map(|script| script.wire.len()).sum::<usize>() / self.events.len().max(1)
    }
}

/// Which account does what, in order.
fn draw(plan: &Plan, accounts: usize, random: &mut StdRng) -> Vec<(usize, Act)> {
    let any = |random: &mut StdRng| {
        let account = random.random_range(0..accounts);
        if random.random() { account / BUSY_ONE_IN * BUSY_ONE_IN } else { account }
    };
    // An identity changes rarely. Relays ask the directory each time, but not again and again within seconds.
    let mut is_announced = vec![false; accounts];
    let mut acts: Vec<(usize, Act)> = (0..plan.events)
        .map(|_| {
            let account = any(random);
            let act = match random.random_range(0..1000) {
                roll if roll < IDENTITIES_IN_1000 && !std::mem::replace(&mut is_announced[account], true) => {
                    Act::Identity
                }
                roll if roll < IDENTITIES_IN_1000 + STATUSES_IN_1000 => Act::Status,
                _ => Act::Any,
            };
            (account, act)
        })
        .collect();
    for (mutation, times) in &plan.bad {
        acts.extend((0..*times).map(|_| (any(random), Act::Bad(*mutation))));
    }
    acts.shuffle(random);
    let mut greetings: Vec<(usize, Act)> = (0..accounts).map(|account| (account, Act::Any)).collect();
    greetings.shuffle(random);
    greetings.append(&mut acts);
    greetings
}

fn perform(accounts: &[Account], records: usize, tasks: Vec<Vec<Task>>) -> Vec<Made> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let mut shares: Vec<Vec<(&Account, Vec<Task>)>> = (0..threads).map(|_| Vec::new()).collect();
    for (number, work) in accounts.iter().zip(tasks).enumerate() {
        shares[number % threads].push(work);
    }
    std::thread::scope(|scope| {
        let work = |share: Vec<(&Account, Vec<Task>)>| {
            share.into_iter().flat_map(|(account, tasks)| live(account.clone(), records, tasks)).collect::<Vec<Made>>()
        };
        let running: Vec<_> = shares.into_iter().map(|share| scope.spawn(move || work(share))).collect();
        running.into_iter().flat_map(|thread| thread.join().expect("a thread that makes events")).collect()
    })
}

/// All that one account does.
fn live(mut account: Account, records: usize, tasks: Vec<Task>) -> Vec<Made> {
    if tasks.is_empty() {
        return Vec::new();
    }
    let record = |number| Write::Create { path: format!("{POSTS}/{number:013}"), record: vec![0xa0] };
    account.commit((0..records).map(record).collect());
    let made = tasks.into_iter().map(|Task { event, seq, act }| {
        let frame = match act {
            Act::Any => account.act().encode(seq),
            Act::Identity => account.identity().encode(seq),
            Act::Status => account.status(None).encode(seq),
            Act::Bad(mutation) => {
                let frame = mutation.frame(&account, seq);
                account.set_clock(account.rev().map_or(0, Tid::timestamp_us) + AFTER_BAD_US);
                frame
            }
        };
        let content = fingerprint(&frame);
        Made { event, frame, content }
    });
    made.collect()
}

fn scripts(hosts: usize, events: &[Said], made: Vec<Made>) -> Vec<Script> {
    let mut wires: Vec<(Vec<u8>, Vec<usize>)> = (0..hosts).map(|_| Default::default()).collect();
    for (said, made) in events.iter().zip(made) {
        let (wire, ends) = &mut wires[said.host];
        wire.extend_from_slice(&frame_header(made.frame.len()));
        wire.extend_from_slice(&made.frame);
        ends.push(wire.len());
    }
    wires.into_iter().map(|(wire, ends)| Script { wire: wire.into(), ends }).collect()
}

fn fingerprint(frame: &[u8]) -> u64 {
    let content = match frame::decode(frame) {
        Ok(Frame::Identity(identity)) => {
            let mut content = Vec::new();
            encode_identity(&IdentityFrame { seq: 1, handle: None, ..identity }, &mut content);
            Some(content)
        }
        _ => content(frame),
    };
    let mut hasher = DefaultHasher::new();
    content.as_deref().unwrap_or(frame).hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use relay::firehose::ws::payload;
    use relay::protocol::frame::{Kind, Peek};

    fn traffic() -> Traffic {
        let bad = vec![(Mutation::SignatureBit, 3), (Mutation::Garbage, 2)];
        Traffic::make(&Plan { seed: 1, hosts: 3, accounts_per_host: 10, records: RECORDS, events: 1_500, bad })
    }

    fn frame(traffic: &Traffic, said: Said) -> &[u8] {
        payload(traffic.scripts()[said.host].between(said.place, said.place + 1)).expect("a whole message")
    }

    #[test]
    fn each_event_is_found_again_with_another_seq() {
        let traffic = traffic();
        assert_eq!(traffic.events().len(), 30 + 1_505);
        for (event, said) in traffic.events().iter().enumerate() {
            match content(frame(&traffic, *said)) {
                Some(content) => assert_eq!(traffic.find(&content), Some(event), "{said:?}"),
                None => assert_eq!(said.bad, Some(Mutation::Garbage)),
            }
        }
        let other = Account::new(2, 0).post().encode(1);
        assert_eq!(traffic.find(&other), None);
    }

    #[test]
    fn accounts_greet_first_and_one_in_ten_makes_half_of_the_rest() {
        let traffic = traffic();
        let whose = |said: &Said| match frame::peek(frame(&traffic, *said)) {
            Ok(Peek::Event { did, kind, .. }) => Some((did.to_owned(), kind)),
            _ => None,
        };
        let (greetings, rest) = traffic.events().split_at(traffic.greetings());
        let mut greeting: Vec<_> = greetings.iter().filter_map(whose).collect();
        greeting.sort_unstable_by(|one, other| one.0.cmp(&other.0));
        greeting.dedup();
        assert_eq!(greeting.len(), 30, "one event of each account");

        let busy: Vec<&str> = traffic.accounts.iter().step_by(BUSY_ONE_IN).map(|account| &*account.did).collect();
        let rest: Vec<_> = rest.iter().filter_map(whose).collect();
        let busy = rest.iter().filter(|(did, _)| busy.contains(&did.as_str())).count() as f64 / rest.len() as f64;
        assert!((0.45..0.65).contains(&busy), "{busy} of the events are of busy accounts");
        let commits = rest.iter().filter(|(_, kind)| *kind == Kind::Commit).count() as f64 / rest.len() as f64;
        assert!((0.96..0.995).contains(&commits), "{commits} of the events are commits");
    }

    #[test]
    fn a_share_of_a_script_ends_between_messages() {
        let traffic = traffic();
        let script = &traffic.scripts()[0];
        let both = script.between(0, 2).len();
        assert_eq!(script.within(0, script.len(), both), 2);
        assert_eq!(script.within(0, script.len(), both - 1), 1);
        assert_eq!(script.within(0, script.len(), 1), 1, "one message is always in");
        assert_eq!(script.within(0, 1, both), 1, "and none from beyond the end");
    }
}
