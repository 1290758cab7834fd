//! What events and edits make of single accounts.

use super::*;

#[test]
fn commits_add_and_remove_collections() {
    let (rig, did, [posts, likes]) = (Rig::new(), did(1), [nsid(1), nsid(2)]);
    rig.event(&did, active(), &[has(&posts), has(&likes)]);
    assert_eq!(rig.page(&posts), std::slice::from_ref(&did));
    rig.event(&did, active(), &[has_no(&posts)]);
    assert!(rig.page(&posts).is_empty());
    assert_eq!(rig.directory.account(&did).unwrap(), (vec![likes.clone()], None));
    assert_eq!(rig.directory.counts(), BTreeMap::from([(likes, 1)]));
    rig.event(&did, active(), &[has(&posts)]);
    assert_eq!(rig.page(&posts), [did], "what went may come again");
}

#[test]
fn an_account_is_shown_while_it_is_active() {
    let (rig, did, posts) = (Rig::new(), did(1), nsid(1));
    rig.event(&did, active(), &[has(&posts)]);
    for status in [Status::Deactivated, Status::Takendown, Status::Suspended] {
        rig.event(&did, with_status(status), &[]);
        assert!(rig.page(&posts).is_empty(), "{status:?}");
        assert_eq!(rig.directory.account(&did).unwrap(), (vec![posts.clone()], Some(Hidden::Inactive)));
        assert!(rig.directory.counts().is_empty());
        rig.apply(&[Edit::Show(did.clone())]);
        assert!(rig.page(&posts).is_empty(), "{status:?}: the host's word at another time");
        rig.event(&did, active(), &[]);
        assert_eq!(rig.page(&posts), std::slice::from_ref(&did), "{status:?}");
    }
}

#[test]
fn a_deleted_account_does_not_come_back_with_a_stale_import() {
    let (rig, [first, second], posts) = (Rig::new(), [did(1), did(2)], nsid(1));
    for did in [&first, &second] {
        rig.event(did, active(), &[has(&posts)]);
    }
    rig.event(&first, with_status(Status::Deleted), &[]);
    rig.event(&second, with_status(Status::Deactivated), &[]);
    rig.event(&second, with_status(Status::Deleted), &[]);
    for did in [&first, &second] {
        assert_eq!(rig.directory.account(did).unwrap(), (Vec::new(), Some(Hidden::Inactive)));
        rig.apply(&[Edit::Add(did.clone(), posts.clone())]);
        assert!(rig.page(&posts).is_empty());
        rig.apply(&[Edit::Forget(did.clone())]);
        assert_eq!(rig.directory.account(did).unwrap(), (Vec::new(), Some(Hidden::Inactive)));
    }
}

#[test]
fn an_account_that_is_gone_at_its_host_is_back_with_its_next_commit() {
    let (rig, did, [posts, likes]) = (Rig::new(), did(1), [nsid(1), nsid(2)]);
    for touch in [has(&posts), has_no(&likes)] {
        rig.event(&did, active(), &[has(&posts), has(&likes)]);
        assert_eq!(rig.apply(&[Edit::Hide(did.clone()), Edit::Hide(did.clone())]).hidden, 2);
        assert!(rig.page(&posts).is_empty());
        rig.event(&did, active(), &[touch]);
        assert_eq!(rig.page(&posts), std::slice::from_ref(&did));
    }
}

#[test]
fn an_account_of_which_nothing_is_known_is_not_hidden() {
    let (rig, did, posts) = (Rig::new(), did(1), nsid(1));
    rig.apply(&[Edit::Hide(did.clone()), Edit::Show(did.clone()), Edit::Forget(did.clone())]);
    assert_eq!(rig.directory.account(&did).unwrap(), (Vec::new(), None));
    rig.apply(&[Edit::Add(did.clone(), posts.clone())]);
    assert_eq!(rig.page(&posts), [did]);
}

