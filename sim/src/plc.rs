//! A PLC directory that serves the documents of simulated accounts, and fails on demand.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::account::Account;
use crate::server::{Server, free_address_on};

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
    /// Answers with a document that is so many bytes longer.
    Padded(usize),
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
    /// The lines of the export, in order, with the time of each in milliseconds since 1970.
    export: Vec<(i64, String)>,
    /// What was asked for of the export: the time after which operations were wanted.
    export_requests: Vec<String>,
    /// Base URL of another directory, which is asked for accounts that this one does not have.
    upstream: Option<String>,
}

/// Most operations on a page of the export.
const PAGE_OPERATIONS: usize = 1000;

#[derive(Deserialize)]
struct Page {
    count: usize,
    after: String,
}

impl Plc {
    /// Starts a directory without entries.
    pub async fn start() -> Plc {
        Plc::start_on(Ipv4Addr::LOCALHOST).await
    }

    /// The same on another interface of this machine.
    pub async fn start_on(ip: Ipv4Addr) -> Plc {
        let shared = Arc::<Shared>::default();
        let routes = Router::new().route("/export", get(export)).route("/{did}", get(document));
        let routes = routes.with_state(Arc::clone(&shared));
        Plc { server: Server::start(free_address_on(ip), |_| routes).await, shared }
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
        let operation = json!({
            "type": "plc_operation",
            "alsoKnownAs": document["alsoKnownAs"],
            "verificationMethods": { "atproto": multikey },
            "services": { "atproto_pds": {
                "type": "AtprotoPersonalDataServer",
                "endpoint": format!("http://{host}"),
            }},
        });
        self.shared.lock().documents.insert(did.clone(), document);
        let now = Timestamp::now().to_string();
        self.export_line(
            json!({ "did": did, "operation": operation, "nullified": false, "createdAt": now }).to_string(),
        );
    }

    /// Adds a line to the export, whatever it says, as of now.
    pub fn export_line(&self, line: String) {
        self.shared.lock().export.push((Timestamp::now().as_millisecond(), line));
    }

    /// The times after which operations of the export were asked for, one for each request.
    pub fn export_requests(&self) -> Vec<String> {
        self.shared.lock().export_requests.clone()
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

    /// Has no entry of an account any more.
    pub fn forget(&self, did: &str) {
        let mut directory = self.shared.lock();
        directory.documents.remove(did);
        directory.requests.remove(did);
    }

    /// Asks another directory for accounts that it does not have.
    pub fn set_upstream(&self, url: &str) {
        self.shared.lock().upstream = Some(url.to_owned());
    }

    /// Requests so far, those for the export left out.
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
    let (fault, document, upstream) = {
        let mut directory = shared.lock();
        *directory.requests.entry(did.clone()).or_default() += 1;
        let fault = directory.faults.get(&did).copied().or(directory.fault);
        (fault, directory.documents.get(&did).cloned(), directory.upstream.clone())
    };
    if let Some(failure) = misbehave(fault).await {
        return failure;
    }
    match document {
        Some(mut document) => {
            match fault {
                Some(Fault::OtherDid) => document["id"] = "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa".into(),
                Some(Fault::Padded(bytes)) => document["padding"] = "x".repeat(bytes).into(),
                _ => {}
            }
            Json(document).into_response()
        }
        None => match upstream {
            Some(upstream) => ask(&upstream, &did).await.unwrap_or_else(|| failure(StatusCode::BAD_GATEWAY)),
            None => failure(StatusCode::NOT_FOUND),
        },
    }
}

/// What another directory says of an account.
async fn ask(upstream: &str, did: &str) -> Option<Response> {
    let http = reqwest::Client::builder().no_proxy().build().ok()?;
    let answer = http.get(format!("{upstream}/{did}")).send().await.ok()?;
    let status = StatusCode::from_u16(answer.status().as_u16()).ok()?;
    let body = answer.bytes().await.ok()?;
    Some((status, [(header::CONTENT_TYPE, "application/json")], body).into_response())
}

async fn export(State(shared): State<Arc<Shared>>, Query(page): Query<Page>) -> Response {
    let (fault, lines) = {
        let mut directory = shared.lock();
        let Ok(after) = page.after.parse::<Timestamp>() else { return failure(StatusCode::BAD_REQUEST) };
        directory.export_requests.push(page.after);
        let is_after = |(time, _): &&(i64, String)| *time > after.as_millisecond();
        let lines = directory.export.iter().filter(is_after).take(page.count.min(PAGE_OPERATIONS));
        let lines: Vec<String> = lines.map(|(_, line)| line.clone()).collect();
        (directory.fault, lines)
    };
    misbehave(fault).await.unwrap_or_else(|| lines.join("\n").into_response())
}

/// The answer of a directory that fails, if it does.
async fn misbehave(fault: Option<Fault>) -> Option<Response> {
    match fault? {
        Fault::Status(status) => {
            Some(failure(StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)))
        }
        Fault::Busy(seconds) => {
            Some(([(header::RETRY_AFTER, seconds)], failure(StatusCode::TOO_MANY_REQUESTS)).into_response())
        }
        Fault::Delay(delay) => {
            tokio::time::sleep(delay).await;
            None
        }
        Fault::OtherDid | Fault::Padded(_) => None,
    }
}

fn failure(status: StatusCode) -> Response {
    (status, Json(json!({ "message": "simulated" }))).into_response()
}
