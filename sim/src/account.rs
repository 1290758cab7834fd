//! A simulated account: its DID, its key, its repository, and what it does.

use data_encoding::BASE32_NOPAD;
use jiff::Timestamp;
use rand::rngs::StdRng;
use rand::seq::IteratorRandom;
use rand::{Rng, SeedableRng};
use relay::protocol::cbor::Writer;
use relay::protocol::cid::Cid;
use relay::protocol::tid::Tid;
use sha2::{Digest, Sha256};

use crate::event::{Commit, Event, Identity, Status, Sync};
use crate::key::SigningKey;
use crate::repo::{Applied, Repo, Write};

/// Where the clocks of all accounts start: 2024-01-01, in microseconds. Revisions of the past are valid, and a run does
/// not depend on when it happens.
const CLOCK_START_US: u64 = 1_704_067_200_000_000;
/// Every thing that an account does takes this long.
const CLOCK_STEP_US: u64 = 1_000;
/// The collection of posts.
pub const POSTS: &str = "app.bsky.feed.post";
const WORDS: [&str; 12] =
    ["a", "relay", "reads", "from", "every", "host", "and", "serves", "what", "it", "has", "verified"];

/// An account. A clone goes its own way from where the original stood, as if the other had never been.
#[derive(Clone)]
pub struct Account {
    /// Its DID.
    pub did: String,
    /// Its handle.
    pub handle: String,
    /// Its signing key.
    pub key: SigningKey,
    repo: Repo,
    /// Revision and object of the last commit.
    last: Option<(Tid, Vec<u8>)>,
    clock_us: u64,
    random: StdRng,
}

impl Account {
    /// The account of this number in the network of this seed. Every fourth signs on P-256.
    pub fn new(seed: u64, number: u64) -> Account {
        let derive = |purpose: &str| -> [u8; 32] {
            Sha256::new()
                .chain_update(seed.to_be_bytes())
                .chain_update(number.to_be_bytes())
                .chain_update(purpose)
                .finalize()
                .into()
        };
        let identifier = BASE32_NOPAD.encode(&derive("did")[..15]).to_ascii_lowercase();
        let key = if number % 4 == 3 { SigningKey::p256(derive("key")) } else { SigningKey::k256(derive("key")) };
        Account {
            did: format!("did:plc:{identifier}"),
            handle: format!("user{number}.example.com"),
            key,
            repo: Repo::default(),
            last: None,
            clock_us: CLOCK_START_US,
            random: StdRng::from_seed(derive("choices")),
        }
    }

    /// Its records.
    pub fn repo(&self) -> &Repo {
        &self.repo
    }

    /// Its last revision, if it has committed anything.
    pub fn rev(&self) -> Option<Tid> {
        self.last.as_ref().map(|(rev, _)| *rev)
    }

    /// Sets its clock, on which the next revision depends: microseconds since 1970.
    pub fn set_clock(&mut self, clock_us: u64) {
        self.clock_us = clock_us;
    }

    /// Writes a post.
    pub fn post(&mut self) -> Commit {
        let path = format!("{POSTS}/{}", self.tick());
        let record = self.record();
        self.commit(vec![Write::Create { path, record }])
    }

    /// Writes something else at a path.
    pub fn update(&mut self, path: &str) -> Commit {
        let record = self.record();
        self.commit(vec![Write::Update { path: path.to_owned(), record }])
    }

    /// Deletes a record.
    pub fn delete(&mut self, path: &str) -> Commit {
        self.commit(vec![Write::Delete { path: path.to_owned() }])
    }

    /// Does something: mostly it writes a post, sometimes it changes or deletes one.
    pub fn act(&mut self) -> Commit {
        let path = self.repo.records().keys().choose(&mut self.random).cloned();
        match (self.random.random_range(0..10), path) {
            (0, Some(path)) => self.update(&path),
            (1, Some(path)) => self.delete(&path),
            _ => self.post(),
        }
    }

    /// Commits a set of writes.
    pub fn commit(&mut self, writes: Vec<Write>) -> Commit {
        let prev_data = self.last.is_some().then(|| self.repo.data());
        let Applied { ops, mut blocks } = self.repo.apply(writes);
        let since = self.rev().map(|rev| rev.to_string());
        let rev = self.tick();
        let object = self.sign_commit(&rev.to_string(), &self.repo.data());
        let root = Cid::of(&object);
        blocks.insert(root, object.clone());
        self.last = Some((rev, object));
        let (did, time, rev) = (self.did.clone(), self.time(), rev.to_string());
        Commit { did, time, rev, since, root, prev_data, ops, blocks, too_big: false, rebase: false }
    }

