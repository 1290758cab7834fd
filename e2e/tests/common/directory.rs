//! What a directory says, ours or another: which accounts have which collections.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::until;

/// Pairs of a collection and a DID.
pub type Pairs = BTreeSet<(String, String)>;

/// The collections of a service with the number of their accounts, as `/v1/listCollections` says.
pub async fn collections(url: &str) -> Result<BTreeMap<String, u64>> {
    let (mut all, mut cursor) = (BTreeMap::new(), String::new());
    loop {
        let page = get(url, "/v1/listCollections", &[("cursor", &cursor)]).await?;
        all.extend(serde_json::from_value::<BTreeMap<String, u64>>(page["collections"].clone())?);
        match page["cursor"].as_str() {
            Some(next) if !next.is_empty() => cursor = next.to_owned(),
            _ => return Ok(all),
        }
    }
}

/// The accounts of a collection, read in pages of `limit`.
pub async fn accounts(url: &str, collection: &str, limit: usize) -> Result<Vec<String>> {
    let (mut all, mut cursor) = (Vec::new(), None::<String>);
    let limit = limit.to_string();
    loop {
        let mut query = vec![("collection", collection), ("limit", &limit)];
        query.extend(cursor.as_deref().map(|cursor| ("cursor", cursor)));
        let page = get(url, "/xrpc/com.atproto.sync.listReposByCollection", &query).await?;
        let repos = page["repos"].as_array().with_context(|| format!("no repos in {page}"))?;
        all.extend(repos.iter().filter_map(|repo| repo["did"].as_str()).map(str::to_owned));
        match page["cursor"].as_str() {
            Some(next) => cursor = Some(next.to_owned()),
            None => return Ok(all),
        }
    }
}

/// Everything that a service lists, in pages of a few accounts.
pub async fn pairs(url: &str) -> Result<Pairs> {
    let mut pairs = Pairs::new();
    for collection in collections(url).await?.into_keys() {
        for did in accounts(url, &collection, 3).await? {
            ensure!(pairs.insert((collection.clone(), did.clone())), "{url} lists {did} twice for {collection}");
        }
    }
    Ok(pairs)
}

/// Waits until a service lists exactly this.
pub async fn until_pairs(url: &str, expected: &Pairs) -> Result<()> {
    until("the directory is as it should be", || async {
        let found = pairs(url).await?;
        if found == *expected {
            return Ok(Some(()));
        }
        let (missing, foreign): (Vec<_>, Vec<_>) =
            (expected.difference(&found).collect(), found.difference(expected).collect());
        bail!("{url} has not {missing:?}, and has {foreign:?}")
    })
    .await
}

/// What the PDSes say themselves: all collections of every account that is active there.
pub async fn of_pdses(urls: &[String]) -> Result<Pairs> {
    let mut pairs = Pairs::new();
    for url in urls {
        let list = get(url, "/xrpc/com.atproto.sync.listRepos", &[("limit", "1000")]).await?;
        let repos = list["repos"].as_array().with_context(|| format!("no repos in {list}"))?;
        for did in repos.iter().filter(|repo| repo["active"] == true).filter_map(|repo| repo["did"].as_str()) {
            let repo = get(url, "/xrpc/com.atproto.repo.describeRepo", &[("repo", did)]).await?;
            let collections = repo["collections"].as_array().with_context(|| format!("no collections in {repo}"))?;
            pairs.extend(collections.iter().filter_map(Value::as_str).map(|name| (name.to_owned(), did.to_owned())));
        }
    }
    Ok(pairs)
}

async fn get(url: &str, path: &str, query: &[(&str, &str)]) -> Result<Value> {
    let http = reqwest::Client::builder().no_proxy().build()?;
    let answer = http.get(format!("{url}{path}")).query(query).send().await?;
    let (status, text) = (answer.status(), answer.text().await?);
    ensure!(status.is_success(), "{url}{path} {query:?} answered {status}: {text}");
    Ok(serde_json::from_str(&text)?)
}
