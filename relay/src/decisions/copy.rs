//! Decisions as lines of JSON: a backup, and the way from one database to another.
//!
//! The first line says what it is, then comes a line for each row, table by table, and the last line says how many there were:
//! a file without it is not whole. Ids are kept, since the log and the derived store name hosts by them.

use std::io::{BufRead, Write};

use futures_util::TryStreamExt;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sqlx::any::AnyRow;
use sqlx::{Any, AssertSqlSafe, Row, Transaction};

use super::{Decisions, Error};

/// What the first line says.
const FORMAT: &str = "relay-decisions";
/// The form of the lines.
const VERSION: u32 = 1;
/// Ids of hosts that are left out after an import. The relay may have given some to hosts since the file was written, and its
/// log and its accounts still name those.
const HOST_IDS_SKIPPED: i64 = 100_000;
/// Longest line that is read, in bytes: a row has a JSON document at most.
const LINE_BYTES_MAX: u64 = 16 << 20;

/// A table: its name, the columns that hold numbers, those that hold text, and what its rows are ordered by.
struct Table {
    name: &'static str,
    numbers: &'static [&'static str],
    texts: &'static [&'static str],
    key: &'static str,
}

/// Every table of the schema. A test holds them against the migrations.
const TABLES: &[Table] = &[
    Table { name: "ids", numbers: &["last_id"], texts: &["name"], key: "name" },
    Table {
        name: "hosts",
        numbers: &[
            "id",
            "insecure",
            "account_limit",
            "events_per_second",
            "added_at_ms",
            "failures",
            "last_error_at_ms",
            "counted",
        ],
        texts: &["hostname", "status", "last_error", "validation"],
        key: "id",
    },
    Table { name: "domain_bans", numbers: &["banned_at_ms"], texts: &["domain"], key: "domain" },
    Table { name: "audit", numbers: &["id", "at_ms"], texts: &["actor", "action", "subject", "detail"], key: "id" },
    Table { name: "takedowns", numbers: &["taken_down_at_ms"], texts: &["did"], key: "did" },
    Table { name: "settings", numbers: &[], texts: &["name", "value"], key: "name" },
    Table {
        name: "backfill_jobs",
        numbers: &[
            "last_error_at_ms",
            "run",
            "incarnation",
            "planned",
            "resumes",
            "resumed_at_ms",
            "created_at_ms",
            "started_at_ms",
            "finished_at_ms",
            "next_run_at_ms",
        ],
        texts: &["name", "spec", "state", "reason", "last_error", "resumed_from"],
        key: "name",
    },
    Table {
        name: "backfill_parts",
        numbers: &[
            "number", "expected", "steps", "moves", "restarts", "furthest", "seen", "added", "removed", "retrying",
        ],
        texts: &["job", "key", "provider", "state", "cursor", "classes", "error"],
        key: "job, key",
    },
    Table {
        name: "backfill_retries",
        numbers: &["tries", "next_at_ms"],
        texts: &["job", "part", "did", "reason"],
        key: "job, part, did",
    },
];

/// Decisions that could not be written down or read back.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// The database.
    #[error(transparent)]
    Decisions(#[from] Error),
    /// The file.
    #[error("cannot read or write the decisions: {0}")]
    Io(#[from] std::io::Error),
    /// Not what an export has written.
    #[error("line {line} is not of an export of decisions: {reason}; nothing was imported")]
    Line {
        /// Which, from 1.
        line: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// The export was cut off.
    #[error(
        "the export is not whole: its last line is missing or counts other rows than there are; nothing was imported"
    )]
    Cut,
    /// There are decisions already.
    #[error(
        "the database has decisions already (in the table {0}); import into an empty one, or say --replace to delete them first"
    )]
    NotEmpty(&'static str),
}

