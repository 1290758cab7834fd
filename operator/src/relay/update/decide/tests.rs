#![allow(clippy::unwrap_used)]

use super::*;
use crate::api::RefusalStatus;

mod random;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn delivers(events: f64, hosts: f64) -> DeliveryStatus {
    DeliveryStatus { events_per_second: Some(events), hosts_connected: Some(hosts) }
}

/// What is told of a relay whose pod has the template `a`, and delivers.
fn told() -> UpdateStatus {
    UpdateStatus {
        phase: UpdatePhase::UpToDate,
        since: Time(at(0)),
        message: None,
        revision: Some("demo-a".into()),
        last_good: Some("demo-a".into()),
        last_good_config: Some("config-a".into()),
        failed: None,
        pod_uid: None,
        refused: None,
        restart: None,
        before: Some(delivers(100.0, 10.0)),
        now: None,
    }
}

/// The same relay on its way to the template `b`.
fn moving(phase: UpdatePhase) -> UpdateStatus {
    UpdateStatus { phase, revision: Some("demo-b".into()), ..told() }
}

/// After `b` has failed.
fn failed(phase: UpdatePhase) -> UpdateStatus {
    UpdateStatus { failed: Some("b".into()), message: Some("It failed.".into()), ..moving(phase) }
}

fn going(status: UpdateStatus) -> UpdateStatus {
    UpdateStatus { pod_uid: Some("pod-1".into()), ..status }
}

/// A StatefulSet with the template `template`, marked with `mark`.
fn set(template: &str, mark: &str) -> Set {
    Set {
        mark: Some(mark.into()),
        covers_wanted: template == mark,
        revision: Some(format!("demo-{template}")),
        config: Some(format!("config-{template}")),
    }
}

/// A pod of the template `template`, ready.
fn pod(uid: &str, template: &str) -> PodSeen {
    PodSeen {
        uid: uid.into(),
        revision: Some(format!("demo-{template}")),
        config: Some(format!("config-{template}")),
        is_ready: true,
        is_leaving: false,
    }
}

fn gate() -> Gate {
    Gate { min_percent: 80, within: "20m".into() }
}

/// The wanted template is `wanted`, the StatefulSet has it, and its pod is that.
fn sees(wanted: &str, pod: Option<PodSeen>) -> Seen {
    Seen {
        wanted: wanted.into(),
        set: Some(set(wanted, wanted)),
        pod,
        delivery: Some(delivers(100.0, 10.0)),
        since_told: Some(Duration::from_secs(30)),
        waits: None,
        restart: None,
        gate: Some(gate()),
        last_good_is_gone: false,
    }
}

/// What is decided at the second `second`, as `TEMPLATE PHASE`, with a `!` where the pod is to go.
fn decided(told: Option<&UpdateStatus>, seen: &Seen, second: i64) -> String {
    let decision = decide(told, seen, at(second));
    let mark = if decision.replaces { "!" } else { "" };
    format!("{:?} {}{mark}", decision.template, decision.status.phase.name())
}

