//! The network: hosts and accounts that come and go while they send.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use sim::process::Relay;
use sim::{Account, Host, Network, Plc};

/// How much of it there is at a time.
pub struct Plan {
    pub hosts: usize,
    pub accounts_per_host: usize,
    /// Events per second.
    pub rate: u32,
}

/// Events after which an account is deleted, and another comes in its place.
const LIFETIME: u32 = 100;
/// Of a thousand events of an account this many are a new signing key that is announced, …
const NEW_KEYS_IN_1000: u32 = 2;
/// … and this many say that it is active, which it is.
const STATUSES_IN_1000: u32 = 10;
/// Frames that a host can send again: some minutes of what it says.
const BACKLOG: usize = 5_000;
/// How often a host goes away, and for how long.
const AWAY_EVERY: Duration = Duration::from_secs(60);
const AWAY: Duration = Duration::from_secs(15);
/// How often a host goes for good, and another comes.
const REPLACED_EVERY: Duration = Duration::from_secs(180);

/// A network that sends.
pub struct Churning {
    plan: Plan,
    network: Network,
    hosts: Vec<Site>,
    random: StdRng,
    sent: u64,
    made: u64,
    /// The host that is away, and until when.
    away: Option<(usize, Duration)>,
    next_away: Duration,
    next_replaced: Duration,
    /// The place of the host that is replaced next.
    oldest: usize,
}

/// A host with its accounts.
struct Site {
    host: Host,
    accounts: Vec<(Account, u32)>,
}

impl Churning {
    pub async fn start(plan: Plan) -> Churning {
        let network = Network::start(7).await;
        let random = StdRng::seed_from_u64(7);
        let mut churning = Churning {
            plan,
            network,
            hosts: Vec::new(),
            random,
            sent: 0,
            made: 0,
            away: None,
            next_away: AWAY_EVERY,
            next_replaced: REPLACED_EVERY,
            oldest: 0,
        };
        for _ in 0..churning.plan.hosts {
            let site = churning.site().await;
            churning.hosts.push(site);
        }
        churning
    }

    pub fn plc(&self) -> &Plc {
        &self.network.plc
    }

    /// Has a relay read from all hosts.
    pub async fn announce(&self, relay: &Relay) {
        for site in &self.hosts {
            relay.crawl(&site.host).await;
        }
    }

    /// Events so far.
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// Accounts so far.
    pub fn accounts_made(&self) -> u64 {
        self.made
    }

    /// Sends what is due, and has a host go or come when it is time. `elapsed` is the time since the start.
    pub async fn step(&mut self, elapsed: Duration, relay: &Relay) {
        let due = (elapsed.as_secs_f64() * f64::from(self.plan.rate)) as u64;
        while self.sent < due {
            self.send();
        }
        match self.away {
            Some((place, until)) if elapsed >= until => {
                self.hosts[place].host.up().await;
                // As a PDS does when it starts.
                relay.request_crawl(self.hosts[place].host.name()).await;
                self.away = None;
            }
            None if elapsed >= self.next_away => {
                let place = self.random.random_range(0..self.hosts.len());
                self.hosts[place].host.down().await;
                self.away = Some((place, elapsed + AWAY));
                self.next_away = elapsed + AWAY_EVERY;
            }
            None if elapsed >= self.next_replaced => {
                let place = self.oldest;
                self.oldest = (self.oldest + 1) % self.hosts.len();
                self.hosts[place].host.down().await;
                for (account, _) in &self.hosts[place].accounts {
                    self.network.plc.forget(&account.did);
                }
                self.hosts[place] = self.site().await;
                relay.request_crawl(self.hosts[place].host.name()).await;
                self.next_replaced = elapsed + REPLACED_EVERY;
            }
            _ => {}
        }
    }

    async fn site(&mut self) -> Site {
        let host = Host::start().await;
        host.keep(BACKLOG);
        // They are not all as old as each other.
        let accounts = (0..self.plan.accounts_per_host).map(|_| {
            self.made += 1;
            (self.network.account(&host), self.random.random_range(0..LIFETIME))
        });
        let accounts = accounts.collect();
        Site { host, accounts }
    }

    /// Sends one event.
    fn send(&mut self) {
        self.sent += 1;
        let place = self.random.random_range(0..self.hosts.len());
        let Site { host, accounts } = &mut self.hosts[place];
        let number = self.random.random_range(0..accounts.len());
        let (account, age) = &mut accounts[number];
        *age += 1;
        if *age > LIFETIME {
            host.emit(account.status(Some("deleted")));
            host.remove_account(&account.did);
            self.network.plc.forget(&account.did);
            accounts[number] = (self.network.account(host), 0);
            self.made += 1;
            return;
        }
        match self.random.random_range(0..1000) {
            roll if roll < NEW_KEYS_IN_1000 => {
                account.key = Account::new(self.sent, self.made).key;
                self.network.plc.register(account, host.name());
                host.emit(account.identity());
            }
            roll if roll < NEW_KEYS_IN_1000 + STATUSES_IN_1000 => drop(host.emit(account.status(None))),
            _ => drop(host.emit(account.act())),
        }
    }
}