#[test]
fn what_an_account_had_is_replaced_unless_it_moved_meanwhile() {
    let (rig, did, [posts, likes, blocks]) = (Rig::new(), did(1), [nsid(1), nsid(2), nsid(3)]);
    rig.event(&did, at_rev(5), &[has(&posts), has(&likes)]);
    let replace = |collections: &[&Nsid], rev| {
        let collections = collections.iter().map(|name| (*name).clone()).collect();
        let tally = rig.apply(&[Edit::Replace { did: did.clone(), collections, rev }]);
        (tally.added, tally.known, tally.removed)
    };
    assert_eq!(replace(&[&likes, &blocks], Some(tid(4))), (1, 1, 0), "a commit came after it was asked");
    assert_eq!(replace(&[&likes], None), (0, 1, 0));
    assert_eq!(replace(&[&likes], Some(tid(5))), (0, 1, 2));
    assert_eq!(rig.directory.account(&did).unwrap().0, std::slice::from_ref(&likes));
    rig.event(&did, at_rev(6), &[has(&posts)]);
    assert_eq!(rig.page(&posts), std::slice::from_ref(&did), "what was removed is not taken for known");
    assert_eq!(replace(&[], Some(tid(6))), (0, 0, 2));
}

/// Protocol 19: what this relay holds against an account hides it as well.
#[test]
fn an_account_that_is_taken_down_here_is_hidden() {
    use crate::account::Local;
    let (rig, did, posts) = (Rig::new(), did(1), nsid(1));
    rig.event(&did, active(), &[has(&posts)]);
    rig.event(&did, Account { local: Local::TakenDown, ..active() }, &[]);
    assert!(rig.page(&posts).is_empty());
    rig.event(&did, active(), &[]);
    assert_eq!(rig.page(&posts), [did]);
}

#[test]
fn an_event_may_come_again_without_what_was_before() {
    let (rig, did, posts) = (Rig::new(), did(1), nsid(1));
    let replayed = |after, touches: &[Touch]| {
        let mut group = rig.directory.group();
        group.event(&did, None, &after, touches).unwrap();
        group.write(1).unwrap();
    };
    replayed(active(), &[has(&posts)]);
    replayed(with_status(Status::Deactivated), &[]);
    assert!(rig.page(&posts).is_empty());
    replayed(active(), &[]);
    assert_eq!(rig.page(&posts), std::slice::from_ref(&did));
}

#[test]
fn a_group_that_was_not_written_has_changed_nothing() {
    let (rig, did, posts) = (Rig::new(), did(1), nsid(1));
    let mut group = rig.directory.group();
    group.event(&did, None, &active(), &[has(&posts)]).unwrap();
    drop(group);
    assert_eq!(rig.directory.applied().unwrap(), None);
    assert!(rig.page(&posts).is_empty() && rig.directory.counts().is_empty());
    rig.event(&did, active(), &[has(&posts)]);
    assert_eq!(rig.page(&posts), [did]);
}

#[test]
fn a_directory_that_is_made_later_knows_who_is_not_active() {
    let folder = tempfile::tempdir().unwrap();
    let store = open_store(folder.path());
    let accounts = Accounts::new(store.clone());
    let mut rows = WriteBatch::default();
    let inactive = [did(2), web(2)];
    for did in [did(1), web(1)] {
        accounts.put(&mut rows, &did, None, &active());
    }
    for did in &inactive {
        accounts.put(&mut rows, did, None, &with_status(Status::Deactivated));
    }
    store.write(&rows).unwrap();
    drop(accounts);

    let rig = Rig::with(folder, store, MEMORY_BYTES);
    let posts = nsid(1);
    let all = [did(1), did(2), web(1), web(2)];
    let edits: Vec<_> = all.into_iter().map(|did| Edit::Add(did, posts.clone())).collect();
    rig.apply(&edits);
    assert_eq!(rig.page(&posts), [did(1), web(1)]);
    for did in inactive {
        assert_eq!(rig.directory.account(&did).unwrap().1, Some(Hidden::Inactive));
    }
    let incarnation = rig.directory.incarnation();
    assert_eq!(rig.restarted().directory.incarnation(), incarnation);
    assert_ne!(Rig::new().directory.incarnation(), incarnation);
}

#[test]
fn a_start_looks_again_at_a_bounded_number_of_events() {
    let (rig, did, posts) = (Rig::new(), did(1), nsid(1));
    let group = |seq, touches: &[Touch]| {
        let mut group = rig.directory.group();
        group.event(&did, Some(&active()), &active(), touches).unwrap();
        group.write(seq).unwrap();
        rig.directory.applied().unwrap()
    };
    assert_eq!(group(1, &[has(&posts)]), Some(1));
    assert_eq!(group(2, &[has(&posts)]), Some(1), "no news, and no write");
    assert_eq!(group(20_000, &[has(&posts)]), Some(20_000));
    assert_eq!(group(20_001, &[has(&posts)]), Some(20_000));
    rig.apply(&[]);
    assert_eq!(rig.directory.applied().unwrap(), Some(20_001), "edits come after the events that came before");
}
