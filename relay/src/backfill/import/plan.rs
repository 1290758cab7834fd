//! The parts of an import.

use std::collections::{BTreeMap, BTreeSet};

use reqwest::Url;

use super::source::web_url;
use super::{Import, lists};
use crate::backfill::web::Refusal;
use crate::backfill::work::{Planned, Step, Trouble};
use crate::protocol::nsid::Nsid;

/// Parts of a job: sources times collections.
const PARTS_MAX: usize = 200_000;

/// What the origins of names have given so far.
#[derive(Default)]
struct Found {
    names: BTreeSet<Nsid>,
    /// Those that have nothing to give, each as a part that fails: so it is seen, and the others go on.
    without: Vec<Planned>,
    reasons: Vec<String>,
}

impl Found {
    /// Takes what came of a list; fails when it can only be had later.
    fn take(&mut self, list: &Url, provider: &str, names: Result<BTreeSet<Nsid>, Refusal>) -> Result<(), Trouble> {
        match names {
            Ok(names) => self.names.extend(names),
            Err(refusal @ Refusal::Later { .. }) => return Err(refusal.into()),
            Err(refusal) => {
                self.reasons.push(refusal.to_string());
                let provider = provider.to_owned();
                self.without.push(Planned { key: list.to_string(), provider, expected: None });
            }
        }
        Ok(())
    }
}

impl Import {
    /// One part for each collection of each source.
    pub(super) async fn parts(&self) -> Result<Vec<Planned>, Trouble> {
        let mut found = Found { names: self.collections.names.iter().cloned().collect(), ..Found::default() };
        if self.collections.seen {
            found.names.extend(self.directory.counts().into_keys());
        }
        for list in &self.lists {
            let provider = self.web.provider(list).await;
            found.take(list, &provider, lists::of_text(&self.web, &provider, list).await)?;
        }
        let mut counts = BTreeMap::new();
        for (name, source) in &self.sources {
            let (provider, list) = (source.provider(&self.web).await, source.collections_url());
            let listed = lists::of_service(&self.web, provider, &list).await;
            if self.collections.of_sources {
                found.take(
                    &list,
                    provider,
                    listed.as_ref().map(|counts| counts.keys().cloned().collect()).map_err(Clone::clone),
                )?;
            }
            // Without the numbers there is no estimate of the time; that is all.
            counts.insert(name, listed.unwrap_or_default());
        }
        let Found { names, without: mut parts, mut reasons } = found;
        if names.is_empty() {
            reasons.insert(0, "no collection is named".to_owned());
            return Err(Trouble::Fail(reasons.join("; ")));
        }
        let count = names.len() * self.sources.len();
        if count > PARTS_MAX {
            return Err(Trouble::Fail(format!("{count} parts are more than {PARTS_MAX}: make several jobs")));
        }
        for (name, source) in &self.sources {
            let provider = source.provider(&self.web).await;
            parts.extend(names.iter().map(|collection| Planned {
                key: format!("{name} {collection}"),
                provider: provider.to_owned(),
                expected: counts.get(name).and_then(|counts| counts.get(collection).copied()),
            }));
        }
        Ok(parts)
    }

    /// The part of a list that could not be had when the parts were planned: says why.
    pub(super) async fn missing_list(&self, key: &str) -> Result<Step, Trouble> {
        let source = self.sources.values().find(|source| source.collections_url().as_str() == key);
        match (source, web_url(key).filter(|url| self.lists.contains(url))) {
            (Some(source), _) => {
                let provider = source.provider(&self.web).await;
                lists::of_service(&self.web, provider, &source.collections_url()).await?;
            }
            (None, Some(list)) => {
                let provider = self.web.provider(&list).await;
                lists::of_text(&self.web, &provider, &list).await?;
            }
            (None, None) => return Err(Trouble::Fail(format!("{key} is no list of this job any more"))),
        }
        Err(Trouble::Fail(format!("{key} could not be had when the job began, but now: run the job again")))
    }
}
