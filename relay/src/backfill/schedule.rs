//! When a job runs again: cron expressions of five fields, in UTC.
//!
//! Written here since there are no time zones in it: what makes cron hard, and what the crates for it bring a second
//! library of times along for.

use jiff::civil::{Date, DateTime, Weekday};
use jiff::tz::Offset;
use jiff::{Timestamp, ToSpan};

/// A cron expression. Each field is a set of numbers, one bit for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Schedule {
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    /// Sunday is 0.
    weekdays: u64,
    /// A day has to fit both fields when one of them is `*`, and otherwise either.
    is_either_day: bool,
}

/// Text that is no schedule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    /// Not a form that is known.
    #[error(
        "{0:?} is not a schedule; write five fields (minute, hour, day of the month, month, day of the week; UTC) like \
         \"30 4 * * 1\", or @hourly, @daily, @weekly or @monthly"
    )]
    Form(String),
    /// A field holds what it cannot.
    #[error("{text:?} is not a {field}: write numbers from {min} to {max}, like 5 or 1-5 or */10 or 1,15")]
    Field {
        /// What is written.
        text: String,
        /// The name of the field.
        field: &'static str,
        /// Its least number.
        min: u32,
        /// Its greatest number.
        max: u32,
    },
    /// Like the 30th of February.
    #[error("{0:?} never comes")]
    Never(String),
}

const MONTHS: [&str; 12] = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const WEEKDAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];
/// After so many days every day of every month has been on every day of the week, the 29th of February too, also where a
/// century has no leap year.
const DAYS_MAX: u32 = 366 * 41;

impl Schedule {
    /// Reads an expression.
    pub fn parse(text: &str) -> Result<Schedule, ScheduleError> {
        let expression = match text.trim() {
            "@hourly" => "0 * * * *",
            "@daily" => "0 0 * * *",
            "@weekly" => "0 0 * * 0",
            "@monthly" => "0 0 1 * *",
            other => other,
        };
        let fields: Vec<&str> = expression.split_whitespace().collect();
        let &[minute, hour, day, month, weekday] = fields.as_slice() else {
            return Err(ScheduleError::Form(text.to_owned()));
        };
        // 7 is Sunday, too.
        let weekdays = numbers(weekday, "day of the week", 0, 7, &WEEKDAYS)?;
        let schedule = Schedule {
            minutes: numbers(minute, "minute", 0, 59, &[])?,
            hours: numbers(hour, "hour", 0, 23, &[])?,
            days: numbers(day, "day of the month", 1, 31, &[])?,
            months: numbers(month, "month", 1, 12, &MONTHS)?,
            weekdays: weekdays | weekdays >> 7,
            is_either_day: !day.starts_with('*') && !weekday.starts_with('*'),
        };
        match schedule.next_after(0) {
            Some(_) => Ok(schedule),
            None => Err(ScheduleError::Never(text.to_owned())),
        }
    }

    /// The first time after `after_ms`, both in milliseconds since 1970; nothing when time ends before.
    pub fn next_after(&self, after_ms: i64) -> Option<i64> {
        let after = Offset::UTC.to_datetime(Timestamp::from_millisecond(after_ms).ok()?);
        let mut date = after.date();
        for _ in 0..DAYS_MAX {
            if self.is_day(date) {
                let later = self.times(date).find(|time| *time > after);
                if let Some(time) = later {
                    return Some(Offset::UTC.to_timestamp(time).ok()?.as_millisecond());
                }
            }
            date = date.checked_add(1.day()).ok()?;
        }
        None
    }

    fn is_day(&self, date: Date) -> bool {
        let day = has(self.days, date.day().into());
        let weekday = has(self.weekdays, date.weekday().since(Weekday::Sunday).into());
        let fits = if self.is_either_day { day || weekday } else { day && weekday };
        fits && has(self.months, date.month().into())
    }

    fn times(&self, date: Date) -> impl Iterator<Item = DateTime> {
        let (hours, minutes) = (self.hours, self.minutes);
        let hours = (0..24i8).filter(move |hour| has(hours, (*hour).into()));
        hours.flat_map(move |hour| {
            (0..60i8)
                .filter(move |minute| has(minutes, (*minute).into()))
                .map(move |minute| date.at(hour, minute, 0, 0))
        })
    }
}

