//! Hosts that lie: a crawl of them ends, with a reason.

use relay::backfill::{Part, Trouble, Work};
use sim::Host;
use sim::directory::Fault;
use sim::host::Question;

use crate::rig::{POSTS, Rig, begin, run};

#[tokio::test]
async fn a_list_that_lies_fails_with_the_reason() {
    let cases = [
        (Fault::CursorCycle(1), "the same accounts again"),
        (Fault::CursorCycle(3), "the same accounts again"),
        (Fault::EndlessSame, "the same accounts again"),
        (Fault::EndlessMadeUp, "not its own"),
        (Fault::WrongTypes, "invalid type"),
        (Fault::Html, "HTML"),
        (Fault::HugeBody, "longer than 2097152 bytes"),
        (Fault::Overfull(60_000), "longer than 2097152 bytes"),
        (Fault::HugeCursor(1025), "cursor is longer than 1024 bytes"),
        (Fault::Error(404, "MethodNotFound".to_owned()), "404"),
        (Fault::Status(501), "501"),
    ];
    for (fault, reason) in cases {
        let host = Host::start().await;
        let rig = Rig::new(20, &[&host]).await;
        rig.accounts(&host, 30, &[POSTS]);
        host.set_page_max(10);
        host.set_fault(Question::Accounts, Some(fault.clone()));
        let end = run(&rig.crawl(&[&host]), begin(host.name())).await;
        assert!(matches!(&end, Err(Trouble::Fail(said)) if said.contains(reason)), "{fault:?}: {end:?}");
    }
}

#[tokio::test]
async fn a_page_without_accounts_is_the_last() {
    let host = Host::start().await;
    let rig = Rig::new(21, &[&host]).await;
    host.set_fault(Question::Accounts, Some(Fault::EndlessEmpty));
    let found = run(&rig.crawl(&[&host]), begin(host.name())).await.unwrap();
    assert_eq!((found.seen, host.questions(Question::Accounts)), (0, 1));
}

#[tokio::test]
async fn more_accounts_than_the_network_has_are_not_read() {
    let host = Host::start().await;
    let rig = Rig::new(22, &[&host]).await;
    let end = rig.crawl(&[&host]).step(&Part { seen: 50_000_001, ..begin(host.name()) }).await;
    assert!(matches!(&end, Err(Trouble::Fail(said)) if said.contains("more than 50000000 accounts")), "{end:?}");
}

#[tokio::test]
async fn what_is_no_did_is_counted_and_spoils_nothing() {
    let host = Host::start().await;
    let rig = Rig::new(23, &[&host]).await;
    rig.accounts(&host, 3, &[POSTS]);
    host.fail_next(Question::Accounts, 1, Fault::MalformedDid);
    let found = run(&rig.crawl(&[&host]), begin(host.name())).await.unwrap();
    assert_eq!((found.seen, found.classes()), (3, vec![("malformed", 1), ("mended", 2)]));

    host.set_fault(Question::Accounts, Some(Fault::ForeignDids));
    let found = run(&rig.crawl(&[&host]), begin(host.name())).await.unwrap();
    assert_eq!((found.seen, found.classes()), (4, vec![("malformed", 4)]));
}

#[tokio::test]
async fn answers_that_make_no_sense_fail_a_host_when_there_are_no_others() {
    for fault in [Fault::WrongTypes, Fault::Html, Fault::HugeBody, Fault::Error(403, "Forbidden".to_owned())] {
        let host = Host::start().await;
        let rig = Rig::new(24, &[&host]).await;
        let dids = rig.accounts(&host, 12, &[POSTS]);
        host.set_fault(Question::Collections, Some(fault.clone()));
        let end = run(&rig.crawl(&[&host]), begin(host.name())).await;
        assert!(matches!(&end, Err(Trouble::Fail(_))), "{fault:?}: {end:?}");
        assert_eq!(host.questions(Question::Collections), 10, "{fault:?}");

        // Of one account alone they are a matter of that account.
        host.set_fault(Question::Collections, None);
        host.set_fault_for(dids[5].as_str(), Some(fault.clone()));
        let step = rig.crawl(&[&host]).step(&begin(host.name())).await.unwrap();
        let again: Vec<_> = step.again.iter().map(|(did, _)| did).collect();
        assert_eq!((step.seen, step.edits.len(), again), (12, 11, vec![&dids[5]]), "{fault:?}");
    }
}

#[tokio::test]
async fn an_answer_for_somebody_else_is_not_taken() {
    let host = Host::start().await;
    let rig = Rig::new(25, &[&host]).await;
    let dids = rig.accounts(&host, 2, &[POSTS]);
    host.set_fault_for(dids[0].as_str(), Some(Fault::OtherDid));
    let step = rig.crawl(&[&host]).step(&begin(host.name())).await.unwrap();
    assert_eq!((step.again.len(), step.edits.len()), (1, 1), "{:?}", step.again);
    assert_eq!(step.again[0].0, dids[0]);
}
