//! Headless Chromium, by the WebDriver protocol of chromedriver.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};

/// The browser has started, or the page has come to something, within this.
const PATIENCE: Duration = Duration::from_secs(60);
/// Name of an element's id in the protocol.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// A browser with one window.
pub struct Browser {
    driver: Child,
    http: reqwest::Client,
    /// URL of the session.
    session: String,
    profile: tempfile::TempDir,
}

impl Browser {
    /// Starts one.
    ///
    /// # Panics
    ///
    /// When there is no Chromium here.
    pub async fn start() -> Browser {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut command = Command::new("chromedriver");
        command.arg(format!("--port={port}")).stdout(Stdio::null()).stderr(Stdio::null());
        let driver = command.spawn().unwrap_or_else(|error| {
            panic!("cannot start chromedriver: {error}; dev/packages.sh installs it (Debian: chromium chromium-driver)")
        });
        let profile = tempfile::tempdir().unwrap();
        let http = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build().unwrap();
        let mut browser = Browser { driver, http, session: format!("http://127.0.0.1:{port}"), profile };
        let flags = [
            "--headless",
            "--no-sandbox", // tests may run as root
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--no-first-run",
            "--window-size=1400,900",
            &format!("--user-data-dir={}", browser.profile.path().display()),
        ];
        let wanted = json!({ "capabilities": { "alwaysMatch": { "goog:chromeOptions": { "args": flags } } } });
        let deadline = Instant::now() + PATIENCE;
        let session = loop {
            match browser.send(Method::POST, "/session", Some(&wanted)).await {
                Ok(session) => break session["sessionId"].as_str().expect("a session").to_owned(),
                Err(error) => assert!(Instant::now() < deadline, "Chromium does not start: {error}"),
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        };
        browser.session += &format!("/session/{session}");
        browser
    }

    /// Goes to a URL.
    pub async fn open(&self, url: &str) {
        self.post("/url", json!({ "url": url })).await;
    }

    /// Runs the body of a function in the page, and gives what it returns.
    pub async fn run(&self, script: &str) -> Value {
        self.post("/execute/sync", json!({ "script": script, "args": [] })).await
    }

    /// Clicks an element as a person does: it has to be in sight, with nothing above it.
    pub async fn click(&self, selector: &str) {
        let element = self.element(selector).await;
        self.post(&format!("/element/{element}/click"), json!({})).await;
    }

    /// Types into an element.
    pub async fn type_into(&self, selector: &str, text: &str) {
        let element = self.element(selector).await;
        self.post(&format!("/element/{element}/value"), json!({ "text": text })).await;
    }

    /// Waits until a script returns true.
    pub async fn until(&self, what: &str, script: &str) {
        let deadline = Instant::now() + PATIENCE;
        while self.run(script).await != json!(true) {
            if Instant::now() > deadline {
                panic!(
                    "not within {PATIENCE:?}: {what}; the page: {}",
                    self.run("return document.body.innerText").await
                );
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn element(&self, selector: &str) -> String {
        let found = self.post("/element", json!({ "using": "css selector", "value": selector })).await;
        found[ELEMENT].as_str().expect("an element").to_owned()
    }

    async fn post(&self, path: &str, body: Value) -> Value {
        let answer = self.send(Method::POST, path, Some(&body)).await;
        answer.unwrap_or_else(|error| panic!("{path} {body}: {error}"))
    }

    async fn send(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, String> {
        let request = self.http.request(method, format!("{}{path}", self.session));
        let request = body.into_iter().fold(request, |request, body| request.json(body));
        let response = request.send().await.map_err(|error| error.to_string())?;
        let is_success = response.status().is_success();
        let answer: Value = response.json().await.map_err(|error| error.to_string())?;
        if is_success { Ok(answer["value"].clone()) } else { Err(answer["value"]["message"].to_string()) }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The end of the session ends Chromium, which would outlive its driver.
        let _ = self.end_session();
        let _ = self.driver.kill().and_then(|()| self.driver.wait());
    }
}

impl Browser {
    /// Without the runtime, which may not wait here.
    fn end_session(&self) -> std::io::Result<()> {
        let (address, path) = self.session.trim_start_matches("http://").split_once('/').unwrap_or_default();
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        write!(stream, "DELETE /{path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
        // The answer begins when Chromium has ended.
        stream.read(&mut [0; 64]).map(drop)
    }
}
