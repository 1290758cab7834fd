//! Kinds of other projects, as `dev/tools/kinds.tsv` pins them: their definitions come and go while the operator runs.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use kube::Client;
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, GroupVersionKind, Patch, PatchParams};
use serde::Deserialize;
use serde_json::Value;

use super::until;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../dev/tools/kinds.sh");

fn definitions(client: &Client) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk("apiextensions.k8s.io", "v1", "CustomResourceDefinition");
    Api::all_with(client.clone(), &ApiResource::from_gvk_with_plural(&kind, "customresourcedefinitions"))
}

/// The definition of `kind`, whose name is the first answer.
fn definition(kind: &str) -> Result<(String, Value)> {
    let fetched = Command::new(SCRIPT).arg(kind).output().with_context(|| format!("cannot run {SCRIPT}"))?;
    ensure!(fetched.status.success(), "{}", String::from_utf8_lossy(&fetched.stderr));
    let text = std::fs::read_to_string(String::from_utf8(fetched.stdout)?.trim())?;
    for document in serde_yaml_ng::Deserializer::from_str(&text) {
        let mut value = Value::deserialize(document)?;
        if value["kind"] == "CustomResourceDefinition" {
            // The server's to write.
            value.as_object_mut().map(|fields| fields.remove("status"));
            let name = value["metadata"]["name"].as_str().context("a definition has a name")?.to_owned();
            return Ok((name, value));
        }
    }
    anyhow::bail!("no definition of {kind}")
}

/// From now on the cluster knows `kind`.
pub async fn install(client: &Client, kind: &str) -> Result<()> {
    let (name, value) = definition(kind)?;
    definitions(client).patch(&name, &PatchParams::apply("e2e").force(), &Patch::Apply(&value)).await?;
    Ok(())
}

/// The cluster does not know `kind` any more, and its objects are gone.
pub async fn uninstall(client: &Client, kind: &str) -> Result<()> {
    let (name, _) = definition(kind)?;
    let definitions = definitions(client);
    if definitions.get_metadata_opt(&name).await?.is_some() {
        definitions.delete(&name, &DeleteParams::default()).await?;
    }
    until(&format!("{name} is gone"), || async {
        Ok(definitions.get_metadata_opt(&name).await?.is_none().then_some(()))
    })
    .await
}
