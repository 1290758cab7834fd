#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::protocol::car;
use crate::protocol::frame::{Frame, decode};
use crate::protocol::testing::{DID, Repo, TIME};

fn decoded(bytes: &[u8]) -> CommitFrame<'_> {
    let Ok(Frame::Commit(frame)) = decode(bytes) else { panic!("not a #commit") };
    frame
}

/// A repository of some records, and its next commit: a create, an update and a delete.
fn example() -> (Repo, Vec<u8>) {
    let mut repo = Repo::new();
    let paths: Vec<String> = (0..200).map(|number| format!("com.example.post/{number:03}")).collect();
    let creates: Vec<_> = paths.iter().map(|path| (path.as_str(), Some(path.as_bytes()))).collect();
    repo.commit(&creates);
    let message = repo.commit(&[
        ("com.example.post/new", Some(b"\xa1axanew")),
        ("com.example.post/100", Some(b"\xa1axgchanged")),
        ("com.example.post/050", None),
    ]);
    (repo, message)
}

/// The blocks of a CAR without some.
fn without(frame: &CommitFrame<'_>, kept: impl Fn(&Cid, &[u8]) -> bool) -> Vec<u8> {
    let car = Car::parse(frame.blocks).unwrap();
    let mut out = Vec::new();
    car::encode(car.root(), car.iter().filter(|(cid, block)| kept(cid, block)), &mut out);
    out
}

#[test]
fn good_commits_are_proved() {
    let (repo, message) = example();
    let frame = decoded(&message);
    let checked = check_commit(&frame, Legacy::Reject).unwrap();
    assert!(checked.inverted);
    assert_eq!(checked.did.as_str(), DID);
    assert_eq!((checked.rev.to_string().as_str(), checked.commit), (frame.rev, frame.commit));
    assert_eq!(checked.prev_data, frame.prev_data);
    assert_eq!(checked.signature.verify(&repo.key()), Ok(()));
}

#[test]
fn first_commit_follows_the_empty_tree() {
    let mut repo = Repo::new();
    let empty = repo.commit(&[]);
    assert!(check_commit(&decoded(&empty), Legacy::Reject).unwrap().inverted, "without records");
    let mut repo = Repo::new();
    let first = repo.commit(&[("com.example.post/1", Some(b"\xa0"))]);
    let mut frame = decoded(&first);
    assert_eq!((frame.since, frame.prev_data), (None, None));
    for legacy in [Legacy::Reject, Legacy::Accept] {
        assert!(check_commit(&frame, legacy).unwrap().inverted, "with a record, {legacy:?}");
    }
    let next = repo.commit(&[("com.example.post/2", Some(b"\xa0"))]);
    frame = decoded(&next);
    (frame.since, frame.prev_data) = (None, None);
    assert_eq!(check_commit(&frame, Legacy::Reject), Err(Invalid::Inversion), "a later commit as the first");
}

#[test]
fn commits_without_operations_keep_the_tree() {
    let (mut repo, _) = example();
    let message = repo.commit(&[]);
    let mut frame = decoded(&message);
    assert!(check_commit(&frame, Legacy::Reject).unwrap().inverted);
    frame.prev_data = Some(frame.commit);
    assert_eq!(check_commit(&frame, Legacy::Reject), Err(Invalid::Inversion));
}

