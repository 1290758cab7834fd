//! Opening the database: URL, connection, schema.

use std::str::FromStr;
use std::sync::Once;
use std::time::Duration;

use sqlx::any::{AnyConnectOptions, AnyPoolOptions};
use sqlx::migrate::{MigrateError, Migrator};
use sqlx::{AnyConnection, ConnectOptions, Connection, Executor};

use super::{Decisions, Error};

/// The schema, step by step, in the binary.
static MIGRATIONS: Migrator = sqlx::migrate!("./migrations");

/// Connections to the database: decisions are few, and SQLite lets one write at a time anyway.
const CONNECTIONS_MAX: u32 = 4;
/// A database that does not answer within this is not there. Also bounds the wait for a connection of the pool.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(10);
/// SQLite's log beside the file lets readers go on while one writes. (A busy timeout of 5 s, foreign keys and a sync
/// for each commit are what sqlx and SQLite begin with.)
const SQLITE_SETTINGS: &str = "PRAGMA journal_mode = WAL";

/// The database cannot be used; the message says what to do.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Not the URL of a database.
    #[error("database-url: {0}; write sqlite://FILE or postgres://USER:PASSWORD@HOST/DATABASE")]
    Url(String),
    /// The file cannot be opened, created or written.
    #[error(
        "cannot use the SQLite database {file}: {source}; check that its folder exists and the relay may write there"
    )]
    File {
        /// The file as the URL names it.
        file: String,
        /// Why.
        source: sqlx::Error,
    },
    /// The server cannot be reached or refuses.
    #[error(
        "cannot use the PostgreSQL database {url}: {reason}; check that the server runs and that host, user, password and database in database-url are right"
    )]
    Server {
        /// The URL without its password.
        url: String,
        /// Why.
        reason: String,
    },
    /// The schema is of another version.
    #[error(
        "the schema in the database {url} does not fit: {source}; run the version of the relay that made it, or a newer one"
    )]
    Schema {
        /// The URL without its password.
        url: String,
        /// Why.
        source: MigrateError,
    },
}

/// A database URL that was understood.
struct Target {
    options: AnyConnectOptions,
    /// The URL as messages and logs may show it.
    shown: String,
    is_sqlite: bool,
}

impl Decisions {
    /// Opens the database of `url` (`sqlite://FILE`, created when missing, or `postgres://…`) and brings its schema up
    /// to date.
    pub async fn open(url: &str) -> Result<Decisions, Error> {
        install_drivers();
        let target = Target::parse(url)?;
        // A pool would try again until its time is up and then hide the reason.
        let mut connection = target.connect().await?;
        // Closing is a courtesy to the server; there is nothing to lose.
        let migrated = MIGRATIONS.run(&mut connection).await;
        let _ = connection.close().await;
        migrated.map_err(|error| target.explain_migration(error))?;

        let is_sqlite = target.is_sqlite;
        let pool = AnyPoolOptions::new()
            .max_connections(CONNECTIONS_MAX)
            .acquire_timeout(CONNECT_TIME_MAX)
            .after_connect(move |connection, _| {
                Box::pin(async move {
                    if is_sqlite {
                        connection.execute(SQLITE_SETTINGS).await?;
                    }
                    Ok(())
                })
            })
            .connect_lazy_with(target.options);
        Ok(Decisions { pool })
    }

    /// The same for a database that has to be there: a SQLite file is not made.
    pub async fn open_existing(url: &str) -> Result<Decisions, Error> {
        match url.split_once('?') {
            _ if !url.starts_with("sqlite:") => Self::open(url).await,
            Some((_, query)) if query.contains("mode=") => Self::open(url).await,
            Some((file, query)) => Self::open(&format!("{file}?{query}&mode=rw")).await,
            None => Self::open(&format!("{url}?mode=rw")).await,
        }
    }

    /// Ends the connections, once what runs on them is done.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}

fn install_drivers() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(sqlx::any::install_default_drivers);
}

impl Target {
    fn parse(url: &str) -> Result<Target, OpenError> {
        let malformed = |reason: &dyn std::fmt::Display| OpenError::Url(reason.to_string());
        match url.split_once(':').map(|(scheme, _)| scheme) {
            Some("sqlite") => {
                let url = sqlite_url(url);
                let options = AnyConnectOptions::from_str(&url).map_err(|error| malformed(&error))?;
                let shown = url.split('?').next().unwrap_or_default().to_owned();
                Ok(Target { options, shown, is_sqlite: true })
            }
            Some("postgres" | "postgresql") => {
                let options = AnyConnectOptions::from_str(url).map_err(|error| malformed(&error))?;
                let mut shown = options.database_url.clone();
                // Fails for a URL without a host, which has no password either.
                let _ = shown.set_password(None);
                shown.set_query(None);
                Ok(Target { options, shown: shown.into(), is_sqlite: false })
            }
            Some(scheme) => Err(malformed(&format_args!("{scheme:?} is no database the relay knows"))),
            None => Err(malformed(&"it is not a URL")),
        }
    }

    async fn connect(&self) -> Result<AnyConnection, OpenError> {
        let connected = tokio::time::timeout(CONNECT_TIME_MAX, self.options.connect()).await;
        let mut connection = match connected {
            Ok(Ok(connection)) => connection,
            Ok(Err(error)) => return Err(self.explain(error)),
            Err(_) => {
                let reason = format!("no answer within {} s", CONNECT_TIME_MAX.as_secs());
                return Err(OpenError::Server { url: self.shown.clone(), reason });
            }
        };
        if self.is_sqlite {
            connection.execute(SQLITE_SETTINGS).await.map_err(|error| self.explain(error))?;
        }
        Ok(connection)
    }

    fn explain(&self, error: sqlx::Error) -> OpenError {
        if self.is_sqlite {
            OpenError::File { file: self.shown.clone(), source: error }
        } else {
            OpenError::Server { url: self.shown.clone(), reason: error.to_string() }
        }
    }

    fn explain_migration(&self, error: MigrateError) -> OpenError {
        match error {
            MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => self.explain(error),
            error => OpenError::Schema { url: self.shown.clone(), source: error },
        }
    }
}

/// The URL in the form that the driver takes: without slashes, since it would take the first folder of a relative
/// path for a host name; and creating the file, unless the URL says otherwise.
fn sqlite_url(url: &str) -> String {
    let rest = url.trim_start_matches("sqlite:");
    let rest = rest.strip_prefix("//").unwrap_or(rest);
    match rest.split_once('?') {
        None => format!("sqlite:{rest}?mode=rwc"),
        Some((_, query)) if query.contains("mode=") => format!("sqlite:{rest}"),
        Some((file, query)) => format!("sqlite:{file}?{query}&mode=rwc"),
    }
}
