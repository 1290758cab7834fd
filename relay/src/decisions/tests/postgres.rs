//! A PostgreSQL server of the test's own, in a folder of its own, ended with the test.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use sqlx::{ConnectOptions, Connection, Executor};

/// Where Debian's packages put the servers, one folder for each version.
const VERSIONS: &str = "/usr/lib/postgresql";
/// PostgreSQL refuses to run as root; Debian's package makes this user.
const USER: &str = "postgres";

pub(super) struct Server {
    binaries: PathBuf,
    /// Belongs to the server's user; removed with the server.
    folder: PathBuf,
    port: u16,
}

impl Server {
    /// Starts a server, or `None` where no PostgreSQL is installed.
    pub(super) fn start() -> Option<Server> {
        let versions = std::fs::read_dir(VERSIONS).ok()?;
        let binaries = versions.flatten().map(|version| version.path().join("bin"));
        let binaries = binaries.filter(|folder| folder.join("initdb").exists()).max()?;
        let made = run(unprivileged(Path::new("mktemp")).arg("-d"));
        let folder = PathBuf::from(String::from_utf8(made.stdout).unwrap().trim());
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let server = Server { binaries, folder, port };
        run(server.command("initdb").args(["--auth=trust", "--username=relay", "--no-sync", "-D"]).arg(&server.folder));
        let sockets = server.folder.display();
        let options = format!("-p {port} -c listen_addresses=127.0.0.1 -c fsync=off -k {sockets}");
        let log = server.folder.join("log");
        run(server.control().args(["start", "-w", "-o", &options, "-l"]).arg(log));
        Some(server)
    }

    /// An empty database; the URL to open it at.
    pub(super) async fn create_database(&self, name: &str) -> String {
        let url = |database: &str| format!("postgres://relay@127.0.0.1:{}/{database}", self.port);
        let options: sqlx::postgres::PgConnectOptions = url("postgres").parse().unwrap();
        let mut connection = options.connect().await.unwrap();
        connection.execute(sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}"))).await.unwrap();
        connection.close().await.unwrap();
        url(name)
    }

    fn command(&self, program: &str) -> Command {
        unprivileged(&self.binaries.join(program))
    }

    fn control(&self) -> Command {
        let mut command = self.command("pg_ctl");
        command.arg("-D").arg(&self.folder);
        command
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        run(self.control().args(["stop", "-m", "immediate"]));
        // It is in the system's temporary folder, should this fail.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// A command as a user that is not root.
fn unprivileged(program: &Path) -> Command {
    let id = run(Command::new("id").arg("-u"));
    if id.stdout.trim_ascii() != b"0" {
        return Command::new(program);
    }
    let mut command = Command::new("runuser");
    command.args(["-u", USER, "--"]).arg(program);
    command.current_dir("/");
    command
}

fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?} failed: {errors}");
    output
}
