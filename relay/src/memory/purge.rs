//! Makes the allocator give back what it keeps for later.

use tikv_jemalloc_ctl::{Access, AsName, Error, arenas};

/// Gives the unused pages of all arenas back to the kernel.
///
/// An arena that is told to keep nothing does so at once; after that it keeps what it kept before, for as long as before.
/// Its own call for this, `arena.N.purge`, takes no value, and all that the crate offers pass one.
pub(super) fn purge() {
    // Another allocator may be at work, as in tests; and an arena is made when it is first used.
    let arenas = arenas::narenas::read().unwrap_or(0);
    for arena in 0..arenas {
        for pages in ["dirty", "muzzy"] {
            let _ = give_back(&format!("arena.{arena}.{pages}_decay_ms\0"));
        }
    }
}

fn give_back(decay_ms: &str) -> Result<(), Error> {
    let decay_ms = decay_ms.name();
    let kept: isize = decay_ms.read()?;
    decay_ms.write(0_isize)?;
    decay_ms.write(kept)
}
