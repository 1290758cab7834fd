//! Accounts that this relay does not pass on, whatever their host says (protocol 19).

use sqlx::Row;
use sqlx::any::AnyRow;

use super::audit::{self, Actor};
use super::{Decisions, Error, get, now_ms};
use crate::protocol::did::Did;

/// One account taken down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Takedown {
    /// The account.
    pub did: String,
    /// Why, as its author wrote it.
    pub reason: Option<String>,
    /// When, in milliseconds since 1970.
    pub taken_down_at_ms: i64,
}

impl Decisions {
    /// Takes an account down; the answer is `false` when it was down already, and its reason stays.
    pub async fn take_down(&self, did: &Did, reason: Option<&str>, by: Actor<'_>) -> Result<bool, Error> {
        let insert = "INSERT INTO takedowns (did, reason, taken_down_at_ms) VALUES ($1, $2, $3) \
                      ON CONFLICT (did) DO NOTHING";
        let mut transaction = self.pool.begin().await?;
        let insert = sqlx::query(insert).bind(did.as_str()).bind(reason).bind(now_ms());
        if insert.execute(&mut *transaction).await?.rows_affected() == 0 {
            return Ok(false);
        }
        audit::record(&mut transaction, by, "take_down", did.as_str(), reason).await?;
        transaction.commit().await?;
        Ok(true)
    }

    /// Lets an account pass again; the answer is `false` when it was not taken down.
    pub async fn restore(&self, did: &Did, by: Actor<'_>) -> Result<bool, Error> {
        let mut transaction = self.pool.begin().await?;
        let delete = sqlx::query("DELETE FROM takedowns WHERE did = $1").bind(did.as_str());
        if delete.execute(&mut *transaction).await?.rows_affected() == 0 {
            return Ok(false);
        }
        audit::record(&mut transaction, by, "restore", did.as_str(), None).await?;
        transaction.commit().await?;
        Ok(true)
    }

    /// Every account that is taken down, for the start.
    pub async fn taken_down(&self) -> Result<Vec<String>, Error> {
        let rows = sqlx::query("SELECT did FROM takedowns").fetch_all(&self.pool).await?;
        rows.iter().map(|row| Ok(row.try_get("did")?)).collect()
    }

    /// Up to `limit` takedowns in DID order, those after the DID `after` only.
    pub async fn takedowns(&self, after: Option<&str>, limit: u32) -> Result<Vec<Takedown>, Error> {
        let rows = sqlx::query("SELECT * FROM takedowns WHERE did > $1 ORDER BY did LIMIT $2")
            .bind(after.unwrap_or_default())
            .bind(i64::from(limit))
            .fetch_all(&self.pool)
            .await?;
        rows.iter().map(read).collect()
    }
}

fn read(row: &AnyRow) -> Result<Takedown, Error> {
    Ok(Takedown { did: get(row, "did")?, reason: get(row, "reason")?, taken_down_at_ms: get(row, "taken_down_at_ms")? })
}
