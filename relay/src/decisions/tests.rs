#![allow(clippy::unwrap_used)]
//! One list of cases, run on SQLite always and on PostgreSQL where its binaries are installed.

mod postgres;

use std::collections::BTreeMap;
use std::future::Future;
use std::io::Write;
use std::pin::Pin;

use super::*;
use crate::backfill::{Kind, Spec, State};
use crate::config::{HostLimits, Validation};

type Case = fn(Decisions) -> Pin<Box<dyn Future<Output = ()>>>;

macro_rules! cases {
    ($($case:ident),* $(,)?) => {
        /// Every case with its name; each begins with an empty database.
        const CASES: &[(&str, Case)] = &[$((stringify!($case), |decisions| Box::pin($case(decisions)))),*];
    };
}

cases![
    a_host_keeps_its_first_id,
    hosts_added_at_the_same_time_are_one,
    a_day_brings_so_many_new_hosts,
    the_relay_does_not_lift_a_ban,
    what_leaves_nothing_else_behind_is_noted,
    limits_are_kept_and_given_up,
    failures_count_until_the_host_is_active,
    a_banned_domain_covers_what_is_below_it,
    what_is_no_domain_is_refused,
    a_validation_mode_is_kept_and_given_up,
    takedowns_come_in_pages_and_are_reversed,
    every_change_of_an_admin_is_audited,
    a_change_that_fails_leaves_no_audit,
    writers_at_the_same_time_all_succeed,
    backfill_jobs_are_kept_with_their_parts_and_retries,
    what_is_exported_is_imported,
    an_export_that_is_not_whole_changes_nothing,
];

const ADMIN: Actor<'static> = Actor::Admin("alice");

#[tokio::test]
async fn on_sqlite() {
    for (name, case) in CASES {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", folder.path().join("decisions.sqlite").display());
        say(&format!("sqlite: {name}"));
        case(Decisions::open(&url).await.unwrap()).await;
    }
}

#[tokio::test]
async fn on_postgresql() {
    let Some(server) = postgres::Server::start() else {
        // Not through the test's captured output: nobody would read it there.
        let text = "SKIPPED: decisions on PostgreSQL were NOT tested: install the Debian package postgresql-15\n";
        let _ = std::io::stderr().write_all(text.as_bytes());
        return;
    };
    for (name, case) in CASES {
        say(&format!("postgresql: {name}"));
        case(Decisions::open(&server.create_database(name).await).await.unwrap()).await;
    }
}

/// Goes before a case, so that the output of a failed run ends with its name.
fn say(text: &str) {
    println!("{text}");
}

async fn a_host_keeps_its_first_id(decisions: Decisions) {
    let first = decisions.add_host("pds.example.com", false, Actor::Relay).await.unwrap();
    let second = decisions.add_host("10.0.0.1:2583", true, Actor::Relay).await.unwrap();
    let again = decisions.add_host("pds.example.com", true, Actor::Relay).await.unwrap();
    assert_eq!((first.id, second.id), (1, 2), "ids are small and begin at 1: 0 is the relay itself");
    assert_eq!(again, first, "adding a host again changes nothing");
    assert_eq!((first.status, first.limits, first.failures), (HostStatus::Idle, OwnLimits::default(), 0));
    assert_eq!((first.is_insecure, second.is_insecure), (false, true));
    assert_eq!(decisions.host("10.0.0.1:2583").await.unwrap(), Some(second.clone()));
    assert_eq!(decisions.host("nobody.example.com").await.unwrap(), None);
    assert_eq!(decisions.hosts().await.unwrap(), [first, second]);
}

async fn hosts_added_at_the_same_time_are_one(decisions: Decisions) {
    let add = || decisions.add_host("pds.example.com", false, ADMIN);
    let hosts = tokio::try_join!(add(), add(), add(), add()).unwrap();
    assert_eq!([hosts.0.id, hosts.1.id, hosts.2.id, hosts.3.id], [1; 4]);
    assert_eq!(decisions.audit(None, 10).await.unwrap().len(), 1, "only one of them added it");
    let next = decisions.add_host("other.example.com", false, ADMIN).await.unwrap();
    assert_eq!(next.id, 2, "the others gave their ids back");
}

