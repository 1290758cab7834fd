//! `drain`: a restart in good order. The command asks for it by an annotation of the Relay; the operator evicts the pod, and
//! the relay stores what it has and tells its consumers before it ends. Nothing is lost by it.

use std::io::Write;
use std::time::Duration;

use anyhow::{Context, bail};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use kube::api::{Patch, PatchParams};
use relay_operator::relay::pod_name;
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::cluster::{Cluster, Common, Output, Seen, object_name};
use super::text::{DIM, moment, paint, plain};

/// The annotation: its value is the time at which the restart was asked for, and each new one is one restart.
const RESTART_REQUESTED_AT: &str = "relay.waow.tech/restart-requested-at";
/// Under which name the annotation is written.
const MANAGER: &str = "kubectl-relay";
/// Time between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Flags of `drain`.
#[derive(clap::Args)]
pub struct Args {
    /// Name of the Relay.
    #[arg(value_parser = object_name)]
    name: String,

    /// Wait until the new pod is ready, and the Relay too if it was. Ctrl-C ends the waiting, not the restart.
    #[arg(long)]
    wait: bool,

    /// How many seconds to wait at most.
    #[arg(long, value_name = "SECONDS", default_value_t = 900, requires = "wait")]
    timeout: u64,

    #[command(flatten)]
    common: Common,
}

/// Asks for a restart, and waits for its end where that is wanted.
pub async fn run(args: Args, out: &mut impl Write) -> anyhow::Result<()> {
    let cluster = args.common.connect().await?;
    let relay = cluster.relay(&args.name).await?;
    if relay.is_paused() {
        bail!("spec.paused is true: the operator changes nothing of {}; take it away first", args.name);
    }
    let pod_name = pod_name(&args.name);
    let pod = cluster.pods().get_opt(&pod_name).await;
    let pod = pod.with_context(|| format!("the pod {pod_name} cannot be read"))?;
    let Some(pod) = pod else {
        bail!("there is no pod {pod_name} to restart; `kubectl relay status {}` says why", args.name)
    };
    let before = Before { uid: pod.uid(), was_ready: is_ready(&relay) };
    let asked_at = Timestamp::now();
    let patch = json!({"metadata": {"annotations": {RESTART_REQUESTED_AT: asked_at.to_string()}}});
    let params = PatchParams { field_manager: Some(MANAGER.into()), ..PatchParams::default() };
    cluster
        .relays()
        .patch(&args.name, &params, &Patch::Merge(&patch))
        .await
        .context("the Relay cannot be annotated")?;

    let mut teller = Teller { is_on: args.common.output == Output::Text, last: String::new() };
    teller.tell(out, &format!("A restart of {}/{} is asked for.", cluster.namespace, args.name))?;
    let new_pod = if args.wait { wait(&cluster, &args, &before, &mut teller, out).await? } else { None };
    if args.common.output == Output::Json {
        let answer = json!({
            "namespace": cluster.namespace, "name": args.name, "requestedAt": asked_at,
            "oldPod": before.uid, "newPod": new_pod,
        });
        writeln!(out, "{answer:#}")?;
    }
    Ok(())
}

/// Waits for the new pod, and gives its uid.
async fn wait(
    cluster: &Cluster,
    args: &Args,
    before: &Before,
    teller: &mut Teller,
    out: &mut impl Write,
) -> anyhow::Result<Option<String>> {
    let deadline = Instant::now() + Duration::from_secs(args.timeout);
    loop {
        let pod = cluster.pods().get_opt(&pod_name(&args.name)).await?;
        let relay = cluster.relay(&args.name).await?;
        match progress(before, pod.as_ref(), &relay) {
            Progress::Done(text) => {
                teller.tell(out, &text)?;
                return Ok(pod.and_then(|pod| pod.uid()));
            }
            Progress::Waiting(text) => {
                teller.tell(out, &text)?;
                if Instant::now() >= deadline {
                    bail!("the restart is not over after {} s; it goes on: {text}", args.timeout);
                }
            }
        }
        sleep(LOOK_EVERY).await;
    }
}

/// Tells people what is new.
struct Teller {
    is_on: bool,
    last: String,
}

impl Teller {
    fn tell(&mut self, out: &mut impl Write, text: &str) -> anyhow::Result<()> {
        if self.is_on && self.last != text {
            writeln!(out, "{}  {}", paint(&moment(Timestamp::now()), DIM), plain(text))?;
            out.flush()?;
            text.clone_into(&mut self.last);
        }
        Ok(())
    }
}

