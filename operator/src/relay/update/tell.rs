//! What is said of an update: a condition, and Events when it turns. Pure.

use kube::runtime::events::{Event, EventType};

use crate::api::{UpdatePhase, UpdateStatus};
use crate::relay::report::{Finding, UPDATED, Verdict, quote};

/// What the condition says.
pub(in crate::relay) fn finding(update: Option<&UpdateStatus>) -> Finding {
    let found = |verdict, reason, message: String| Finding::new(UPDATED, verdict, reason, message);
    let Some(update) = update else {
        return found(Verdict::Unknown, "Unknown", "Nobody has looked yet.".into());
    };
    let said = update.message.clone().unwrap_or_default();
    let last_good = update.last_good.as_deref().unwrap_or_default();
    let name = update.phase.name();
    if let Some(refused) = &update.refused {
        let message = format!("The pod is to be replaced, but its eviction is refused: {}", refused.message);
        return found(Verdict::Bad, "EvictionRefused", quote(&message));
    }
    let (verdict, message) = match update.phase {
        UpdatePhase::UpToDate => (Verdict::Good, "The pod has the wanted template, and has proved itself.".into()),
        UpdatePhase::WaitingForWindow => (Verdict::Waiting, said),
        UpdatePhase::Applying => (Verdict::Waiting, "The StatefulSet gets the wanted template.".into()),
        UpdatePhase::Evicting => (Verdict::Waiting, "The pod is told to go; another follows it.".into()),
        UpdatePhase::Starting => (Verdict::Waiting, "The new pod is not ready yet.".into()),
        UpdatePhase::Proving => {
            (Verdict::Waiting, "The new pod is ready, and does not deliver yet what was delivered before.".into())
        }
        UpdatePhase::RollingBack => (Verdict::Bad, format!("{said} The template of {last_good} is put back.")),
        UpdatePhase::RolledBack => {
            let next = "The next change of the spec that concerns the pod is tried; for another try of this one, set the annotation relay.waow.tech/restart-requested-at.";
            (Verdict::Bad, format!("{said} The pod has the template of {last_good} again. {next}"))
        }
        UpdatePhase::Failed => {
            let next = "is not there any more, so nothing was put back: change the spec.";
            (Verdict::Bad, format!("{said} The template of {last_good} {next}"))
        }
    };
    found(verdict, name, message)
}

/// What has happened since `before` was reported.
pub(in crate::relay) fn events(before: Option<&UpdateStatus>, now: Option<&UpdateStatus>) -> Vec<Event> {
    let (Some(before), Some(now)) = (before, now) else { return Vec::new() };
    let event = |type_, reason: &str, note: String| Event {
        type_,
        reason: reason.into(),
        note: Some(quote(&note)),
        action: "Update".into(),
        secondary: None,
    };
    let revision = now.revision.as_deref().unwrap_or_default();
    let last_good = now.last_good.as_deref().unwrap_or_default();
    let mut news = Vec::new();
    if let Some(refused) = now.refused.as_ref().filter(|_| before.refused.is_none()) {
        let note = format!("The pod is to be replaced, but its eviction is refused: {}", refused.message);
        news.push(event(EventType::Warning, "EvictionRefused", note));
    }
    let is_proved = before.last_good.is_some() && now.last_good != before.last_good;
    if is_proved && !now.phase.is_moving() {
        news.push(event(EventType::Normal, "UpdateProved", format!("The pod of {revision} has proved itself.")));
    }
    if before.phase == now.phase && before.pod_uid == now.pod_uid {
        return news;
    }
    let message = finding(Some(now)).message;
    news.extend(match now.phase {
        UpdatePhase::Evicting if now.last_good == now.revision => {
            let note = "A restart is asked for: the pod is told to go; another follows it.";
            Some(event(EventType::Normal, "RestartStarted", note.into()))
        }
        UpdatePhase::Evicting => {
            let note = format!("The pod is replaced by one of {revision}; that of {last_good} was the last good one.");
            Some(event(EventType::Normal, "UpdateStarted", note))
        }
        UpdatePhase::RollingBack if before.phase != now.phase => {
            Some(event(EventType::Warning, "UpdateFailed", message))
        }
        UpdatePhase::RolledBack => Some(event(EventType::Warning, "UpdateRolledBack", message)),
        UpdatePhase::Failed => Some(event(EventType::Warning, "RollBackFailed", message)),
        UpdatePhase::WaitingForWindow => Some(event(EventType::Normal, "UpdateWaiting", message)),
        _ => None,
    });
    news
}
