#![allow(clippy::unwrap_used)]

use super::*;
use clap::Parser;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    settings: Settings,
}

fn line(words: &[&str]) -> Settings {
    Line::try_parse_from(std::iter::once(&"relay").chain(words)).unwrap().settings
}

fn file(text: &str) -> Result<Settings, ConfigError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("relay.toml");
    std::fs::write(&path, text).unwrap();
    Settings::from_file(&path)
}

#[test]
fn flags_go_before_the_file_and_the_file_before_the_defaults() {
    let from_file = file("listen = \"127.0.0.1:1\"\nplc-url = \"http://localhost:2582/\"").unwrap();
    let config = line(&["--listen", "127.0.0.1:2"]).or(from_file).resolve().unwrap();
    assert_eq!(config.listen, "127.0.0.1:2".parse().unwrap());
    assert_eq!(config.plc_url, "http://localhost:2582", "from the file, without the slash");
    assert_eq!(config.admin_listen, DEFAULT_ADMIN_LISTEN);
}

#[test]
fn every_setting_can_be_written_in_the_file() {
    let settings = file(
        r#"
        data-dir = "/data"
        listen = "0.0.0.0:3000"
        admin-listen = "0.0.0.0:3001"
        database-url = "postgres://relay@db/relay"
        plc-url = "https://plc.example.com"
        plc-export = "https://mirror.example.com/"
        admin-token = "secret"
        bootstrap-relays = ["https://relay.example.com"]
        hosts = ["pds.example.com"]
        allow-insecure-hosts = true
        replay-window = "3d"
        replay-max-size = "150Gi"
        validation = "observe"
        durability = "os"
        log-compression = "none"
        memory-limit = 1073741824
        memory-soft-percent = 70
        memory-hard-percent = 85
        max-hosts = 100
        identity-cache = "64Mi"
        block-cache = "128Mi"
        drain-time = "20s"
        restart-cooldown = "5m"
        restarts-per-hour = 0
        termination-log = "/tmp/termination-log"
        host-account-limit = 0
        host-events-per-second = 7
        trusted-domains = ["*.example.com"]
        new-hosts-per-day = 0
        discovery-interval = "2h"
        sibling-relays = ["https://relay2.example.com/"]
        sibling-token = "of-the-sibling\n"
        max-consumers = 5
        trust-forwarded-for = true
        collections-min-accounts = 5
        initial-seq = 1000
        "#,
    );
    let config = settings.unwrap().resolve().unwrap();
    assert_eq!(config.replay_window, Duration::from_secs(3 * 86400));
    assert_eq!(config.replay_max_bytes, Some(150 << 30));
    assert_eq!(config.memory.limit, Some(1 << 30));
    assert_eq!(config.memory.marks, Marks { soft_percent: 70, hard_percent: 85 });
    let needs =
        Needs { hosts: Some(100), consumers: Some(5), identities: Some(64 << 20), block_cache: Some(128 << 20) };
    assert_eq!(config.memory.needs, needs);
    assert_eq!(config.host_limits, HostLimits { accounts: None, events_per_second: Some(7) }, "0 is no limit");
    assert_eq!(config.new_hosts_per_day, None, "0 is no limit");
    assert_eq!(config.discovery_interval, Duration::from_secs(7200));
    assert_eq!(config.sibling_relays, ["https://relay2.example.com"]);
    assert_eq!(config.sibling_token.as_deref(), Some("of-the-sibling"), "without the line break");
    assert_eq!((config.validation, config.durability), (Validation::Observe, Durability::Os));
    assert_eq!(config.log_compression, LogCompression::None);
}

