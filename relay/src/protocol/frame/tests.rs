#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;
use crate::protocol::cbor::{Problem, Writer};
use crate::protocol::testing::{DID, TIME};

fn commit_frame<'a>(ops: Vec<RepoOp<'a>>, blocks: &'a [u8]) -> CommitFrame<'a> {
    CommitFrame {
        seq: 7,
        did: DID,
        time: TIME,
        rev: "3jzfcijpj2z2a",
        since: Some("3jzfcijpj2z22"),
        commit: Cid::of(b"commit"),
        prev_data: Some(Cid::of(b"data")),
        ops,
        blocks,
        ..CommitFrame::default()
    }
}

fn delete(path: &str) -> RepoOp<'_> {
    RepoOp { action: Action::Delete, path, cid: None, prev: Some(Cid::of(b"record")) }
}

/// One message of each kind that has a seq.
fn events() -> [Vec<u8>; 4] {
    let mut out: [Vec<u8>; 4] = Default::default();
    let [commit, sync, identity, account] = &mut out;
    encode_commit(&commit_frame(vec![delete("com.example.post/1")], b"blocks"), commit);
    encode_sync(&SyncFrame { seq: 7, did: DID, time: TIME, rev: "3jzfcijpj2z2a", ..SyncFrame::default() }, sync);
    encode_identity(&IdentityFrame { seq: 7, did: DID, time: TIME, ..IdentityFrame::default() }, identity);
    encode_account(&AccountFrame { seq: 7, did: DID, time: TIME, active: true, ..AccountFrame::default() }, account);
    out
}

/// A message of header and payload, each a map of these pairs.
fn message(header: &[(&str, &[u8])], payload: &[(&str, &[u8])]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = Writer::new(&mut bytes);
    for pairs in [header, payload] {
        writer.map(pairs.len());
        for (key, value) in pairs {
            writer.text(key).raw(value);
        }
    }
    bytes
}

fn text(value: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    Writer::new(&mut bytes).text(value);
    bytes
}

