//! The configuration: flag, environment variable and TOML key alike; flag over environment over file over default.

mod values;

pub use values::{Bytes, Durability, LogCompression, PlcExport, Span, Validation, ValidationRule};

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use crate::memory::{Marks, MarksError, Needs};

/// Everything that can be set, each value as it was given or absent.
///
/// One struct serves the command line, the environment and the file, so that a key cannot exist in one of them alone.
#[derive(Debug, Clone, Default, clap::Args, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Settings {
    /// Folder of the event log, the derived store and the SQLite database [default: ./data]
    #[arg(long, env = "RELAY_DATA_DIR", value_name = "DIR")]
    pub data_dir: Option<PathBuf>,

    /// Address of the firehose and XRPC [default: 0.0.0.0:3000]
    #[arg(long, env = "RELAY_LISTEN", value_name = "ADDR")]
    pub listen: Option<SocketAddr>,

    /// Address of health, metrics and admin; XRPC too [default: 0.0.0.0:3001]
    #[arg(long, env = "RELAY_ADMIN_LISTEN", value_name = "ADDR")]
    pub admin_listen: Option<SocketAddr>,

    /// Where decisions are kept: sqlite://FILE or postgres://… [default: SQLite inside the data folder]
    #[arg(long, env = "RELAY_DATABASE_URL", value_name = "URL", hide_env_values = true)]
    pub database_url: Option<String>,

    /// PLC directory [default: https://plc.directory]
    #[arg(long, env = "RELAY_PLC_URL", value_name = "URL")]
    pub plc_url: Option<String>,

    /// Whether to follow the export of the PLC directory, or of the one at a URL [default: false]
    #[arg(long, env = "RELAY_PLC_EXPORT", num_args = 0..=1, default_missing_value = "true", value_name = "BOOL|URL")]
    pub plc_export: Option<PlcExport>,

    /// Token of the admin API; without one it is closed
    #[arg(long, env = "RELAY_ADMIN_TOKEN", value_name = "TOKEN", hide_env_values = true)]
    pub admin_token: Option<String>,

    /// File of admin tokens, one on each line as TOKEN or TOKEN NAME; changes are taken without a restart
    #[arg(long, env = "RELAY_ADMIN_TOKEN_FILE", value_name = "FILE")]
    pub admin_token_file: Option<PathBuf>,

    /// Relay whose listHosts names the hosts to begin with; repeatable
    #[arg(long = "bootstrap-relay", env = "RELAY_BOOTSTRAP_RELAYS", value_name = "URL", value_delimiter = ',')]
    #[serde(alias = "bootstrap-relay")]
    pub bootstrap_relays: Option<Vec<String>>,

    /// PDS host to connect to; repeatable
    #[arg(long = "host", env = "RELAY_HOSTS", value_name = "HOST[:PORT]", value_delimiter = ',')]
    #[serde(alias = "host")]
    pub hosts: Option<Vec<String>>,

    /// For development: hosts over plain HTTP, on localhost and private addresses [default: false]
    #[arg(long, env = "RELAY_ALLOW_INSECURE_HOSTS", num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    pub allow_insecure_hosts: Option<bool>,

    /// How long events can be replayed, like 72h or 3d [default: 72h]
    #[arg(long, env = "RELAY_REPLAY_WINDOW", value_name = "DURATION")]
    pub replay_window: Option<Span>,

    /// Upper bound of the event log on disk; the oldest events go first [default: none]
    #[arg(long, env = "RELAY_REPLAY_MAX_SIZE", value_name = "BYTES")]
    pub replay_max_size: Option<Bytes>,

    /// What happens to commits that fail verification [default: enforce]
    #[arg(long, env = "RELAY_VALIDATION", value_name = "MODE")]
    pub validation: Option<Validation>,

    /// Another mode for hosts of a domain, like *.example.com=lenient; repeatable, the first that fits holds
    #[arg(long = "validation-for", env = "RELAY_VALIDATION_FOR", value_name = "PATTERN=MODE", value_delimiter = ',')]
    pub validation_for: Option<Vec<ValidationRule>>,

    /// Whether an event is on disk (sync) or with the operating system (os) before a consumer sees it [default: sync]
    #[arg(long, env = "RELAY_DURABILITY", value_name = "MODE")]
    pub durability: Option<Durability>,

    /// Whether all but the newest files of the event log are compressed: zstd or none [default: zstd]
    #[arg(long, env = "RELAY_LOG_COMPRESSION", value_name = "MODE")]
    pub log_compression: Option<LogCompression>,

    /// Memory that the relay plans for, like 2Gi [default: the cgroup's limit, else half of the machine's]
    #[arg(long, env = "RELAY_MEMORY_LIMIT", value_name = "BYTES")]
    pub memory_limit: Option<Bytes>,

    /// Share of the memory limit from which caches shrink and backfill rests, in percent [default: 80]
    #[arg(long, env = "RELAY_MEMORY_SOFT_PERCENT", value_name = "PERCENT")]
    pub memory_soft_percent: Option<u8>,

    /// Share of the memory limit from which, if it lasts, the relay restarts in good order, in percent [default: 90]
    #[arg(long, env = "RELAY_MEMORY_HARD_PERCENT", value_name = "PERCENT")]
    pub memory_hard_percent: Option<u8>,

    /// Streams of hosts at once; the others wait for their turn [default: as many as fit into memory, at most 4000]
    #[arg(long, env = "RELAY_MAX_HOSTS", value_name = "N")]
    pub max_hosts: Option<u64>,

    /// Identities kept in memory, in bytes [default: what the memory limit allows]
    #[arg(long, env = "RELAY_IDENTITY_CACHE", value_name = "BYTES")]
    pub identity_cache: Option<Bytes>,

    /// Block cache of the derived store, in bytes [default: what the memory limit allows]
    #[arg(long, env = "RELAY_BLOCK_CACHE", value_name = "BYTES")]
    pub block_cache: Option<Bytes>,

    /// Longest time that a stop takes; the grace period of a pod must be longer [default: 30s]
    #[arg(long, env = "RELAY_DRAIN_TIME", value_name = "DURATION")]
    pub drain_time: Option<Span>,

    /// Shortest time between two restarts that the relay makes for its memory [default: 10m]
    #[arg(long, env = "RELAY_RESTART_COOLDOWN", value_name = "DURATION")]
    pub restart_cooldown: Option<Span>,

    /// Restarts that the relay makes for its memory within an hour; 0 for none [default: 2]
    #[arg(long, env = "RELAY_RESTARTS_PER_HOUR", value_name = "N")]
    pub restarts_per_hour: Option<u32>,

    /// File that is told why the relay ended [default: /dev/termination-log where it exists]
    #[arg(long, env = "RELAY_TERMINATION_LOG", value_name = "FILE")]
    pub termination_log: Option<PathBuf>,

    /// Accounts that a host may have; 0 is no limit [default: 100]
    #[arg(long, env = "RELAY_HOST_ACCOUNT_LIMIT", value_name = "N")]
    pub host_account_limit: Option<u64>,

    /// Events per second taken from a host; 0 is no limit [default: 50]
    #[arg(long, env = "RELAY_HOST_EVENTS_PER_SECOND", value_name = "N")]
    pub host_events_per_second: Option<u32>,

    /// Hosts without limits, like *.host.example.com; repeatable [default: *.host.bsky.network]
    #[arg(long = "trusted-domain", env = "RELAY_TRUSTED_DOMAINS", value_name = "PATTERN", value_delimiter = ',')]
    #[serde(alias = "trusted-domain")]
    pub trusted_domains: Option<Vec<String>>,

    /// New hosts that are taken by requestCrawl within a day; 0 is no limit [default: 50]
    #[arg(long, env = "RELAY_NEW_HOSTS_PER_DAY", value_name = "N")]
    pub new_hosts_per_day: Option<u64>,

    /// How often the bootstrap relays are asked for hosts, like 1h [default: 1h]
    #[arg(long, env = "RELAY_DISCOVERY_INTERVAL", value_name = "DURATION")]
    pub discovery_interval: Option<Span>,

    /// Relay that is told of requestCrawl, bans, limits and takedowns, like https://relay2.example.com; repeatable
    #[arg(long = "sibling-relay", env = "RELAY_SIBLING_RELAYS", value_name = "URL", value_delimiter = ',')]
    #[serde(alias = "sibling-relay")]
    pub sibling_relays: Option<Vec<String>>,

    /// Admin token of the sibling relays [default: what the request to this relay came with]
    #[arg(long, env = "RELAY_SIBLING_TOKEN", value_name = "TOKEN", hide_env_values = true)]
    pub sibling_token: Option<String>,

    /// Firehose connections served at once [default: as many as fit into memory, at most 1000]
    #[arg(long, env = "RELAY_MAX_CONSUMERS", value_name = "N")]
    pub max_consumers: Option<usize>,

    /// Firehose connections served at once to one IPv4 address or one IPv6 /64 [default: 100]
    #[arg(long, env = "RELAY_MAX_CONSUMERS_PER_ADDRESS", value_name = "N")]
    pub max_consumers_per_address: Option<usize>,

    /// Whether the last address in X-Forwarded-For is the consumer's: right only behind a proxy [default: false]
    #[arg(long, env = "RELAY_TRUST_FORWARDED_FOR", num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    pub trust_forwarded_for: Option<bool>,

    /// Accounts that a collection must have to be in the public list of collections [default: 1]
    #[arg(long, env = "RELAY_COLLECTIONS_MIN_ACCOUNTS", value_name = "N")]
    pub collections_min_accounts: Option<u64>,

    /// First seq to give out, when the log is empty or behind [default: 1]
    #[arg(long, env = "RELAY_INITIAL_SEQ", value_name = "SEQ")]
    pub initial_seq: Option<u64>,
}

