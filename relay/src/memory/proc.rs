//! What `/proc` says of the machine and of this process.

use super::Stat;

/// The machine's memory, for where no cgroup limits it.
pub fn machine_bytes() -> Option<u64> {
    bytes(&std::fs::read_to_string("/proc/meminfo").ok()?, "MemTotal:")
}

/// Memory of this process, for where no cgroup counts it: what is resident, and nothing of what the kernel holds for it.
pub fn resident() -> Option<Stat> {
    resident_of(&std::fs::read_to_string("/proc/self/status").ok()?)
}

fn resident_of(status: &str) -> Option<Stat> {
    let usage = bytes(status, "VmRSS:")?;
    let mapped = bytes(status, "RssFile:").unwrap_or(0);
    let shmem = bytes(status, "RssShmem:").unwrap_or(0);
    let anon = bytes(status, "RssAnon:").unwrap_or(usage);
    Some(Stat { usage, anon, file: mapped + shmem, file_mapped: mapped, shmem, ..Stat::default() })
}

fn bytes(text: &str, name: &str) -> Option<u64> {
    let value = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kib: u64 = value.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_resident_is_told_by_kind() {
        let status =
            "Name:\trelay\nVmRSS:\t    1700 kB\nRssAnon:\t    1000 kB\nRssFile:\t     600 kB\nRssShmem:\t     100 kB\n";
        let kib = |kib: u64| kib << 10;
        let expected = Stat {
            usage: kib(1700),
            anon: kib(1000),
            file: kib(700),
            file_mapped: kib(600),
            shmem: kib(100),
            ..Stat::default()
        };
        assert_eq!(resident_of(status), Some(expected));
        assert_eq!(expected.working_set(), kib(1700), "all of it counts");
    }

    #[test]
    fn a_kernel_that_tells_no_kinds_has_anonymous_memory_alone() {
        let resident = resident_of("VmRSS:\t1700 kB\n").map(|stat| (stat.usage, stat.anon, stat.file));
        assert_eq!(resident, Some((1700 << 10, 1700 << 10, 0)));
        for status in ["", "VmRSS:\t1700\n", "VmRSS:\tmany kB\n"] {
            assert_eq!(resident_of(status), None, "{status:?}");
        }
    }
}
