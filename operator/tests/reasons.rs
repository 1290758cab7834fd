//! The pages about conditions and Events have every reason in the code, and no other.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use regex::Regex;

/// Words in the code that look like a reason and are none: of Kubernetes and its kinds, of the spec, and an Event's actions.
#[rustfmt::skip]
const OTHERS: &[&str] = &[
    // Kinds.
    "Certificate", "Cluster", "DNSEndpoint", "Eviction", "HTTPRoute", "PodMetrics", "PrometheusRule", "Relay",
    "ServiceMonitor", "VolumeSnapshot", "Secret", "Service", "StatefulSet", "Ingress", "NetworkPolicy", "Issuer",
    "ClusterIssuer", "CustomResourceDefinition", "PersistentVolumeClaim", "ControllerRevision",
    // What the API server and the kubelet say.
    "True", "False", "Terminated", "DisruptionTarget", "PodScheduled", "PodResizeInProgress", "PodResizePending",
    "Deferred", "Infeasible", "Error", "ContainerCreating", "PodInitializing", "CrashLoopBackOff", "ErrImageNeverPull",
    "ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ContainerStatusUnknown", "DeletionByPodGC",
    "DeletionByTaintManager", "EvictionByEvictionAPI", "PreemptionByScheduler", "TerminationByKubelet", "NodeShutdown",
    "Accepted", "ResolvedRefs", "Lost", "ControllerResizeError", "NodeResizeError", "OnDelete",
    // Values of the spec, and days.
    "Indigo", "Zlay", "Bundled", "Lenient", "Observe", "Enforce", "InPlace", "Never", "NodePort", "LoadBalancer",
    "ClusterIP", "Equal", "Exists", "NoExecute", "NoSchedule", "PreferNoSchedule", "Sunday",
    // Actions.
    "Backfill", "Evict", "Reconcile", "Resize", "Restart", "Store", "Update",
];

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The files below `folder` in which reasons may be. The builders of objects have none, nor have tests.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        if path.is_dir() && name != "build" {
            files.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs")
            && !matches!(name.as_str(), "tests" | "fixtures")
        {
            files.push(path);
        }
    }
    files
}

/// The words in CamelCase that stand as a text of their own in the code.
fn in_code() -> BTreeSet<String> {
    let word = Regex::new(r#""([A-Z]\w{3,})""#).unwrap();
    let mut files = sources(&root().join("operator/src/relay"));
    // The names of causes and phases.
    files.extend(sources(&root().join("operator/src/api")).into_iter().filter(|file| {
        let name = file.file_stem().unwrap().to_str().unwrap();
        name == "status" || name.ends_with("_status")
    }));
    let mut words = BTreeSet::new();
    for file in files {
        let text = read(&file);
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
        let code = code.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
        let found = word.captures_iter(&code).map(|found| found[1].to_owned());
        // Those in capitals alone are names of variables.
        words.extend(found.filter(|word| word.contains(|c: char| c.is_ascii_lowercase())));
    }
    words
}

/// The words that a page has as a heading, or at the beginning of a row.
fn on_page(page: &str) -> BTreeSet<String> {
    let word = Regex::new(r"(?m)^(?:\| `(\w+)` \||## (\w+)$)").unwrap();
    let text = read(&root().join("docs/reference").join(page));
    let words = word.captures_iter(&text).filter_map(|found| found.get(1).or_else(|| found.get(2)));
    words.map(|word| word.as_str().to_owned()).collect()
}

#[test]
fn every_reason_is_on_a_page() {
    let told: BTreeSet<_> = on_page("conditions.md").union(&on_page("events.md")).cloned().collect();
    let untold: Vec<_> =
        in_code().into_iter().filter(|word| !told.contains(word) && !OTHERS.contains(&word.as_str())).collect();
    assert!(
        untold.is_empty(),
        "say in docs/reference/conditions.md or events.md what these mean, or add them to OTHERS: {untold:?}"
    );
}

#[test]
fn the_pages_have_nothing_that_is_gone() {
    let code = in_code();
    for page in ["conditions.md", "events.md"] {
        let gone: Vec<_> = on_page(page).into_iter().filter(|word| !code.contains(word)).collect();
        assert!(gone.is_empty(), "docs/reference/{page} tells of what no code says: {gone:?}");
    }
}

#[test]
fn a_word_of_the_code_is_found_where_it_is() {
    let code = in_code();
    for word in ["Ready", "NoHostConnected", "InvalidSpec", "BackfillStarted", "PlannedRestart", "MemoryEviction"] {
        assert!(code.contains(word), "{word}");
    }
}
