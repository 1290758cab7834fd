//! Who decided what, and when.

use sqlx::any::AnyRow;
use sqlx::{Any, Transaction};

use super::{Decisions, Error, Id, get, get_number, next_id, now_ms};

/// Who changes something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Actor<'a> {
    /// The relay by itself: not audited, and it cannot lift what a person has decided.
    Relay,
    /// A person, by the name that the audit shall show.
    Admin(&'a str),
}

/// One decision of a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditRow {
    /// Counts up.
    pub id: u64,
    /// When, in milliseconds since 1970.
    pub at_ms: i64,
    /// Who.
    pub actor: String,
    /// What: `add_host`, `set_host_status`, `set_host_limits`, `set_host_validation`, `disconnect_host`, `reset_cursor`,
    /// `ban_domain`, `unban_domain`, `take_down`, `reverse_takedown`, `change_setting`, `disconnect_consumer`,
    /// `put_backfill_job`, `pause_backfill_job`, `resume_backfill_job`, `cancel_backfill_job`, `run_backfill_job`,
    /// `delete_backfill_job`.
    pub action: String,
    /// On what: a hostname, a domain, a DID, a setting, the address of a consumer, a job.
    pub subject: String,
    /// How, as people read it.
    pub detail: Option<String>,
}

impl Decisions {
    /// Notes what somebody did that leaves nothing else behind.
    pub async fn note(&self, by: Actor<'_>, action: &str, subject: &str, detail: Option<&str>) -> Result<(), Error> {
        let mut transaction = self.pool.begin().await?;
        record(&mut transaction, by, action, subject, detail).await?;
        transaction.commit().await?;
        Ok(())
    }

    /// Up to `limit` rows of the audit, newest first, those before the row `before` only.
    pub async fn audit(&self, before: Option<u64>, limit: u32) -> Result<Vec<AuditRow>, Error> {
        let before = before.map_or(i64::MAX, |before| before.try_into().unwrap_or(i64::MAX));
        let rows = sqlx::query("SELECT * FROM audit WHERE id < $1 ORDER BY id DESC LIMIT $2")
            .bind(before)
            .bind(i64::from(limit))
            .fetch_all(&self.pool)
            .await?;
        rows.iter().map(read).collect()
    }
}

/// Writes the audit row of a change in the transaction that makes it.
pub(super) async fn record(
    transaction: &mut Transaction<'_, Any>,
    actor: Actor<'_>,
    action: &str,
    subject: &str,
    detail: Option<&str>,
) -> Result<(), Error> {
    let Actor::Admin(name) = actor else { return Ok(()) };
    let id = next_id(transaction, Id::Audit).await?;
    sqlx::query("INSERT INTO audit (id, at_ms, actor, action, subject, detail) VALUES ($1, $2, $3, $4, $5, $6)")
        .bind(id)
        .bind(now_ms())
        .bind(name)
        .bind(action)
        .bind(subject)
        .bind(detail)
        .execute(&mut **transaction)
        .await?;
    Ok(())
}

fn read(row: &AnyRow) -> Result<AuditRow, Error> {
    Ok(AuditRow {
        id: get_number(row, "audit", "id")?,
        at_ms: get(row, "at_ms")?,
        actor: get(row, "actor")?,
        action: get(row, "action")?,
        subject: get(row, "subject")?,
        detail: get(row, "detail")?,
    })
}
