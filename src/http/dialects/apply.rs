//! Stores what a call of an SDK means: first who is who, then profiles, then events.
//!
//! Each of the three is durable when the next begins, and doing any of them again changes nothing, so a call that broke
//! off half way is made whole by sending it again.

use hashbrown::{HashMap, HashSet};
use parking_lot::Mutex;

use crate::api::{Problem, ProblemClass};
use crate::ingest::dialects::{ListChange, ProfileChange, RecentIds, Writes};
use crate::limits::LIST_CHANGE_COUNT_MAX;
use crate::model::{Entity, IdentityMerge, ProfileWrite, Value};
use crate::segment::RowKind;
use crate::store::{Refused, Store, profile_cells};

/// What is left out of one call is told one by one up to here: a call has up to a hundred thousand things.
const TOLD_COUNT_MAX: usize = 10;

/// What the server keeps of its dealings with SDKs.
#[derive(Debug, Default)]
pub struct DialectState {
    pub recent: RecentIds,
    /// Held while a list in a profile is read, changed and written.
    lists: Mutex<()>,
}

/// Stores the writes of one call.
pub fn apply(store: &Store, state: &DialectState, writes: Writes) -> Result<(), Problem> {
    let read_count =
        writes.users.iter().chain(&writes.accounts).filter(|change| change.needs_reading()).count();
    if read_count > LIST_CHANGE_COUNT_MAX {
        let detail = format!("a request changes the lists of at most {LIST_CHANGE_COUNT_MAX} profiles");
        return Err(Problem::new(ProblemClass::TooLarge, detail).hint("send them in several requests"));
    }
    for dropped in writes.dropped.iter().take(TOLD_COUNT_MAX) {
        tracing::warn!(index = dropped.index, reason = dropped.reason, "left out of what an SDK sent");
    }
    tell_more(writes.dropped.len());
    let mut merges = writes.merges;
    merges.extend(writes.recognised.into_iter().filter(|merge| is_recognised(store, merge)));
    if !merges.is_empty() {
        tell_refused(&store.merge_identities_that_fit(merges)?);
    }
    change_profiles(store, state, Entity::User, writes.users)?;
    change_profiles(store, state, Entity::Account, writes.accounts)?;
    if !writes.events.is_empty() {
        tell_refused(&store.ingest_what_fits(writes.events)?.1);
    }
    Ok(())
}

/// As with all that an SDK sends: what is sound is stored, for it would send the rest again and again.
fn tell_refused(refused: &[Refused]) {
    for Refused { part, problem, .. } in refused.iter().take(TOLD_COUNT_MAX) {
        tracing::warn!(part, %problem, "left out of what an SDK sent");
    }
    tell_more(refused.len());
}

/// Tells how many more were left out than were told one by one.
fn tell_more(count: usize) {
    if count > TOLD_COUNT_MAX {
        tracing::warn!(more = count - TOLD_COUNT_MAX, "left out of what an SDK sent");
    }
}

/// Whether an anonymous id becomes the user's: not if it is already, and not if it is somebody else's, who shares the
/// device. Two known users never become one because both were seen with one id.
fn is_recognised(store: &Store, merge: &IdentityMerge) -> bool {
    let Some(anonymous) = store.identity(&merge.from) else { return true };
    let is_same = store.identity(&merge.into).is_some_and(|into| into.user == anonymous.user);
    if !is_same && !anonymous.is_single {
        tracing::info!(
            id = merge.from,
            user = merge.into,
            "an anonymous id stays with the user it belongs to"
        );
    }
    !is_same && anonymous.is_single
}

