//! What `/proc` says of the machine and of this process.

/// The machine's memory, for where no cgroup limits it.
pub fn machine_bytes() -> Option<u64> {
    bytes("/proc/meminfo", "MemTotal:")
}

/// Memory of this process, for where no cgroup counts it.
pub fn resident_bytes() -> Option<u64> {
    bytes("/proc/self/status", "VmRSS:")
}

fn bytes(file: &str, name: &str) -> Option<u64> {
    let text = std::fs::read_to_string(file).ok()?;
    let value = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kib: u64 = value.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib << 10)
}
