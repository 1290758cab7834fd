//! Settings that are changed at run time; they hold until they are changed again, over restarts too.

use super::audit::{self, Actor};
use super::{Decisions, Error, get};

/// A setting that can be changed at run time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Setting {
    /// Whether anyone may name a host by requestCrawl: `true` or `false`.
    RequestCrawl,
}

impl Setting {
    fn name(self) -> &'static str {
        match self {
            Setting::RequestCrawl => "request_crawl",
        }
    }
}

impl Decisions {
    /// The value of a setting; `None` until somebody has changed it.
    pub async fn setting(&self, setting: Setting) -> Result<Option<String>, Error> {
        let row = sqlx::query("SELECT value FROM settings WHERE name = $1").bind(setting.name());
        row.fetch_optional(&self.pool).await?.as_ref().map(|row| get(row, "value")).transpose()
    }

    /// Changes a setting.
    pub async fn set(&self, setting: Setting, value: &str, by: Actor<'_>) -> Result<(), Error> {
        let upsert = "INSERT INTO settings (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = $2";
        let mut transaction = self.pool.begin().await?;
        sqlx::query(upsert).bind(setting.name()).bind(value).execute(&mut *transaction).await?;
        audit::record(&mut transaction, by, "change_setting", setting.name(), Some(value)).await?;
        transaction.commit().await?;
        Ok(())
    }
}
