//! What others can make the resolver do, and how often.

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

/// Protocol 29: after a migration it is the new host that says so, a stranger until then.
#[tokio::test]
async fn what_a_stranger_says_is_looked_up_however_often_it_was_just_asked_for() {
    let interval = Duration::from_millis(300);
    let rig = Rig::with(Lifetimes { refresh_interval: interval, refresh_burst: 1, ..Lifetimes::default() }, true).await;
    let did = plc(0);
    for number in 0..3 {
        let host = format!("pds{number}.example.com");
        rig.server.set(&did, document(&did, &format!("https://{host}")));
        assert_eq!(host_of(&rig.suggested(&did).await), Some(host.as_str()));
    }
    assert_eq!(rig.server.requests(&did), 3);
}

#[tokio::test]
async fn who_has_to_know_waits_for_a_turn() {
    let interval = Duration::from_millis(300);
    let rig = Rig::with(Lifetimes { refresh_interval: interval, refresh_burst: 1, ..Lifetimes::default() }, true).await;
    let did = plc(0);
    rig.server.set(&did, document(&did, PDS));
    rig.forced(&did).await.unwrap();
    rig.server.set(&did, document(&did, "https://new.example.com"));
    assert_eq!(host_of(&rig.forced(&did).await), Some("pds.example.com"), "just asked for: what is known will do");
    let awaited = rig.resolver.resolve(&did, Freshness::Awaited).await;
    assert_eq!(host_of(&awaited), Some("new.example.com"), "it is never answered from memory");
    assert_eq!(rig.server.requests(&did), 2);
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

/// Protocol 16: the resolver's rate is limited for each server.
#[tokio::test]
async fn a_did_web_host_that_asks_for_rest_gets_it_and_the_directory_goes_on() {
    let rig = Rig::new().await;
    let [web, plc] = [Did::parse(&format!("did:web:localhost%3A{}", rig.server.port)).unwrap(), plc(0)];
    rig.server.set(&web, Behaviour::RefuseUntil(StatusCode::TOO_MANY_REQUESTS, 60));
    rig.server.set(&plc, document(&plc, PDS));
    assert!(matches!(rig.cached(&web).await, Err(Transient::Refused { status: 429, .. })));
    let error = rig.cached(&web).await.unwrap_err();
    assert!(matches!(error, Transient::Paused { .. }), "{error:?}");
    assert_eq!(rig.server.requests(&web), 1, "it is left alone");
    assert_eq!(host_of(&rig.cached(&plc).await), Some("pds.example.com"));
    let stats = rig.resolver.stats();
    assert!(stats.requests().any(|counted| counted == ("web", "rate_limited", 1)));
    assert_eq!(counted(&stats.paused), 1);
}

#[tokio::test]
async fn a_server_that_fails_is_left_alone_for_a_while() {
    let rig = Rig::new().await;
    let web = Did::parse(&format!("did:web:localhost%3A{}", rig.server.port)).unwrap();
    for did in [plc(0), web] {
        rig.server.set(&did, Behaviour::Refuse(StatusCode::SERVICE_UNAVAILABLE));
        let mut tries = 0;
        while !matches!(rig.cached(&did).await, Err(Transient::Paused { .. })) {
            tries += 1;
            assert!(tries < 20, "{did} is asked again and again");
        }
        assert_eq!(rig.server.requests(&did), tries);
    }
}

/// Protocol 16: an absence is remembered for minutes.
#[tokio::test]
async fn an_absence_is_not_remembered_for_long() {
    let rig = Rig::with(Lifetimes { absent: Duration::from_millis(300), ..Lifetimes::default() }, true).await;
    let did = plc(0);
    assert_eq!(rig.cached(&did).await, Ok(None));
    assert_eq!(rig.resolver.get(&did), Lookup::Absent);
    assert_eq!(counted(&rig.resolver.stats().negative_hits), 1);
    rig.server.set(&did, document(&did, PDS));
    while rig.resolver.get(&did) == Lookup::Absent {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(host_of(&rig.cached(&did).await), Some("pds.example.com"));
}
