use std::fmt::Write;

use aws_lc_rs::digest;
use data_encoding::HEXLOWER;

use crate::api::{BackfillCollections, BackfillSource, Implementation};
use crate::relay::validate::ValidRelay;
use crate::relay_admin::{Collections, JobSpec, Kind};

/// Who declares the operator's jobs: it changes and removes no others.
pub const DECLARED_BY: &str = "operator";
/// Longest name of a job.
const NAME_MAX: usize = 63;
/// Hexadecimal digits that tell apart sources whose names look alike.
const DIGEST_DIGITS: usize = 8;

/// A job as it is wanted.
#[derive(Clone, Debug, PartialEq)]
pub struct Declared {
    /// Its name; stays as long as the source's URL does.
    pub name: String,
    /// What is asked of it.
    pub spec: JobSpec,
}

/// The jobs of a relay: one import for each source, a crawl, a verification. A relay of another project has none.
#[must_use]
pub fn jobs(relay: &ValidRelay) -> Vec<Declared> {
    if relay.implementation != Implementation::Bundled {
        return Vec::new();
    }
    let spec = &relay.backfill;
    let job = |name: String, spec: JobSpec| Declared {
        name,
        spec: JobSpec { declared_by: Some(DECLARED_BY.into()), ..spec },
    };
    let concurrency = spec.concurrency.and_then(|number| u32::try_from(number).ok());
    let import = |source: &BackfillSource| {
        let spec = JobSpec {
            kind: Kind::Import,
            sources: vec![source.url.clone()],
            collections: collections(&spec.collections),
            requests_per_second: source.requests_per_second,
            concurrency,
            schedule: spec.schedule.clone(),
            ..JobSpec::default()
        };
        job(import_name(&source.url), spec)
    };
    let crawl = spec.crawl.enabled.then(|| {
        let crawl = JobSpec {
            kind: Kind::Crawl,
            hosts: spec.crawl.hosts.clone(),
            requests_per_second: spec.crawl.requests_per_second,
            concurrency,
            schedule: spec.schedule.clone(),
            ..JobSpec::default()
        };
        job("crawl".into(), crawl)
    });
    let verify = spec.verify.enabled.then(|| {
        let verify = JobSpec {
            kind: Kind::Verify,
            requests_per_second: spec.verify.requests_per_second,
            concurrency,
            schedule: Some(spec.verify.schedule.clone()),
            ..JobSpec::default()
        };
        job("verify".into(), verify)
    });
    spec.sources.iter().map(import).chain(crawl).chain(verify).collect()
}

fn collections(spec: &BackfillCollections) -> Collections {
    Collections {
        names: spec.names.clone(),
        lists: spec.lists.clone(),
        seen: spec.seen || spec.all,
        of_sources: spec.of_sources || spec.all,
    }
}

/// `import-bsky-network` for `https://bsky.network`. A URL that a job's name cannot hold as it is, since it has a port, a
/// path, a hyphen or too many letters, is told apart by a digest at the end.
fn import_name(url: &str) -> String {
    let is_plain = |host: &str| host.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'.');
    let room = NAME_MAX - "import-".len();
    if let Some(host) = url.strip_prefix("https://").filter(|host| is_plain(host) && host.len() <= room) {
        return format!("import-{}", host.replace('.', "-"));
    }
    let address = url.split_once("://").map_or(url, |(_, address)| address);
    let words = address.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    let mut name = String::from("import");
    for word in words {
        let _ = write!(name, "-{}", word.to_ascii_lowercase());
    }
    name.truncate(NAME_MAX - DIGEST_DIGITS - 1);
    let digest = HEXLOWER.encode(digest::digest(&digest::SHA256, url.as_bytes()).as_ref());
    format!("{}-{}", name.trim_end_matches('-'), &digest[..DIGEST_DIGITS])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_gives_its_job_a_name_that_no_other_has() {
        let long = format!("https://{}.example", "a".repeat(60));
        let table = [
            ("https://bsky.network", "import-bsky-network"),
            ("https://bsky-network", "import-bsky-network-a0b587c4"),
            ("https://bsky.network/", "import-bsky-network-9c369fe3"),
            ("http://10.99.0.1:3000/A/b", "import-10-99-0-1-3000-a-b-5428f8ab"),
            (&long, "import-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-53af09f2"),
        ];
        for (url, name) in table {
            assert_eq!(import_name(url), name, "{url}");
            assert!(name.len() <= NAME_MAX, "{url}");
        }
    }
}
