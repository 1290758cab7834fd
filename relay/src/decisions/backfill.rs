//! Backfill jobs: what is asked of them, and how far they are.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sqlx::any::AnyRow;
use sqlx::{Any, Row, Transaction};

use super::audit::{self, Actor};
use super::{Decisions, Error, get, get_number, get_optional_number};
use crate::backfill::{Spec, State};

const JOBS: &str = "backfill_jobs";
const PARTS: &str = "backfill_parts";
const RETRIES: &str = "backfill_retries";

/// What is remembered of a job.
#[derive(Debug, Clone, PartialEq)]
pub struct JobRow {
    /// Its name.
    pub name: String,
    /// What is asked of it.
    pub spec: Spec,
    /// How it stands; a job that waits is [`State::Running`] here.
    pub state: State,
    /// Why, in words.
    pub reason: Option<String>,
    /// The last thing that went wrong.
    pub last_error: Option<String>,
    /// When.
    pub last_error_at_ms: Option<i64>,
    /// How many times it has begun from the start.
    pub run: u64,
    /// Which directory this run fills.
    pub incarnation: u64,
    /// Whether the parts of this run are those that the spec asks for.
    pub is_planned: bool,
    /// How many times a start of the relay found it unfinished.
    pub resumes: u64,
    /// Where it went on, the last time.
    pub resumed_from: Option<String>,
    /// When.
    pub resumed_at_ms: Option<i64>,
    /// When it was made.
    pub created_at_ms: i64,
    /// When this run began.
    pub started_at_ms: Option<i64>,
    /// When this run ended.
    pub finished_at_ms: Option<i64>,
    /// When its schedule starts it again.
    pub next_run_at_ms: Option<i64>,
}

/// How a part of a job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PartState {
    /// There is more to read.
    Open,
    /// All is read; some accounts are to be asked again.
    Retrying,
    /// It has done all that it could.
    Done,
    /// It cannot be done.
    Failed,
}

/// What is remembered of a part of a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartRow {
    /// Names it in its job.
    pub key: String,
    /// Whom it asks.
    pub provider: String,
    /// How many DIDs it may have.
    pub expected: Option<u64>,
    /// How it stands.
    pub state: PartState,
    /// Where the next step begins.
    pub cursor: Option<String>,
    /// Steps since it was begun, the last time.
    pub steps: u64,
    /// Changes of this row in its run: which of two is the newer one.
    pub moves: u64,
    /// How often it was begun anew without having come further.
    pub restarts: u64,
    /// DIDs that were seen before it was begun anew, at most.
    pub furthest: u64,
    /// DIDs that its source has named.
    pub seen: u64,
    /// Pairs that were new.
    pub added: u64,
    /// Pairs that went.
    pub removed: u64,
    /// Accounts that are to be asked again.
    pub retrying: u64,
    /// Accounts by what was found of them.
    pub classes: BTreeMap<String, u64>,
    /// Why it failed.
    pub error: Option<String>,
}

/// An account that is to be asked again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retry {
    /// The account.
    pub did: String,
    /// Why the last try failed.
    pub reason: String,
    /// Tries that failed.
    pub tries: u32,
    /// When it is tried again.
    pub next_at_ms: i64,
}

impl Decisions {
    /// All jobs, by name.
    pub async fn backfill_jobs(&self) -> Result<Vec<JobRow>, Error> {
        let rows = sqlx::query("SELECT * FROM backfill_jobs ORDER BY name").fetch_all(&self.pool).await?;
        rows.iter().map(read_job).collect()
    }

    /// The parts of a job, in their order.
    pub async fn backfill_parts(&self, job: &str) -> Result<Vec<PartRow>, Error> {
        let select = sqlx::query("SELECT * FROM backfill_parts WHERE job = $1 ORDER BY number").bind(job);
        select.fetch_all(&self.pool).await?.iter().map(read_part).collect()
    }

