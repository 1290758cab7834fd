//! The published test data of the reference implementation, read from its Go module: from the folder that `INDIGO_DIR`
//! names, else from the module cache, where `go mod download` puts it.

#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::str::FromStr;
use std::sync::LazyLock;

use data_encoding::{BASE64, BASE64_NOPAD, HEXLOWER};
use relay::protocol::cbor::{self, Problem, Writer};
use relay::protocol::cid::Cid;
use relay::protocol::did::Did;
use relay::protocol::frame::{Action, CommitFrame, Frame, RepoOp, SyncFrame, decode, encode_commit};
use relay::protocol::key::PublicKey;
use relay::protocol::mst::{self, Recorder, Tree};
use relay::protocol::proof::{Legacy, check_commit, check_sync, invert};
use relay::protocol::syntax;
use relay::protocol::tid::Tid;
use serde_json::Value;
use sha2::{Digest, Sha256};

const MODULE: &str = "github.com/bluesky-social/indigo@v0.0.0-20260605210604-af2fec94f34c";

static INDIGO_DIR: LazyLock<PathBuf> = LazyLock::new(|| match std::env::var_os("INDIGO_DIR") {
    Some(dir) => dir.into(),
    None => {
        let output = Command::new("go")
            .args(["mod", "download", "-json", MODULE])
            .output()
            .expect("go, which fetches the published vectors; without it set INDIGO_DIR to the module's folder");
        let module: Value = serde_json::from_slice(&output.stdout).expect("go mod download prints JSON");
        module["Dir"].as_str().unwrap_or_else(|| panic!("cannot download {MODULE}: {module}")).into()
    }
});

fn read(path: impl AsRef<Path>) -> String {
    let path = INDIGO_DIR.join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn json(path: impl AsRef<Path>) -> Value {
    serde_json::from_str(&read(path)).unwrap()
}

fn cases(path: &str) -> Vec<Value> {
    let Value::Array(cases) = json(path) else { panic!("{path}: not an array") };
    assert!(!cases.is_empty(), "{path}");
    cases
}

/// The lines of a list of examples, without comments.
fn lines(path: &str) -> Vec<String> {
    let lines: Vec<String> =
        read(path).lines().filter(|line| !line.is_empty() && !line.starts_with('#')).map(str::to_owned).collect();
    assert!(!lines.is_empty(), "{path}");
    lines
}

fn text<'v>(value: &'v Value, field: &str) -> &'v str {
    value[field].as_str().unwrap_or_else(|| panic!("{field} of {value}"))
}

fn base64(value: &str) -> Vec<u8> {
    BASE64_NOPAD.decode(value.trim_end_matches('=').as_bytes()).unwrap()
}

fn strings(value: &Value) -> Vec<&str> {
    value.as_array().unwrap().iter().map(|item| item.as_str().unwrap()).collect()
}

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

/// A `#commit` message from the JSON form of its payload.
fn commit_message(body: &Value) -> Vec<u8> {
    let link = |value: &Value| value["$link"].as_str().map(|cid| Cid::from_str(cid).unwrap());
    let ops = body["ops"].as_array().unwrap().iter().map(|op| RepoOp {
        action: match text(op, "action") {
            "create" => Action::Create,
            "update" => Action::Update,
            _ => Action::Delete,
        },
        path: text(op, "path"),
        cid: link(&op["cid"]),
        prev: link(&op["prev"]),
    });
    let frame = CommitFrame {
        seq: body["seq"].as_u64().unwrap(),
        did: text(body, "repo"),
        time: text(body, "time"),
        rev: text(body, "rev"),
        since: body["since"].as_str(),
        commit: link(&body["commit"]).unwrap(),
        prev_data: link(&body["prevData"]),
        ops: ops.collect(),
        blocks: &base64(text(&body["blocks"], "$bytes")),
        too_big: body["tooBig"].as_bool().unwrap(),
        rebase: body["rebase"].as_bool().unwrap(),
        ..CommitFrame::default()
    };
    let mut bytes = Vec::new();
    encode_commit(&frame, &mut bytes);
    bytes
}

fn decoded(message: &[u8]) -> CommitFrame<'_> {
    let Ok(Frame::Commit(frame)) = decode(message) else { panic!("not a #commit") };
    frame
}

#[test]
fn messages_from_before_sync_1_1() {
    let seqs = ["4621317030", "4621317332", "4621332152", "4623075231"];
    for seq in seqs {
        let message = commit_message(&json(format!("atproto/repo/testdata/firehose_commit_{seq}.json")));
        let frame = decoded(&message);
        let checked = check_commit(&frame, Legacy::Accept).unwrap_or_else(|invalid| panic!("{seq}: {invalid}"));
        assert!(!checked.inverted, "{seq}: nothing to invert to");
        assert!(check_commit(&frame, Legacy::Reject).is_err(), "{seq}: not by the rules of today");
    }
}