#[test]
fn each_phase_follows_from_the_one_before_and_what_is_seen() {
    use UpdatePhase::{
        Applying, Evicting, Failed, Proving, RolledBack, RollingBack, Starting, UpToDate, WaitingForWindow,
    };
    let a = || Some(pod("pod-1", "a"));
    let b = || Some(pod("pod-2", "b"));
    let unready = |pod: Option<PodSeen>| pod.map(|pod| PodSeen { is_ready: false, ..pod });
    let leaving = |pod: Option<PodSeen>| pod.map(|pod| PodSeen { is_leaving: true, ..pod });
    let without_set = |seen: Seen| Seen { set: None, ..seen };
    let unseen = |mut seen: Seen| {
        seen.set.as_mut().unwrap().revision = None;
        seen
    };
    let quiet = |seen: Seen| Seen { delivery: Some(delivers(79.0, 10.0)), ..seen };
    let put_back = |wanted: &str, pod| Seen { set: Some(set("a", "demo-a")), ..sees(wanted, pod) };
    let not_yet = |wanted: &str, pod| Seen { set: Some(set("a", "a")), ..sees(wanted, pod) };
    let waiting = |seen: Seen| Seen { waits: Some("relay:2".into()), ..seen };
    let asking = |seen: Seen| Seen { restart: Some("now".into()), ..seen };
    let open = |seen: Seen| Seen { gate: None, ..seen };
    let gone = |seen: Seen| Seen { last_good_is_gone: true, ..seen };
    let refused = |status: UpdateStatus, second| UpdateStatus {
        refused: Some(RefusalStatus { at: Time(at(second)), message: "budget".into() }),
        ..status
    };
    let first = |status: UpdateStatus| UpdateStatus { last_good: None, ..status };
    let revision_b = |status: UpdateStatus| UpdateStatus { revision: Some("demo-b".into()), ..status };
    #[rustfmt::skip]
    let table: Vec<(&str, Option<UpdateStatus>, Seen, i64, &str)> = vec![
        ("a new relay", None, without_set(sees("a", None)), 0, "Wanted Applying"),
        ("its StatefulSet is new", Some(first(moving(Applying))), unseen(sees("a", None)), 0, "Wanted Applying"),
        ("no pod yet", Some(first(moving(Applying))), sees("a", None), 0, "Wanted Starting"),
        ("the first pod starts", Some(first(moving(Starting))), unready(a()).map_or(sees("a", None), |pod| sees("a", Some(pod))), 9, "Wanted Starting"),
        ("it has all the time it wants", Some(first(moving(Starting))), sees("a", unready(a())), 99_999, "Wanted Starting"),
        ("it is ready, whatever it delivers", Some(first(moving(Starting))), quiet(sees("a", a())), 9, "Wanted UpToDate"),
        ("an operator that is new here", None, sees("a", a()), 0, "Wanted UpToDate"),
        ("nothing new", Some(told()), sees("a", a()), 9, "Wanted UpToDate"),
        ("it restarts by itself", Some(told()), sees("a", unready(a())), 9, "Wanted UpToDate"),
        ("its node is drained", Some(told()), sees("a", leaving(a())), 9, "Wanted UpToDate"),
        ("nor is there another yet", Some(told()), sees("a", None), 9, "Wanted UpToDate"),
        ("a quiet hour", Some(told()), quiet(sees("a", a())), 9, "Wanted UpToDate"),

        ("another template", Some(told()), not_yet("b", a()), 9, "Wanted Applying"),
        ("its controller has not seen it", Some(told()), unseen(sees("b", a())), 9, "Wanted Applying"),
        ("it has; that is told first", Some(moving(Applying)), sees("b", a()), 9, "Wanted Evicting"),
        ("then the pod goes", Some(going(moving(Evicting))), sees("b", a()), 9, "Wanted Evicting!"),
        ("refused a moment ago", Some(refused(going(moving(Evicting)), 0)), sees("b", a()), 59, "Wanted Evicting"),
        ("refused a minute ago", Some(refused(going(moving(Evicting)), 0)), sees("b", a()), 60, "Wanted Evicting!"),
        ("it goes", Some(going(moving(Evicting))), sees("b", leaving(a())), 9, "Wanted Evicting"),
        ("it has gone", Some(going(moving(Evicting))), sees("b", None), 9, "Wanted Starting"),
        ("another has taken its place", Some(going(moving(Evicting))), sees("b", Some(pod("pod-2", "a"))), 9, "Wanted Evicting"),
        ("the new one is there", Some(going(moving(Evicting))), sees("b", unready(b())), 9, "Wanted Starting"),
        ("it takes its time", Some(moving(Starting)), sees("b", unready(b())), 1199, "Wanted Starting"),
        ("it is ready and delivers", Some(moving(Starting)), sees("b", b()), 9, "Wanted UpToDate"),
        ("it is ready and does not", Some(moving(Starting)), quiet(sees("b", b())), 9, "Wanted Proving"),
        ("and without a gate", Some(moving(Starting)), open(quiet(sees("b", b()))), 9, "Wanted UpToDate"),
        ("without a gate it may start for ever", Some(moving(Starting)), open(sees("b", unready(b()))), 99_999, "Wanted Starting"),
        ("it cannot be asked", Some(moving(Proving)), Seen { delivery: None, ..sees("b", b()) }, 9, "Wanted Proving"),
        ("it is no longer ready", Some(moving(Proving)), sees("b", unready(b())), 9, "Wanted Starting"),
        ("its node is drained meanwhile", Some(moving(Proving)), sees("b", leaving(b())), 9, "Wanted Starting"),
        ("it delivers late, and nobody looked", Some(moving(Proving)), sees("b", b()), 99_999, "Wanted UpToDate"),

        ("it never got ready", Some(moving(Starting)), sees("b", unready(b())), 1200, "Wanted RollingBack"),
        ("it could not be made", Some(moving(Starting)), sees("b", None), 1200, "Wanted RollingBack"),
        ("it delivers too little", Some(moving(Proving)), quiet(sees("b", b())), 1200, "Wanted RollingBack"),
        ("the template is put back", Some(failed(RollingBack)), sees("b", b()), 9, "LastGood RollingBack"),
        ("its revision has gone", Some(failed(RollingBack)), gone(sees("b", b())), 9, "AsFound Failed"),
        ("that stays so", Some(failed(Failed)), sees("b", b()), 9, "AsFound Failed"),
        ("its controller has not seen it", Some(failed(RollingBack)), unseen(put_back("b", b())), 9, "AsFound RollingBack"),
        ("it has; that is told first", Some(failed(RollingBack)), put_back("b", b()), 9, "AsFound RollingBack"),
        ("then the pod goes", Some(UpdateStatus { pod_uid: Some("pod-2".into()), ..failed(RollingBack) }), put_back("b", b()), 9, "AsFound RollingBack!"),
        ("it goes", Some(failed(RollingBack)), put_back("b", leaving(b())), 9, "AsFound RollingBack"),
        ("it has gone", Some(failed(RollingBack)), put_back("b", None), 9, "AsFound RollingBack"),
        ("the old one is there", Some(failed(RollingBack)), put_back("b", unready(Some(pod("pod-3", "a")))), 9, "AsFound RolledBack"),
        ("the failed one is not tried again", Some(failed(RolledBack)), put_back("b", Some(pod("pod-3", "a"))), 99_999, "AsFound RolledBack"),
        ("someone has changed the StatefulSet", Some(failed(RolledBack)), sees("b", Some(pod("pod-3", "a"))), 9, "LastGood RollingBack"),
        ("it was removed", Some(failed(RolledBack)), without_set(sees("b", None)), 9, "Wanted Applying"),
        ("another is wanted", Some(failed(RolledBack)), Seen { set: Some(set("a", "demo-a")), ..sees("c", Some(pod("pod-3", "a"))) }, 9, "Wanted Applying"),
        ("the old one is wanted again", Some(failed(RolledBack)), Seen { wanted: "a".into(), ..not_yet("a", Some(pod("pod-3", "a"))) }, 9, "Wanted UpToDate"),
        ("another is wanted while it is put back", Some(failed(RollingBack)), Seen { wanted: "c".into(), ..sees("b", b()) }, 9, "Wanted Applying"),
        ("the same is asked for again", Some(failed(RolledBack)), asking(put_back("b", Some(pod("pod-3", "a")))), 9, "Wanted Applying"),

        ("a new default image", Some(told()), waiting(sees("a", a())), 9, "Wanted WaitingForWindow"),
        ("it still waits", Some(UpdateStatus { phase: WaitingForWindow, ..told() }), waiting(sees("a", a())), 9, "Wanted WaitingForWindow"),
        ("the window opens", Some(UpdateStatus { phase: WaitingForWindow, ..told() }), not_yet("b", a()), 9, "Wanted Applying"),

        ("a restart, told first", Some(told()), asking(sees("a", a())), 9, "Wanted Evicting"),
        ("then the pod goes", Some(UpdateStatus { phase: Evicting, restart: Some("now".into()), ..going(told()) }), asking(sees("a", a())), 9, "Wanted Evicting!"),
        ("it has gone", Some(UpdateStatus { phase: Evicting, restart: Some("now".into()), ..going(told()) }), asking(sees("a", None)), 9, "Wanted Starting"),
        ("another starts", Some(UpdateStatus { phase: Starting, restart: Some("now".into()), ..told() }), asking(sees("a", unready(Some(pod("pod-2", "a"))))), 99_999, "Wanted Starting"),
        ("it is ready", Some(UpdateStatus { phase: Starting, restart: Some("now".into()), ..told() }), asking(sees("a", Some(pod("pod-2", "a")))), 9, "Wanted UpToDate"),
        ("once for each value", Some(UpdateStatus { phase: UpToDate, restart: Some("now".into()), ..told() }), asking(sees("a", Some(pod("pod-2", "a")))), 9, "Wanted UpToDate"),
        ("a new Relay has it already", None, asking(sees("a", a())), 9, "Wanted UpToDate"),
        ("an update comes first", Some(moving(Starting)), asking(sees("b", unready(b()))), 9, "Wanted Starting"),
        ("then it proves itself", Some(moving(Starting)), asking(sees("b", b())), 9, "Wanted UpToDate"),
        ("a change of mind", Some(going(moving(Evicting))), sees("a", a()), 9, "Wanted UpToDate"),
        ("another mind", Some(going(revision_b(moving(Evicting)))), Seen { set: Some(set("c", "c")), ..sees("c", a()) }, 9, "Wanted Evicting!"),
    ];
    for (case, told, seen, second, want) in table {
        assert_eq!(decided(told.as_ref(), &seen, second), want, "{case}");
    }
}

