//! What the strings of a spec may look like. Each pattern is written once and checked twice: by the
//! API server, as a CEL rule of the schema, and by the operator, in its `validate` step.

use std::collections::BTreeMap;
use std::sync::{PoisonError, RwLock};

use kube::core::Rule;
use regex::Regex;

/// The form of a string, and the sentence a person reads when theirs differs.
#[derive(Clone, Copy, Debug)]
pub struct Pattern {
    /// A regular expression that Rust's `regex` and CEL's RE2 read alike; no quotes.
    pub regex: &'static str,
    /// What to write instead.
    pub message: &'static str,
}

/// Name of a `Relay`: it becomes a Service name, and a StatefulSet needs 11 characters of the 63 a
/// label may have for its revision hash.
pub const RELAY_NAME: Pattern = Pattern {
    regex: "^[a-z]([-a-z0-9]{0,50}[a-z0-9])?$",
    message: "metadata.name must be at most 52 lower-case letters, digits and '-', beginning with a letter",
};

/// A public DNS name of at least two labels.
pub const HOSTNAME: Pattern = Pattern {
    regex: "^([a-z0-9]([-a-z0-9]*[a-z0-9])?[.])+[a-z]([-a-z0-9]*[a-z0-9])?$",
    message: "write a DNS name in lower case, such as relay.example.com",
};

/// A number of bytes.
pub const SIZE: Pattern = Pattern {
    regex: "^[1-9][0-9]{0,14}(k|M|G|T|Ki|Mi|Gi|Ti)?$",
    message: "write a whole number of bytes with a unit, such as 512Mi or 200Gi",
};

/// A span of time with one unit.
pub const DURATION: Pattern = Pattern {
    regex: "^[1-9][0-9]{0,6}(s|m|h)$",
    message: "write a whole number of seconds, minutes or hours, such as 72h",
};

/// A time of every day, or of one day of the week. It may pass midnight; from and to the same time it is a whole day.
pub const WINDOW: Pattern = Pattern {
    regex: "^((Mon|Tue|Wed|Thu|Fri|Sat|Sun) )?([01][0-9]|2[0-3]):[0-5][0-9]-([01][0-9]|2[0-3]):[0-5][0-9] UTC$",
    message: "write a time such as Sun 03:00-05:00 UTC, or 03:00-05:00 UTC for every day",
};

/// Address of an HTTP service, without query and fragment.
pub const URL: Pattern =
    Pattern { regex: "^https?://[^/?# ]+(/[^?# ]*)?$", message: "write a URL such as https://plc.directory" };

/// Address of a service, which has no path.
pub const SERVICE: Pattern = Pattern {
    regex: "^https?://[^/?#@ ]+/?$",
    message: "write the URL of a service without a path, such as https://bsky.network",
};

/// Address of a list.
pub const LIST: Pattern = Pattern {
    regex: "^https?://[^/?#@ ]+(/[^?# ]*)?([?][^# ]*)?$",
    message: "write the URL of a list, such as https://lexicon.garden/llms.txt",
};

/// A host that the relay knows, or could: a name or an IPv4 address, with a port if it is not the usual one.
pub const HOST: Pattern = Pattern {
    regex: "^([a-z0-9]([-a-z0-9]*[a-z0-9])?[.])*[a-z0-9]([-a-z0-9]*[a-z0-9])?(:[0-9]{1,5})?$",
    message: "write a host as NAME or NAME:PORT, without https://, such as pds.example.com",
};

/// Some hosts: one by its name, or all below a domain.
pub const HOSTS_OF: Pattern = Pattern {
    regex: "^([*][.])?([a-z0-9]([-a-z0-9]*[a-z0-9])?[.])*[a-z0-9]([-a-z0-9]*[a-z0-9])?(:[0-9]{1,5})?$",
    message: "write a host, or *. and the domain that hosts are below, such as *.host.example.com",
};

/// A domain, also a top-level one.
pub const DOMAIN: Pattern = Pattern {
    regex: "^([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?[.])*[a-z]([-a-z0-9]{0,61}[a-z0-9])?$",
    message: "write a domain in lower case, such as spam.example; what is below it is meant too",
};

