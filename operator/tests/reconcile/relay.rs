//! A relay's admin API, as far as the operator asks it: the status document, and jobs that do nothing.

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
    requests: Vec<String>,
    mood: Mood,
}

/// How the relay takes changes of its jobs.
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
        let relay = Self(Arc::new(Mutex::new(Inner { document, requests: Vec::new(), mood: Mood::Willing })));
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

    /// What it says of itself from now on.
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

    fn answer(&mut self, method: &Method, path: &str, body: &Value) -> Response {
        let Some(name) = path.strip_prefix("/admin/backfill/jobs/") else {
            return Json(self.document.clone()).into_response();
        };
        self.requests.push(if body.is_null() { format!("{method} {name}") } else { format!("{method} {name} {body}") });
        if let Mood::Refusing(status, message) = self.mood {
            let error = Json(json!({"error": "Refused", "message": message}));
            return (StatusCode::from_u16(status).unwrap(), error).into_response();
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
