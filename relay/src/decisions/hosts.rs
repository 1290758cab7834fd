//! The hosts that the relay reads from: who they are, their status, their limits, their failures.

use std::time::Duration;

use sqlx::any::AnyRow;
use sqlx::{Any, Executor, Row};

use super::audit::{self, Actor};
use super::{Decisions, Error, Id, get, get_number, get_optional_number, next_id, now_ms};
use crate::config::{HostLimits, Validation};

/// Longest error text that is kept of a host, in characters.
const ERROR_CHARS_MAX: usize = 300;
/// New hosts are limited within any time of this length.
const DAY: Duration = Duration::from_secs(86_400);

/// Status of a host, as `listHosts` tells it (protocol 33).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum HostStatus {
    /// It delivers events.
    Active,
    /// It is known, and has nothing for us: never connected yet, or its stream ended before our cursor (protocol 12).
    Idle,
    /// It cannot be reached.
    Offline,
    /// It is slowed down.
    Throttled,
    /// Nothing is read from it.
    Banned,
}

impl HostStatus {
    /// Every status.
    pub const ALL: [HostStatus; 5] =
        [HostStatus::Active, HostStatus::Idle, HostStatus::Offline, HostStatus::Throttled, HostStatus::Banned];

    /// Its name in the database and in XRPC.
    pub fn as_str(self) -> &'static str {
        match self {
            HostStatus::Active => "active",
            HostStatus::Idle => "idle",
            HostStatus::Offline => "offline",
            HostStatus::Throttled => "throttled",
            HostStatus::Banned => "banned",
        }
    }
}

/// What is remembered of a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostRow {
    /// Its id, small and never given out again: the log and the derived store hold it.
    pub id: u32,
    /// Its name, with `:port` where that is not the usual one.
    pub hostname: String,
    /// Whether it is spoken to over plain HTTP.
    pub is_insecure: bool,
    /// Its status.
    pub status: HostStatus,
    /// Its own limits.
    pub limits: OwnLimits,
    /// What happens to its events that fail verification, where an admin said so.
    pub validation: Option<Validation>,
    /// When it was added, in milliseconds since 1970.
    pub added_at_ms: i64,
    /// Failures since it was last active.
    pub failures: u32,
    /// The last failure.
    pub last_error: Option<String>,
    /// When that was, in milliseconds since 1970.
    pub last_error_at_ms: Option<i64>,
}

/// Limits that an admin gave one host: absent where the configured one holds, 0 for no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OwnLimits {
    /// Accounts.
    pub accounts: Option<u64>,
    /// Events per second.
    pub events_per_second: Option<u32>,
}

impl OwnLimits {
    /// The limits in force, where those of the configuration are known.
    pub fn or(self, configured: HostLimits) -> HostLimits {
        let accounts = self.accounts.or(configured.accounts).filter(|limit| *limit > 0);
        let events_per_second = self.events_per_second.or(configured.events_per_second).filter(|limit| *limit > 0);
        HostLimits { accounts, events_per_second }
    }
}

/// The last day has brought as many new hosts as a day may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{per_day} new hosts have come within a day")]
pub struct DayIsFull {
    /// How many it may bring.
    pub per_day: u64,
    /// When the first of them is a day old.
    pub retry_after: Duration,
}

/// A host to be added.
struct NewHost<'a> {
    hostname: &'a str,
    is_insecure: bool,
    /// Present when it counts among the new ones of its day: how many that may bring.
    counts: Option<Option<u64>>,
}

impl Decisions {
    /// All hosts, oldest first.
    pub async fn hosts(&self) -> Result<Vec<HostRow>, Error> {
        let rows = sqlx::query("SELECT * FROM hosts ORDER BY id").fetch_all(&self.pool).await?;
        rows.iter().map(read).collect()
    }

    /// The host of that name.
    pub async fn host(&self, hostname: &str) -> Result<Option<HostRow>, Error> {
        let row = sqlx::query("SELECT * FROM hosts WHERE hostname = $1").bind(hostname);
        row.fetch_optional(&self.pool).await?.as_ref().map(read).transpose()
    }

    /// Adds a host, idle at first; one that is there already stays as it is.
    pub async fn add_host(&self, hostname: &str, is_insecure: bool, by: Actor<'_>) -> Result<HostRow, Error> {
        self.add(NewHost { hostname, is_insecure, counts: None }, by).await
    }

