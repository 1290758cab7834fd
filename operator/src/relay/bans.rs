//! The domains that a spec bans, by the relay's admin API: its decisions are changed while it runs, and outlive its configuration.
//!
//! The relay does not tell who has banned a domain, so the status remembers which of them the spec has: these are let in again
//! when the spec no longer names them, and those that people have banned stay so. Nothing here fails a reconcile.

use super::Context;
use super::read::World;
use super::validate::ValidRelay;
use crate::api::Implementation;
use crate::relay_admin::AskError;

/// What came of the domains that a spec bans.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Bans {
    /// Those that are banned because of the spec, in alphabetical order: what the status remembers.
    pub(super) ours: Vec<String>,
    /// The spec bans some.
    pub(super) is_declared: bool,
    /// Why the relay may ban others than those.
    pub(super) trouble: Option<Trouble>,
}

/// Why the relay may ban others than a spec does. The text is the condition's message.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub(super) enum Trouble {
    /// No pod runs.
    #[error("No pod runs yet.")]
    NoPod,
    /// The relay does not say what it bans.
    #[error("{0}")]
    Away(AskError),
    /// The Relay is paused.
    #[error("spec.paused is true: the relay's bans are not brought to what spec.upstream.bannedDomains names.")]
    Paused,
    /// The relay did not take a change.
    #[error("The domain {domain} cannot be {verb}: {source}")]
    Ask {
        /// The domain.
        domain: String,
        /// What was to be done with it.
        verb: &'static str,
        /// What the relay says.
        source: AskError,
    },
}

impl Trouble {
    /// The condition's reason.
    pub(super) fn reason(&self) -> &'static str {
        match self {
            Self::NoPod | Self::Away(_) => "RelayUnavailable",
            Self::Paused => "RelayPaused",
            Self::Ask { .. } => "ApplyFailed",
        }
    }

    /// Whether nothing was heard of what the relay bans.
    pub(super) fn is_silence(&self) -> bool {
        matches!(self, Self::NoPod | Self::Away(_))
    }
}

/// A request that brings the relay closer to what a spec says.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Change<'a> {
    Ban(&'a str),
    LetIn(&'a str),
}

/// Makes the relay ban what the spec does, beside what people have banned. `before` is what the status remembers.
pub(super) async fn apply(context: &Context, relay: &ValidRelay, world: &World, before: &[String]) -> Bans {
    let declared = &relay.settings.upstream.banned_domains;
    if relay.implementation != Implementation::Bundled || declared.is_empty() && before.is_empty() {
        return Bans::default();
    }
    let mut bans = Bans { ours: before.to_vec(), is_declared: !declared.is_empty(), trouble: None };
    let found = match (&world.door, &world.banned_domains) {
        (Some(_), Some(Ok(found))) => found,
        (Some(_), Some(Err(error))) => return Bans { trouble: Some(Trouble::Away(error.clone())), ..bans },
        _ => return Bans { trouble: Some(Trouble::NoPod), ..bans },
    };
    // Of what the status remembers, what is no longer banned is no longer ours.
    bans.ours.retain(|domain| found.contains(domain));
    bans.ours.extend(declared.iter().filter(|domain| found.contains(domain)).cloned());
    for change in changes(declared, before, found) {
        let Some(door) = world.door.as_ref().filter(|_| !relay.paused) else {
            bans.trouble = Some(Trouble::Paused);
            break;
        };
        let (verb, domain, done) = match change {
            Change::Ban(domain) => ("banned", domain, context.admin.ban_domain(door, domain).await),
            Change::LetIn(domain) => ("let in", domain, context.admin.unban_domain(door, domain).await),
        };
        tracing::info!(namespace = relay.namespace, relay = relay.name, domain, ?done, "domain to be {verb}");
        match (done, change) {
            (Ok(()), Change::Ban(domain)) => bans.ours.push(domain.to_owned()),
            (Ok(()), Change::LetIn(domain)) => bans.ours.retain(|ours| ours != domain),
            (Err(source), _) => {
                let goes_on = matches!(source, AskError::Refused(_));
                bans.trouble = bans.trouble.or(Some(Trouble::Ask { domain: domain.to_owned(), verb, source }));
                if !goes_on {
                    break; // the next one would wait as long for the same answer
                }
            }
        }
    }
    bans.ours.sort();
    bans.ours.dedup();
    bans
}

/// What is to be asked of a relay that bans the domains `found`.
fn changes<'a>(declared: &'a [String], before: &'a [String], found: &[String]) -> Vec<Change<'a>> {
    let gone = before.iter().filter(|domain| !declared.contains(domain) && found.contains(domain));
    let new = declared.iter().filter(|domain| !found.contains(domain));
    gone.map(|domain| Change::LetIn(domain)).chain(new.map(|domain| Change::Ban(domain))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_differs_is_asked_for_and_what_people_have_banned_stays() {
        use Change::{Ban, LetIn};
        let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        type Case<'a> = (&'a str, &'a [&'a str], &'a [&'a str], &'a [&'a str], &'a [Change<'a>]);
        #[rustfmt::skip]
        let table: &[Case] = &[
            // declared, what the status remembers, what the relay bans
            ("nothing there", &["a", "b"], &[], &[], &[Ban("a"), Ban("b")]),
            ("all there", &["a"], &["a"], &["a"], &[]),
            ("a ban of a person", &["a"], &["a"], &["a", "x"], &[]),
            ("a person's, declared too", &["x"], &[], &["x"], &[]),
            ("no longer declared", &["b"], &["a"], &["a", "x"], &[LetIn("a"), Ban("b")]),
            ("no longer declared, and let in by a person", &[], &["a"], &["x"], &[]),
            ("let in by a person, but declared", &["a"], &["a"], &[], &[Ban("a")]),
        ];
        for (case, declared, before, found, want) in table {
            assert_eq!(changes(&list(declared), &list(before), &list(found)), *want, "{case}");
        }
    }
}
