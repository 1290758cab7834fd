//! Anything that can happen to a directory, beside a model of it in a few lines.

use std::collections::BTreeSet;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

const ACCOUNTS: u32 = 6;
const COLLECTIONS: usize = 5;

#[derive(Debug, Clone)]
enum Step {
    Apply(Vec<Edit>),
    /// Of which account, what happens to it, and what its commit says.
    Events(Vec<(Did, Happening, Vec<Touch>)>),
    Restart,
}

#[derive(Debug, Clone, Copy)]
enum Happening {
    Commit,
    Status(Status),
}

/// What is known of an account.
#[derive(Debug, Default, Clone, PartialEq)]
struct Known {
    collections: BTreeSet<Nsid>,
    hidden: Option<Hidden>,
    row: Option<Account>,
}

#[derive(Default)]
struct Model {
    accounts: BTreeMap<Did, Known>,
    seq: Option<u64>,
    steps: u64,
}

impl Model {
    fn edit(&mut self, edit: &Edit) {
        match edit {
            Edit::Add(did, collection) => {
                self.known(did).collections.insert(collection.clone());
            }
            Edit::Replace { did, collections, rev } => {
                let known = self.known(did);
                if known.row.and_then(|row| row.repo).map(|repo| repo.rev) <= *rev {
                    known.collections.clear();
                }
                known.collections.extend(collections.iter().cloned());
            }
            Edit::Hide(did) => {
                let known = self.known(did);
                if !known.collections.is_empty() && known.hidden.is_none() {
                    known.hidden = Some(Hidden::Verified);
                }
            }
            Edit::Show(did) => {
                let known = self.known(did);
                known.hidden = known.hidden.filter(|hidden| *hidden == Hidden::Inactive);
            }
            Edit::Forget(did) => {
                let known = self.known(did);
                let is_inactive = known.row.is_some_and(|row| !row.is_active());
                known.hidden = is_inactive.then_some(Hidden::Inactive);
                known.collections.clear();
            }
        }
    }

    /// The account's row after an event.
    fn event(&mut self, did: &Did, happening: Happening, touches: &[Touch]) -> Account {
        let known = self.known(did);
        let before = known.row.unwrap_or_else(active);
        let rev = before.repo.map_or(1, |repo| repo.rev.as_u64() + 1);
        let after = match happening {
            Happening::Commit => Account { status: before.status, ..at_rev(rev) },
            Happening::Status(status) => Account { status, ..before },
        };
        match (known.row.is_some_and(|row| !row.is_active()), after.is_active()) {
            (_, false) => known.hidden = Some(Hidden::Inactive),
            (true, true) => known.hidden = None,
            (false, true) => {}
        }
        if after.status == Status::Deleted && known.row.is_none_or(|row| row.status != Status::Deleted) {
            known.collections.clear();
        }
        for touch in touches {
            if known.hidden == Some(Hidden::Verified) {
                known.hidden = None;
            }
            if touch.is_there {
                known.collections.insert(touch.collection.clone());
            } else {
                known.collections.remove(&touch.collection);
            }
        }
        known.row = Some(after);
        after
    }

    fn known(&mut self, did: &Did) -> &mut Known {
        self.accounts.entry(did.clone()).or_default()
    }

    fn check(&self, rig: &Rig, page_len: usize) {
        let directory = &rig.directory;
        let mut counts = BTreeMap::new();
        for number in 0..COLLECTIONS {
            let collection = nsid(number);
            let visible = self.accounts.iter().filter(|(_, known)| known.hidden.is_none());
            let expected: BTreeSet<_> = visible
                .filter(|(_, known)| known.collections.contains(&collection))
                .map(|(did, _)| did.clone())
                .collect();
            let found = in_pages(page_len, |after| directory.page(&collection, after, page_len).unwrap(), Did::clone);
            assert_eq!(found.len(), expected.len(), "each of {collection} once: {found:?}");
            assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), expected, "{collection}");
            if !expected.is_empty() {
                counts.insert(collection, expected.len() as u64);
            }
        }
        assert_eq!(directory.counts(), counts);
        let mut expected = BTreeMap::new();
        for (did, known) in &self.accounts {
            let collections: Vec<_> = known.collections.iter().cloned().collect();
            assert_eq!(directory.account(did).unwrap(), (collections.clone(), known.hidden), "{did}");
            if !collections.is_empty() {
                expected.insert(did.clone(), known.collections.clone());
            }
        }
        let read = |after: Option<&Did>| directory.accounts(after, page_len).unwrap();
        let found = in_pages(page_len, read, |(did, _)| did.clone());
        let found = found.into_iter().map(|(did, collections)| (did, collections.into_iter().collect()));
        assert_eq!(found.collect::<BTreeMap<_, BTreeSet<_>>>(), expected);
        assert_eq!(directory.applied().unwrap().is_some(), self.seq.is_some());
        let note = directory.note("steps").unwrap().map(|note| u64::from_be_bytes(note.try_into().unwrap()));
        assert_eq!(note.unwrap_or(0), self.steps);
    }
}

