//! A PDS, as it is asked for its accounts. Everything that it says is foreign.

use std::collections::{BTreeSet, HashSet};

use reqwest::Url;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

use super::{Refusal, Web};
use crate::account::Status;
use crate::host::HostName;
use crate::protocol::did::Did;
use crate::protocol::nsid::Nsid;

/// Accounts that a page is asked to have: the most that `listRepos` has to give.
const PAGE_ACCOUNTS: &str = "1000";
/// Longest page: a thousand accounts take a fifth of it.
const PAGE_BYTES_MAX: usize = 2 << 20;
/// Longest cursor that is remembered.
const CURSOR_BYTES_MAX: usize = 1024;
/// Longest answer about one account: that many collections, and its DID document.
const ACCOUNT_BYTES_MAX: usize = 1 << 20;
/// Most collections of an account: as many as collectiondir takes.
const COLLECTIONS_MAX: usize = 1000;
/// Bytes of text that is no DID, as far as it is kept.
const SHOWN_CHARS_MAX: usize = 64;

/// One PDS.
pub(super) struct Pds<'a> {
    web: &'a Web,
    /// Its name.
    pub name: &'a HostName,
    /// With whom it shares a limit.
    provider: String,
}

/// A page of its accounts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Page {
    /// Each account once.
    pub accounts: Vec<Listed>,
    /// Where the next page begins.
    pub cursor: Option<String>,
}

/// An account as the list of its host has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Listed {
    /// Its DID as it was written, cut where it is none: names the place on the page.
    pub text: String,
    /// Its DID, unless it is malformed.
    pub did: Option<Did>,
    /// How it stands.
    pub status: Status,
}

/// What it says of an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    /// It serves the account, and these are its collections.
    Active(BTreeSet<Nsid>),
    /// It serves the account, which has more collections than anybody can use.
    Excessive,
    /// It has the account and does not serve it.
    Inactive(Status),
    /// It has no such account.
    Absent,
}

#[derive(Deserialize)]
struct PageJson {
    repos: Vec<ListedJson>,
    cursor: Option<String>,
}

#[derive(Deserialize)]
struct ListedJson {
    did: String,
    active: Option<bool>,
    status: Option<String>,
}

#[derive(Deserialize)]
struct DescriptionJson {
    did: String,
    collections: Vec<String>,
}

#[derive(Deserialize)]
struct StatusJson {
    did: String,
    active: bool,
    status: Option<String>,
}

