//! Encodings and proofs.

use relay::protocol::car::{self, Car};
use relay::protocol::cbor::{self, CborError, Reader, Writer};
use relay::protocol::cid::Cid;
use relay::protocol::commit::Commit;
use relay::protocol::frame::{Action, CommitFrame, Frame, Peek, RepoOp, SEQ_END, decode, peek, with_seq};
use relay::protocol::proof::{Legacy, check_commit as check, check_sync};

/// Between the parts of an input that is several blocks.
const BLOCK_SEPARATOR: u8 = 0xff;
const NEW_SEQ: u64 = SEQ_END - 1;
const PATHS: [&str; 3] = ["com.example.record/a", "com.example.record/b", "com.example.record/c"];

/// Any bytes as a message. An event stays what it was when it gets another seq, and is judged all the same.
pub fn frame(data: &[u8]) {
    let peeked = peek(data);
    let Ok(frame) = decode(data) else { return };
    let seq_span = match &frame {
        Frame::Commit(frame) => frame.seq_span.clone(),
        Frame::Sync(frame) => frame.seq_span.clone(),
        Frame::Identity(frame) => frame.seq_span.clone(),
        Frame::Account(frame) => frame.seq_span.clone(),
        Frame::Info { .. } | Frame::Error { .. } | Frame::Unknown => return,
    };
    let Ok(Peek::Event { kind, did, .. }) = peeked else { panic!("decode takes what peek does not") };
    let mut spliced = Vec::new();
    with_seq(data, seq_span, NEW_SEQ, &mut spliced);
    let again = decode(&spliced).expect("an event stays an event");
    assert_eq!(peek(&spliced), Ok(Peek::Event { kind, seq: NEW_SEQ, did }));
    match (&frame, &again) {
        (Frame::Commit(frame), Frame::Commit(again)) => {
            for legacy in [Legacy::Reject, Legacy::Accept] {
                assert_eq!(check(frame, legacy).err(), check(again, legacy).err());
            }
            if check(frame, Legacy::Reject).is_ok() {
                assert!(check(frame, Legacy::Accept).is_ok(), "the lenient policy refuses what the strict one takes");
            }
        }
        (Frame::Sync(frame), Frame::Sync(again)) => assert_eq!(check_sync(frame).err(), check_sync(again).err()),
        _ => {}
    }
}

/// Any bytes as a CAR; one that is taken can be written and read again.
pub fn car(data: &[u8]) {
    let Ok(car) = Car::parse(data) else { return };
    let mut encoded = Vec::new();
    car::encode(car.root(), car.iter(), &mut encoded);
    let again = Car::parse(&encoded).expect("what was read can be read again");
    assert_eq!(again.root(), car.root());
    assert!(again.iter().eq(car.iter()));
}

/// Any bytes as DAG-CBOR. What is accepted has one encoding: written again, value by value, it has the same bytes.
pub fn cbor(data: &[u8]) {
    let is_valid = cbor::validate(data).is_ok();
    let mut reader = Reader::new(data);
    let mut written = Vec::new();
    let copied = copy(&mut reader, &mut written).and_then(|()| reader.finish());
    match copied {
        Ok(()) => {
            assert!(is_valid, "the typed reader takes what the validator does not");
            assert_eq!(written, data, "two encodings of one value");
        }
        // The validator alone takes links of other forms, which are only passed on.
        Err(error) if is_valid => assert_eq!(error.problem, cbor::Problem::Link),
        Err(_) => {}
    }
}

/// Reads one value by its type and writes it. Recursion is bounded: whoever nests deeper was refused by then.
fn copy(reader: &mut Reader<'_>, out: &mut Vec<u8>) -> Result<(), CborError> {
    // Bounds the depth, and every claim of how much follows.
    reader.clone().skip()?;
    if reader.clone().uint().is_ok() {
        Writer::new(out).uint(reader.uint()?);
    } else if let Ok(negative) = reader.clone().int() {
        reader.int()?;
        // The major type of negative numbers is the next to that of unsigned ones.
        let start = out.len();
        Writer::new(out).uint(negative.unsigned_abs() - 1);
        out[start] |= 1 << 5;
    } else if let Ok(bytes) = reader.clone().bytes() {
        Writer::new(out).bytes(bytes);
        reader.bytes()?;
    } else if let Ok(text) = reader.clone().text() {
        Writer::new(out).text(text);
        reader.text()?;
    } else if let Ok(value) = reader.clone().bool() {
        Writer::new(out).bool(value);
        reader.bool()?;
    } else if let Ok(length) = reader.clone().array() {
        Writer::new(out).array(length as usize);
        reader.array()?;
        for _ in 0..length {
            copy(reader, out)?;
        }
    } else if let Ok(length) = reader.clone().map_head() {
        Writer::new(out).map(length as usize);
        reader.map(|reader, key| {
            Writer::new(out).text(key);
            copy(reader, out)
        })?;
    } else if let Some(cid) = reader.nullable(Reader::cid)? {
        Writer::new(out).cid(&cid);
    } else {
        Writer::new(out).null();
    }
    Ok(())
}

/// Any bytes as a commit object and other blocks of a message whose hashes are right.
pub fn check_commit(data: &[u8]) {
    let blocks: Vec<(Cid, &[u8])> =
        data.split(|byte| *byte == BLOCK_SEPARATOR).map(|block| (Cid::of(block), block)).collect();
    let (root, commit_block) = blocks[0];
    let Ok(commit) = Commit::parse(commit_block) else { return };
    let mut encoded = Vec::new();
    car::encode(&root, blocks.iter().map(|(cid, block)| (cid, *block)), &mut encoded);
    let cid = blocks.last().map(|(cid, _)| *cid);
    let rev = commit.rev.to_string();
    let ops = [(Action::Create, cid, None), (Action::Update, cid, cid), (Action::Delete, None, cid)];
    let ops = ops.into_iter().zip(PATHS).map(|((action, cid, prev), path)| RepoOp { action, path, cid, prev });
    let ops: Vec<RepoOp<'_>> = ops.collect();
    for count in 0..=ops.len() {
        let frame = CommitFrame {
            did: commit.did,
            rev: &rev,
            since: Some(&rev),
            commit: root,
            prev_data: Some(commit.data),
            ops: ops[..count].to_vec(),
            blocks: &encoded,
            ..CommitFrame::default()
        };
        for legacy in [Legacy::Reject, Legacy::Accept] {
            let _ = check(&frame, legacy);
        }
    }
}
