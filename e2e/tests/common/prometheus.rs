//! Prometheus, its tool, and the Prometheus operator, as child processes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, Command};

use super::clients::{free_port, program};
use super::until;

/// Runs promtool in `folder` on `input`; what it complains of is the error.
pub async fn promtool(arguments: &[&str], folder: &Path, input: &[u8]) -> Result<()> {
    content("E2E_PROMTOOL", arguments, folder, input).await
}

/// Whether Grafana takes a dashboard: every field is one that it knows.
pub async fn check_dashboard(dashboard: &str) -> Result<()> {
    content("E2E_DASHBOARD", &[], Path::new("."), dashboard.as_bytes()).await
}

/// Runs a program that complains of its input, or does not.
async fn content(name: &str, arguments: &[&str], folder: &Path, input: &[u8]) -> Result<()> {
    let mut command = program(name)?;
    command.args(arguments).current_dir(folder).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("cannot run {name}"))?;
    child.stdin.take().unwrap().write_all(input).await?;
    let output = child.wait_with_output().await?;
    let said = [output.stdout, output.stderr].concat();
    ensure!(output.status.success(), "{name} {arguments:?}: {}", String::from_utf8_lossy(&said));
    Ok(())
}

/// Checks what a program exposes.
pub async fn check_metrics(metrics: &str) -> Result<()> {
    promtool(&["check", "metrics"], Path::new("."), as_text_format(metrics).as_bytes()).await
}

/// What our programs expose is OpenMetrics, in which the head of a counter has its name without `_total`, and that of an info
/// without `_info`. promtool reads the older text format, where the name is the same, and an info is a gauge.
fn as_text_format(metrics: &str) -> String {
    const TYPES: [(&str, &str, &str); 2] = [("counter", "_total", "counter"), ("info", "_info", "gauge")];
    let type_of = |line: &'_ str| {
        let (name, type_) = line.strip_prefix("# TYPE ")?.split_once(' ')?;
        let found = TYPES.into_iter().find(|(of, _, _)| *of == type_)?;
        Some((name.to_owned(), found))
    };
    let types: BTreeMap<String, _> = metrics.lines().filter_map(type_of).collect();
    let mut text = String::new();
    for line in metrics.lines().filter(|line| *line != "# EOF") {
        let mut words: Vec<String> = line.splitn(4, ' ').map(str::to_owned).collect();
        if words[0] == "#"
            && let Some((_, suffix, type_)) = words.get(2).and_then(|name| types.get(name))
        {
            words[2] += suffix;
            if words[1] == "TYPE" {
                (*type_).clone_into(&mut words[3]);
            }
        }
        text += &words.join(" ");
        text.push('\n');
    }
    text
}

/// What a command says.
pub async fn said(command: &mut Command) -> Result<Vec<u8>> {
    let output = command.kill_on_drop(true).output().await.with_context(|| format!("cannot run {command:?}"))?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(output.stdout)
}

/// How a program that is no client of ours comes to the API server and to the kubelet: as files.
pub struct Access {
    pub server: String,
    pub ca: PathBuf,
    pub certificate: PathBuf,
    pub key: PathBuf,
}

impl Access {
    /// Writes those of the kubeconfig's user to `folder`.
    pub async fn write(folder: &Path) -> Result<Access> {
        let field = async |of: &str| {
            let template = format!("-o=go-template={{{{range .{of}}}}}{{{{end}}}}");
            said(Command::new("kubectl").args(["config", "view", "--raw", "--minify", &template])).await
        };
        let file = async |name: &str, of: &str| -> Result<PathBuf> {
            let path = folder.join(name);
            std::fs::write(&path, field(of).await?)?;
            Ok(path)
        };
        Ok(Access {
            server: String::from_utf8(field("clusters}}{{.cluster.server").await?)?,
            ca: file("ca.crt", r#"clusters}}{{index .cluster "certificate-authority-data" | base64decode"#).await?,
            certificate: file("client.crt", r#"users}}{{index .user "client-certificate-data" | base64decode"#).await?,
            key: file("client.key", r#"users}}{{index .user "client-key-data" | base64decode"#).await?,
        })
    }

    /// Starts the Prometheus operator, outside of the cluster.
    pub fn start_operator(&self, log: &Path) -> Result<Child> {
        let log = std::fs::File::create(log)?;
        let mut operator = program("E2E_PROMETHEUS_OPERATOR")?;
        operator.arg(format!("-apiserver={}", self.server));
        operator.arg(format!("-ca-file={}", self.ca.display()));
        operator.arg(format!("-cert-file={}", self.certificate.display()));
        operator.arg(format!("-key-file={}", self.key.display()));
        operator.arg(format!("-web.listen-address=127.0.0.1:{}", free_port()?));
        operator.stdout(log.try_clone()?).stderr(log).spawn().context("cannot start the Prometheus operator")
    }
}

/// A Prometheus that runs.
pub struct Prometheus {
    url: String,
    http: reqwest::Client,
    _process: Child,
}

impl Prometheus {
    /// Starts it with its configuration and data in `folder`.
    pub async fn start(folder: &Path) -> Result<Prometheus> {
        let address = format!("127.0.0.1:{}", free_port()?);
        let mut command = program("E2E_PROMETHEUS")?;
        command.arg(format!("--config.file={}", folder.join("prometheus.yaml").display()));
        command.arg(format!("--storage.tsdb.path={}", folder.join("data").display()));
        command.arg(format!("--web.listen-address={address}"));
        let log = std::fs::File::create(folder.join("prometheus.log"))?;
        let process = command.stdout(Stdio::null()).stderr(log).spawn().context("cannot start Prometheus")?;
        let http = reqwest::Client::builder().no_proxy().build()?;
        let prometheus = Prometheus { url: format!("http://{address}"), http, _process: process };
        until("Prometheus is ready", || async {
            let answer = prometheus.http.get(format!("{}/-/ready", prometheus.url)).send().await?;
            Ok(answer.status().is_success().then_some(()))
        })
        .await
        .with_context(|| std::fs::read_to_string(folder.join("prometheus.log")).unwrap_or_default())?;
        Ok(prometheus)
    }

    /// What its API answers.
    pub async fn ask(&self, route: &str, query: &[(&str, &str)]) -> Result<Value> {
        let answer = self.http.get(format!("{}/api/v1/{route}", self.url)).query(query).send().await?;
        let mut answer: Value = answer.json().await?;
        ensure!(answer["status"] == "success", "{route} {query:?}: {answer}");
        Ok(answer["data"].take())
    }

    /// The series that an expression gives now.
    pub async fn query(&self, expression: &str) -> Result<Vec<Value>> {
        let mut data = self.ask("query", &[("query", expression)]).await?;
        serde_json::from_value(data["result"].take()).with_context(|| format!("{expression} gives no vector"))
    }
}
