//! Whether what is asked of a job makes sense. Messages begin with the field that is wrong, as JSON names it.

use std::fmt::Display;
use std::net::IpAddr;

use reqwest::Url;

use super::schedule::Schedule;
use super::spec::{Collections, Kind, Spec};
use crate::net::is_public;
use crate::protocol::syntax;

/// Longest name of a job: what a label in Kubernetes may have.
const NAME_CHARS_MAX: usize = 63;
/// Services, lists and whoever declares a job are named by people.
const NAMED_MAX: usize = 100;
const REQUESTS_PER_SECOND_MAX: f64 = 1000.0;
const CONCURRENCY_MAX: u32 = 256;

/// A spec that makes no sense; the message says which field, and what to write.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {message}")]
pub struct SpecError {
    field: &'static str,
    message: String,
}

fn refuse(field: &'static str, message: impl Display) -> SpecError {
    SpecError { field, message: message.to_string() }
}

/// Whether a job may be called so.
pub(super) fn check_name(name: &str) -> Result<(), SpecError> {
    let fits = name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'));
    if fits && (1..=NAME_CHARS_MAX).contains(&name.len()) {
        return Ok(());
    }
    Err(refuse("name", format!("{name:?} is not the name of a job; write up to {NAME_CHARS_MAX} of a-z, 0-9 and -")))
}

impl Spec {
    /// Checks it. Unless `allow_insecure`, hosts on loopback and private addresses are refused.
    pub(super) fn check(&self, allow_insecure: bool) -> Result<(), SpecError> {
        self.check_kind()?;
        bounded("sources", &self.sources)?;
        bounded("collections.lists", &self.collections.lists)?;
        for source in &self.sources {
            let url = check_url("sources", source)?;
            if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
                return Err(refuse("sources", format!("{source:?} has more than a host; write https://example.com")));
            }
        }
        for list in &self.collections.lists {
            check_url("collections.lists", list)?;
        }
        for host in &self.hosts {
            check_host(host, allow_insecure)?;
        }
        if let Some(rate) = self.requests_per_second
            && !(rate > 0.0 && rate <= REQUESTS_PER_SECOND_MAX)
        {
            let message = format!("{rate} is not more than 0 and at most {REQUESTS_PER_SECOND_MAX}");
            return Err(refuse("requestsPerSecond", message));
        }
        if let Some(concurrency) = self.concurrency
            && !(1..=CONCURRENCY_MAX).contains(&concurrency)
        {
            let message = format!("{concurrency} is not between 1 and {CONCURRENCY_MAX}");
            return Err(refuse("concurrency", message));
        }
        if let Some(schedule) = &self.schedule {
            Schedule::parse(schedule).map_err(|error| refuse("schedule", error))?;
        }
        if self.declared_by.as_ref().is_some_and(|name| name.is_empty() || name.len() > NAMED_MAX) {
            return Err(refuse("declaredBy", format!("write a name of 1 to {NAMED_MAX} bytes, or leave it out")));
        }
        Ok(())
    }

    /// Fields that its kind needs, and those that mean nothing to it.
    fn check_kind(&self) -> Result<(), SpecError> {
        let is_import = self.kind == Kind::Import;
        let others = "means nothing to this kind of job";
        if is_import && self.sources.is_empty() {
            return Err(refuse("sources", "name at least one service to import from, like https://relay.example.com"));
        }
        if is_import && self.collections.is_empty() {
            let message = "say which: names, lists, seen or ofSources";
            return Err(refuse("collections", message));
        }
        if !is_import && !self.sources.is_empty() {
            return Err(refuse("sources", others));
        }
        if !is_import && self.collections != Collections::default() {
            return Err(refuse("collections", others));
        }
        if self.kind != Kind::Crawl && !self.hosts.is_empty() {
            return Err(refuse("hosts", others));
        }
        if self.kind == Kind::Pairs && self.schedule.is_some() {
            return Err(refuse("schedule", others));
        }
        Ok(())
    }
}

fn bounded(field: &'static str, list: &[String]) -> Result<(), SpecError> {
    if list.len() > NAMED_MAX { Err(refuse(field, format!("more than {NAMED_MAX}"))) } else { Ok(()) }
}

fn check_url(field: &'static str, text: &str) -> Result<Url, SpecError> {
    let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    let url = url.ok_or_else(|| refuse(field, format!("{text:?} is not an http:// or https:// URL")))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(refuse(
            field,
            format!("{} has a user name or a password in it", url.host_str().unwrap_or_default()),
        ));
    }
    Ok(url)
}

/// A host's name as the relay writes it: with `:port` where that is not the usual one.
fn check_host(text: &str, allow_insecure: bool) -> Result<(), SpecError> {
    let url = Url::parse(&format!("https://{text}/"));
    let is_host = url.is_ok_and(|url| {
        let rest = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
        let name = url.host_str().unwrap_or_default();
        rest && url.username().is_empty()
            && (name.parse::<IpAddr>().is_ok() || name == "localhost" || syntax::is_handle(name))
    });
    if !is_host {
        return Err(refuse("hosts", format!("{text:?} is not a host; write one like pds.example.com")));
    }
    check_public(text.split(':').next().unwrap_or_default(), allow_insecure)
}

