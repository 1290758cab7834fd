use std::collections::BTreeMap;

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// Where the relay runs.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
pub struct NodeSpec {
    /// Labels that the node must have.
    #[serde(default)]
    #[schemars(extend("maxProperties" = 16))]
    pub selector: BTreeMap<String, String>,
}
