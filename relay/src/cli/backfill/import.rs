//! `relay backfill import`: pairs of a DID and a collection, however many, from a file or standard input.

mod pieces;

use std::fs::File;
use std::io::{self, BufReader, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use reqwest::Method;
use serde::{Deserialize, Serialize};

use super::client::{Admin, Body, Failure};
use super::{Format, text};
use pieces::{Piece, Pieces};

/// The first pause before a piece is sent again; each further one is twice as long …
const PAUSE_MIN: Duration = Duration::from_secs(1);
/// … up to this.
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// Refused lines that are listed.
const LISTED_MAX: usize = 100;

/// Sends pairs of a DID and a collection to the relay, from a file or standard input
#[derive(Debug, clap::Args)]
#[command(after_help = "\
A line is `DID COLLECTION`, apart by a space, a comma or a tab, or a JSON object {\"did\": …, \"collection\": …}. What is \
known already is not counted again, so that an import that broke off can be repeated. Exit code 1 if lines were refused.")]
pub(super) struct Import {
    /// The file; - is standard input
    file: PathBuf,

    /// Name of the job that counts the pairs
    #[arg(long, value_name = "NAME", default_value = "pairs")]
    job: String,
}

/// What the relay says of a piece.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Taken {
    seen: u64,
    added: u64,
    known: u64,
    #[serde(default)]
    refused: Vec<Refused>,
    #[serde(default)]
    refused_count: u64,
}

/// A line that the relay does not take.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Refused {
    /// Its number, from 1.
    line: u64,
    error: String,
}

/// What an import has come to.
#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Summary {
    job: String,
    lines: u64,
    seen: u64,
    added: u64,
    known: u64,
    refused: Vec<Refused>,
    refused_count: u64,
}

impl Import {
    pub(super) async fn run(self, admin: &Admin, format: Format, out: &mut impl Write) -> anyhow::Result<ExitCode> {
        let (input, bytes) = open(&self.file)?;
        let mut pieces = Pieces::new(BufReader::new(input));
        let bar = bar(bytes);
        let mut summary = Summary { job: self.job, ..Summary::default() };
        while let Some(piece) = pieces.next()? {
            let is_first = summary.lines == 0;
            let taken = deliver(admin, &summary.job, &piece, is_first, &bar).await?;
            bar.inc(piece.lines.len() as u64);
            summary.add(piece, taken);
            bar.set_message(summary.counts());
        }
        bar.finish_and_clear();
        match format {
            Format::Json => writeln!(out, "{:#}", serde_json::to_value(&summary)?)?,
            Format::Text => summary.tell(out)?,
        }
        Ok(if summary.refused_count == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

/// The input, and its size where it has one.
fn open(path: &Path) -> anyhow::Result<(Box<dyn Read>, Option<u64>)> {
    if path == Path::new("-") {
        return Ok((Box::new(io::stdin().lock()), None));
    }
    let opened = File::open(path).and_then(|file| Ok((file.metadata()?, file)));
    let (metadata, file) =
        opened.map_err(|error| anyhow::anyhow!("cannot read {}: {error}; - is standard input", path.display()))?;
    let bytes = metadata.is_file().then_some(metadata.len());
    Ok((Box::new(file), bytes))
}

fn bar(bytes: Option<u64>) -> ProgressBar {
    let (bar, template) = match bytes {
        Some(bytes) => (ProgressBar::new(bytes), "{spinner} [{bar:30}] {percent}%, about {eta} left; {msg}"),
        None => (ProgressBar::no_length(), "{spinner} {binary_bytes} read; {msg}"),
    };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("=> "));
    }
    bar
}

/// Sends a piece until the relay has it. Only one that has answered before may be away.
async fn deliver(admin: &Admin, job: &str, piece: &Piece, is_first: bool, bar: &ProgressBar) -> Result<Taken, Failure> {
    let mut pause = PAUSE_MIN;
    let mut was_told = false;
    loop {
        let body = Body::Lines(piece.lines.clone());
        let failure = match admin.send(Method::POST, &["pairs"], &[("job", job)], body).await {
            Ok(taken) => return Ok(taken),
            Err(failure) => failure,
        };
        let is_patient = failure.is_passing() && !(is_first && matches!(failure, Failure::Away { .. }));
        if !is_patient {
            return Err(failure);
        }
        if io::stderr().is_terminal() {
            bar.set_message(failure.to_string());
        } else if !was_told {
            eprintln!("{failure} Still trying, from line {} on.", piece.first_line);
        }
        was_told = true;
        tokio::time::sleep(failure.after().unwrap_or(pause)).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

impl Summary {
    fn add(&mut self, piece: Piece, taken: Taken) {
        self.seen += taken.seen;
        self.added += taken.added;
        self.known += taken.known;
        self.refused_count += taken.refused_count + piece.refused.len() as u64;
        let numbered = taken.refused.into_iter();
        let numbered = numbered.map(|refused| Refused { line: refused.line + piece.first_line - 1, ..refused });
        let mut refused: Vec<Refused> = numbered.chain(piece.refused).collect();
        refused.sort_by_key(|refused| refused.line);
        self.refused.extend(refused.into_iter().take(LISTED_MAX.saturating_sub(self.refused.len())));
        self.lines += piece.count;
    }

    fn counts(&self) -> String {
        let [lines, added, known] = [self.lines, self.added, self.known].map(text::number);
        let refused = match self.refused_count {
            0 => String::new(),
            count => format!(", {} lines refused", text::number(count)),
        };
        format!("{lines} lines: {added} pairs added, {known} known{refused}")
    }

    fn tell(&self, out: &mut impl Write) -> io::Result<()> {
        writeln!(out, "{}", self.counts())?;
        for Refused { line, error } in &self.refused {
            writeln!(out, "line {line}: {error}")?;
        }
        match self.refused_count - self.refused.len() as u64 {
            0 => Ok(()),
            more => writeln!(out, "and {} more", text::number(more)),
        }
    }
}
