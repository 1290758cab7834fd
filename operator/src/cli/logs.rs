//! `logs`: the log of a relay. Lines of JSON are made readable, others stay as they are.

use std::fmt::Write as _;
use std::io::Write;

use anstyle::Style;
use anyhow::Context;
use futures_util::{AsyncBufReadExt, TryStreamExt};
use k8s_openapi::jiff::Timestamp;
use kube::api::LogParams;
use relay_operator::relay::pod_name;
use serde_json::{Map, Value};

use super::cluster::{Common, Output, object_name};
use super::text::{BAD, DIM, PLAIN, WAITING, moment, paint, plain};

/// Names under which programs write when, how grave, where and what; each program has one of them.
const TIME: [&str; 3] = ["timestamp", "time", "ts"];
const LEVEL: [&str; 2] = ["level", "lvl"];
const TARGET: [&str; 2] = ["target", "logger"];
const MESSAGE: [&str; 2] = ["message", "msg"];

/// Flags of `logs`.
#[derive(clap::Args)]
pub struct Args {
    /// Name of the Relay.
    #[arg(value_parser = object_name)]
    name: String,

    /// Go on with what comes.
    #[arg(short, long)]
    follow: bool,

    /// The log of the run before this one.
    #[arg(short, long, conflicts_with = "follow")]
    previous: bool,

    /// Only so many lines from the end.
    #[arg(long, value_name = "LINES", value_parser = clap::value_parser!(i64).range(0..))]
    tail: Option<i64>,

    /// Only of the last so many seconds.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(i64).range(1..))]
    since: Option<i64>,

    /// Container of the pod.
    #[arg(short, long, value_name = "NAME", default_value = "relay", value_parser = object_name)]
    container: String,

    #[command(flatten)]
    common: Common,
}

/// Prints the log.
pub async fn run(args: Args, out: &mut impl Write) -> anyhow::Result<()> {
    let cluster = args.common.connect().await?;
    cluster.relay(&args.name).await?;
    let params = LogParams {
        container: Some(args.container),
        follow: args.follow,
        previous: args.previous,
        tail_lines: args.tail,
        since_seconds: args.since,
        ..LogParams::default()
    };
    let pod = pod_name(&args.name);
    let log = cluster.pods().log_stream(&pod, &params).await;
    let mut lines = log.with_context(|| format!("the log of the pod {pod} cannot be read"))?.lines();
    while let Some(line) = lines.try_next().await? {
        match args.common.output {
            Output::Text => writeln!(out, "{}", readable(&line))?,
            Output::Json => writeln!(out, "{line}")?,
        }
        if args.follow {
            out.flush()?;
        }
    }
    Ok(())
}

/// A line for people.
fn readable(line: &str) -> String {
    let Ok(Value::Object(mut fields)) = serde_json::from_str(line) else { return plain(line) };
    // Some programs have what was said beside when and where, some below it.
    if let Some(Value::Object(inner)) = fields.remove("fields") {
        fields.extend(inner);
    }
    let mut text = String::new();
    if let Some(at) = take(&mut fields, TIME) {
        let at = at.parse::<Timestamp>().map_or(at, moment);
        let _ = write!(text, "{}  ", paint(&plain(&at), DIM));
    }
    if let Some(level) = take(&mut fields, LEVEL) {
        let level = level.to_uppercase();
        let _ = write!(
            text,
            "{}{}  ",
            paint(&plain(&level), style(&level)),
            " ".repeat(5_usize.saturating_sub(level.len()))
        );
    }
    if let Some(target) = take(&mut fields, TARGET) {
        let _ = write!(text, "{}  ", paint(&format!("{}:", plain(&target)), DIM));
    }
    text += &take(&mut fields, MESSAGE).map(|message| plain(&message)).unwrap_or_default();
    for (name, value) in &fields {
        let _ = write!(text, "  {}{}", paint(&format!("{}=", plain(name)), DIM), plain(&shown(value)));
    }
    text
}

/// The field that has one of these names.
fn take<const N: usize>(fields: &mut Map<String, Value>, names: [&str; N]) -> Option<String> {
    let name = names.into_iter().find(|name| fields.contains_key(*name))?;
    fields.remove(name).map(|value| shown(&value))
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn style(level: &str) -> Style {
    match level {
        "ERROR" | "FATAL" => BAD,
        "WARN" | "WARNING" => WAITING,
        "DEBUG" | "TRACE" => DIM,
        _ => PLAIN,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_json_are_made_readable() {
        #[rustfmt::skip]
        let table = [
            ("2026-11-28T10:00:00Z  INFO relay: listening", "2026-11-28T10:00:00Z  INFO relay: listening"),
            ("not \u{1b}[2J\ttext", "not  [2J text"),
            ("", ""),
            ("[1]", "[1]"),
            (
                r#"{"timestamp":"2026-11-28T10:00:00.123456Z","level":"WARN","fields":{"message":"slow host","host":"pds.test","lag":7},"target":"relay::host"}"#,
                "2026-11-28 10:00:00Z  WARN   relay::host:  slow host  host=pds.test  lag=7",
            ),
            (
                r#"{"time":"2026-11-28T10:00:00.1+01:00","level":"error","msg":"no\u001b[2J host","system":"relay","n":[1,{"a":2}]}"#,
                r#"2026-11-28 09:00:00Z  ERROR  no [2J host  n=[1,{"a":2}]  system=relay"#,
            ),
            (r#"{"msg":"no time"}"#, "no time"),
            (r#"{"time":"soon"}"#, "soon  "),
        ];
        for (line, want) in table {
            assert_eq!(anstream::adapter::strip_str(&readable(line)).to_string(), want);
        }
    }

    #[test]
    fn what_is_grave_is_red() {
        assert!(readable(r#"{"level":"error"}"#).contains("\u{1b}[31mERROR"));
    }
}
