//! The relay under test, as a process of its own.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use reqwest::Method;
pub use rustix::process::Signal;
use rustix::process::{Pid, kill_process};
use serde_json::Value;

use crate::consumer::Consumer;
use crate::host::Host;
use crate::plc::Plc;
use crate::server::free_address;

/// The token of its admin API.
pub const ADMIN_TOKEN: &str = "simulated-token";
/// It is ready, or has ended, within this.
const PATIENCE: Duration = Duration::from_secs(30);
/// Unit of CPU times in `/proc`: a hundredth of a second on every Linux.
const TICKS_PER_SECOND: f64 = 100.0;
/// Lines of its log that a failed test shows.
const LOG_LINES_SHOWN: usize = 40;

/// How to start a relay.
#[derive(Debug, Clone)]
pub struct Setup {
    /// The program; what stands before it prepares the place where it runs and then becomes it.
    pub command: Vec<OsString>,
    /// Its data folder. The log of the process is written beside it.
    pub data_dir: PathBuf,
    /// Settings besides those that every test needs.
    pub settings: Vec<String>,
}

/// A relay, running or not, always on the same ports.
pub struct Relay {
    setup: Setup,
    /// Where the firehose is.
    pub public: SocketAddr,
    /// Where the admin API is.
    pub admin: SocketAddr,
    child: Option<Child>,
    http: reqwest::Client,
}

/// An answer to a request.
#[derive(Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Its headers.
    pub headers: reqwest::header::HeaderMap,
    /// The body as JSON, null when it is none.
    pub json: Value,
    /// The body as text.
    pub text: String,
}

impl Setup {
    /// A relay without limits on hosts, beside the settings given.
    pub fn new(program: impl Into<OsString>, data_dir: &Path, plc: &Plc, settings: &[&str]) -> Setup {
        let common = ["--plc-url", &plc.url(), "--admin-token", ADMIN_TOKEN, "--allow-insecure-hosts"];
        let limits = ["--memory-limit=256Mi", "--host-events-per-second=0", "--host-account-limit=0"];
        // What is named twice counts as it is named last.
        let named = |setting: &&&str| {
            let name = setting.split('=').next().unwrap_or_default();
            !settings.iter().any(|given| given.split('=').next() == Some(name))
        };
        let settings = common.iter().chain(limits.iter().filter(named)).chain(settings);
        Setup {
            command: vec![program.into()],
            data_dir: data_dir.to_owned(),
            settings: settings.map(|setting| (*setting).to_owned()).collect(),
        }
    }
}

