//! All that a Relay's status says. Pure.

use std::fmt::Write;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;
use relay_operator::api::{BackfillStatus, MemoryStatus, RelayStatus, ResizeStatus, RestartsStatus};

use super::parts;
use crate::cli::cluster::Seen;
use crate::cli::text::{
    BAD, Cell, DIM, GOOD, HEADING, PLAIN, Table, WAITING, age, bytes, moment, number, paint, plain, seconds,
};

/// Conditions without which a relay does not do what it is there for; the others are remarks.
const NEEDED: [&str; 6] = ["Ready", "WorkloadReady", "Delivering", "MemoryHealthy", "StorageReady", "DatabaseReady"];

/// The Relay for people.
pub fn text(relay: &Seen, now: Timestamp) -> String {
    let status = &relay.status;
    let mut text = headline(relay);
    let mut facts = Table::default();
    let mut fact = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            facts.row([Cell::of(name, DIM), value.into()]);
        }
    };
    fact("Hostname", relay.spec("/hostname").map(str::to_owned));
    fact("Endpoint", status.endpoint.clone());
    fact("Software", software(relay));
    fact("Age", relay.created.map(|created| age(created, now)));
    fact(
        "Hosts",
        status.hosts.as_ref().map(|hosts| format!("{} of {} connected", number(hosts.connected), number(hosts.total))),
    );
    fact("Events", events(status));
    fact("Consumers", status.consumers.map(number));
    fact("Memory", status.memory.as_ref().map(|memory| memory_line(memory, now)));
    fact("New limit", status.resize.as_ref().map(resize_line));
    fact("Backfill", status.backfill.as_ref().map(backfill_line));
    fact("Restarts", status.restarts.as_ref().map(restarts_line));
    let part = |name: &str| &relay.object.data["status"][name];
    fact("Update", parts::update(part("update"), now));
    fact("Volume", parts::storage(part("storage")));
    fact("Decisions", part("database").as_str().map(str::to_owned));
    fact("Snapshot", parts::backup(part("backup"), now));
    fact("Figures of", status.observed_at.as_ref().map(|at| format!("{} ago", age(at.0, now))));
    text += &facts.text(2);
    text += &conditions(&status.conditions, relay.generation, now);
    text += &jobs(status.backfill.as_ref());
    text += &last_ends(status.restarts.as_ref(), now);
    text
}

fn headline(relay: &Seen) -> String {
    let name = paint(&format!("{}/{}", relay.namespace, relay.name), HEADING);
    let mut line = match (&relay.trouble, relay.condition("Ready")) {
        (Some(trouble), _) => {
            let said = format!("has a status of another version, update this program or the operator: {trouble}");
            format!("{name}  {}", paint(&plain(&said), BAD))
        }
        (None, Some(("True", _, message))) => format!("{name}  {}  {}", paint("Ready", GOOD), plain(message)),
        (None, Some((_, reason, message))) => {
            format!("{name}  {}  {}", paint(&plain(&format!("not Ready: {reason}")), WAITING), plain(message))
        }
        (None, None) => format!("{name}  {}", paint("no operator has seen it yet; does one run?", WAITING)),
    };
    if relay.is_paused() {
        line += &format!("  {}", paint("(paused: nothing is changed)", WAITING));
    }
    line + "\n"
}

fn software(relay: &Seen) -> Option<String> {
    let implementation = relay.spec("/implementation").unwrap_or("Bundled");
    Some(match &relay.status.version {
        Some(version) => format!("{version} ({implementation})"),
        None => implementation.to_owned(),
    })
}

