//! `relay serve`.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

use crate::config::{Config, ConfigError, Settings};
use crate::exit::{EXIT_PLANNED_RESTART, Ended};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

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
    /// Runs until SIGTERM or SIGINT; the exit code tells whether it ended well.
    pub fn run(self) -> ExitCode {
        let is_terminal = std::io::stderr().is_terminal();
        tracing_subscriber::fmt().with_env_filter(self.log).with_writer(std::io::stderr).with_ansi(is_terminal).init();
        match configure(self.config, self.settings).map_err(anyhow::Error::from).and_then(serve) {
            Ok(Ended::Stopped) => ExitCode::SUCCESS,
            Ok(Ended::Restart(_)) => ExitCode::from(EXIT_PLANNED_RESTART),
            Err(error) => {
                // Our errors name their causes themselves.
                eprintln!("relay: {error}");
                ExitCode::FAILURE
            }
        }
    }
}

fn configure(file: Option<PathBuf>, settings: Settings) -> Result<Config, ConfigError> {
    let from_file = file.map_or_else(|| Ok(Settings::default()), |path| Settings::from_file(&path))?;
    settings.or(from_file).resolve()
}

#[tokio::main]
async fn serve(config: Config) -> anyhow::Result<Ended> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let stop = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    Ok(crate::serve::serve(config, stop).await?)
}
