//! Crawls: PDS hosts are asked for their accounts, and then for each account's collections.

mod pages;
mod place;
mod walk;

use std::collections::HashSet;

use self::pages::Pages;
use self::place::Place;
use self::walk::{Walk, Walked};
use super::pds::{Listed, Pds};
use super::witness::Witnesses;
use super::{Later, Part, Planned, Step, Trouble, Work};
use crate::decisions::HostStatus;
use crate::host::HostName;
use crate::protocol::did::Did;

/// Accounts of a step: so many are asked for once more after a kill.
const STEP_ACCOUNTS_MAX: usize = 20;
/// Accounts that a host may list: as many as the network has.
const LISTED_MAX: u64 = 50_000_000;

/// Asks hosts for all their accounts, and what collections they have.
pub struct Crawl {
    witnesses: Witnesses,
    hosts: Vec<String>,
    pages: Pages,
}

impl Crawl {
    /// A crawl of hosts by name; if there are none, of all that this relay knows and that are neither banned nor
    /// offline.
    pub fn new(witnesses: Witnesses, hosts: Vec<String>) -> Crawl {
        Crawl { witnesses, hosts, pages: Pages::default() }
    }

    fn hosts_to_ask(&self) -> Result<Vec<HostName>, Trouble> {
        if self.hosts.is_empty() {
            let hosts = self.witnesses.hosts.all().into_iter();
            let is_asked = |status| !matches!(status, HostStatus::Banned | HostStatus::Offline);
            return Ok(hosts.filter(|host| is_asked(host.status())).map(|host| host.name.clone()).collect());
        }
        let mut names = HashSet::new();
        let hosts = self.hosts.iter().map(|name| self.host(name));
        let hosts: Vec<HostName> = hosts.collect::<Result<_, _>>()?;
        Ok(hosts.into_iter().filter(|name| names.insert(name.clone())).collect())
    }

    fn host(&self, name: &str) -> Result<HostName, Trouble> {
        let name = self.witnesses.host_name(name).map_err(|error| Trouble::Fail(error.to_string()))?;
        match self.witnesses.hosts.find(name.as_str()) {
            Some(host) if host.status() == HostStatus::Banned => Err(Trouble::Fail(format!("{name} is banned"))),
            _ => Ok(name),
        }
    }

    fn hosts_planned(&self) -> Result<Vec<Planned>, Trouble> {
        let planned = self.hosts_to_ask()?.into_iter().map(|name| {
            let accounts = self.witnesses.hosts.find(name.as_str()).map(|host| host.accounts());
            Planned {
                key: name.to_string(),
                provider: name.to_string(),
                expected: accounts.filter(|accounts| *accounts > 0),
            }
        });
        Ok(planned.collect())
    }

    async fn ask_next(&self, part: &Part) -> Result<Step, Trouble> {
        let host = self.host(&part.key)?;
        if part.seen > LISTED_MAX {
            return Err(Trouble::Fail(format!("{host} lists more than {LISTED_MAX} accounts")));
        }
        let place = Place::read(part.cursor.as_deref())?;
        let page = self.pages.get(&Pds::new(&self.witnesses.web, &host), place.page.as_deref()).await?;
        place.check(&host, &page)?;

        let left = page.after(place.account.as_deref());
        let next = &left[..left.len().min(STEP_ACCOUNTS_MAX)];
        let walked = Walk::new(&self.witnesses, &host).along(next).await?;
        let place = place.behind(&walked, &page);
        if place.is_none() {
            self.pages.forget(host.as_str());
        }
        Ok(Step { seen: walked.done as u64, cursor: place.map(|place| place.write()), ..walked.step })
    }

    async fn ask_again(&self, part: &Part, dids: &[Did]) -> Result<Step, Trouble> {
        let host = self.host(&part.key)?;
        let accounts: Vec<Listed> = dids.iter().map(Listed::from).collect();
        let Walked { done, mut step, .. } = Walk::new(&self.witnesses, &host).along(&accounts).await?;
        step.again.extend(dids[done..].iter().map(|did| (did.clone(), "it was not its turn".to_owned())));
        Ok(Step { cursor: part.cursor.clone(), ..step })
    }
}

impl Work for Crawl {
    fn plan(&self) -> Later<'_, Result<Vec<Planned>, Trouble>> {
        Box::pin(std::future::ready(self.hosts_planned()))
    }

    fn step<'a>(&'a self, part: &'a Part) -> Later<'a, Result<Step, Trouble>> {
        Box::pin(self.ask_next(part))
    }

    fn retry<'a>(&'a self, part: &'a Part, dids: &'a [Did]) -> Later<'a, Result<Step, Trouble>> {
        Box::pin(self.ask_again(part, dids))
    }
}
