//! The sequencer, jobs and readers at the same time.

use std::thread;

use super::*;

const ACCOUNTS: u32 = 50;
const ROUNDS: usize = 40;

#[test]
fn the_sequencer_a_job_and_readers_do_not_disturb_each_other() {
    let rig = Rig::new();
    let [posts, likes, stays] = [nsid(1), nsid(2), nsid(3)];
    let staying: Vec<_> = (0..ACCOUNTS).map(|number| Edit::Add(did(number), stays.clone())).collect();
    rig.apply(&staying);
    let everybody = rig.page(&stays);
    thread::scope(|scope| {
        scope.spawn(|| {
            for round in 0..=ROUNDS {
                let touch = if round % 2 == 0 { has(&posts) } else { has_no(&posts) };
                let mut group = rig.directory.group();
                for number in 0..ACCOUNTS {
                    let touches = [touch.clone(), has(&stays)];
                    group.event(&did(number), Some(&active()), &active(), &touches).unwrap();
                }
                group.write(round as u64).unwrap();
            }
        });
        scope.spawn(|| {
            for round in 0..=ROUNDS {
                let visitor = did(1000 + round as u32);
                let mut edits: Vec<_> = (0..ACCOUNTS).map(|number| Edit::Add(did(number), likes.clone())).collect();
                edits.extend([Edit::Add(visitor.clone(), posts.clone()), Edit::Hide(visitor.clone())]);
                edits.extend([Edit::Show(visitor.clone()), Edit::Forget(visitor)]);
                rig.apply(&edits);
            }
        });
        for _ in 0..ROUNDS {
            let mut seen: Vec<Did> = Vec::new();
            while seen.len() < everybody.len() {
                let page = rig.directory.page(&stays, seen.last(), 7).unwrap();
                assert!(!page.is_empty(), "{} of {}", seen.len(), everybody.len());
                seen.extend(page);
            }
            assert_eq!(seen, everybody);
            assert!(rig.directory.counts().get(&stays) == Some(&u64::from(ACCOUNTS)));
        }
    });
    for collection in [&posts, &likes, &stays] {
        assert_eq!(rig.page(collection), everybody, "{collection}");
    }
    let expected = [posts, likes, stays].map(|collection| (collection, u64::from(ACCOUNTS)));
    let counts = BTreeMap::from(expected);
    assert_eq!(rig.directory.counts(), counts);
    assert_eq!(rig.restarted().directory.counts(), counts);
}
