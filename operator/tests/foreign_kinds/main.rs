//! The golden objects of kinds of other projects, held against the definitions that those projects publish. Which
//! versions of them, `dev/tools/kinds.tsv` says.
#![allow(clippy::unwrap_used)]

mod schema;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use kube::api::ApiResource;
use relay_operator::relay::OptionalKind;
use serde::Deserialize;
use serde_json::Value;

/// Where golden objects are.
const FOLDERS: [&str; 2] = ["operator/src/relay/build/snapshots", "operator/src/relay/backup/decide/snapshots"];

#[test]
fn the_definitions_of_other_projects_accept_the_golden_objects() {
    let golden = golden_objects();
    let mut seen = BTreeSet::new();
    for kind in OptionalKind::ALL {
        let resource = kind.resource();
        let version = version(&definition(&resource.kind), &resource);
        for (path, object) in golden.iter().filter(|(_, object)| is_of(object, &resource)) {
            let errors = schema::errors(&version["schema"]["openAPIV3Schema"], object);
            assert_eq!(errors, Vec::<String>::new(), "{}", path.display());
            seen.insert(resource.kind.clone());
        }
    }
    let unseen = OptionalKind::ALL.map(|kind| kind.resource().kind).into_iter().filter(|kind| !seen.contains(kind));
    assert_eq!(unseen.collect::<Vec<_>>(), [""; 0], "kinds that no golden object is of");
}

/// The served version that the operator speaks, of a definition whose names are those that the operator uses.
fn version(definition: &Value, resource: &ApiResource) -> Value {
    let spec = &definition["spec"];
    assert_eq!(definition["metadata"]["name"], format!("{}.{}", resource.plural, resource.group));
    for (said, used) in [
        (&spec["group"], &*resource.group),
        (&spec["scope"], "Namespaced"),
        (&spec["names"]["kind"], &*resource.kind),
        (&spec["names"]["plural"], &*resource.plural),
    ] {
        assert_eq!(said, used, "{}", resource.kind);
    }
    let mut versions = spec["versions"].as_array().unwrap().iter();
    let served = |version: &&Value| version["name"] == resource.version && version["served"] == true;
    versions.find(served).unwrap_or_else(|| panic!("{} does not serve {}", resource.kind, resource.version)).clone()
}

fn is_of(object: &Value, resource: &ApiResource) -> bool {
    object["apiVersion"] == resource.api_version && object["kind"] == resource.kind
}

/// The CustomResourceDefinition of `kind`.
fn definition(kind: &str) -> Value {
    let fetched = Command::new(root().join("dev/tools/kinds.sh")).arg(kind).output().unwrap();
    let said = String::from_utf8(if fetched.status.success() { fetched.stdout } else { fetched.stderr }).unwrap();
    assert!(fetched.status.success(), "{said}");
    let text = std::fs::read_to_string(said.trim()).unwrap();
    let mut documents = serde_yaml_ng::Deserializer::from_str(&text).map(|d| Value::deserialize(d).unwrap());
    documents.find(|document| document["kind"] == "CustomResourceDefinition").unwrap()
}

/// Every golden object, with its file.
fn golden_objects() -> Vec<(PathBuf, Value)> {
    let folders = FOLDERS.iter().flat_map(|folder| std::fs::read_dir(root().join(folder)).unwrap());
    let files = folders.map(|entry| entry.unwrap().path());
    files.map(|path| (path.clone(), golden(&std::fs::read_to_string(&path).unwrap()))).collect()
}

/// The object of a golden file: what follows its head.
fn golden(file: &str) -> Value {
    let (_, yaml) = file.strip_prefix("---\n").and_then(|rest| rest.split_once("\n---\n")).unwrap();
    serde_yaml_ng::from_str(yaml).unwrap()
}

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}
