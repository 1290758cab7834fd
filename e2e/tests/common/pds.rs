//! A PDS, used through its own HTTP API like any client would.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

pub const POSTS: &str = "app.bsky.feed.post";
const PASSWORD: &str = "password";

/// An account on a PDS.
pub struct Account {
    pub did: String,
    pub pds: String,
    pub handle: String,
    pub email: String,
    token: String,
    http: reqwest::Client,
}

/// A record, as the PDS answered.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Post {
    pub rkey: String,
    pub cid: String,
    pub rev: String,
}

impl Account {
    /// Makes an account with a name that no run before has used.
    pub async fn create(pds: &str) -> Result<Account> {
        let http = reqwest::Client::builder().no_proxy().build()?;
        let name = unique_name()?;
        let (handle, email) = (format!("{name}{}", handle_domain(&http, pds).await?), email(&name));
        let body = json!({ "handle": handle, "email": email, "password": PASSWORD });
        let made = call(http.post(method(pds, "server.createAccount")).json(&body)).await?;
        let (did, token) = (text(&made, "did")?, text(&made, "accessJwt")?);
        Ok(Account { did, token, pds: pds.to_owned(), handle, email, http })
    }

    /// Asks a query of the account's PDS.
    pub async fn get(&self, name: &str, parameters: &[(&str, &str)]) -> Result<Value> {
        call(self.http.get(method(&self.pds, name)).query(parameters).bearer_auth(&self.token)).await
    }

    /// Calls a procedure of the account's PDS.
    pub async fn call(&self, name: &str, body: &Value) -> Result<Value> {
        call(self.http.post(method(&self.pds, name)).json(body).bearer_auth(&self.token)).await
    }

    /// Calls a procedure that takes nothing.
    pub async fn tell(&self, name: &str) -> Result<Value> {
        call(self.http.post(method(&self.pds, name)).bearer_auth(&self.token)).await
    }

    /// Posts, and says what the PDS made of it.
    pub async fn post(&self, words: &str) -> Result<Post> {
        let body = json!({ "repo": self.did, "collection": POSTS, "record": post(words) });
        written(&self.call("repo.createRecord", &body).await?)
    }

    /// Makes a record in a collection that no lexicon describes.
    pub async fn note(&self, collection: &str) -> Result<Post> {
        let record = json!({ "$type": collection, "text": "Not a post." });
        let body = json!({ "repo": self.did, "collection": collection, "record": record, "validate": false });
        written(&self.call("repo.createRecord", &body).await?)
    }

    /// Writes a post anew.
    pub async fn edit(&self, rkey: &str, words: &str) -> Result<Post> {
        let body = json!({ "repo": self.did, "collection": POSTS, "rkey": rkey, "record": post(words) });
        written(&self.call("repo.putRecord", &body).await?)
    }

    /// Deletes a record, and gives the new rev.
    pub async fn delete_record(&self, collection: &str, rkey: &str) -> Result<String> {
        let body = json!({ "repo": self.did, "collection": collection, "rkey": rkey });
        text(&self.call("repo.deleteRecord", &body).await?["commit"], "rev")
    }

    /// Takes another name under its PDS's domain.
    pub async fn rename(&mut self) -> Result<()> {
        self.handle = format!("{}{}", unique_name()?, handle_domain(&self.http, &self.pds).await?);
        self.call("identity.updateHandle", &json!({ "handle": self.handle })).await?;
        Ok(())
    }

    /// The repository's head, as its PDS says.
    pub async fn latest_commit(&self) -> Result<Value> {
        self.get("sync.getLatestCommit", &[("did", &self.did)]).await
    }

