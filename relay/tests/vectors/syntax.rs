//! The syntax of names.

use std::str::FromStr;

use relay::protocol::cid::Cid;
use relay::protocol::did::Did;
use relay::protocol::syntax;
use relay::protocol::tid::Tid;

use super::indigo::{lines, names};

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

/// Protocol 16, 18, 20, 24.
#[test]
fn names_of_every_kind() {
    check_syntax("did", syntax::is_did, 40);
    check_syntax("nsid", syntax::is_nsid, 40);
    check_syntax("recordkey", syntax::is_record_key, 25);
    check_syntax("handle", syntax::is_handle, 110);
    check_syntax("tid", |text| Tid::from_str(text).is_ok(), 12);
}

/// Protocol 16.
#[test]
fn dids_of_accounts_are_of_two_methods() {
    let dids = lines("atproto/syntax/testdata/did_syntax_valid.txt");
    for did in &dids {
        let is_account = did.starts_with("did:plc:") || did.starts_with("did:web:");
        assert_eq!(Did::parse(did).is_ok(), is_account, "{did}");
    }
    assert!(dids.len() > 20, "{} DIDs", dids.len());
}

/// Protocol 21.
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

/// Protocol 2: the times of events.
#[test]
fn datetimes() {
    check_syntax("datetime", syntax::is_datetime, 60);
    let semantically_wrong = lines("atproto/syntax/testdata/datetime_parse_invalid.txt");
    for time in &semantically_wrong {
        assert!(!syntax::is_datetime(time), "{time:?}");
    }
    assert!(semantically_wrong.len() >= 6, "{} datetimes", semantically_wrong.len());
}

/// Every list of examples is of something that a relay reads, or of something that it does not.
#[test]
fn no_list_is_overlooked() {
    let read = ["cid", "datetime", "did", "handle", "nsid", "recordkey", "tid"];
    // A relay meets these in records alone, if at all, and does not look into those (protocol 30).
    let not_read = ["atidentifier", "aturi", "language", "uri"];
    let mut kinds: Vec<String> = names("atproto/syntax/testdata")
        .iter()
        .map(|name| name.split_once('_').unwrap_or_else(|| panic!("another kind of file: {name}")).0.to_owned())
        .collect();
    kinds.dedup();
    let mut expected = [&read[..], &not_read].concat();
    expected.sort();
    assert_eq!(kinds, expected);
}
