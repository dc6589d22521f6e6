//! The days of activity of segments that are joined.

use super::merge::{MergeSource, Part};
use super::reader::{Damage, Group};
use super::{ACTIVITY_DAY_BITS, ACTIVITY_DAY_MIN, TASK_USER_BITS, activity_key};
use crate::model::DAY_MS;

/// The activity of users in the rows of the sources that stay.
pub(super) fn merged_activity(sources: &[MergeSource<'_>]) -> Result<Vec<u64>, Damage> {
    let mut merged = Vec::new();
    for source in sources {
        let Some(activity) = source.segment.activity()? else { continue };
        // On the day that `from` lies in, who was active later is found from the rows.
        let first_day = match source.loses_events() {
            true => add_cut_day(source, &mut merged)? + 1,
            false => i32::MIN,
        };
        let keys = activity.keys();
        keys.for_each_block(0..keys.len(), |keys| {
            let stays = |key: &u64| {
                (source.dead.is_empty() || !source.dead.contains(activity_user(*key)))
                    && activity_day(*key) >= first_day
            };
            merged.extend(keys.iter().copied().filter(stays));
        });
    }
    merged.sort();
    merged.dedup();
    Ok(merged)
}

/// Adds the activity of the day that `from` lies in, after it. Returns the day.
fn add_cut_day(source: &MergeSource<'_>, out: &mut Vec<u64>) -> Result<i32, Damage> {
    let day = source.from.div_euclid(DAY_MS) as i32;
    let rest = source.from..(i64::from(day) + 1) * DAY_MS;
    for group in source.segment.groups() {
        for part in Part::all(std::slice::from_ref(source), group.name())? {
            let rows = part
                .users
                .iter()
                .enumerate()
                .filter(|(row, user)| rest.contains(&part.time(*row)) && !source.dead.contains(**user));
            out.extend(rows.map(|(_, user)| activity_key(*user, day)));
        }
    }
    Ok(day)
}

/// The activity of accounts in the rows of the sources that stay.
pub(super) fn merged_account_activity(sources: &[MergeSource<'_>]) -> Result<Vec<u64>, Damage> {
    let mut merged = Vec::new();
    for source in sources {
        match source.segment.account_activity()? {
            // Whose events they were is not in the keys.
            Some(activity) if !source.loses_rows() => {
                activity.keys().read(0..activity.keys().len(), &mut merged)
            }
            _ => add_account_days(source, &mut merged)?,
        }
    }
    merged.sort();
    merged.dedup();
    Ok(merged)
}

/// Adds the days of accounts that the rows of a source tell.
fn add_account_days(source: &MergeSource<'_>, out: &mut Vec<u64>) -> Result<(), Damage> {
    for group in source.segment.groups().filter(Group::has_accounts) {
        for part in Part::all(std::slice::from_ref(source), group.name())? {
            let Some(column) = part.group.accounts()? else { continue };
            let mut accounts = Vec::new();
            column.read_u32(0..column.len(), &mut accounts);
            let is_live = |row: usize| {
                let user = part.users[row];
                part.time(row) >= part.from && (part.dead.is_empty() || !part.dead.contains(user))
            };
            let before = out.len();
            for (row, account) in accounts.iter().enumerate().filter(|(row, _)| is_live(*row)) {
                let Some(account) = account.checked_sub(1) else { continue };
                let key = activity_key(account, part.time(row).div_euclid(DAY_MS) as i32);
                // Neighbours are of one user, so mostly of one account.
                if out[before..].last() != Some(&key) {
                    out.push(key);
                }
            }
        }
    }
    Ok(())
}

fn activity_day(key: u64) -> i32 {
    ((key >> TASK_USER_BITS) & ((1 << ACTIVITY_DAY_BITS) - 1)) as i32 + ACTIVITY_DAY_MIN
}

fn activity_user(key: u64) -> u32 {
    let task = (key >> (TASK_USER_BITS + ACTIVITY_DAY_BITS)) as u32;
    (task << TASK_USER_BITS) | (key & ((1 << TASK_USER_BITS) - 1)) as u32
}
