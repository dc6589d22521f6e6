//! All events of a snapshot, some thousands at a time.

use super::EventChoice;
use crate::api::Problem;
use crate::model::{Entity, EventBatch, TimeMs};
use crate::segment::{Group, RowKind};
use crate::store::{LiveSegment, Snapshot, UserRows};

/// Rows that are read at once.
const BATCH_ROW_COUNT: usize = 8_192;

/// Hands out the chosen events: segment by segment, event by event, and of each by user and time.
pub(super) fn each_batch(
    snapshot: &Snapshot<'_>,
    choice: &EventChoice,
    take: &mut dyn FnMut(&EventBatch) -> Result<(), Problem>,
) -> Result<(), Problem> {
    let from = choice.from.unwrap_or(snapshot.expired_before).max(snapshot.expired_before);
    for live in snapshot.segments.iter().filter(|live| live.segment.kind() == RowKind::Events) {
        for group in live.segment.groups() {
            let is_chosen = choice.events.is_empty() || choice.events.iter().any(|name| name == group.name());
            let meta = group.meta();
            let overlaps = meta.time_max >= from && choice.to.is_none_or(|to| meta.time_min < to);
            if is_chosen && overlaps {
                each_batch_of_group(snapshot, live, group, from, choice.to, take)?;
            }
        }
    }
    Ok(())
}

fn each_batch_of_group(
    snapshot: &Snapshot<'_>,
    live: &LiveSegment,
    group: Group<'_>,
    from: TimeMs,
    to: Option<TimeMs>,
    take: &mut dyn FnMut(&EventBatch) -> Result<(), Problem>,
) -> Result<(), Problem> {
    let users = group.users()?;
    let mut last: Option<(u32, Option<String>)> = None;
    for start in (0..group.row_count()).step_by(BATCH_ROW_COUNT) {
        let rows = start..group.row_count().min(start + BATCH_ROW_COUNT);
        let read = UserRows { group, rows: rows.clone() }.read()?;
        let mut batch = EventBatch::new();
        for (row, full) in rows.zip(read) {
            let user = users.get(row) as u32;
            let is_in_range = full.time >= from && to.is_none_or(|to| full.time < to);
            if live.dead.contains(user) || !is_in_range {
                continue;
            }
            // Rows of a user lie together.
            if last.as_ref().is_none_or(|(known, _)| *known != user) {
                last = Some((user, snapshot.name(Entity::User, user)));
            }
            // A user deleted since the snapshot was taken has no name any more.
            let Some((_, Some(name))) = &last else { continue };
            let account =
                full.account.checked_sub(1).and_then(|account| snapshot.name(Entity::Account, account));
            let id = std::str::from_utf8(&full.id).ok().filter(|id| !id.is_empty());
            let stored = "it was stored, so it is valid";
            batch.push_event(group.name(), name, full.time, id, account.as_deref()).expect(stored);
            for (property, value) in &full.properties {
                batch.push_property(property, value).expect(stored);
            }
        }
        if !batch.is_empty() {
            take(&batch)?;
        }
    }
    Ok(())
}