impl<'a> Pds<'a> {
    /// The PDS of that name.
    pub async fn new(web: &'a Web, name: &'a HostName) -> Pds<'a> {
        Pds { web, name, provider: provider(web, name).await }
    }

    /// The page of its accounts that a cursor leads to, or the first.
    pub async fn list(&self, cursor: Option<&str>) -> Result<Page, Refusal> {
        let mut query = vec![("limit", PAGE_ACCOUNTS)];
        query.extend(cursor.map(|cursor| ("cursor", cursor)));
        let page: PageJson = self.get("com.atproto.sync.listRepos", &query, PAGE_BYTES_MAX).await?;
        if page.cursor.as_ref().is_some_and(|cursor| cursor.len() > CURSOR_BYTES_MAX) {
            return Err(self.malformed(format!("its cursor is longer than {CURSOR_BYTES_MAX} bytes")));
        }
        let mut known = HashSet::new();
        let accounts = page.repos.into_iter().map(Listed::read);
        let accounts = accounts.filter(|account| known.insert(account.text.clone())).collect();
        Ok(Page { accounts, cursor: page.cursor.filter(|cursor| !cursor.is_empty()) })
    }

    /// What it says of an account. `describeRepo` is enough for that: it reads the collections from the repository that
    /// the host serves, and to prove them by its blocks would take the whole of it.
    pub async fn describe(&self, did: &Did) -> Result<Answer, Refusal> {
        let query = [("repo", did.as_str())];
        let described = self.get::<DescriptionJson>("com.atproto.repo.describeRepo", &query, ACCOUNT_BYTES_MAX).await;
        match described {
            Ok(description) => {
                self.check_did(did, &description.did)?;
                let collections = description.collections.iter().filter_map(|name| Nsid::parse(name).ok());
                let collections: BTreeSet<Nsid> = collections.take(COLLECTIONS_MAX + 1).collect();
                Ok(if collections.len() > COLLECTIONS_MAX { Answer::Excessive } else { Answer::Active(collections) })
            }
            Err(Refusal::Answer { host, status, name, message }) => match Answer::of_error(&name) {
                Some(answer) => Ok(answer),
                // Hosts have their own words for an account that they do not serve.
                None => self.status(did).await?.ok_or(Refusal::Answer { host, status, name, message }),
            },
            Err(refusal) => Err(refusal),
        }
    }

    /// Why it does not serve an account; nothing if it does, or does not say.
    async fn status(&self, did: &Did) -> Result<Option<Answer>, Refusal> {
        let query = [("did", did.as_str())];
        match self.get::<StatusJson>("com.atproto.sync.getRepoStatus", &query, ACCOUNT_BYTES_MAX).await {
            Ok(StatusJson { did: stated, active, status }) => {
                self.check_did(did, &stated)?;
                let status = Status::of_event(active, status.as_deref());
                Ok((!status.is_active()).then_some(Answer::Inactive(status)))
            }
            Err(Refusal::Answer { name, .. }) => Ok(Answer::of_error(&name)),
            Err(refusal) => Err(refusal),
        }
    }

    fn check_did(&self, asked: &Did, stated: &str) -> Result<(), Refusal> {
        if Did::parse(stated).as_ref() == Ok(asked) {
            return Ok(());
        }
        Err(self.malformed(format!("asked for {asked}, it answers for {}", shown(stated))))
    }

    async fn get<T: DeserializeOwned>(
        &self,
        method: &str,
        query: &[(&str, &str)],
        bytes_max: usize,
    ) -> Result<T, Refusal> {
        let url = Url::parse_with_params(&self.name.url("http", &format!("/xrpc/{method}")), query);
        let url = url.map_err(|error| self.malformed(error.to_string()))?;
        self.web.get(&self.provider, url, bytes_max).await
    }

    fn malformed(&self, reason: String) -> Refusal {
        Refusal::Malformed { host: self.name.to_string(), reason }
    }
}

/// With whom a host shares a limit; itself if there is no telling.
pub(super) async fn provider(web: &Web, name: &HostName) -> String {
    match Url::parse(&name.url("http", "")) {
        Ok(url) => web.provider(&url).await,
        Err(_) => name.to_string(),
    }
}

impl Page {
    /// The accounts behind one; all if it is not here any more.
    pub fn after(&self, text: Option<&str>) -> &[Listed] {
        let place = text.and_then(|text| self.accounts.iter().position(|account| account.text == text));
        &self.accounts[place.map_or(0, |place| place + 1)..]
    }

    /// What tells it from other pages: a digest of its accounts.
    pub fn digest(&self) -> String {
        let mut digest = Sha256::new();
        for account in &self.accounts {
            digest.update(&account.text);
            digest.update([0]);
        }
        data_encoding::HEXLOWER.encode(&digest.finalize()[..8])
    }
}

impl Listed {
    fn read(json: ListedJson) -> Listed {
        let did = Did::parse(&json.did).ok();
        let text = if did.is_some() { json.did } else { shown(&json.did) };
        Listed { text, did, status: Status::of_event(json.active.unwrap_or(true), json.status.as_deref()) }
    }
}

impl From<&Did> for Listed {
    /// An account of which nothing else is known.
    fn from(did: &Did) -> Listed {
        Listed { text: did.to_string(), did: Some(did.clone()), status: Status::Active }
    }
}

impl Answer {
    /// What an XRPC error says of an account.
    fn of_error(name: &str) -> Option<Answer> {
        Some(match name {
            "RepoNotFound" => Answer::Absent,
            "RepoDeleted" => Answer::Inactive(Status::Deleted),
            "RepoDeactivated" | "RepoInactive" => Answer::Inactive(Status::Deactivated),
            "RepoTakendown" => Answer::Inactive(Status::Takendown),
            "RepoSuspended" => Answer::Inactive(Status::Suspended),
            _ => return None,
        })
    }
}

fn shown(text: &str) -> String {
    text.chars().take(SHOWN_CHARS_MAX).collect()
}