/// Sets the parts of a decoded event that depend on its seq.
fn with_seq_fields(frame: Frame<'_>, to: u64) -> Frame<'_> {
    let mut frame = frame;
    let (seq, span) = match &mut frame {
        Frame::Commit(frame) => (&mut frame.seq, &mut frame.seq_span),
        Frame::Sync(frame) => (&mut frame.seq, &mut frame.seq_span),
        Frame::Identity(frame) => (&mut frame.seq, &mut frame.seq_span),
        Frame::Account(frame) => (&mut frame.seq, &mut frame.seq_span),
        _ => return frame,
    };
    (*seq, *span) = (to, 0..0);
    frame
}

fn seq_span(frame: &Frame<'_>) -> Range<usize> {
    match frame {
        Frame::Commit(frame) => frame.seq_span.clone(),
        Frame::Sync(frame) => frame.seq_span.clone(),
        Frame::Identity(frame) => frame.seq_span.clone(),
        Frame::Account(frame) => frame.seq_span.clone(),
        _ => 0..0,
    }
}

/// Protocol 2.
#[test]
fn events_are_decoded_as_they_were_encoded() {
    let ops = vec![
        delete("com.example.post/1"),
        RepoOp { action: Action::Create, path: "com.example.post/2", cid: Some(Cid::of(b"a")), prev: None },
        RepoOp { action: Action::Update, path: "a/b", cid: Some(Cid::of(b"b")), prev: Some(Cid::of(b"c")) },
    ];
    let mut frame = commit_frame(ops, b"blocks");
    for (since, prev_data) in [(frame.since, frame.prev_data), (None, None)] {
        let mut bytes = Vec::new();
        (frame.since, frame.prev_data) = (since, prev_data);
        frame.seq_span = encode_commit(&frame, &mut bytes);
        assert_eq!(decode(&bytes), Ok(Frame::Commit(frame.clone())));
        assert_eq!(peek(&bytes), Ok(Peek::Event { kind: Kind::Commit, seq: 7, did: DID }));
    }
    let mut bytes = Vec::new();
    let mut frame = AccountFrame {
        seq: 1,
        did: DID,
        time: TIME,
        active: false,
        status: Some("deleted"),
        ..AccountFrame::default()
    };
    frame.seq_span = encode_account(&frame, &mut bytes);
    assert_eq!(decode(&bytes), Ok(Frame::Account(frame)));
    let mut bytes = Vec::new();
    let mut frame = IdentityFrame { seq: 1, did: DID, time: TIME, handle: Some("a.test"), ..IdentityFrame::default() };
    frame.seq_span = encode_identity(&frame, &mut bytes);
    assert_eq!(decode(&bytes), Ok(Frame::Identity(frame)));
    for (bytes, kind) in events().iter().zip([Kind::Commit, Kind::Sync, Kind::Identity, Kind::Account]) {
        assert_eq!(peek(bytes), Ok(Peek::Event { kind, seq: 7, did: DID }), "{kind:?}");
        assert_eq!(time(bytes), Some(TIME), "{kind:?}");
    }
}

/// Protocol 3.
#[test]
fn messages_about_the_stream_have_their_documented_bytes() {
    let mut info = Vec::new();
    encode_info("OutdatedCursor", None, &mut info);
    assert_eq!(info, b"\xa2at\x65#infobop\x01\xa1dname\x6eOutdatedCursor");
    assert_eq!(decode(&info), Ok(Frame::Info { name: "OutdatedCursor", message: None }));
    let mut error = Vec::new();
    encode_error("FutureCursor", Some("!"), &mut error);
    assert_eq!(error, b"\xa1bop\x20\xa2eerror\x6cFutureCursorgmessage\x61!");
    assert_eq!(decode(&error), Ok(Frame::Error { error: "FutureCursor", message: Some("!") }));
    assert_eq!(peek(&error), Ok(Peek::Other));
    assert_eq!(time(&error), None);
}

/// Protocol 11.
#[test]
fn unknown_kinds_are_not_errors() {
    let op = [("op", &b"\x01"[..])];
    for (header, what) in [
        (message(&[("t", &text("#handle")), op[0]], &[]), "unknown t"),
        (message(&[("t", &text("#commit")), ("op", b"\x02")], &[]), "unknown op"),
    ] {
        assert_eq!(decode(&header), Ok(Frame::Unknown), "protocol 11: {what}");
        assert_eq!(peek(&header), Ok(Peek::Other), "protocol 11: {what}");
    }
}

/// Protocol 2.
#[test]
fn malformed_messages_are_refused() {
    let (did, time) = (text(DID), text(TIME));
    let (did, time) = (("did", &did[..]), ("time", &time[..]));
    let identity = |payload: &[(&str, &[u8])]| message(&[("t", &text("#identity")), ("op", b"\x01")], payload);
    let cases = [
        (vec![], "bad_cbor", "nothing"),
        (message(&[("t", &text("#identity"))], &[]), "missing_field", "header without op"),
        (message(&[("op", b"\x01")], &[]), "missing_field", "header without t"),
        (identity(&[did, time]), "missing_field", "no seq"),
        (identity(&[("seq", b"\x01"), time]), "missing_field", "no did"),
        (identity(&[did, ("seq", b"\x01")]), "missing_field", "no time"),
        (identity(&[did, ("seq", b"\x01"), ("time", b"\x69yesterday")]), "bad_time", "time that is no datetime"),
        (identity(&[did, ("seq", b"\x00"), time]), "bad_seq", "seq 0"),
        (identity(&[did, ("seq", b"\x20"), time]), "bad_cbor", "seq -1"),
        (identity(&[did, ("seq", b"\x1b\x00\x20\0\0\0\0\0\0"), time]), "bad_seq", "seq 2^53"),
        (identity(&[did, ("seq", b"\x18\x01"), time]), "bad_cbor", "seq not in its shortest form"),
        (identity(&[("seq", b"\x01"), did, time]), "bad_cbor", "keys out of order"),
        (identity(&[did, did, ("seq", b"\x01"), time]), "bad_cbor", "key twice"),
        (identity(&[did, ("seq", b"\x01"), ("zzz", b"\xfb\0\0\0\0\0\0\0\0"), time]), "bad_cbor", "float"),
        ([identity(&[did, ("seq", b"\x01"), time]), vec![0]].concat(), "bad_cbor", "bytes after the payload"),
        (vec![0; FRAME_BYTES_MAX + 1], "frame_too_large", "more than 5 MB"),
    ];
    for (bytes, reason, what) in cases {
        assert_eq!(decode(&bytes).map_err(|error| error.reason()), Err(reason), "{what}");
    }
    assert!(decode(&identity(&[did, ("seq", b"\x1b\0\x1f\xff\xff\xff\xff\xff\xff"), time])).is_ok(), "seq 2^53-1");
    assert!(decode(&identity(&[did, ("seq", b"\x01"), time, ("handle", b"\xf6")])).is_ok(), "null for nothing");
}

/// Protocol 8.
#[test]
fn every_field_of_a_commit_is_required() {
    let mut bytes = Vec::new();
    encode_commit(&commit_frame(vec![delete("com.example.post/1")], b"blocks"), &mut bytes);
    let names = ["seq", "repo", "time", "rev", "since", "commit", "ops", "blocks", "tooBig", "rebase", "blobs"];
    for name in names {
        let mut without = bytes.clone();
        let key = text(name);
        let place = without.windows(key.len()).position(|window| window == key).unwrap();
        // Another last letter, so that the order of the keys stays.
        without[place + key.len() - 1] += 1;
        assert_eq!(decode(&without), Err(FrameError::MissingField(name)));
    }
}

/// Protocol 21.
#[test]
fn commits_are_bounded() {
    let encoded = |ops: usize, blocks: usize| {
        let mut bytes = Vec::new();
        encode_commit(&commit_frame(vec![delete("com.example.post/1"); ops], &vec![0; blocks]), &mut bytes);
        bytes
    };
    assert!(decode(&encoded(OPS_MAX, BLOCKS_BYTES_MAX)).is_ok());
    assert_eq!(decode(&encoded(OPS_MAX + 1, 0)), Err(FrameError::TooManyOps { ops: 201 }));
    let bytes = BLOCKS_BYTES_MAX + 1;
    assert_eq!(decode(&encoded(0, bytes)), Err(FrameError::BlocksTooLarge { bytes }));
    let claim = message(&[("t", &text("#commit")), ("op", b"\x01")], &[("ops", b"\x9b\x10\0\0\0\0\0\0\0")]);
    assert_eq!(decode(&claim), Err(FrameError::TooManyOps { ops: 1 << 60 }), "claim of 2^60 operations");
}

/// Protocol 21.
#[test]
fn record_links_must_be_blessed() {
    let mut bytes = Vec::new();
    encode_commit(&commit_frame(vec![delete("com.example.post/1")], b""), &mut bytes);
    let codec = bytes.windows(2).position(|window| window == [0x01, 0x71]).unwrap() + 1;
    bytes[codec] = 0x55;
    let error = decode(&bytes).unwrap_err();
    assert!(matches!(error, FrameError::Cbor(error) if error.problem == Problem::Link), "raw codec: {error}");
}

/// Protocol 8.
#[test]
fn header_is_rewritten_and_unknown_fields_are_kept() {
    let (did, time) = (text(DID), text(TIME));
    let payload: &[(&str, &[u8])] =
        &[("did", &did), ("new", b"\x83\x01\x20\xf6"), ("seq", b"\x01"), ("time", &time), ("also new", b"\xa0")];
    let tag = text("#identity");
    let odd = message(&[("op", b"\x01"), ("t", &tag), ("x", b"\xf5")], payload);
    let Ok(Frame::Identity(frame)) = decode(&odd) else { panic!("header keys may come in any order") };
    let mut out = b"before".to_vec();
    with_seq(&odd, frame.seq_span, 1 << 40, &mut out);
    let mut expected: Vec<(&str, &[u8])> = payload.to_vec();
    expected[2].1 = b"\x1b\0\0\x01\0\0\0\0\0";
    let canonical = message(&[("t", &tag), ("op", b"\x01")], &expected);
    assert_eq!(out, [b"before".to_vec(), canonical].concat(), "protocol 8");
}

proptest! {
    /// Protocol 8: a new seq changes the seq, and nothing else.
    #[test]
    fn splicing_a_seq_changes_nothing_else(event in 0..4usize, first in 1..SEQ_END, second in 1..SEQ_END) {
        let original = &events()[event];
        let mut spliced = original.clone();
        for seq in [first, second] {
            let span = seq_span(&decode(&spliced).unwrap());
            let mut out = Vec::new();
            with_seq(&spliced, span, seq, &mut out);
            spliced = out;
            let (before, after) = (decode(original).unwrap(), decode(&spliced).unwrap());
            prop_assert_eq!(with_seq_fields(after, 0), with_seq_fields(before, 0));
            let Ok(Peek::Event { seq: peeked, .. }) = peek(&spliced) else { panic!("event") };
            prop_assert_eq!(peeked, seq);
        }
    }

    #[test]
    fn changed_messages_are_read_without_panic(
        event in 0..4usize,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = events()[event].clone();
        for (place, byte) in changes {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        let whole = decode(&bytes).is_ok();
        prop_assert!(!whole || peek(&bytes).is_ok(), "peek takes what decode takes");
        let _ = decode(&bytes[..cut.index(bytes.len())]);
    }
}
