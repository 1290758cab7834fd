//! Where the directory of collections is.

use super::{Image, Invalid, image};
use crate::api::{COLLECTIONS_IMAGE_NEEDS_INDIGO, COLLECTIONS_IMAGE_NEEDS_NAME, Implementation, RelaySpec};

/// The directory of collections.
#[derive(Clone, Debug, PartialEq)]
pub enum Directory {
    /// There is to be none.
    Off,
    /// It is the relay's own affair.
    OfRelay,
    /// A program of this image that runs beside the relay.
    Beside(Image),
}

impl Directory {
    /// The image of the program beside the relay.
    #[must_use]
    pub fn image(&self) -> Option<&Image> {
        match self {
            Self::Beside(image) => Some(image),
            Self::Off | Self::OfRelay => None,
        }
    }
}

pub(super) fn directory(spec: &RelaySpec) -> Result<Directory, Invalid> {
    let collections = &spec.collections;
    let beside = match &collections.image {
        None => None,
        Some(_) if spec.implementation != Implementation::Indigo => {
            return Err(Invalid::Spec(COLLECTIONS_IMAGE_NEEDS_INDIGO.into()));
        }
        Some(named) if named.repository.is_none() => return Err(Invalid::Spec(COLLECTIONS_IMAGE_NEEDS_NAME.into())),
        Some(named) => Some(image("spec.collections.image", named, "")?),
    };
    Ok(match beside {
        _ if !collections.enabled => Directory::Off,
        None => Directory::OfRelay,
        Some(image) => Directory::Beside(image),
    })
}
