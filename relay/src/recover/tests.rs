//! A start after a crash between any two writes: the log first, then the directory, then the rows.

#![allow(clippy::unwrap_used)]

use tempfile::TempDir;

use super::*;
use crate::account::Status;
use crate::collections::{Edit, Hidden};
use crate::log::{AccountTag, Header, Kind, Log, Options};
use crate::protocol::frame::{AccountFrame, encode_account};
use crate::protocol::nsid::Nsid;
use crate::protocol::testing::{Repo, TIME};
use crate::store::Sizes;

const HOST: u32 = 1;
const OTHER_HOST: u32 = 2;
const ALICE: &str = "did:plc:7iza6de2dwap2sbkpav7c6c6";
const BOB: &str = "did:plc:ewvi7nxzyoun6zhxrhs64oiz";
const CAROL: &str = "did:web:carol.example.com";
const ALL: [&str; 3] = [ALICE, BOB, CAROL];
const LIKES: &str = "com.example.like";
const POSTS: &str = "com.example.post";

fn did(text: &str) -> Did {
    Did::parse(text).unwrap()
}

fn collection(name: &str) -> Nsid {
    Nsid::parse(name).unwrap()
}

/// One event of the log.
struct Logged {
    did: &'static str,
    host: u32,
    cause: Cause,
    kind: Kind,
    frame: Vec<u8>,
}

/// Events in the order of the log, their seqs from 1 on.
#[derive(Default)]
struct Story {
    repos: HashMap<&'static str, Repo>,
    events: Vec<Logged>,
}

impl Story {
    fn add(&mut self, did: &'static str, cause: Cause, kind: Kind, frame: Vec<u8>) {
        let host = if self.events.len() < 8 { HOST } else { OTHER_HOST };
        self.events.push(Logged { did, host, cause, kind, frame });
    }

    fn host_cause(&self) -> Cause {
        Cause::Host(self.events.len() as u64 + 1)
    }

    fn commit(&mut self, did: &'static str, changes: &[(&str, bool)]) {
        let repo = self.repos.entry(did).or_insert_with(|| Repo::of(did));
        let changes: Vec<_> =
            changes.iter().map(|(path, is_there)| (*path, is_there.then_some(&b"\xa0"[..]))).collect();
        let frame = repo.commit(&changes);
        self.add(did, self.host_cause(), Kind::Commit, frame);
    }

    fn account(&mut self, did: &'static str, cause: Cause, status: Option<&str>) {
        let event =
            AccountFrame { seq: 1, did, time: TIME, active: status.is_none(), status, ..AccountFrame::default() };
        let mut frame = Vec::new();
        encode_account(&event, &mut frame);
        self.add(did, cause, Kind::Account, frame);
    }

    fn status(&mut self, did: &'static str, status: Option<&str>) {
        self.account(did, self.host_cause(), status);
    }

    /// Collections come and go, accounts are hidden, shown, taken down, deleted and made anew, and move.
    fn example() -> Story {
        let mut story = Story::default();
        story.commit(ALICE, &[("com.example.post/1", true)]);
        story.commit(BOB, &[("com.example.post/1", true), ("com.example.like/1", true)]);
        story.status(ALICE, Some("deactivated"));
        story.commit(CAROL, &[("com.example.like/1", true)]);
        story.commit(BOB, &[("com.example.post/1", false)]);
        story.status(ALICE, None);
        story.account(CAROL, Cause::TakeDown, Some("takendown"));
        story.commit(ALICE, &[("com.example.like/1", true), ("com.example.post/1", false)]);
        story.status(BOB, Some("deleted"));
        story.account(CAROL, Cause::Free, None);
        story.status(BOB, None);
        story.commit(BOB, &[("com.example.post/2", true)]);
        story.commit(CAROL, &[("com.example.like/1", false)]);
        story.status(ALICE, Some("suspended"));
        story
    }

    fn last_seq(&self) -> u64 {
        self.events.len() as u64
    }

    /// The first events.
    fn up_to(&self, seq: u64) -> impl Iterator<Item = &Logged> {
        self.events.iter().take(seq as usize)
    }
}

/// A log with a story, and the store as a crash left it.
struct World {
    store: Store,
    accounts: Accounts,
    directory: Directory,
    log: Reader,
    _log: Log,
    _folder: TempDir,
}

impl World {
    /// The rows include the events up to `rows_at`; the directory is new.
    fn new(story: &Story, rows_at: u64) -> World {
        let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let store =
            Store::open(&folder.path().join("store"), Sizes { block_cache: 1 << 20, memtables: 1 << 20 }).unwrap();
        let (mut log, reader) = Log::open(Options::new(folder.path().join("log"))).unwrap();
        for (place, event) in story.events.iter().enumerate() {
            let header = Header {
                seq: place as u64 + 1,
                time_ms: 0,
                host: event.host,
                upstream_seq: event.cause.upstream_seq(),
                kind: event.kind,
                account: AccountTag::of(event.did),
            };
            log.append(&header, &[&ws::frame_header(event.frame.len()), event.frame.as_slice()].concat()).unwrap();
        }
        log.commit().unwrap();
        let accounts = Accounts::new(store.clone());
        write_rows(&store, &accounts, story, rows_at);
        let directory = Directory::open(store.clone(), 1 << 16).unwrap();
        World { accounts, directory, store, log: reader, _log: log, _folder: folder }
    }

