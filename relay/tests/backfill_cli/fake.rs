//! An admin API that answers what it is told to, and remembers what it was asked.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::process::{Output, Stdio};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::IntoResponse;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// The token that it expects.
pub const TOKEN: &str = "fake-token";

/// What it was asked.
#[derive(Debug, Clone, PartialEq)]
pub struct Asked {
    /// Method, path and query.
    pub line: String,
    /// The body as text.
    pub body: String,
}

impl Asked {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {:?}", self.body))
    }
}

#[derive(Default)]
struct Script {
    /// Given one after the other; the last one again and again.
    answers: VecDeque<(StatusCode, String)>,
    asked: Vec<Asked>,
}

/// The admin API.
pub struct Fake {
    address: SocketAddr,
    script: Arc<Mutex<Script>>,
    running: Option<(oneshot::Sender<()>, JoinHandle<()>)>,
}

impl Fake {
    /// Starts one that gives these answers, one after the other, and the last one again and again.
    pub async fn start(answers: impl IntoIterator<Item = (u16, Value)>) -> Fake {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut fake = Fake { address: listener.local_addr().unwrap(), script: Arc::default(), running: None };
        fake.will_answer(answers);
        fake.serve(listener);
        fake
    }

    /// Gives these answers from now on.
    pub fn will_answer(&self, answers: impl IntoIterator<Item = (u16, Value)>) {
        let text = |(status, json): (u16, Value)| (StatusCode::from_u16(status).unwrap(), json.to_string());
        self.script.lock().unwrap().answers = answers.into_iter().map(text).collect();
    }

    /// Closes its port, and its connections when they have their answers.
    pub async fn stop(&mut self) {
        let (stop, task) = self.running.take().unwrap();
        stop.send(()).unwrap();
        task.await.unwrap();
    }

    /// Opens its port again.
    pub async fn start_again(&mut self) {
        let listener = TcpListener::bind(self.address).await.unwrap();
        self.serve(listener);
    }

    fn serve(&mut self, listener: TcpListener) {
        let (stop, stopped) = oneshot::channel();
        let router = Router::new().fallback(answer).layer(DefaultBodyLimit::max(1 << 20));
        let router = router.with_state(Arc::clone(&self.script));
        let server = axum::serve(listener, router).with_graceful_shutdown(async { stopped.await.unwrap() });
        self.running = Some((stop, tokio::spawn(async { server.await.unwrap() })));
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What it was asked since it was last asked for it.
    pub fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut self.script.lock().unwrap().asked)
    }

    /// Runs `relay backfill` against it, with its token.
    pub async fn run(&self, arguments: &[&str]) -> Output {
        let environment = [("RELAY_ADMIN_URL", self.url()), ("RELAY_ADMIN_TOKEN", TOKEN.to_owned())];
        let environment = environment.each_ref().map(|(name, value)| (*name, value.as_str()));
        run(arguments, &environment, "").await
    }
}

async fn answer(
    State(script): State<Arc<Mutex<Script>>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: String,
) -> impl IntoResponse {
    let mut script = script.lock().unwrap();
    if headers.get("authorization").is_none_or(|value| value != format!("Bearer {TOKEN}").as_str()) {
        let refusal = json!({ "error": "AuthRequired", "message": "send the admin token" });
        return (StatusCode::UNAUTHORIZED, [("retry-after", "0")], refusal.to_string());
    }
    script.asked.push(Asked { line: format!("{method} {uri}"), body });
    let (status, text) = match script.answers.len() {
        1 => script.answers[0].clone(),
        _ => script.answers.pop_front().expect("an answer"),
    };
    (status, [("retry-after", "0")], text)
}

/// Starts `relay backfill`, with nothing in its environment but this.
pub fn spawn(arguments: &[&str], environment: &[(&str, &str)]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_relay"))
        .arg("backfill")
        .args(arguments)
        .env_clear()
        .envs(environment.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

/// Runs it to its end with this on standard input.
pub async fn run(arguments: &[&str], environment: &[(&str, &str)], input: &str) -> Output {
    let mut child = spawn(arguments, environment);
    let mut stdin = child.stdin.take().unwrap();
    // Who refuses its arguments does not read what it is given.
    let _ = stdin.write_all(input.as_bytes()).await;
    drop(stdin);
    child.wait_with_output().await.unwrap()
}

pub fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// Standard output, which has to be one JSON document.
#[track_caller]
pub fn document(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", stderr(output)))
}
