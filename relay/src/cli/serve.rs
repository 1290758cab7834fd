//! `relay serve`.

use std::fmt::Display;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;
use tracing_subscriber::EnvFilter;

use crate::config::{Config, ConfigError, Settings};
use crate::exit::{self, LastWords, Told};

/// Runs the relay
#[derive(Debug, clap::Args)]
pub struct Serve {
    /// TOML file with any of the settings below
    #[arg(long, env = "RELAY_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,

    /// What is logged, like info or relay=debug
    #[arg(long, env = "RELAY_LOG", value_name = "FILTER", default_value = "info")]
    log: EnvFilter,

    #[command(flatten)]
    settings: Settings,
}

impl Serve {
    /// Runs until SIGTERM or SIGINT, or until it restarts; the exit code tells which, and whether it ended well.
    pub fn run(self) -> ExitCode {
        let is_terminal = std::io::stderr().is_terminal();
        tracing_subscriber::fmt().with_env_filter(self.log).with_writer(std::io::stderr).with_ansi(is_terminal).init();
        let termination_log = self.settings.termination_log();
        match configure(self.config, self.settings) {
            Ok(config) => serve(config),
            Err(error) => {
                LastWords::new(termination_log, None).failed(&error);
                failed(&error)
            }
        }
    }
}

/// Says why the relay does not run.
fn failed(error: &dyn Display) -> ExitCode {
    // Our errors name their causes themselves.
    eprintln!("relay: {error}");
    ExitCode::FAILURE
}

fn configure(file: Option<PathBuf>, settings: Settings) -> Result<Config, ConfigError> {
    let from_file = file.map_or_else(|| Ok(Settings::default()), |path| Settings::from_file(&path))?;
    settings.or(from_file).resolve()
}

#[tokio::main]
async fn serve(config: Config) -> ExitCode {
    let ended = match Signals::new() {
        Ok(signals) => {
            let (tell, told) = oneshot::channel();
            tokio::spawn(signals.follow(tell));
            crate::serve::serve(config, async { told.await.unwrap_or(Told::Stop) }).await
        }
        Err(error) => Err(error.into()),
    };
    let exit_code = match ended {
        Ok(ended) => ended.exit_code(),
        Err(error) => {
            failed(&error);
            exit::EXIT_FAILURE
        }
    };
    // All that has to be durable is. By returning, the runtime would wait for what is at work on its threads, and take
    // from those of the relay what they stand on.
    exit::now(exit_code)
}

/// What people and service managers send.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    user: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Signals> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            user: signal(SignalKind::user_defined1())?,
        })
    }

    /// Passes on the first that tells the relay to end. The second SIGTERM or SIGINT ends the process at once, with the
    /// exit code that a shell gives to a program that a signal has ended.
    async fn follow(mut self, tell: oneshot::Sender<Told>) {
        let mut tell = Some(tell);
        let mut is_second = false;
        loop {
            let (told, signal) = tokio::select! {
                _ = self.terminate.recv() => (Told::Stop, SignalKind::terminate()),
                _ = self.interrupt.recv() => (Told::Stop, SignalKind::interrupt()),
                _ = self.user.recv() => (Told::Restart, SignalKind::user_defined1()),
            };
            if told == Told::Stop && std::mem::replace(&mut is_second, true) {
                tracing::warn!("told to stop again: the process ends, the next start repairs what it left");
                exit::now(128 + signal.as_raw_value() as u8);
            }
            if let Some(tell) = tell.take() {
                // It may be ending already.
                let _ = tell.send(told);
            }
        }
    }
}
