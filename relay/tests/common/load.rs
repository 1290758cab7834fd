//! Hosts whose accounts never rest, and consumers that come back whenever they are cut off.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rand::Rng;
use relay::protocol::frame::{Peek, peek};
use sim::{Account, Consumer, Delivered, Host, Mutation, Received};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::World;

/// Hosts whose accounts never rest.
pub struct Load {
    /// The hosts.
    pub hosts: Vec<Arc<Host>>,
    sent: Arc<Mutex<Vec<Vec<u8>>>>,
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
}

impl Load {
    /// Starts once the relay has seen something of each host: from there on it may miss nothing.
    pub async fn start(world: &World) -> Load {
        let (stop, _) = watch::channel(false);
        let mut consumer = world.relay.consumer(None).await;
        let mut load = Load { hosts: Vec::new(), sent: Arc::default(), stop, tasks: Vec::new() };
        let mut members = Vec::new();
        for _ in 0..2 {
            let host = Arc::new(world.host().await);
            let mut accounts: Vec<Account> = (0..10).map(|_| world.account(&host)).collect();
            let first = accounts.iter_mut().map(|account| host.emit(account.post()).content());
            load.sent.lock().unwrap().extend(first);
            consumer.events(accounts.len()).await;
            members.push((host, accounts));
        }
        for (host, accounts) in members {
            load.hosts.push(Arc::clone(&host));
            load.tasks.push(tokio::spawn(emit(host, accounts, Arc::clone(&load.sent), load.stop.subscribe())));
        }
        load
    }

    /// Ends, and says what was sent: the contents, each account's in order. The hosts stay.
    pub async fn stop(&mut self) -> Vec<Vec<u8>> {
        self.stop.send_replace(true);
        for task in &mut self.tasks {
            task.await.unwrap();
        }
        std::mem::take(&mut self.sent.lock().unwrap())
    }
}

/// What must not pass, however it is mixed with kills.
const BAD: [Mutation; 4] = [Mutation::BlockBit, Mutation::HiddenOp, Mutation::StaleRev, Mutation::Cut];

async fn emit(host: Arc<Host>, mut accounts: Vec<Account>, log: Arc<Mutex<Vec<Vec<u8>>>>, stop: watch::Receiver<bool>) {
    while !*stop.borrow() {
        for account in &mut accounts {
            let sent = host.emit(account.any_event());
            log.lock().unwrap().push(sent.content());
            match rand::rng().random_range(0..500) {
                0 => host.cut_next_frame(),
                number if number < 20 => drop(host.emit_frame(|seq| BAD[number % BAD.len()].frame(account, seq))),
                _ => {}
            }
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A consumer that comes back whenever it is cut off, and goes on from the last event that it had.
pub struct Follower {
    /// What it was given.
    pub delivered: Arc<Mutex<Vec<Delivered>>>,
    /// How its connections ended.
    pub ends: Arc<Mutex<Vec<Received>>>,
    task: JoinHandle<()>,
}

impl Follower {
    /// Follows the firehose at an address, and rests after each event.
    pub fn start(address: SocketAddr, rest: Duration) -> Follower {
        let (delivered, ends) = (Arc::<Mutex<Vec<Delivered>>>::default(), Arc::<Mutex<Vec<Received>>>::default());
        let (events, closed) = (Arc::clone(&delivered), Arc::clone(&ends));
        let task = tokio::spawn(async move {
            loop {
                let cursor = events.lock().unwrap().last().map_or(0, |event| event.seq);
                if let Ok(mut consumer) = Consumer::connect(address, Some(cursor)).await {
                    let end = loop {
                        match consumer.next().await {
                            Received::Event(event) => events.lock().unwrap().push(event),
                            end => break end,
                        }
                        if !rest.is_zero() {
                            tokio::time::sleep(rest).await;
                        }
                    };
                    closed.lock().unwrap().push(end);
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        Follower { delivered, ends, task }
    }

    /// Waits until so many events have arrived, or for long in vain, and then for a moment in which more might come. Gives
    /// what has arrived in all.
    pub async fn stop_at(self, count: usize) -> Vec<Delivered> {
        let deadline = Instant::now() + Duration::from_secs(20);
        while self.delivered.lock().unwrap().len() < count && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
        self.task.abort();
        std::mem::take(&mut *self.delivered.lock().unwrap())
    }
}

/// Contents by account, each account's in order.
fn by_account(events: impl IntoIterator<Item = Vec<u8>>) -> HashMap<String, Vec<Vec<u8>>> {
    let mut accounts = HashMap::<String, Vec<Vec<u8>>>::new();
    for content in events {
        let Ok(Peek::Event { did, .. }) = peek(&content) else { panic!("no event") };
        accounts.entry(did.to_owned()).or_default().push(content);
    }
    accounts
}

/// Checks that what was delivered is what was sent, each event once and each account's in order.
pub async fn assert_complete(world: &World, sent: Vec<Vec<u8>>, delivered: &[Delivered]) {
    assert!(delivered.is_sorted_by(|a, b| a.seq < b.seq), "a consumer never sees a seq twice, or an earlier one");
    let (was_sent, was_delivered) = (by_account(sent), by_account(delivered.iter().map(Delivered::content)));
    for (did, sent) in &was_sent {
        let delivered = was_delivered.get(did).map_or(&[][..], Vec::as_slice);
        let difference = sent.iter().zip(delivered).position(|(sent, delivered)| sent != delivered);
        let found = (difference, delivered.len());
        let hosts = world.relay.get_admin("/admin/pds/list").await.text;
        let dropped = world.dropped().await;
        assert_eq!(found, (None, sent.len()), "first difference and number of {did}; {dropped:?}; {hosts}");
    }
}
