//! A server of DID documents on this machine: the PLC directory, and the host of one `did:web`.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, RawQuery, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures_util::stream;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::protocol::did::Did;

pub(super) const KEY: &str = "zQ3shqwJEJyMBsBXCWyCBpUBMqxcon9oHB7mCvx4sSpMdLJwc";

/// What the server does when it is asked for a DID.
#[derive(Debug, Clone)]
pub(super) enum Behaviour {
    Answer(String),
    /// The same, and says that it is a document.
    AnswerDocument(String),
    Refuse(StatusCode),
    /// With a `Retry-After` of so many seconds.
    RefuseUntil(StatusCode, u64),
    /// Answers after a while.
    Slow(Duration, String),
    /// Closes the connection in the middle of the answer.
    BreakOff,
}

#[derive(Clone, Default)]
pub(super) struct Server {
    pub(super) port: u16,
    shared: Arc<Mutex<Shared>>,
}

#[derive(Default)]
struct Shared {
    behaviours: HashMap<String, Behaviour>,
    requests: HashMap<String, usize>,
    pages: VecDeque<Behaviour>,
    page_requests: Vec<String>,
}

impl Server {
    pub(super) async fn start() -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Server { port: listener.local_addr().unwrap().port(), ..Server::default() };
        let of_directory =
            |State(server): State<Server>, Path(did): Path<String>| async move { server.answer(&did).await };
        let of_host = |State(server): State<Server>| async move {
            let did = format!("did:web:localhost%3A{}", server.port);
            server.answer(&did).await
        };
        let of_export = |State(server): State<Server>, RawQuery(query): RawQuery| async move {
            let page = {
                let mut shared = server.shared.lock().unwrap();
                shared.page_requests.push(query.unwrap_or_default());
                shared.pages.pop_front()
            };
            perform(page.unwrap_or(Behaviour::Answer(String::new()))).await
        };
        let routes = Router::new()
            .route("/export", get(of_export))
            .route("/{did}", get(of_directory))
            .route("/.well-known/did.json", get(of_host))
            .with_state(server.clone());
        tokio::spawn(async move { axum::serve(listener, routes).await });
        server
    }

    pub(super) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub(super) fn set(&self, did: &Did, behaviour: Behaviour) {
        self.shared.lock().unwrap().behaviours.insert(did.to_string(), behaviour);
    }

    /// What it answers to the next requests for its export; empty pages after these.
    pub(super) fn set_pages(&self, pages: impl IntoIterator<Item = Behaviour>) {
        self.shared.lock().unwrap().pages.extend(pages);
    }

    /// The queries with which it was asked for its export.
    pub(super) fn page_requests(&self) -> Vec<String> {
        self.shared.lock().unwrap().page_requests.clone()
    }

    /// How often it was asked for a DID.
    pub(super) fn requests(&self, did: &Did) -> usize {
        self.shared.lock().unwrap().requests.get(did.as_str()).copied().unwrap_or(0)
    }

    async fn answer(&self, did: &str) -> Response {
        let behaviour = {
            let mut shared = self.shared.lock().unwrap();
            *shared.requests.entry(did.to_owned()).or_default() += 1;
            shared.behaviours.get(did).cloned().unwrap_or(Behaviour::Refuse(StatusCode::NOT_FOUND))
        };
        perform(behaviour).await
    }
}

async fn perform(behaviour: Behaviour) -> Response {
    match behaviour {
        Behaviour::Answer(text) => text.into_response(),
        Behaviour::AnswerDocument(text) => {
            ([(header::CONTENT_TYPE, "application/did+ld+json; charset=utf-8")], text).into_response()
        }
        Behaviour::Refuse(status) => status.into_response(),
        Behaviour::RefuseUntil(status, seconds) => {
            (status, [(header::RETRY_AFTER, seconds.to_string())]).into_response()
        }
        Behaviour::Slow(pause, text) => {
            tokio::time::sleep(pause).await;
            text.into_response()
        }
        Behaviour::BreakOff => {
            let parts = [Ok(Bytes::from_static(b"{\"id\":")), Err(std::io::Error::other("lost"))];
            Body::from_stream(stream::iter(parts)).into_response()
        }
    }
}

/// A DID document with everything that an account needs.
pub(super) fn document(did: &Did, pds: &str) -> Behaviour {
    Behaviour::Answer(document_json(did, pds).to_string())
}

pub(super) fn document_json(did: &Did, pds: &str) -> Value {
    let method = json!({"id": "#atproto", "type": "Multikey", "controller": did.as_str(), "publicKeyMultibase": KEY});
    let service = json!({"id": "#atproto_pds", "type": "AtprotoPersonalDataServer", "serviceEndpoint": pds});
    json!({
        "id": did.as_str(),
        "alsoKnownAs": ["at://alice.example.com"],
        "verificationMethod": [method],
        "service": [service],
    })
}
