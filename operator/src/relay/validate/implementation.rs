//! What a relay of another project needs. That its implementation does not change, the schema sees to, which is as old as
//! the field.

use super::{Invalid, Memory};
use crate::api::{
    FOREIGN_MIN_LIMIT, FOREIGN_NEEDS_IMAGE, FOREIGN_NEEDS_MEMORY, FOREIGN_NEEDS_NEVER, Implementation, MemoryResize,
    RelaySpec, ZLAY_NEEDS_DATABASE,
};
use crate::relay::byte_size::ByteSize;

pub(super) fn check(spec: &RelaySpec, memory: &Memory) -> Result<(), Invalid> {
    if spec.implementation == Implementation::Bundled {
        return Ok(());
    }
    let is_zlay = spec.implementation == Implementation::Zlay;
    let rules = [
        (spec.image.repository.is_some(), FOREIGN_NEEDS_IMAGE),
        (memory.resize == MemoryResize::Never, FOREIGN_NEEDS_NEVER),
        (ByteSize::parse(FOREIGN_MIN_LIMIT).is_none_or(|least| memory.limit >= least), FOREIGN_NEEDS_MEMORY),
        (!is_zlay || spec.database.external_secret_ref.is_some(), ZLAY_NEEDS_DATABASE),
    ];
    match rules.into_iter().find(|(is_kept, _)| !is_kept) {
        Some((_, sentence)) => Err(Invalid::Spec(sentence.into())),
        None => Ok(()),
    }
}
