//! What is in the images that dev/image/build.sh has made.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tokio::process::Command;

/// The layer of an image that dev/image/build.sh made.
fn layer(image: &Path) -> Result<PathBuf> {
    let read = |path: &Path| -> Result<Value> {
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok(serde_json::from_str(&text)?)
    };
    let blob = |descriptor: &Value| -> Result<PathBuf> {
        let digest = descriptor["digest"].as_str().context("no digest")?.replace(':', "/");
        Ok(image.join("blobs").join(digest))
    };
    let index = read(&image.join("index.json"))?;
    blob(&read(&blob(&index["manifests"][0])?)?["layers"][0])
}

/// Paths of the files in an image, one a line.
pub async fn files_of(image: &Path) -> Result<String> {
    let listed = Command::new("tar").args(["--list", "--gzip", "--file"]).arg(layer(image)?).output().await?;
    ensure!(listed.status.success(), "tar: {}", String::from_utf8_lossy(&listed.stderr));
    Ok(String::from_utf8(listed.stdout)?)
}

/// The bytes of a program in an image.
pub async fn program_of(image: &Path, name: &str) -> Result<Vec<u8>> {
    let mut command = Command::new("tar");
    command.args(["--extract", "--to-stdout", "--gzip", "--file"]).arg(layer(image)?);
    let extracted = command.arg(format!("./usr/local/bin/{name}")).output().await?;
    ensure!(extracted.status.success(), "tar: {}", String::from_utf8_lossy(&extracted.stderr));
    Ok(extracted.stdout)
}
