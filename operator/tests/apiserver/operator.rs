//! The operator's program as a process.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use serde_json::{Value, json};

use crate::until;

/// What operators have asked for and got, as verb, group and resource, in all tests so far.
pub static ASKED: Mutex<BTreeSet<(String, String, String)>> = Mutex::new(BTreeSet::new());

/// A running operator. It is killed when this is dropped.
pub struct Operator {
    child: Child,
    url: String,
    log: PathBuf,
    http: reqwest::Client,
}

/// One figure of `/metrics`.
#[derive(Clone, Debug)]
pub struct Figure {
    pub name: String,
    pub labels: BTreeMap<String, String>,
    pub value: f64,
}

impl Operator {
    /// Starts one that calls itself `identity`.
    pub fn start(identity: &str, args: &[&str]) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let folder =
            PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("apiserver-{}-{port}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let log = folder.join("log");
        let mut command = Command::new(env!("CARGO_BIN_EXE_relay-operator"));
        command.args(["run", "--listen", &format!("127.0.0.1:{port}"), "--identity", identity]);
        command.args(["--lease-namespace", "relay-operator"]).args(args);
        let child = command
            .env("KUBECONFIG", kubeconfig(&folder))
            .env("RELAY_IMAGE", "relay.test/relay:1")
            .env("RELAY_OPERATOR_LOG_FORMAT", "json")
            .env("RUST_LOG", "info")
            .stdout(Stdio::null())
            .stderr(File::create(&log).unwrap())
            .spawn()
            .unwrap();
        Self { child, url: format!("http://127.0.0.1:{port}"), log, http: reqwest::Client::new() }
    }

    /// Starts one, and waits until it works.
    pub async fn start_and_lead(identity: &str, args: &[&str]) -> Self {
        let operator = Self::start(identity, args);
        operator.until_ready("ok").await;
        operator
    }

    /// Waits until `/readyz` answers that it is ready, and begins with `text`.
    pub async fn until_ready(&self, text: &str) {
        until(&format!("/readyz: {text}\n{}", self.log()), async || {
            let (code, said) = self.get("/readyz").await?;
            (code == 200 && said.starts_with(text)).then_some(())
        })
        .await;
    }

    /// HTTP status and body, when it answers.
    pub async fn get(&self, path: &str) -> Option<(u16, String)> {
        let answer = self.http.get(format!("{}{path}", self.url)).timeout(Duration::from_secs(5)).send().await.ok()?;
        Some((answer.status().as_u16(), answer.text().await.ok()?))
    }

    /// Its metrics. What it was allowed to ask for is noted, and that it was refused nothing.
    pub async fn figures(&self) -> Vec<Figure> {
        let (_, text) = until("/metrics", async || self.get("/metrics").await).await;
        let figures: Vec<Figure> = text.lines().filter(|line| !line.starts_with('#')).map(figure).collect();
        for request in figures.iter().filter(|figure| figure.name == "relay_operator_api_requests_total") {
            let [verb, group, resource, code] =
                ["verb", "group", "resource", "code"].map(|l| request.labels[l].clone());
            assert_ne!(code, "403", "the chart's rules do not allow {verb} {resource}.{group}");
            ASKED.lock().unwrap().insert((verb, group, resource));
        }
        figures
    }

    /// The sum of the figures `name` whose labels `pick` takes.
    pub async fn sum(&self, name: &str, pick: impl Fn(&BTreeMap<String, String>) -> bool) -> f64 {
        let figures = self.figures().await;
        figures.iter().filter(|figure| figure.name == name && pick(&figure.labels)).map(|figure| figure.value).sum()
    }

    /// Its log so far: one JSON object for each line.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    /// Sends it a signal, such as `TERM`.
    pub fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([&format!("-{signal}"), &pid]).status().unwrap().success());
    }

    /// Waits until it has ended.
    pub async fn ended(&mut self) -> ExitStatus {
        until("the end of the operator", async || self.child.try_wait().unwrap()).await
    }

    /// Tells it to stop, and waits until it has.
    pub async fn stop(mut self) -> String {
        self.figures().await;
        self.signal("TERM");
        assert!(self.ended().await.success(), "{}", self.log());
        self.log()
    }

    /// A line of `/proc/PID/status`, in KiB.
    pub fn kibibytes(&self, field: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(&format!("{field}:"))).unwrap();
        line.split_whitespace().next().unwrap().parse().unwrap()
    }

    /// Seconds of CPU that it has used.
    pub fn cpu_seconds(&self) -> f64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        // Behind the program's name, in parentheses; in hundredths on every Linux.
        let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
        let ticks = |at: usize| fields[at].parse::<f64>().unwrap();
        (ticks(11) + ticks(12)) / 100.0
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(self.log.parent().unwrap());
    }
}

/// The administrator's way to the API server, as the chart's ServiceAccount.
fn kubeconfig(folder: &std::path::Path) -> PathBuf {
    let text =
        fs::read_to_string(std::env::var("APISERVER_KUBECONFIG").expect("dev/apiserver/run.sh sets it")).unwrap();
    let mut config: Value = serde_yaml_ng::from_str(&text).unwrap();
    config["users"][0]["user"]["as"] = json!("system:serviceaccount:relay-operator:relay-operator");
    let path = folder.join("kubeconfig");
    fs::write(&path, config.to_string()).unwrap();
    path
}

fn figure(line: &str) -> Figure {
    let (series, rest) = match line.rfind('}') {
        Some(at) => line.split_at(at + 1),
        None => line.split_once(' ').unwrap(),
    };
    let value = rest.split_whitespace().next().unwrap().parse().unwrap();
    let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
    let pairs = labels.trim_end_matches('}').split("\",").filter_map(|pair| pair.split_once("=\""));
    let labels = pairs.map(|(name, value)| (name.to_owned(), value.trim_end_matches('"').to_owned())).collect();
    Figure { name: name.to_owned(), labels, value }
}