    /// The same for a host that anyone has named, of which a day may bring `per_day`.
    pub async fn add_host_of_the_day(
        &self,
        hostname: &str,
        is_insecure: bool,
        per_day: Option<u64>,
    ) -> Result<HostRow, Error> {
        self.add(NewHost { hostname, is_insecure, counts: Some(per_day) }, Actor::Relay).await
    }

    /// Whether the last day has brought as many hosts as it may.
    pub async fn check_day(&self, per_day: Option<u64>) -> Result<(), Error> {
        check_day(&self.pool, per_day).await
    }

    async fn add(
        &self,
        NewHost { hostname, is_insecure, counts }: NewHost<'_>,
        by: Actor<'_>,
    ) -> Result<HostRow, Error> {
        if let Some(host) = self.host(hostname).await? {
            return Ok(host);
        }
        let mut transaction = self.pool.begin().await?;
        let id = next_id(&mut transaction, Id::Host).await?;
        if let Some(per_day) = counts {
            check_day(&mut *transaction, per_day).await?;
        }
        let insert = "INSERT INTO hosts (id, hostname, insecure, status, added_at_ms, failures, counted) \
                      VALUES ($1, $2, $3, $4, $5, 0, $6) ON CONFLICT (hostname) DO NOTHING";
        let inserted = sqlx::query(insert)
            .bind(id)
            .bind(hostname)
            .bind(i64::from(is_insecure))
            .bind(HostStatus::Idle.as_str())
            .bind(now_ms())
            .bind(i64::from(counts.is_some()))
            .execute(&mut *transaction)
            .await?;
        let is_new = inserted.rows_affected() == 1;
        if is_new {
            audit::record(&mut transaction, by, "add_host", hostname, None).await?;
        }
        let row = sqlx::query("SELECT * FROM hosts WHERE hostname = $1").bind(hostname);
        let host = read(&row.fetch_one(&mut *transaction).await?)?;
        // Had somebody else added it meanwhile, the id goes back.
        if is_new {
            transaction.commit().await?;
        } else {
            transaction.rollback().await?;
        }
        Ok(host)
    }

    /// Sets the status of a host; `Active` also ends its row of failures. The relay by itself cannot lift a ban: then
    /// the status stays, and the answer is `false`.
    pub async fn set_host_status(&self, id: u32, status: HostStatus, by: Actor<'_>) -> Result<bool, Error> {
        let update = "UPDATE hosts \
                      SET status = $2, failures = CASE WHEN $2 = 'active' THEN 0 ELSE failures END \
                      WHERE id = $1 AND (status <> 'banned' OR $3 = 1) RETURNING hostname";
        let mut transaction = self.pool.begin().await?;
        let updated = sqlx::query(update)
            .bind(i64::from(id))
            .bind(status.as_str())
            .bind(i64::from(by != Actor::Relay))
            .fetch_optional(&mut *transaction)
            .await?;
        let Some(row) = updated else {
            return if by == Actor::Relay { Ok(false) } else { Err(Error::NoHost(id)) };
        };
        let hostname: &str = row.try_get("hostname")?;
        audit::record(&mut transaction, by, "set_host_status", hostname, Some(status.as_str())).await?;
        transaction.commit().await?;
        Ok(true)
    }

    /// Gives a host its own limits.
    pub async fn set_host_limits(&self, id: u32, limits: OwnLimits, by: Actor<'_>) -> Result<(), Error> {
        let update = "UPDATE hosts SET account_limit = $2, events_per_second = $3 WHERE id = $1 RETURNING hostname";
        let mut transaction = self.pool.begin().await?;
        let updated = sqlx::query(update)
            .bind(i64::from(id))
            .bind(limits.accounts.map(|limit| i64::try_from(limit).unwrap_or(i64::MAX)))
            .bind(limits.events_per_second.map(i64::from))
            .fetch_optional(&mut *transaction)
            .await?;
        let row = updated.ok_or(Error::NoHost(id))?;
        let hostname: &str = row.try_get("hostname")?;
        audit::record(&mut transaction, by, "set_host_limits", hostname, Some(&describe(limits))).await?;
        transaction.commit().await?;
        Ok(())
    }

