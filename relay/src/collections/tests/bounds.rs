//! Accounts and relays with too much, and keys that two accounts have.

use super::*;

#[test]
fn an_account_has_a_bounded_number_of_collections() {
    let (rig, did) = (Rig::with_memory(1 << 20), did(1));
    // Some other account has given the first names their ids.
    let all: Vec<_> = (0..ACCOUNT_COLLECTIONS_MAX + 10).map(nsid).collect();
    let add = |names: &mut dyn Iterator<Item = &Nsid>| {
        let edits: Vec<_> = names.map(|name| Edit::Add(did.clone(), name.clone())).collect();
        rig.apply(&edits)
    };
    let other = web(1);
    let firsts: Vec<_> = all[..600].iter().map(|name| Edit::Add(other.clone(), name.clone())).collect();
    rig.apply(&firsts);

    // First those that came last: what follows is not counted one by one.
    let tally = add(&mut all.iter().rev());
    assert_eq!((tally.added, tally.refused), (ACCOUNT_COLLECTIONS_MAX as u64, 10));
    assert_eq!(rig.directory.account(&did).unwrap().0.len(), ACCOUNT_COLLECTIONS_MAX);
    assert_eq!(rig.directory.refused(), 10);
    let tally = add(&mut all.iter());
    assert_eq!((tally.added, tally.known, tally.refused), (0, ACCOUNT_COLLECTIONS_MAX as u64, 10));

    let mut group = rig.directory.group();
    group.event(&did, None, &active(), &[has(&all[0])]).unwrap();
    group.write(1).unwrap();
    drop(group);
    assert!(!rig.page(&all[0]).contains(&did), "nor does an event give it one more");
    rig.event(&did, active(), &[has_no(&all[500]), has(&all[0])]);
    assert!(rig.page(&all[0]).contains(&did));
}

#[test]
fn names_have_a_bounded_number_of_bytes() {
    let rig = Rig::with_memory(8 << 10);
    let edits: Vec<_> = (0..1000).map(|number| Edit::Add(did(number), nsid(number as usize))).collect();
    let tally = rig.apply(&edits);
    assert!(tally.added > 10 && tally.refused > 900, "{tally:?}");
    assert!(rig.directory.memory_bytes() <= 8 << 10);
    assert_eq!(rig.directory.counts().len() as u64, tally.added);
    assert_eq!(rig.apply(&edits), Tally { known: tally.added, refused: tally.refused, ..Tally::default() });
}

#[test]
fn two_accounts_with_one_key_are_not_taken_for_each_other() {
    let (rig, [owner, other], posts) = (Rig::new(), [web(1), web(2)], nsid(1));
    let mut rows = WriteBatch::default();
    rig.store.put(&mut rows, Column::Name, &DidKey::of(&other).0, owner.as_str().as_bytes());
    rig.store.put(&mut rows, Column::Repo, &repo_key(DidKey::of(&other), CollectionId(1)), &[]);
    rig.store.write_ahead(&rows).unwrap();

    assert_eq!(rig.apply(&[Edit::Add(other.clone(), posts.clone())]).refused, 1);
    rig.event(&other, active(), &[has(&posts)]);
    rig.apply(&[Edit::Hide(other.clone()), Edit::Forget(other.clone())]);
    assert!(rig.page(&posts).is_empty());
    assert_eq!(rig.directory.account(&other).unwrap(), (Vec::new(), None));
    assert_eq!(rig.directory.refused(), 2);
}

#[test]
fn an_account_that_is_gone_leaves_nothing() {
    let (rig, posts) = (Rig::new(), nsid(1));
    for did in [did(1), web(1)] {
        rig.apply(&[Edit::Add(did.clone(), posts.clone()), Edit::Forget(did)]);
    }
    for column in [Column::Repo, Column::Collection] {
        assert_eq!(rig.store.iterate(column, rocksdb::IteratorMode::Start).count(), 0, "{column:?}");
    }
    assert_eq!(rig.store.iterate(Column::Name, rocksdb::IteratorMode::Start).count(), 1, "the collection's name");
}

impl Rig {
    fn with_memory(memory_bytes: usize) -> Rig {
        let folder = tempfile::tempdir().unwrap();
        let store = open_store(folder.path());
        Rig::with(folder, store, memory_bytes)
    }
}
