//! Queries by the Python SDK.

use anyhow::{Result, ensure};

use super::program;

/// The accounts that a service lists for a collection, in pages of `limit`.
pub async fn repos_by_collection(url: &str, collection: &str, limit: usize) -> Result<Vec<String>> {
    let mut command = program("E2E_PYTHON")?;
    command.args(["repos", "--service", url, "--collection", collection, "--limit", &limit.to_string()]);
    let output = command.output().await?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?.lines().map(str::to_owned).collect())
}