    /// Makes the account on another PDS with a copy of the repository, not active yet. The identity still names the old PDS.
    pub async fn copy_to(&self, pds: &str) -> Result<Account> {
        let description = call(self.http.get(method(pds, "server.describeServer"))).await?;
        let created = method(pds, "server.createAccount");
        let audience = [("aud", text(&description, "did")?), ("lxm", "com.atproto.server.createAccount".to_owned())];
        let url = method(&self.pds, "server.getServiceAuth");
        let proof = call(self.http.get(url).query(&audience).bearer_auth(&self.token)).await?;
        let name = unique_name()?;
        let (handle, email) = (format!("{name}{}", handle_domain(&self.http, pds).await?), email(&name));
        let body = json!({ "did": self.did, "handle": handle, "email": email, "password": PASSWORD });
        let made = call(self.http.post(created).bearer_auth(text(&proof, "token")?).json(&body)).await?;
        let token = text(&made, "accessJwt")?;

        let url = method(&self.pds, "sync.getRepo");
        let repo = self.http.get(url).query(&[("did", &self.did)]).send().await?.error_for_status()?.bytes().await?;
        let import = self.http.post(method(pds, "repo.importRepo")).bearer_auth(&token);
        call(import.header("content-type", "application/vnd.ipld.car").body(repo)).await?;
        Ok(Account { did: self.did.clone(), token, pds: pds.to_owned(), handle, email, http: self.http.clone() })
    }

    /// Makes the identity name the PDS of `copy`, with the token that this PDS has mailed for it.
    pub async fn hand_over(&self, copy: &Account, token: &str) -> Result<()> {
        let mut operation = copy.get("identity.getRecommendedDidCredentials", &[]).await?;
        operation["token"] = token.into();
        let signed = self.call("identity.signPlcOperation", &operation).await?;
        copy.call("identity.submitPlcOperation", &signed).await?;
        Ok(())
    }

    pub async fn activate(&self) -> Result<()> {
        self.tell("server.activateAccount").await?;
        Ok(())
    }

    pub async fn deactivate(&self) -> Result<()> {
        self.call("server.deactivateAccount", &json!({})).await?;
        Ok(())
    }

    /// Deletes the account for good, with the token that its PDS has mailed for it.
    pub async fn delete(&self, token: &str) -> Result<()> {
        let body = json!({ "did": self.did, "password": PASSWORD, "token": token });
        self.call("server.deleteAccount", &body).await?;
        Ok(())
    }
}

fn method(pds: &str, name: &str) -> String {
    format!("{pds}/xrpc/com.atproto.{name}")
}

fn unique_name() -> Result<String> {
    Ok(format!("e{}", SystemTime::now().duration_since(UNIX_EPOCH)?.as_micros() % 10_000_000_000))
}

fn email(name: &str) -> String {
    format!("{name}@example.com")
}

async fn handle_domain(http: &reqwest::Client, pds: &str) -> Result<String> {
    let description = call(http.get(method(pds, "server.describeServer"))).await?;
    Ok(description["availableUserDomains"][0].as_str().context("the PDS offers no handles")?.to_owned())
}

fn post(words: &str) -> Value {
    json!({ "$type": POSTS, "text": words, "createdAt": "2026-01-01T00:00:00Z" })
}

fn written(answer: &Value) -> Result<Post> {
    let uri = text(answer, "uri")?;
    let rkey = uri.rsplit('/').next().context("a record's URI ends with its key")?.to_owned();
    Ok(Post { rkey, cid: text(answer, "cid")?, rev: text(&answer["commit"], "rev")? })
}

/// Sends the request; an empty answer is null.
async fn call(request: reqwest::RequestBuilder) -> Result<Value> {
    let response = request.send().await?;
    let (status, url) = (response.status(), response.url().clone());
    let body = response.text().await?;
    if !status.is_success() {
        bail!("{url} answered {status}: {body}");
    }
    if body.is_empty() { Ok(Value::Null) } else { Ok(serde_json::from_str(&body)?) }
}

fn text(value: &Value, key: &str) -> Result<String> {
    Ok(value[key].as_str().with_context(|| format!("no {key} in {value}"))?.to_owned())
}
