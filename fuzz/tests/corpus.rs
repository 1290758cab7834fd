//! The corpus: what is committed goes through every target, and the part of it that others are bred from is made here.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use relay::protocol::cbor::Writer;
use relay::protocol::frame::{Frame, decode, encode_error, encode_info};
use relay_fuzz::TARGETS;
use sim::{Account, Mutation};

/// A file of the corpus is not longer, in bytes: longer ones find nothing that shorter ones do not, and slow all down.
const FILE_BYTES_MAX: usize = 8 << 10;
const POSTS: usize = 30;

fn folder(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target)
}

fn files(target: &str) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder(target))
        .unwrap_or_else(|error| panic!("{target}: {error}"))
        .map(|file| file.unwrap().path())
        .collect();
    files.sort();
    files
}

#[test]
fn every_file_of_the_corpus_is_survived() {
    for (name, target) in TARGETS {
        let files = files(name);
        assert!(files.len() >= 5, "{name}: {} files", files.len());
        for file in files {
            let bytes = fs::read(&file).unwrap();
            assert!(bytes.len() <= FILE_BYTES_MAX, "{}: {} bytes", file.display(), bytes.len());
            // A panic comes with the name of the file that makes it.
            println!("{}", file.display());
            target(&bytes);
        }
    }
}

/// The seeds are written where `FUZZ_SEEDS` says, a folder for each target; `dev/fuzz.sh grow` asks for that.
#[test]
fn seeds_are_made_by_a_simulated_network() {
    let seeds = seeds();
    for (name, _) in TARGETS {
        assert!(seeds.contains_key(name), "no seeds for {name}");
    }
    let Some(out) = std::env::var_os("FUZZ_SEEDS") else { return };
    for (target, inputs) in seeds {
        let folder = Path::new(&out).join(target);
        fs::create_dir_all(&folder).unwrap();
        for (name, bytes) in inputs.into_iter().filter(|(_, bytes)| bytes.len() <= FILE_BYTES_MAX) {
            fs::write(folder.join(name), bytes).unwrap();
        }
    }
}

type Inputs = Vec<(String, Vec<u8>)>;

fn seeds() -> BTreeMap<&'static str, Inputs> {
    let frames = frames();
    BTreeMap::from([
        ("car", parts(&frames, |frame, _| Some(frame.to_vec()))),
        ("cbor", parts(&frames, |_, blocks| blocks.first().cloned())),
        ("check_commit", parts(&frames, |_, blocks| Some(blocks.join(&[0xff][..])))),
        ("mst_node", parts(&frames, |_, blocks| Some(blocks[1..].join(&b"\xff\xff"[..])))),
        ("inversion", cases()),
        ("inversion_indigo", cases()),
        ("did_document", documents()),
        ("multikey", numbered(NAMES)),
        ("names", numbered(LISTS)),
        ("cursor", numbered(QUERIES)),
        ("admin", numbered(BODIES)),
        ("frame", frames),
    ])
}

/// A message of every kind, and one of every kind of bad ones. Accounts that sign on P-256 sign differently each time,
/// and the future moves, so neither is here.
fn frames() -> Inputs {
    let mut account = Account::new(1, 0);
    let mut frames = Inputs::new();
    let mut add = |name: &str, bytes: Vec<u8>| frames.push((name.to_owned(), bytes));
    add("first", account.post().encode(1));
    (0..POSTS).for_each(|_| drop(account.post()));
    let path = account.repo().records().keys().next().unwrap().clone();
    add("create", account.post().encode(2));
    add("update", account.update(&path).encode(3));
    add("delete", account.delete(&path).encode(4));
    add("sync", account.sync().encode(5));
    add("identity", account.identity().encode(6));
    add("active", account.status(None).encode(7));
    add("takendown", account.status(Some("takendown")).encode(1 << 40));
    for mutation in Mutation::ALL.into_iter().filter(|mutation| *mutation != Mutation::FutureRev) {
        add(&format!("{mutation:?}"), mutation.frame(&account, 8));
    }
    let mut bytes = Vec::new();
    encode_info("OutdatedCursor", Some("text"), &mut bytes);
    add("info", std::mem::take(&mut bytes));
    encode_error("FutureCursor", None, &mut bytes);
    add("error", std::mem::take(&mut bytes));
    Writer::new(&mut bytes).map(2).text("t").text("#new").text("op").uint(1).map(0);
    add("unknown", bytes);
    frames
}

fn numbered<T: AsRef<[u8]>>(values: &[T]) -> Inputs {
    values.iter().enumerate().map(|(place, value)| (format!("{place:02}"), value.as_ref().to_vec())).collect()
}

/// What `part` takes from the CAR and the blocks, the commit object first, of each good commit among the frames.
fn parts(frames: &Inputs, part: impl Fn(&[u8], &[Vec<u8>]) -> Option<Vec<u8>>) -> Inputs {
    let commits = frames.iter().filter_map(|(name, bytes)| match decode(bytes) {
        Ok(Frame::Commit(frame)) => {
            let car = relay::protocol::car::Car::parse(frame.blocks).ok()?;
            let others = car.iter().filter(|(cid, _)| *cid != car.root()).map(|(_, block)| block.to_vec());
            let blocks: Vec<Vec<u8>> = std::iter::once(car.get(car.root())?.to_vec()).chain(others).collect();
            Some((name.clone(), part(frame.blocks, &blocks)?))
        }
        _ => None,
    });
    commits.collect()
}

