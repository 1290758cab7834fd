//! `relay backfill list` and `show`.

use std::io::Write;
use std::process::ExitCode;

use crate::backfill::{Collections, Job, Spec, State};
use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::client::{Admin, Body, Failure, understand};
use super::{Format, text};

/// Parts in one request.
const PARTS_PAGE: &str = "500";

#[derive(Deserialize)]
struct Jobs {
    jobs: Vec<Job>,
}

/// What is shown of a part.
#[derive(Deserialize)]
struct Part {
    key: String,
    state: String,
    #[serde(default)]
    seen: u64,
    #[serde(default)]
    added: u64,
    cursor: Option<String>,
    error: Option<String>,
}

pub(super) async fn list(admin: &Admin, format: Format, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let answer: Value = admin.send(Method::GET, &["jobs"], &[], Body::None).await?;
    match format {
        Format::Json => writeln!(out, "{answer:#}")?,
        Format::Text => {
            let Jobs { jobs } = understand(&answer)?;
            let heads = ["NAME", "KIND", "STATE", "PARTS", "SEEN", "ADDED", "RATE", "LEFT", "WHY"];
            let rows: Vec<[String; 9]> = jobs.iter().map(row).collect();
            match rows.is_empty() {
                true => writeln!(out, "There is no job; `relay backfill start` makes one.")?,
                false => writeln!(out, "{}", text::table(heads, &rows))?,
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn row(job: &Job) -> [String; 9] {
    let progress = &job.progress;
    let is_running = job.state == State::Running;
    [
        job.name.clone(),
        text::kind(job.spec.kind).to_owned(),
        job.state.name().to_owned(),
        text::parts(progress),
        text::number(progress.seen),
        text::number(progress.added),
        if is_running { rate(progress.per_second) } else { String::new() },
        progress.eta_seconds.filter(|_| is_running).map(text::span).unwrap_or_default(),
        job.reason.clone().unwrap_or_default(),
    ]
}

fn rate(per_second: f64) -> String {
    format!("{}/s", text::number(per_second.round() as u64))
}

pub(super) async fn show(admin: &Admin, name: &str, format: Format, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let job: Value = admin.send(Method::GET, &["jobs", name], &[], Body::None).await?;
    let parts = parts(admin, name).await?;
    match format {
        Format::Json => writeln!(out, "{:#}", json!({ "job": job, "parts": parts }))?,
        Format::Text => {
            let job: Job = understand(&job)?;
            for (name, value) in facts(&job) {
                writeln!(out, "{name:<14}  {value}")?;
            }
            let parts: Vec<Part> = understand(&Value::Array(parts))?;
            let rows: Vec<[String; 6]> = parts.into_iter().map(part_row).collect();
            if !rows.is_empty() {
                writeln!(out, "\n{}", text::table(["PART", "STATE", "SEEN", "ADDED", "NEXT", "ERROR"], &rows))?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// All parts of a job.
async fn parts(admin: &Admin, name: &str) -> Result<Vec<Value>, Failure> {
    let (mut parts, mut cursor) = (Vec::new(), String::new());
    loop {
        let mut query = vec![("limit", PARTS_PAGE)];
        query.extend((!cursor.is_empty()).then_some(("cursor", cursor.as_str())));
        let mut page: Value = admin.send(Method::GET, &["jobs", name, "parts"], &query, Body::None).await?;
        parts.append(&mut understand(&page["parts"].take())?);
        match page["cursor"].as_str() {
            Some(next) if !next.is_empty() && next != cursor => cursor = next.to_owned(),
            _ => return Ok(parts),
        }
    }
}

fn part_row(part: Part) -> [String; 6] {
    let Part { key, state, seen, added, cursor, error } = part;
    let (cursor, error) = (cursor.unwrap_or_default(), error.unwrap_or_default());
    [key, state, text::number(seen), text::number(added), cursor, error]
}

/// What there is to say of a job, each under its name.
fn facts(job: &Job) -> Vec<(&'static str, String)> {
    let (spec, progress) = (&job.spec, &job.progress);
    let is_running = job.state == State::Running;
    let at = |what: &Option<String>, at: &Option<String>| match (what, at) {
        (Some(what), Some(at)) => Some(format!("{what} ({at})")),
        (what, at) => what.clone().or_else(|| at.clone()),
    };
    let resumes = (job.resumes > 0).then(|| text::number(job.resumes));
    let classes = progress.classes.iter().map(|(class, accounts)| format!("{} {class}", text::number(*accounts)));
    let all = [
        ("name", Some(job.name.clone())),
        ("kind", Some(text::kind(spec.kind).to_owned())),
        ("state", Some(text::standing(job))),
        ("sources", listed(&spec.sources)),
        ("collections", collections(&spec.collections)),
        ("hosts", listed(&spec.hosts)),
        ("pace", pace(spec)),
        ("schedule", spec.schedule.clone()),
        ("declared by", spec.declared_by.clone()),
        ("parts", Some(text::parts(progress))),
        ("found", Some(text::found(progress))),
        ("classes", listed(&classes.collect::<Vec<_>>())),
        ("works on", progress.current.clone()),
        ("next", progress.cursor.clone()),
        ("rate", is_running.then(|| rate(progress.per_second))),
        ("left", progress.eta_seconds.map(|eta| format!("about {}", text::span(eta)))),
        ("last error", at(&job.last_error, &job.last_error_at)),
        ("run", Some(text::number(job.run))),
        ("resumes", resumes),
        ("resumed from", at(&job.resumed_from, &job.resumed_at)),
        ("created", Some(job.created_at.clone())),
        ("started", job.started_at.clone()),
        ("finished", job.finished_at.clone()),
        ("next run", job.next_run_at.clone()),
    ];
    all.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}

fn listed(items: &[String]) -> Option<String> {
    (!items.is_empty()).then(|| items.join(", "))
}

fn collections(collections: &Collections) -> Option<String> {
    let Collections { names, lists, seen, of_sources } = collections;
    let names = names.iter().map(ToString::to_string);
    let lists = lists.iter().map(|list| format!("those of {list}"));
    let seen = seen.then(|| "those seen here".to_owned());
    let of_sources = of_sources.then(|| "those that the sources list".to_owned());
    listed(&names.chain(lists).chain(seen).chain(of_sources).collect::<Vec<_>>())
}

fn pace(spec: &Spec) -> Option<String> {
    let requests = spec.requests_per_second.map(|rate| format!("{rate} requests/s to a provider"));
    let providers = spec.concurrency.map(|count| format!("{count} providers at once"));
    listed(&requests.into_iter().chain(providers).collect::<Vec<_>>())
}