#[test]
fn what_cannot_be_used_is_refused_with_the_key_that_is_wrong() {
    let cases = [
        ("lisen = \"0.0.0.0:1\"", "unknown field `lisen`"),
        ("listen = \"nowhere\"", "listen"),
        ("validation = \"strict\"", "unknown variant `strict`"),
        ("replay-window = \"soon\"", "\"soon\" is not a duration; write 72h, 90m or 3d"),
        ("memory-limit = \"2 apples\"", "is not a size"),
        (
            "memory-soft-percent = 95\nmemory-hard-percent = 90",
            "memory-soft-percent and memory-hard-percent: the soft mark",
        ),
        ("memory-soft-percent = 40", "do not lie between 50 % and 97 %"),
        ("memory-hard-percent = 99", "do not lie between 50 % and 97 %"),
        ("memory-soft-percent = 300", "memory-soft-percent"),
        ("max-hosts = -1", "max-hosts"),
        ("drain-time = \"1s\"", "drain-time: 1 s is too short to stop in good order; allow at least 5s"),
        ("plc-url = \"plc.directory\"", "plc-url: \"plc.directory\" is not an http:// or https:// URL"),
        ("plc-export = \"mirror\"", "plc-export: \"mirror\" is not an http:// or https:// URL"),
        ("sibling-relays = [\"relay2\"]", "sibling-relays: \"relay2\" is not an http:// or https:// URL"),
        ("initial-seq = 0", "initial-seq: 0 is not between 1"),
        ("admin-token-file = \"/nonexistent\"", "admin-token-file: cannot read /nonexistent"),
    ];
    for (text, expected) in cases {
        let refused = file(text).and_then(Settings::resolve).unwrap_err().to_string();
        assert!(refused.contains(expected), "{text}: {refused}");
    }
}

#[test]
fn lists_are_separated_by_commas_or_repeated() {
    let settings = line(&["--host", "a.example.com,b.example.com", "--host", "c.example.com"]);
    assert_eq!(settings.hosts.unwrap(), ["a.example.com", "b.example.com", "c.example.com"]);
}

#[test]
fn a_switch_needs_no_value() {
    assert_eq!(line(&["--allow-insecure-hosts"]).allow_insecure_hosts, Some(true));
    assert_eq!(line(&["--allow-insecure-hosts=false"]).allow_insecure_hosts, Some(false));
}

#[test]
fn the_export_is_that_of_the_directory_or_of_a_mirror() {
    let directory = DEFAULT_PLC_URL.to_owned();
    let mirror = "https://mirror.example.com".to_owned();
    let cases = [
        (line(&[]), None),
        (line(&["--plc-export"]), Some(directory.clone())),
        (line(&["--plc-export=false"]), None),
        (line(&["--plc-export", "https://mirror.example.com/"]), Some(mirror.clone())),
        (file("plc-export = true").unwrap(), Some(directory)),
        (file("plc-export = false").unwrap(), None),
        (file("plc-export = \"https://mirror.example.com\"").unwrap(), Some(mirror)),
    ];
    for (settings, expected) in cases {
        assert_eq!(settings.resolve().unwrap().plc_export, expected);
    }
}

#[test]
fn trusted_domains_cover_what_is_below_them() {
    let cases = [
        ("*.host.example.com", "a.host.example.com", true),
        ("*.host.example.com", "host.example.com", false),
        ("*.host.example.com", "evilhost.example.com", false),
        ("pds.example.com", "pds.example.com", true),
        ("pds.example.com", "a.pds.example.com", false),
    ];
    for (pattern, hostname, expected) in cases {
        assert_eq!(matches_domain(pattern, hostname), expected, "{pattern} {hostname}");
    }
}

#[test]
fn sizes_and_durations_are_read_as_people_write_them() {
    let sizes = [("0", 0), ("1024", 1024), ("512Mi", 512 << 20), ("2G", 2_000_000_000)];
    for (text, bytes) in sizes {
        assert_eq!(text.parse(), Ok(Bytes(bytes)), "{text}");
    }
    let durations = [("72h", 72 * 3600), ("90m", 5400), ("3d", 3 * 86400), ("1h30m", 5400)];
    for (text, seconds) in durations {
        assert_eq!(text.parse(), Ok(Span(Duration::from_secs(seconds))), "{text}");
    }
    for text in ["", "-1h", "h", "99999999999999999999Gi", "16777216Ti", "1 Gi b"] {
        assert!(text.parse::<Span>().is_err() && text.parse::<Bytes>().is_err(), "{text:?}");
    }
}

/// The file that the operator writes for a Relay with every field set.
#[test]
fn the_file_of_the_operator_is_understood() {
    let written = include_str!("../../../operator/tests/contract/relay.toml");
    file(written).unwrap();
}

#[test]
fn every_setting_is_in_the_reference() {
    let reference = include_str!("../../../docs/reference/configuration.md");
    let command = <Line as clap::CommandFactory>::command();
    for argument in command.get_arguments().filter(|argument| argument.get_id() != "help") {
        let flag = format!("`--{}", argument.get_long().unwrap());
        let variable = argument.get_env().unwrap().to_str().unwrap();
        assert!(reference.contains(&flag) && reference.contains(variable), "docs/reference/configuration.md: {flag}");
    }
}
