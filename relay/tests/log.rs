//! `relay log`, on the log of a real relay: beside it, and after it has ended.

#![allow(clippy::unwrap_used)]

mod common;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use common::World;
use relay::firehose::ws;
use relay::log::{AccountTag, Compression, Durability, Header, Kind, Log, Options};
use relay::protocol::frame::{self, AccountFrame};
use serde_json::Value;
use sim::{Delivered, Host};

/// Runs `relay log`.
fn relay_log(arguments: &[impl AsRef<OsStr>]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_relay")).arg("log").args(arguments).env_clear().output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// Runs a command on the log of this data folder that prints one JSON document.
#[track_caller]
fn json(command: &[&str], data_dir: &Path) -> Value {
    let arguments = [command, &["--json", "--data-dir", data_dir.to_str().unwrap()]].concat();
    let output = relay_log(&arguments);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", stderr(&output)))
}

/// Runs `relay log dump` on this data folder.
#[track_caller]
fn dump(data_dir: &Path, arguments: &[&str]) -> Vec<Value> {
    let output = relay_log(&[&["dump", "--data-dir", data_dir.to_str().unwrap()], arguments].concat());
    assert!(output.status.success(), "{}", stderr(&output));
    stdout(&output).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// A relay that has passed 40 events of two accounts; what it delivered, and the first account's DID.
async fn with_events(seed: u64) -> (World, Host, Vec<(u64, Vec<u8>)>, String) {
    let world = World::new(seed, &[]).await;
    let host = world.host().await;
    let (mut one, mut two) = (world.account(&host), world.account(&host));
    let mut consumer = world.relay.consumer(None).await;
    for _ in 0..20 {
        host.emit(one.post());
        host.emit(two.post());
    }
    let delivered = contents(&consumer.events(40).await);
    (world, host, delivered, one.did.to_string())
}

fn contents(delivered: &[Delivered]) -> Vec<(u64, Vec<u8>)> {
    delivered.iter().map(|event| (event.seq, event.content())).collect()
}

/// What a consumer gets that wants these 40 events again.
async fn replayed(world: &World) -> Vec<(u64, Vec<u8>)> {
    contents(&world.relay.consumer(Some(0)).await.events(40).await)
}

/// A log of several small segments, as frames of `#account` events.
fn small_segments(data_dir: &Path) -> Vec<PathBuf> {
    let dir = data_dir.join("log");
    let options = Options {
        segment_bytes: 2000,
        durability: Durability::Os,
        compression: Compression::None,
        ..Options::new(&dir)
    };
    let (mut log, _) = Log::open(options).unwrap();
    for seq in 1..=60 {
        let did = format!("did:plc:{seq:024}");
        let mut frame = Vec::new();
        let account = AccountFrame { seq, did: &did, time: "2026-01-01T00:00:00.000Z", ..AccountFrame::default() };
        frame::encode_account(&account, &mut frame);
        let mut wire = ws::frame_header(frame.len()).to_vec();
        wire.extend_from_slice(&frame);
        let account = AccountTag::of(&did);
        let header = Header { seq, time_ms: 1000, host: 1, upstream_seq: seq, kind: Kind::Account, account };
        log.append(&header, &wire).unwrap();
        log.commit().unwrap();
    }
    log.close().unwrap();
    segments(&dir)
}

/// The plain segments in a folder, oldest first.
fn segments(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = entries.filter(|path| path.extension() == Some(OsStr::new("log"))).collect();
    files.sort();
    files
}

fn flip(file: &Path, at: usize) {
    let mut bytes = std::fs::read(file).unwrap();
    bytes[at] ^= 1;
    std::fs::write(file, bytes).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_relays_log_can_be_read() {
    let (mut world, _host, delivered, did) = with_events(91).await;
    let data_dir = world.data_dir();

    let info = json(&["info"], &data_dir);
    assert_eq!(info["totals"]["events"], 40, "{info:#}");
    assert_eq!((&info["totals"]["firstSeq"], &info["totals"]["lastSeq"]), (&1.into(), &40.into()));
    assert_eq!(info["segments"][0]["compressed"], false);
    let text = stdout(&relay_log(&["info", "--data-dir", data_dir.to_str().unwrap()]));
    assert!(text.contains("40 events, seqs 1 to 40"), "{text}");

    let check = relay_log(&["check", "--data-dir", data_dir.to_str().unwrap()]);
    assert!(check.status.success(), "{}", stdout(&check));
    assert!(stdout(&check).contains("nothing is wrong"), "{}", stdout(&check));

    let lines = dump(&data_dir, &[]);
    assert_eq!(lines.len(), 40);
    let of_account = |line: &&Value| line["did"] == did.as_str();
    assert_eq!(lines.iter().filter(of_account).count(), 20);
    assert!(lines.iter().all(|line| line["kind"] == "commit" && line["upstreamSeq"].is_u64()));
    assert!(lines[0]["rev"].is_string() && lines[0]["size"].as_u64().unwrap() > 100, "{}", lines[0]);
    let seqs = |lines: &[Value]| lines.iter().map(|line| line["seq"].as_u64().unwrap()).collect::<Vec<_>>();
    assert_eq!(seqs(&dump(&data_dir, &["--from=7", "--to=9"])), [7, 8, 9]);
    let from: Vec<Value> = lines.iter().skip(1).filter(of_account).take(3).cloned().collect();
    assert_eq!(dump(&data_dir, &["--did", &did, "--limit=3", "--from=2"]), from);

    let repair = relay_log(&["check", "--repair", "--data-dir", data_dir.to_str().unwrap()]);
    assert_eq!(repair.status.code(), Some(1));
    assert!(stderr(&repair).contains("is in use by another relay"), "{}", stderr(&repair));

    world.relay.kill();
    world.relay.start_again().await;
    assert_eq!(replayed(&world).await, delivered, "looking changed nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_torn_end_is_found_and_cut_and_the_relay_goes_on() {
    let (mut world, _host, delivered, _) = with_events(92).await;
    let data_dir = world.data_dir();
    assert!(world.relay.terminate().await.success());
    let file = segments(&data_dir.join("log")).pop().unwrap();
    let whole = std::fs::read(&file).unwrap();
    std::fs::write(&file, [whole.as_slice(), &[9; 50]].concat()).unwrap();

    let check = relay_log(&["check", "--data-dir", data_dir.to_str().unwrap()]);
    assert_eq!(check.status.code(), Some(1));
    assert!(stdout(&check).contains("ends with 50 bytes of a write that was not finished"), "{}", stdout(&check));
    let repaired = relay_log(&["check", "--repair", "--data-dir", data_dir.to_str().unwrap()]);
    assert!(repaired.status.success(), "{}", stderr(&repaired));
    assert!(stdout(&repaired).contains("repaired: 50 bytes"), "{}", stdout(&repaired));
    assert_eq!(std::fs::read(&file).unwrap(), whole);
    world.relay.start_again().await;
    assert_eq!(replayed(&world).await, delivered, "nothing is lost");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_segment_is_told_set_aside_and_the_relay_starts_without_it() {
    let mut world = World::new(93, &[]).await;
    let data_dir = world.data_dir();
    assert!(world.relay.terminate().await.success());
    let files = small_segments(&data_dir);
    assert!(files.len() > 4);
    flip(&files[2], 20);
    let refused = relay_log(&["dump", "--data-dir", data_dir.to_str().unwrap()]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(stderr(&refused).contains("is damaged at byte 0"), "{}", stderr(&refused));

    let found = json(&["check"], &data_dir);
    let finding = &found["findings"][0];
    assert_eq!(finding["kind"], "damaged", "{found:#}");
    let (first, last) = (finding["firstSeq"].as_u64().unwrap(), finding["lastSeq"].as_u64().unwrap());
    let repaired = json(&["check", "--repair"], &data_dir);
    assert_eq!(repaired["repairs"][0]["kind"], "setAside", "{repaired:#}");
    assert!(PathBuf::from(repaired["repairs"][0]["aside"].as_str().unwrap()).exists());
    assert_eq!(repaired["repairs"][1]["firstSeq"], first);
    assert_eq!(json(&["check"], &data_dir)["findings"], Value::Array(vec![]));
    assert_eq!(json(&["info"], &data_dir)["lost"][0]["lastSeq"], last);

    world.relay.start_again().await;
    let mut consumer = world.relay.consumer(Some(0)).await;
    let delivered = consumer.events(60 - (last + 1 - first) as usize).await;
    let seqs: Vec<u64> = delivered.iter().map(|event| event.seq).collect();
    assert_eq!(seqs, (1..first).chain(last + 1..=60).collect::<Vec<_>>());
}

#[test]
fn the_log_is_found_by_data_dir_by_the_configuration_and_by_itself() {
    let folder = tempfile::tempdir().unwrap();
    let data_dir = folder.path().join("data");
    small_segments(&data_dir);
    let config = folder.path().join("relay.toml");
    std::fs::write(&config, format!("data-dir = {:?}", data_dir.to_str().unwrap())).unwrap();
    let log_dir = data_dir.join("log");
    let places = [("--data-dir", &data_dir), ("--config", &config), ("--log-dir", &log_dir)];
    for (option, path) in places {
        let output = relay_log(&[OsStr::new("info"), OsStr::new(option), path.as_os_str()]);
        assert!(stdout(&output).contains("60 events, seqs 1 to 60"), "{option}: {}", stderr(&output));
    }
    let missing = relay_log(&["info", "--data-dir", "/nowhere"]);
    assert_eq!(missing.status.code(), Some(1));
    assert!(stderr(&missing).contains("/nowhere/log"), "{}", stderr(&missing));
}

#[test]
fn an_event_that_is_not_what_the_log_says_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let (mut log, _) = Log::open(Options::new(folder.path().join("log"))).unwrap();
    let account = AccountTag::of("did:plc:a");
    let header = Header { seq: 1, time_ms: 1, host: 1, upstream_seq: 1, kind: Kind::Account, account };
    log.append(&header, b"no frame").unwrap();
    log.close().unwrap();
    let found = json(&["check"], folder.path());
    assert_eq!(found["findings"][0]["kind"], "event", "{found:#}");
    let repair = relay_log(&["check", "--repair", "--data-dir", folder.path().to_str().unwrap()]);
    assert_eq!(repair.status.code(), Some(1), "a repair cannot help here: {}", stdout(&repair));
    assert!(dump(folder.path(), &[])[0]["error"].is_string());
}
