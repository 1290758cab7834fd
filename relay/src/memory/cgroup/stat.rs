//! What is charged to a cgroup, by kind.

use std::collections::HashMap;

/// What is charged to a cgroup and all below it, in bytes. Kinds overlap where it is said; `anon`, `file`, `kernel` and
/// `sock` together are the usage, but for what the kernel charges in advance, processor by processor.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stat {
    /// Everything that is charged: what the limit is for.
    pub usage: u64,
    /// Memory without a file: heap and stacks.
    pub anon: u64,
    /// Page cache, with mapped files and shared memory.
    pub file: u64,
    /// Page cache that the kernel drops first; a part of `file`. The working set is the usage without it.
    pub inactive_file: u64,
    /// Page cache that was used again; a part of `file`.
    pub active_file: u64,
    /// Files that are mapped, as the program's text is; a part of `file`.
    pub file_mapped: u64,
    /// Shared memory and files of a tmpfs; a part of `file` that no list of files has.
    pub shmem: u64,
    /// Memory of the kernel for this group: stacks, page tables, caches of inodes.
    pub kernel: u64,
    /// Buffers of sockets. Version 1 charges them to nobody: nothing.
    pub sock: u64,
    /// What `kernel` consists of; version 2 alone says so.
    pub kernel_parts: Option<KernelParts>,
}

/// Memory of the kernel by kind, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct KernelParts {
    /// Stacks of threads inside the kernel.
    pub stacks: u64,
    /// Page tables.
    pub page_tables: u64,
    /// Objects of the kernel, like inodes and directory entries.
    pub slab: u64,
}

impl Stat {
    /// The working set in bytes, as the kubelet counts it.
    pub fn working_set(&self) -> u64 {
        self.usage.saturating_sub(self.inactive_file)
    }

    /// Reads `memory.stat` of version 2; nothing when that is not what it is. A kernel before 5.18 has no line for the
    /// whole of its memory: then it is the sum of those that it has.
    pub(super) fn of_version_2(usage: u64, text: &str) -> Option<Stat> {
        let fields = fields(text);
        let get = |name: &str| fields.get(name).copied();
        let or_zero = |name: &str| get(name).unwrap_or(0);
        let kernel_parts = KernelParts {
            stacks: or_zero("kernel_stack"),
            page_tables: or_zero("pagetables") + or_zero("sec_pagetables"),
            slab: or_zero("slab"),
        };
        let known_parts =
            kernel_parts.stacks + kernel_parts.page_tables + kernel_parts.slab + or_zero("percpu") + or_zero("vmalloc");
        Some(Stat {
            usage,
            anon: get("anon")?,
            file: get("file")?,
            inactive_file: get("inactive_file")?,
            active_file: or_zero("active_file"),
            file_mapped: or_zero("file_mapped"),
            shmem: or_zero("shmem"),
            kernel: get("kernel").unwrap_or(known_parts),
            sock: or_zero("sock"),
            kernel_parts: Some(kernel_parts),
        })
    }

    /// Reads `memory.stat` of version 1; nothing when that is not what it is. `kernel` has a file of its own.
    pub(super) fn of_version_1(usage: u64, text: &str, kernel: u64) -> Option<Stat> {
        let fields = fields(text);
        let total = |name: &str| fields.get(format!("total_{name}").as_str()).copied();
        Some(Stat {
            usage,
            anon: total("rss")?,
            file: total("cache")?,
            inactive_file: total("inactive_file")?,
            active_file: total("active_file").unwrap_or(0),
            file_mapped: total("mapped_file").unwrap_or(0),
            shmem: total("shmem").unwrap_or(0),
            kernel,
            sock: 0,
            kernel_parts: None,
        })
    }
}

/// Lines of a name and a number; other lines are passed over.
pub(super) fn fields(text: &str) -> HashMap<&str, u64> {
    text.lines().filter_map(field).collect()
}

fn field(line: &str) -> Option<(&str, u64)> {
    let (name, value) = line.split_once(' ')?;
    Some((name, value.trim().parse().ok()?))
}
