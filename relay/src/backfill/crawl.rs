//! Crawls: PDS hosts are asked for their accounts, and then for each account's collections.

mod pages;
mod patience;
mod place;
mod walk;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, stream};

use self::pages::Pages;
use self::patience::Patience;
use self::place::Place;
use self::walk::{Walk, Walked};
use super::Context;
use super::pds::{Listed, Page, Pds, provider};
use super::{Later, Part, Planned, Step, Trouble, Work};
use crate::decisions::HostStatus;
use crate::host::HostName;
use crate::protocol::did::Did;

/// Accounts of a step, and how long it goes on: what is done in it is done once more after a kill.
const STEP_ACCOUNTS_MAX: usize = 20;
const STEP_TIME_MAX: Duration = Duration::from_secs(5);
/// Accounts that a host may list: as many as the network has.
const LISTED_MAX: u64 = 50_000_000;
/// So often a wait may be the host's fault; then it may be the fault of the account that it is asked for.
const ACCOUNT_WAITS_MAX: u32 = 3;
/// So often a host is waited for that gives no page: for a day, since waits grow to ten minutes.
const PAGE_WAITS_MAX: u32 = 150;
/// Names that are looked up at once, to see which hosts share a limit.
const LOOKUPS: usize = 64;

/// Asks hosts for all their accounts, and what collections they have.
pub struct Crawl {
    context: Context,
    hosts: Vec<String>,
    pages: Pages,
    patience: Patience,
}

impl Crawl {
    /// A crawl of hosts by name; if there are none, of all that this relay knows and that are neither banned nor
    /// offline.
    pub fn new(context: Context, hosts: Vec<String>) -> Crawl {
        Crawl { context, hosts, pages: Pages::default(), patience: Patience::default() }
    }

    fn hosts_to_ask(&self) -> Result<Vec<HostName>, Trouble> {
        if self.hosts.is_empty() {
            let hosts = self.context.hosts.all().into_iter();
            let is_asked = |status| !matches!(status, HostStatus::Banned | HostStatus::Offline);
            return Ok(hosts.filter(|host| is_asked(host.status())).map(|host| host.name.clone()).collect());
        }
        let mut names = HashSet::new();
        let hosts = self.hosts.iter().map(|name| self.host(name));
        let hosts: Vec<HostName> = hosts.collect::<Result<_, _>>()?;
        Ok(hosts.into_iter().filter(|name| names.insert(name.clone())).collect())
    }

    fn host(&self, name: &str) -> Result<HostName, Trouble> {
        let name = self.context.host_name(name).map_err(|error| Trouble::Fail(error.to_string()))?;
        match self.context.hosts.find(name.as_str()) {
            Some(host) if host.status() == HostStatus::Banned => Err(Trouble::Fail(format!("{name} is banned"))),
            _ => Ok(name),
        }
    }

    async fn plan_hosts(&self) -> Result<Vec<Planned>, Trouble> {
        let planned = self.hosts_to_ask()?.into_iter().map(|host| async move {
            let provider = provider(&self.context.web, &host).await;
            let known = self.context.hosts.find(host.as_str()).map(|known| known.accounts());
            Planned { key: host.to_string(), provider, expected: known.filter(|accounts| *accounts > 0) }
        });
        let planned: Vec<_> = planned.collect();
        Ok(stream::iter(planned).buffered(LOOKUPS).collect().await)
    }

    async fn ask_next(&self, part: &Part) -> Result<Step, Trouble> {
        let host = self.host(&part.key)?;
        if part.seen > LISTED_MAX {
            return Err(Trouble::Fail(format!("{host} lists more than {LISTED_MAX} accounts")));
        }
        let place = Place::read(part.cursor.as_deref())?;
        let pds = Pds::new(&self.context.web, &host).await;
        let page = self.page(&pds, place.page.as_deref()).await?;
        place.check(&host, &page)?;
        let left = page.after(place.account.as_deref());
        let walked = self.walk(&pds, &left[..left.len().min(STEP_ACCOUNTS_MAX)], STEP_TIME_MAX).await?;
        let place = place.behind(&walked, &page);
        if place.is_none() {
            self.pages.forget(host.as_str());
        }
        Ok(Step { seen: walked.done as u64, cursor: place.map(|place| place.write()), ..walked.step })
    }

    async fn ask_again(&self, part: &Part, dids: &[Did]) -> Result<Step, Trouble> {
        let host = self.host(&part.key)?;
        let pds = Pds::new(&self.context.web, &host).await;
        let accounts: Vec<Listed> = dids.iter().map(Listed::from).collect();
        let Walked { done, mut step, .. } = self.walk(&pds, &accounts, Duration::MAX).await?;
        step.again.extend(dids[done..].iter().map(|did| (did.clone(), format!("{host} did not answer before"))));
        Ok(Step { cursor: part.cursor.clone(), ..step })
    }

    /// The page of a host; a host that gives none for very long is given up.
    async fn page(&self, pds: &Pds<'_>, cursor: Option<&str>) -> Result<Arc<Page>, Trouble> {
        match self.pages.get(pds, cursor).await {
            Err(Trouble::Wait { reason, .. })
                if self.patience.is_over(pds.name.as_str(), cursor.unwrap_or_default(), PAGE_WAITS_MAX) =>
            {
                Err(Trouble::Fail(reason))
            }
            page => page,
        }
    }

    /// Walks along accounts. Where somebody has to be waited for time and again at the same account, that one is put off:
    /// it may be the reason.
    async fn walk(&self, pds: &Pds<'_>, accounts: &[Listed], time_max: Duration) -> Result<Walked, Trouble> {
        let host = pds.name.as_str();
        match (Walk::new(&self.context, pds).along(accounts, time_max).await, accounts.first()) {
            (Err(Trouble::Wait { reason, after }), Some(first)) => {
                if self.patience.is_over(host, &first.text, ACCOUNT_WAITS_MAX) {
                    return Ok(Walked::put_off(first, reason));
                }
                Err(Trouble::Wait { reason, after })
            }
            (walked, _) => {
                self.patience.renew(host);
                walked
            }
        }
    }
}

impl Work for Crawl {
    fn plan(&self) -> Later<'_, Result<Vec<Planned>, Trouble>> {
        Box::pin(self.plan_hosts())
    }

    fn step<'a>(&'a self, part: &'a Part) -> Later<'a, Result<Step, Trouble>> {
        Box::pin(self.ask_next(part))
    }

    fn retry<'a>(&'a self, part: &'a Part, dids: &'a [Did]) -> Later<'a, Result<Step, Trouble>> {
        Box::pin(self.ask_again(part, dids))
    }
}
