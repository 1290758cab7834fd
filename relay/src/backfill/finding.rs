//! What was found of an account, and what that makes of the directory. Pure.

use std::collections::BTreeSet;

use super::pds::Answer;
use crate::account::Status;
use crate::collections::{Edit, Hidden};
use crate::protocol::did::Did;
use crate::protocol::nsid::Nsid;
use crate::protocol::tid::Tid;

/// What an account is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    /// Its host serves it, and the directory was right.
    Active,
    /// Its host serves it, and the directory had missed pairs or had too many.
    Mended,
    /// Its host serves it, which is not the one that the relay knew.
    Migrated,
    /// Its host serves it, with so many collections that none is taken.
    Excessive,
    /// Its host does not serve it.
    Inactive(Status),
    /// It has no identity, or its host does not know it.
    Gone,
    /// Its identity names no host.
    Homeless,
    /// A host lists it that is not its own.
    Foreign,
    /// A host lists it, and it is no DID.
    Malformed,
    /// The directory has no collections of it any more.
    Empty,
}

impl Class {
    /// Its name in a job's progress.
    pub fn name(self) -> &'static str {
        match self {
            Class::Active => "active",
            Class::Mended => "mended",
            Class::Migrated => "migrated",
            Class::Excessive => "excessive",
            Class::Inactive(status) => status.name().unwrap_or("active"),
            Class::Gone => "gone",
            Class::Homeless => "homeless",
            Class::Foreign => "foreign",
            Class::Malformed => "malformed",
            Class::Empty => "empty",
        }
    }

    /// Whether a host that lists it lists what is not its own.
    pub fn is_strange(self) -> bool {
        matches!(self, Class::Gone | Class::Homeless | Class::Foreign | Class::Malformed)
    }
}

/// An account as this relay knew it before anybody was asked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Before {
    /// Newest revision of its repository.
    pub rev: Option<Tid>,
    /// Id of its host.
    pub host: Option<u32>,
    /// Its collections in the directory …
    pub collections: BTreeSet<Nsid>,
    /// … and whether they are not shown.
    pub hidden: Option<Hidden>,
}

/// What was found of an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Finding {
    /// What it is.
    pub class: Class,
    /// What is to change of the directory.
    pub edits: Vec<Edit>,
}

impl Finding {
    /// Nothing changes.
    pub fn only(class: Class) -> Finding {
        Finding { class, edits: Vec::new() }
    }

    /// What its own host has answered.
    pub fn of_answer(did: &Did, before: &Before, answer: Answer) -> Finding {
        match answer {
            Answer::Active(collections) => {
                let class = if collections == before.collections { Class::Active } else { Class::Mended };
                let replace =
                    Edit::Replace { did: did.clone(), collections: collections.into_iter().collect(), rev: before.rev };
                let show = (before.hidden == Some(Hidden::Verified)).then(|| Edit::Show(did.clone()));
                Finding { class, edits: [replace].into_iter().chain(show).collect() }
            }
            Answer::Excessive => Finding::only(Class::Excessive),
            Answer::Inactive(Status::Deleted) => Finding::gone(Class::Inactive(Status::Deleted), did, before),
            Answer::Inactive(status) => Finding::hidden(Class::Inactive(status), did, before),
            Answer::Absent => Finding::gone(Class::Gone, did, before),
        }
    }

    /// It is gone for good.
    pub fn gone(class: Class, did: &Did, before: &Before) -> Finding {
        let is_known = !before.collections.is_empty();
        Finding { class, edits: is_known.then(|| Edit::Forget(did.clone())).into_iter().collect() }
    }

    /// It is not to be shown for the time being.
    pub fn hidden(class: Class, did: &Did, before: &Before) -> Finding {
        let is_shown = !before.collections.is_empty() && before.hidden.is_none();
        Finding { class, edits: is_shown.then(|| Edit::Hide(did.clone())).into_iter().collect() }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn what_a_host_says_changes_what_is_not_so_already() {
        let did = &Did::parse("did:plc:7iza6de2dwap2sbkpav7c6c6").unwrap();
        let names = |names: &[&str]| names.iter().map(|name| Nsid::parse(name).unwrap()).collect::<BTreeSet<_>>();
        let known = |hidden| Before { rev: Tid::from_u64(7), host: Some(1), collections: names(&["a.b.c"]), hidden };
        let replace = |collections: &[&str]| Edit::Replace {
            did: did.clone(),
            collections: names(collections).into_iter().collect(),
            rev: Tid::from_u64(7),
        };
        let (hide, show, forget) = (Edit::Hide(did.clone()), Edit::Show(did.clone()), Edit::Forget(did.clone()));
        let active = |collections| Answer::Active(names(collections));
        let (shown, verified, inactive) = (known(None), known(Some(Hidden::Verified)), known(Some(Hidden::Inactive)));
        let empty = Before { rev: Tid::from_u64(7), ..Before::default() };
        let away = Answer::Inactive(Status::Suspended);
        let cases = [
            (&shown, active(&["a.b.c"]), "active", vec![replace(&["a.b.c"])]),
            (&shown, active(&["a.b.c", "d.e.f"]), "mended", vec![replace(&["a.b.c", "d.e.f"])]),
            (&shown, active(&[]), "mended", vec![replace(&[])]),
            (&empty, active(&["a.b.c"]), "mended", vec![replace(&["a.b.c"])]),
            (&empty, active(&[]), "active", vec![replace(&[])]),
            (&verified, active(&["a.b.c"]), "active", vec![replace(&["a.b.c"]), show]),
            (&inactive, active(&["a.b.c"]), "active", vec![replace(&["a.b.c"])]),
            (&shown, Answer::Excessive, "excessive", vec![]),
            (&shown, away.clone(), "suspended", vec![hide]),
            (&verified, away.clone(), "suspended", vec![]),
            (&inactive, away.clone(), "suspended", vec![]),
            (&empty, away, "suspended", vec![]),
            (&shown, Answer::Inactive(Status::Deleted), "deleted", vec![forget.clone()]),
            (&shown, Answer::Absent, "gone", vec![forget.clone()]),
            (&verified, Answer::Absent, "gone", vec![forget]),
            (&empty, Answer::Absent, "gone", vec![]),
        ];
        for (before, answer, class, edits) in cases {
            let finding = Finding::of_answer(did, before, answer.clone());
            assert_eq!((finding.class.name(), finding.edits), (class, edits), "{answer:?} of {before:?}");
        }
    }
}
