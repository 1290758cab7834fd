//! The pages whose accounts are being asked for, so that no step has to ask for its page again.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::backfill::Refusal;
use crate::backfill::Trouble;
use crate::backfill::pds::{Page, Pds};

/// Pages in memory, of 100 KiB mostly: one for each host that is being asked.
const PAGES_MAX: usize = 64;
/// HTTP status of a host that makes nothing of a cursor.
const BAD_REQUEST: u16 = 400;

#[derive(Default)]
pub(super) struct Pages(Mutex<VecDeque<Kept>>);

struct Kept {
    host: String,
    cursor: Option<String>,
    page: Arc<Page>,
}

impl Pages {
    /// The page of a host that a cursor leads to.
    pub async fn get(&self, pds: &Pds<'_>, cursor: Option<&str>) -> Result<Arc<Page>, Trouble> {
        let host = pds.name.as_str();
        let is_wanted = |kept: &&Kept| kept.host == host && kept.cursor.as_deref() == cursor;
        if let Some(kept) = self.lock().iter().find(is_wanted) {
            return Ok(Arc::clone(&kept.page));
        }
        let page = Arc::new(pds.list(cursor).await.map_err(|refusal| trouble(refusal, cursor))?);
        self.forget(host);
        let mut kept = self.lock();
        if kept.len() == PAGES_MAX {
            kept.pop_front();
        }
        kept.push_back(Kept { host: host.to_owned(), cursor: cursor.map(str::to_owned), page: Arc::clone(&page) });
        Ok(page)
    }

    /// Forgets a host: its list is read, or is to be read anew.
    pub fn forget(&self, host: &str) {
        self.lock().retain(|kept| kept.host != host);
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Kept>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn trouble(refusal: Refusal, cursor: Option<&str>) -> Trouble {
    match refusal {
        Refusal::Later { reason, after } => Trouble::Wait { reason, after },
        Refusal::Answer { status: BAD_REQUEST, .. } if cursor.is_some() => Trouble::Restart(refusal.to_string()),
        _ => Trouble::Fail(refusal.to_string()),
    }
}