fn has(set: u64, number: i32) -> bool {
    set >> number & 1 == 1
}

/// The numbers of a field.
fn numbers(text: &str, field: &'static str, min: u32, max: u32, names: &[&str]) -> Result<u64, ScheduleError> {
    let number = |text: &str| {
        let named = (min..).zip(names).find(|(_, name)| name.eq_ignore_ascii_case(text)).map(|(number, _)| number);
        named.or_else(|| text.parse().ok()).filter(|number| (min..=max).contains(number))
    };
    let range = |text: &str| {
        let (range, step) = match text.split_once('/') {
            Some((range, step)) => (range, step.parse().ok().filter(|step| (1..=max).contains(step))?),
            None => (text, 1),
        };
        let (first, last) = match range.split_once('-') {
            Some((first, last)) => (number(first)?, number(last)?),
            None if range == "*" => (min, max),
            None if text.contains('/') => (number(range)?, max),
            None => (number(range)?, number(range)?),
        };
        (first <= last).then(|| (first..=last).step_by(step as usize).fold(0, |set, number| set | 1 << number))
    };
    let set = text.split(',').try_fold(0, |set, text| Some(set | range(text)?));
    set.ok_or_else(|| ScheduleError::Field { text: text.to_owned(), field, min, max })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn next(schedule: &str, after: &str) -> String {
        let after: Timestamp = after.parse().unwrap();
        let next_ms = Schedule::parse(schedule).unwrap().next_after(after.as_millisecond()).unwrap();
        Timestamp::from_millisecond(next_ms).unwrap().to_string()
    }

    #[test]
    fn the_next_time_is_the_first_one_that_fits_and_is_later() {
        // 2026-11-24 is a Tuesday.
        let after = "2026-11-24T10:30:00Z";
        let cases = [
            ("@hourly", "2026-11-24T11:00:00Z"),
            ("@daily", "2026-11-25T00:00:00Z"),
            ("@weekly", "2026-11-29T00:00:00Z"),
            ("@monthly", "2026-12-01T00:00:00Z"),
            ("30 10 * * *", "2026-11-25T10:30:00Z"),
            ("31 10 * * *", "2026-11-24T10:31:00Z"),
            ("*/20 * * * *", "2026-11-24T10:40:00Z"),
            ("5/20 * * * *", "2026-11-24T10:45:00Z"),
            ("0 4 * * 1-5", "2026-11-25T04:00:00Z"),
            ("0 4 * * Sat,7", "2026-11-28T04:00:00Z"),
            ("0 4 13 * fri", "2026-11-27T04:00:00Z"),
            ("0 4 */2 * mon", "2026-12-07T04:00:00Z"),
            ("0 0 31 * *", "2026-12-31T00:00:00Z"),
            ("0 0 29 feb *", "2028-02-29T00:00:00Z"),
            ("59 23 31 12 *", "2026-12-31T23:59:00Z"),
        ];
        for (schedule, expected) in cases {
            assert_eq!(next(schedule, after), expected, "{schedule}");
        }
        assert_eq!(next("0 0 29 2 *", "2096-03-01T00:00:00Z"), "2104-02-29T00:00:00Z", "2100 is no leap year");
    }

    #[test]
    fn what_is_no_schedule_is_refused_with_the_field_that_is_wrong() {
        let cases = [
            ("", "is not a schedule"),
            ("@yearly", "is not a schedule"),
            ("0 0 * *", "is not a schedule"),
            ("0 0 0 * * *", "is not a schedule"),
            ("60 * * * *", "is not a minute"),
            ("* 24 * * *", "is not a hour"),
            ("* * 0 * *", "is not a day of the month"),
            ("* * * 13 *", "is not a month"),
            ("* * * * 8", "is not a day of the week"),
            ("5-1 * * * *", "is not a minute"),
            ("*/0 * * * *", "is not a minute"),
            ("1,,2 * * * *", "is not a minute"),
            ("-1 * * * *", "is not a minute"),
            ("99999999999999999999 * * * *", "is not a minute"),
            ("0 0 30 2 *", "never comes"),
        ];
        for (text, expected) in cases {
            let refused = Schedule::parse(text).unwrap_err().to_string();
            assert!(refused.contains(expected), "{text:?}: {refused}");
        }
    }
}
