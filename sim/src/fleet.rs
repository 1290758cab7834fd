//! Many hosts in one process, which send what was made before ([`Traffic`]): at once, or at a rate.

use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::door::{Request, name_of, request, upgrade};
use crate::plc::Plc;
use crate::server::free_address_on;
use crate::traffic::{Script, Traffic};
use crate::wire::{CLOSE, FIN, Head, PING, PONG};

/// What is written at once.
const WRITE_BYTES: usize = 64 << 10;
/// How long the slowest host may take to be connected.
const PATIENCE: Duration = Duration::from_secs(120);

/// Hosts that run. They end with it.
pub struct Fleet {
    /// The directory of their accounts.
    pub plc: Plc,
    traffic: Arc<Traffic>,
    hosts: Vec<Arc<Member>>,
    /// Events that may be sent so far.
    released: usize,
    _tasks: JoinSet<()>,
}

/// One host.
struct Member {
    name: String,
    script: Arc<Script>,
    /// How many of its messages it may send.
    released: watch::Sender<usize>,
    /// Streams that are open.
    streams: watch::Sender<usize>,
    /// Since when the times below count.
    epoch: Instant,
    /// When each message was last sent, in nanoseconds.
    sent_at: Vec<AtomicU64>,
}

impl Fleet {
    /// Starts the hosts of some traffic, with a directory of its accounts. Nothing is sent yet.
    pub async fn start(traffic: &Arc<Traffic>) -> Fleet {
        Fleet::start_on(Ipv4Addr::LOCALHOST, traffic).await
    }

    /// The same on another interface of this machine.
    pub async fn start_on(ip: Ipv4Addr, traffic: &Arc<Traffic>) -> Fleet {
        let plc = Plc::start_on(ip).await;
        let mut tasks = JoinSet::new();
        let mut hosts = Vec::new();
        let epoch = Instant::now();
        for script in traffic.scripts() {
            let address = free_address_on(ip);
            let member = Arc::new(Member {
                name: name_of(address),
                script: Arc::clone(script),
                released: watch::Sender::default(),
                streams: watch::Sender::default(),
                epoch,
                sent_at: (0..script.len()).map(|_| AtomicU64::new(0)).collect(),
            });
            let listener = TcpListener::bind(address).await.expect("a port that is free");
            tasks.spawn(listen(listener, Arc::clone(&member)));
            hosts.push(member);
        }
        for (host, account) in traffic.accounts() {
            plc.register(account, &hosts[host].name);
        }
        Fleet { plc, traffic: Arc::clone(traffic), hosts, released: 0, _tasks: tasks }
    }

    /// Names of the hosts, as requestCrawl takes them.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.hosts.iter().map(|host| host.name.as_str())
    }

    /// Waits until every host is read from.
    ///
    /// # Panics
    ///
    /// When that takes minutes.
    pub async fn connected(&self) {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        for host in &self.hosts {
            let mut streams = host.streams.subscribe();
            let connected = tokio::time::timeout_at(deadline, streams.wait_for(|streams| *streams > 0)).await;
            assert!(connected.is_ok(), "nobody reads from {} within {PATIENCE:?}", host.name);
        }
    }

    /// Streams that are open.
    pub fn streams(&self) -> usize {
        self.hosts.iter().map(|host| *host.streams.borrow()).sum()
    }

    /// Events that may be sent so far.
    pub fn released(&self) -> usize {
        self.released
    }

    /// Events that are still to be sent.
    pub fn left(&self) -> usize {
        self.traffic.events().len() - self.released
    }

    /// Lets the next events go, at once.
    pub fn release(&mut self, count: usize) {
        let mut more = vec![0; self.hosts.len()];
        for said in &self.traffic.events()[self.released..self.released + count] {
            more[said.host] += 1;
        }
        for (host, more) in self.hosts.iter().zip(more).filter(|(_, more)| *more > 0) {
            host.released.send_modify(|released| *released += more);
        }
        self.released += count;
    }

    /// Lets the next events go, one after the other at a rate.
    pub async fn release_at(&mut self, per_second: f64, count: usize) {
        let start = tokio::time::Instant::now();
        for number in 0..count {
            tokio::time::sleep_until(start + Duration::from_secs_f64(number as f64 / per_second)).await;
            self.release(1);
        }
    }

    /// When an event was last sent.
    pub fn sent_at(&self, event: usize) -> Instant {
        let said = self.traffic.events()[event];
        let host = &self.hosts[said.host];
        host.epoch + Duration::from_nanos(host.sent_at[said.place].load(Ordering::Relaxed))
    }
}

