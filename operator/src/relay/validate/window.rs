//! A time of the week.

use k8s_openapi::jiff::Timestamp;
use k8s_openapi::jiff::civil::Weekday;
use k8s_openapi::jiff::tz::TimeZone;

use super::{Invalid, check};
use crate::api::patterns;

/// A time of every day or of one day of the week, in UTC. It may pass midnight: then it belongs to the day it begins on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    day: Option<Weekday>,
    /// Minutes of the day, the second not included.
    from: u16,
    to: u16,
}

impl Window {
    /// Whether `now` is in it.
    #[must_use]
    pub fn contains(&self, now: Timestamp) -> bool {
        let now = now.to_zoned(TimeZone::UTC);
        let minute = u16::from(now.hour().unsigned_abs()) * 60 + u16::from(now.minute().unsigned_abs());
        let began_on = |day: Weekday| self.day.is_none_or(|wanted| wanted == day);
        let began_today = began_on(now.weekday()) && minute >= self.from;
        let began_yesterday = began_on(now.weekday().previous()) && minute < self.to;
        if self.from < self.to { began_today && minute < self.to } else { began_today || began_yesterday }
    }
}

pub(super) fn window(text: Option<&str>) -> Result<Option<Window>, Invalid> {
    let Some(text) = text else { return Ok(None) };
    check("spec.update.window", text, patterns::WINDOW)?;
    parse(text).map(Some).ok_or_else(|| Invalid::Spec(format!("spec.update.window is {text:?}: no such time")))
}

/// Reads what has the form of [`patterns::WINDOW`].
fn parse(text: &str) -> Option<Window> {
    let mut words = text.split(' ').rev().skip(1);
    let (from, to) = words.next()?.split_once('-')?;
    let minutes = |time: &str| {
        let (hour, minute) = time.split_once(':')?;
        Some(hour.parse::<u16>().ok()? * 60 + minute.parse::<u16>().ok()?)
    };
    let day = match words.next() {
        None => None,
        Some("Mon") => Some(Weekday::Monday),
        Some("Tue") => Some(Weekday::Tuesday),
        Some("Wed") => Some(Weekday::Wednesday),
        Some("Thu") => Some(Weekday::Thursday),
        Some("Fri") => Some(Weekday::Friday),
        Some("Sat") => Some(Weekday::Saturday),
        Some("Sun") => Some(Weekday::Sunday),
        Some(_) => return None,
    };
    Some(Window { day, from: minutes(from)?, to: minutes(to)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_open_between_its_times_on_its_day() {
        // 2026-11-29 is a Sunday.
        #[rustfmt::skip]
        let table = [
            ("Sun 03:00-05:00 UTC", "2026-11-29T02:59:59Z", false),
            ("Sun 03:00-05:00 UTC", "2026-11-29T03:00:00Z", true),
            ("Sun 03:00-05:00 UTC", "2026-11-29T04:59:59Z", true),
            ("Sun 03:00-05:00 UTC", "2026-11-29T05:00:00Z", false),
            ("Sun 03:00-05:00 UTC", "2026-11-30T04:00:00Z", false),
            ("03:00-05:00 UTC", "2026-11-30T04:00:00Z", true),
            ("Sun 23:00-01:00 UTC", "2026-11-29T23:30:00Z", true),
            ("Sun 23:00-01:00 UTC", "2026-11-30T00:30:00Z", true),
            ("Sun 23:00-01:00 UTC", "2026-11-29T00:30:00Z", false),
            ("Sun 23:00-01:00 UTC", "2026-11-30T23:30:00Z", false),
            ("04:00-04:00 UTC", "2026-11-30T03:00:00Z", true),
            ("Sun 00:00-00:00 UTC", "2026-11-29T23:59:59Z", true),
            ("Sun 00:00-00:00 UTC", "2026-11-30T00:00:00Z", false),
        ];
        for (text, now, want) in table {
            let open =
                window(Some(text)).ok().flatten().zip(now.parse().ok()).map(|(window, now)| window.contains(now));
            assert_eq!(open, Some(want), "{text} at {now}");
        }
        assert_eq!(window(None), Ok(None), "no window is any time");
        assert!(window(Some("Sunday")).is_err());
    }
}