    /// Makes or changes a job; `action` is what the audit calls it.
    pub async fn put_backfill_job(&self, job: &JobRow, by: Actor<'_>, action: &str) -> Result<(), Error> {
        let mut transaction = self.pool.begin().await?;
        put_job(&mut transaction, job).await?;
        audit::record(&mut transaction, by, action, &job.name, None).await?;
        transaction.commit().await?;
        Ok(())
    }

    /// Changes a job, and gives it these parts in place of those that it has. Accounts that are to be asked again stay
    /// with the parts that still say so.
    pub async fn plan_backfill_job(
        &self,
        job: &JobRow,
        parts: &[PartRow],
        by: Actor<'_>,
        action: &str,
    ) -> Result<(), Error> {
        let insert = "INSERT INTO backfill_parts (job, key, number, provider, expected, state, cursor, steps, moves, \
             restarts, furthest, seen, added, removed, retrying, classes, error) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)";
        let forget = "DELETE FROM backfill_retries WHERE job = $1 AND part NOT IN \
             (SELECT key FROM backfill_parts WHERE job = $1 AND retrying > 0)";
        let mut transaction = self.pool.begin().await?;
        put_job(&mut transaction, job).await?;
        let delete = sqlx::query("DELETE FROM backfill_parts WHERE job = $1").bind(&job.name);
        delete.execute(&mut *transaction).await?;
        for (number, part) in (0i64..).zip(parts) {
            sqlx::query(insert)
                .bind(&job.name)
                .bind(&part.key)
                .bind(number)
                .bind(&part.provider)
                .bind(part.expected.map(to_sql))
                .bind(to_name(&part.state, PARTS, "state")?)
                .bind(part.cursor.as_deref())
                .bind(to_sql(part.steps))
                .bind(to_sql(part.moves))
                .bind(to_sql(part.restarts))
                .bind(to_sql(part.furthest))
                .bind(to_sql(part.seen))
                .bind(to_sql(part.added))
                .bind(to_sql(part.removed))
                .bind(to_sql(part.retrying))
                .bind(to_json(&part.classes, PARTS, "classes")?)
                .bind(part.error.as_deref())
                .execute(&mut *transaction)
                .await?;
        }
        sqlx::query(forget).bind(&job.name).execute(&mut *transaction).await?;
        audit::record(&mut transaction, by, action, &job.name, None).await?;
        transaction.commit().await?;
        Ok(())
    }

    /// Writes how far a part is, with the accounts that are to be asked again and those that need not be any more; the
    /// answer is how many there are now.
    pub async fn move_backfill_part(
        &self,
        job: &str,
        part: &PartRow,
        again: &[Retry],
        settled: &[String],
    ) -> Result<u64, Error> {
        let insert = "INSERT INTO backfill_retries (job, part, did, reason, tries, next_at_ms) \
             VALUES ($1, $2, $3, $4, $5, $6) \
             ON CONFLICT (job, part, did) DO UPDATE SET reason = $4, tries = $5, next_at_ms = $6";
        let mut transaction = self.pool.begin().await?;
        update_part(&mut transaction, job, part).await?;
        for retry in again {
            sqlx::query(insert)
                .bind(job)
                .bind(&part.key)
                .bind(&retry.did)
                .bind(&retry.reason)
                .bind(i64::from(retry.tries))
                .bind(retry.next_at_ms)
                .execute(&mut *transaction)
                .await?;
        }
        for did in settled {
            let delete = sqlx::query("DELETE FROM backfill_retries WHERE job = $1 AND part = $2 AND did = $3");
            delete.bind(job).bind(&part.key).bind(did).execute(&mut *transaction).await?;
        }
        let mut retrying = part.retrying;
        if !again.is_empty() || !settled.is_empty() {
            retrying = count_retries(&mut transaction, job, &part.key).await?;
        }
        transaction.commit().await?;
        Ok(retrying)
    }

    /// Writes that a part begins anew or has failed, and forgets the accounts that were to be asked again.
    pub async fn reset_backfill_part(&self, job: &str, part: &PartRow) -> Result<(), Error> {
        let mut transaction = self.pool.begin().await?;
        update_part(&mut transaction, job, part).await?;
        let delete = sqlx::query("DELETE FROM backfill_retries WHERE job = $1 AND part = $2");
        delete.bind(job).bind(&part.key).execute(&mut *transaction).await?;
        transaction.commit().await?;
        Ok(())
    }

