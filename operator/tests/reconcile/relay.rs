//! A relay's admin API, as far as the operator asks it: the status document, jobs that do nothing, and bans.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// The fake relay.
#[derive(Clone)]
pub struct FakeRelay(Arc<Mutex<Inner>>);

struct Inner {
    document: Value,
    banned: BTreeSet<String>,
    requests: Vec<String>,
    mood: Mood,
}

/// How the relay takes changes of its jobs and bans.
#[derive(Clone, Copy)]
pub enum Mood {
    /// It makes them.
    Willing,
    /// It answers with this status, and this message.
    Refusing(u16, &'static str),
    /// It never answers.
    Silent,
}

impl FakeRelay {
    /// Starts it, and names the port of its admin API.
    pub async fn start(document: Value) -> (Self, u16) {
        let relay = Self(Arc::new(Mutex::new(Inner {
            document,
            banned: BTreeSet::new(),
            requests: Vec::new(),
            mood: Mood::Willing,
        })));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let router = Router::new().fallback(handle).with_state(relay.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        (relay, port)
    }

    /// How it takes changes from now on.
    pub fn set_mood(&self, mood: Mood) {
        self.0.lock().unwrap().mood = mood;
    }

    /// The requests since the last call but those of the status document, as `METHOD NAME BODY`.
    pub fn requests(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap().requests)
    }

    /// Changes the job `name`, behind the operator's back.
    pub fn change(&self, name: &str, change: impl FnOnce(&mut Value)) {
        let mut inner = self.0.lock().unwrap();
        change(inner.jobs().iter_mut().find(|job| job["name"] == name).unwrap());
    }

    /// Bans a domain, or lets it in, behind the operator's back.
    pub fn set_banned(&self, domain: &str, is_banned: bool) {
        let banned = &mut self.0.lock().unwrap().banned;
        let _ = if is_banned { banned.insert(domain.into()) } else { banned.remove(domain) };
    }

    /// The domains that it bans.
    pub fn banned(&self) -> Vec<String> {
        self.0.lock().unwrap().banned.iter().cloned().collect()
    }

    /// What it says of itself from now on; its metrics are text under the key `metrics`.
    pub fn set_document(&self, document: Value) {
        self.0.lock().unwrap().document = document;
    }

    /// The status document.
    pub fn document(&self) -> Value {
        self.0.lock().unwrap().document.clone()
    }
}

impl Inner {
    fn jobs(&mut self) -> &mut Vec<Value> {
        self.document["backfill"]["jobs"].as_array_mut().unwrap()
    }

    fn refusal(&self) -> Option<Response> {
        let Mood::Refusing(status, message) = self.mood else { return None };
        let error = Json(json!({"error": "Refused", "message": message}));
        Some((StatusCode::from_u16(status).unwrap(), error).into_response())
    }

    fn ban(&mut self, path: &str, body: &Value) -> Response {
        let domain = body["domain"].as_str().unwrap().to_owned();
        let verb = path.rsplit('/').next().unwrap();
        self.requests.push(format!("{verb} {domain}"));
        if let Some(refusal) = self.refusal() {
            return refusal;
        }
        let changed = if verb == "banDomain" { self.banned.insert(domain) } else { self.banned.remove(&domain) };
        Json(json!({ "changed": changed })).into_response()
    }

    fn answer(&mut self, method: &Method, path: &str, body: &Value) -> Response {
        let Some(name) = path.strip_prefix("/admin/backfill/jobs/") else {
            return match path {
                "/admin/subs/listDomainBans" => Json(json!({"banned_domains": self.banned})).into_response(),
                "/admin/subs/banDomain" | "/admin/subs/unbanDomain" => self.ban(path, body),
                "/metrics" => self.document["metrics"].as_str().unwrap_or_default().to_owned().into_response(),
                _ => Json(self.document.clone()).into_response(),
            };
        };
        self.requests.push(if body.is_null() { format!("{method} {name}") } else { format!("{method} {name} {body}") });
        if let Some(refusal) = self.refusal() {
            return refusal;
        }
        let jobs = self.jobs();
        let known = jobs.iter().position(|job| job["name"] == name);
        match (method.as_str(), known) {
            ("PUT", Some(at)) => {
                jobs[at]["spec"] = body.clone();
                Json(jobs[at].clone()).into_response()
            }
            ("PUT", None) => {
                let job = json!({
                    "name": name, "spec": body, "state": "queued", "run": 1, "resumes": 0,
                    "createdAt": "2026-11-24T09:00:00Z", "progress": {"parts": 0, "partsDone": 0, "seen": 0},
                });
                jobs.push(job.clone());
                Json(job).into_response()
            }
            ("DELETE", Some(at)) => {
                jobs.remove(at);
                Json(json!({})).into_response()
            }
            _ => StatusCode::NOT_FOUND.into_response(),
        }
    }
}

async fn handle(State(relay): State<FakeRelay>, method: Method, uri: Uri, body: Bytes) -> Response {
    let is_silent = matches!(relay.0.lock().unwrap().mood, Mood::Silent);
    if is_silent && method != Method::GET {
        std::future::pending::<()>().await;
    }
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    relay.0.lock().unwrap().answer(&method, uri.path(), &body)
}
