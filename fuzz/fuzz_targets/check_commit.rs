//! Any bytes as a commit object and other blocks of a message whose hashes are right.

#![no_main]

use libfuzzer_sys::fuzz_target;
use relay::protocol::car;
use relay::protocol::cid::Cid;
use relay::protocol::commit::Commit;
use relay::protocol::frame::{Action, CommitFrame, RepoOp};
use relay::protocol::proof::{Legacy, check_commit};

const SEPARATOR: u8 = 0xff;
const PATHS: [&str; 3] = ["com.example.record/a", "com.example.record/b", "com.example.record/c"];

fuzz_target!(|data: &[u8]| {
    let blocks: Vec<(Cid, &[u8])> =
        data.split(|byte| *byte == SEPARATOR).map(|block| (Cid::of(block), block)).collect();
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
            let _ = check_commit(&frame, legacy);
        }
    }
});
