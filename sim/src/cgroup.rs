//! A memory cgroup of our own, so that a relay outside of a container has a limit that the kernel keeps.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

/// A group with a memory limit. It goes with this, when its processes have ended.
pub struct Group {
    dir: PathBuf,
    version: Version,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    V1,
    V2,
}

impl Group {
    /// Makes one; `None` where we may not, or where no memory controller is.
    pub fn create(name: &str, limit_bytes: u64) -> Option<Group> {
        let root = Path::new("/sys/fs/cgroup");
        let v1 = root.join("memory");
        let (dir, version, file) = if v1.is_dir() {
            (v1.join(name), Version::V1, "memory.limit_in_bytes")
        } else {
            // Without it the group has no such files; where it is on already this changes nothing.
            fs::write(root.join("cgroup.subtree_control"), "+memory").ok()?;
            (root.join(name), Version::V2, "memory.max")
        };
        fs::create_dir_all(&dir).ok()?;
        let group = Group { dir, version };
        fs::write(group.dir.join(file), limit_bytes.to_string()).ok()?;
        Some(group)
    }

    /// What stands before a program and its arguments, for it to run in the group.
    pub fn enter(&self) -> [OsString; 4] {
        let script = format!("echo $$ >'{}' && exec \"$@\"", self.dir.join("cgroup.procs").display());
        ["sh".into(), "-c".into(), script.into(), "sh".into()]
    }

    /// The working set, as the kubelet counts it.
    pub fn working_set_bytes(&self) -> Option<u64> {
        let (usage, inactive) = match self.version {
            Version::V1 => ("memory.usage_in_bytes", "total_inactive_file "),
            Version::V2 => ("memory.current", "inactive_file "),
        };
        let usage: u64 = self.read(usage)?.trim().parse().ok()?;
        let stat = self.read("memory.stat")?;
        let inactive: u64 = stat.lines().find_map(|line| line.strip_prefix(inactive)?.trim().parse().ok())?;
        Some(usage.saturating_sub(inactive))
    }

    /// Processes that the kernel has killed in it for want of memory.
    pub fn oom_kills(&self) -> Option<u64> {
        let file = match self.version {
            Version::V1 => "memory.oom_control",
            Version::V2 => "memory.events",
        };
        self.read(file)?.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
    }

    fn read(&self, file: &str) -> Option<String> {
        fs::read_to_string(self.dir.join(file)).ok()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Where a process is left in it the folder stays, empty of everything but that.
        let _ = fs::remove_dir(&self.dir);
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// Where this may make no cgroups there is nothing to test.
    #[test]
    fn a_program_in_the_group_is_counted_and_killed_beyond_the_limit() {
        let name = format!("relay-sim-{}", std::process::id());
        let Some(group) = Group::create(&name, 32 << 20) else { return };
        let run = |script: &str| {
            let [sh, arguments @ ..] = group.enter();
            Command::new(sh).args(arguments).args(["sh", "-c", script]).output().expect("a shell")
        };
        assert!(run("true").status.success());
        assert_eq!(group.oom_kills(), Some(0));
        // `tail` holds what has no line in it.
        run("head -c 200000000 /dev/zero | tail");
        assert!(group.oom_kills() >= Some(1), "{:?}", group.oom_kills());
        assert!(group.working_set_bytes().expect("a count") < 32 << 20);
    }
}
