//! The page about capability levels names proofs that exist.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::path::Path;

use regex::Regex;

/// Names of the tests below `folder`.
fn tests(folder: &Path, found: &mut BTreeSet<String>) {
    let test = Regex::new(r"#\[(?:tokio::)?test[^\]]*\]\s*(?:#\[[^\]]*\]\s*)*(?:async )?fn (\w+)").unwrap();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            tests(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            found.extend(test.captures_iter(&text).map(|test| test[1].to_owned()));
        }
    }
}

#[test]
fn every_proof_is_there() {
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    let folder = root.join("docs/explanation");
    let page = std::fs::read_to_string(folder.join("capability-levels.md")).unwrap();
    let mut known = BTreeSet::new();
    for part in ["operator/src", "operator/tests", "e2e/tests"] {
        tests(&root.join(part), &mut known);
    }
    let name = Regex::new(r"`([a-z]+(?:_[a-z0-9]+){2,})`").unwrap();
    let link = Regex::new(r"\]\(([^):#]+\.md)").unwrap();
    let named: Vec<_> = name.captures_iter(&page).map(|found| found[1].to_owned()).collect();
    assert!(named.len() > 40, "the tests that the page names are found: {named:?}");
    let missing: Vec<_> = named.iter().filter(|name| !known.contains(*name)).collect();
    assert!(missing.is_empty(), "there are no such tests: {missing:?}");
    let links = link.captures_iter(&page).map(|found| found[1].to_owned());
    let dead: Vec<_> = links.filter(|link| !folder.join(link).exists()).collect();
    assert!(dead.is_empty(), "there are no such pages: {dead:?}");
}
