//! Where a part goes on, and what has to be known of the way there to see that it leads somewhere.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::protocol::did::Did;

/// Where a part goes on: its cursor, as text for people and for whoever goes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Place {
    /// What the source calls it.
    pub cursor: String,
    /// Pages up to here.
    pub page: u64,
    /// Accounts that a page is asked for.
    pub limit: usize,
    /// Pages without accounts, in a row, up to here.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub empty: u64,
    /// A page before, to be compared with those that come.
    pub mark: Mark,
}

/// A page that must not come again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Mark {
    /// Which one, counted from 1.
    pub page: u64,
    /// Digest of the cursor that it led to.
    pub cursor: String,
    /// Digest of its accounts; empty when it had none.
    pub accounts: String,
}

/// A source that does not get anywhere.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Circle {
    /// The cursor is the one that was asked with.
    #[error("the cursor of page {0} leads to the same page again")]
    Standstill(u64),
    /// The cursor was there before.
    #[error("the cursor of page {0} is that of page {1}: its pages go round in a circle")]
    Cursor(u64, u64),
    /// The accounts were there before.
    #[error("page {0} has the same accounts as page {1}")]
    Accounts(u64, u64),
}

impl Place {
    /// Reads one.
    pub fn read(text: &str) -> Result<Place, serde_json::Error> {
        serde_json::from_str(text)
    }

    /// For [`Place::read`].
    pub fn write(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// The place behind a page of these accounts that led to `cursor`, asked for from `before`.
    ///
    /// Of all pages only one is remembered, and each page that comes is compared with it: the page whose number is the
    /// last power of two. A circle, however long, is then found within a few rounds (Brent's algorithm).
    pub fn after(before: Option<&Place>, limit: usize, dids: &[Did], cursor: String) -> Result<Place, Circle> {
        let page = before.map_or(1, |before| before.page + 1);
        let empty = if dids.is_empty() { before.map_or(1, |before| before.empty + 1) } else { 0 };
        let new = Mark { page, cursor: digest([cursor.as_str()]), accounts: accounts(dids) };
        let mark = match before {
            Some(before) if before.cursor == cursor => return Err(Circle::Standstill(page)),
            Some(Place { mark, .. }) if mark.cursor == new.cursor => return Err(Circle::Cursor(page, mark.page)),
            Some(Place { mark, .. }) if !dids.is_empty() && mark.accounts == new.accounts => {
                return Err(Circle::Accounts(page, mark.page));
            }
            Some(before) if !page.is_power_of_two() => before.mark.clone(),
            _ => new,
        };
        Ok(Place { cursor, page, limit, empty, mark })
    }
}

fn accounts(dids: &[Did]) -> String {
    if dids.is_empty() { String::new() } else { digest(dids.iter().map(Did::as_str)) }
}

/// 64 bits of a digest of texts.
fn digest<'a>(texts: impl IntoIterator<Item = &'a str>) -> String {
    let mut hash = Sha256::new();
    for text in texts {
        hash.update(text);
        hash.update([0]);
    }
    data_encoding::HEXLOWER.encode(&hash.finalize()[..8])
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    fn did(number: u64) -> Did {
        Did::parse(&format!("did:web:account{number}.example.com")).unwrap()
    }

    /// Follows pages by number until a circle is found; how many that took.
    fn follow(page: impl Fn(u64) -> (Vec<Did>, String), pages_max: u64) -> Option<(u64, Circle)> {
        let mut place = None;
        for number in 1..=pages_max {
            let (dids, cursor) = page(number);
            match Place::after(place.as_ref(), 1000, &dids, cursor) {
                Ok(next) => {
                    let text = next.write();
                    assert!(text.len() < 400, "{text}");
                    assert_eq!(Place::read(&text).unwrap(), next);
                    place = Some(next);
                }
                Err(circle) => return Some((number, circle)),
            }
        }
        None
    }

    #[test]
    fn a_place_is_text_for_people() {
        let place = Place::after(None, 500, &[did(1)], "opaque".to_owned()).unwrap();
        assert!(place.write().starts_with(r#"{"cursor":"opaque","page":1,"limit":500,"mark":{"#), "{}", place.write());
        assert!(Place::read("opaque").is_err());
    }

    #[test]
    fn pages_that_get_somewhere_are_no_circle() {
        assert_eq!(follow(|page| (vec![did(page)], format!("cursor-{page}")), 5000), None);
        assert_eq!(
            follow(|page| (Vec::new(), format!("cursor-{page}")), 5000),
            None,
            "these have a bound of their own"
        );
    }

    #[test]
    fn standing_still_is_a_circle() {
        let found = follow(|page| (vec![did(page)], "same".to_owned()), 10);
        assert_eq!(found, Some((2, Circle::Standstill(2))));
    }

    #[test]
    fn the_same_accounts_under_new_cursors_are_a_circle() {
        let found = follow(|page| (vec![did(1), did(2)], format!("cursor-{page}")), 10);
        assert_eq!(found, Some((2, Circle::Accounts(2, 1))));
    }

    proptest! {
        /// The way into the circle and the circle itself may have any length.
        #[test]
        fn every_circle_is_found_within_a_few_rounds(way in 0u64..300, length in 2u64..300, by_cursor: bool) {
            let round = |page: u64| if page <= way { page } else { way + (page - way - 1) % length + 1 };
            let page = |page: u64| match by_cursor {
                true => (vec![did(page)], format!("cursor-{}", round(page))),
                false => (vec![did(round(page))], format!("cursor-{page}")),
            };
            let bound = 4 * (way + length) + 4;
            let (found, _) = follow(page, bound).expect("a circle");
            prop_assert!(found > way + length, "{} pages are no circle yet", found);
        }
    }
}
