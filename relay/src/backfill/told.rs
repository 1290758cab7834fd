//! What a service says of how fast it may be asked: `Retry-After`, and the `RateLimit` headers in the forms that are about.
//!
//! Those are drafts of the IETF, and older practice. All of these say that 100 requests are allowed in 10 seconds, that
//! none is left, and that it takes 5 seconds until there are some again:
//!
//! - `RateLimit-Limit: 100`, `RateLimit-Remaining: 0`, `RateLimit-Reset: 5`, `RateLimit-Policy: 100;w=10`, where a PDS
//!   gives the reset as a time, in seconds since 1970;
//! - `RateLimit: limit=100, remaining=0, reset=5`;
//! - `RateLimit: "name";r=0;t=5`, `RateLimit-Policy: "name";q=100;w=10`.

use std::time::Duration;

use reqwest::StatusCode;
use reqwest::header::HeaderMap;

use crate::net;

/// Longest pause that is believed: a mistake there must not end a job. Whoever needs longer says so again then.
const PAUSE_MAX: Duration = Duration::from_secs(24 * 3600);
/// A reset from here on is a time, in seconds since 1970; below it is a number of seconds.
const RESET_IS_TIME_FROM: f64 = 1e9;
/// What may be missing of a time in whole seconds.
const RESET_ROUNDING: f64 = 1.0;

/// What an answer says of the next requests.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Told {
    /// That there be none for so long.
    pub pause: Option<Duration>,
    /// That they be so far apart.
    pub interval: Option<Duration>,
    /// That there are too many, or that the service is overloaded.
    pub is_busy: bool,
}

impl Told {
    /// What an answer says that came at `now`, in seconds since 1970.
    pub fn read(status: StatusCode, headers: &HeaderMap, now: f64) -> Told {
        let is_busy = matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE);
        let number = |header: &str, keys: &[&str]| {
            texts(headers, header).flat_map(parameters).find(|(key, _)| keys.contains(key)).map(|(_, number)| number)
        };
        let remaining = number("ratelimit-remaining", &[""]).or_else(|| number("ratelimit", &["remaining", "r"]));
        let reset = number("ratelimit-reset", &[""]).or_else(|| number("ratelimit", &["reset", "t"]));
        let policies: Vec<(f64, f64)> = texts(headers, "ratelimit-policy").flat_map(policies).collect();
        let window = policies.iter().map(|(_, window)| *window).next();
        let reset = reset.map(|reset| if reset < RESET_IS_TIME_FROM { reset } else { reset + RESET_ROUNDING - now });
        let is_used_up = is_busy || remaining == Some(0.0);
        let asked = net::retry_after(headers).filter(|_| !status.is_success());
        let pause = asked.or_else(|| seconds(reset.or(window)?).filter(|_| is_used_up));
        let interval = policies.iter().filter_map(|(quota, window)| seconds(window / quota)).max();
        Told { pause: pause.map(|pause| pause.min(PAUSE_MAX)), interval, is_busy }
    }
}

fn texts<'a>(headers: &'a HeaderMap, name: &str) -> impl Iterator<Item = &'a str> {
    headers.get_all(name).iter().filter_map(|value| value.to_str().ok())
}

/// Requests and seconds of each policy in the value of a header.
fn policies(value: &str) -> impl Iterator<Item = (f64, f64)> {
    value.split(',').filter_map(|policy| {
        let number =
            |names: [&str; 2]| parameters(policy).find(|(key, _)| names.contains(key)).map(|(_, number)| number);
        number(["", "q"]).zip(number(["w", "w"]))
    })
}

/// The numbers in the value of a header, each with its name: of `100, 50;w=10` these are 100, 50, and 10 as `w`.
fn parameters(value: &str) -> impl Iterator<Item = (&str, f64)> {
    value.split([',', ';']).filter_map(|item| {
        let (key, number) = item.split_once('=').unwrap_or(("", item));
        let number: f64 = number.trim().parse().ok()?;
        (number >= 0.0).then_some((key.trim(), number))
    })
}

