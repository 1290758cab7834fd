//! Domains from which no host is taken (protocol 14).

use sqlx::Row;

use super::audit::{self, Actor};
use super::{Decisions, Error, now_ms};
use crate::protocol::syntax;

impl Decisions {
    /// Bans a domain and everything below it; the answer is `false` when it was banned already.
    ///
    /// Hosts that the relay knows are not touched: their status is theirs.
    pub async fn ban_domain(&self, domain: &str, by: Actor<'_>) -> Result<bool, Error> {
        let domain = normalise(domain)?;
        let insert = "INSERT INTO domain_bans (domain, banned_at_ms) VALUES ($1, $2) ON CONFLICT (domain) DO NOTHING";
        let mut transaction = self.pool.begin().await?;
        let inserted = sqlx::query(insert).bind(&domain).bind(now_ms()).execute(&mut *transaction).await?;
        if inserted.rows_affected() == 0 {
            return Ok(false);
        }
        audit::record(&mut transaction, by, "ban_domain", &domain, None).await?;
        transaction.commit().await?;
        Ok(true)
    }

    /// Lifts the ban of a domain; the answer is `false` when there was none.
    pub async fn unban_domain(&self, domain: &str, by: Actor<'_>) -> Result<bool, Error> {
        let domain = normalise(domain)?;
        let mut transaction = self.pool.begin().await?;
        let delete = sqlx::query("DELETE FROM domain_bans WHERE domain = $1").bind(&domain);
        if delete.execute(&mut *transaction).await?.rows_affected() == 0 {
            return Ok(false);
        }
        audit::record(&mut transaction, by, "unban_domain", &domain, None).await?;
        transaction.commit().await?;
        Ok(true)
    }

    /// The banned domains, in alphabetical order.
    pub async fn banned_domains(&self) -> Result<Vec<String>, Error> {
        let rows = sqlx::query("SELECT domain FROM domain_bans ORDER BY domain").fetch_all(&self.pool).await?;
        rows.iter().map(|row| Ok(row.try_get("domain")?)).collect()
    }

    /// The banned domain that is, or is above, the host of that name.
    pub async fn banned_domain_of(&self, hostname: &str) -> Result<Option<String>, Error> {
        let host = hostname.split(':').next().unwrap_or_default().to_ascii_lowercase();
        // A domain in the table has no character that LIKE would take for a pattern.
        let select =
            "SELECT domain FROM domain_bans WHERE '.' || $1 LIKE '%.' || domain ORDER BY LENGTH(domain) LIMIT 1";
        let row = sqlx::query(select).bind(host).fetch_optional(&self.pool).await?;
        row.map(|row| Ok(row.try_get("domain")?)).transpose()
    }
}

/// A domain as the table holds it: lower-case, without the `*.` or `.` that people put in front.
fn normalise(domain: &str) -> Result<String, Error> {
    let bare = domain.trim_start_matches('*').trim_start_matches('.').to_ascii_lowercase();
    // A top-level domain of its own may be banned, and so may the hosts of a development set-up.
    let is_address = bare.parse::<std::net::IpAddr>().is_ok();
    let is_domain = is_address || bare == "localhost" || syntax::is_handle(&format!("x.{bare}"));
    if is_domain { Ok(bare) } else { Err(Error::Domain(domain.to_owned())) }
}