    /// States where the repository stands.
    ///
    /// # Panics
    ///
    /// When it has not committed anything.
    pub fn sync(&mut self) -> Sync {
        self.tick();
        let (rev, commit) = self.last.clone().expect("an account that has committed something");
        Sync { did: self.did.clone(), time: self.time(), rev: rev.to_string(), commit }
    }

    /// Announces that its identity may have changed.
    pub fn identity(&mut self) -> Identity {
        self.tick();
        Identity { did: self.did.clone(), time: self.time(), handle: Some(self.handle.clone()) }
    }

    /// Announces that it is active, or why it is not.
    pub fn status(&mut self, status: Option<&str>) -> Status {
        self.tick();
        let status = status.map(str::to_owned);
        Status { did: self.did.clone(), time: self.time(), active: status.is_none(), status }
    }

    /// One event of any kind, nearly always a commit.
    pub fn any_event(&mut self) -> Event {
        match self.random.random_range(0..400) {
            0 => self.identity().into(),
            1 => self.status(None).into(),
            _ => self.act().into(),
        }
    }

    /// A commit object, signed.
    pub fn sign_commit(&self, rev: &str, data: &Cid) -> Vec<u8> {
        let signature = self.key.sign(&commit_object(&self.did, rev, data, None));
        commit_object(&self.did, rev, data, Some(&signature))
    }

    fn record(&mut self) -> Vec<u8> {
        let length = self.random.random_range(5..60);
        let words: Vec<&str> = (0..length).map(|_| WORDS[self.random.random_range(0..WORDS.len())]).collect();
        let mut record = Vec::new();
        let mut writer = Writer::new(&mut record);
        writer.map(3).text("text").text(&words.join(" "));
        writer.text("$type").text(POSTS).text("createdAt").text(&self.time());
        record
    }

    /// The clock goes on; its time as a TID.
    fn tick(&mut self) -> Tid {
        self.clock_us += CLOCK_STEP_US;
        Tid::from_parts(self.clock_us, 0)
    }

    fn time(&self) -> String {
        let clock_us = i64::try_from(self.clock_us).expect("a time of these days");
        Timestamp::from_microsecond(clock_us).expect("a time of these days").to_string()
    }
}

fn commit_object(did: &str, rev: &str, data: &Cid, signature: Option<&[u8]>) -> Vec<u8> {
    let mut object = Vec::new();
    let mut writer = Writer::new(&mut object);
    writer.map(if signature.is_some() { 6 } else { 5 }).text("did").text(did).text("rev").text(rev);
    if let Some(signature) = signature {
        writer.text("sig").bytes(signature);
    }
    writer.text("data").cid(data).text("prev").null().text("version").uint(3);
    object
}

#[cfg(test)]
mod tests {
    use super::*;
    use relay::protocol::frame::{self, Frame};
    use relay::protocol::proof::{Legacy, check_commit, check_sync};

    #[test]
    fn everything_that_an_account_does_is_valid() {
        for number in 0..4 {
            let mut account = Account::new(1, number);
            let mut before = None;
            for step in 0..100 {
                let bytes = account.act().encode(step + 1);
                let Ok(Frame::Commit(frame)) = frame::decode(&bytes) else { panic!("step {step}: no #commit") };
                let checked = check_commit(&frame, Legacy::Reject).expect("a valid commit");
                assert_eq!(checked.signature.verify(&account.key.public()), Ok(()), "step {step}");
                assert_eq!((checked.since, checked.prev_data), before.unzip(), "step {step} continues the one before");
                before = Some((checked.rev, checked.data));
            }
            let bytes = account.sync().encode(1000);
            let Ok(Frame::Sync(frame)) = frame::decode(&bytes) else { panic!("no #sync") };
            let checked = check_sync(&frame).expect("a valid sync");
            assert_eq!(Some((checked.rev, checked.data)), before);
        }
    }

    #[test]
    fn the_same_seed_makes_the_same_events() {
        let frames = |seed| {
            let mut account = Account::new(seed, 0);
            (0..20).map(|seq| account.any_event().encode(seq)).collect::<Vec<_>>()
        };
        assert_eq!(frames(1), frames(1));
        assert_ne!(frames(1), frames(2));
    }
}