/// How it was before the restart.
struct Before {
    uid: Option<String>,
    was_ready: bool,
}

/// How far a restart is.
#[derive(Debug, PartialEq)]
enum Progress {
    Waiting(String),
    Done(String),
}

fn progress(before: &Before, pod: Option<&Pod>, relay: &Seen) -> Progress {
    let Some(pod) = pod else {
        return Progress::Waiting("The old pod is gone, the new one is not there yet.".into());
    };
    if pod.uid() == before.uid {
        return Progress::Waiting(if pod.metadata.deletion_timestamp.is_some() {
            "The relay drains: it stores what it has, and tells its consumers.".into()
        } else {
            match relay.object.data["status"]["update"]["message"].as_str() {
                Some(message) => format!("The operator has not evicted the pod yet: {message}"),
                None => "The operator has not evicted the pod yet.".into(),
            }
        });
    }
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    if !conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True") {
        return Progress::Waiting(match relay.condition("WorkloadReady") {
            Some(("False", reason, message)) => format!("The new pod starts ({reason}): {message}"),
            _ => "The new pod starts.".into(),
        });
    }
    if before.was_ready && !is_ready(relay) {
        let (reason, message) =
            relay.condition("Ready").map_or(("Unknown", ""), |(_, reason, message)| (reason, message));
        return Progress::Waiting(format!("The new pod is ready, the Relay not yet ({reason}): {message}"));
    }
    Progress::Done("The relay has restarted, and its new pod is ready.".into())
}

fn is_ready(relay: &Seen) -> bool {
    relay.condition("Ready").is_some_and(|(status, ..)| status == "True")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::Value;

    use super::*;

    fn relay(ready: &str, workload: &str, update: Value) -> Seen {
        let condition = |type_: &str, status: &str| {
            json!({
                "type": type_, "status": status, "reason": "Because", "message": "so it is",
                "lastTransitionTime": "2026-11-28T10:00:00Z",
            })
        };
        let status =
            json!({"conditions": [condition("Ready", ready), condition("WorkloadReady", workload)], "update": update});
        let object = json!({"metadata": {"name": "demo"}, "spec": {}, "status": status});
        Seen::of(serde_json::from_value(object).unwrap())
    }

    fn pod(uid: &str, is_ready: bool, is_going: bool) -> Option<Pod> {
        let ready = if is_ready { "True" } else { "False" };
        let mut pod = json!({"metadata": {"uid": uid}, "status": {"conditions": [{"type": "Ready", "status": ready}]}});
        if is_going {
            pod["metadata"]["deletionTimestamp"] = json!("2026-11-28T10:00:00Z");
        }
        Some(serde_json::from_value(pod).unwrap())
    }

    #[test]
    fn a_restart_is_over_when_another_pod_is_as_ready_as_the_old_one_was() {
        let waits = json!({"phase": "WaitingForWindow", "message": "the window opens at 03:00"});
        #[rustfmt::skip]
        let table = [
            // before, now
            (true, pod("old", true, false), relay("True", "True", Value::Null), "… The operator has not evicted the pod yet."),
            (true, pod("old", true, false), relay("True", "True", waits), "… The operator has not evicted the pod yet: the window opens at 03:00"),
            (true, pod("old", true, true), relay("True", "True", Value::Null), "… The relay drains: it stores what it has, and tells its consumers."),
            (true, None, relay("False", "False", Value::Null), "… The old pod is gone, the new one is not there yet."),
            (true, pod("new", false, false), relay("False", "False", Value::Null), "… The new pod starts (Because): so it is"),
            (true, pod("new", false, false), relay("False", "Unknown", Value::Null), "… The new pod starts."),
            (true, pod("new", true, false), relay("False", "True", Value::Null), "… The new pod is ready, the Relay not yet (Because): so it is"),
            (true, pod("new", true, false), relay("True", "True", Value::Null), "The relay has restarted, and its new pod is ready."),
            (false, pod("new", true, false), relay("False", "True", Value::Null), "The relay has restarted, and its new pod is ready."),
        ];
        for (was_ready, pod, relay, want) in table {
            let got = match progress(&Before { uid: Some("old".into()), was_ready }, pod.as_ref(), &relay) {
                Progress::Waiting(text) => format!("… {text}"),
                Progress::Done(text) => text,
            };
            assert_eq!(got, want);
        }
    }
}