async fn a_day_brings_so_many_new_hosts(decisions: Decisions) {
    let add = async |name: &str, per_day| decisions.add_host_of_the_day(name, false, per_day).await;
    // Those that somebody in charge has named do not count.
    for number in 0..5 {
        decisions.add_host(&format!("listed{number}.example.com"), false, Actor::Relay).await.unwrap();
    }
    add("a.example.com", Some(2)).await.unwrap();
    decisions.check_day(Some(2)).await.unwrap();
    add("b.example.com", Some(2)).await.unwrap();
    for refused in [decisions.check_day(Some(2)).await, add("c.example.com", Some(2)).await.map(drop)] {
        let Err(Error::DayIsFull(DayIsFull { per_day: 2, retry_after })) = refused else { panic!("{refused:?}") };
        assert!((86_390..=86_401).contains(&retry_after.as_secs()), "{retry_after:?}");
    }
    assert_eq!(decisions.host("c.example.com").await.unwrap(), None, "no row");
    add("a.example.com", Some(2)).await.expect("one that is there already is no new one");
    add("d.example.com", None).await.expect("without a limit");
    add("e.example.com", Some(4)).await.expect("with a higher one, of which three are used");

    // A day later.
    sqlx::query("UPDATE hosts SET added_at_ms = added_at_ms - 86400000").execute(&decisions.pool).await.unwrap();
    let next = add("f.example.com", Some(1)).await.unwrap();
    assert_eq!(next.id, 10, "the one that was refused gave its id back");
    let at_once = (0..4).map(|number| {
        let decisions = decisions.clone();
        tokio::spawn(async move {
            decisions.add_host_of_the_day(&format!("g{number}.example.com"), false, Some(3)).await.is_ok()
        })
    });
    let mut taken = 0;
    for task in at_once.collect::<Vec<_>>() {
        taken += u32::from(task.await.unwrap());
    }
    assert_eq!(taken, 2, "also of those that come at the same time");
}

async fn what_leaves_nothing_else_behind_is_noted(decisions: Decisions) {
    decisions.note(ADMIN, "reset_cursor", "pds.example.com", Some("it was 17")).await.unwrap();
    let row = &decisions.audit(None, 1).await.unwrap()[0];
    let shown = (row.action.as_str(), row.subject.as_str(), row.detail.as_deref());
    assert_eq!(shown, ("reset_cursor", "pds.example.com", Some("it was 17")));
}

async fn the_relay_does_not_lift_a_ban(decisions: Decisions) {
    let id = decisions.add_host("pds.example.com", false, Actor::Relay).await.unwrap().id;
    let steps = [
        (HostStatus::Active, Actor::Relay, true, HostStatus::Active),
        (HostStatus::Offline, Actor::Relay, true, HostStatus::Offline),
        (HostStatus::Throttled, Actor::Relay, true, HostStatus::Throttled),
        (HostStatus::Banned, ADMIN, true, HostStatus::Banned),
        (HostStatus::Active, Actor::Relay, false, HostStatus::Banned),
        (HostStatus::Idle, ADMIN, true, HostStatus::Idle),
    ];
    for (number, (status, by, changed, expected)) in steps.into_iter().enumerate() {
        assert_eq!(decisions.set_host_status(id, status, by).await.unwrap(), changed, "step {number}");
        assert_eq!(decisions.hosts().await.unwrap()[0].status, expected, "step {number}");
    }
}

async fn limits_are_kept_and_given_up(decisions: Decisions) {
    let id = decisions.add_host("pds.example.com", false, Actor::Relay).await.unwrap().id;
    let configured = HostLimits { accounts: Some(100), events_per_second: None };
    let cases = [
        ((Some(5000), Some(200)), (Some(5000), Some(200)), "accounts: 5000, events per second: 200"),
        ((None, Some(1)), (Some(100), Some(1)), "accounts: as configured, events per second: 1"),
        ((Some(0), Some(0)), (None, None), "accounts: no limit, events per second: no limit"),
        ((None, None), (Some(100), None), "accounts: as configured, events per second: as configured"),
    ];
    for ((accounts, events_per_second), in_force, detail) in cases {
        let own = OwnLimits { accounts, events_per_second };
        decisions.set_host_limits(id, own, ADMIN).await.unwrap();
        assert_eq!(decisions.hosts().await.unwrap()[0].limits, own);
        let (accounts, events_per_second) = in_force;
        assert_eq!(own.or(configured), HostLimits { accounts, events_per_second });
        assert_eq!(decisions.audit(None, 1).await.unwrap()[0].detail.as_deref(), Some(detail));
    }
}

