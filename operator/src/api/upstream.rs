use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::patterns::{ANY_HOST, DOMAIN, DURATION, HOSTS_OF, PUBLIC_HOST, SERVICE, URL};
use super::relay::AdminSecretRef;

/// Which hosts the relay crawls. Any other host may still announce itself by `requestCrawl`.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[x_kube(
    validation = PUBLIC_HOST.rule_of(&format!(
        "self.allowInsecureHosts || !has(self.hosts) || self.hosts.all(h, h.matches(r'{}'))", PUBLIC_HOST.regex
    )),
    validation = Rule::new("!has(self.siblingTokenSecretRef) || has(self.siblingRelays) && size(self.siblingRelays) > 0")
        .message(SIBLING_TOKEN_NEEDS_SIBLINGS)
)]
#[serde(rename_all = "camelCase")]
pub struct UpstreamSpec {
    /// Relays whose `listHosts` tells this one which hosts there are, such as `https://bsky.network`.
    #[serde(default)]
    #[schemars(length(max = 16), inner(length(max = 1024)))]
    #[x_kube(validation = URL.each_rule())]
    pub bootstrap_relays: Vec<String>,

    /// How often they are asked: at the start, and then at this interval.
    #[serde(default = "default_discovery_interval")]
    #[schemars(length(max = 8))]
    #[x_kube(validation = DURATION.rule())]
    pub discovery_interval: String,

    /// Hosts to crawl from the start, as NAME or NAME:PORT.
    #[serde(default)]
    #[schemars(length(max = 1000), inner(length(max = 270)))]
    #[x_kube(validation = ANY_HOST.each_rule())]
    pub hosts: Vec<String>,

    /// For development: hosts may also be IP addresses and names of one label, spoken to over plain HTTP.
    #[serde(default)]
    pub allow_insecure_hosts: bool,

    /// Hosts without limits, and beyond the limit of new hosts: a host, or all below a domain, such as *.host.example.com.
    #[serde(default = "default_trusted_domains")]
    #[schemars(length(max = 64), inner(length(max = 270)))]
    #[x_kube(validation = HOSTS_OF.each_rule())]
    pub trusted_domains: Vec<String>,

    /// Domains from which no host is taken, with everything below them. They are decisions of the relay, made by its admin
    /// API while it runs: a domain that is taken away here is let in again, and what was banned otherwise stays banned.
    #[serde(default)]
    #[schemars(
        length(max = 256),
        inner(length(max = 253)),
        extend("x-kubernetes-list-type" = "set")
    )]
    #[x_kube(validation = DOMAIN.each_rule())]
    pub banned_domains: Vec<String>,

    /// Relays of the same operator, by the URL of their admin API without a path. What is decided on this one is sent on to
    /// them: `requestCrawl`, bans, limits, takedowns.
    #[serde(default)]
    #[schemars(length(max = 16), inner(length(max = 1024)))]
    #[x_kube(validation = SERVICE.each_rule())]
    pub sibling_relays: Vec<String>,

    /// The Secret with the admin token of the sibling relays. By default they take the same token as this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sibling_token_secret_ref: Option<AdminSecretRef>,

    /// What hosts may do, unless an administrator has decided otherwise for one of them.
    #[serde(default)]
    pub limits: LimitsSpec,
}

/// What is said of a token for nobody.
pub const SIBLING_TOKEN_NEEDS_SIBLINGS: &str = "upstream.siblingTokenSecretRef needs upstream.siblingRelays";

/// What hosts may do.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct LimitsSpec {
    /// Accounts of one host; 0 switches the limit off. By default the relay's own limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub accounts_per_host: Option<i32>,

    /// Events per second of one host, before the relay slows down its reading; 0 switches the limit off.
    /// By default the relay's own limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub events_per_second: Option<i32>,

    /// Hosts that `requestCrawl` may bring within 24 hours, those of trustedDomains aside; 0 switches the limit off. By default
    /// the relay's own limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub new_hosts_per_day: Option<i32>,

    /// Streams of hosts that are open at once; when there are more hosts, they take turns. By default as many as fit into memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100_000))]
    pub max_hosts: Option<i32>,
}

impl Default for UpstreamSpec {
    fn default() -> Self {
        Self {
            bootstrap_relays: Vec::new(),
            discovery_interval: default_discovery_interval(),
            hosts: Vec::new(),
            allow_insecure_hosts: false,
            trusted_domains: default_trusted_domains(),
            banned_domains: Vec::new(),
            sibling_relays: Vec::new(),
            sibling_token_secret_ref: None,
            limits: LimitsSpec::default(),
        }
    }
}

fn default_discovery_interval() -> String {
    "1h".into()
}

fn default_trusted_domains() -> Vec<String> {
    vec!["*.host.bsky.network".into()]
}