    /// Up to `limit` accounts of a part that are to be asked again, the next one first.
    pub async fn backfill_retries(&self, job: &str, part: &str, limit: u32) -> Result<Vec<Retry>, Error> {
        let select = "SELECT * FROM backfill_retries WHERE job = $1 AND part = $2 ORDER BY next_at_ms, did LIMIT $3";
        let rows = sqlx::query(select).bind(job).bind(part).bind(i64::from(limit)).fetch_all(&self.pool).await?;
        rows.iter().map(read_retry).collect()
    }

    /// Removes a job with all that belongs to it.
    pub async fn delete_backfill_job(&self, name: &str, by: Actor<'_>) -> Result<(), Error> {
        let mut transaction = self.pool.begin().await?;
        for delete in [
            "DELETE FROM backfill_retries WHERE job = $1",
            "DELETE FROM backfill_parts WHERE job = $1",
            "DELETE FROM backfill_jobs WHERE name = $1",
        ] {
            sqlx::query(delete).bind(name).execute(&mut *transaction).await?;
        }
        audit::record(&mut transaction, by, "delete_backfill_job", name, None).await?;
        transaction.commit().await?;
        Ok(())
    }
}

async fn put_job(transaction: &mut Transaction<'_, Any>, job: &JobRow) -> Result<(), Error> {
    let upsert = "INSERT INTO backfill_jobs (name, spec, state, reason, last_error, last_error_at_ms, run, incarnation, \
         planned, resumes, resumed_from, resumed_at_ms, created_at_ms, started_at_ms, finished_at_ms, next_run_at_ms) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16) \
         ON CONFLICT (name) DO UPDATE SET spec = $2, state = $3, reason = $4, last_error = $5, last_error_at_ms = $6, \
         run = $7, incarnation = $8, planned = $9, resumes = $10, resumed_from = $11, resumed_at_ms = $12, \
         created_at_ms = $13, started_at_ms = $14, finished_at_ms = $15, next_run_at_ms = $16";
    sqlx::query(upsert)
        .bind(&job.name)
        .bind(to_json(&job.spec, JOBS, "spec")?)
        .bind(to_name(&job.state, JOBS, "state")?)
        .bind(job.reason.as_deref())
        .bind(job.last_error.as_deref())
        .bind(job.last_error_at_ms)
        .bind(to_sql(job.run))
        .bind(job.incarnation.cast_signed())
        .bind(i64::from(job.is_planned))
        .bind(to_sql(job.resumes))
        .bind(job.resumed_from.as_deref())
        .bind(job.resumed_at_ms)
        .bind(job.created_at_ms)
        .bind(job.started_at_ms)
        .bind(job.finished_at_ms)
        .bind(job.next_run_at_ms)
        .execute(&mut **transaction)
        .await?;
    Ok(())
}

async fn update_part(transaction: &mut Transaction<'_, Any>, job: &str, part: &PartRow) -> Result<(), Error> {
    let update = "UPDATE backfill_parts SET state = $3, cursor = $4, steps = $5, moves = $6, restarts = $7, \
         furthest = $8, seen = $9, added = $10, removed = $11, retrying = $12, classes = $13, error = $14 \
         WHERE job = $1 AND key = $2";
    sqlx::query(update)
        .bind(job)
        .bind(&part.key)
        .bind(to_name(&part.state, PARTS, "state")?)
        .bind(part.cursor.as_deref())
        .bind(to_sql(part.steps))
        .bind(to_sql(part.moves))
        .bind(to_sql(part.restarts))
        .bind(to_sql(part.furthest))
        .bind(to_sql(part.seen))
        .bind(to_sql(part.added))
        .bind(to_sql(part.removed))
        .bind(to_sql(part.retrying))
        .bind(to_json(&part.classes, PARTS, "classes")?)
        .bind(part.error.as_deref())
        .execute(&mut **transaction)
        .await?;
    Ok(())
}