/// The configuration in force.
#[derive(Debug, Clone)]
pub struct Config {
    /// See [`Settings`] for each.
    pub data_dir: PathBuf,
    /// Firehose and XRPC.
    pub listen: SocketAddr,
    /// Health, metrics, admin.
    pub admin_listen: SocketAddr,
    /// Database of decisions.
    pub database_url: String,
    /// PLC directory, without a slash at its end.
    pub plc_url: String,
    /// Directory whose export is followed, without a slash at its end.
    pub plc_export: Option<String>,
    /// Token of the admin API; with none here and none in the file it is closed.
    pub admin_token: Option<String>,
    /// File of more tokens.
    pub admin_token_file: Option<PathBuf>,
    /// Relays to ask for hosts.
    pub bootstrap_relays: Vec<String>,
    /// Hosts to connect to.
    pub hosts: Vec<String>,
    /// Plain HTTP and private addresses are allowed.
    pub allow_insecure_hosts: bool,
    /// Age at which events go.
    pub replay_window: Duration,
    /// Size at which events go.
    pub replay_max_bytes: Option<u64>,
    /// Policy for invalid events.
    pub validation: Validation,
    /// The same for some hosts.
    pub validation_for: Vec<ValidationRule>,
    /// When an event counts as written.
    pub durability: Durability,
    /// What becomes of older files of the event log.
    pub log_compression: LogCompression,
    /// Memory: its limit, its marks, and what it has to hold.
    pub memory: MemoryConfig,
    /// Longest time that a stop takes.
    pub drain_time: Duration,
    /// File that is told why the relay ended.
    pub termination_log: Option<PathBuf>,
    /// Limits of a host that is not trusted.
    pub host_limits: HostLimits,
    /// Patterns of hosts without limits.
    pub trusted_domains: Vec<String>,
    /// New hosts that anyone may name within a day.
    pub new_hosts_per_day: Option<u64>,
    /// Time between two questions to the bootstrap relays.
    pub discovery_interval: Duration,
    /// Relays that are told what is decided here.
    pub sibling_relays: Vec<String>,
    /// Their admin token, where it is not that of this relay.
    pub sibling_token: Option<String>,
    /// Firehose connections at once of one address.
    pub max_consumers_per_address: usize,
    /// Consumers come through a proxy that says who they are.
    pub trust_forwarded_for: bool,
    /// Fewest accounts of a collection that is listed for everyone.
    pub collections_min_accounts: u64,
    /// Floor of the next seq.
    pub initial_seq: u64,
}

