//! A PLC directory that serves the documents of simulated accounts, and fails on demand.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};

use crate::account::Account;
use crate::server::{Server, free_address};

/// How the directory misbehaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Answers with a status.
    Status(u16),
    /// Asks to be left alone for so many seconds.
    Busy(u32),
    /// Answers late.
    Delay(Duration),
    /// Answers with the document of somebody else.
    OtherDid,
}

/// A running directory.
pub struct Plc {
    server: Server,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared(Mutex<Directory>);

#[derive(Default)]
struct Directory {
    documents: HashMap<String, Value>,
    fault: Option<Fault>,
    faults: HashMap<String, Fault>,
    requests: HashMap<String, u64>,
}

impl Plc {
    /// Starts a directory without entries.
    pub async fn start() -> Plc {
        let shared = Arc::<Shared>::default();
        let routes = Router::new().route("/{did}", get(document)).with_state(Arc::clone(&shared));
        Plc { server: Server::start(free_address(), |_| routes).await, shared }
    }

    /// What `--plc-url` takes.
    pub fn url(&self) -> String {
        format!("http://{}", self.server.address())
    }

    /// Enters an account as it is now, on a host by name.
    pub fn register(&self, account: &Account, host: &str) {
        let did = &account.did;
        let multikey = account.key.public().to_string();
        let document = json!({
            "@context": ["https://www.w3.org/ns/did/v1"],
            "id": did,
            "alsoKnownAs": [format!("at://{}", account.handle)],
            "verificationMethod": [{
                "id": format!("{did}#atproto"),
                "type": "Multikey",
                "controller": did,
                "publicKeyMultibase": multikey.trim_start_matches("did:key:"),
            }],
            "service": [{
                "id": "#atproto_pds",
                "type": "AtprotoPersonalDataServer",
                "serviceEndpoint": format!("http://{host}"),
            }],
        });
        self.shared.lock().documents.insert(did.clone(), document);
    }

    /// Misbehaves towards all, or no longer.
    pub fn set_fault(&self, fault: Option<Fault>) {
        self.shared.lock().fault = fault;
    }

    /// Misbehaves when asked for one DID.
    pub fn set_fault_for(&self, did: &str, fault: Fault) {
        self.shared.lock().faults.insert(did.to_owned(), fault);
    }

    /// Enters any document.
    pub fn enter(&self, did: &str, document: Value) {
        self.shared.lock().documents.insert(did.to_owned(), document);
    }

    /// Requests so far.
    pub fn requests(&self) -> u64 {
        self.shared.lock().requests.values().sum()
    }

    /// Requests for one DID so far.
    pub fn requests_for(&self, did: &str) -> u64 {
        self.shared.lock().requests.get(did).copied().unwrap_or(0)
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Directory> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn document(State(shared): State<Arc<Shared>>, Path(did): Path<String>) -> Response {
    let (fault, document) = {
        let mut directory = shared.lock();
        *directory.requests.entry(did.clone()).or_default() += 1;
        let fault = directory.faults.get(&did).copied().or(directory.fault);
        (fault, directory.documents.get(&did).cloned())
    };
    let failure = |status| (status, Json(json!({ "message": "simulated" }))).into_response();
    match fault {
        Some(Fault::Status(status)) => {
            return failure(StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR));
        }
        Some(Fault::Busy(seconds)) => {
            return ([(header::RETRY_AFTER, seconds)], failure(StatusCode::TOO_MANY_REQUESTS)).into_response();
        }
        Some(Fault::Delay(delay)) => tokio::time::sleep(delay).await,
        Some(Fault::OtherDid) | None => {}
    }
    match document {
        Some(mut document) => {
            if fault == Some(Fault::OtherDid) {
                document["id"] = "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa".into();
            }
            Json(document).into_response()
        }
        None => failure(StatusCode::NOT_FOUND),
    }
}
