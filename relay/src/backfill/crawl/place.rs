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
        let left = page.after(self.account.as_deref());
        if let Some(last) = left[..walked.done].last() {
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;
    use crate::account::Status;
    use crate::backfill::pds::Listed;

    fn page(number: usize, cursor: Option<usize>) -> Page {
        let account = |index| Listed { text: format!("{number}/{index}"), did: None, status: Status::Active };
        Page { accounts: (0..3).map(account).collect(), cursor: cursor.map(|cursor| cursor.to_string()) }
    }

    fn walked(done: usize) -> Walked {
        Walked { done, own: done as u64, ..Walked::default() }
    }

    /// How many pages of a host are read whose pages follow each other as `next` says; and whether it was found to lie.
    fn pages_read(next: impl Fn(usize) -> Option<usize>, pages_max: usize) -> (usize, bool) {
        let host = HostName::parse("pds.example.com", false).unwrap();
        let (mut place, mut number) = (Place::default(), 0);
        for read in 1..=pages_max {
            let page = page(number, next(number));
            if place.check(&host, &page).is_err() {
                return (read, true);
            }
            match place.behind(&walked(3), &page) {
                Some(behind) => place = Place::read(Some(&behind.write())).unwrap(),
                None => return (read, false),
            }
            number = place.page.as_ref().unwrap().parse().unwrap();
        }
        panic!("{pages_max} pages are read");
    }

    proptest! {
        #[test]
        fn a_list_that_goes_in_circles_is_found_to(begin in 0usize..200, length in 1usize..200) {
            let next = |number| Some(if number + 1 < begin + length { number + 1 } else { begin });
            let (read, is_lie) = pages_read(next, 3 * (begin + length) + 3);
            prop_assert!(is_lie && read > begin + length, "after {read} pages");
        }

        #[test]
        fn a_list_that_ends_is_read_to_its_end(length in 1usize..500) {
            prop_assert_eq!(pages_read(|number| Some(number + 1).filter(|next| *next < length), length), (length, false));
        }

        #[test]
        fn a_place_is_read_back_as_it_was_written(dones in prop::collection::vec(0usize..4, 0..20)) {
            let mut place = Place::default();
            for (number, done) in dones.into_iter().enumerate() {
                let page = page(number, Some(number + 1));
                place = place.behind(&walked(done), &page).unwrap();
                prop_assert_eq!(Place::read(Some(&place.write())), Ok(place.clone()));
            }
        }
    }

    #[test]
    fn strangers_are_held_against_a_host_only_when_there_are_many_of_them() {
        let host = HostName::parse("pds.example.com", false).unwrap();
        let fails = |own, strange| Place { own, strange, ..Place::default() }.check(&host, &page(0, None)).is_err();
        let cases = [((0, 0), false), ((0, 1000), false), ((0, 1001), true), ((101, 1010), false), ((101, 1011), true)];
        for ((own, strange), expected) in cases {
            assert_eq!(fails(own, strange), expected, "{strange} beside {own}");
        }
    }
}
