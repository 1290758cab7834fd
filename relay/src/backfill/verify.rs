//! Verifications: whether the accounts of the directory are still there, and have what it says.

mod quiet;

use std::collections::BTreeMap;
use std::pin::pin;

use futures_util::future::join_all;
use futures_util::{StreamExt, stream};

use self::quiet::Quiet;
use super::Context;
use super::finding::{Before, Class, Finding};
use super::pds::Pds;
use super::witness::{Home, Obstacle, Word};
use super::{Later, Part, Planned, Step, Trouble, Work};
use crate::host::HostName;
use crate::identity::Freshness;
use crate::protocol::did::Did;

/// The only part.
const ALL_ACCOUNTS: &str = "all accounts";
/// Accounts of a step: so many are asked for once more after a kill.
const STEP_ACCOUNTS: usize = 20;
/// Identities that are looked up at once.
const LOOKUPS: usize = 8;
/// Looks at every account of the directory.
pub struct Verify {
    context: Context,
    quiet: Quiet,
}

/// What is known of an account before its host is asked.
enum Target {
    /// Enough.
    Settled(Finding),
    /// The host is to be asked.
    Ask(HostName, Asked),
}

/// An account that was looked at.
struct Looked {
    did: Did,
    found: Result<Finding, Obstacle>,
}

/// An account that its host is asked for.
struct Asked {
    did: Did,
    before: Before,
    /// Whether the relay took another host for its own.
    has_moved: bool,
}

impl Verify {
    /// A verification of the whole directory.
    pub fn new(context: Context) -> Verify {
        Verify { context, quiet: Quiet::default() }
    }

    async fn look_at_next(&self, part: &Part) -> Result<Step, Trouble> {
        let begin = |error| Trouble::Restart(format!("the cursor is no DID: {error}"));
        let after = part.cursor.as_deref().map(Did::parse).transpose().map_err(begin)?;
        let accounts = self.context.directory.accounts(after.as_ref(), STEP_ACCOUNTS);
        let accounts = accounts.map_err(|error| Trouble::Wait { reason: error.to_string(), after: None })?;
        let dids: Vec<Did> = accounts.into_iter().map(|(did, _)| did).collect();
        let (step, done) = self.look_at(&dids).await?;
        let cursor = dids[..done].last().map(Did::to_string);
        Ok(Step { seen: done as u64, cursor, ..step })
    }

    async fn look_again(&self, part: &Part, dids: &[Did]) -> Result<Step, Trouble> {
        let (mut step, done) = self.look_at(dids).await?;
        step.again.extend(dids[done..].iter().map(|did| (did.clone(), "it was not its turn".to_owned())));
        Ok(Step { cursor: part.cursor.clone(), ..step })
    }

    /// Looks at accounts, in parallel where they are on different hosts; says how many of them it came to before
    /// something was in the way of all others.
    async fn look_at(&self, dids: &[Did]) -> Result<(Step, usize), Trouble> {
        let targets: Vec<_> = dids.iter().map(|did| self.target(did)).collect();
        let mut targets = pin!(stream::iter(targets).buffered(LOOKUPS));
        let (mut looked_at, mut by_host) = (Vec::new(), BTreeMap::<HostName, Vec<Asked>>::new());
        let mut done = 0;
        for did in dids {
            match targets.next().await {
                Some(Ok(Target::Ask(host, asked))) => by_host.entry(host).or_default().push(asked),
                Some(Ok(Target::Settled(finding))) => looked_at.push(Looked { did: did.clone(), found: Ok(finding) }),
                Some(Err(Obstacle::All { reason, after })) if done == 0 => return Err(Trouble::Wait { reason, after }),
                Some(Err(Obstacle::All { .. })) | None => break,
                Some(Err(obstacle)) => looked_at.push(Looked { did: did.clone(), found: Err(obstacle) }),
            }
            done += 1;
        }
        let asked: Vec<_> = by_host.iter().map(|(host, accounts)| self.ask(host, accounts)).collect();
        looked_at.extend(join_all(asked).await.into_iter().flatten());
        let mut step = Step::default();
        for Looked { did, found } in looked_at {
            match found {
                Ok(Finding { class, edits }) => {
                    *step.classes.entry(class.name().to_owned()).or_default() += 1;
                    step.edits.extend(edits);
                }
                Err(obstacle) => step.again.push((did, obstacle.to_string())),
            }
        }
        Ok((step, done))
    }

    /// What this relay and its identity say of an account.
    async fn target(&self, did: &Did) -> Result<Target, Obstacle> {
        let before = self.context.before(did)?;
        if before.collections.is_empty() {
            return Ok(Target::Settled(Finding::only(Class::Empty)));
        }
        let name = match self.context.home(did, Freshness::Cached).await? {
            Home::Host(name) => name,
            Home::Nowhere => return Ok(Target::Settled(Finding::hidden(Class::Homeless, did, &before))),
            Home::Gone => return Ok(Target::Settled(Finding::gone(Class::Gone, did, &before))),
        };
        let known = before.host.and_then(|id| self.context.hosts.by_id(id));
        let has_moved = known.is_some_and(|known| known.name.as_str() != name);
        Ok(Target::Ask(self.context.host_name(&name)?, Asked { did: did.clone(), before, has_moved }))
    }

    /// What a host says of its accounts, one after the other.
    async fn ask(&self, host: &HostName, accounts: &[Asked]) -> Vec<Looked> {
        let pds = Pds::new(&self.context.web, host).await;
        let mut looked_at = Vec::with_capacity(accounts.len());
        for account in accounts {
            let found = match self.quiet.is_resting(host) {
                true => Err(Obstacle::Account(format!("{host} has not answered lately"))),
                false => self.ask_for(&pds, account).await,
            };
            looked_at.push(Looked { did: account.did.clone(), found });
        }
        looked_at
    }

    async fn ask_for(&self, pds: &Pds<'_>, Asked { did, before, has_moved }: &Asked) -> Result<Finding, Obstacle> {
        let asked = self.context.ask(pds, did, before).await;
        self.quiet.heard(pds.name, asked.as_ref().err());
        let (word, has_moved) = match asked? {
            Word::Moved(name) => {
                let host = self.context.host_name(&name)?;
                (self.context.ask(&Pds::new(&self.context.web, &host).await, did, before).await?, true)
            }
            word => (word, *has_moved),
        };
        match word {
            Word::Found(Finding { class: Class::Active | Class::Mended, edits }) if has_moved => {
                Ok(Finding { class: Class::Migrated, edits })
            }
            Word::Found(finding) => Ok(finding),
            Word::Moved(_) => Err(Obstacle::Account("it moves while it is looked at".to_owned())),
        }
    }
}

impl Work for Verify {
    fn plan(&self) -> Later<'_, Result<Vec<Planned>, Trouble>> {
        let all = Planned { key: ALL_ACCOUNTS.to_owned(), provider: ALL_ACCOUNTS.to_owned(), expected: None };
        Box::pin(std::future::ready(Ok(vec![all])))
    }

    fn step<'a>(&'a self, part: &'a Part) -> Later<'a, Result<Step, Trouble>> {
        Box::pin(self.look_at_next(part))
    }

    fn retry<'a>(&'a self, part: &'a Part, dids: &'a [Did]) -> Later<'a, Result<Step, Trouble>> {
        Box::pin(self.look_again(part, dids))
    }
}
