//! Lists of collections that others have: texts at a URL, and what a service lists itself.

use std::collections::{BTreeMap, BTreeSet};

use reqwest::Url;
use serde::Deserialize;

use super::source::patiently;
use crate::backfill::names::{NAMES_MAX, nsids};
use crate::backfill::web::{Refusal, Web, authority};
use crate::protocol::nsid::Nsid;

/// Longest text with names that is read.
const TEXT_BYTES_MAX: usize = 8 << 20;
/// Longest answer with collections and their numbers that is read: indigo's directory gives all of them at once.
const COUNTS_BYTES_MAX: usize = 8 << 20;
/// Collections that a service is asked for at once, the most that indigo's directory knows as a limit.
const COUNTS_LIMIT: usize = 1000;

/// The collections that the text at `url` names.
pub(super) async fn of_text(web: &Web, provider: &str, url: &Url) -> Result<BTreeSet<Nsid>, Refusal> {
    let text = patiently(|| web.text(provider, url.clone(), TEXT_BYTES_MAX)).await?;
    let names = nsids(&text);
    if names.is_empty() {
        let reason = "names no collection; a list has one on each line, or is Markdown".to_owned();
        return Err(Refusal::Malformed { host: url.to_string(), reason });
    }
    Ok(names)
}

/// The collections that a service lists at `url`, its `/v1/listCollections`, with the number of accounts of each.
pub(super) async fn of_service(web: &Web, provider: &str, url: &Url) -> Result<BTreeMap<Nsid, u64>, Refusal> {
    #[derive(Deserialize)]
    struct Answer {
        // A map of Go that was never made is null.
        #[serde(deserialize_with = "Option::deserialize")]
        collections: Option<BTreeMap<String, u64>>,
        #[serde(default)]
        cursor: Option<String>,
    }
    let mut counts = BTreeMap::new();
    let mut cursor = String::new();
    loop {
        let mut page = url.clone();
        page.query_pairs_mut().append_pair("limit", &COUNTS_LIMIT.to_string());
        if !cursor.is_empty() {
            page.query_pairs_mut().append_pair("cursor", &cursor);
        }
        let ask = || web.get::<Answer>(provider, page.clone(), COUNTS_BYTES_MAX);
        let Answer { collections, cursor: next } = patiently(ask).await?;
        let before = counts.len();
        let named = collections.unwrap_or_default().into_iter();
        counts.extend(named.filter_map(|(name, count)| Some((Nsid::parse(&name).ok()?, count))));
        if counts.len() > NAMES_MAX {
            let reason = format!("lists more than {NAMES_MAX} collections");
            return Err(Refusal::Malformed { host: authority(url), reason });
        }
        // Indigo gives all that comes after the cursor, and then a cursor nevertheless: what brings nothing new is the end.
        match next {
            Some(next) if !next.is_empty() && next != cursor && counts.len() > before => cursor = next,
            _ => return Ok(counts),
        }
    }
}
