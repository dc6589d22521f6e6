//! All profiles of a snapshot, and all ids that are one user.
//!
//! Both are told as rows of a batch, so that there is one writer for everything: a profile is a row of its owner with
//! its values as properties, a pair of ids a row of `from` as the user and `into` as the account.

use std::collections::BTreeMap;

use crate::api::Problem;
use crate::model::{Entity, EventBatch, TimeMs, Value};
use crate::segment::{Damage, RowKind};
use crate::store::{LiveSegment, Snapshot, UserRows};

/// Owners whose profiles are put together at once.
const OWNER_COUNT: u32 = 1 << 14;
/// The event of rows that are none.
const NO_EVENT: &str = "profile";

type Cells = BTreeMap<String, (TimeMs, Option<Value>)>;

/// Hands out the profiles of users or accounts, by ordinal; of each the values that are set, and of one whose values were all
/// unset an empty list for each.
pub(super) fn each_batch(
    snapshot: &Snapshot<'_>,
    entity: Entity,
    take: &mut dyn FnMut(&EventBatch) -> Result<(), Problem>,
) -> Result<(), Problem> {
    let kind = match entity {
        Entity::User => RowKind::UserProfiles,
        Entity::Account => RowKind::AccountProfiles,
    };
    for start in (0..snapshot.ordinal_count(entity)).step_by(OWNER_COUNT as usize) {
        let mut owners: BTreeMap<u32, Cells> = BTreeMap::new();
        for live in snapshot.segments.iter().filter(|live| live.segment.kind() == kind) {
            add_cells(live, start, &mut owners)?;
        }
        let mut batch = EventBatch::new();
        for (owner, cells) in owners {
            let Some(name) = snapshot.name(entity, owner) else { continue };
            let stored = "it was stored, so it is valid";
            batch.push_event(NO_EVENT, &name, 0, None, None).expect(stored);
            let is_empty = cells.values().all(|(_, value)| value.is_none());
            for (property, (_, value)) in cells {
                match value {
                    Some(value) => batch.push_property(&property, &value).expect(stored),
                    // Of whom nothing is set any more it is known that they are there: an empty list is null.
                    None if is_empty => {
                        batch.push_property(&property, &Value::List(Vec::new())).expect(stored)
                    }
                    None => {}
                }
            }
        }
        if !batch.is_empty() {
            take(&batch)?;
        }
    }
    Ok(())
}

/// Adds the writes of one segment to the profiles of owners from `start` on. The later write of each property holds.
fn add_cells(live: &LiveSegment, start: u32, owners: &mut BTreeMap<u32, Cells>) -> Result<(), Damage> {
    for group in live.segment.groups() {
        let users = group.users()?;
        let rows = group.user_rows(&users, start, u64::from(start) + u64::from(OWNER_COUNT));
        let written = UserRows { group, rows: rows.clone() }.read()?;
        for (row, written) in rows.zip(written) {
            let owner = users.get(row) as u32;
            if live.dead.contains(owner) {
                continue;
            }
            let value = written.properties.into_iter().next().map(|(_, value)| value);
            let cells = owners.entry(owner).or_default();
            let cell = cells.entry(group.name().to_owned()).or_insert((TimeMs::MIN, None));
            if written.time > cell.0 {
                *cell = (written.time, value);
            }
        }
    }
    Ok(())
}

/// Hands out every id that is not what its user is called by, with the id that is.
pub(super) fn each_identity_batch(
    snapshot: &Snapshot<'_>,
    take: &mut dyn FnMut(&EventBatch) -> Result<(), Problem>,
) -> Result<(), Problem> {
    let mut batch = EventBatch::new();
    for user in snapshot.merged_users() {
        let Some(into) = snapshot.name(Entity::User, user) else { continue };
        for from in snapshot.ids_of_user(user).iter().filter(|id| **id != into) {
            let pushed = batch.push_event(NO_EVENT, from, 0, None, Some(&into));
            pushed.expect("both are ids of the store");
        }
        if batch.len() >= OWNER_COUNT as usize {
            take(&std::mem::take(&mut batch))?;
        }
    }
    if batch.is_empty() { Ok(()) } else { take(&batch) }
}
