//! The kubectl plugin: what people ask of a Relay. `kubectl relay COMMAND`, or `relay-operator COMMAND`.

use std::io::{self, ErrorKind};
use std::path::Path;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use super::text::plain;
use super::{drain, events, hosts, logs, status};

/// Name by which kubectl finds the plugin.
const PLUGIN: &str = "kubectl-relay";

/// Looks at AT Protocol relays on a cluster, and restarts them in good order.
#[derive(Parser)]
#[command(name = PLUGIN, bin_name = "kubectl relay", version)]
pub struct Cli {
    /// What is asked.
    #[command(subcommand)]
    pub command: Command,
}

/// What can be asked of a Relay.
#[derive(Subcommand)]
pub enum Command {
    /// Show how a Relay is, or list all of them.
    Status(status::Args),
    /// List the hosts of a relay, by its admin API.
    Hosts(hosts::Args),
    /// List the Events about a Relay and its objects, the newest last.
    Events(events::Args),
    /// Restart a relay in good order: the operator evicts its pod, which stores what it has and tells its consumers.
    Drain(drain::Args),
    /// Print the log of a relay.
    Logs(logs::Args),
}

/// Whether the program was called by the plugin's name.
#[must_use]
pub fn is_asked_for() -> bool {
    let name = std::env::args_os().next();
    name.is_some_and(|name| Path::new(&name).file_stem().is_some_and(|stem| stem == PLUGIN))
}

impl Command {
    /// Answers it on standard output.
    #[must_use]
    pub fn run(self) -> ExitCode {
        match self.answer() {
            Ok(()) => ExitCode::SUCCESS,
            // Whoever reads the output has enough, as `head` has.
            Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("error: {}", told(&error));
                ExitCode::FAILURE
            }
        }
    }

    #[tokio::main(flavor = "current_thread")]
    async fn answer(self) -> anyhow::Result<()> {
        // Colours on a terminal only, and not where NO_COLOR is set.
        let mut out = anstream::stdout();
        match self {
            Self::Status(args) => status::run(args, &mut out).await,
            Self::Hosts(args) => hosts::run(args, &mut out).await,
            Self::Events(args) => events::run(args, &mut out).await,
            Self::Drain(args) => drain::run(args, &mut out).await,
            Self::Logs(args) => logs::run(args, &mut out).await,
        }
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == ErrorKind::BrokenPipe)
}

/// An error with its causes. Some name theirs themselves.
fn told(error: &anyhow::Error) -> String {
    let mut causes = Vec::new();
    for cause in error.chain() {
        if let Some(kube::Error::Api(status)) = cause.downcast_ref() {
            // What the API server says, without the client's wrapping of it.
            causes.push(status.message.clone());
            break;
        }
        causes.push(cause.to_string());
    }
    let mut text = String::new();
    for cause in causes.iter().filter(|cause| !cause.is_empty()) {
        if text.is_empty() {
            text.clone_from(cause);
        } else if !text.contains(cause) {
            text += &format!(": {cause}");
        }
    }
    plain(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_that_contradict_each_other_are_refused() {
        let table = [
            ("status", true),
            ("status -A -o json", true),
            ("status -A -n relays", false),
            ("status -A demo", false),
            ("hosts demo --page 0", false),
            ("hosts demo -s active -s idle --sort lag", true),
            ("drain demo --timeout 5", false),
            ("logs demo -f -p", false),
            ("logs demo --since 0", false),
            ("logs ../demo", false),
            ("events demo --context here -n relays -f", true),
        ];
        for (line, is_good) in table {
            let words = ["kubectl-relay"].into_iter().chain(line.split(' '));
            assert_eq!(Cli::try_parse_from(words).is_ok(), is_good, "{line}");
        }
    }

    #[test]
    fn a_cause_is_told_once() {
        let cause = anyhow::anyhow!("connection refused\u{1b}[2J");
        let error = cause.context("no answer: connection refused\u{1b}[2J").context("the log cannot be read");
        assert_eq!(told(&error), "the log cannot be read: no answer: connection refused [2J");
        let refusal = kube::core::Status::failure("pods is forbidden", "Forbidden").boxed();
        let error = anyhow::Error::new(kube::Error::Api(refusal)).context("the pod cannot be read");
        assert_eq!(told(&error), "the pod cannot be read: pods is forbidden");
    }
}
