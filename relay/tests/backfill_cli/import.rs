//! `relay backfill import`.

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

use super::fake::{Fake, TOKEN, document, run, spawn, stderr, stdout};

/// The longest piece that the relay takes.
const PIECE_BYTES_MAX: usize = 512 << 10;

fn taken(seen: u64, added: u64, refused: Value, refused_count: u64) -> (u16, Value) {
    let known = seen - added;
    (200, json!({ "seen": seen, "added": added, "known": known, "refused": refused, "refusedCount": refused_count }))
}

fn lines(count: usize) -> String {
    (0..count).map(|number| format!("did:web:account{number}.example.com app.bsky.feed.post\n")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_any_size_goes_over_in_pieces_of_whole_lines() {
    let fake = Fake::start([taken(10, 8, json!([]), 0)]).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pairs.txt");
    let text = lines(40_000);
    std::fs::write(&file, &text).unwrap();
    let output = fake.run(&["import", file.to_str().unwrap(), "--job", "by-hand"]).await;
    assert!(output.status.success(), "{}", stderr(&output));
    let asked = fake.asked();
    assert!(asked.len() > 3, "{} pieces", asked.len());
    for piece in &asked {
        assert_eq!(piece.line, "POST /admin/backfill/pairs?job=by-hand");
        assert!(piece.body.len() <= PIECE_BYTES_MAX && piece.body.ends_with('\n'));
    }
    assert_eq!(asked.iter().map(|piece| piece.body.as_str()).collect::<String>(), text, "every byte, in order");
    let (added, known) = (8 * asked.len(), 2 * asked.len());
    assert_eq!(stdout(&output), format!("40,000 lines: {added} pairs added, {known} known\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn standard_input_is_read_and_its_form_is_left_to_the_relay() {
    let fake = Fake::start([taken(2, 2, json!([]), 0)]).await;
    let url = fake.url();
    let environment = [("RELAY_ADMIN_URL", url.as_str()), ("RELAY_ADMIN_TOKEN", TOKEN)];
    let text =
        "{\"did\":\"did:web:a.example\",\"collection\":\"a.b.c\"}\n\ndid:web:b.example,a.b.c\ndid:web:c.example\ta.b.c";
    let output = run(&["import", "-", "--json"], &environment, text).await;
    assert!(output.status.success(), "{}", stderr(&output));
    let asked = fake.asked();
    assert_eq!(asked.len(), 1);
    assert_eq!((asked[0].line.as_str(), asked[0].body.as_str()), ("POST /admin/backfill/pairs?job=pairs", text));
    let expected = json!({
        "job": "pairs", "lines": 4, "seen": 2, "added": 2, "known": 0, "refused": [], "refusedCount": 0,
    });
    assert_eq!(document(&output), expected);
    let output = run(&["import", "-"], &environment, "").await;
    assert_eq!(stdout(&output), "0 lines: 0 pairs added, 0 known\n");
    assert_eq!(fake.asked(), [], "nothing to send");
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_lines_are_named_by_their_place_in_the_input() {
    let refused = |line: u64| json!({ "line": line, "error": "malformed DID" });
    let fake = Fake::start([taken(1, 1, json!([]), 0)]).await;
    let url = fake.url();
    let environment = [("RELAY_ADMIN_URL", url.as_str()), ("RELAY_ADMIN_TOKEN", TOKEN)];
    let text = lines(20_000);
    run(&["import", "-"], &environment, &text).await;
    let counts: Vec<u64> = fake.asked().iter().map(|piece| piece.body.lines().count() as u64).collect();

    fake.will_answer([taken(9, 9, json!([refused(3)]), 1), taken(9, 9, json!([refused(1), refused(4)]), 150)]);
    let text = format!("{text}{}\n", "x".repeat(20_000));
    let output = run(&["import", "-"], &environment, &text).await;
    assert_eq!(output.status.code(), Some(1), "not everything was taken");
    let told = stdout(&output);
    let told: Vec<&str> = told.lines().collect();
    let expected = [
        "20,001 lines: 18 pairs added, 0 known, 152 lines refused".to_owned(),
        "line 3: malformed DID".to_owned(),
        format!("line {}: malformed DID", counts[0] + 1),
        format!("line {}: malformed DID", counts[0] + 4),
        "line 20001: longer than 8192 bytes".to_owned(),
        "and 148 more".to_owned(),
    ];
    assert_eq!(told, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_goes_on_when_the_relay_does() {
    let mut fake = Fake::start([taken(1, 1, json!([]), 0)]).await;
    let url = fake.url();
    let environment = [("RELAY_ADMIN_URL", url.as_str()), ("RELAY_ADMIN_TOKEN", TOKEN)];
    let first = lines(20_000);
    let mut child = spawn(&["import", "-"], &environment);
    let mut stdin = child.stdin.take().unwrap();
    let mut told = BufReader::new(child.stderr.take().unwrap()).lines();
    stdin.write_all(first.as_bytes()).await.unwrap();
    let mut asked = Vec::new();
    while asked.is_empty() {
        tokio::task::yield_now().await;
        asked = fake.asked();
    }
    fake.stop().await;
    let rest = lines(30_000);
    let writer = tokio::spawn(async move {
        stdin.write_all(rest.as_bytes()).await.unwrap();
        rest
    });
    let line = told.next_line().await.unwrap().unwrap();
    assert!(line.starts_with("no relay answers at") && line.contains("Still trying, from line "), "{line}");
    let busy = |status| (status, json!({ "error": "Busy", "message": "later" }));
    fake.will_answer([busy(429), busy(503), taken(1, 1, json!([]), 0)]);
    fake.start_again().await;
    let rest = writer.await.unwrap();
    let output = child.wait_with_output().await.unwrap();
    assert!(output.status.success());
    asked.extend(fake.asked());
    // What was answered with 429 and 503 was sent again.
    let mut sent: Vec<String> = asked.into_iter().map(|piece| piece.body).collect();
    sent.dedup();
    assert!(sent.concat() == first + &rest, "every line, in order, none twice");
    assert!(stdout(&output).starts_with("50,000 lines: "), "{}", stdout(&output));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_that_cannot_work_ends_at_once() {
    let output = run(&["import", "-", "--admin-url=http://127.0.0.1:1"], &[], "a b\n").await;
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("no relay answers at http://127.0.0.1:1/"), "{}", stderr(&output));
    let fake = Fake::start([(400, json!({ "error": "InvalidRequest", "message": "job: no name" }))]).await;
    let output = run(&["import", "/nowhere", "--admin-url", &fake.url()], &[], "").await;
    assert!(stderr(&output).contains("cannot read /nowhere"), "{}", stderr(&output));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pairs.txt");
    std::fs::write(&file, "a b").unwrap();
    let output = fake.run(&["import", file.to_str().unwrap(), "--job", "No Name"]).await;
    assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(2), "relay: job: no name\n"));
    assert_eq!(fake.asked()[0].line, "POST /admin/backfill/pairs?job=No+Name");
}
