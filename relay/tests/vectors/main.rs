//! The published test data of the reference implementation, read from its Go module. A file that is missing or empty
//! fails its test.

#![allow(clippy::unwrap_used)]

mod data;
#[path = "../common/indigo.rs"]
mod indigo;
mod syntax;

use std::collections::HashMap;
use std::str::FromStr;

use data_encoding::HEXLOWER;
use indigo::{base64, cases, commit, json, lines, names, read, text};
use relay::protocol::cid::Cid;
use relay::protocol::did::Did;
use relay::protocol::frame::{Action, CommitFrame, Frame, RepoOp, SyncFrame, decode};
use relay::protocol::key::PublicKey;
use relay::protocol::mst::{self, Recorder, Tree};
use relay::protocol::proof::{Legacy, check_commit, check_sync, invert};
use serde_json::Value;
use sha2::{Digest, Sha256};

fn strings(value: &Value) -> Vec<&str> {
    value.as_array().unwrap().iter().map(|item| item.as_str().unwrap()).collect()
}

/// Protocol 22: both curves; high S and DER are refused.
#[test]
fn signatures() {
    let cases = cases("atproto/atcrypto/testdata/signature-fixtures.json");
    for case in &cases {
        let comment = text(case, "comment");
        let key = PublicKey::from_multikey(text(case, "publicKeyDid")).expect(comment);
        let old = PublicKey::from_verification_method(text(case, "didDocSuite"), text(case, "publicKeyMultibase"));
        assert_eq!(old, Ok(key), "{comment}: both forms of the key");
        let digest: [u8; 32] = Sha256::digest(base64(text(case, "messageBase64"))).into();
        let signature = <[u8; 64]>::try_from(base64(text(case, "signatureBase64")));
        let is_valid = signature.is_ok_and(|signature| key.verify(&digest, &signature).is_ok());
        assert_eq!(is_valid, case["validSignature"].as_bool().unwrap(), "{comment}");
    }
    assert_eq!(cases.len(), 6);
}

/// Protocol 16.
#[test]
fn keys() {
    let k256 = cases("atproto/atcrypto/testdata/w3c_didkey_K256.json");
    for case in &k256 {
        let secret = HEXLOWER.decode(text(case, "privateKeyBytesHex").as_bytes()).unwrap();
        let secret = secp256k1::SecretKey::from_secret_bytes(secret.try_into().unwrap()).unwrap();
        let key = PublicKey::K256(secp256k1::PublicKey::from_secret_key(&secret));
        assert_eq!(key.to_string(), text(case, "publicDidKey"));
    }
    let p256 = cases("atproto/atcrypto/testdata/w3c_didkey_P256.json");
    for case in k256.iter().chain(&p256) {
        let did_key = text(case, "publicDidKey");
        assert_eq!(PublicKey::from_multikey(did_key).map(|key| key.to_string()), Ok(did_key.to_owned()));
    }
    assert_eq!((k256.len(), p256.len()), (5, 1));
}

/// Protocol 16.
#[test]
fn keys_of_did_documents() {
    for (path, expected) in [
        ("atproto/identity/testdata/did_plc_doc.json", "Multikey"),
        ("atproto/identity/testdata/did_plc_doc_legacy.json", "EcdsaSecp256k1VerificationKey2019"),
    ] {
        let document = json(path);
        let method = &document["verificationMethod"][0];
        assert_eq!(text(method, "type"), expected);
        let key = PublicKey::from_verification_method(expected, text(method, "publicKeyMultibase"));
        assert!(matches!(key, Ok(PublicKey::K256(_))), "{path}: {key:?}");
        assert!(Did::parse(text(&document, "id")).is_ok(), "{path}");
    }
}

/// The Go source of the reference's tests, as pairs of what is between `before` and `after` on its lines.
fn go_table(path: &str, before: &str, after: &str) -> Vec<(String, usize)> {
    let source = read(path);
    let rows = source.lines().filter_map(|line| line.trim().strip_prefix(before)?.rsplit_once(after));
    let rows = rows.map(|(row, number)| {
        let number = number.trim_matches(|char: char| !char.is_ascii_digit());
        (row.to_owned(), number.parse().unwrap())
    });
    rows.collect()
}

/// Protocol 25.
#[test]
fn key_layers() {
    let table = go_table("atproto/repo/mst/util_interop_test.go", "assert.Equal(HeightForKey([]byte(\"", "\")), ");
    assert!(table.len() >= 9, "{} keys", table.len());
    for (key, layer) in table {
        assert_eq!(usize::from(mst::layer(key.as_bytes())), layer, "{key}");
    }
    let keys = lines("atproto/repo/mst/testdata/example_keys.txt");
    for key in &keys {
        assert_eq!(mst::layer(key.as_bytes()), key.as_bytes()[1] - b'0', "{key}");
    }
    assert!(keys.len() > 100, "{} keys", keys.len());
}

/// Protocol 25.
#[test]
fn shared_prefixes() {
    let table = go_table("atproto/repo/mst/util_interop_test.go", "{[]byte(\"", "\"), ");
    assert!(table.len() >= 20, "{} pairs", table.len());
    for (pair, shared) in table {
        let pair = pair.replace("\\x00", "\0");
        let (a, b) = pair.split_once("\"), []byte(\"").unwrap();
        assert_eq!(mst::shared_prefix_bytes(a.as_bytes(), b.as_bytes()), shared, "{a:?} and {b:?}");
    }
}

