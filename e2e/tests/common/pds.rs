//! A PDS, used through its own HTTP API like any client would.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

/// An account on a PDS.
pub struct Account {
    pub did: String,
    pds: String,
    token: String,
    http: reqwest::Client,
}

/// A post, as the PDS answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Post {
    pub rkey: String,
    pub cid: String,
    pub rev: String,
}

impl Account {
    /// Makes an account with a name that no run before has used.
    pub async fn create(pds: &str) -> Result<Account> {
        let http = reqwest::Client::builder().no_proxy().build()?;
        let description = call(http.get(format!("{pds}/xrpc/com.atproto.server.describeServer"))).await?;
        let domain = description["availableUserDomains"][0].as_str().context("the PDS offers no handles")?;
        let unique = SystemTime::now().duration_since(UNIX_EPOCH)?.as_micros() % 10_000_000_000;
        let handle = format!("e{unique}{domain}");
        let body = json!({ "handle": handle, "email": format!("e{unique}@example.com"), "password": "password" });
        let made = call(http.post(format!("{pds}/xrpc/com.atproto.server.createAccount")).json(&body)).await?;
        Ok(Account { did: text(&made, "did")?, token: text(&made, "accessJwt")?, pds: pds.to_owned(), http })
    }

    /// Posts, and says what the PDS made of it.
    pub async fn post(&self, words: &str) -> Result<Post> {
        let record = json!({
            "$type": "app.bsky.feed.post", "text": words, "createdAt": "2026-01-01T00:00:00Z",
        });
        let body = json!({ "repo": self.did, "collection": "app.bsky.feed.post", "record": record });
        let url = format!("{}/xrpc/com.atproto.repo.createRecord", self.pds);
        let made = call(self.http.post(url).bearer_auth(&self.token).json(&body)).await?;
        let uri = text(&made, "uri")?;
        let rkey = uri.rsplit('/').next().context("a record's URI ends with its key")?.to_owned();
        Ok(Post { rkey, cid: text(&made, "cid")?, rev: text(&made["commit"], "rev")? })
    }
}

async fn call(request: reqwest::RequestBuilder) -> Result<Value> {
    let response = request.send().await?;
    let (status, url) = (response.status(), response.url().clone());
    let body = response.text().await?;
    if !status.is_success() {
        bail!("{url} answered {status}: {body}");
    }
    Ok(serde_json::from_str(&body)?)
}

fn text(value: &Value, key: &str) -> Result<String> {
    Ok(value[key].as_str().with_context(|| format!("no {key} in {value}"))?.to_owned())
}