impl Relay {
    /// A relay that was not started yet.
    pub fn new(setup: Setup) -> Relay {
        let http = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none());
        // A connection that rests is closed by the relay some time, which may be the moment of the next request.
        let http = http.pool_max_idle_per_host(0);
        Relay {
            setup,
            public: free_address(),
            admin: free_address(),
            child: None,
            http: http.build().expect("an HTTP client"),
        }
    }

    /// Starts a relay and waits until it is ready.
    pub async fn start(setup: Setup) -> Relay {
        let mut relay = Relay::new(setup);
        relay.start_again().await;
        relay
    }

    /// Starts it again, after it has ended, and waits until it is ready.
    pub async fn start_again(&mut self) {
        self.launch();
        self.until("it is ready", async |relay| relay.is_ready().await).await;
    }

    /// Starts it, and does not wait for it.
    pub fn launch(&mut self) {
        let log = std::fs::File::options().create(true).append(true).open(self.log()).expect("a log file");
        let (program, before) = (&self.setup.command[0], &self.setup.command[1..]);
        let child = Command::new(program)
            .args(before)
            .args(["serve", "--listen", &self.public.to_string(), "--admin-listen", &self.admin.to_string()])
            .arg("--data-dir")
            .arg(&self.setup.data_dir)
            .args(&self.setup.settings)
            .env_clear()
            .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
            .stderr(log)
            .stdin(Stdio::null())
            .spawn();
        self.child = Some(child.expect("the relay's program"));
    }

    /// Ends it at once.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().and_then(|()| child.wait()).expect("a process that can be killed");
        }
    }

    /// Asks it to stop, and waits until it has.
    ///
    /// # Panics
    ///
    /// When it is not running, or takes too long.
    pub async fn terminate(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.ended().await
    }

    /// Asks it for a planned restart, as it makes one when its memory runs short, and waits until it has ended.
    ///
    /// # Panics
    ///
    /// When it is not running, or takes too long.
    pub async fn end_as_planned(&mut self) -> ExitStatus {
        self.signal(Signal::USR1);
        self.ended().await
    }

    /// Sends it a signal.
    ///
    /// # Panics
    ///
    /// When it is not running.
    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).expect("a process that can be signalled");
    }

    /// Waits until it has ended.
    ///
    /// # Panics
    ///
    /// When it was not started, or takes too long.
    pub async fn ended(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.exit() {
                self.child = None;
                return status;
            }
            assert!(Instant::now() < deadline, "the relay has not stopped within {PATIENCE:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Whether the process lives.
    pub fn is_alive(&mut self) -> bool {
        self.child.is_some() && self.exit().is_none()
    }

    /// Its process id.
    ///
    /// # Panics
    ///
    /// When it is not running.
    pub fn pid(&self) -> Pid {
        let child = self.child.as_ref().expect("a relay that runs");
        i32::try_from(child.id()).ok().and_then(Pid::from_raw).expect("a process id")
    }

    /// Subscribes to its firehose.
    pub async fn consumer(&self, cursor: Option<u64>) -> Consumer {
        Consumer::connect(self.public, cursor).await.expect("a firehose")
    }

    /// Makes it read from a host, and waits until it does.
    pub async fn crawl(&self, host: &Host) {
        let answer = self.request_crawl(host.name()).await;
        assert_eq!(answer.status, 200, "requestCrawl of {}: {}", host.name(), answer.text);
        host.connected().await;
    }

    /// `requestCrawl` in the admin API.
    pub async fn request_crawl(&self, hostname: &str) -> Answer {
        self.post_admin("/admin/pds/requestCrawl", serde_json::json!({ "hostname": hostname })).await
    }

    /// Gets a path from the public port.
    pub async fn get(&self, path: &str) -> Answer {
        self.answer(self.request(Method::GET, self.public, path)).await
    }

    /// Gets a path from the admin port, with the token.
    pub async fn get_admin(&self, path: &str) -> Answer {
        self.answer(self.request(Method::GET, self.admin, path).bearer_auth(ADMIN_TOKEN)).await
    }

    /// Posts JSON to a path of the admin port, with the token.
    pub async fn post_admin(&self, path: &str, body: Value) -> Answer {
        let request = self.request(Method::POST, self.admin, path).bearer_auth(ADMIN_TOKEN);
        self.answer(request.json(&body)).await
    }

    /// A request to either port, to be completed and given to [`Relay::answer`].
    pub fn request(&self, method: Method, address: SocketAddr, path: &str) -> reqwest::RequestBuilder {
        self.http.request(method, format!("http://{address}{path}"))
    }

    /// Sends a request.
    pub async fn answer(&self, request: reqwest::RequestBuilder) -> Answer {
        let response = request.send().await.expect("a relay that answers");
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let text = response.text().await.expect("a whole answer");
        Answer { status, headers, json: serde_json::from_str(&text).unwrap_or_default(), text }
    }

    /// The status document.
    pub async fn status(&self) -> Value {
        self.get_admin("/admin/status").await.json
    }

    /// A number in the status document by its path, like `/events/passed`; 0 when there is none.
    pub async fn count(&self, path: &str) -> u64 {
        self.status().await.pointer(path).and_then(Value::as_u64).unwrap_or(0)
    }

    /// How many events were dropped for a reason.
    pub async fn dropped(&self, reason: &str) -> u64 {
        self.count(&format!("/events/droppedByReason/{reason}")).await
    }

    /// Whether it says that it delivers.
    pub async fn is_ready(&self) -> bool {
        let answer = self.request(Method::GET, self.admin, "/readyz").send().await;
        answer.is_ok_and(|response| response.status().is_success())
    }

    /// Waits until something is so.
    ///
    /// # Panics
    ///
    /// When that takes too long, or the relay ends.
    pub async fn until(&mut self, what: &str, is_so: impl AsyncFn(&Relay) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !is_so(self).await {
            if let Some(status) = self.exit() {
                panic!("the relay ended ({status}) before this: {what}");
            }
            assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
            tokio::time::sleep(Duration::from_millis(20)).await;
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

    fn proc(&self, file: &str) -> String {
        std::fs::read_to_string(format!("/proc/{}/{file}", self.pid().as_raw_nonzero())).unwrap_or_default()
    }

    fn exit(&mut self) -> Option<ExitStatus> {
        self.child.as_mut().and_then(|child| child.try_wait().expect("a child of this process"))
    }

    fn log(&self) -> PathBuf {
        self.setup.data_dir.with_extension("log")
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // It may have ended by itself.
            let _ = child.kill().and_then(|()| child.wait());
        }
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.log()).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            eprintln!("--- the relay's log ends with:");
            lines.iter().skip(lines.len().saturating_sub(LOG_LINES_SHOWN)).for_each(|line| eprintln!("{line}"));
        }
    }
}