async fn failures_count_until_the_host_is_active(decisions: Decisions) {
    let id = decisions.add_host("pds.example.com", false, Actor::Relay).await.unwrap().id;
    decisions.record_failure(id, "connection refused").await.unwrap();
    decisions.record_failure(id, &format!("\0{}", "x".repeat(10_000))).await.unwrap();
    let host = decisions.host("pds.example.com").await.unwrap().unwrap();
    assert_eq!(host.failures, 2);
    assert_eq!(host.last_error.unwrap().len(), 300, "a long error is cut");
    assert!(host.last_error_at_ms >= Some(host.added_at_ms));
    decisions.set_host_status(id, HostStatus::Active, Actor::Relay).await.unwrap();
    let host = decisions.host("pds.example.com").await.unwrap().unwrap();
    assert_eq!(host.failures, 0);
    assert!(host.last_error.is_some(), "the last error is still to be seen");
}

async fn a_banned_domain_covers_what_is_below_it(decisions: Decisions) {
    for domain in ["spam.example", "*.Bad.Example.COM", "localhost", "10.0.0.1"] {
        assert!(decisions.ban_domain(domain, ADMIN).await.unwrap(), "{domain}");
    }
    assert!(!decisions.ban_domain("bad.example.com", ADMIN).await.unwrap(), "it is banned already");
    let cases = [
        ("spam.example", Some("spam.example")),
        ("pds.spam.example", Some("spam.example")),
        ("a.b.SPAM.example", Some("spam.example")),
        ("notspam.example", None),
        ("spam.example.org", None),
        ("bad.example.com", Some("bad.example.com")),
        ("example.com", None),
        ("localhost:2583", Some("localhost")),
        ("10.0.0.1:2583", Some("10.0.0.1")),
        ("10.0.0.11:2583", None),
        ("", None),
        ("%", None),
    ];
    for (hostname, expected) in cases {
        assert_eq!(decisions.banned_domain_of(hostname).await.unwrap().as_deref(), expected, "{hostname:?}");
    }
    let banned = decisions.banned_domains().await.unwrap();
    assert_eq!(banned, ["10.0.0.1", "bad.example.com", "localhost", "spam.example"]);
    assert!(decisions.unban_domain("spam.example", ADMIN).await.unwrap());
    assert!(!decisions.unban_domain("spam.example", ADMIN).await.unwrap(), "it is not banned any more");
    assert_eq!(decisions.banned_domain_of("pds.spam.example").await.unwrap(), None);
}

async fn what_is_no_domain_is_refused(decisions: Decisions) {
    for domain in ["", "*", "%", "a_b.example", "example.com/path", "example.com:443", "-a.example", "a b.example"] {
        let refused = decisions.ban_domain(domain, ADMIN).await;
        assert!(matches!(refused, Err(Error::Domain(_))), "{domain:?}: {refused:?}");
    }
    assert!(decisions.banned_domains().await.unwrap().is_empty());
}

async fn every_change_of_an_admin_is_audited(decisions: Decisions) {
    let id = decisions.add_host("pds.example.com", false, ADMIN).await.unwrap().id;
    decisions.set_host_status(id, HostStatus::Banned, ADMIN).await.unwrap();
    decisions.set_host_limits(id, OwnLimits::default(), ADMIN).await.unwrap();
    decisions.ban_domain("spam.example", ADMIN).await.unwrap();
    decisions.unban_domain("spam.example", ADMIN).await.unwrap();
    decisions.add_host("other.example.com", false, Actor::Relay).await.unwrap();
    decisions.set_host_status(id, HostStatus::Offline, Actor::Relay).await.unwrap();

    let rows = decisions.audit(None, 100).await.unwrap();
    let told: Vec<_> =
        rows.iter().rev().map(|row| (row.action.as_str(), row.subject.as_str(), row.detail.as_deref())).collect();
    let expected = [
        ("add_host", "pds.example.com", None),
        ("set_host_status", "pds.example.com", Some("banned")),
        ("set_host_limits", "pds.example.com", Some("accounts: as configured, events per second: as configured")),
        ("ban_domain", "spam.example", None),
        ("unban_domain", "spam.example", None),
    ];
    assert_eq!(told, expected, "what the relay does by itself is not among them");
    assert!(rows.iter().all(|row| row.actor == "alice" && row.at_ms > 0));
    let older = decisions.audit(Some(rows[0].id), 2).await.unwrap();
    assert_eq!(older, rows[1..3], "pages go back in time");
}

