//! The relays that are compared, as processes: how each is started and told which hosts to read from.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use clap::ValueEnum;
use sim::server::free_address;
use sim::{Fleet, Program};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection, SqliteConnection};

/// A relay is ready, or has stopped, within this.
const PATIENCE: Duration = Duration::from_secs(60);

/// Which relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Which {
    /// Ours
    Ours,
    /// indigo's, on SQLite
    Indigo,
}

/// What the relays are started with.
pub struct Lab {
    /// Our program.
    pub ours: PathBuf,
    /// indigo's.
    pub indigo: PathBuf,
    /// Where their data is put for a while.
    pub dir: PathBuf,
    /// Settings of ours.
    pub settings: Vec<String>,
}

/// A relay that reads from the hosts of a fleet.
pub struct Peer {
    which: Which,
    /// Where the firehose is.
    pub public: SocketAddr,
    /// The process.
    pub program: Program,
    command: Command,
    /// What is asked for whether it is ready.
    ready: String,
    dir: tempfile::TempDir,
}

impl Peer {
    /// Starts one with no data, and waits until it is ready and has connected to all hosts.
    pub async fn start(lab: &Lab, which: Which, fleet: &Fleet) -> anyhow::Result<Peer> {
        let dir = tempfile::tempdir_in(&lab.dir).context("no folder for the data")?;
        let (public, other) = (free_address(), free_address());
        let mut command = match which {
            Which::Ours => ours(lab, dir.path(), public, other, fleet),
            Which::Indigo => indigo(lab, dir.path(), public, other, fleet),
        };
        let ready = match which {
            Which::Ours => format!("http://{other}/readyz"),
            Which::Indigo => format!("http://{public}/xrpc/_health"),
        };
        let program = run(&mut command, dir.path())?;
        let mut peer = Peer { which, public, program, command, ready, dir };
        peer.ready().await?;
        if which == Which::Indigo {
            // It refuses hosts on the loopback interface but for those that its database has from before.
            peer.stop().await?;
            insert_hosts(&peer.dir.path().join("relay.sqlite"), fleet).await.context("indigo's database")?;
            peer.start_again().await?;
        }
        Ok(peer)
    }

    /// Starts it again, after it has ended.
    pub async fn start_again(&mut self) -> anyhow::Result<()> {
        self.program = run(&mut self.command, self.dir.path())?;
        self.ready().await
    }

    /// Asks it to stop, and waits until it has.
    pub async fn stop(&mut self) -> anyhow::Result<()> {
        let exit = self.program.terminate(PATIENCE).await;
        exit.with_context(|| format!("{:?} has not stopped within {PATIENCE:?}", self.which))?;
        Ok(())
    }

    async fn ready(&mut self) -> anyhow::Result<()> {
        let http = reqwest::Client::builder().no_proxy().build()?;
        let deadline = Instant::now() + PATIENCE;
        while !http.get(&self.ready).send().await.is_ok_and(|answer| answer.status().is_success()) {
            if let Some(exit) = self.program.exit() {
                let log = std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
                anyhow::bail!("{:?} has ended ({exit}):\n{log}", self.which);
            }
            ensure!(Instant::now() < deadline, "{:?} is not ready within {PATIENCE:?}", self.which);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }
}

fn run(command: &mut Command, dir: &Path) -> anyhow::Result<Program> {
    let log = dir.join("log");
    Program::start(command, &log).with_context(|| format!("cannot start {}", command.get_program().display()))
}

fn command(program: &Path, dir: &Path) -> Command {
    let mut command = Command::new(program);
    command.env_clear().current_dir(dir);
    command
}

/// Ours, with the durability that is the default, and without limits of hosts.
fn ours(lab: &Lab, dir: &Path, public: SocketAddr, admin: SocketAddr, fleet: &Fleet) -> Command {
    let mut command = command(&lab.ours, dir);
    command
        .arg("serve")
        .args(["--listen", &public.to_string(), "--admin-listen", &admin.to_string()])
        .args(["--plc-url", &fleet.plc.url(), "--allow-insecure-hosts", "--memory-limit=512Mi"])
        .args(["--host-events-per-second=0", "--host-account-limit=0"])
        .args(&lab.settings)
        .env("RELAY_HOSTS", fleet.names().collect::<Vec<_>>().join(","));
    command
}

/// indigo's, with its defaults.
fn indigo(lab: &Lab, dir: &Path, public: SocketAddr, metrics: SocketAddr, fleet: &Fleet) -> Command {
    let mut command = command(&lab.indigo, dir);
    command
        .args(["--plc-host", &fleet.plc.url(), "serve"])
        .args(["--bind", &public.to_string(), "--metrics-listen", &metrics.to_string()])
        .args(["--db-url", "sqlite://relay.sqlite", "--persist-dir", "persist"]);
    command
}

/// Enters the hosts into indigo's database as trusted ones, which have hardly any limits.
async fn insert_hosts(database: &Path, fleet: &Fleet) -> sqlx::Result<()> {
    let mut connection: SqliteConnection = SqliteConnectOptions::new().filename(database).connect().await?;
    let mut transaction = connection.begin().await?;
    for name in fleet.names() {
        let insert = "INSERT INTO host (created_at, updated_at, hostname, no_ssl, account_limit, trusted, status, last_seq, \
                      account_count) VALUES (datetime('now'), datetime('now'), ?, 1, 10000000, 1, 'active', -1, 0)";
        sqlx::query(insert).bind(name).execute(&mut *transaction).await?;
    }
    transaction.commit().await?;
    connection.close().await
}