async fn listen(listener: TcpListener, member: Arc<Member>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((tcp, _)) = accepted else { continue };
                let member = Arc::clone(&member);
                // A connection ends when either side goes.
                connections.spawn(async move { drop(answer(&member, tcp).await) });
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Answers one request.
async fn answer(member: &Member, mut tcp: TcpStream) -> io::Result<()> {
    let Request::Subscription { cursor, accept } = request(&mut tcp, &member.name).await? else { return Ok(()) };
    upgrade(&mut tcp, &accept).await?;
    let from = cursor.map_or(*member.released.borrow(), |cursor| cursor as usize);
    member.streams.send_modify(|streams| *streams += 1);
    let ended = stream(member, &mut tcp, from.min(member.script.len())).await;
    member.streams.send_modify(|streams| *streams -= 1);
    ended
}

/// Sends messages from a place on as they are released, until the connection ends.
async fn stream(member: &Member, tcp: &mut TcpStream, mut place: usize) -> io::Result<()> {
    let mut released = member.released.subscribe();
    let mut heard = Vec::new();
    loop {
        let until = *released.borrow_and_update();
        if place < until {
            let end = member.script.within(place, until, WRITE_BYTES);
            let now = member.epoch.elapsed().as_nanos() as u64;
            member.sent_at[place..end].iter().for_each(|sent_at| sent_at.store(now, Ordering::Relaxed));
            tcp.write_all(member.script.between(place, end)).await?;
            place = end;
        } else {
            tokio::select! {
                // The sender lives as long as the host.
                _ = released.changed() => continue,
                readable = tcp.readable() => readable?,
            }
        }
        match tcp.try_read_buf(&mut heard) {
            Ok(0) => return Ok(()),
            Ok(_) if !respond(tcp, &mut heard).await? => return Ok(()),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}

/// Answers pings; says whether the other side goes on.
async fn respond(tcp: &mut TcpStream, heard: &mut Vec<u8>) -> io::Result<bool> {
    while let Some(head) = Head::read(heard).filter(|head| head.whole() <= heard.len()) {
        let mask = head.mask.unwrap_or_default();
        let masked = heard.drain(..head.whole()).skip(head.head);
        let payload: Vec<u8> = masked.zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect();
        match head.opcode {
            PING => tcp.write_all(&[&[FIN | PONG, payload.len() as u8], &payload[..]].concat()).await?,
            CLOSE => return Ok(false),
            _ => {}
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reader::Reader;
    use crate::traffic::Plan;

    async fn subscribe(fleet: &Fleet, host: usize, cursor: Option<u64>) -> Reader {
        let port = fleet.names().nth(host).and_then(|name| name.strip_prefix("localhost:")).expect("a port");
        let address = format!("127.0.0.1:{port}").parse().expect("an address");
        Reader::connect(address, cursor).await.expect("a host that listens")
    }

    async fn read(mut reader: Reader, traffic: &Traffic, count: usize) -> Vec<usize> {
        let mut events = Vec::new();
        while events.len() < count {
            reader.read(|frame| events.extend(traffic.find(frame))).await.expect("an open stream");
        }
        events
    }

    #[tokio::test]
    async fn hosts_send_what_is_released_behind_the_cursor() {
        let plan = Plan { seed: 1, hosts: 2, accounts_per_host: 2, records: 100, events: 50, bad: Vec::new() };
        let traffic = Arc::new(Traffic::make(&plan));
        let mut fleet = Fleet::start(&traffic).await;
        let live = [subscribe(&fleet, 0, None).await, subscribe(&fleet, 1, None).await];
        fleet.connected().await;
        let before = Instant::now();
        fleet.release(30);
        for (host, live) in live.into_iter().enumerate() {
            let released: Vec<usize> = (0..30).filter(|event| traffic.events()[*event].host == host).collect();
            assert_eq!(read(live, &traffic, released.len()).await, released, "host {host}, live");
            assert!(released.iter().all(|event| fleet.sent_at(*event) >= before), "host {host}, after the release");
            let again = subscribe(&fleet, host, Some(2)).await;
            assert_eq!(read(again, &traffic, released.len() - 2).await, released[2..], "host {host}, behind 2");
        }
    }
}
