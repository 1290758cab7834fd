//! `relay log`: looks into the event log, on a copy or beside a running relay, and repairs it.

mod check;
mod dump;
mod info;

use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use crate::config::Settings;
use crate::firehose::ws;
use crate::log::{Event, Kind, View};
use crate::protocol::frame::{self, Frame};
use jiff::Timestamp;

/// Looks into the event log, and repairs it
#[derive(Debug, clap::Args)]
pub struct Log {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Says what the log holds
    Info(info::Info),
    /// Reads the whole log and says what is wrong with it; exit code 1 if anything is
    Check(check::Check),
    /// Prints events as lines of JSON
    Dump(dump::Dump),
}

/// Which log.
#[derive(Debug, clap::Args)]
struct Place {
    /// TOML file of the relay, of which data-dir is taken
    #[arg(long, env = "RELAY_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,

    /// Folder of the relay's data [default: ./data]
    #[arg(long, env = "RELAY_DATA_DIR", value_name = "DIR")]
    data_dir: Option<PathBuf>,

    /// Folder of the log alone, for instance of a copy [default: log in the data folder]
    #[arg(long, value_name = "DIR")]
    log_dir: Option<PathBuf>,
}

impl Log {
    /// Runs the command; the exit code tells whether all is well.
    pub fn run(self) -> ExitCode {
        let mut out = BufWriter::new(io::stdout().lock());
        let result = match self.command {
            Command::Info(info) => info.run(&mut out),
            Command::Check(check) => check.run(&mut out),
            Command::Dump(dump) => dump.run(&mut out),
        };
        super::end(result.and_then(|code| out.flush().map(|()| code).map_err(anyhow::Error::from)))
    }
}

impl Place {
    fn dir(self) -> anyhow::Result<PathBuf> {
        if let Some(dir) = self.log_dir {
            return Ok(dir);
        }
        let from_file = self.config.map_or_else(|| Ok(Settings::default()), |path| Settings::from_file(&path))?;
        let data_dir = self.data_dir.or(from_file.data_dir).unwrap_or_else(|| PathBuf::from("./data"));
        Ok(data_dir.join("log"))
    }

    fn view(self) -> anyhow::Result<View> {
        Ok(View::open(&self.dir()?)?)
    }
}

/// What an event's frame says of itself.
struct Told<'a> {
    kind: Kind,
    seq: u64,
    did: &'a str,
    rev: Option<&'a str>,
}

impl Told<'_> {
    /// Decodes the frame of an event; the error says what is wrong with it.
    fn of(event: &Event) -> Result<Told<'_>, String> {
        let payload = ws::payload(&event.wire).ok_or("its bytes are no WebSocket message")?;
        match frame::decode(payload).map_err(|error| format!("its frame cannot be decoded: {error}"))? {
            Frame::Commit(frame) => {
                Ok(Told { kind: Kind::Commit, seq: frame.seq, did: frame.did, rev: Some(frame.rev) })
            }
            Frame::Sync(frame) => Ok(Told { kind: Kind::Sync, seq: frame.seq, did: frame.did, rev: Some(frame.rev) }),
            Frame::Identity(frame) => Ok(Told { kind: Kind::Identity, seq: frame.seq, did: frame.did, rev: None }),
            Frame::Account(frame) => Ok(Told { kind: Kind::Account, seq: frame.seq, did: frame.did, rev: None }),
            Frame::Info { .. } | Frame::Error { .. } | Frame::Unknown => Err("its frame is no event".to_owned()),
        }
    }
}

fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Commit => "commit",
        Kind::Sync => "sync",
        Kind::Identity => "identity",
        Kind::Account => "account",
    }
}

/// A time of the log as people and programs read it.
fn time(ms: i64) -> String {
    Timestamp::from_millisecond(ms).map_or_else(|_| ms.to_string(), |time| format!("{time:.3}"))
}