/// Names are looked at when they are resolved.
fn check_public(host: &str, allow_insecure: bool) -> Result<(), SpecError> {
    let is_private = match host.trim_matches(['[', ']']).parse::<IpAddr>() {
        Ok(address) => !is_public(address),
        Err(_) => host == "localhost" || host.ends_with(".localhost"),
    };
    if is_private && !allow_insecure {
        let message = format!("{host} is not public; others are for development, with allow-insecure-hosts");
        return Err(refuse("hosts", message));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::{Value, json};

    use super::*;

    fn checked(spec: Value, allow_insecure: bool) -> Result<(), String> {
        let spec: Spec = serde_json::from_value(spec).unwrap();
        spec.check(allow_insecure).map_err(|error| error.to_string())
    }

    fn import(field: &str, value: Value) -> Value {
        let mut spec = json!({
            "kind": "import", "sources": ["https://relay.example.com"], "collections": {"names": ["com.example.record"]}
        });
        spec[field] = value;
        spec
    }

    #[test]
    fn a_spec_that_makes_sense_is_taken() {
        let cases = [
            import("schedule", json!("@weekly")),
            import("sources", json!(["http://collectiondir.relay.svc:2510/", "https://8.8.8.8", "http://[::1]:2510"])),
            import("collections", json!({"lists": ["https://lexicon.garden/llms.txt?all=1"]})),
            import("concurrency", json!(1)),
            json!({"kind": "crawl", "requestsPerSecond": 0.5}),
            json!({"kind": "crawl", "hosts": ["pds.example.com", "pds.example.com:8443"]}),
            json!({"kind": "verify", "declaredBy": "operator"}),
            json!({"kind": "pairs"}),
        ];
        for spec in cases {
            assert_eq!(checked(spec.clone(), false), Ok(()), "{spec}");
        }
        let insecure = json!({"kind": "crawl", "hosts": ["127.0.0.1:2583", "localhost:2583"]});
        assert_eq!(checked(insecure, true), Ok(()));
    }

    #[test]
    fn what_makes_no_sense_is_refused_by_the_name_of_its_field() {
        let cases = [
            (import("sources", json!([])), "sources: name at least one"),
            (import("sources", json!(["relay.example.com"])), "sources: \"relay.example.com\" is not"),
            (import("sources", json!(["wss://relay.example.com"])), "sources: "),
            (import("sources", json!(["https://relay.example.com/xrpc"])), "sources: "),
            (import("sources", json!(["https://me:secret@relay.example.com"])), "sources: relay.example.com has"),
            (import("sources", json!(vec!["https://relay.example.com"; 101])), "sources: more than 100"),
            (import("collections", json!({})), "collections: say which"),
            (import("collections", json!({"lists": ["file:///etc/passwd"]})), "collections.lists: "),
            (import("hosts", json!(["pds.example.com"])), "hosts: means nothing"),
            (import("schedule", json!("every day")), "schedule: "),
            (import("requestsPerSecond", json!(0.0)), "requestsPerSecond: "),
            (import("requestsPerSecond", json!(-1.0)), "requestsPerSecond: "),
            (import("concurrency", json!(0)), "concurrency: "),
            (import("declaredBy", json!("")), "declaredBy: "),
            (json!({"kind": "crawl", "hosts": ["https://pds.example.com"]}), "hosts: "),
            (json!({"kind": "crawl", "hosts": ["pds.example.com/path"]}), "hosts: "),
            (json!({"kind": "crawl", "hosts": ["127.0.0.1:2583"]}), "hosts: 127.0.0.1 is not public"),
            (json!({"kind": "crawl", "hosts": ["10.0.0.1"]}), "hosts: 10.0.0.1 is not public"),
            (json!({"kind": "crawl", "hosts": ["localhost"]}), "hosts: localhost is not public"),
            (json!({"kind": "crawl", "sources": ["https://relay.example.com"]}), "sources: means nothing"),
            (json!({"kind": "verify", "collections": {"seen": true}}), "collections: means nothing"),
            (json!({"kind": "pairs", "schedule": "@daily"}), "schedule: means nothing"),
        ];
        for (spec, expected) in cases {
            let refused = checked(spec.clone(), false).unwrap_err();
            assert!(refused.starts_with(expected), "{spec}: {refused}");
        }
    }

    #[test]
    fn a_name_is_what_a_label_may_be() {
        for name in ["a", "import-2", &"x".repeat(63)] {
            assert_eq!(check_name(name), Ok(()), "{name:?}");
        }
        for name in ["", "Import", "a_b", "a/b", "ä", &"x".repeat(64)] {
            assert!(check_name(name).is_err(), "{name:?}");
        }
    }
}
