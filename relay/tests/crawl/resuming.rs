//! Nothing is lost: after a kill at any step, with hosts that fail now and then, or for long.

use std::time::Duration;

use relay::backfill::{Part, Step, Trouble, Work};
use sim::Host;
use sim::directory::Fault;
use sim::host::Question;

use crate::rig::{LIKES, POSTS, Rig, begin, run};

/// The steps of a part from its begin, each with where it begins.
async fn steps(work: &dyn Work, mut part: Part) -> Vec<(Part, Step)> {
    let mut steps = Vec::new();
    loop {
        let step = work.step(&part).await.unwrap();
        let next = Part { cursor: step.cursor.clone(), seen: part.seen + step.seen, ..part.clone() };
        steps.push((part, step));
        part = next;
        if part.cursor.is_none() {
            return steps;
        }
    }
}

/// Runs a work to its end from each of its steps, always as a new process would, and compares what it finds.
async fn check_resuming(new: &dyn Fn() -> Box<dyn Work>, begin: Part, at_least: usize) {
    let undisturbed = steps(&*new(), begin).await;
    assert!(undisturbed.len() >= at_least, "{} steps", undisturbed.len());
    for (index, (part, _)) in undisturbed.iter().enumerate() {
        let resumed = steps(&*new(), part.clone()).await;
        assert_eq!(resumed, undisturbed[index..], "from step {index}, {:?}", part.cursor);
    }
}

#[tokio::test]
async fn a_crawl_goes_on_from_any_step_as_if_nothing_had_been() {
    let host = Host::start().await;
    let rig = Rig::new(40, &[&host]).await;
    rig.accounts(&host, 130, &[POSTS]);
    for page_max in [130, 50, 21, 20, 7] {
        host.set_page_max(page_max);
        check_resuming(&|| Box::new(rig.crawl(&[&host])), begin(host.name()), 7).await;
    }
}

#[tokio::test]
async fn a_verification_goes_on_from_any_step_as_if_nothing_had_been() {
    let host = Host::start().await;
    let rig = Rig::new(41, &[&host]).await;
    for did in rig.accounts(&host, 130, &[POSTS]) {
        rig.list(&did, &[POSTS, LIKES]);
    }
    check_resuming(&|| Box::new(rig.verify()), begin("all accounts"), 7).await;
}

#[tokio::test]
async fn a_crawl_reads_its_page_again_when_it_has_changed_meanwhile() {
    let host = Host::start().await;
    let rig = Rig::new(42, &[&host]).await;
    let mut dids = rig.accounts(&host, 60, &[POSTS]);
    let first = rig.crawl(&[&host]).step(&begin(host.name())).await.unwrap();
    assert_eq!(first.seen, 20);
    // The account where it was is not there any more: nobody can say what else has changed.
    host.remove_account(dids.remove(19).as_str());
    let part = Part { cursor: first.cursor, seen: 20, ..begin(host.name()) };
    let found = run(&rig.crawl(&[&host]), part).await.unwrap();
    assert_eq!(found.pairs.into_keys().collect::<Vec<_>>(), dids, "the whole page, once more");
}

#[tokio::test]
async fn a_cursor_that_nobody_knows_begins_the_host_anew() {
    let host = Host::start().await;
    let rig = Rig::new(43, &[&host]).await;
    rig.accounts(&host, 30, &[POSTS]);
    host.set_page_max(10);
    let crawl = rig.crawl(&[&host]);
    let first = crawl.step(&begin(host.name())).await.unwrap();
    host.set_fault(Question::Accounts, Some(Fault::CursorExpired));
    for cursor in [first.cursor, Some("from another version".to_owned())] {
        let end = crawl.step(&Part { cursor: cursor.clone(), ..begin(host.name()) }).await;
        assert!(matches!(end, Err(Trouble::Restart(_))), "{cursor:?}: {end:?}");
    }
}

#[tokio::test]
async fn nothing_is_left_out_when_requests_fail() {
    for every in [2, 3, 5] {
        let host = Host::start().await;
        let rig = Rig::new(44, &[&host]).await;
        let dids = rig.accounts(&host, 150, &[POSTS]);
        host.set_page_max(40);
        host.fail_every(every);
        let found = run(&rig.crawl(&[&host]), begin(host.name())).await.unwrap();
        assert_eq!(found.pairs.into_keys().collect::<Vec<_>>(), dids, "one request of {every} fails");
        assert_eq!(found.classes.values().sum::<u64>(), 150, "each is counted once");
        assert!(host.questions(Question::Collections) > 150, "and asked for again where it failed");
    }
}