async fn a_change_that_fails_leaves_no_audit(decisions: Decisions) {
    let no_status = decisions.set_host_status(7, HostStatus::Banned, ADMIN).await;
    assert!(matches!(no_status, Err(Error::NoHost(7))), "{no_status:?}");
    let no_limits = decisions.set_host_limits(7, OwnLimits::default(), ADMIN).await;
    assert!(matches!(no_limits, Err(Error::NoHost(7))), "{no_limits:?}");
    assert!(!decisions.set_host_status(7, HostStatus::Active, Actor::Relay).await.unwrap());
    assert!(decisions.audit(None, 10).await.unwrap().is_empty());
}

async fn writers_at_the_same_time_all_succeed(decisions: Decisions) {
    let id = decisions.add_host("pds.example.com", false, ADMIN).await.unwrap().id;
    let writers = (0..40).map(|number| {
        let decisions = decisions.clone();
        tokio::spawn(async move {
            match number % 4 {
                0 => drop(decisions.add_host(&format!("pds{number}.example.com"), false, ADMIN).await?),
                1 => drop(decisions.set_host_status(id, HostStatus::Active, ADMIN).await?),
                2 => drop(decisions.ban_domain(&format!("spam{number}.example"), ADMIN).await?),
                _ => decisions.record_failure(id, "broken").await?,
            }
            Ok::<(), Error>(())
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap().unwrap();
    }
    let ids: Vec<u64> = decisions.audit(None, 100).await.unwrap().iter().rev().map(|row| row.id).collect();
    assert_eq!(ids, (1..=31).collect::<Vec<u64>>(), "audit ids have no gap");
}

async fn backfill_jobs_are_kept_with_their_parts_and_retries(decisions: Decisions) {
    let mut job = JobRow {
        name: "crawl".to_owned(),
        spec: Spec { requests_per_second: Some(0.5), ..Spec::of_kind(Kind::Crawl) },
        state: State::Running,
        reason: Some("why".to_owned()),
        last_error: None,
        last_error_at_ms: None,
        run: 2,
        incarnation: u64::MAX - 1,
        is_planned: true,
        resumes: 3,
        resumed_from: None,
        resumed_at_ms: Some(4),
        created_at_ms: 5,
        started_at_ms: Some(6),
        finished_at_ms: None,
        next_run_at_ms: Some(7),
    };
    let part = |key: &str| PartRow {
        key: key.to_owned(),
        provider: "example.com".to_owned(),
        expected: None,
        state: PartState::Open,
        cursor: None,
        steps: 0,
        moves: 0,
        restarts: 0,
        furthest: 0,
        seen: 0,
        added: 0,
        removed: 0,
        retrying: 0,
        classes: BTreeMap::new(),
        error: None,
    };
    let parts = [part("z"), part("a")];
    decisions.plan_backfill_job(&job, &parts, ADMIN, "run_backfill_job").await.unwrap();
    assert_eq!(decisions.backfill_jobs().await.unwrap(), [job.clone()]);
    assert_eq!(decisions.backfill_parts("crawl").await.unwrap(), parts, "in their order");
    (job.state, job.reason) = (State::Paused, None);
    decisions.put_backfill_job(&job, ADMIN, "pause_backfill_job").await.unwrap();
    assert_eq!(decisions.backfill_jobs().await.unwrap(), [job.clone()]);

    let retry = |number: i64| Retry {
        did: format!("did:web:h{number}.example.com"),
        reason: "500".to_owned(),
        tries: 1,
        next_at_ms: 10 - number,
    };
    let classes = BTreeMap::from([("active".to_owned(), 9)]);
    let mut moved = PartRow {
        state: PartState::Retrying,
        cursor: Some("c".to_owned()),
        steps: 1,
        moves: 2,
        restarts: 1,
        furthest: 3,
        seen: 10,
        added: 8,
        removed: 1,
        retrying: 9,
        classes,
        ..part("z")
    };
    let again = [retry(1), retry(2), retry(1)];
    moved.retrying = decisions.move_backfill_part("crawl", &moved, &again, &[]).await.unwrap();
    assert_eq!(moved.retrying, 2, "an account is asked again once, however often it is named");
    assert_eq!(decisions.backfill_parts("crawl").await.unwrap(), [moved.clone(), part("a")]);
    assert_eq!(decisions.backfill_retries("crawl", "z", 1).await.unwrap(), [retry(2)], "the next one first");
    moved.retrying = decisions.move_backfill_part("crawl", &moved, &[], &[retry(2).did]).await.unwrap();
    assert_eq!(decisions.backfill_retries("crawl", "z", 9).await.unwrap(), [retry(1)]);

    // A plan that keeps the part keeps its retries.
    decisions.plan_backfill_job(&job, &[part("b"), moved.clone()], Actor::Relay, "plan").await.unwrap();
    assert_eq!(decisions.backfill_parts("crawl").await.unwrap(), [part("b"), moved.clone()]);
    assert_eq!(decisions.backfill_retries("crawl", "z", 9).await.unwrap().len(), 1);
    let reset = PartRow { state: PartState::Failed, retrying: 0, error: Some("it lies".to_owned()), ..moved };
    decisions.reset_backfill_part("crawl", &reset).await.unwrap();
    assert_eq!(decisions.backfill_parts("crawl").await.unwrap()[1], reset);
    assert!(decisions.backfill_retries("crawl", "z", 9).await.unwrap().is_empty());

    decisions.delete_backfill_job("crawl", ADMIN).await.unwrap();
    assert!(decisions.backfill_jobs().await.unwrap().is_empty());
    assert!(decisions.backfill_parts("crawl").await.unwrap().is_empty());
    let audit = decisions.audit(None, 9).await.unwrap();
    let actions: Vec<&str> = audit.iter().map(|row| row.action.as_str()).collect();
    assert_eq!(
        actions,
        ["delete_backfill_job", "pause_backfill_job", "run_backfill_job"],
        "what the relay does is not"
    );
}

#[tokio::test]
async fn what_was_decided_is_there_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", folder.path().join("my data.sqlite").display());
    let decisions = Decisions::open(&url).await.unwrap();
    let host = decisions.add_host("pds.example.com", false, ADMIN).await.unwrap();
    drop(decisions);
    let decisions = Decisions::open(&url).await.unwrap();
    assert_eq!(decisions.hosts().await.unwrap(), [host]);
    let next = decisions.add_host("other.example.com", false, ADMIN).await.unwrap();
    assert_eq!(next.id, 2, "ids go on where they were");
    assert!(folder.path().join("my data.sqlite-wal").exists(), "SQLite writes ahead");
}

#[tokio::test]
async fn a_relative_file_is_found_from_the_working_folder() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("decisions.sqlite");
    let up = "../".repeat(std::env::current_dir().unwrap().components().count() - 1);
    let relative = format!("{up}{}", file.strip_prefix("/").unwrap().display());
    Decisions::open(&format!("sqlite://{relative}")).await.unwrap();
    assert!(file.exists());
}

#[tokio::test]
async fn a_database_that_cannot_be_used_is_explained() {
    let folder = tempfile::tempdir().unwrap();
    let garbage = folder.path().join("garbage.sqlite");
    std::fs::write(&garbage, "this is no database, and long enough to be taken for one".repeat(100)).unwrap();
    let cases = [
        ("decisions".to_owned(), "sqlite://FILE"),
        ("mysql://localhost/relay".to_owned(), "\"mysql\" is no database the relay knows"),
        ("sqlite:///nowhere/decisions.sqlite".to_owned(), "check that its folder exists"),
        (format!("sqlite://{}", folder.path().display()), "check that its folder exists"),
        (format!("sqlite://{}", garbage.display()), "file is not a database"),
        ("postgres://relay:secret@127.0.0.1:1/relay".to_owned(), "check that the server runs"),
        ("postgres://relay:secret@[oops/relay".to_owned(), "postgres://USER:PASSWORD@HOST/DATABASE"),
    ];
    for (url, expected) in cases {
        let message = Decisions::open(&url).await.unwrap_err().to_string();
        assert!(message.contains(expected), "{url}: {message}");
        assert!(!message.contains("secret"), "a password is not shown: {message}");
        assert!(!message.contains('\n'), "one sentence: {message}");
    }
}

async fn a_validation_mode_is_kept_and_given_up(decisions: Decisions) {
    let id = decisions.add_host("pds.example.com", false, Actor::Relay).await.unwrap().id;
    for mode in [Some(Validation::Observe), Some(Validation::Lenient), Some(Validation::Enforce), None] {
        decisions.set_host_validation(id, mode, ADMIN).await.unwrap();
        assert_eq!(decisions.hosts().await.unwrap()[0].validation, mode);
    }
    assert!(matches!(decisions.set_host_validation(99, None, ADMIN).await, Err(Error::NoHost(99))));
    assert_eq!(decisions.audit(None, 1).await.unwrap()[0].detail.as_deref(), Some("as configured"));
}

async fn takedowns_come_in_pages_and_are_reversed(decisions: Decisions) {
    for did in ["did:plc:c", "did:plc:a", "did:plc:b"] {
        assert!(decisions.take_down(did, ADMIN).await.unwrap());
    }
    assert!(!decisions.take_down("did:plc:a", ADMIN).await.unwrap(), "once is enough");
    assert_eq!(decisions.takedowns("", 2).await.unwrap(), ["did:plc:a", "did:plc:b"]);
    assert_eq!(decisions.takedowns("did:plc:b", 2).await.unwrap(), ["did:plc:c"]);
    assert!(decisions.reverse_takedown("did:plc:a", ADMIN).await.unwrap());
    assert!(!decisions.reverse_takedown("did:plc:a", ADMIN).await.unwrap());
    assert_eq!(decisions.takedowns("", 10).await.unwrap(), ["did:plc:b", "did:plc:c"]);
    let audit = decisions.audit(None, 1).await.unwrap().remove(0);
    assert_eq!((audit.action.as_str(), audit.subject.as_str()), ("reverse_takedown", "did:plc:a"));
    assert_eq!(decisions.audit(None, 10).await.unwrap().len(), 4, "what changes nothing is not audited");
}

/// A database in a file, with something in every table.
async fn full(folder: &std::path::Path) -> Decisions {
    let decisions = Decisions::open(&format!("sqlite://{}", folder.join("full.sqlite").display())).await.unwrap();
    copy::tests::assert_every_table_is_copied(&decisions).await;
    decisions.add_host("pds.example.com", false, Actor::Relay).await.unwrap();
    decisions.add_host("10.0.0.1:2583", true, ADMIN).await.unwrap();
    decisions.set_host_validation(2, Some(Validation::Observe), ADMIN).await.unwrap();
    decisions.take_down("did:plc:a", ADMIN).await.unwrap();
    for statement in [
        "INSERT INTO domain_bans (domain, banned_at_ms) VALUES ('spam.example', 5)",
        "INSERT INTO settings (name, value) VALUES ('a', 'täxt with \"quotes\"')",
        "INSERT INTO backfill_jobs (name, spec, state, run, incarnation, planned, resumes, created_at_ms) \
         VALUES ('j', '{\"kind\":\"crawl\"}', 'running', 1, 9007199254740993, 1, 0, 1)",
        "INSERT INTO backfill_parts (job, key, number, provider, state, steps, moves, restarts, furthest, seen, added, \
         removed, retrying, classes) VALUES ('j', 'k', 1, 'p', 'todo', 0, 0, 0, 0, 0, 0, 0, 0, '{}')",
        "INSERT INTO backfill_retries (job, part, did, reason, tries, next_at_ms) VALUES ('j', 'k', 'did:plc:a', 'r', 1, 2)",
    ] {
        sqlx::query(statement).execute(&decisions.pool).await.unwrap();
    }
    decisions
}

async fn exported(decisions: &Decisions) -> String {
    let mut out = Vec::new();
    let count = decisions.export(&mut out).await.unwrap();
    let text = String::from_utf8(out).unwrap();
    assert_eq!(text.lines().count() as u64, count + 2, "a first line and a last one");
    text
}

async fn what_is_exported_is_imported(decisions: Decisions) {
    let folder = tempfile::tempdir().unwrap();
    let source = full(folder.path()).await;
    let text = exported(&source).await;
    let rows = decisions.import(&mut text.as_bytes(), false).await.unwrap();
    assert_eq!(rows as usize, text.lines().count() - 2);
    let without_host_id = |text: &str| -> Vec<String> {
        let is_kept = |line: &&str| !(line.contains(r#""table":"ids""#) && line.contains(r#""host""#));
        text.lines().filter(is_kept).map(str::to_owned).collect()
    };
    let back = exported(&decisions).await;
    assert_eq!(without_host_id(&back), without_host_id(&text), "the same rows, whatever the database");
    assert_eq!(decisions.hosts().await.unwrap(), source.hosts().await.unwrap());
    let next = decisions.add_host("new.example.com", false, ADMIN).await.unwrap();
    assert_eq!(next.id, 100_003, "ids that the relay may have given since are not given again");

    let refused = decisions.import(&mut text.as_bytes(), false).await.unwrap_err();
    assert!(refused.to_string().contains("in the table hosts"), "{refused}");
    decisions.import(&mut text.as_bytes(), true).await.unwrap();
    assert_eq!(decisions.host("new.example.com").await.unwrap(), None, "replaced");
    let next = decisions.add_host("newer.example.com", false, ADMIN).await.unwrap();
    assert_eq!(next.id, 200_004, "not even those of before");
    source.import(&mut exported(&decisions).await.as_bytes(), true).await.expect("and the way back");
    assert_eq!(source.hosts().await.unwrap(), decisions.hosts().await.unwrap());
}

async fn an_export_that_is_not_whole_changes_nothing(decisions: Decisions) {
    let folder = tempfile::tempdir().unwrap();
    let text = exported(&full(folder.path()).await).await;
    let lines: Vec<&str> = text.lines().collect();
    let joined = |lines: &[&str]| lines.join("\n");
    let with_line = |at: usize, line: &str| {
        let mut lines = lines.clone();
        lines[at] = line;
        joined(&lines)
    };
    let last = lines.len() - 1;
    #[rustfmt::skip]
    let cases = [
        ("empty", String::new(), "not whole"),
        ("no last line", joined(&lines[..last]), "not whole"),
        ("a row is missing", joined(&[&lines[..3], &lines[4..]].concat()), "not whole"),
        ("cut inside of a line", text[..text.len() / 2].to_owned(), "is not of an export"),
        ("something else", "hello\n".to_owned(), "line 1 is not of an export"),
        ("a later format", with_line(0, r#"{"format":"relay-decisions","version":2}"#), "another format or version"),
        ("an unknown table", with_line(3, r#"{"table":"users","row":{"name":"x"}}"#), "line 4 is not of an export of decisions: there is no table \"users\""),
        ("an unknown column", with_line(3, r#"{"table":"settings","row":{"name) VALUES ('x') --":"x"}}"#), "has no column"),
        ("a number that is text", with_line(3, r#"{"table":"settings","row":{"name":7,"value":"x"}}"#), "of another type"),
    ];
    for (case, text, expected) in cases {
        let error = decisions.import(&mut text.as_bytes(), true).await.unwrap_err().to_string();
        assert!(error.contains(expected), "{case}: {error}");
        assert_eq!(decisions.hosts().await.unwrap(), [], "{case}: nothing is imported");
    }
    decisions.import(&mut text.as_bytes(), false).await.expect("and the database is as empty as before");
}

#[tokio::test]
async fn an_export_makes_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("nowhere.sqlite");
    let error = Decisions::open_existing(&format!("sqlite://{}", file.display())).await.unwrap_err();
    assert!(error.to_string().contains("check that its folder exists"), "{error}");
    assert!(!file.exists());
}