/// Counts what a part's retries are now, and says so in its row.
async fn count_retries(transaction: &mut Transaction<'_, Any>, job: &str, part: &str) -> Result<u64, Error> {
    let count = "SELECT COUNT(*) AS retrying FROM backfill_retries WHERE job = $1 AND part = $2";
    let row = sqlx::query(count).bind(job).bind(part).fetch_one(&mut **transaction).await?;
    let retrying = get_number(&row, RETRIES, "retrying")?;
    let update = "UPDATE backfill_parts SET retrying = $3 WHERE job = $1 AND key = $2";
    sqlx::query(update).bind(job).bind(part).bind(to_sql(retrying)).execute(&mut **transaction).await?;
    Ok(retrying)
}

fn read_job(row: &AnyRow) -> Result<JobRow, Error> {
    Ok(JobRow {
        name: get(row, "name")?,
        spec: from_json(row, JOBS, "spec")?,
        state: from_name(row, JOBS, "state")?,
        reason: get(row, "reason")?,
        last_error: get(row, "last_error")?,
        last_error_at_ms: get(row, "last_error_at_ms")?,
        run: get_number(row, JOBS, "run")?,
        incarnation: get::<i64>(row, "incarnation")?.cast_unsigned(),
        is_planned: get::<i64>(row, "planned")? != 0,
        resumes: get_number(row, JOBS, "resumes")?,
        resumed_from: get(row, "resumed_from")?,
        resumed_at_ms: get(row, "resumed_at_ms")?,
        created_at_ms: get(row, "created_at_ms")?,
        started_at_ms: get(row, "started_at_ms")?,
        finished_at_ms: get(row, "finished_at_ms")?,
        next_run_at_ms: get(row, "next_run_at_ms")?,
    })
}

fn read_part(row: &AnyRow) -> Result<PartRow, Error> {
    Ok(PartRow {
        key: get(row, "key")?,
        provider: get(row, "provider")?,
        expected: get_optional_number(row, PARTS, "expected")?,
        state: from_name(row, PARTS, "state")?,
        cursor: get(row, "cursor")?,
        steps: get_number(row, PARTS, "steps")?,
        moves: get_number(row, PARTS, "moves")?,
        restarts: get_number(row, PARTS, "restarts")?,
        furthest: get_number(row, PARTS, "furthest")?,
        seen: get_number(row, PARTS, "seen")?,
        added: get_number(row, PARTS, "added")?,
        removed: get_number(row, PARTS, "removed")?,
        retrying: get_number(row, PARTS, "retrying")?,
        classes: from_json(row, PARTS, "classes")?,
        error: get(row, "error")?,
    })
}

fn read_retry(row: &AnyRow) -> Result<Retry, Error> {
    Ok(Retry {
        did: get(row, "did")?,
        reason: get(row, "reason")?,
        tries: get_number(row, RETRIES, "tries")?,
        next_at_ms: get(row, "next_at_ms")?,
    })
}

/// Numbers here count what cannot come to 2^63.
fn to_sql(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn to_json<T: Serialize>(value: &T, table: &'static str, column: &'static str) -> Result<String, Error> {
    serde_json::to_string(value).map_err(|error| Error::Row { table, column, value: error.to_string() })
}

fn from_json<T: DeserializeOwned>(row: &AnyRow, table: &'static str, column: &'static str) -> Result<T, Error> {
    let value: String = row.try_get(column)?;
    serde_json::from_str(&value).map_err(|_| Error::Row { table, column, value })
}

/// A name as the admin API writes it too.
fn to_name<T: Serialize>(value: &T, table: &'static str, column: &'static str) -> Result<String, Error> {
    Ok(to_json(value, table, column)?.trim_matches('"').to_owned())
}

fn from_name<T: DeserializeOwned>(row: &AnyRow, table: &'static str, column: &'static str) -> Result<T, Error> {
    let value: String = row.try_get(column)?;
    serde_json::from_value(value.clone().into()).map_err(|_| Error::Row { table, column, value })
}
