use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::patterns::{HOST, LIST, NSID, SCHEDULE, SERVICE};

/// Whether a list of collections can name any, as CEL; `self` is the section `backfill`.
const NAMES_ANY: &str = "(self.collections.all || self.collections.seen || self.collections.ofSources \
     || size(self.collections.names) > 0 || size(self.collections.lists) > 0)";

/// What fills the relay's directory of collections from outside. It becomes jobs of the relay: one import for each source,
/// a crawl, and a verification. They go on where they were after a restart, and change and go with what is written here.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[x_kube(
    validation = Rule::new(format!("size(self.sources) == 0 || {NAMES_ANY}")).message(SOURCES_NEED_COLLECTIONS),
    validation = Rule::new(format!("size(self.sources) > 0 || !{NAMES_ANY}")).message(COLLECTIONS_NEED_SOURCES)
)]
#[serde(rename_all = "camelCase")]
pub struct BackfillSpec {
    /// Services that are asked who has records of a collection: `listReposByCollection` of another relay or of a
    /// collectiondir. Each becomes a job of its own.
    #[serde(default)]
    #[schemars(
        length(max = 16),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["url"])
    )]
    pub sources: Vec<BackfillSource>,

    /// Which collections the sources are asked for: all that is named here, together.
    #[serde(default)]
    pub collections: BackfillCollections,

    /// Asking PDS hosts themselves for their accounts, and each account for its collections.
    #[serde(default)]
    pub crawl: CrawlSpec,

    /// Looking whether the accounts of the directory are still what it says: gone, deactivated, migrated.
    #[serde(default)]
    pub verify: VerifySpec,

    /// When imports and the crawl run again after they are done: @hourly, @daily, @weekly, @monthly, or a cron expression
    /// of five fields in UTC. By default they run once.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    #[x_kube(validation = SCHEDULE.rule())]
    pub schedule: Option<String>,

    /// Providers that one job asks at the same time; all hosts that share a limit are one provider. By default the relay's
    /// own number.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 64))]
    pub concurrency: Option<i32>,
}

/// What is said of sources without collections.
pub const SOURCES_NEED_COLLECTIONS: &str =
    "backfill.sources need collections to ask for; name some in backfill.collections, or set all: true";
/// What is said of collections without sources.
pub const COLLECTIONS_NEED_SOURCES: &str =
    "backfill.collections are asked of backfill.sources; name a source, such as https://bsky.network";

/// A service with `listReposByCollection`.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct BackfillSource {
    /// Where it is, without a path, such as `https://bsky.network`.
    #[schemars(length(max = 1024))]
    #[x_kube(validation = SERVICE.rule())]
    pub url: String,

    /// How often it is asked at most. By default the relay's own rate; a service that asks for less gets less.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.01, max = 1000))]
    pub requests_per_second: Option<f64>,
}

/// Where the names of collections come from.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct BackfillCollections {
    /// These, such as `app.bsky.feed.post`.
    #[serde(default)]
    #[schemars(length(max = 256), inner(length(max = 317)))]
    #[x_kube(validation = NSID.each_rule())]
    pub names: Vec<String>,

    /// URLs of lists, as plain text or Markdown, such as `https://lexicon.garden/llms.txt`.
    #[serde(default)]
    #[schemars(length(max = 16), inner(length(max = 1024)))]
    #[x_kube(validation = LIST.each_rule())]
    pub lists: Vec<String>,

    /// Those that the relay has seen on its own firehose.
    #[serde(default)]
    pub seen: bool,

    /// Those that each source lists itself.
    #[serde(default)]
    pub of_sources: bool,

    /// Short for seen and ofSources.
    #[serde(default)]
    pub all: bool,
}

impl BackfillCollections {
    /// Whether no name can come of it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Asking PDS hosts.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct CrawlSpec {
    /// Whether hosts are asked.
    #[serde(default)]
    pub enabled: bool,

    /// Which, as NAME or NAME:PORT; by default all that the relay knows.
    #[serde(default)]
    #[schemars(length(max = 1000), inner(length(max = 270)))]
    #[x_kube(validation = HOST.each_rule())]
    pub hosts: Vec<String>,

    /// How often one provider is asked at most. By default the relay's own rate.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.01, max = 1000))]
    pub requests_per_second: Option<f64>,
}

/// Looking whether the directory is right.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct VerifySpec {
    /// Whether accounts are looked at.
    #[serde(default)]
    pub enabled: bool,

    /// When it begins again after it is done, in the form of backfill.schedule.
    #[serde(default = "default_verify_schedule")]
    #[schemars(length(max = 128))]
    #[x_kube(validation = SCHEDULE.rule())]
    pub schedule: String,

    /// How often one provider is asked at most. By default the relay's own rate.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.01, max = 1000))]
    pub requests_per_second: Option<f64>,
}

impl Default for VerifySpec {
    fn default() -> Self {
        Self { enabled: false, schedule: default_verify_schedule(), requests_per_second: None }
    }
}

fn default_verify_schedule() -> String {
    "@weekly".into()
}

/// The declared jobs of a relay, as it last told of them. A job that was not heard of since stays here as it was.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct BackfillStatus {
    /// For people: 3/4 done. Like the numbers that follow, without the verification, which never ends.
    pub summary: String,
    /// Jobs that fill the directory: imports and the crawl.
    pub total: i64,
    /// Of these, done.
    pub done: i64,
    /// At work.
    pub running: i64,
    /// Not begun yet, or waiting for a source.
    pub waiting: i64,
    /// Stopped by a person.
    pub paused: i64,
    /// Not able to go on.
    pub failed: i64,
    /// DIDs that sources have named, in the present run of each job.
    pub seen: i64,
    /// Pairs of an account and a collection that were new to the directory.
    pub added: i64,
    /// DIDs per second, lately.
    pub per_second: f64,
    /// Seconds until the last of them is done, as far as can be said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eta_seconds: Option<i64>,
    /// Every declared job.
    #[serde(default)]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub jobs: Vec<BackfillJobStatus>,
}

/// A declared job.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct BackfillJobStatus {
    /// Its name, as `relay backfill show` takes it.
    pub name: String,
    /// queued, running, waiting, paused, done, failed, cancelled; missing while the relay does not have it.
    pub state: String,
    /// Why it waits, failed, or is done with parts that failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Parts done, of all: 3/40.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress: Option<String>,
    /// The last thing that went wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// When its present run began, or the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_at: Option<String>,
    /// When that run ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<String>,
    /// How many times it went on after a restart of the relay.
    #[serde(default)]
    pub resumes: i64,
}
