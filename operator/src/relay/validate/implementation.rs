//! What a relay of another project needs, and that a relay does not become another program.

use k8s_openapi::api::apps::v1::StatefulSet;

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
    let has_database = spec.database.external_secret_ref.is_some() || spec.database.cloud_native_pg.is_some();
    let rules = [
        (spec.image.repository.is_some(), FOREIGN_NEEDS_IMAGE),
        (memory.resize == MemoryResize::Never, FOREIGN_NEEDS_NEVER),
        (ByteSize::parse(FOREIGN_MIN_LIMIT).is_none_or(|least| memory.limit >= least), FOREIGN_NEEDS_MEMORY),
        (!is_zlay || has_database, ZLAY_NEEDS_DATABASE),
    ];
    match rules.into_iter().find(|(is_kept, _)| !is_kept) {
        Some((_, sentence)) => Err(Invalid::Spec(sentence.into())),
        None => Ok(()),
    }
}

/// Refuses another program than the one that is there: each has files of its own, and would not read the other's.
pub(super) fn check_unchanged(wanted: Implementation, live: Option<&StatefulSet>) -> Result<(), Invalid> {
    match live.and_then(implementation_of) {
        Some(live) if live != wanted => Err(Invalid::Implementation { live, wanted }),
        _ => Ok(()),
    }
}

/// Which program it is that is there, as far as can be told.
fn implementation_of(live: &StatefulSet) -> Option<Implementation> {
    let container = live.spec.as_ref()?.template.spec.as_ref()?.containers.first()?;
    let has = |name: &str| container.env.iter().flatten().any(|variable| variable.name == name);
    if container.args.as_ref().and_then(|args| args.first()).is_some_and(|arg| arg == "serve") {
        Some(Implementation::Bundled)
    } else if has("GOMEMLIMIT") {
        Some(Implementation::Indigo)
    } else if has("MALLOC_ARENA_MAX") {
        Some(Implementation::Zlay)
    } else {
        None
    }
}
