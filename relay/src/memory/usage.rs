//! Where the working set is, from the kernel's and the allocator's side.

use super::pages::OutsideHeap;
use super::{Allocator, Cgroup, Held, Stat, proc};

/// What the working set is made of. The parts sum to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Heap that owners count.
    Owned,
    /// Heap that no owner counts.
    Heap,
    /// Gaps in the heap.
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
    /// What the kernel holds for the process: page tables, stacks of its own, names of files.
    Kernel,
    /// Buffers of sockets.
    Sockets,
    /// The rest; below zero where memory is given out that nobody has touched yet.
    Unexplained,
}

impl Part {
    /// All of them, in the order of tables.
    pub const ALL: [Part; 12] = [
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
        Part::Sockets,
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
            Part::Sockets => "sockets",
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
    /// As it is now, where `held` is what the owners count. Without a cgroup, what the kernel says of the process is
    /// divided: its own memory for the process, and page cache that is not mapped, are then nobody's.
    pub fn read(cgroup: Option<&Cgroup>, held: &[Held]) -> Usage {
        let charged = cgroup.and_then(Cgroup::stat).or_else(proc::resident).unwrap_or_default();
        Usage::divide(&charged, Allocator::now(), &OutsideHeap::now().unwrap_or_default(), held)
    }

    /// What `part` is of the working set.
    pub fn part(&self, part: Part) -> i64 {
        self.parts[part as usize]
    }

    fn divide(charged: &Stat, allocator: Option<Allocator>, outside: &OutsideHeap, held: &[Held]) -> Usage {
        let working_set = charged.working_set();
        let owned: u64 = held.iter().filter(|held| held.is_heap).map(|held| held.bytes).sum();
        // Another allocator does not say what it holds: all that has no other name is taken for given out.
        let heap = allocator.unwrap_or_else(|| {
            let anonymous = charged.anon.saturating_sub(outside.stacks + outside.program);
            Allocator { allocated: anonymous, active: anonymous, resident: anonymous, ..Allocator::default() }
        });
        let files = charged.file.saturating_sub(charged.inactive_file + charged.shmem);
        // Which of the mapped files are in the working set is not said: as many as there may be.
        let mapped = charged.file_mapped.min(files);
        let part = |part: Part| match part {
            Part::Owned => owned as i64,
            Part::Heap => less(heap.allocated, owned),
            Part::Fragmentation => less(heap.active, heap.allocated),
            Part::Allocator => less(heap.resident, heap.active),
            Part::Stacks => outside.stacks as i64,
            Part::Program => outside.program as i64,
            Part::Mapped => mapped as i64,
            Part::PageCache => less(files, mapped),
            Part::Tmpfs => charged.shmem as i64,
            Part::Kernel => charged.kernel as i64,
            Part::Sockets => charged.sock as i64,
            Part::Unexplained => 0,
        };
        let mut parts = Part::ALL.map(part);
        parts[Part::Unexplained as usize] = working_set as i64 - parts.iter().sum::<i64>();
        Usage { working_set, allocator, parts }
    }
}

/// `whole - part`, below zero where the two were not read in the same moment.
fn less(whole: u64, part: u64) -> i64 {
    whole as i64 - part as i64
}

#[cfg(test)]
mod tests {
    use super::super::{Owner, cgroup};
    use super::*;

    fn held(bytes: u64, is_heap: bool) -> Held {
        Held { owner: Owner::Ring, bytes, is_heap }
    }

    fn parts(usage: &Usage) -> Vec<(&'static str, i64)> {
        Part::ALL.iter().map(|part| (part.name(), usage.part(*part))).filter(|(_, bytes)| *bytes != 0).collect()
    }

    fn allocator() -> Allocator {
        Allocator { allocated: 300, active: 340, resident: 400, metadata: 20, mapped: 450, retained: 100 }
    }

