//! The tables of docs/reference/protocol.md: every rule and every finding has tests, the tests exist, and each of them
//! cites what it shows.

#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Numbers of rules.
const RULES: std::ops::RangeInclusive<u32> = 1..=35;
/// Numbers of findings.
const FINDINGS: std::ops::RangeInclusive<u32> = 1..=16;
/// What stands in place of tests where a finding is about speed.
const BENCHMARK: &str = "[a benchmark](../explanation/figures.md)";
/// Where rules are cited.
const SOURCES: [&str; 8] = ["relay/src", "relay/tests", "sim", "operator", "e2e", "fuzz", "docs", "ARCHITECTURE.md"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn page() -> String {
    read(&root().join("docs/reference/protocol.md"))
}

/// The rows of the table under a heading: cells without their borders.
fn table(page: &str, heading: &str) -> Vec<Vec<String>> {
    let (_, section) = page.split_once(heading).unwrap_or_else(|| panic!("no heading {heading:?}"));
    let section = section.split("\n## ").next().unwrap();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |"));
    let rows = rows.map(|row| row.split(" | ").map(str::to_owned).collect());
    rows.skip(1).collect()
}

/// The tests in a cell, as file and name.
fn tests(cell: &str) -> Vec<(String, String)> {
    let test = |item: &str| {
        let item = item.strip_prefix('`').and_then(|item| item.strip_suffix('`'));
        let (file, name) = item.and_then(|item| item.split_once("::")).unwrap_or_else(|| panic!("no test: {cell}"));
        (file.to_owned(), name.to_owned())
    };
    cell.split("<br>").map(test).collect()
}

/// The numbers that a text cites: "protocol 4", "Protocol 18, 29", "protocol 21 to 26".
fn cited(text: &str, word: &str) -> BTreeSet<u32> {
    let text = text.to_ascii_lowercase();
    let word = format!("{word} ");
    let mut numbers = BTreeSet::new();
    for (place, _) in text.match_indices(&word) {
        if text[..place].ends_with(|before: char| before.is_ascii_alphanumeric()) {
            continue;
        }
        let mut rest = &text[place + word.len()..];
        let mut last = None;
        let mut is_range = false;
        loop {
            let digits = rest.len() - rest.trim_start_matches(|char: char| char.is_ascii_digit()).len();
            let Ok(number) = rest[..digits].parse::<u32>() else { break };
            numbers.extend(last.filter(|_| is_range).map_or(number..=number, |last| last..=number));
            last = Some(number);
            rest = &rest[digits..];
            let separator = [", ", " and ", " to "].into_iter().find(|separator| rest.starts_with(separator));
            let Some(separator) = separator else { break };
            is_range = separator == " to ";
            rest = &rest[separator.len()..];
        }
    }
    numbers
}

/// The doc comment of a test, on one line; `None` when there is no such test.
fn doc_comment(source: &str, name: &str) -> Option<String> {
    let lines: Vec<&str> = source.lines().map(str::trim).collect();
    let place = lines.iter().position(|line| line.contains(&format!("fn {name}(")))?;
    let above = lines[..place].iter().rev().take_while(|line| line.starts_with("///") || line.starts_with("#["));
    let above: Vec<&str> = above.copied().collect();
    let is_test = above.iter().any(|line| line.starts_with("#[test]") || line.starts_with("#[tokio::test"));
    let docs = above.iter().rev().filter_map(|line| line.strip_prefix("///"));
    is_test.then(|| docs.collect::<Vec<_>>().concat())
}

/// Checks that the tests of a row exist and cite its number.
fn check_tests(number: u32, word: &str, cell: &str) {
    for (file, name) in tests(cell) {
        let docs = doc_comment(&read(&root().join(&file)), &name);
        let docs = docs.unwrap_or_else(|| panic!("{word} {number}: {file} has no test {name}"));
        let numbers = cited(&docs, word);
        assert!(numbers.contains(&number), "{file}: the doc comment of {name} does not cite {word} {number}: {docs:?}");
    }
}

#[test]
fn every_rule_has_tests_that_cite_it() {
    let page = page();
    let mut rows = BTreeMap::<u32, usize>::new();
    for row in table(&page, "\n## Tests\n") {
        let [number, _, cell] = &row[..] else { panic!("a row of {} cells: {row:?}", row.len()) };
        let number = number.parse().unwrap_or_else(|_| panic!("no number: {row:?}"));
        check_tests(number, "protocol", cell);
        *rows.entry(number).or_default() += 1;
    }
    assert!(rows.keys().copied().eq(RULES), "rules with rows: {:?}", rows.keys());
    for number in RULES {
        assert!(page.contains(&format!("\n{number}. ")), "rule {number} is not on the page");
    }
    assert!(!page.contains(&format!("\n{}. ", RULES.end() + 1)), "a rule that this test does not know");
}

#[test]
fn every_finding_has_tests_that_cite_it() {
    let mut findings = Vec::new();
    for row in table(&page(), "\n## What other relays get wrong\n") {
        let [number, _, _, cell] = &row[..] else { panic!("a row of {} cells: {row:?}", row.len()) };
        let number = number.parse().unwrap_or_else(|_| panic!("no number: {row:?}"));
        if cell == BENCHMARK {
            assert!(root().join("docs/explanation/figures.md").exists());
        } else {
            check_tests(number, "peer", cell);
        }
        findings.push(number);
    }
    assert!(findings.iter().copied().eq(FINDINGS), "findings with rows: {findings:?}");
}

/// All files with text at and below a path.
fn files(path: &Path, found: &mut Vec<PathBuf>) {
    const KINDS: [&str; 6] = ["rs", "md", "toml", "yaml", "sh", "html"];
    if path.is_dir() {
        for entry in std::fs::read_dir(path).unwrap() {
            files(&entry.unwrap().path(), found);
        }
    } else if path.extension().is_some_and(|extension| KINDS.iter().any(|kind| extension == *kind)) {
        found.push(path.to_owned());
    }
}

#[test]
fn only_rules_that_exist_are_cited() {
    let mut cited_somewhere = BTreeSet::new();
    for source in SOURCES {
        let mut found = Vec::new();
        files(&root().join(source), &mut found);
        for path in found.iter().filter(|path| !path.ends_with("relay/tests/protocol.rs")) {
            let numbers = cited(&read(path), "protocol");
            let unknown: Vec<u32> = numbers.iter().copied().filter(|number| !RULES.contains(number)).collect();
            assert!(unknown.is_empty(), "{} cites rules that do not exist: {unknown:?}", path.display());
            cited_somewhere.extend(numbers);
        }
    }
    assert!(cited_somewhere.iter().copied().eq(RULES), "rules that are cited: {cited_somewhere:?}");
}

#[test]
fn citations_are_read_as_people_write_them() {
    let cases: [(&str, &[u32]); 8] = [
        ("(protocol 4)", &[4]),
        ("Protocol 18, 29: what", &[18, 29]),
        ("protocol 21 to 24", &[21, 22, 23, 24]),
        ("protocol 1 and 3, and protocol 36", &[1, 3, 36]),
        ("Peer 1, 14, protocol 4: x", &[4]),
        ("protocol 9, then", &[9]),
        ("the protocol of 1999", &[]),
        ("subprotocol 7", &[]),
    ];
    for (text, numbers) in cases {
        assert_eq!(cited(text, "protocol"), numbers.iter().copied().collect(), "{text:?}");
    }
    let source =
        "/// Protocol 1:\n    /// more.\n    #[test]\n    fn a_test() {}\n\n/// Protocol 2.\nfn no_test() {}\n";
    assert_eq!(doc_comment(source, "a_test").as_deref(), Some(" Protocol 1: more."));
    assert_eq!(doc_comment(source, "no_test"), None);
}