impl From<sqlx::Error> for CopyError {
    fn from(error: sqlx::Error) -> Self {
        Self::Decisions(error.into())
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    format: String,
    version: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    table: String,
    row: Map<String, Value>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct End {
    rows: u64,
}

impl Decisions {
    /// Writes every decision to `out`, as they are at one moment; the answer is how many rows there were.
    pub async fn export(&self, out: &mut impl Write) -> Result<u64, CopyError> {
        let mut transaction = self.pool.begin().await?;
        if self.pool.connect_options().database_url.scheme().starts_with("postgres") {
            // SQLite sees one moment anyway.
            let one_moment = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY";
            sqlx::query(one_moment).execute(&mut *transaction).await?;
        }
        write_line(out, &Head { format: FORMAT.to_owned(), version: VERSION })?;
        let mut count = 0;
        for table in TABLES {
            let select = format!("SELECT {} FROM {} ORDER BY {}", table.columns(), table.name, table.key);
            let mut rows = sqlx::query(AssertSqlSafe(select)).fetch(&mut *transaction);
            while let Some(row) = rows.try_next().await? {
                write_line(out, &Line { table: table.name.to_owned(), row: table.read(&row)? })?;
                count += 1;
            }
        }
        write_line(out, &End { rows: count })?;
        out.flush()?;
        Ok(count)
    }

    /// Reads what [`Decisions::export`] has written, all of it or nothing; the answer is how many rows there were. Decisions
    /// that are there are in the way, unless they are to be replaced.
    pub async fn import(&self, input: &mut impl BufRead, replace: bool) -> Result<u64, CopyError> {
        let mut transaction = self.pool.begin().await?;
        let given = self.clear(&mut transaction, replace).await?;
        let mut lines = Lines { input, number: 0 };
        let head: Head = lines.parse_next()?.ok_or(CopyError::Cut)?;
        if head.format != FORMAT || head.version != VERSION {
            return Err(lines.wrong("it is of another format or version"));
        }
        let mut count = 0;
        loop {
            let Some(value) = lines.parse_next::<Value>()? else { return Err(CopyError::Cut) };
            if let Ok(end) = End::deserialize(&value) {
                if end.rows != count {
                    return Err(CopyError::Cut);
                }
                break;
            }
            let line = Line::deserialize(&value).map_err(|error| lines.wrong(error))?;
            let table = TABLES.iter().find(|table| table.name == line.table);
            let table = table.ok_or_else(|| lines.wrong(format_args!("there is no table {:?}", line.table)))?;
            table.insert(&mut transaction, &line.row, &lines).await?;
            count += 1;
        }
        let skip = "UPDATE ids SET last_id = CASE WHEN last_id > $1 THEN last_id ELSE $1 END + $2 WHERE name = 'host'";
        sqlx::query(skip).bind(given).bind(HOST_IDS_SKIPPED).execute(&mut *transaction).await?;
        transaction.commit().await?;
        Ok(count)
    }

    /// Empties every table; the answer is the last id that was given to a host.
    async fn clear(&self, transaction: &mut Transaction<'_, Any>, replace: bool) -> Result<i64, CopyError> {
        // With this row, the right to write: nobody adds anything meanwhile.
        let given = sqlx::query("UPDATE ids SET last_id = last_id WHERE name = 'host' RETURNING last_id")
            .fetch_one(&mut **transaction)
            .await?;
        for table in TABLES {
            if table.name != "ids" && !replace {
                let any = format!("SELECT 1 FROM {} LIMIT 1", table.name);
                if sqlx::query(AssertSqlSafe(any)).fetch_optional(&mut **transaction).await?.is_some() {
                    return Err(CopyError::NotEmpty(table.name));
                }
            }
            let delete = format!("DELETE FROM {}", table.name);
            sqlx::query(AssertSqlSafe(delete)).execute(&mut **transaction).await?;
        }
        Ok(given.try_get("last_id")?)
    }
}

impl Table {
    fn columns(&self) -> String {
        let all: Vec<&str> = self.numbers.iter().chain(self.texts).copied().collect();
        all.join(", ")
    }

    fn read(&self, row: &AnyRow) -> Result<Map<String, Value>, sqlx::Error> {
        let mut read = Map::new();
        for &column in self.numbers {
            read.insert(column.to_owned(), row.try_get::<Option<i64>, _>(column)?.into());
        }
        for &column in self.texts {
            read.insert(column.to_owned(), row.try_get::<Option<String>, _>(column)?.into());
        }
        Ok(read)
    }

    /// Inserts `row`. A column that it lacks gets its default, so that an older export can be read.
    async fn insert<R>(
        &self,
        transaction: &mut Transaction<'_, Any>,
        row: &Map<String, Value>,
        lines: &Lines<'_, R>,
    ) -> Result<(), CopyError> {
        let names: Vec<&str> = row.keys().map(String::as_str).collect();
        for name in &names {
            // From here on the names are ours.
            if !self.numbers.contains(name) && !self.texts.contains(name) {
                return Err(lines.wrong(format_args!("the table {} has no column {name:?}", self.name)));
            }
        }
        let places: Vec<String> = (1..=names.len()).map(|number| format!("${number}")).collect();
        let insert = format!("INSERT INTO {} ({}) VALUES ({})", self.name, names.join(", "), places.join(", "));
        let mut query = sqlx::query(AssertSqlSafe(insert));
        for (name, value) in row {
            let wrong = || lines.wrong(format_args!("the value of {name:?} is of another type"));
            query = if self.numbers.contains(&name.as_str()) {
                let number = value.as_i64();
                if number.is_none() && !value.is_null() {
                    return Err(wrong());
                }
                query.bind(number)
            } else {
                let text = value.as_str().map(str::to_owned);
                if text.is_none() && !value.is_null() {
                    return Err(wrong());
                }
                query.bind(text)
            };
        }
        query.execute(&mut **transaction).await?;
        Ok(())
    }
}

/// The lines of an export, with their numbers.
struct Lines<'a, R> {
    input: &'a mut R,
    number: u64,
}

impl<R> Lines<'_, R> {
    fn wrong(&self, reason: impl std::fmt::Display) -> CopyError {
        CopyError::Line { line: self.number, reason: reason.to_string() }
    }
}