/// Memory, as it is configured.
#[derive(Debug, Clone)]
pub struct MemoryConfig {
    /// The limit that was set, in bytes.
    pub limit: Option<u64>,
    /// Where memory becomes tight.
    pub marks: Marks,
    /// What has to fit.
    pub needs: Needs,
    /// Shortest time between two restarts for memory.
    pub restart_cooldown: Duration,
    /// Most of them in an hour.
    pub restarts_per_hour: u32,
}

/// Limits of one host; `None` is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HostLimits {
    /// Accounts.
    pub accounts: Option<u64>,
    /// Events per second, by back-pressure.
    pub events_per_second: Option<u32>,
}

/// A configuration that cannot be used; the message says what to change.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration file {path}: {source}")]
    Read {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not TOML, or has a key that does not exist or a value that does not fit.
    #[error("configuration file {path}: {message}")]
    Parse {
        /// The file.
        path: String,
        /// Where and what.
        message: String,
    },
    /// A value that cannot be used.
    #[error("{key}: {message}")]
    Value {
        /// The key.
        key: &'static str,
        /// What is wrong and what fits.
        message: String,
    },
    /// Marks that make no sense.
    #[error("memory-soft-percent and memory-hard-percent: {0}")]
    Marks(#[from] MarksError),
}

const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED), 3000);
const DEFAULT_ADMIN_LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED), 3001);
const DEFAULT_DATA_DIR: &str = "./data";
const DEFAULT_PLC_URL: &str = "https://plc.directory";
const DEFAULT_REPLAY_WINDOW: Duration = Duration::from_secs(72 * 3600);
const DEFAULT_HOST_ACCOUNTS: u64 = 100;
const DEFAULT_HOST_EVENTS_PER_SECOND: u32 = 50;
const DEFAULT_TRUSTED_DOMAIN: &str = "*.host.bsky.network";
const DEFAULT_NEW_HOSTS_PER_DAY: u64 = 50;
const DEFAULT_DISCOVERY_INTERVAL: Duration = Duration::from_secs(3600);
/// Bootstrap relays belong to others: a question is some pages of a list that hardly changes.
const DISCOVERY_INTERVAL_MIN: Duration = Duration::from_secs(1);
/// A pod's grace period is longer.
const DEFAULT_DRAIN_TIME: Duration = Duration::from_secs(30);
/// Hosts, verification and the log are stopped, and consumers get a close frame, in less only by luck.
const DRAIN_TIME_MIN: Duration = Duration::from_secs(5);
const DEFAULT_RESTART_COOLDOWN: Duration = Duration::from_secs(600);
const DEFAULT_RESTARTS_PER_HOUR: u32 = 2;
/// Where Kubernetes reads why a container ended.
const TERMINATION_LOG: &str = "/dev/termination-log";
const DEFAULT_MAX_CONSUMERS_PER_ADDRESS: usize = 100;
/// Seqs stay below 2^53 (protocol 5); a floor above this leaves no room to count.
const INITIAL_SEQ_MAX: u64 = 1 << 52;