/// Name of a collection.
pub const NSID: Pattern = Pattern {
    regex: "^[a-zA-Z]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?([.][a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?)+[.][a-zA-Z][a-zA-Z0-9]{0,62}$",
    message: "write the name of a collection, such as app.bsky.feed.post",
};

/// When a job runs again: a word, or the five fields of cron.
pub const SCHEDULE: Pattern = Pattern {
    regex: "^(@(hourly|daily|weekly|monthly)|([0-9A-Za-z*,/-]+ ){4}[0-9A-Za-z*,/-]+)$",
    message: "write @hourly, @daily, @weekly, @monthly, or the five fields of a cron expression, such as 0 3 * * 1",
};

/// A PDS of the public network: a DNS name, with a port if it is not 443.
pub const PUBLIC_HOST: Pattern = Pattern {
    regex: "^([a-z0-9]([-a-z0-9]*[a-z0-9])?[.])+[a-z]([-a-z0-9]*[a-z0-9])?(:[0-9]{1,5})?$",
    message: "hosts are public DNS names, such as pds.example.com; addresses, names of one label and http:// need allowInsecureHosts: true",
};

/// A PDS of any network: a name or an address, with a port, spoken to over plain HTTP.
pub const ANY_HOST: Pattern = Pattern {
    regex: r"^(http://)?([a-z0-9]([-a-z0-9.]*[a-z0-9])?|\[[0-9a-f:]+\])(:[0-9]{1,5})?$",
    message: "write a host as NAME or NAME:PORT, such as pds.example.com or 10.0.0.7:2583",
};

/// What a DNS record points to: an address or a name.
pub const DNS_TARGET: Pattern = Pattern {
    regex: "^(([0-9]{1,3}[.]){3}[0-9]{1,3}|[0-9a-f]{0,4}(:[0-9a-f]{0,4}){2,7}|([a-z0-9]([-a-z0-9]*[a-z0-9])?[.])+[a-z]([-a-z0-9]*[a-z0-9])?)$",
    message: "write an address or a DNS name in lower case, such as 203.0.113.7 or lb.example.com",
};

/// An address that no host of the internet has: of a private network, or of one that is shared by its members.
pub const PRIVATE_ADDRESS: Pattern = Pattern {
    regex: "^(10([.][0-9]{1,3}){3}|(192[.]168|172[.](1[6-9]|2[0-9]|3[01])|100[.](6[4-9]|[7-9][0-9]|1[01][0-9]|12[0-7]))([.][0-9]{1,3}){2}|f[cd][0-9a-f]{2}(:[0-9a-f]{0,4}){2,7})$",
    message: "write a private address of the node, such as 10.0.0.2; a public one would show the admin API to the internet",
};

/// Repository of a container image: everything before the tag.
pub const IMAGE_REPOSITORY: Pattern = Pattern {
    regex: "^([A-Za-z0-9.-]+(:[0-9]+)?/)?[a-z0-9]+([._/-]+[a-z0-9]+)*$",
    message: "write the image without its tag, such as registry.example.com/relay",
};

/// Tag of a container image.
pub const IMAGE_TAG: Pattern = Pattern {
    regex: "^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$",
    message: "a tag is at most 128 letters, digits, '.', '_' and '-'",
};

/// Digest of a container image.
pub const IMAGE_DIGEST: Pattern =
    Pattern { regex: "^sha256:[0-9a-f]{64}$", message: "a digest is sha256: and 64 hexadecimal digits" };

/// Name of an object that a spec refers to.
pub const OBJECT_NAME: Pattern = Pattern {
    regex: "^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$",
    message: "write the name of an object: lower-case letters, digits, '-' and '.'",
};

/// Key of a Secret.
pub const SECRET_KEY: Pattern =
    Pattern { regex: "^[-._a-zA-Z0-9]{1,253}$", message: "a key of a Secret has letters, digits, '-', '_' and '.'" };