/// Protocol 26: insert, delete, prove and undo.
#[test]
fn commit_proofs() {
    let cases = cases("atproto/repo/testdata/commit-proof-fixtures.json");
    for case in &cases {
        let comment = text(case, "comment");
        let cid = |field| Cid::from_str(text(case, field)).unwrap();
        let (value, before, after) = (cid("leafValue"), cid("rootBeforeCommit"), cid("rootAfterCommit"));
        let mut store = HashMap::new();
        let mut tree = Tree::empty();
        for key in strings(&case["keys"]) {
            tree.insert(&store, key.as_bytes(), value).unwrap();
        }
        assert_eq!(tree.write(|cid, block| drop(store.insert(cid, block.to_vec()))), before, "{comment}: before");
        let creates = strings(&case["adds"]).into_iter().map(|path| (Action::Create, path, Some(value), None));
        let deletes = strings(&case["dels"]).into_iter().map(|path| (Action::Delete, path, None, Some(value)));
        let ops = creates.chain(deletes).map(|(action, path, cid, prev)| RepoOp { action, path, cid, prev });
        let ops: Vec<RepoOp<'_>> = ops.collect();
        for op in &ops {
            match op.cid {
                Some(cid) => tree.insert(&store, op.path.as_bytes(), cid).unwrap(),
                None => assert_eq!(tree.remove(&store, op.path.as_bytes()), Ok(value), "{comment}"),
            }
        }
        assert_eq!(tree.write(|cid, block| drop(store.insert(cid, block.to_vec()))), after, "{comment}: after");

        let proof = strings(&case["blocksInProof"]).into_iter().map(|cid| Cid::from_str(cid).unwrap());
        let proof: HashMap<Cid, Vec<u8>> = proof.filter_map(|cid| Some((cid, store.get(&cid)?.clone()))).collect();
        let recorder = Recorder::new(&proof);
        let mut inverted = Tree::at(after);
        assert_eq!(invert(&mut inverted, &recorder, &ops), Ok(()), "{comment}: the proof is enough");
        assert_eq!(inverted.write(|_, _| ()), before, "{comment}: inverted");
    }
    assert_eq!(cases.len(), 6);
}

fn decoded(message: &[u8]) -> CommitFrame<'_> {
    let Ok(Frame::Commit(frame)) = decode(message) else { panic!("not a #commit") };
    frame
}

/// Protocol 26.
#[test]
fn messages_from_before_sync_1_1() {
    let seqs = ["4621317030", "4621317332", "4621332152", "4623075231"];
    for seq in seqs {
        let message = commit(&json(format!("atproto/repo/testdata/firehose_commit_{seq}.json")));
        let frame = decoded(&message);
        let checked = check_commit(&frame, Legacy::Accept).unwrap_or_else(|invalid| panic!("{seq}: {invalid}"));
        assert!(!checked.inverted, "{seq}: nothing to invert to");
        assert!(check_commit(&frame, Legacy::Reject).is_err(), "{seq}: not by the rules of today");
    }
}

/// Protocol 21 to 28. The relay scenarios say which messages pass for reasons of account state too, which is not checked here: all that
/// pass must be right in themselves and signed by their account.
#[test]
fn messages_of_relay_scenarios() {
    let (mut legacy_commits, mut proved_commits, mut syncs) = (0, 0, 0);
    for name in names("cmd/relay/testing/testdata") {
        let scenario = json(format!("cmd/relay/testing/testdata/{name}"));
        let identity = &scenario["accounts"][0]["identity"];
        let key = PublicKey::from_multikey(text(&identity["keys"]["atproto"], "publicKeyMultibase")).unwrap();
        for message in scenario["messages"].as_array().unwrap() {
            let body = &message["frame"]["body"];
            let signature = match (message["drop"].as_bool().unwrap(), text(&message["frame"]["header"], "t")) {
                (false, "#commit") => {
                    let is_legacy = body["prevData"].is_null();
                    let policy = if is_legacy { Legacy::Accept } else { Legacy::Reject };
                    let checked = check_commit(&decoded(&commit(body)), policy)
                        .unwrap_or_else(|invalid| panic!("{name} {}: {invalid}", body["seq"]));
                    assert_eq!(checked.inverted, !is_legacy, "{name} {}", body["seq"]);
                    *(if is_legacy { &mut legacy_commits } else { &mut proved_commits }) += 1;
                    checked.signature
                }
                (false, "#sync") => {
                    let blocks = base64(text(&body["blocks"], "$bytes"));
                    let (did, rev) = (text(body, "did"), text(body, "rev"));
                    syncs += 1;
                    check_sync(&SyncFrame { did, rev, blocks: &blocks, ..SyncFrame::default() }).unwrap().signature
                }
                _ => continue,
            };
            assert_eq!(signature.verify(&key), Ok(()), "{name} {}", body["seq"]);
        }
    }
    assert_eq!((legacy_commits, proved_commits, syncs), (13, 8, 1));
}