/// Records and operations of more and more: how [`relay_fuzz::inversion`] reads its bytes.
fn cases() -> Inputs {
    let case = |number: u8| {
        let records = (0..number * 6).flat_map(|record| [record.wrapping_mul(37), record]);
        let ops = (0..number).flat_map(|op| [op.wrapping_mul(37), op.wrapping_mul(91)]);
        let tail = [number % 3, number, number, number, number];
        let bytes = std::iter::once(number * 6).chain(records).chain([number]).chain(ops).chain(tail);
        (format!("{number:02}"), bytes.collect())
    };
    (0..8).map(case).collect()
}

fn documents() -> Inputs {
    let did = "did:plc:7iza6de2dwap2sbkpav7c6c6";
    let document = |key_type: &str, key: &str, pds: &str, alias: &str| {
        format!(
            r##"{{"@context":["https://www.w3.org/ns/did/v1"],"id":"{did}","alsoKnownAs":["{alias}"],"verificationMethod":[{{"id":"{did}#atproto","type":"{key_type}","controller":"{did}","publicKeyMultibase":"{key}"}}],"service":[{{"id":"#atproto_pds","type":"AtprotoPersonalDataServer","serviceEndpoint":"{pds}"}}]}}"##
        )
        .into_bytes()
    };
    let (k256, p256) = (&NAMES[0][8..], &NAMES[1][8..]);
    Inputs::from([
        ("k256".to_owned(), document("Multikey", k256, "https://pds.example.com", "at://alice.example.com")),
        ("p256".to_owned(), document("Multikey", p256, "https://pds.example.com:8443", "https://example.com")),
        ("old".to_owned(), document("EcdsaSecp256k1VerificationKey2019", k256, "http://10.0.0.1:2583", "at://-")),
        ("ipv6".to_owned(), document("Multikey", "z", "https://[2001:db8::1]/", "at://ALICE.example.com")),
        ("empty".to_owned(), format!(r#"{{"id":"{did}"}}"#).into_bytes()),
        ("none".to_owned(), br#"{"message":"not found"}"#.to_vec()),
    ])
}

const NAMES: &[&str] = &[
    "did:key:zQ3shqwJEJyMBsBXCWyCBpUBMqxcon9oHB7mCvx4sSpMdLJwc",
    "did:key:zDnaembgSGUhZULN2Caob4HLJPaxBh92N7rtH21TErzqf8HQo",
    "did:plc:7iza6de2dwap2sbkpav7c6c6",
    "did:web:Example.com",
    "did:web:localhost%3a2583",
    "https://pds.example.com/",
    "ws://10.0.0.1:2583",
    "com.example.record/3jzfcijpj2z2a",
];

const LISTS: &[&str] = &[
    "# A list\n\ncom.example.one\n  com.example.two \r\n#com.example.three\n",
    "- [app.bsky.feed.post](https://lexicon.garden/lexicon/did:plc:4v4y5r3lwsbtmsxhile2ljac/app.bsky.feed.post): A post.\n",
    "## `app.bsky.feed`\n\n`app.bsky.feed.*` has `app.bsky.feed.post`, app.bsky.feed.{like,repost} and app.bsky.feed.defs#postView.\n",
    "| name | used by |\n|---|---|\n| **cx.vmx.matadisco** | docs.example.com, v1.2.3 |\n",
    "at://did:web:games.example.com/com.example.post/3k2a me@mail.example.social @handle.bsky.social com.example.app://x www.example.blue:80",
    "<a href=\"/lexicon/com.example.post\">index.some.html</a> {\"id\": \"com.example.post\"} xn--p1ai.example.x Foo.bar.baz",
    "com..example.post .com.example.post -com.example.post com.example.post...",
];

/// The first byte is the method.
const QUERIES: &[&[u8]] = &[
    b"0cursor=0",
    b"0cursor=",
    b"0cursor=9223372036854775807",
    b"0cursor=-1",
    b"0cursor=1&cursor=2",
    // What a client sends, masked with zeros: a ping, a close, a long message, a fragment; and without a mask.
    b"0\n\x89\x82\0\0\0\0hi\x88\x82\0\0\0\0\x03\xe8",
    b"0\n\x82\xfe\x01\0\0\0\0\0",
    b"0\n\x82\xff\0\0\0\0\x7f\xff\xff\xff\0\0\0\0",
    b"0\n\x01\x81\0\0\0\0a\x80\x80\0\0\0\0",
    b"0\n\x82\0",
    b"1limit=10&cursor=did:plc:7iza6de2dwap2sbkpav7c6c6",
    b"2limit=0",
    b"3hostname=pds.example.com",
    b"4did=did:plc:7iza6de2dwap2sbkpav7c6c6",
    b"5did=did:web:example.com",
];

/// The first character is the route.
const BODIES: &[&str] = &[
    r#"0{"host":"localhost:1","account_limit":100,"events_per_second":null}"#,
    r#"0{"host":"pds.example.com","repo_limit":18446744073709551615}"#,
    r#"1{"domain":"example.com"}"#,
    r#"1{"Domain":"*.example.com"}"#,
    r#"2{"domain":""}"#,
    r#"3{"hostname":"example"}"#,
    r#"4{"hostname":"localhost"}"#,
    r#"5{"host":"localhost:1","validation":"observe"}"#,
    r#"6{"did":"did:plc:7iza6de2dwap2sbkpav7c6c6"}"#,
    r#"7{"did":"did:web:example.com"}"#,
];
