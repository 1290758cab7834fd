//! A relay that cannot run says why, in one sentence, and ends with exit code 1.

#![allow(clippy::unwrap_used)]

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// What takes longer than this has started, or hangs.
const PATIENCE: Duration = Duration::from_secs(40);

/// Starts `relay serve` in a folder.
fn start(folder: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_relay"))
        .args(["serve", "--log=error"])
        .args(arguments)
        .current_dir(folder)
        .env_clear()
        .envs(environment.iter().copied())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Runs `relay serve` in a folder until it ends by itself.
fn serve(folder: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut child = start(folder, arguments, environment);
    let deadline = Instant::now() + PATIENCE;
    while child.try_wait().unwrap().is_none() {
        if Instant::now() > deadline {
            child.kill().unwrap();
            panic!("relay serve {arguments:?} runs, although it should not start");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    child.wait_with_output().unwrap()
}

/// The one sentence on standard error with which it ends.
#[track_caller]
fn refusal(folder: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> String {
    let output = serve(folder, arguments, environment);
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "exit code of {arguments:?}: {error}");
    assert!(output.stdout.is_empty(), "nothing on standard output");
    let sentence = error.strip_prefix("relay: ").unwrap_or_else(|| panic!("one error and nothing else: {error}"));
    assert!(!error.contains("\nrelay: ") && !error.contains("panicked"), "one error: {error}");
    sentence.trim_end().to_owned()
}

#[test]
fn each_mistake_has_its_own_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("occupied");
    std::fs::write(&file, "a file where a folder should be").unwrap();
    let (listener, admin) = (TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
    let (taken, taken_too) = (listener.local_addr().unwrap().to_string(), admin.local_addr().unwrap().to_string());
    let ports = ["--listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0"];
    let cases: [(&[&str], &[&str]); 11] = [
        (&["--config=missing.toml"], &["missing.toml", "cannot read"]),
        (&["--data-dir=occupied/data"], &["occupied/data", "--data-dir"]),
        (&["--data-dir=occupied"], &["occupied", "--data-dir"]),
        (&["--listen", &taken], &[&taken, "--listen"]),
        (&["--admin-listen", &taken_too], &[&taken_too, "--admin-listen"]),
        (&["--database-url=mysql://127.0.0.1/relay"], &["database", "mysql"]),
        (&["--database-url=postgres://127.0.0.1:1/relay"], &["database"]),
        (&["--plc-url=plc.directory"], &["plc-url", "plc.directory"]),
        (&["--memory-limit=64Mi"], &["64 MiB", "128 MiB"]),
        (&["--admin-token-file=missing"], &["admin-token-file", "missing"]),
        (&["--initial-seq=0"], &["initial-seq", "0"]),
    ];
    for (arguments, words) in cases {
        // The last value of a flag that is given twice is not taken, so only those that the case leaves are added.
        let name = |argument: &str| argument.split('=').next().unwrap_or_default().to_owned();
        let free = ports.iter().filter(|port| name(port) != name(arguments[0]));
        let arguments: Vec<&str> = arguments.iter().chain(free).copied().collect();
        let sentence = refusal(folder.path(), &arguments, &[]);
        assert_eq!(sentence.lines().count(), 1, "{arguments:?}: {sentence}");
        for word in words {
            assert!(sentence.contains(word), "{arguments:?}: {word:?} is missing in: {sentence}");
        }
    }
}

#[test]
fn what_does_not_fit_into_memory_is_refused_with_the_sum_and_what_to_change() {
    let folder = tempfile::tempdir().unwrap();
    let arguments =
        ["--memory-limit=512Mi", "--max-hosts=100000", "--listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0"];
    let said = refusal(folder.path(), &arguments, &[]);
    let lines: Vec<&str> = said.lines().collect();
    assert!(
        lines[0].starts_with("of a memory limit of 512 MiB (memory-limit), 409 MiB lie below the soft mark"),
        "{said}"
    );
    assert!(lines.iter().any(|line| line.contains("hosts ") && line.ends_with("max-hosts = 100000")), "{said}");
    assert!(lines.iter().any(|line| line.trim_start().starts_with("sum ")), "{said}");
    let advice = lines.last().unwrap();
    assert!(advice.starts_with("set max-hosts = ") && advice.contains("give the relay a memory limit of "), "{said}");
    assert!(!folder.path().join("data").exists(), "nothing was begun");
}

#[test]
fn two_relays_do_not_share_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    let ports = ["--listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0"];
    let mut first = start(folder.path(), &ports, &[]);
    // Opened after the folder has been taken.
    let database = folder.path().join("data/decisions.sqlite");
    let deadline = Instant::now() + PATIENCE;
    while !database.exists() {
        assert!(Instant::now() < deadline, "the first relay does not start");
        std::thread::sleep(Duration::from_millis(20));
    }
    let sentence = refusal(folder.path(), &ports, &[]);
    first.kill().unwrap();
    first.wait().unwrap();
    assert!(sentence.contains("data/store") && sentence.contains("no other relay"), "{sentence}");
}

#[test]
fn a_mistake_in_the_file_is_shown_where_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let cases = [
        ("listne = \"127.0.0.1:0\"", "listne"),
        ("durability = \"maybe\"", "maybe"),
        ("replay-window = \"soon\"", "soon"),
        ("memory-limit = \"lots\"", "lots"),
        ("listen = \"somewhere\"", "listen"),
        ("max-consumers = -1", "max-consumers"),
        ("listen = ", "listen"),
    ];
    for (text, word) in cases {
        std::fs::write(folder.path().join("relay.toml"), text).unwrap();
        let sentence = refusal(folder.path(), &["--config=relay.toml"], &[]);
        assert!(sentence.contains("relay.toml") && sentence.contains(word), "{text:?}: {sentence}");
    }
}

#[test]
fn a_wrong_flag_is_explained() {
    let folder = tempfile::tempdir().unwrap();
    for (argument, word) in
        [("--durability=maybe", "sync"), ("--listen=somewhere", "--listen"), ("--listne=x", "--listen")]
    {
        let output = serve(folder.path(), &[argument], &[]);
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && error.contains(word), "{argument}: {error}");
    }
}

/// A memory limit that is too small is refused with the value that was in force.
#[test]
fn a_flag_goes_before_the_environment_and_that_before_the_file() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("relay.toml"), "memory-limit = \"61Mi\"").unwrap();
    let from_file = ("RELAY_CONFIG", "relay.toml");
    let from_environment = ("RELAY_MEMORY_LIMIT", "62Mi");
    type Case<'a> = (&'a [&'a str], &'a [(&'a str, &'a str)], &'a str);
    let cases: [Case<'_>; 4] = [
        (&[], &[from_file], "61 MiB"),
        (&[], &[from_file, from_environment], "62 MiB"),
        (&["--memory-limit=63Mi"], &[from_file, from_environment], "63 MiB"),
        (&["--memory-limit=63Mi"], &[from_file], "63 MiB"),
    ];
    for (arguments, environment, limit) in cases {
        let sentence = refusal(folder.path(), arguments, environment);
        assert!(sentence.contains(limit), "{arguments:?} {environment:?}: {sentence}");
    }
}