    #[test]
    fn what_a_cgroup_is_charged_is_divided_without_a_rest() {
        let charged = Stat {
            usage: 1000,
            anon: 450,
            file: 400,
            inactive_file: 150,
            active_file: 230,
            file_mapped: 90,
            shmem: 20,
            kernel: 80,
            sock: 60,
            kernel_parts: None,
        };
        let outside = OutsideHeap { stacks: 30, program: 12 };
        let usage =
            Usage::divide(&charged, Some(allocator()), &outside, &[held(100, true), held(40, true), held(7, false)]);
        assert_eq!(usage.working_set, 850, "without the page cache that the kernel drops first");
        let expected = [
            ("owned", 140),
            ("heap", 160),
            ("fragmentation", 40),
            ("allocator", 60),
            ("stacks", 30),
            ("program", 12),
            ("mapped", 90),
            ("page-cache", 140),
            ("tmpfs", 20),
            ("kernel", 80),
            ("sockets", 60),
            // 8 of anonymous memory that nobody knows, and 10 that were charged in advance.
            ("unexplained", 18),
        ];
        assert_eq!(parts(&usage), expected);
    }

    #[test]
    fn memory_that_nobody_has_touched_yet_is_less_than_nothing() {
        let charged = Stat { usage: 350, anon: 350, ..Stat::default() };
        let usage = Usage::divide(&charged, Some(allocator()), &OutsideHeap::default(), &[]);
        assert_eq!(usage.part(Part::Unexplained), -50);
    }

    #[test]
    fn an_allocator_that_says_nothing_has_given_out_everything() {
        let charged = Stat { usage: 500, anon: 400, file: 100, file_mapped: 100, ..Stat::default() };
        let outside = OutsideHeap { stacks: 30, program: 20 };
        let usage = Usage::divide(&charged, None, &outside, &[held(50, true)]);
        let expected = [("owned", 50), ("heap", 300), ("stacks", 30), ("program", 20), ("mapped", 100)];
        assert_eq!(parts(&usage), expected);
    }

    #[test]
    fn the_parts_sum_to_the_working_set_whatever_is_read() {
        use rand::{Rng, SeedableRng};
        let mut random = rand::rngs::StdRng::seed_from_u64(1);
        for _ in 0..1000 {
            let mut any = || random.random_range(0..1u64 << 40);
            let charged = Stat {
                usage: any(),
                anon: any(),
                file: any(),
                inactive_file: any(),
                active_file: any(),
                file_mapped: any(),
                shmem: any(),
                kernel: any(),
                sock: any(),
                kernel_parts: None,
            };
            let allocator = Allocator { allocated: any(), active: any(), resident: any(), ..Allocator::default() };
            let outside = OutsideHeap { stacks: any(), program: any() };
            let usage = Usage::divide(&charged, Some(allocator), &outside, &[held(any(), true)]);
            let sum: i64 = Part::ALL.iter().map(|part| usage.part(*part)).sum();
            assert_eq!(sum, usage.working_set as i64, "{charged:?}");
        }
    }

    /// Groups whose process has touched 28 MiB of heap and 1 MiB of shared memory.
    #[test]
    fn recorded_groups_of_both_versions_are_divided() {
        let mib = |mib: u64| mib << 20;
        let heap = Allocator { allocated: mib(26), active: mib(27), resident: mib(27), ..Allocator::default() };
        let outside = OutsideHeap { stacks: 128 << 10, program: 256 << 10 };
        for (_files, cgroup) in cgroup::tests::recorded() {
            let charged = cgroup.stat().expect("it was recorded");
            let usage = Usage::divide(&charged, Some(heap), &outside, &[]);
            assert_eq!(usage.part(Part::Tmpfs), 1 << 20, "{charged:?}");
            assert!(usage.part(Part::Kernel) > 0, "{charged:?}");
            let unexplained = usage.part(Part::Unexplained);
            assert!((0..2 << 20).contains(&unexplained), "{unexplained} of {usage:?}");
        }
    }

    #[test]
    fn this_process_is_divided_without_a_cgroup() {
        let usage = Usage::read(None, &[]);
        assert!(usage.working_set > 1 << 20, "{usage:?}");
        for part in [Part::Heap, Part::Stacks, Part::Program, Part::Mapped] {
            assert!(usage.part(part) > 0, "{}: {usage:?}", part.name());
        }
        assert_eq!(parts(&usage).iter().map(|(_, bytes)| bytes).sum::<i64>(), usage.working_set as i64);
    }
}
