//! Import: reads `listReposByCollection` of other services (protocol 34).
//!
//! A part is one collection of one source. What is known of it between pages is in its cursor, so a step can be repeated
//! and a part goes on after anything. A source is not believed: what it serves is bounded, and whatever does not get
//! anywhere ends the part with a reason.

mod lists;
mod place;
mod plan;
mod source;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use reqwest::Url;

use self::place::Place;
use self::source::{Source, web_url};
use super::spec::{Collections, Spec};
use super::web::Web;
use super::work::{Later, Part, Planned, Step, Trouble, Work};
use crate::collections::{Directory, Edit};
use crate::protocol::did::Did;
use crate::protocol::nsid::Nsid;

/// What a part may have. No honest source comes near.
const BOUNDS: Bounds = Bounds { accounts: 100_000_000, pages: 1_000_000, empty_pages: 100 };
/// How accounts are counted that are no DIDs.
const MALFORMED: &str = "malformed";

#[derive(Debug, Clone, Copy)]
struct Bounds {
    accounts: u64,
    pages: u64,
    /// In a row.
    empty_pages: u64,
}

/// What a spec has as a source or a list and is none.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no URL that can be asked; write one like https://relay.example.com")]
pub struct NotAUrl(String);

/// An import job at work.
pub struct Import {
    web: Web,
    directory: Directory,
    /// By name.
    sources: BTreeMap<String, Source>,
    collections: Collections,
    lists: Vec<Url>,
    bounds: Bounds,
}

impl Import {
    /// What `spec` asks for, at the rate of `web`.
    pub fn new(spec: &Spec, web: Web, directory: Directory) -> Result<Import, NotAUrl> {
        let url = |text: &String| web_url(text).ok_or_else(|| NotAUrl(text.clone()));
        let source = |text: &String| url(text).map(Source::new).map(|source| (source.name(), source));
        Ok(Import {
            web,
            directory,
            sources: spec.sources.iter().map(source).collect::<Result<_, _>>()?,
            lists: spec.collections.lists.iter().map(url).collect::<Result<_, _>>()?,
            collections: spec.collections.clone(),
            bounds: BOUNDS,
        })
    }

    async fn page(&self, part: &Part) -> Result<Step, Trouble> {
        let Some((name, collection)) = part.key.split_once(' ') else { return self.missing_list(&part.key).await };
        let source = self.sources.get(name);
        let source = source.ok_or_else(|| Trouble::Fail(format!("{name} is no source of this job any more")))?;
        let collection = Nsid::parse(collection).map_err(|error| Trouble::Fail(error.to_string()))?;
        let place = part.cursor.as_deref().map(Place::read).transpose();
        let place = place.map_err(|error| Trouble::Restart(format!("the cursor cannot be read: {error}")))?;
        let (page, limit) = match &place {
            Some(Place { cursor, limit, .. }) => (source.page(&self.web, &collection, *limit, cursor).await?, *limit),
            None => source.first_page(&self.web, &collection).await?,
        };
        let lie = |reason: String| Trouble::Fail(format!("{name}: {reason}"));
        let (dids, malformed) = page.accounts().map_err(lie)?;
        let seen = dids.len() as u64;
        let next = page.cursor().map(|cursor| Place::after(place.as_ref(), limit, &dids, cursor.to_owned()));
        let next = next.transpose().map_err(|circle| lie(circle.to_string()))?;
        if let Some(next) = &next {
            self.bounds.check(next, part.seen + seen).map_err(lie)?;
        }
        Ok(Step {
            edits: dids.into_iter().map(|did| Edit::Add(did, collection.clone())).collect(),
            seen,
            cursor: next.map(|next| next.write()),
            classes: [(MALFORMED.to_owned(), malformed)].into_iter().filter(|(_, count)| *count > 0).collect(),
            again: Vec::new(),
        })
    }
}

impl Work for Import {
    fn plan(&self) -> Later<'_, Result<Vec<Planned>, Trouble>> {
        Box::pin(self.parts())
    }

    fn step<'a>(&'a self, part: &'a Part) -> Later<'a, Result<Step, Trouble>> {
        Box::pin(self.page(part))
    }

    /// Nothing: what a page names is either taken or no DID.
    fn retry<'a>(&'a self, _part: &'a Part, _dids: &'a [Did]) -> Later<'a, Result<Step, Trouble>> {
        Box::pin(async { Ok(Step::default()) })
    }
}

impl Bounds {
    fn check(&self, place: &Place, accounts: u64) -> Result<(), String> {
        if place.empty >= self.empty_pages {
            return Err(format!("{} pages in a row have no accounts, and still there is a next one", place.empty));
        }
        if accounts >= self.accounts {
            return Err(format!("it has {accounts} accounts for one collection, and still there is a next page"));
        }
        if place.page >= self.pages {
            return Err(format!("it has {} pages for one collection, and still there is a next one", place.page));
        }
        Ok(())
    }
}