    /// Says what happens to a host's events that fail verification; `None` is as configured.
    pub async fn set_host_validation(
        &self,
        id: u32,
        validation: Option<Validation>,
        by: Actor<'_>,
    ) -> Result<(), Error> {
        let mut transaction = self.pool.begin().await?;
        let update = sqlx::query("UPDATE hosts SET validation = $2 WHERE id = $1 RETURNING hostname")
            .bind(i64::from(id))
            .bind(validation.map(Validation::as_str));
        let row = update.fetch_optional(&mut *transaction).await?.ok_or(Error::NoHost(id))?;
        let hostname: &str = row.try_get("hostname")?;
        let detail = validation.map_or("as configured", Validation::as_str);
        audit::record(&mut transaction, by, "set_host_validation", hostname, Some(detail)).await?;
        transaction.commit().await?;
        Ok(())
    }

    /// Notes that a host could not be reached, or that its stream broke, and why.
    pub async fn record_failure(&self, id: u32, error: &str) -> Result<(), Error> {
        // PostgreSQL has no text with a zero in it.
        let error: String = error.chars().filter(|char| *char != '\0').take(ERROR_CHARS_MAX).collect();
        let update = "UPDATE hosts SET failures = failures + 1, last_error = $2, last_error_at_ms = $3 WHERE id = $1";
        sqlx::query(update).bind(i64::from(id)).bind(error).bind(now_ms()).execute(&self.pool).await?;
        Ok(())
    }
}

async fn check_day(executor: impl Executor<'_, Database = Any>, per_day: Option<u64>) -> Result<(), Error> {
    let Some(per_day) = per_day else { return Ok(()) };
    let select = "SELECT COUNT(*) AS hosts, MIN(added_at_ms) AS first_ms FROM hosts \
                  WHERE counted = 1 AND added_at_ms > $1";
    let day_ms = i64::try_from(DAY.as_millis()).unwrap_or(i64::MAX);
    let since_ms = now_ms().saturating_sub(day_ms);
    let row = sqlx::query(select).bind(since_ms).fetch_one(executor).await?;
    if get_number::<u64>(&row, "hosts", "hosts")? < per_day {
        return Ok(());
    }
    let first_ms: Option<i64> = get(&row, "first_ms")?;
    let left_ms = first_ms.map_or(day_ms, |first_ms| first_ms.saturating_sub(since_ms));
    // Rounded up to the seconds that clients are told.
    let retry_after = Duration::from_secs(u64::try_from(left_ms).unwrap_or(0) / 1000 + 1);
    Err(DayIsFull { per_day, retry_after }.into())
}

fn read(row: &AnyRow) -> Result<HostRow, Error> {
    let insecure: i64 = get(row, "insecure")?;
    Ok(HostRow {
        id: get_number(row, "hosts", "id")?,
        hostname: get(row, "hostname")?,
        is_insecure: insecure != 0,
        status: read_status(row)?,
        limits: OwnLimits {
            accounts: get_optional_number(row, "hosts", "account_limit")?,
            events_per_second: get_optional_number(row, "hosts", "events_per_second")?,
        },
        validation: read_validation(row)?,
        added_at_ms: get(row, "added_at_ms")?,
        failures: get_number(row, "hosts", "failures")?,
        last_error: get(row, "last_error")?,
        last_error_at_ms: get(row, "last_error_at_ms")?,
    })
}

fn read_status(row: &AnyRow) -> Result<HostStatus, Error> {
    let name: &str = get(row, "status")?;
    let status = HostStatus::ALL.into_iter().find(|status| status.as_str() == name);
    status.ok_or_else(|| Error::Row { table: "hosts", column: "status", value: name.to_owned() })
}

fn read_validation(row: &AnyRow) -> Result<Option<Validation>, Error> {
    let Some(name) = get::<Option<String>>(row, "validation")? else { return Ok(None) };
    let validation = Validation::ALL.into_iter().find(|validation| validation.as_str() == name);
    let unknown = || Error::Row { table: "hosts", column: "validation", value: name.clone() };
    validation.map(Some).ok_or_else(unknown)
}

fn describe(OwnLimits { accounts, events_per_second }: OwnLimits) -> String {
    let limit = |limit: Option<u64>| match limit {
        None => "as configured".to_owned(),
        Some(0) => "no limit".to_owned(),
        Some(limit) => limit.to_string(),
    };
    format!("accounts: {}, events per second: {}", limit(accounts), limit(events_per_second.map(u64::from)))
}
