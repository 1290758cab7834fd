use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::patterns::{ANY_HOST, PUBLIC_HOST, URL};

/// Which hosts the relay crawls. Any other host may still announce itself by `requestCrawl`.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[x_kube(validation = PUBLIC_HOST.rule_of(&format!(
    "self.allowInsecureHosts || !has(self.hosts) || self.hosts.all(h, h.matches(r'{}'))", PUBLIC_HOST.regex
)))]
#[serde(rename_all = "camelCase")]
pub struct UpstreamSpec {
    /// Relays whose `listHosts` tells this one which hosts there are, such as `https://bsky.network`.
    #[serde(default)]
    #[schemars(length(max = 16), inner(length(max = 1024)))]
    #[x_kube(validation = URL.each_rule())]
    pub bootstrap_relays: Vec<String>,

    /// Hosts to crawl from the start, as NAME or NAME:PORT.
    #[serde(default)]
    #[schemars(length(max = 1000), inner(length(max = 270)))]
    #[x_kube(validation = ANY_HOST.each_rule())]
    pub hosts: Vec<String>,

    /// For development: hosts may also be IP addresses and names of one label, spoken to over plain HTTP.
    #[serde(default)]
    pub allow_insecure_hosts: bool,

    /// What one host may do, unless an administrator has decided otherwise for that host.
    #[serde(default)]
    pub limits: LimitsSpec,
}

/// What one host may do.
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
}