#[test]
fn what_was_before_is_held_while_an_update_is_under_way() {
    let before = |told: &UpdateStatus, seen: &Seen| decide(Some(told), seen, at(9)).status.before.unwrap();
    let half = |seen: Seen| Seen { delivery: Some(delivers(50.0, 5.0)), ..seen };
    let events = before(&told(), &half(sees("a", Some(pod("pod-1", "a"))))).events_per_second.unwrap();
    assert!(events < 100.0 && events > 90.0, "it follows slowly: {events}");
    let a = Some(pod("pod-1", "a"));
    for seen in [half(sees("b", a.clone())), half(sees("b", Some(pod("pod-2", "b"))))] {
        assert_eq!(before(&moving(UpdatePhase::Evicting), &seen), delivers(100.0, 10.0));
    }
    let unready = a.map(|pod| PodSeen { is_ready: false, ..pod });
    assert_eq!(
        before(&told(), &half(sees("a", unready))),
        delivers(100.0, 10.0),
        "a pod that is not ready is not asked"
    );
}

#[test]
fn what_has_failed_is_said_by_how_much_and_stays_said() {
    let quiet = Seen { delivery: Some(delivers(1.25, 10.0)), ..sees("b", Some(pod("pod-2", "b"))) };
    let status = decide(Some(&moving(UpdatePhase::Proving)), &quiet, at(1200)).status;
    let message = status.message.clone().unwrap();
    assert_eq!(
        message,
        "The pod of demo-b has not proved itself within 20m: it delivers 1.25 of 100 events per second of before, less than 80 %."
    );
    assert_eq!((status.failed.as_deref(), status.now), (Some("b"), Some(delivers(1.25, 10.0))));
    let back = Seen { set: Some(set("a", "demo-a")), ..sees("b", Some(pod("pod-3", "a"))) };
    let rolled_back = decide(Some(&status), &back, at(1300)).status;
    assert_eq!((rolled_back.phase, rolled_back.message), (UpdatePhase::RolledBack, Some(message)));

    let unready = Some(PodSeen { is_ready: false, ..pod("pod-2", "b") });
    for (pod, want) in [(unready, "it is not ready."), (None, "it is not even there.")] {
        let status = decide(Some(&moving(UpdatePhase::Starting)), &sees("b", pod), at(1200)).status;
        assert!(status.message.unwrap().ends_with(want), "{want}");
    }
}