impl Settings {
    /// The settings of a TOML file.
    pub fn from_file(path: &Path) -> Result<Settings, ConfigError> {
        let shown = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read { path: shown.clone(), source })?;
        toml::from_str(&text).map_err(|error| ConfigError::Parse { path: shown, message: error.to_string() })
    }

    /// These settings, with those of `other` where these are silent.
    pub fn or(self, other: Settings) -> Settings {
        Settings {
            data_dir: self.data_dir.or(other.data_dir),
            listen: self.listen.or(other.listen),
            admin_listen: self.admin_listen.or(other.admin_listen),
            database_url: self.database_url.or(other.database_url),
            plc_url: self.plc_url.or(other.plc_url),
            plc_export: self.plc_export.or(other.plc_export),
            admin_token: self.admin_token.or(other.admin_token),
            admin_token_file: self.admin_token_file.or(other.admin_token_file),
            bootstrap_relays: self.bootstrap_relays.or(other.bootstrap_relays),
            hosts: self.hosts.or(other.hosts),
            allow_insecure_hosts: self.allow_insecure_hosts.or(other.allow_insecure_hosts),
            replay_window: self.replay_window.or(other.replay_window),
            replay_max_size: self.replay_max_size.or(other.replay_max_size),
            validation: self.validation.or(other.validation),
            validation_for: self.validation_for.or(other.validation_for),
            durability: self.durability.or(other.durability),
            log_compression: self.log_compression.or(other.log_compression),
            memory_limit: self.memory_limit.or(other.memory_limit),
            memory_soft_percent: self.memory_soft_percent.or(other.memory_soft_percent),
            memory_hard_percent: self.memory_hard_percent.or(other.memory_hard_percent),
            max_hosts: self.max_hosts.or(other.max_hosts),
            identity_cache: self.identity_cache.or(other.identity_cache),
            block_cache: self.block_cache.or(other.block_cache),
            drain_time: self.drain_time.or(other.drain_time),
            restart_cooldown: self.restart_cooldown.or(other.restart_cooldown),
            restarts_per_hour: self.restarts_per_hour.or(other.restarts_per_hour),
            termination_log: self.termination_log.or(other.termination_log),
            host_account_limit: self.host_account_limit.or(other.host_account_limit),
            host_events_per_second: self.host_events_per_second.or(other.host_events_per_second),
            trusted_domains: self.trusted_domains.or(other.trusted_domains),
            new_hosts_per_day: self.new_hosts_per_day.or(other.new_hosts_per_day),
            discovery_interval: self.discovery_interval.or(other.discovery_interval),
            sibling_relays: self.sibling_relays.or(other.sibling_relays),
            sibling_token: self.sibling_token.or(other.sibling_token),
            max_consumers: self.max_consumers.or(other.max_consumers),
            max_consumers_per_address: self.max_consumers_per_address.or(other.max_consumers_per_address),
            trust_forwarded_for: self.trust_forwarded_for.or(other.trust_forwarded_for),
            collections_min_accounts: self.collections_min_accounts.or(other.collections_min_accounts),
            initial_seq: self.initial_seq.or(other.initial_seq),
        }
    }

    /// The file that is told why the relay ended, also where the other settings make no sense.
    pub fn termination_log(&self) -> Option<PathBuf> {
        let default = || Some(PathBuf::from(TERMINATION_LOG)).filter(|path| path.exists());
        self.termination_log.clone().or_else(default)
    }

    /// The URL of the database of decisions.
    pub fn database_url(&self) -> String {
        let default = || sqlite_url(self.data_dir.as_deref().unwrap_or(Path::new(DEFAULT_DATA_DIR)));
        self.database_url.clone().unwrap_or_else(default)
    }

    /// The configuration in force: defaults filled in, files read, values checked.
    pub fn resolve(self) -> Result<Config, ConfigError> {
        let termination_log = self.termination_log();
        let database_url = self.database_url();
        let data_dir = self.data_dir.unwrap_or_else(|| PathBuf::from(DEFAULT_DATA_DIR));
        let plc_url = check_url("plc-url", self.plc_url.unwrap_or_else(|| DEFAULT_PLC_URL.to_owned()))?;
        let plc_export = match self.plc_export.unwrap_or(PlcExport::Off) {
            PlcExport::Off => None,
            PlcExport::On => Some(plc_url.clone()),
            PlcExport::At(url) => Some(check_url("plc-export", url)?),
        };
        let bootstrap_relays = self.bootstrap_relays.unwrap_or_default();
        let bootstrap_relays = bootstrap_relays.into_iter().map(|url| check_url("bootstrap-relays", url));
        let sibling_relays = self.sibling_relays.unwrap_or_default();
        let sibling_relays = sibling_relays.into_iter().map(|url| check_url("sibling-relays", url));
        let initial_seq = self.initial_seq.unwrap_or(1);
        if !(1..=INITIAL_SEQ_MAX).contains(&initial_seq) {
            return Err(ConfigError::Value {
                key: "initial-seq",
                message: format!("{initial_seq} is not between 1 and {INITIAL_SEQ_MAX}"),
            });
        }
        let drain_time = self.drain_time.map_or(DEFAULT_DRAIN_TIME, |span| span.0);
        if drain_time < DRAIN_TIME_MIN {
            let message = format!("{} s is too short to stop in good order; allow at least 5s", drain_time.as_secs());
            return Err(ConfigError::Value { key: "drain-time", message });
        }
        let listen = self.listen.unwrap_or(DEFAULT_LISTEN);
        let admin_listen = self.admin_listen.unwrap_or(DEFAULT_ADMIN_LISTEN);
        Ok(Config {
            data_dir,
            listen,
            admin_listen,
            database_url,
            plc_url,
            plc_export,
            admin_token: self.admin_token,
            admin_token_file: self.admin_token_file.map(check_token_file).transpose()?,
            bootstrap_relays: bootstrap_relays.collect::<Result<_, _>>()?,
            hosts: self.hosts.unwrap_or_default(),
            allow_insecure_hosts: self.allow_insecure_hosts.unwrap_or(false),
            replay_window: self.replay_window.map_or(DEFAULT_REPLAY_WINDOW, |span| span.0),
            replay_max_bytes: self.replay_max_size.map(|size| size.0),
            validation: self.validation.unwrap_or(Validation::Enforce),
            validation_for: self.validation_for.unwrap_or_default(),
            durability: self.durability.unwrap_or(Durability::Sync),
            log_compression: self.log_compression.unwrap_or(LogCompression::Zstd),
            memory: MemoryConfig {
                limit: self.memory_limit.map(|limit| limit.0),
                marks: Marks::new(
                    self.memory_soft_percent.unwrap_or(Marks::default().soft_percent),
                    self.memory_hard_percent.unwrap_or(Marks::default().hard_percent),
                )?,
                needs: Needs {
                    hosts: self.max_hosts,
                    consumers: self.max_consumers.map(|consumers| consumers as u64),
                    identities: self.identity_cache.map(|bytes| bytes.0),
                    block_cache: self.block_cache.map(|bytes| bytes.0),
                },
                restart_cooldown: self.restart_cooldown.map_or(DEFAULT_RESTART_COOLDOWN, |span| span.0),
                restarts_per_hour: self.restarts_per_hour.unwrap_or(DEFAULT_RESTARTS_PER_HOUR),
            },
            drain_time,
            termination_log,
            host_limits: HostLimits {
                accounts: limit(self.host_account_limit.unwrap_or(DEFAULT_HOST_ACCOUNTS)),
                events_per_second: limit(self.host_events_per_second.unwrap_or(DEFAULT_HOST_EVENTS_PER_SECOND)),
            },
            trusted_domains: self.trusted_domains.unwrap_or_else(|| vec![DEFAULT_TRUSTED_DOMAIN.to_owned()]),
            new_hosts_per_day: limit(self.new_hosts_per_day.unwrap_or(DEFAULT_NEW_HOSTS_PER_DAY)),
            discovery_interval: self
                .discovery_interval
                .map_or(DEFAULT_DISCOVERY_INTERVAL, |span| span.0)
                .max(DISCOVERY_INTERVAL_MIN),
            sibling_relays: sibling_relays.collect::<Result<_, _>>()?,
            // A file that a variable is made of often ends with a line break, which no header can hold.
            sibling_token: self.sibling_token.map(|token| token.trim().to_owned()).filter(|token| !token.is_empty()),
            max_consumers_per_address: self.max_consumers_per_address.unwrap_or(DEFAULT_MAX_CONSUMERS_PER_ADDRESS),
            trust_forwarded_for: self.trust_forwarded_for.unwrap_or(false),
            collections_min_accounts: self.collections_min_accounts.unwrap_or(1),
            initial_seq,
        })
    }
}