    /// The directory as it was written while events came, up to one of them.
    fn write_directory(&self, story: &Story, seq: u64) {
        let mut known: HashMap<&str, Account> = HashMap::new();
        let mut group = self.directory.group();
        for event in story.up_to(seq) {
            let frame = frame::decode(&event.frame).unwrap();
            let before = known.get(event.did).copied();
            let after = account::after(before, event.host, event.cause, &frame).unwrap();
            group.event(&did(event.did), before.as_ref(), &after, &touches(event.cause, &frame)).unwrap();
            known.insert(event.did, after);
        }
        group.write(seq).unwrap();
    }

    fn recover(&self) -> Recovered {
        recover(&self.store, &self.accounts, &self.directory, &self.log).unwrap()
    }

    /// Everything that the directory answers.
    fn answers(&self) -> String {
        let page = |name| self.directory.page(&collection(name), None, 100).unwrap();
        let accounts = ALL.map(|account| self.directory.account(&did(account)).unwrap());
        let counts: Vec<_> = self.directory.counts().into_iter().filter(|(_, count)| *count > 0).collect();
        format!("{LIKES} {:?}, {POSTS} {:?}, {accounts:?}, {counts:?}", page(LIKES), page(POSTS))
    }

    fn rows(&self) -> Vec<Option<Account>> {
        ALL.iter().map(|did| self.accounts.get(did).unwrap()).collect()
    }
}

/// The account rows as they were written while events came, up to one of them.
fn write_rows(store: &Store, accounts: &Accounts, story: &Story, seq: u64) {
    let mut rows = WriteBatch::default();
    let mut known: HashMap<&str, Account> = HashMap::new();
    for event in story.up_to(seq) {
        let before = known.get(event.did).copied();
        let after = account::after(before, event.host, event.cause, &frame::decode(&event.frame).unwrap()).unwrap();
        accounts.put(&mut rows, &did(event.did), before.as_ref(), &after);
        known.insert(event.did, after);
    }
    store.put_applied_accounts(&mut rows, seq);
    store.put_applied_hosts(&mut rows, seq);
    store.write(&rows).unwrap();
}

#[test]
fn a_start_leads_to_the_same_directory_wherever_a_crash_came() {
    let story = Story::example();
    let undisturbed = World::new(&story, story.last_seq());
    undisturbed.write_directory(&story, story.last_seq());
    assert_eq!(undisturbed.directory.page(&collection(POSTS), None, 10).unwrap(), [did(BOB)]);
    assert_eq!(undisturbed.directory.page(&collection(LIKES), None, 10).unwrap(), [], "hidden, deleted, removed");

    // A directory that is behind the rows is one that a disk did not keep, or that came from a backup.
    for directory_at in 1..=story.last_seq() {
        for rows_at in 0..=story.last_seq() {
            let world = World::new(&story, rows_at);
            world.write_directory(&story, directory_at);
            for start in ["first", "second"] {
                world.recover();
                let place = format!("{start} start, directory at {directory_at}, rows at {rows_at}");
                assert_eq!(world.answers(), undisturbed.answers(), "{place}");
                assert_eq!(world.rows(), undisturbed.rows(), "{place}");
            }
        }
    }
}

/// It was made from the rows, and the log need not go back to when it would have begun.
#[test]
fn a_new_directory_goes_on_from_the_rows() {
    let story = Story::example();
    for rows_at in 0..=story.last_seq() {
        let world = World::new(&story, rows_at);
        world.recover();
        let edits = ALL.map(|account| Edit::Add(did(account), collection("com.example.imported")));
        world.directory.apply(&edits, |_| None).unwrap();
        let shown = world.directory.page(&collection("com.example.imported"), None, 10).unwrap();
        let hidden = ALL.map(|account| world.directory.account(&did(account)).unwrap().1);
        assert_eq!((shown.len(), hidden), (2, [Some(Hidden::Inactive), None, None]), "rows at {rows_at}");
        let is_read = story.last_seq() - rows_at >= 3;
        let posts = world.directory.page(&collection(POSTS), None, 10).unwrap();
        assert_eq!(posts, if is_read { vec![did(BOB)] } else { Vec::new() }, "rows at {rows_at}");
    }
}

/// What a directory includes is not taken again: it may have learned better meanwhile.
#[test]
fn a_start_does_not_bring_back_what_was_removed_since() {
    let mut story = Story::default();
    story.commit(ALICE, &[("com.example.post/1", true)]);
    story.commit(BOB, &[("com.example.post/1", true)]);
    let world = World::new(&story, 0);
    world.write_directory(&story, 1);
    let gone = Edit::Replace { did: did(ALICE), collections: Vec::new(), rev: None };
    world.directory.apply(&[gone], |_| None).unwrap();
    assert_eq!(world.recover().replayed, 2, "the rows were not written");
    assert_eq!(world.directory.page(&collection(POSTS), None, 10).unwrap(), [did(BOB)]);
    assert_eq!(world.accounts.get(ALICE).unwrap().map(|account| account.status), Some(Status::Active));
}
