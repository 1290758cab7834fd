//! `relay log check`.

use std::io::Write;
use std::process::ExitCode;

use crate::log::{self, AccountTag, Error, Event, Finding, Repair, Report, View};
use serde_json::{Value, json};

use super::{Place, Told};

#[derive(Debug, clap::Args)]
pub(super) struct Check {
    #[command(flatten)]
    place: Place,

    /// Cuts an unfinished end, and sets aside what is damaged, without deleting it; no relay may be running
    #[arg(long)]
    repair: bool,

    /// Prints one JSON document instead of text
    #[arg(long)]
    json: bool,
}

impl Check {
    pub(super) fn run(self, out: &mut impl Write) -> anyhow::Result<ExitCode> {
        let dir = self.place.dir()?;
        let (report, repairs) = match self.repair {
            true => log::repair(&dir, examine)?,
            false => (View::open(&dir)?.check(examine)?, Vec::new()),
        };
        if self.json {
            writeln!(out, "{:#}", as_json(&report, &repairs))?;
        } else {
            as_text(out, &report, &repairs)?;
        }
        let is_well = match self.repair {
            true => report.findings.iter().all(|finding| !matches!(finding, Finding::Event { .. })),
            false => report.findings.is_empty(),
        };
        Ok(if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

/// Whether an event's frame decodes, and says what the log says of the event.
fn examine(event: &Event) -> Result<(), String> {
    let told = Told::of(event)?;
    let header = &event.header;
    if told.seq != header.seq {
        Err(format!("its frame says seq {}", told.seq))
    } else if told.kind != header.kind || AccountTag::of(told.did) != header.account {
        Err(format!("its frame is of another kind or account ({}) than the log says", told.did))
    } else {
        Ok(())
    }
}

fn as_text(out: &mut impl Write, report: &Report, repairs: &[Repair]) -> std::io::Result<()> {
    for finding in &report.findings {
        writeln!(out, "{finding}")?;
    }
    for repair in repairs {
        writeln!(out, "repaired: {repair}")?;
    }
    let Report { segments, events, .. } = report;
    match report.seqs {
        Some((first, last)) => {
            writeln!(out, "{segments} segments with {events} good events were read, seqs {first} to {last}")?;
        }
        None => writeln!(out, "{segments} segments were read, without a good event")?,
    }
    match report.findings.len() {
        0 => writeln!(out, "nothing is wrong"),
        count => writeln!(out, "{count} found"),
    }
}

fn as_json(report: &Report, repairs: &[Repair]) -> Value {
    json!({
        "segments": report.segments,
        "events": report.events,
        "firstSeq": report.seqs.map(|(first, _)| first),
        "lastSeq": report.seqs.map(|(_, last)| last),
        "findings": report.findings.iter().map(finding_json).collect::<Vec<_>>(),
        "repairs": repairs.iter().map(repair_json).collect::<Vec<_>>(),
    })
}

fn finding_json(finding: &Finding) -> Value {
    let message = finding.to_string();
    match finding {
        Finding::Torn { file, bytes } => json!({ "kind": "torn", "file": file, "bytes": bytes, "message": message }),
        Finding::Damaged { error, lost: (first, last) } => {
            let (file, offset) = match error {
                Error::Damaged { file, offset, .. } => (Some(file), Some(offset)),
                _ => (None, None),
            };
            json!({
                "kind": "damaged", "file": file, "offset": offset, "firstSeq": first, "lastSeq": last, "message": message,
            })
        }
        Finding::Missing { lost } => {
            json!({ "kind": "missing", "firstSeq": lost.start(), "lastSeq": lost.end(), "message": message })
        }
        Finding::Event { seq, .. } => json!({ "kind": "event", "firstSeq": seq, "lastSeq": seq, "message": message }),
    }
}

fn repair_json(repair: &Repair) -> Value {
    let message = repair.to_string();
    match repair {
        Repair::SetAside { file, aside, kept_until } => json!({
            "kind": "setAside", "file": file, "aside": aside, "keptUntilSeq": kept_until, "message": message,
        }),
        Repair::Lost { first, last } => {
            json!({ "kind": "lost", "firstSeq": first, "lastSeq": last, "message": message })
        }
        Repair::Cut { bytes } => json!({ "kind": "cut", "bytes": bytes, "message": message }),
    }
}