fn change_profiles(
    store: &Store,
    state: &DialectState,
    entity: Entity,
    changes: Vec<ProfileChange>,
) -> Result<(), Problem> {
    let is_new =
        |change: &ProfileChange| change.once.as_ref().is_none_or(|id| !state.recent.contains(&once_mark(id)));
    let changes: Vec<ProfileChange> = changes.into_iter().filter(is_new).collect();
    // Within the call, too.
    let mut done: HashSet<String> = HashSet::new();
    let mut waiting: Vec<ProfileWrite> = Vec::new();
    // Whose profiles those change: what such a profile holds is known again when they are written.
    let (snapshot, mut changed) = (store.snapshot(), HashSet::new());
    let mut alone = None;
    for change in changes {
        if let Some(id) = change.once.as_deref().map(once_mark)
            && !done.insert(id)
        {
            continue;
        }
        let needs_reading = change.needs_reading();
        let mut write = change.write;
        // A new id is whose profile it will be.
        let owner = snapshot.find(entity, &write.id).ok_or_else(|| write.id.clone());
        if !needs_reading {
            changed.insert(owner);
            waiting.push(write);
            continue;
        }
        alone.get_or_insert_with(|| state.lists.lock());
        if !changed.insert(owner.clone()) {
            flush(store, entity, &mut waiting)?;
            changed.clear();
            changed.insert(owner);
        }
        let mut current = current_profile(store, entity, &write.id)?;
        if change.clears {
            let unset = current.drain().map(|(name, _)| name).collect();
            waiting.push(ProfileWrite { id: write.id.clone(), unset, ..ProfileWrite::default() });
        }
        for (name, list) in &change.lists {
            let before = write.set.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone());
            let before = before.or_else(|| current.get(name).cloned());
            let after = changed_list(list, before);
            write.set.retain(|(known, _)| known != name);
            write.set.push((name.clone(), after));
        }
        waiting.push(write);
    }
    flush(store, entity, &mut waiting)?;
    for id in done {
        state.recent.first_seen(&id, 0);
    }
    Ok(())
}

/// Keeps ids of changes apart from those of events.
fn once_mark(id: &str) -> String {
    format!("change {id}")
}

fn flush(store: &Store, entity: Entity, waiting: &mut Vec<ProfileWrite>) -> Result<(), Problem> {
    match waiting.is_empty() {
        true => Ok(()),
        false => {
            tell_refused(&store.write_profiles_that_fit(entity, std::mem::take(waiting))?);
            Ok(())
        }
    }
}

fn changed_list(change: &ListChange, before: Option<Value>) -> Value {
    Value::List(change.apply(before.map_or_else(Vec::new, |value| value.elements().to_vec())))
}

fn current_profile(store: &Store, entity: Entity, id: &str) -> Result<HashMap<String, Value>, Problem> {
    let snapshot = store.snapshot();
    let Some(ordinal) = snapshot.find(entity, id) else { return Ok(HashMap::new()) };
    let kind = match entity {
        Entity::User => RowKind::UserProfiles,
        Entity::Account => RowKind::AccountProfiles,
    };
    let cells = profile_cells(snapshot.segments.iter(), kind, ordinal)?;
    Ok(cells.into_iter().filter_map(|(name, (_, value))| Some((name, value?))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> (Store, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        (Store::open(folder.path()).unwrap(), folder)
    }

    fn recognised(from: &str, into: &str) -> Writes {
        let merge = IdentityMerge { from: from.to_owned(), into: into.to_owned() };
        Writes { recognised: vec![merge], ..Writes::default() }
    }

    #[test]
    fn users_who_share_a_device_stay_two() {
        let ((store, _folder), state) = (store(), DialectState::default());
        apply(&store, &state, recognised("device", "ada")).unwrap();
        apply(&store, &state, recognised("device", "bo")).unwrap();
        apply(&store, &state, recognised("ada", "bo")).unwrap();
        apply(&store, &state, recognised("device", "ada")).unwrap();
        let user = |id| store.identity(id).map(|identity| identity.user);
        assert_eq!(user("device"), user("ada"));
        assert_ne!(user("bo").or(Some(u32::MAX)), user("ada"));
    }

    #[test]
    fn a_change_that_counts_is_done_once() {
        let ((store, _folder), state) = (store(), DialectState::default());
        let add = |id: &str| ProfileChange {
            write: ProfileWrite {
                id: "ada".to_owned(),
                add: vec![("logins".to_owned(), 1.into())],
                ..ProfileWrite::default()
            },
            lists: vec![("tags".to_owned(), ListChange::Append(vec!["x".into()]))],
            once: Some(id.to_owned()),
            ..ProfileChange::default()
        };
        for users in [vec![add("1"), add("1")], vec![add("1")], vec![add("2")]] {
            apply(&store, &state, Writes { users, ..Writes::default() }).unwrap();
        }
        let profile = current_profile(&store, Entity::User, "ada").unwrap();
        assert_eq!(profile["logins"], Value::from(2));
        assert_eq!(profile["tags"], Value::List(vec!["x".into(), "x".into()]));
    }
}
