//! What a step, a retry or a trouble makes of a part's row. Nothing here reads a clock or writes.

use super::backoff::ACCOUNT;
use super::note::Move;
use super::work::Step;
use crate::decisions::{JobRow, PartRow, PartState, Retry};

/// Tries of an account that cannot be looked at; it is then given up, for this run.
const TRIES_MAX: u32 = 12;
/// The class of accounts that were given up.
const UNREACHABLE: &str = "unreachable";
/// How often a part may begin anew without coming further than before.
const RESTARTS_MAX: u64 = 3;
/// Longest cursor of a source.
const CURSOR_BYTES_MAX: usize = 4096;
/// Longest reason that is kept, in characters.
const REASON_CHARS_MAX: usize = 300;

/// A part that has not begun.
pub(super) fn planned(key: String, provider: String, expected: Option<u64>) -> PartRow {
    PartRow {
        key,
        provider,
        expected,
        state: PartState::Open,
        cursor: None,
        steps: 0,
        moves: 0,
        restarts: 0,
        furthest: 0,
        seen: 0,
        added: 0,
        removed: 0,
        retrying: 0,
        classes: Default::default(),
        error: None,
    }
}

/// After a step. A cursor that cannot be kept is an error, in words.
pub(super) fn stepped(job: &JobRow, mut row: PartRow, step: &Step, now_ms: i64) -> Result<Move, String> {
    if step.cursor.as_ref().is_some_and(|cursor| cursor.len() > CURSOR_BYTES_MAX || cursor.contains('\0')) {
        return Err(format!("its cursor is longer than {CURSOR_BYTES_MAX} bytes, or has a NUL in it"));
    }
    row.steps += 1;
    row.moves += 1;
    row.seen += step.seen;
    row.cursor.clone_from(&step.cursor);
    count(&mut row, step);
    row.retrying += step.again.len() as u64;
    row.state = match (&row.cursor, row.retrying) {
        (Some(_), _) => PartState::Open,
        (None, 0) => PartState::Done,
        (None, _) => PartState::Retrying,
    };
    let again = step.again.iter().map(|(did, reason)| Retry {
        did: did.to_string(),
        reason: told(reason),
        tries: 1,
        next_at_ms: now_ms + ACCOUNT.wait_ms(1),
    });
    let again = again.collect();
    Ok(Move::new(job, row).with_retries(again, Vec::new()))
}

/// After a retry of these accounts. What the step says of DIDs that were seen does not count: they were seen before.
pub(super) fn retried(job: &JobRow, mut row: PartRow, tried: Vec<Retry>, step: &Step, now_ms: i64) -> Move {
    row.moves += 1;
    count(&mut row, step);
    let (mut again, mut settled) = (Vec::new(), Vec::new());
    for retry in tried {
        let failed = step.again.iter().find(|(did, _)| did.as_str() == retry.did);
        let tries = retry.tries.saturating_add(1);
        match failed {
            Some((_, reason)) if tries < TRIES_MAX => {
                let next_at_ms = now_ms + ACCOUNT.wait_ms(tries);
                again.push(Retry { did: retry.did, reason: told(reason), tries, next_at_ms });
            }
            Some(_) => {
                *row.classes.entry(UNREACHABLE.to_owned()).or_default() += 1;
                settled.push(retry.did);
            }
            None => settled.push(retry.did),
        }
    }
    row.retrying = row.retrying.saturating_sub(settled.len() as u64);
    if row.retrying == 0 || (again.is_empty() && settled.is_empty()) {
        row.retrying = 0;
        row.state = PartState::Done;
    }
    Move::new(job, row).with_retries(again, settled)
}

/// After its source has lost its cursor: at the begin, or failed if that has not helped before.
pub(super) fn begun_anew(mut row: PartRow, reason: &str) -> PartRow {
    if row.seen > row.furthest {
        (row.furthest, row.restarts) = (row.seen, 0);
    }
    row.restarts += 1;
    if row.restarts > RESTARTS_MAX {
        let reason = format!("{reason}; it has begun anew {RESTARTS_MAX} times without coming further");
        return failed(row, &reason);
    }
    // Its pairs stay in the directory and are not new when they come again.
    (row.cursor, row.steps, row.seen, row.retrying) = (None, 0, 0, 0);
    row.classes.clear();
    row.moves += 1;
    row
}

/// After it turned out that it cannot be done.
pub(super) fn failed(row: PartRow, reason: &str) -> PartRow {
    PartRow { state: PartState::Failed, error: Some(told(reason)), retrying: 0, moves: row.moves + 1, ..row }
}

/// A reason as it is kept: words from outside, cut, and without what a database would not take.
pub(super) fn told(reason: &str) -> String {
    reason.chars().filter(|char| !char.is_control()).take(REASON_CHARS_MAX).collect()
}

fn count(row: &mut PartRow, step: &Step) {
    for (class, count) in &step.classes {
        *row.classes.entry(class.clone()).or_default() += count;
    }
}