impl<R: BufRead> Lines<'_, R> {
    /// The next line, or `None` at the end.
    fn parse_next<T: for<'de> Deserialize<'de>>(&mut self) -> Result<Option<T>, CopyError> {
        let mut text = Vec::new();
        self.number += 1;
        let limited: &mut dyn BufRead = &mut std::io::Read::take(&mut *self.input, LINE_BYTES_MAX);
        if limited.read_until(b'\n', &mut text)? == 0 {
            return Ok(None);
        }
        serde_json::from_slice(&text).map(Some).map_err(|error| self.wrong(error))
    }
}

fn write_line(out: &mut impl Write, line: &impl Serialize) -> std::io::Result<()> {
    serde_json::to_writer(&mut *out, line)?;
    out.write_all(b"\n")
}

#[cfg(test)]
pub(super) mod tests {
    #![allow(clippy::unwrap_used)]

    use std::collections::BTreeSet;

    use super::*;

    /// The tables of the schema with their columns, as a SQLite database has them.
    pub(in crate::decisions) async fn assert_every_table_is_copied(decisions: &Decisions) {
        let rows =
            sqlx::query("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE '\\_%' ESCAPE '\\'")
                .fetch_all(&decisions.pool)
                .await
                .unwrap();
        let names: BTreeSet<String> = rows.iter().map(|row| row.get("name")).collect();
        assert_eq!(names, TABLES.iter().map(|table| table.name.to_owned()).collect(), "a migration has a new table");
        for table in TABLES {
            let info = format!("SELECT name, type FROM pragma_table_info('{}')", table.name);
            let rows = sqlx::query(AssertSqlSafe(info)).fetch_all(&decisions.pool).await.unwrap();
            let of = |kind: &str| -> BTreeSet<String> {
                rows.iter().filter(|row| row.get::<String, _>("type") == kind).map(|row| row.get("name")).collect()
            };
            let listed = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
            assert_eq!(of("BIGINT"), listed(table.numbers), "{}", table.name);
            assert_eq!(of("TEXT"), listed(table.texts), "{}", table.name);
        }
    }
}