fn events(status: &RelayStatus) -> Option<String> {
    let rate = status.events_per_second.map(|rate| format!("{rate:.1} a second"));
    let seq = status.seq.map(|seq| format!("last seq {}", number(seq)));
    let parts: Vec<_> = rate.into_iter().chain(seq).collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

fn memory_line(memory: &MemoryStatus, now: Timestamp) -> String {
    let used = bytes(memory.working_set_bytes);
    let mut line = match memory.limit_bytes.filter(|limit| *limit > 0) {
        Some(limit) => {
            let percent = memory.working_set_bytes.saturating_mul(100) / limit;
            format!("{used} of {} ({percent} %)", bytes(limit))
        }
        None => used,
    };
    if let Some(slope) = memory.slope_bytes_per_hour.filter(|slope| *slope > 0) {
        let _ = write!(line, ", grows by {} an hour", bytes(slope));
    }
    if let Some(left) = memory.seconds_to_limit {
        let _ = write!(line, ", at its limit in {}", seconds(left));
    }
    if let Some(since) = &memory.pressure_since {
        let step = memory.step.as_deref().filter(|step| *step != "none").unwrap_or("above the soft mark");
        let _ = write!(line, ", short for {}: {step}", age(since.0, now));
    }
    line
}

fn resize_line(resize: &ResizeStatus) -> String {
    let mut line = format!("{} after {}: {:?}", resize.limit, resize.grown_from, resize.state);
    if let Some(message) = &resize.message {
        let _ = write!(line, ", {message}");
    }
    line
}

fn backfill_line(backfill: &BackfillStatus) -> String {
    let mut line = backfill.summary.clone();
    let states = [
        (backfill.running, "at work"),
        (backfill.waiting, "waiting"),
        (backfill.paused, "paused"),
        (backfill.failed, "failed"),
    ];
    for (count, state) in states.iter().filter(|(count, _)| *count > 0) {
        let _ = write!(line, ", {count} {state}");
    }
    if backfill.per_second > 0.0 {
        let _ = write!(line, ", {:.1} DIDs a second", backfill.per_second);
    }
    if let Some(left) = backfill.eta_seconds {
        let _ = write!(line, ", {} left", seconds(left));
    }
    line
}

fn restarts_line(restarts: &RestartsStatus) -> String {
    let counts = [
        (restarts.planned, "planned"),
        (restarts.stopped, "stopped"),
        (restarts.oom_killed, "killed for memory"),
        (restarts.crashed, "crashed"),
        (restarts.evicted, "evicted"),
        (restarts.node_lost, "lost with the node"),
        (restarts.unseen, "unseen"),
    ];
    let told: Vec<_> =
        counts.iter().filter(|(count, _)| *count > 0).map(|(count, cause)| format!("{count} {cause}")).collect();
    if told.is_empty() { "none".into() } else { told.join(", ") }
}

fn conditions(conditions: &[Condition], generation: Option<i64>, now: Timestamp) -> String {
    if conditions.is_empty() {
        return String::new();
    }
    let mut table = Table::new(["CONDITION", "STATUS", "REASON", "AGE", "MESSAGE"]);
    for condition in conditions {
        let style = match (condition.type_.as_str(), condition.status.as_str()) {
            ("Paused", "False") => DIM,
            ("Paused", _) => WAITING,
            (_, "True") => GOOD,
            (type_, "False") if NEEDED.contains(&type_) => BAD,
            _ => WAITING,
        };
        let is_old = condition.observed_generation < generation;
        let message =
            if is_old { format!("(of an older spec) {}", condition.message) } else { condition.message.clone() };
        table.row([
            condition.type_.as_str().into(),
            Cell::of(&condition.status, style),
            condition.reason.as_str().into(),
            age(condition.last_transition_time.0, now).into(),
            message.into(),
        ]);
    }
    format!("\n{}", table.text(0))
}

fn jobs(backfill: Option<&BackfillStatus>) -> String {
    let jobs = backfill.map(|backfill| backfill.jobs.as_slice()).unwrap_or_default();
    if jobs.is_empty() {
        return String::new();
    }
    let mut table = Table::new(["BACKFILL JOB", "STATE", "PARTS", "RESUMES", "SAYS"]);
    for job in jobs {
        let style = match job.state.as_str() {
            "done" => GOOD,
            "failed" | "missing" => BAD,
            "running" => PLAIN,
            _ => WAITING,
        };
        table.row([
            job.name.as_str().into(),
            Cell::of(&job.state, style),
            job.progress.clone().into(),
            number(job.resumes).into(),
            job.reason.clone().or_else(|| job.last_error.clone()).into(),
        ]);
    }
    format!("\n{}", table.text(0))
}

fn last_ends(restarts: Option<&RestartsStatus>, now: Timestamp) -> String {
    let ends = restarts.map(|restarts| restarts.last.as_slice()).unwrap_or_default();
    if ends.is_empty() {
        return String::new();
    }
    let mut table = Table::new(["LAST ENDS", "AGE", "CAUSE", "EXIT", "MEMORY", "MESSAGE"]);
    for end in ends {
        let Time(at) = end.at;
        let memory = end.working_set.map(|used| match end.limit {
            Some(limit) => format!("{}/{}", bytes(used), bytes(limit)),
            None => bytes(used),
        });
        let cause = match &end.reason {
            Some(reason) if reason != end.cause.name() => format!("{} ({reason})", end.cause.name()),
            _ => end.cause.name().to_owned(),
        };
        table.row([
            moment(at).into(),
            age(at, now).into(),
            cause.into(),
            end.exit_code.map(|code| code.to_string()).into(),
            memory.into(),
            end.message.clone().into(),
        ]);
    }
    format!("\n{}", table.text(0))
}
