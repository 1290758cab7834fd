//! The cgroup that limits this process, version 2 or 1.

mod pressure;
mod stat;

use std::io;
use std::path::{Component, Path, PathBuf};

pub use pressure::Pressure;
pub use stat::{KernelParts, Stat};

use super::LimitSource;

/// Most characters of a file that are shown when they are not what they should be.
const SHOWN_CHARS_MAX: usize = 40;

/// Version 1 writes "no limit" as the largest number of whole pages, which depends on their size.
const NO_LIMIT: u64 = i64::MAX as u64 >> 1;

/// Files of the memory cgroup.
#[derive(Debug, Clone)]
pub struct Cgroup {
    dir: PathBuf,
    /// The outermost group that can be seen: in a container, often the group itself.
    outermost: PathBuf,
    version: Version,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    V1,
    V2,
}

/// A file of the cgroup that does not say what it should.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It is missing, or may not be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// It holds something else.
    #[error("{path} says {text:?}, which is no number of bytes")]
    Text {
        /// The file.
        path: String,
        /// The beginning of what it says.
        text: String,
    },
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
        let mut places: Vec<(Version, PathBuf, &str)> = own
            .lines()
            .filter_map(|line| {
                let mut fields = line.splitn(3, ':');
                let (id, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
                match (id, controllers) {
                    ("0", "") => Some((Version::V2, root.to_path_buf(), path)),
                    (_, list) if list.split(',').any(|one| one == "memory") => {
                        Some((Version::V1, root.join("memory"), path))
                    }
                    _ => None,
                }
            })
            .collect();
        // A hybrid system has both; the memory controller is in one of them alone, and version 1 is named for it.
        places.sort_by_key(|(version, ..)| *version != Version::V1);
        places.into_iter().find_map(|(version, outermost, path)| {
            let path = Path::new(path.trim_start_matches('/'));
            let is_below = path.components().all(|part| matches!(part, Component::Normal(_)));
            let dir = if is_below { outermost.join(path) } else { outermost.clone() };
            // The memory controller may be on for a group around it alone.
            let dirs = dir.ancestors().take_while(|dir| dir.starts_with(&outermost));
            let mut groups = dirs.map(|dir| Cgroup { dir: dir.to_path_buf(), outermost: outermost.clone(), version });
            groups.find(|group| group.usage().is_some())
        })
    }

    /// The limit in bytes, if there is one: the smallest of its own and those of the groups around it, as far as they
    /// can be seen. In a pod, either may have it.
    pub fn limit(&self) -> Option<u64> {
        let own = self.own_limit().ok().flatten();
        own.into_iter().chain(self.limit_around()).min()
    }

    /// The limit of the group itself, if there is one.
    pub fn own_limit(&self) -> Result<Option<u64>, FileError> {
        let file = match self.version {
            Version::V2 => "memory.max",
            Version::V1 => "memory.limit_in_bytes",
        };
        let text = self.read(file)?;
        match (self.version, text.trim(), text.trim().parse()) {
            (Version::V2, "max", _) => Ok(None),
            (Version::V1, _, Ok(NO_LIMIT..)) => Ok(None),
            (_, _, Ok(bytes)) => Ok(Some(bytes)),
            (_, text, Err(_)) => {
                Err(FileError::Text { path: self.shown(file), text: text.chars().take(SHOWN_CHARS_MAX).collect() })
            }
        }
    }

    /// The smallest limit of the groups around it. Version 1 tells it, also where they cannot be seen.
    fn limit_around(&self) -> Option<u64> {
        match self.version {
            Version::V2 => {
                let around = self.dir.ancestors().skip(1).take_while(|dir| dir.starts_with(&self.outermost));
                let groups = around.map(|dir| Cgroup { dir: dir.to_path_buf(), ..self.clone() });
                groups.filter_map(|group| group.own_limit().ok().flatten()).min()
            }
            Version::V1 => {
                let text = self.read("memory.stat").ok()?;
                stat::fields(&text).get("hierarchical_memory_limit").copied().filter(|limit| *limit < NO_LIMIT)
            }
        }
    }

    /// The working set in bytes, as the kubelet counts it.
    pub fn working_set(&self) -> Option<u64> {
        self.stat().map(|stat| stat.working_set())
    }

    /// What is charged to it, by kind.
    pub fn stat(&self) -> Option<Stat> {
        let usage = self.usage()?;
        let text = self.read("memory.stat").ok()?;
        match self.version {
            Version::V2 => Stat::of_version_2(usage, &text),
            Version::V1 => Stat::of_version_1(usage, &text, self.number("memory.kmem.usage_in_bytes").unwrap_or(0)),
        }
    }

    /// The file that says so.
    pub fn stat_path(&self) -> String {
        self.shown("memory.stat")
    }

    /// How long tasks have waited for memory, where the kernel says so: version 2 alone, if it is not switched off.
    pub fn pressure(&self) -> Option<Pressure> {
        match self.version {
            Version::V2 => Pressure::parse(&self.read("memory.pressure").ok()?),
            Version::V1 => None,
        }
    }

    /// How many processes of it the kernel has killed because memory was short.
    pub fn oom_kills(&self) -> Option<u64> {
        let file = match self.version {
            Version::V2 => "memory.events",
            Version::V1 => "memory.oom_control",
        };
        stat::fields(&self.read(file).ok()?).get("oom_kill").copied()
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
        self.read(file).ok()?.trim().parse().ok()
    }

    fn read(&self, file: &str) -> Result<String, FileError> {
        std::fs::read_to_string(self.dir.join(file))
            .map_err(|source| FileError::Read { path: self.shown(file), source })
    }

    fn shown(&self, file: &str) -> String {
        self.dir.join(file).display().to_string()
    }
}

#[cfg(test)]
pub(super) mod tests;
