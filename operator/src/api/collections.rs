use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::image::ImageSpec;

/// What the image of a directory needs, in the words of the schema and of the operator.
pub const COLLECTIONS_IMAGE_NEEDS_NAME: &str = "collections.image needs a repository, and a tag or a digest of it";
/// See [`COLLECTIONS_IMAGE_NEEDS_NAME`].
pub const COLLECTIONS_IMAGE_NEEDS_INDIGO: &str =
    "collections.image is that of collectiondir, which runs beside indigo alone; leave it out";

/// The directory of collections.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[x_kube(validation = Rule::new("!has(self.image) || has(self.image.repository)").message(COLLECTIONS_IMAGE_NEEDS_NAME))]
#[serde(rename_all = "camelCase")]
pub struct CollectionsSpec {
    /// Whether there is one. The bundled relay always has it; for indigo it is a container of its own, collectiondir.
    #[serde(default = "enabled")]
    pub enabled: bool,

    /// Accounts that must have records of a collection before `/v1/listCollections` names it: experiments and spam are mostly
    /// on few. By default the program's own number, which is 1 for the bundled relay.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1_000_000))]
    pub min_accounts: Option<i32>,
    /// The image of collectiondir, for indigo; without one there is no directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<ImageSpec>,
}

/// What is said of a bundled relay without the directory.
pub const BUNDLED_HAS_COLLECTIONS: &str =
    "collections.enabled: false needs another implementation: the bundled relay always has the directory";

impl Default for CollectionsSpec {
    fn default() -> Self {
        Self { enabled: enabled(), min_accounts: None, image: None }
    }
}

fn enabled() -> bool {
    true
}
