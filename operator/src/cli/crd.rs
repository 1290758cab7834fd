//! `relay-operator crd`.

use std::io::Write;

use relay_operator::api;

/// Prints the CustomResourceDefinition.
pub fn print() -> anyhow::Result<()> {
    let yaml = api::crd_yaml()?;
    std::io::stdout().write_all(yaml.as_bytes())?;
    Ok(())
}
