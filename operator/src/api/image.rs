use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::patterns::{IMAGE_DIGEST, IMAGE_REPOSITORY, IMAGE_TAG};
use super::relay::LocalRef;

/// A container image.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[x_kube(
    validation = Rule::new("has(self.repository) || !(has(self.tag) || has(self.digest))")
        .message("tag and digest need a repository"),
    validation = Rule::new("!has(self.repository) || has(self.tag) || has(self.digest)")
        .message("name a tag or a digest of the repository")
)]
#[serde(rename_all = "camelCase")]
pub struct ImageSpec {
    /// Repository of the image, without tag, such as registry.example.com/relay.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 255))]
    #[x_kube(validation = IMAGE_REPOSITORY.rule())]
    pub repository: Option<String>,

    /// Tag in the repository.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    #[x_kube(validation = IMAGE_TAG.rule())]
    pub tag: Option<String>,

    /// Digest in the repository, sha256:…; it decides when a tag is named too.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 71))]
    #[x_kube(validation = IMAGE_DIGEST.rule())]
    pub digest: Option<String>,

    /// When the node pulls the image.
    #[serde(default)]
    pub pull_policy: PullPolicy,

    /// Secrets of the Relay's namespace with credentials for the registry.
    #[serde(default)]
    #[schemars(length(max = 16))]
    pub pull_secrets: Vec<LocalRef>,
}

/// When the node pulls an image.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)] // Kubernetes' own words
pub enum PullPolicy {
    Always,
    #[default]
    IfNotPresent,
    Never,
}
