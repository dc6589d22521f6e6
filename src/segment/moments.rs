//! The moments of users in several segments, over all groups in order of time: what anchors are made of.

use std::ops::Range;

use rayon::prelude::*;

use super::anchors::{AnchorTable, Reach, ReachChoice};
use super::merge::MergeSource;
use super::reader::Damage;
use super::{RowKind, TASK_USER_BITS};
use crate::limits::TIME_MIN_MS;
use crate::model::TimeMs;

/// Bits of a time, counted from the earliest that there may be, in a moment.
const TIME_BITS: u32 = 48;
/// Tasks whose rows the reach of anchors is chosen from.
const SAMPLED_TASK_COUNT: usize = 8;

/// Anchors for the live events of the sources; `None` if their users and times take no more bytes by themselves.
pub(super) fn anchors_of(sources: &[MergeSource<'_>]) -> Result<Option<AnchorTable>, Damage> {
    let Some((first, last)) = time_span(sources) else { return Ok(None) };
    let users = || sources.iter().flat_map(|source| source.segment.groups()).map(|group| group.meta());
    let user_max = users().map(|meta| meta.user_max).max().unwrap_or(0);
    let user_min = users().map(|meta| meta.user_min).min().unwrap_or(0);
    let tasks: Vec<u32> = (user_min >> TASK_USER_BITS..=user_max >> TASK_USER_BITS).collect();

    let mut choice = ReachChoice::new(first, last);
    for task in tasks.iter().step_by(tasks.len().div_ceil(SAMPLED_TASK_COUNT)) {
        for_each(*task, &moments(sources, *task)?, |user, time| choice.push(user, time));
    }
    let Some(reach) = choice.finish() else { return Ok(None) };
    let of_task = |task: &u32| -> Result<AnchorTable, Damage> {
        let mut anchors = AnchorTable::new(reach);
        for_each(*task, &moments(sources, *task)?, |user, time| anchors.push(user, time));
        Ok(anchors)
    };
    let parts: Vec<AnchorTable> = tasks.par_iter().map(of_task).collect::<Result<_, Damage>>()?;
    Ok(Some(joined(reach, parts)))
}

fn joined(reach: Reach, parts: Vec<AnchorTable>) -> AnchorTable {
    let mut all = AnchorTable::new(reach);
    parts.into_iter().for_each(|part| all.append(part));
    all
}

/// The first and the last time that live events of the sources may have.
fn time_span(sources: &[MergeSource<'_>]) -> Option<(TimeMs, TimeMs)> {
    let mut span: Option<(TimeMs, TimeMs)> = None;
    for source in sources {
        let Some((first, last)) = source.segment.time_range() else { continue };
        let first = first.max(source.from);
        if first <= last {
            let (least, largest) = span.unwrap_or((first, last));
            span = Some((least.min(first), largest.max(last)));
        }
    }
    span
}

/// The live events of a task's users, each as user in task and time, ascending.
fn moments(sources: &[MergeSource<'_>], task: u32) -> Result<Vec<u64>, Damage> {
    let base = u64::from(task) << TASK_USER_BITS;
    let mut moments = Vec::new();
    for source in sources {
        debug_assert!(source.segment.kind() == RowKind::Events);
        for group in source.segment.groups() {
            let meta = group.meta();
            let users = group.users()?;
            let rows: Range<usize> = group.user_rows(&users, base as u32, base + (1 << TASK_USER_BITS));
            if rows.is_empty() {
                continue;
            }
            let start = moments.len();
            users.for_each_block(rows.clone(), |block| {
                moments.extend(block.iter().map(|user| user.wrapping_sub(base) << TIME_BITS));
            });
            let bias = meta.time_min.wrapping_sub(TIME_MIN_MS) as u64;
            let mut rest = &mut moments[start..];
            group.times()?.for_each_block(rows, |block| {
                let (these, after) = std::mem::take(&mut rest).split_at_mut(block.len());
                these.iter_mut().zip(block).for_each(|(moment, time)| *moment |= bias.wrapping_add(*time));
                rest = after;
            });
            if !source.dead.is_empty() || meta.time_min < source.from {
                let from = source.from.saturating_sub(TIME_MIN_MS).max(0) as u64;
                let is_dead = |moment: u64| source.dead.contains((base + (moment >> TIME_BITS)) as u32);
                let mut kept = start;
                for at in start..moments.len() {
                    let moment = moments[at];
                    moments[kept] = moment;
                    let is_live = moment & ((1 << TIME_BITS) - 1) >= from && !is_dead(moment);
                    kept += usize::from(is_live);
                }
                moments.truncate(kept);
            }
        }
    }
    moments.sort_unstable();
    Ok(moments)
}

fn for_each(task: u32, moments: &[u64], mut f: impl FnMut(u32, TimeMs)) {
    for moment in moments {
        let user = (task << TASK_USER_BITS) | (moment >> TIME_BITS) as u32;
        f(user, TIME_MIN_MS + (moment & ((1 << TIME_BITS) - 1)) as TimeMs);
    }
}
