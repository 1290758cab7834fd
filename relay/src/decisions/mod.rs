//! What people decide: hosts and their limits, banned domains, and who decided it.
//!
//! It lives in SQL, SQLite by default and PostgreSQL by URL, with one schema and one set of queries for both. Nothing
//! here is on the path of an event: there are some tens of statements a second at most.

mod audit;
mod backfill;
mod copy;
mod domains;
mod hosts;
mod open;
mod settings;
mod takedowns;
#[cfg(test)]
mod tests;

pub use audit::{Actor, AuditRow};
pub use backfill::{JobRow, PartRow, PartState, Retry};
pub use copy::CopyError;
pub use hosts::{DayIsFull, HostRow, HostStatus, OwnLimits};
pub use open::OpenError;
pub use settings::Setting;

use sqlx::any::AnyRow;
use sqlx::{Any, AnyPool, Decode, Row, Transaction, Type};

/// A handle on the decisions; clones share it.
#[derive(Debug, Clone)]
pub struct Decisions {
    pool: AnyPool,
}

/// A decision that could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database cannot be used at all.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The database failed.
    #[error("database of decisions: {0}")]
    Database(#[from] sqlx::Error),
    /// A row holds what the relay never writes.
    #[error("database of decisions: {column} {value:?} of a row in {table} means nothing to this version of the relay")]
    Row {
        /// The table.
        table: &'static str,
        /// The column.
        column: &'static str,
        /// What stands there.
        value: String,
    },
    /// There is no host of that id.
    #[error("there is no host with the id {0}")]
    NoHost(u32),
    /// Not a domain.
    #[error("{0:?} is not a domain; write one like example.com")]
    Domain(String),
    /// No more new hosts today.
    #[error(transparent)]
    DayIsFull(#[from] DayIsFull),
}

/// What an id is given to.
#[derive(Debug, Clone, Copy)]
enum Id {
    Host,
    Audit,
}

/// Takes the next id, and with it the right to write until the transaction ends.
async fn next_id(transaction: &mut Transaction<'_, Any>, of: Id) -> Result<i64, Error> {
    let name = match of {
        Id::Host => "host",
        Id::Audit => "audit",
    };
    let row = sqlx::query("UPDATE ids SET last_id = last_id + 1 WHERE name = $1 RETURNING last_id")
        .bind(name)
        .fetch_one(&mut **transaction)
        .await?;
    Ok(row.try_get("last_id")?)
}

/// Reads a number that has to fit its type.
fn get_number<N: TryFrom<i64>>(row: &AnyRow, table: &'static str, column: &'static str) -> Result<N, Error> {
    let number = get_optional_number(row, table, column)?;
    number.ok_or_else(|| Error::Row { table, column, value: "NULL".to_owned() })
}

fn get_optional_number<N: TryFrom<i64>>(
    row: &AnyRow,
    table: &'static str,
    column: &'static str,
) -> Result<Option<N>, Error> {
    let Some(value) = get::<Option<i64>>(row, column)? else { return Ok(None) };
    value.try_into().map(Some).map_err(|_| Error::Row { table, column, value: value.to_string() })
}

fn get<'r, T: Decode<'r, Any> + Type<Any>>(row: &'r AnyRow, column: &'static str) -> Result<T, Error> {
    Ok(row.try_get(column)?)
}

fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}