#[tokio::test]
async fn a_host_that_is_away_is_waited_for_and_its_accounts_are_not_put_off() {
    let mut host = Host::start().await;
    let rig = Rig::new(45, &[&host]).await;
    let dids = rig.accounts(&host, 50, &[POSTS]);
    let crawl = rig.crawl(&[&host]);
    let first = crawl.step(&begin(host.name())).await.unwrap();
    let part = Part { cursor: first.cursor, seen: 20, ..begin(host.name()) };
    host.down().await;
    let waits = crawl.step(&part).await;
    assert!(matches!(waits, Err(Trouble::Wait { after: None, .. })), "{waits:?}");
    host.up().await;
    let found = run(&crawl, part).await.unwrap();
    assert_eq!(found.pairs.into_keys().collect::<Vec<_>>(), dids[20..]);
    assert_eq!(host.questions(Question::Collections), 50, "each was asked for once");
}

#[tokio::test]
async fn a_host_that_is_busy_is_left_alone_for_as_long_as_it_says() {
    let host = Host::start().await;
    let rig = Rig::new(46, &[&host]).await;
    rig.accounts(&host, 30, &[POSTS]);
    let crawl = rig.crawl(&[&host]);
    host.fail_next(Question::Collections, 1, Fault::Busy(Some(30)));
    for asked in [1, 1, 1] {
        let waits = crawl.step(&begin(host.name())).await;
        let Err(Trouble::Wait { after: Some(after), .. }) = waits else { panic!("{waits:?}") };
        assert!(after > Duration::from_secs(25) && after <= Duration::from_secs(30), "{after:?}");
        assert_eq!(host.questions(Question::Collections), asked, "it is not asked meanwhile");
    }
}

#[tokio::test]
async fn accounts_that_never_get_an_answer_do_not_hold_up_the_others() {
    let host = Host::start().await;
    let rig = Rig::new(47, &[&host]).await;
    let dids = rig.accounts(&host, 30, &[POSTS]);
    let broken = [&dids[..5], &dids[12..13], &dids[20..24]].concat();
    broken.iter().for_each(|did| host.set_fault_for(did.as_str(), Some(Fault::Status(500))));
    let crawl = rig.crawl(&[&host]);
    let (mut part, mut again, mut edits) = (begin(host.name()), Vec::new(), 0);
    loop {
        match crawl.step(&part).await {
            Ok(step) => {
                again.extend(step.again.into_iter().map(|(did, _)| did));
                edits += step.edits.len();
                part.cursor = step.cursor;
                if part.cursor.is_none() {
                    break;
                }
            }
            Err(Trouble::Wait { .. }) => {}
            Err(trouble) => panic!("{trouble:?}"),
        }
    }
    assert_eq!((again, edits), (broken.clone(), 20), "all the others were described");

    // Nor do they when they are tried again, all of them in vain.
    let step = loop {
        match crawl.retry(&part, &broken).await {
            Ok(step) => break step,
            Err(trouble) => assert!(matches!(trouble, Trouble::Wait { .. }), "{trouble:?}"),
        }
    };
    assert_eq!((step.again.len(), step.edits.len()), (10, 0));
    broken.iter().for_each(|did| host.set_fault_for(did.as_str(), None));
    let step = crawl.retry(&part, &broken).await.unwrap();
    assert_eq!((step.again.len(), step.edits.len(), step.seen), (0, 10, 0), "they were counted when they were listed");
}

#[tokio::test]
async fn a_host_that_is_away_for_very_long_is_given_up() {
    let mut host = Host::start().await;
    let rig = Rig::new(48, &[&host]).await;
    host.down().await;
    let crawl = rig.crawl(&[&host]);
    for wait in 0..150 {
        let waits = crawl.step(&begin(host.name())).await;
        assert!(matches!(waits, Err(Trouble::Wait { .. })), "wait {wait}: {waits:?}");
    }
    let end = crawl.step(&begin(host.name())).await;
    assert!(matches!(&end, Err(Trouble::Fail(reason)) if reason.contains(host.name())), "{end:?}");
}
