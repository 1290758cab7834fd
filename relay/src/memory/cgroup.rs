//! The cgroup that limits this process, version 2 or 1.

mod pressure;
mod stat;

use std::path::{Path, PathBuf};

pub use pressure::Pressure;
pub use stat::{KernelParts, Stat};

use super::LimitSource;

/// Files of the memory cgroup.
#[derive(Debug, Clone)]
pub struct Cgroup {
    dir: PathBuf,
    version: Version,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    V1,
    V2,
}

impl Cgroup {
    /// The cgroup of this process, if there is one with a memory controller.
    pub fn of_this_process() -> Option<Cgroup> {
        let own = std::fs::read_to_string("/proc/self/cgroup").ok()?;
        Cgroup::find(&own, Path::new("/sys/fs/cgroup"))
    }

    /// Reads `/proc/self/cgroup` and looks for the group below `root`. Inside a container the path in it is often the
    /// host's, while `root` already is the container's own group: then the group is `root` itself.
    fn find(own: &str, root: &Path) -> Option<Cgroup> {
        let candidates = own.lines().filter_map(|line| {
            let mut fields = line.splitn(3, ':');
            let (id, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
            let path = path.trim_start_matches('/');
            match (id, controllers) {
                ("0", "") => Some((Version::V2, root.to_path_buf(), path)),
                (_, list) if list.split(',').any(|one| one == "memory") => {
                    Some((Version::V1, root.join("memory"), path))
                }
                _ => None,
            }
        });
        let groups = candidates.flat_map(|(version, base, path)| {
            [base.join(path), base].into_iter().map(move |dir| Cgroup { dir, version })
        });
        let mut groups: Vec<Cgroup> = groups.filter(|group| group.usage().is_some()).collect();
        // A hybrid system has both; the memory controller is in one of them alone, and version 1 is named for it.
        groups.sort_by_key(|group| group.version != Version::V1);
        groups.into_iter().next()
    }

    /// The limit in bytes, if there is one.
    pub fn limit(&self) -> Option<u64> {
        match self.version {
            Version::V2 => self.number("memory.max"),
            // Version 1 writes "no limit" as the largest page-aligned number.
            Version::V1 => self.number("memory.limit_in_bytes").filter(|limit| *limit < i64::MAX as u64 >> 1),
        }
    }

    /// The working set in bytes, as the kubelet counts it.
    pub fn working_set(&self) -> Option<u64> {
        self.stat().map(|stat| stat.working_set())
    }

    /// What is charged to it, by kind.
    pub fn stat(&self) -> Option<Stat> {
        let usage = self.usage()?;
        let text = self.read("memory.stat")?;
        match self.version {
            Version::V2 => Stat::of_version_2(usage, &text),
            Version::V1 => Stat::of_version_1(usage, &text, self.number("memory.kmem.usage_in_bytes").unwrap_or(0)),
        }
    }

    /// How long tasks have waited for memory, where the kernel says so: version 2 alone, if it is not switched off.
    pub fn pressure(&self) -> Option<Pressure> {
        match self.version {
            Version::V2 => Pressure::parse(&self.read("memory.pressure")?),
            Version::V1 => None,
        }
    }

    /// How many processes of it the kernel has killed because memory was short.
    pub fn oom_kills(&self) -> Option<u64> {
        let file = match self.version {
            Version::V2 => "memory.events",
            Version::V1 => "memory.oom_control",
        };
        stat::fields(&self.read(file)?).get("oom_kill").copied()
    }

    /// Which version it is.
    pub fn source(&self) -> LimitSource {
        match self.version {
            Version::V1 => LimitSource::Cgroup1,
            Version::V2 => LimitSource::Cgroup2,
        }
    }

    fn usage(&self) -> Option<u64> {
        match self.version {
            Version::V2 => self.number("memory.current"),
            Version::V1 => self.number("memory.usage_in_bytes"),
        }
    }

    fn number(&self, file: &str) -> Option<u64> {
        self.read(file)?.trim().parse().ok()
    }

    fn read(&self, file: &str) -> Option<String> {
        std::fs::read_to_string(self.dir.join(file)).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().expect("a folder");
        for (path, text) in files {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("folders");
            std::fs::write(path, text).expect("a file");
        }
        root
    }

    #[test]
    fn version_2_in_a_container_is_the_root_itself() {
        let root = group(&[
            ("memory.current", "1000\n"),
            ("memory.max", "4096\n"),
            ("memory.stat", "anon 500\nfile 400\ninactive_file 300\n"),
        ]);
        let cgroup = Cgroup::find("0::/\n", root.path()).expect("a group");
        assert_eq!((cgroup.limit(), cgroup.working_set()), (Some(4096), Some(700)));
    }

    #[test]
    fn version_1_is_found_by_its_controller_and_path() {
        let root = group(&[
            ("memory/pods/x/memory.usage_in_bytes", "1000\n"),
            ("memory/pods/x/memory.limit_in_bytes", "2048\n"),
            ("memory/pods/x/memory.stat", "inactive_file 1\ntotal_rss 500\ntotal_cache 400\ntotal_inactive_file 400\n"),
        ]);
        let own = "5:cpu,cpuacct:/pods/x\n4:memory:/pods/x\n0::/\n";
        let cgroup = Cgroup::find(own, root.path()).expect("a group");
        assert_eq!((cgroup.limit(), cgroup.working_set()), (Some(2048), Some(600)));
    }

    #[test]
    fn version_1_in_a_container_has_the_hosts_path() {
        let root = group(&[
            ("memory/memory.usage_in_bytes", "1000\n"),
            ("memory/memory.limit_in_bytes", "9223372036854771712\n"),
            ("memory/memory.stat", "total_rss 500\ntotal_cache 0\ntotal_inactive_file 0\n"),
        ]);
        let cgroup = Cgroup::find("4:memory:/kubepods/pod1/c1\n", root.path()).expect("a group");
        assert_eq!((cgroup.limit(), cgroup.working_set()), (None, Some(1000)), "no limit");
    }

    #[test]
    fn without_a_memory_controller_there_is_no_group() {
        let root = group(&[]);
        assert!(Cgroup::find("0::/\n3:cpu:/\n", root.path()).is_none());
    }
}
