//! `relay log dump`.

use std::io::{self, Write};
use std::ops::ControlFlow;
use std::process::ExitCode;

use crate::log::{AccountTag, Event};
use serde::Serialize;

use super::{Place, Told, kind_name, time};

#[derive(Debug, clap::Args)]
pub(super) struct Dump {
    #[command(flatten)]
    place: Place,

    /// First seq
    #[arg(long, value_name = "SEQ", default_value_t = 0)]
    from: u64,

    /// Last seq
    #[arg(long, value_name = "SEQ", default_value_t = u64::MAX, hide_default_value = true)]
    to: u64,

    /// Only events of this account
    #[arg(long, value_name = "DID")]
    did: Option<String>,

    /// Most events
    #[arg(long, value_name = "N", default_value_t = u64::MAX, hide_default_value = true)]
    limit: u64,
}

/// One event.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Line<'a> {
    seq: u64,
    time: String,
    kind: &'static str,
    host: u32,
    upstream_seq: u64,
    did: Option<&'a str>,
    rev: Option<&'a str>,
    /// Bytes of the message as consumers get it.
    size: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

impl Dump {
    pub(super) fn run(self, out: &mut impl Write) -> anyhow::Result<ExitCode> {
        let account = self.did.as_deref().map(AccountTag::of);
        let mut left = self.limit;
        let mut written = Ok(());
        self.place.view()?.read(self.from, |event| {
            if event.header.seq > self.to || left == 0 {
                return ControlFlow::Break(());
            }
            if account.is_some_and(|account| account != event.header.account) {
                return ControlFlow::Continue(());
            }
            left -= 1;
            written = write(out, &event);
            if written.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        written?;
        Ok(ExitCode::SUCCESS)
    }
}

fn write(out: &mut impl Write, event: &Event) -> io::Result<()> {
    let (told, error) = match Told::of(event) {
        Ok(told) => (Some(told), None),
        Err(error) => (None, Some(error)),
    };
    let header = &event.header;
    let line = Line {
        seq: header.seq,
        time: time(header.time_ms),
        kind: kind_name(header.kind),
        host: header.host,
        upstream_seq: header.upstream_seq,
        did: told.as_ref().map(|told| told.did),
        rev: told.as_ref().and_then(|told| told.rev),
        size: event.wire.len(),
        error,
    };
    serde_json::to_writer(&mut *out, &line)?;
    out.write_all(b"\n")
}
