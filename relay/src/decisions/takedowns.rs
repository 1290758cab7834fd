//! Accounts that a person has taken down on this relay (protocol 19).

use sqlx::Row;

use super::audit::{self, Actor};
use super::{Decisions, Error, now_ms};

impl Decisions {
    /// Takes an account down; the answer is `false` when it was down already.
    pub async fn take_down(&self, did: &str, by: Actor<'_>) -> Result<bool, Error> {
        let insert = "INSERT INTO takedowns (did, taken_down_at_ms) VALUES ($1, $2) ON CONFLICT (did) DO NOTHING";
        let mut transaction = self.pool.begin().await?;
        let inserted = sqlx::query(insert).bind(did).bind(now_ms()).execute(&mut *transaction).await?;
        if inserted.rows_affected() == 0 {
            return Ok(false);
        }
        audit::record(&mut transaction, by, "take_down", did, None).await?;
        transaction.commit().await?;
        Ok(true)
    }

    /// Reverses a takedown; the answer is `false` when there was none.
    pub async fn reverse_takedown(&self, did: &str, by: Actor<'_>) -> Result<bool, Error> {
        let mut transaction = self.pool.begin().await?;
        let deleted = sqlx::query("DELETE FROM takedowns WHERE did = $1").bind(did).execute(&mut *transaction).await?;
        if deleted.rows_affected() == 0 {
            return Ok(false);
        }
        audit::record(&mut transaction, by, "reverse_takedown", did, None).await?;
        transaction.commit().await?;
        Ok(true)
    }

    /// Up to `limit` accounts that are taken down, in DID order, those after `cursor` (a DID) only.
    pub async fn takedowns(&self, cursor: &str, limit: u32) -> Result<Vec<String>, Error> {
        let rows = sqlx::query("SELECT did FROM takedowns WHERE did > $1 ORDER BY did LIMIT $2")
            .bind(cursor)
            .bind(i64::from(limit))
            .fetch_all(&self.pool)
            .await?;
        rows.iter().map(|row| Ok(row.try_get("did")?)).collect()
    }
}
