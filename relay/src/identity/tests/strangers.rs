//! Changes that are announced by hosts that are not the account's.

use super::*;

impl Rig {
    async fn suggested(&self, did: &Did) -> Landing {
        self.resolver.resolve(did, Freshness::Suggested).await
    }
}

#[tokio::test]
async fn what_a_stranger_says_is_looked_up() {
    let rig = Rig::new().await;
    let did = plc(0);
    rig.server.set(&did, document(&did, PDS));
    rig.cached(&did).await.unwrap();
    rig.server.set(&did, document(&did, "https://new.example.com"));
    assert_eq!(host_of(&rig.suggested(&did).await), Some("new.example.com"));
    assert_eq!(host_of(&rig.cached(&did).await), Some("new.example.com"));
}

#[tokio::test]
async fn a_stranger_holds_up_nobody_while_the_directory_is_down() {
    let rig = Rig::new().await;
    let [known, unknown] = [plc(0), plc(1)];
    rig.server.set(&known, document(&known, PDS));
    rig.cached(&known).await.unwrap();
    for did in [&known, &unknown] {
        rig.server.set(did, Behaviour::Refuse(StatusCode::BAD_GATEWAY));
    }
    assert_eq!(host_of(&rig.suggested(&known).await), Some("pds.example.com"), "what is known will do");
    assert!(rig.suggested(&unknown).await.is_err(), "nothing is known");
}

#[tokio::test]
async fn a_stranger_holds_up_nobody_by_repeating_itself() {
    let rig = Rig::with(Lifetimes { refresh_interval: NEVER, ..Lifetimes::default() }, true).await;
    let did = plc(0);
    rig.server.set(&did, document(&did, PDS));
    for _ in 0..20 {
        assert_eq!(host_of(&rig.suggested(&did).await), Some("pds.example.com"));
    }
    assert_eq!(rig.server.requests(&did), rig.lifetimes.refresh_burst as usize);
}

#[tokio::test]
async fn a_host_that_asks_for_many_accounts_of_others_is_refused() {
    let rig = Rig::new().await;
    let granted = |host| (0..1000).filter(|_| rig.resolver.may_refresh_foreign(host)).count();
    let of_first = granted(1);
    assert!((1..500).contains(&of_first), "{of_first}");
    assert!(granted(2) > 0, "another host has its own budget");
    assert!(counted(&rig.resolver.stats().foreign_refused) > 500);
}
