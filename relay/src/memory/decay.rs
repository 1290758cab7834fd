//! How long the allocator keeps unused pages for later.

use std::thread;
use std::time::Duration;

use tikv_jemalloc_ctl::{Access, AsName, Error, arenas, epoch};

/// For how long unused pages are kept, in milliseconds: those that are the kernel's to take when it wants them (muzzy) go
/// back at once, since a cgroup counts them until then. jemalloc's own is ten seconds: after bursts it was left with two and
/// a half times as much, for 7 % less processor time.
const DECAYS: [Pages; 2] =
    [Pages { kind: "dirty", keep_ms: 1000, left: "pdirty" }, Pages { kind: "muzzy", keep_ms: 0, left: "pmuzzy" }];
/// How often an arena is asked to give back all, while another thread is at it.
const ATTEMPTS: u32 = 20;
/// Between two attempts.
const ATTEMPT_INTERVAL: Duration = Duration::from_millis(5);

/// A kind of unused pages.
struct Pages {
    kind: &'static str,
    keep_ms: isize,
    left: &'static str,
}

/// Sets how long unused pages are kept: for the arenas that there are, and for those to come. Another allocator may be at
/// work, as in tests: then nothing happens.
pub fn set_decay() {
    for pages in DECAYS {
        let _ = format!("arenas.{}_decay_ms\0", pages.kind).name().write(pages.keep_ms);
        for arena in existing() {
            let _ = pages.decay_of(arena).name().write(pages.keep_ms);
        }
    }
}

/// Gives the unused pages of all arenas back to the kernel.
///
/// An arena that is told to keep nothing does so at once; after that it keeps what it kept before, for as long as before.
/// Its own call for this, `arena.N.purge`, takes no value, and all that the crate offers pass one.
pub(super) fn purge() {
    for pages in DECAYS {
        for arena in existing() {
            let _ = pages.give_back(arena);
        }
    }
}

/// The arenas; one of them is made when it is first used.
fn existing() -> std::ops::Range<u32> {
    0..arenas::narenas::read().unwrap_or(0)
}

impl Pages {
    fn decay_of(&self, arena: u32) -> String {
        format!("arena.{arena}.{}_decay_ms\0", self.kind)
    }

    fn give_back(&self, arena: u32) -> Result<(), Error> {
        let decay = self.decay_of(arena);
        let kept: isize = decay.name().read()?;
        // While another thread gives some of them back, a write is heard and nothing more comes of it.
        for _ in 0..ATTEMPTS {
            decay.name().write(0_isize)?;
            if self.left_of(arena)? == 0 {
                break;
            }
            thread::sleep(ATTEMPT_INTERVAL);
        }
        decay.name().write(kept)
    }

    /// How many of them the arena has.
    fn left_of(&self, arena: u32) -> Result<usize, Error> {
        epoch::advance()?;
        format!("stats.arenas.{arena}.{}\0", self.left).name().read()
    }
}
