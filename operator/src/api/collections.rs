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
pub struct CollectionsSpec {
    /// Whether there is one. The bundled relay always has it; for indigo it is a container of its own, collectiondir.
    #[serde(default = "enabled")]
    pub enabled: bool,

    /// The image of collectiondir, for indigo; without one there is no directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<ImageSpec>,
}

impl Default for CollectionsSpec {
    fn default() -> Self {
        Self { enabled: enabled(), image: None }
    }
}

fn enabled() -> bool {
    true
}