/// The relay scenarios say which messages pass for reasons of account state too, which is not checked here: all that
/// pass must be right in themselves and signed by their account.
#[test]
fn messages_of_relay_scenarios() {
    let names =
        ["deactivation", "legacy", "post_lifecycle", "post_lifecycle_legacy", "rev_ordering", "account_lifecycle"];
    let (mut legacy_commits, mut proved_commits, mut syncs) = (0, 0, 0);
    for name in names {
        let scenario = json(format!("cmd/relay/testing/testdata/{name}.json"));
        let identity = &scenario["accounts"][0]["identity"];
        let key = PublicKey::from_multikey(text(&identity["keys"]["atproto"], "publicKeyMultibase")).unwrap();
        for message in scenario["messages"].as_array().unwrap() {
            let body = &message["frame"]["body"];
            let signature = match (message["drop"].as_bool().unwrap(), text(&message["frame"]["header"], "t")) {
                (false, "#commit") => {
                    let is_legacy = body["prevData"].is_null();
                    let policy = if is_legacy { Legacy::Accept } else { Legacy::Reject };
                    let checked = check_commit(&decoded(&commit_message(body)), policy)
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
    assert_eq!((legacy_commits, proved_commits, syncs), (12, 8, 1));
}

/// DAG-CBOR of JSON, with links and bytes in their JSON form and whole numbers as integers.
fn encode_json(value: &Value, writer: &mut Writer<'_>) {
    match value {
        Value::Null => drop(writer.null()),
        Value::Bool(value) => drop(writer.bool(*value)),
        Value::String(value) => drop(writer.text(value)),
        Value::Number(number) => match (number.as_u64(), number.as_f64()) {
            (Some(value), _) => drop(writer.uint(value)),
            (None, Some(value)) if value.fract() == 0.0 => drop(writer.uint(value as u64)),
            (None, value) => drop(writer.raw(&[0xfb]).raw(&value.unwrap().to_be_bytes())),
        },
        Value::Array(values) => {
            writer.array(values.len());
            values.iter().for_each(|value| encode_json(value, writer));
        }
        Value::Object(_) if value["$link"].is_string() => {
            let cid = data_encoding::BASE32_NOPAD.decode(text(value, "$link")[1..].to_uppercase().as_bytes());
            writer.raw(&[0xd8, 0x2a]).bytes(&[&[0], &cid.unwrap()[..]].concat());
        }
        Value::Object(_) if value["$bytes"].is_string() => drop(writer.bytes(&base64(text(value, "$bytes")))),
        Value::Object(fields) => {
            let mut fields: Vec<_> = fields.iter().collect();
            fields.sort_by_key(|(key, _)| (key.len(), *key));
            writer.map(fields.len());
            for (key, value) in fields {
                writer.text(key);
                encode_json(value, writer);
            }
        }
    }
}

fn json_as_cbor(value: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_json(value, &mut Writer::new(&mut bytes));
    bytes
}

#[test]
fn data_model() {
    let fixtures = cases("atproto/atdata/testdata/data-model-fixtures.json");
    for case in &fixtures {
        let bytes = base64(text(case, "cbor_base64"));
        assert_eq!(cbor::validate(&bytes), Ok(()), "{case}");
        assert_eq!(Cid::of(&bytes).to_string(), text(case, "cid"), "{case}");
        assert_eq!(BASE64.encode(&json_as_cbor(&case["json"])), BASE64.encode(&bytes), "{case}");
    }
    let valid = cases("atproto/atdata/testdata/data-model-valid.json");
    for case in &valid {
        assert_eq!(cbor::validate(&json_as_cbor(&case["json"])), Ok(()), "{case}");
    }
    let record = std::fs::read(INDIGO_DIR.join("atproto/atdata/testdata/feedpost_record.cbor")).unwrap();
    assert_eq!(cbor::validate(&record), Ok(()), "a record");
    // Of the invalid data only the float is invalid as CBOR; the rest is about records, which a relay does not judge.
    let invalid = cases("atproto/atdata/testdata/data-model-invalid.json");
    let float = invalid.iter().find(|case| case["note"] == "float").unwrap();
    let problem = cbor::validate(&json_as_cbor(&float["json"])).unwrap_err().problem;
    assert_eq!(problem, Problem::Float);
    assert_eq!((fixtures.len(), valid.len()), (3, 5));
}

/// Checks the lists of valid and invalid examples of one name.
fn check_syntax(name: &str, is_valid: impl Fn(&str) -> bool, least: usize) {
    let mut count = 0;
    for (list, expected) in [("valid", true), ("invalid", false)] {
        for example in lines(&format!("atproto/syntax/testdata/{name}_syntax_{list}.txt")) {
            assert_eq!(is_valid(&example), expected, "{name}: {example:?}");
            count += 1;
        }
    }
    assert!(count >= least, "{name}: {count} examples");
}

#[test]
fn names() {
    check_syntax("did", syntax::is_did, 40);
    check_syntax("nsid", syntax::is_nsid, 40);
    check_syntax("recordkey", syntax::is_record_key, 25);
    check_syntax("handle", syntax::is_handle, 110);
    check_syntax("tid", |text| Tid::from_str(text).is_ok(), 12);
}

#[test]
fn dids_of_accounts_are_of_two_methods() {
    let dids = lines("atproto/syntax/testdata/did_syntax_valid.txt");
    for did in &dids {
        let is_account = did.starts_with("did:plc:") || did.starts_with("did:web:");
        assert_eq!(Did::parse(did).is_ok(), is_account, "{did}");
    }
    assert!(dids.len() > 20, "{} DIDs", dids.len());
}

#[test]
fn cids_are_of_one_form() {
    let mut count = 0;
    for list in ["valid", "invalid"] {
        for cid in lines(&format!("atproto/syntax/testdata/cid_syntax_{list}.txt")) {
            assert_eq!(Cid::from_str(&cid).is_ok(), cid.starts_with("bafyrei"), "{cid:?}");
            count += 1;
        }
    }
    assert!(count >= 15, "{count} CIDs");
}