fn in_pages<T>(len: usize, read: impl Fn(Option<&Did>) -> Vec<T>, did: impl Fn(&T) -> Did) -> Vec<T> {
    let mut all: Vec<T> = Vec::new();
    loop {
        let page = read(all.last().map(&did).as_ref());
        let is_last = page.len() < len;
        all.extend(page);
        if is_last {
            return all;
        }
    }
}

fn any_did() -> impl Strategy<Value = Did> {
    (0..ACCOUNTS).prop_map(|number| if number < 4 { did(number) } else { web(number) })
}

fn any_nsid() -> impl Strategy<Value = Nsid> {
    (0..COLLECTIONS).prop_map(nsid)
}

fn any_edit() -> impl Strategy<Value = Edit> {
    let replace = (any_did(), vec(any_nsid(), 0..4), prop::option::of((1..8u64).prop_map(tid)));
    prop_oneof![
        6 => (any_did(), any_nsid()).prop_map(|(did, collection)| Edit::Add(did, collection)),
        2 => replace.prop_map(|(did, collections, rev)| Edit::Replace { did, collections, rev }),
        2 => any_did().prop_map(Edit::Hide),
        1 => any_did().prop_map(Edit::Show),
        1 => any_did().prop_map(Edit::Forget),
    ]
}

fn any_event() -> impl Strategy<Value = (Did, Happening, Vec<Touch>)> {
    let status = prop::sample::select(vec![Status::Active, Status::Deactivated, Status::Deleted]);
    let touch =
        (any_nsid(), prop::bool::weighted(0.7)).prop_map(|(collection, is_there)| Touch { collection, is_there });
    let happening = prop_oneof![
        3 => vec(touch, 0..3).prop_map(|touches| (Happening::Commit, touches)),
        1 => status.prop_map(|status| (Happening::Status(status), Vec::new())),
    ];
    (any_did(), happening).prop_map(|(did, (happening, touches))| (did, happening, touches))
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => vec(any_edit(), 0..6).prop_map(Step::Apply),
        4 => vec(any_event(), 0..6).prop_map(Step::Events),
        1 => Just(Step::Restart),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn the_directory_is_as_its_model(steps in vec(any_step(), 1..24), page_len in 1..4usize) {
        let mut rig = Rig::new();
        let mut model = Model::default();
        for (seq, step) in steps.into_iter().enumerate() {
            match step {
                Step::Apply(edits) => {
                    edits.iter().for_each(|edit| model.edit(edit));
                    model.steps += 1;
                    let note = Note { name: "steps".to_owned(), value: Some(model.steps.to_be_bytes().to_vec()) };
                    rig.directory.apply(&edits, |_| Some(note)).unwrap();
                }
                Step::Events(events) => {
                    let mut group = rig.directory.group();
                    for (did, happening, touches) in events {
                        let before = model.known(&did).row;
                        let after = model.event(&did, happening, &touches);
                        rig.write_account(&did, before, after);
                        group.event(&did, before.as_ref(), &after, &touches).unwrap();
                    }
                    group.write(seq as u64).unwrap();
                    model.seq = Some(seq as u64);
                }
                Step::Restart => rig = rig.restarted(),
            }
            model.check(&rig, page_len);
        }
    }
}