/// Key of a label, with an optional domain in front.
pub const LABEL_KEY: Pattern = Pattern {
    regex: "^([a-z0-9.-]{1,253}/)?[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$",
    message: "a label's key has letters, digits, '-', '_' and '.', with an optional domain in front",
};

/// Cores of a processor, or thousandths of one.
pub const CPU: Pattern = Pattern {
    regex: "^([1-9][0-9]{0,3}|[1-9][0-9]{0,6}m)$",
    message: "write cores, or thousandths of one, such as 2 or 500m",
};

/// Name of a variable of the environment.
pub const VARIABLE: Pattern = Pattern {
    regex: "^[A-Za-z_][A-Za-z0-9_]{0,127}$",
    message: "a variable's name has letters, digits and '_', and begins with no digit",
};

/// Value of a label.
pub const LABEL_VALUE: Pattern = Pattern {
    regex: "^([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?$",
    message: "a label's value has at most 63 letters, digits, '-', '_' and '.'",
};

/// Compiled expressions: to compile one takes far longer than to match it, and every reconcile matches many.
static COMPILED: RwLock<BTreeMap<&'static str, Regex>> = RwLock::new(BTreeMap::new());

fn compiled(expression: &'static str) -> Option<Regex> {
    if let Some(regex) = COMPILED.read().unwrap_or_else(PoisonError::into_inner).get(expression) {
        return Some(regex.clone());
    }
    let regex = Regex::new(expression).ok()?;
    COMPILED.write().unwrap_or_else(PoisonError::into_inner).insert(expression, regex.clone());
    Some(regex)
}

impl Pattern {
    /// Whether `value` has this form.
    #[must_use]
    pub fn matches(&self, value: &str) -> bool {
        compiled(self.regex).is_some_and(|regex| regex.is_match(value))
    }

    /// The CEL rule for a string.
    pub(super) fn rule(&self) -> Rule {
        self.rule_of(&format!("self.matches(r'{}')", self.regex))
    }

    /// The CEL rule for every string of a list.
    pub(super) fn each_rule(&self) -> Rule {
        self.rule_of(&format!("self.all(s, s.matches(r'{}'))", self.regex))
    }

