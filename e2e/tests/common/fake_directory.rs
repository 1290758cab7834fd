//! A service that knows who has records of a collection, and answers page by page, when it is let.

use std::sync::{Arc, Mutex};

use anyhow::Result;
use axum::extract::{Query, State};
use axum::routing::get;
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

/// Accounts in one page, whatever is asked for.
const PAGE: usize = 10;

/// The service; every collection has the same accounts.
pub struct Directory {
    /// Where it listens.
    pub url: String,
    shared: Arc<Shared>,
}

struct Shared {
    accounts: usize,
    /// Pages that it may answer.
    pages: Semaphore,
    asked: Mutex<Vec<Asked>>,
}

/// What it is asked for.
#[derive(Clone, Debug, Deserialize, PartialEq)]
pub struct Asked {
    pub collection: String,
    pub cursor: Option<String>,
}

/// The account of this number, whose text is in the order of the numbers.
pub fn did(number: usize) -> String {
    let letters = format!("{number:0>24}").bytes().map(|digit| char::from(digit - b'0' + b'a')).collect::<String>();
    format!("did:plc:{letters}")
}

impl Directory {
    /// Starts it at an address of the network; it answers nothing before it is let.
    pub async fn start(ip: &str, accounts: usize) -> Result<Directory> {
        let listener = TcpListener::bind((ip, 0)).await?;
        let url = format!("http://{}", listener.local_addr()?);
        let shared = Arc::new(Shared { accounts, pages: Semaphore::new(0), asked: Mutex::default() });
        let router = Router::new()
            .route("/xrpc/com.atproto.sync.listReposByCollection", get(page))
            .with_state(Arc::clone(&shared));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(Directory { url, shared })
    }

    /// Lets it answer so many pages more.
    pub fn let_pages(&self, count: usize) {
        self.shared.pages.add_permits(count);
    }

    /// What it was asked for so far, answered or not.
    pub fn asked(&self) -> Vec<Asked> {
        self.shared.asked.lock().unwrap().clone()
    }
}

async fn page(State(shared): State<Arc<Shared>>, Query(asked): Query<Asked>) -> Json<Value> {
    shared.asked.lock().unwrap().push(asked.clone());
    shared.pages.acquire().await.unwrap().forget();
    let begin = (0..shared.accounts).find(|number| Some(did(*number)) > asked.cursor).unwrap_or(shared.accounts);
    let end = (begin + PAGE).min(shared.accounts);
    let repos: Vec<Value> = (begin..end).map(|number| json!({ "did": did(number) })).collect();
    let mut answer = json!({ "repos": repos });
    if end < shared.accounts {
        answer["cursor"] = did(end - 1).into();
    }
    Json(answer)
}
