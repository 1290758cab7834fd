//! `relay decisions`: writes down what people have decided, and brings it into another database.

use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use crate::config::Settings;
use crate::decisions::Decisions as Database;

/// Writes down what people have decided, and brings it into another database
#[derive(Debug, clap::Args)]
pub struct Decisions {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Prints all decisions as lines of JSON; beside a running relay too
    Export {
        #[command(flatten)]
        place: Place,
    },
    /// Reads them from standard input, all or nothing; no relay may run on the database
    Import {
        #[command(flatten)]
        place: Place,
        /// Delete the decisions that are there first
        #[arg(long)]
        replace: bool,
    },
    /// Exports from one database and imports into another; no relay may run on either
    Copy {
        /// The database to read: sqlite://FILE or postgres://…
        #[arg(long, env = "RELAY_DECISIONS_FROM", value_name = "URL", hide_env_values = true)]
        from: String,
        /// The database to write
        #[command(flatten)]
        place: Place,
        /// Delete the decisions that are there first
        #[arg(long)]
        replace: bool,
    },
}

/// Which database.
#[derive(Debug, clap::Args)]
struct Place {
    /// TOML file of the relay, of which database-url and data-dir are taken
    #[arg(long, env = "RELAY_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,

    /// Folder of the relay's data [default: ./data]
    #[arg(long, env = "RELAY_DATA_DIR", value_name = "DIR")]
    data_dir: Option<PathBuf>,

    /// sqlite://FILE or postgres://… [default: SQLite inside the data folder]
    #[arg(long, env = "RELAY_DATABASE_URL", value_name = "URL", hide_env_values = true)]
    database_url: Option<String>,
}

impl Place {
    fn url(self) -> anyhow::Result<String> {
        let from_file = self.config.map_or_else(|| Ok(Settings::default()), |path| Settings::from_file(&path))?;
        let given = Settings { data_dir: self.data_dir, database_url: self.database_url, ..Settings::default() };
        Ok(given.or(from_file).database_url())
    }
}

impl Decisions {
    /// Runs the command; what it has done stands on standard error.
    pub fn run(self) -> ExitCode {
        super::end(run(self.command).map(|()| ExitCode::SUCCESS))
    }
}

#[tokio::main(flavor = "current_thread")]
async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Export { place } => {
            let mut out = BufWriter::new(io::stdout().lock());
            export(&place.url()?, &mut out).await?;
            out.flush()?;
            Ok(())
        }
        Command::Import { place, replace } => import(&place.url()?, io::stdin().lock(), replace).await,
        Command::Copy { from, place, replace } => {
            // In memory: decisions are small, and the file system of a pod may be read-only.
            let mut between = Vec::new();
            export(&from, &mut between).await?;
            import(&place.url()?, between.as_slice(), replace).await
        }
    }
}

async fn export(url: &str, out: &mut impl Write) -> anyhow::Result<()> {
    let database = Database::open_existing(url).await?;
    let exported = database.export(out).await;
    database.close().await;
    eprintln!("relay: {} rows exported", exported?);
    Ok(())
}

async fn import(url: &str, input: impl Read, replace: bool) -> anyhow::Result<()> {
    let database = Database::open(url).await?;
    let imported = database.import(&mut BufReader::new(input), replace).await;
    database.close().await;
    eprintln!("relay: {} rows imported", imported?);
    Ok(())
}