#[test]
fn what_has_proved_itself_is_what_is_put_back() {
    let status = decide(Some(&moving(UpdatePhase::Proving)), &sees("b", Some(pod("pod-2", "b"))), at(9)).status;
    assert_eq!((status.last_good.as_deref(), status.last_good_config.as_deref()), (Some("demo-b"), Some("config-b")));
    // Nobody has told of it, and the pod works: that is what there is to go back to.
    let status = decide(None, &sees("b", Some(pod("pod-1", "a"))), at(9)).status;
    assert_eq!((status.last_good.as_deref(), status.last_good_config.as_deref()), (Some("demo-a"), Some("config-a")));
    let unready = Some(PodSeen { is_ready: false, ..pod("pod-1", "a") });
    assert_eq!(decide(None, &sees("b", unready), at(9)).status.last_good, None, "it does not work");
}

#[test]
fn the_time_of_a_proof_is_one_for_starting_and_proving() {
    let b = |is_ready| Seen { delivery: None, ..sees("b", Some(PodSeen { is_ready, ..pod("pod-2", "b") })) };
    let mut status = moving(UpdatePhase::Evicting);
    for second in 100..110 {
        status = decide(Some(&status), &b(second % 2 == 0), at(second)).status;
        assert_eq!(status.since.0, at(100), "it does not begin anew");
    }
}