    /// A CEL expression of the caller's, with this pattern's message.
    pub(super) fn rule_of(&self, expression: &str) -> Rule {
        Rule::new(expression).message(self.message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pattern_takes_the_good_and_refuses_the_bad() {
        let long = "a".repeat(53);
        #[rustfmt::skip]
        let table: &[(&str, Pattern, &[&str], &[&str])] = &[
            ("RELAY_NAME", RELAY_NAME, &["a", "demo", "hil-2"], &["", "2a", "a.b", "a-", "A", &long]),
            ("HOSTNAME", HOSTNAME, &["relay.test", "a.b-c.example"], &["relay", "10.0.0.1", "a..b", "-a.b", "a.b.", "R.test", "a.b:80"]),
            ("SIZE", SIZE, &["1", "512Mi", "2G"], &["", "0", "1.5Gi", "-1Gi", "1 Gi", "1gi", "1Ki2"]),
            ("DURATION", DURATION, &["72h", "90s"], &["", "0h", "72", "3d", "1h30m"]),
            ("WINDOW", WINDOW, &["Sun 03:00-05:00 UTC", "23:30-00:30 UTC"], &["", "03:00-05:00", "Sun", "Sunday 03:00-05:00 UTC", "3:00-5:00 UTC", "24:00-25:00 UTC", "03:00-05:00 CET"]),
            ("URL", URL, &["http://10.99.0.1:2582", "https://a.example/x"], &["plc.directory", "ftp://a", "https://", "https://a?b", "https://a b"]),
            ("SERVICE", SERVICE, &["https://bsky.network", "http://10.99.0.1:3000/"], &["", "bsky.network", "https://a.b/c", "https://a.b?c", "https://u:p@a.b"]),
            ("LIST", LIST, &["https://lexicon.garden/llms.txt", "http://a.b?c=d"], &["", "a.b/c", "ftp://a.b", "https://a.b/c#d"]),
            ("HOST", HOST, &["pds.example.com", "10.0.0.7:2583", "localhost:2583"], &["", "http://a.b", "a.b/c", "A.b", "a..b"]),
            ("HOSTS_OF", HOSTS_OF, &["*.host.example.com", "pds.example.com:8443", "*.test", "localhost:2583"], &["", "*", "*example.com", "a.*.b", "a.b,c.d", "A.b", "a.b=lenient"]),
            ("DOMAIN", DOMAIN, &["spam.example", "zip", "localhost"], &["", "*.a", ".a", "a.", "a.b:80", "10.0.0.1", "A.b"]),
            ("NSID", NSID, &["app.bsky.feed.post", "a.b.c", "com.ex-ample.fooBar2"], &["", "app.bsky", "app..post", "app.bsky.feed.*", "app.bsky.feed-post", "1.bsky.feed"]),
            ("SCHEDULE", SCHEDULE, &["@hourly", "@weekly", "0 3 * * 1", "*/15 0-6 1,15 * MON"], &["", "weekly", "@yearly", "0 3 * *", "0 3 * * 1 2", "0  3 * * 1"]),
            ("PUBLIC_HOST", PUBLIC_HOST, &["pds.example.com", "pds.example.com:8443"], &["localhost", "10.0.0.1:2583", "http://a.b", "a.b/c"]),
            ("ANY_HOST", ANY_HOST, &["10.99.0.1:2583", "localhost:1", "http://pds:80", "[fd00::1]:2583", "pds.example.com"], &["", "a/b", "https://a.b", "a b"]),
            ("DNS_TARGET", DNS_TARGET, &["203.0.113.7", "2001:db8::7", "lb.example.com"], &["", "lb", "https://a.b", "a.b:80", "A.b", "1.2.3"]),
            ("PRIVATE_ADDRESS", PRIVATE_ADDRESS, &["10.0.0.2", "192.168.1.9", "172.16.0.1", "172.31.0.1", "100.64.0.1", "100.127.9.9", "fd00::2"], &["", "11.0.0.1", "172.32.0.1", "172.15.0.1", "100.63.0.1", "100.128.0.1", "192.169.0.1", "203.0.113.7", "2001:db8::7", "127.0.0.1", "0.0.0.0", "10.0.0.2:3001", "node-1"]),
            ("IMAGE_REPOSITORY", IMAGE_REPOSITORY, &["relay", "relay.local/relay", "localhost:5000/a/b_c"], &["relay:dev", "a@sha256:1", "/a", "A"]),
            ("IMAGE_TAG", IMAGE_TAG, &["dev", "v1.2_3"], &["", ".a", "a:b"]),
            ("IMAGE_DIGEST", IMAGE_DIGEST, &[concat!("sha256:", "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef")], &["sha256:ab", "md5:0"]),
            ("OBJECT_NAME", OBJECT_NAME, &["hil-admin", "a.b"], &["", "a/b", "../a", "A"]),
            ("SECRET_KEY", SECRET_KEY, &["token", "tls.crt"], &["", "a/b", "a b"]),
            ("CPU", CPU, &["2", "500m", "1500m"], &["", "0", "0.5", "50000", "1m5", "m", "2 cores"]),
            ("VARIABLE", VARIABLE, &["GOMAXPROCS", "_a1"], &["", "1a", "a-b", "a=b", "a b"]),
            ("LABEL_KEY", LABEL_KEY, &["a", "topology.kubernetes.io/zone"], &["", "a/", "/a", "a b"]),
            ("LABEL_VALUE", LABEL_VALUE, &["", "fsn1"], &["-a", "a b"]),
        ];
        for (name, pattern, good, bad) in table {
            assert!(!pattern.regex.contains('\''), "{name} must be quotable in CEL");
            for value in *good {
                assert!(pattern.matches(value), "{name} must take {value:?}");
            }
            for value in *bad {
                assert!(!pattern.matches(value), "{name} must refuse {value:?}");
            }
        }
    }
}
