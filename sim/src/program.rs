//! A program that runs as a process of its own, and what it uses.

use std::fs::File;
use std::io;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// Unit of CPU times in `/proc`: a hundredth of a second on every Linux.
const TICKS_PER_SECOND: f64 = 100.0;

/// A running program. It is killed when this is dropped.
pub struct Program {
    child: Child,
}

impl Program {
    /// Starts a program. Its output is appended to a file.
    ///
    /// # Errors
    ///
    /// When there is no such program, or the file cannot be written.
    pub fn start(command: &mut Command, log: &Path) -> io::Result<Program> {
        let log = File::options().create(true).append(true).open(log)?;
        let child = command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn()?;
        Ok(Program { child })
    }

    /// Its process id.
    pub fn pid(&self) -> Pid {
        i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).expect("a process id")
    }

    /// How it has ended, if it has.
    pub fn exit(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child of this process")
    }

    /// Ends it at once.
    pub fn kill(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill().and_then(|()| self.child.wait());
    }

    /// Asks it to stop, and waits until it has; `None` when it takes longer than that.
    pub async fn terminate(&mut self, patience: Duration) -> Option<ExitStatus> {
        kill_process(self.pid(), Signal::TERM).expect("a process that can be signalled");
        let deadline = Instant::now() + patience;
        loop {
            match self.exit() {
                None if Instant::now() < deadline => tokio::time::sleep(Duration::from_millis(10)).await,
                exit => return exit,
            }
        }
    }

    /// CPU time that it has used, in seconds.
    pub fn cpu_seconds(&self) -> f64 {
        let stat = self.proc("stat");
        // The name of the program may contain anything but ends with the last parenthesis.
        let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
        let ticks = fields.split_whitespace().skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok());
        ticks.sum::<f64>() / TICKS_PER_SECOND
    }

    /// Its resident memory by a name in `/proc/PID/status`, like `VmRSS`, in bytes.
    pub fn memory_bytes(&self, name: &str) -> u64 {
        let status = self.proc("status");
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok()).unwrap_or(0) << 10
    }

    /// Forgets how much it had at most, which `VmHWM` then counts from now.
    ///
    /// # Errors
    ///
    /// When the process has ended.
    pub fn forget_peak(&self) -> io::Result<()> {
        std::fs::write(format!("/proc/{}/clear_refs", self.child.id()), "5")
    }

    fn proc(&self, file: &str) -> String {
        std::fs::read_to_string(format!("/proc/{}/{file}", self.child.id())).unwrap_or_default()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.kill();
    }
}