fn seconds(seconds: f64) -> Option<Duration> {
    Duration::try_from_secs_f64(seconds.clamp(0.0, PAUSE_MAX.as_secs_f64())).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use reqwest::header::HeaderName;

    use super::*;

    const NOW: f64 = 1_800_000_000.0;

    type Headers<'a> = &'a [(&'a str, &'a str)];

    fn told(status: u16, headers: Headers<'_>) -> Told {
        let header = |(name, value): &(&str, &str)| (name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
        Told::read(StatusCode::from_u16(status).unwrap(), &headers.iter().map(header).collect(), NOW)
    }

    #[test]
    fn every_form_of_a_limit_that_is_used_up_is_understood() {
        let forms: [Headers<'_>; 5] = [
            &[("RateLimit-Remaining", "0"), ("RateLimit-Reset", "5"), ("RateLimit-Policy", "100;w=10")],
            &[("ratelimit-remaining", "0"), ("ratelimit-reset", "1800000004"), ("ratelimit-policy", "100;w=10")],
            &[("RateLimit", "limit=100, remaining=0, reset=5"), ("RateLimit-Policy", "100;w=10;comment=\"x\"")],
            &[("RateLimit", "\"default\";r=0;t=5"), ("RateLimit-Policy", "\"default\";q=100;w=10")],
            &[("RateLimit", "\"default\"; r=0; t=5"), ("RateLimit-Policy", "\"s\"; q=20; w=1, \"d\"; q=100; w=10")],
        ];
        let (pause, interval) = (Some(Duration::from_secs(5)), Some(Duration::from_millis(100)));
        for headers in forms {
            assert_eq!(told(200, headers), Told { pause, interval, is_busy: false }, "{headers:?}");
        }
    }

    #[test]
    fn a_limit_that_is_not_used_up_asks_for_no_pause() {
        let headers = [("RateLimit-Limit", "3000"), ("RateLimit-Remaining", "2999"), ("RateLimit-Reset", "300")];
        assert_eq!(told(200, &headers), Told::default());
        assert_eq!(told(200, &[("Retry-After", "7")]), Told::default(), "nothing is to be tried again");
    }

    #[test]
    fn a_busy_service_says_how_long_in_one_of_several_ways() {
        let cases: [(Headers<'_>, Option<u64>); 6] = [
            (&[("Retry-After", "7"), ("RateLimit-Reset", "9")], Some(7)),
            (&[("Retry-After", "Sun, 06 Nov 1994 08:49:37 GMT")], Some(0)),
            (&[("RateLimit-Limit", "10"), ("RateLimit-Reset", "9")], Some(9)),
            (&[("RateLimit-Reset", "1700000000")], Some(0)),
            (&[("RateLimit-Policy", "3000;w=300")], Some(300)),
            (&[], None),
        ];
        for (headers, seconds) in cases {
            for status in [429, 503] {
                let told = told(status, headers);
                assert_eq!((told.pause, told.is_busy), (seconds.map(Duration::from_secs), true), "{headers:?}");
            }
        }
    }

    #[test]
    fn no_number_is_too_strange() {
        for number in ["-1", "NaN", "inf", "1e300", "99999999999999999999999", "0", "", "x", "=", ";;,"] {
            for name in ["Retry-After", "RateLimit-Remaining", "RateLimit-Reset", "RateLimit", "RateLimit-Policy"] {
                let policy = format!("{number};w={number}");
                let headers = [(name, number), ("RateLimit-Policy", policy.as_str()), ("RateLimit-Remaining", "0")];
                let told = told(429, &headers);
                assert!(told.pause.unwrap_or_default() <= PAUSE_MAX, "{name}: {number}: {told:?}");
                assert!(told.interval.unwrap_or_default() <= PAUSE_MAX, "{name}: {number}: {told:?}");
            }
        }
    }
}
