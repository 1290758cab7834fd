//! What is reported of the domains that a spec bans. Pure.

use super::conditions::{BANS_APPLIED, Finding, Verdict, quote};
use crate::relay::bans::Bans;
use crate::relay::validate::ValidRelay;

/// The condition [`BANS_APPLIED`]; `None` where no domain is banned by the spec, and none was.
pub(super) fn finding(relay: &ValidRelay, bans: &Bans) -> Option<Finding> {
    if !bans.is_declared && bans.ours.is_empty() {
        return None;
    }
    let found = |verdict, reason, message: &str| Finding::new(BANS_APPLIED, verdict, reason, quote(message));
    let applied = || found(Verdict::Good, "Applied", "The relay bans every domain of spec.upstream.bannedDomains.");
    let declared = &relay.settings.upstream.banned_domains;
    let was_applied = declared.iter().all(|domain| bans.ours.contains(domain))
        && bans.ours.iter().all(|ours| declared.contains(ours));
    Some(match &bans.trouble {
        None => applied(),
        // What it has decided it keeps while it is away.
        Some(trouble) if trouble.is_silence() && was_applied => applied(),
        Some(trouble) if trouble.is_silence() => found(Verdict::Waiting, trouble.reason(), &trouble.to_string()),
        Some(trouble) => found(Verdict::Bad, trouble.reason(), &trouble.to_string()),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::relay::bans::Trouble;
    use crate::relay::fixtures::{valid, world};
    use crate::relay_admin::AskError;

    #[test]
    fn what_the_relay_has_decided_it_keeps_while_it_is_away() {
        let relay = |banned: &[&str]| {
            valid(&json!({"hostname": "relay.test", "upstream": {"bannedDomains": banned}}), &world())
        };
        let bans = |is_declared, ours: &[&str], trouble| Bans {
            ours: ours.iter().map(|domain| (*domain).to_owned()).collect(),
            is_declared,
            trouble,
        };
        let refused =
            || Trouble::Ask { domain: "a".into(), verb: "banned", source: AskError::Refused("no domain".into()) };
        #[rustfmt::skip]
        let table = [
            (relay(&[]), bans(false, &[], None), None),
            (relay(&["a"]), bans(true, &["a"], None), Some("True Applied")),
            (relay(&["a"]), bans(true, &["a"], Some(Trouble::NoPod)), Some("True Applied")),
            (relay(&["a"]), bans(true, &[], Some(Trouble::NoPod)), Some("False RelayUnavailable")),
            (relay(&["a"]), bans(true, &["a", "b"], Some(Trouble::Away(AskError::TimedOut))), Some("False RelayUnavailable")),
            (relay(&[]), bans(false, &["a"], Some(Trouble::Paused)), Some("False RelayPaused")),
            (relay(&["a"]), bans(true, &[], Some(refused())), Some("False ApplyFailed")),
        ];
        for (relay, bans, want) in table {
            let got = finding(&relay, &bans).map(|found| format!("{} {}", found.status(), found.reason));
            assert_eq!(got.as_deref(), want, "{bans:?}");
        }
    }
}
