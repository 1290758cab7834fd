//! A service that is asked for its accounts, page by page.

use std::time::Duration;

use reqwest::Url;
use serde::Deserialize;
use tokio::sync::OnceCell;

use crate::backfill::web::{Refusal, Web, authority};
use crate::backfill::work::Trouble;
use crate::protocol::did::Did;
use crate::protocol::nsid::Nsid;

const LIST_REPOS: &str = "xrpc/com.atproto.sync.listReposByCollection";
const LIST_COLLECTIONS: &str = "v1/listCollections";

/// Accounts that a page is asked for, and for how many a source is asked that refuses that.
const LIMIT: usize = 1000;
const LIMIT_SMALL: usize = 500;
/// Accounts that a page may have, whatever was asked for: the most that indigo serves.
const PAGE_ACCOUNTS_MAX: usize = 10_000;
/// Longest page that is read, in bytes.
const PAGE_BYTES_MAX: usize = 4 << 20;
/// Longest cursor, in bytes; those that are known have less than 100.
const CURSOR_BYTES_MAX: usize = 1 << 10;
/// Times that an answer is asked for that makes no sense, as those of a proxy may, and the time between them.
const GARBLED_MAX: usize = 3;
const GARBLED_PAUSE: Duration = Duration::from_secs(1);

/// A service that has accounts by collection.
pub(super) struct Source {
    /// Without a path.
    base: Url,
    provider: OnceCell<String>,
}

/// A page of the accounts of a collection.
#[derive(Deserialize)]
pub(super) struct Page {
    // A list of Go that was never made is null.
    #[serde(deserialize_with = "Option::deserialize")]
    repos: Option<Vec<Repo>>,
    #[serde(default)]
    cursor: Option<String>,
}

#[derive(Deserialize)]
struct Repo {
    did: String,
}

impl Source {
    /// The service at the host of a URL.
    pub fn new(mut base: Url) -> Source {
        base.set_path("");
        base.set_query(None);
        base.set_fragment(None);
        Source { base, provider: OnceCell::new() }
    }

    /// How it is called: its host, with the port if it is not the usual one.
    pub fn name(&self) -> String {
        authority(&self.base)
    }

    /// Where it lists its collections.
    pub fn collections_url(&self) -> Url {
        self.url(LIST_COLLECTIONS)
    }

    /// Whom it belongs to, as far as limits are concerned.
    pub async fn provider(&self, web: &Web) -> &str {
        self.provider.get_or_init(|| web.provider(&self.base)).await
    }

    /// The first page of a collection, and with which limit it was had.
    pub async fn first_page(&self, web: &Web, collection: &Nsid) -> Result<(Page, usize), Trouble> {
        match self.ask(web, collection, LIMIT, None).await {
            Err(refusal) if is_bad_request(&refusal) => {
                let page = self.ask(web, collection, LIMIT_SMALL, None).await?;
                Ok((page, LIMIT_SMALL))
            }
            answer => Ok((answer?, LIMIT)),
        }
    }

    /// A later page. A cursor that is not taken may have expired, and then the part begins anew; a source that does not
    /// even take the cursor that it has just given would have it begin anew for ever.
    pub async fn page(&self, web: &Web, collection: &Nsid, limit: usize, cursor: &str) -> Result<Page, Trouble> {
        let refusal = match self.ask(web, collection, limit, Some(cursor)).await {
            Err(refusal) if is_bad_request(&refusal) => refusal,
            answer => return Ok(answer?),
        };
        if let Some(cursor) = self.ask(web, collection, limit, None).await?.cursor() {
            match self.ask(web, collection, limit, Some(cursor)).await {
                Err(again) if is_bad_request(&again) => {
                    return Err(Trouble::Fail(format!("{again}: it does not take the cursor that it has just given")));
                }
                answer => drop(answer?),
            }
        }
        Err(Trouble::Restart(refusal.to_string()))
    }

    async fn ask(&self, web: &Web, collection: &Nsid, limit: usize, cursor: Option<&str>) -> Result<Page, Refusal> {
        let mut url = self.url(LIST_REPOS);
        url.query_pairs_mut().append_pair("collection", collection.as_str()).append_pair("limit", &limit.to_string());
        if let Some(cursor) = cursor {
            url.query_pairs_mut().append_pair("cursor", cursor);
        }
        let provider = self.provider(web).await;
        patiently(|| web.get(provider, url.clone(), PAGE_BYTES_MAX)).await
    }

    fn url(&self, path: &str) -> Url {
        let mut url = self.base.clone();
        url.set_path(path);
        url
    }
}

impl Page {
    /// Where the next one begins, if there is one.
    pub fn cursor(&self) -> Option<&str> {
        self.cursor.as_deref().filter(|cursor| !cursor.is_empty())
    }

    /// Its accounts, and how many of them are no DIDs; or why it cannot be what was asked for.
    pub fn accounts(&self) -> Result<(Vec<Did>, u64), String> {
        if let Some(cursor) = self.cursor().filter(|cursor| cursor.len() > CURSOR_BYTES_MAX) {
            return Err(format!("a cursor of {} bytes", cursor.len()));
        }
        let repos = self.repos.as_deref().unwrap_or_default();
        if repos.len() > PAGE_ACCOUNTS_MAX {
            return Err(format!("a page of {} accounts, which is more than was asked for", repos.len()));
        }
        let dids: Vec<Did> = repos.iter().filter_map(|repo| Did::parse(&repo.did).ok()).collect();
        if let Some(first) = repos.first().filter(|_| dids.is_empty()) {
            let shown: String = first.did.chars().take(64).collect();
            return Err(format!("none of the {} accounts of a page is a DID; the first is {shown:?}", repos.len()));
        }
        let malformed = (repos.len() - dids.len()) as u64;
        Ok((dids, malformed))
    }
}

/// Asks again for what makes no sense: it may be the fault of something in between.
pub(super) async fn patiently<T, Answer>(ask: impl Fn() -> Answer) -> Result<T, Refusal>
where
    Answer: Future<Output = Result<T, Refusal>>,
{
    for _ in 1..GARBLED_MAX {
        match ask().await {
            Err(Refusal::Malformed { .. }) => tokio::time::sleep(GARBLED_PAUSE).await,
            answer => return answer,
        }
    }
    ask().await
}

/// Whether a request is at fault, rather than whoever answers it.
fn is_bad_request(refusal: &Refusal) -> bool {
    matches!(refusal, Refusal::Answer { status: 400, name, .. } if name != "MethodNotImplemented")
}

/// A URL that can be asked over HTTP, and shown: one without a password.
pub(super) fn web_url(text: &str) -> Option<Url> {
    let is_plain = |url: &Url| url.has_host() && url.username().is_empty() && url.password().is_none();
    Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https") && is_plain(url))
}
