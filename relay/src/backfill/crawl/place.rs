//! Where a crawl is in the list of a host, as it is stored between steps.

use serde::{Deserialize, Serialize};

use super::walk::Walked;
use crate::backfill::Trouble;
use crate::backfill::pds::Page;
use crate::host::HostName;

/// Accounts that a host may list without their being its own, before that is held against it …
const STRANGE_TOLERATED: u64 = 1000;
/// … and how many it may list for each of its own. Each of them may cost the PLC directory a request.
const STRANGE_PER_OWN_MAX: u64 = 10;

/// A place in the list of a host. A page that begins with one that was behind us goes in circles: to see that, whatever
/// the length of the circle, one page is remembered, at doubling distances (R. P. Brent, 1980).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Place {
    /// The host's cursor of the page; absent for the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub page: Option<String>,
    /// The last account on it that is done; absent before the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// Pages that are done.
    pages: u64,
    /// Digest of one of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    mark: Option<String>,
    /// Accounts so far that are the host's own.
    own: u64,
    /// Those that are not.
    strange: u64,
}

impl Place {
    /// Reads a place back; without a text it is the begin.
    pub fn read(text: Option<&str>) -> Result<Place, Trouble> {
        let Some(text) = text else { return Ok(Place::default()) };
        serde_json::from_str(text).map_err(|error| Trouble::Restart(format!("the cursor cannot be read: {error}")))
    }

    /// The text that is stored.
    pub fn write(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Whether the host can be believed so far, now that the page is here.
    pub fn check(&self, host: &HostName, page: &Page) -> Result<(), Trouble> {
        let Place { own, strange, pages, .. } = self;
        if *strange > STRANGE_TOLERATED.max(own.saturating_mul(STRANGE_PER_OWN_MAX)) {
            return Err(Trouble::Fail(format!("{host} lists {strange} accounts that are not its own, beside {own}")));
        }
        if self.account.is_none() && self.mark.as_ref() == Some(&page.digest()) {
            return Err(Trouble::Fail(format!("{host} lists the same accounts again after {pages} pages")));
        }
        Ok(())
    }

    /// The place behind a walk along the page; `None` behind the last account.
    pub fn behind(mut self, walked: &Walked, page: &Page) -> Option<Place> {
        self.own += walked.own;
        self.strange += walked.strange;
        let done = page.after(self.account.as_deref()).iter().take(walked.done);
        if let Some(last) = done.last() {
            self.account = Some(last.text.clone());
        }
        if page.after(self.account.as_deref()).is_empty() { self.turn(page) } else { Some(self) }
    }

    fn turn(mut self, page: &Page) -> Option<Place> {
        let next = page.cursor.clone().filter(|_| !page.accounts.is_empty())?;
        self.pages += 1;
        if self.pages.is_power_of_two() || self.page.as_ref() == Some(&next) {
            self.mark = Some(page.digest());
        }
        Some(Place { page: Some(next), account: None, ..self })
    }
}