/// Protocol 23, 24.
#[test]
fn invalid_commits_are_refused() {
    type Change = fn(&mut CommitFrame<'_>);
    let (_, message) = example();
    let cases: [(&str, Change, &str); 27] = [
        ("too_big", |frame| frame.too_big = true, "deprecated flag"),
        ("rebase", |frame| frame.rebase = true, "deprecated flag"),
        ("bad_did", |frame| frame.did = "did:key:z", "protocol 16: method"),
        ("did_mismatch", |frame| frame.did = "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa", "protocol 23: another account"),
        ("did_mismatch", |frame| frame.did = "did:plc:7IZA6DE2DWAP2SBKPAV7C6C6", "protocol 23: written differently"),
        ("bad_rev", |frame| frame.rev = "1", "protocol 20: no TID"),
        ("rev_mismatch", |frame| frame.rev = "3jzfcijpj2z2a", "protocol 23: another revision"),
        ("bad_since", |frame| frame.since = Some(""), "protocol 20: no TID"),
        ("bad_car", |frame| frame.blocks = &frame.blocks[..frame.blocks.len() - 1], "protocol 21: cut"),
        ("bad_car", |frame| frame.blocks = &[], "protocol 21: no blocks"),
        ("root_mismatch", |frame| frame.commit = frame.prev_data.unwrap(), "protocol 21: another commit"),
        ("bad_path", |frame| frame.ops[0].path = "post/1", "protocol 24: no NSID"),
        ("bad_op", |frame| frame.ops[0].prev = frame.ops[1].prev, "protocol 24: create with prev"),
        ("bad_op", |frame| frame.ops[0].cid = None, "protocol 24: create without cid"),
        ("bad_op", |frame| frame.ops[1].cid = None, "protocol 24: update without cid"),
        ("bad_op", |frame| frame.ops[2].cid = frame.ops[0].cid, "protocol 24: delete with cid"),
        ("duplicate_path", |frame| frame.ops[2].path = frame.ops[0].path, "protocol 24: path twice"),
        ("duplicate_path", |frame| frame.ops.push(frame.ops[0]), "protocol 24: operation twice"),
        ("missing_record", |frame| frame.ops[0].cid = frame.prev_data, "protocol 24: record not sent"),
        ("op_mismatch", |frame| frame.ops[0].cid = frame.ops[1].cid, "protocol 24: another record in the tree"),
        ("op_mismatch", |frame| frame.ops[0].path = "com.example.post/newer", "protocol 24: path not in the tree"),
        ("inversion", |frame| frame.ops[2].path = "com.example.post/new0", "protocol 26: delete of nothing"),
        ("inversion", |frame| frame.ops.truncate(2), "protocol 26: operation left out"),
        ("inversion", |frame| frame.ops[1].prev = frame.ops[2].prev, "protocol 26: another prev"),
        ("inversion", |frame| frame.prev_data = Some(frame.commit), "protocol 26: another prevData"),
        ("missing_prev_data", |frame| frame.prev_data = None, "protocol 26"),
        ("missing_prev", |frame| frame.ops[1].prev = None, "protocol 26"),
    ];
    for (reason, change, rule) in cases {
        let mut frame = decoded(&message);
        change(&mut frame);
        let result = check_commit(&frame, Legacy::Reject);
        assert_eq!(result.map_err(|error| error.reason()), Err(reason), "{rule}");
    }
}

/// Protocol 24.
#[test]
fn incomplete_blocks_are_refused() {
    let (_, message) = example();
    let frame = decoded(&message);
    let records: Vec<Cid> = frame.ops.iter().filter_map(|op| op.cid).collect();
    let car = Car::parse(frame.blocks).unwrap();
    for (cid, _) in car.iter() {
        let blocks = without(&frame, |other, _| other != cid);
        let reason = match cid {
            _ if *cid == frame.commit => "missing_commit",
            _ if records.contains(cid) => "missing_record",
            _ => "missing_node",
        };
        let result = check_commit(&CommitFrame { blocks: &blocks, ..frame.clone() }, Legacy::Reject);
        assert_eq!(result.map_err(|error| error.reason()), Err(reason), "without {cid}");
    }
    let blocks = [frame.blocks, &without(&frame, |_, _| true)[without(&frame, |_, _| false).len()..]].concat();
    let result = check_commit(&CommitFrame { blocks: &blocks, ..frame.clone() }, Legacy::Reject);
    assert!(result.is_ok(), "protocol 21: blocks that come twice are tolerated");
}

#[test]
fn legacy_commits_pass_by_policy() {
    type Change = fn(&mut CommitFrame<'_>);
    let (_, message) = example();
    let cases: [(Change, &str); 3] = [
        (|frame| frame.prev_data = None, "without prevData"),
        (|frame| frame.ops[1].prev = None, "update without prev"),
        (|frame| frame.ops[2].prev = None, "delete without prev"),
    ];
    for (change, what) in cases {
        let mut frame = decoded(&message);
        change(&mut frame);
        assert_eq!(check_commit(&frame, Legacy::Accept).map(|checked| checked.inverted), Ok(false), "{what}");
        frame.ops[0].cid = frame.ops[1].cid;
        let result = check_commit(&frame, Legacy::Accept);
        assert_eq!(result, Err(Invalid::Value), "{what}, and another record in the tree");
    }
    let mut frame = decoded(&message);
    frame.prev_data = Some(frame.commit);
    assert_eq!(check_commit(&frame, Legacy::Accept), Err(Invalid::Inversion), "what can be inverted must be right");
}

/// Protocol 28.
#[test]
fn syncs_are_checked_like_the_commit_within() {
    let (repo, message) = example();
    let commit = decoded(&message);
    let frame =
        SyncFrame { seq: 1, did: DID, time: TIME, rev: commit.rev, blocks: commit.blocks, ..SyncFrame::default() };
    let checked = check_sync(&frame).unwrap();
    assert_eq!((checked.commit, checked.signature.verify(&repo.key())), (commit.commit, Ok(())));
    let only_commit = without(&commit, |cid, _| *cid == commit.commit);
    let sync = SyncFrame { blocks: &only_commit, ..frame.clone() };
    assert_eq!(check_sync(&sync), Ok(checked), "the commit is enough");
    let other_rev = SyncFrame { rev: "3jzfcijpj2z2a", ..frame.clone() };
    assert_eq!(check_sync(&other_rev), Err(Invalid::RevMismatch));
    let other_did = SyncFrame { did: "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa", ..frame.clone() };
    assert_eq!(check_sync(&other_did), Err(Invalid::DidMismatch));
    let no_commit = without(&commit, |cid, _| *cid != commit.commit);
    assert_eq!(check_sync(&SyncFrame { blocks: &no_commit, ..frame }), Err(Invalid::MissingCommit));
}

/// Commits of up to eight changes to sixty records.
fn history() -> impl Strategy<Value = Vec<BTreeMap<usize, Option<u8>>>> {
    let commit = prop::collection::btree_map(0..60usize, prop::option::weighted(0.7, any::<u8>()), 0..8);
    prop::collection::vec(commit, 1..12)
}

proptest! {
    /// Protocol 26: whatever a repository does, undoing it leads back to where it was.
    #[test]
    fn any_history_is_proved(history in history()) {
        let mut repo = Repo::new();
        for commit in history {
            let changes: Vec<(String, Option<[u8; 2]>)> =
                commit.iter().map(|(number, record)| (format!("com.example.post/{number}"), record.map(|byte| [0x18, byte]))).collect();
            let changes: Vec<_> = changes
                .iter()
                .filter(|(path, record)| record.is_some() || repo.has(path))
                .map(|(path, record)| (path.as_str(), record.as_ref().map(|record| &record[..])))
                .collect();
            let message = repo.commit(&changes);
            let checked = check_commit(&decoded(&message), Legacy::Reject);
            prop_assert_eq!(checked.map(|checked| checked.inverted), Ok(true));
        }
    }

    /// Protocol 21: each bit of the blocks counts.
    #[test]
    fn any_changed_bit_of_the_blocks_is_refused(bit in 0..8usize, place in any::<prop::sample::Index>()) {
        let (_, message) = example();
        let frame = decoded(&message);
        let mut blocks = frame.blocks.to_vec();
        let place = place.index(blocks.len());
        blocks[place] ^= 1 << bit;
        let result = check_commit(&CommitFrame { blocks: &blocks, ..frame }, Legacy::Accept);
        prop_assert!(result.is_err(), "bit {} of byte {}", bit, place);
    }

    #[test]
    fn changed_messages_are_checked_without_panic(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let (_, mut message) = example();
        for (place, byte) in changes {
            let place = place.index(message.len());
            message[place] = byte;
        }
        if let Ok(Frame::Commit(frame)) = decode(&message) {
            let _ = check_commit(&frame, Legacy::Accept);
        }
    }
}