impl Config {
    /// Whether a trusted pattern matches a host.
    pub fn is_trusted(&self, hostname: &str) -> bool {
        self.trusted_domains.iter().any(|pattern| matches_domain(pattern, hostname))
    }

    /// The limits of a host by name: none when a trusted pattern matches.
    pub fn limits_of(&self, hostname: &str) -> HostLimits {
        if self.is_trusted(hostname) {
            HostLimits { accounts: None, events_per_second: None }
        } else {
            self.host_limits
        }
    }

    /// What happens to a host's events that fail verification, unless an admin has said otherwise.
    pub fn validation_of(&self, hostname: &str) -> Validation {
        let rule = self.validation_for.iter().find(|rule| matches_domain(&rule.pattern, hostname));
        rule.map_or(self.validation, |rule| rule.mode)
    }
}

/// Whether `hostname` is `pattern`, or below it when the pattern begins with `*.`.
fn matches_domain(pattern: &str, hostname: &str) -> bool {
    match pattern.strip_prefix('*') {
        Some(suffix) => hostname.len() > suffix.len() && hostname.ends_with(suffix),
        None => hostname == pattern,
    }
}

fn limit<N: PartialEq + From<u8>>(value: N) -> Option<N> {
    (value != N::from(0)).then_some(value)
}

fn sqlite_url(data_dir: &Path) -> String {
    format!("sqlite://{}", data_dir.join("decisions.sqlite").display())
}

fn check_url(key: &'static str, url: String) -> Result<String, ConfigError> {
    match reqwest::Url::parse(&url) {
        Ok(parsed) if matches!(parsed.scheme(), "http" | "https") && parsed.has_host() => {
            Ok(url.trim_end_matches('/').to_owned())
        }
        _ => Err(ConfigError::Value { key, message: format!("{url:?} is not an http:// or https:// URL") }),
    }
}

/// The file is read again and again later; one that cannot be read from the start is a mistake.
fn check_token_file(path: PathBuf) -> Result<PathBuf, ConfigError> {
    match std::fs::read_to_string(&path) {
        Ok(_) => Ok(path),
        Err(error) => Err(ConfigError::Value {
            key: "admin-token-file",
            message: format!("cannot read {}: {error}", path.display()),
        }),
    }
}

#[cfg(test)]
mod tests;
