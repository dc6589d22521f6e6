//! One task of a query: its users, and the access paths to what they did.

use std::cell::RefCell;
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;

use hashbrown::HashMap;

use super::clip::Clip;
use super::columns::{self, GroupRows, Term};
use super::merge_runs::{merge_rows, merge_runs};
use super::scan::Scan;
use super::selection::{BoundGroup, UserFilter};
use super::{
    BreakdownPlan, Codes, RowRef, Rows, Selection, Spread, TASK_USER_COUNT, TIME_BIAS, TIME_BITS, TaskSet,
    key_time, key_user,
};
use crate::api::Problem;
use crate::model::{DAY_MS, Entity, TimeMs};
use crate::segment::{AnchorKeys, Group, Packing, RowKind};

/// 16,384 consecutive users, or accounts where those are counted, in one snapshot.
#[derive(Debug)]
pub struct Task<'a> {
    scan: &'a Scan<'a>,
    entity: Entity,
    index: u32,
    /// What conditions on users were found to hold for, by the place of the condition in memory.
    by_filter: RefCell<HashMap<*const UserFilter, Rc<TaskSet>>>,
    /// What of each user's events is shown: what all of these show.
    clips: Vec<Rc<Clip>>,
    /// By segment.
    anchor_keys: RefCell<HashMap<u32, Rc<AnchorKeys>>>,
}

impl<'a> Task<'a> {
    pub(super) fn new(scan: &'a Scan<'a>, index: u32) -> Task<'a> {
        Task::of(scan, scan.entity(), index)
    }

    /// A task of users, whoever is counted.
    pub(super) fn of_users(scan: &'a Scan<'a>, index: u32) -> Task<'a> {
        Task::of(scan, Entity::User, index)
    }

    fn of(scan: &'a Scan<'a>, entity: Entity, index: u32) -> Task<'a> {
        let (by_filter, anchor_keys) = Default::default();
        Task { scan, entity, index, by_filter, clips: Vec::new(), anchor_keys }
    }

    /// The kind of rows that hold the profiles of those whom the task has.
    pub(super) fn profile_kind(&self) -> RowKind {
        match self.entity {
            Entity::User => RowKind::UserProfiles,
            Entity::Account => RowKind::AccountProfiles,
        }
    }

    pub(super) fn scan(&self) -> &'a Scan<'a> {
        self.scan
    }

    /// The same users, seen as another scan of the snapshot sees them.
    pub(super) fn on<'b>(&self, scan: &'b Scan<'b>) -> Task<'b> {
        Task { clips: self.clips.clone(), ..Task::new(scan, self.index) }
    }

    /// The same users, with so much of their events.
    pub(super) fn clipped(&self, clip: Rc<Clip>) -> Task<'a> {
        let clips = self.clips.iter().cloned().chain([clip]).collect();
        Task { clips, ..Task::new(self.scan, self.index) }
    }

    /// Whether only a part of each user's events is shown, which day sets know nothing of.
    pub(super) fn is_clipped(&self) -> bool {
        !self.clips.is_empty()
    }

    /// The first ordinal of the task.
    pub fn user_base(&self) -> u32 {
        self.index * TASK_USER_COUNT
    }

    pub(super) fn ordinals(&self) -> Range<u32> {
        self.user_base()..self.user_base().saturating_add(TASK_USER_COUNT)
    }

    /// What a user of the task is called; `None` if it was deleted since the snapshot.
    pub fn user_name(&self, user: u16) -> Option<String> {
        self.scan.snapshot().name(self.entity, self.user_base() + u32::from(user))
    }

    /// The users that satisfy a condition, found once.
    pub(super) fn users_of(&self, filter: &Arc<UserFilter>) -> Result<Rc<TaskSet>, Problem> {
        if let Some(set) = self.by_filter.borrow().get(&Arc::as_ptr(filter)) {
            return Ok(Rc::clone(set));
        }
        let set = Rc::new(filter.users(self)?);
        self.by_filter.borrow_mut().insert(Arc::as_ptr(filter), Rc::clone(&set));
        Ok(set)
    }

    /// Rows of all events that match, in `range`, sorted by key; `refs` filled if `with_refs`.
    pub fn rows(
        &self,
        selection: &Selection,
        range: Range<TimeMs>,
        with_refs: bool,
    ) -> Result<Rows, Problem> {
        if !self.is_clipped() {
            return self.unclipped_rows(selection, range, with_refs);
        }
        let all = self.unclipped_rows(selection, range, true)?;
        let mut rows = self.clips.iter().fold(all, |rows, clip| clip.apply(&rows));
        if !with_refs {
            rows.refs = Vec::new();
        }
        rows.charge = self.scan.meter().charge(rows.size())?;
        Ok(rows)
    }

    /// The same with the places of the rows, which take no memory where one lies beside the other: [`Rows::place_of`] tells.
    pub(super) fn placed_rows(&self, selection: &Selection, range: Range<TimeMs>) -> Result<Rows, Problem> {
        if let [bound] = selection.groups.as_slice()
            && let Some(beside) = self.neighbours(bound)?
        {
            let meta = self.scan.group(bound.segment, bound.group).meta();
            if range.start <= meta.time_min && meta.time_max < range.end {
                let first =
                    RowRef { segment: bound.segment, group: bound.group, row: beside.rows.start as u32 };
                return Ok(Rows { spread: Spread::Beside(first), ..self.rows(selection, range, false)? });
            }
        }
        self.rows(selection, range, true)
    }

    fn unclipped_rows(
        &self,
        selection: &Selection,
        range: Range<TimeMs>,
        with_refs: bool,
    ) -> Result<Rows, Problem> {
        let meter = self.scan.meter();
        meter.check()?;
        let mut rows = Rows::default();
        let mut ends = Vec::new();
        for bound in &selection.groups {
            let before = rows.keys.len();
            self.read_group(bound, &range, with_refs, &mut rows)?;
            meter.check_room(rows.size())?;
            if rows.keys.len() > before {
                ends.push(rows.keys.len());
            }
        }
        rows.spread = if ends.len() <= 1 { self.spread_of_group() } else { Spread::Anywhere };
        match with_refs {
            true => merge_rows(&mut rows.keys, &mut rows.refs, &ends),
            false => merge_runs(&mut rows.keys, &ends),
        }
        rows.charge = meter.charge(rows.size())?;
        Ok(rows)
    }

    /// Calls `f` with the same rows in pieces, each sorted, in no order among themselves: for what does not ask in which
    /// order a user did things.
    pub fn for_each_piece(
        &self,
        selection: &Selection,
        range: Range<TimeMs>,
        with_refs: bool,
        f: &mut dyn FnMut(&Rows) -> Result<(), Problem>,
    ) -> Result<(), Problem> {
        // What is shown of users is decided for all of their rows at once.
        if self.is_clipped() {
            return f(&self.rows(selection, range, with_refs)?);
        }
        selection.groups.iter().try_for_each(|bound| f(&self.piece(bound, &range, with_refs)?))
    }

    /// The rows of one group that are meant, in `range`, sorted by key; `refs` filled if `with_refs`.
    ///
    /// Tasks that show a part of users' events have no pieces.
    pub(super) fn piece(
        &self,
        bound: &BoundGroup,
        range: &Range<TimeMs>,
        with_refs: bool,
    ) -> Result<Rows, Problem> {
        let meter = self.scan.meter();
        meter.check()?;
        let mut rows = Rows { spread: self.spread_of_group(), ..Rows::default() };
        self.read_group(bound, range, with_refs, &mut rows)?;
        rows.charge = meter.charge(rows.size())?;
        Ok(rows)
    }

    /// How the rows of one group lie in it.
    fn spread_of_group(&self) -> Spread {
        match self.entity {
            Entity::User => Spread::GroupOrder,
            Entity::Account => Spread::OneGroup,
        }
    }

    /// The neighbouring rows of one group, if all of them are meant that lie in a range: what its columns can be read for
    /// as they are. `None` if a condition, or a deletion, leaves rows out.
    pub(super) fn neighbours(&self, bound: &BoundGroup) -> Result<Option<GroupRows>, Problem> {
        let is_whole = bound.filter.is_none()
            && self.scan.snapshot().segments[bound.segment as usize].dead.is_empty()
            && self.scan.snapshot().expired_before == TimeMs::MIN;
        if self.entity == Entity::Account || self.is_clipped() || !is_whole {
            return Ok(None);
        }
        self.scan.meter().check()?;
        let rows = self.group_rows(&self.scan.group(bound.segment, bound.group))?;
        Ok(Some(GroupRows::neighbours(bound.segment, bound.group, rows)))
    }

    fn packing(&self) -> Packing {
        Packing { user_base: self.user_base(), user_shift: TIME_BITS, time_bias: TIME_BIAS }
    }

    /// The keys of the anchors of the task's users in a segment, unpacked once for all groups, if so many rows are
    /// worth it.
    fn anchor_keys(&self, segment: u32, row_count: usize) -> Result<Option<Rc<AnchorKeys>>, Problem> {
        if let Some(keys) = self.anchor_keys.borrow().get(&segment) {
            return Ok(Some(Rc::clone(keys)));
        }
        let of = &self.scan.snapshot().segments[segment as usize].segment;
        let base = u64::from(self.user_base());
        let users = base..base + u64::from(TASK_USER_COUNT);
        if of.is_sparse(row_count, users.clone())? {
            return Ok(None);
        }
        let keys = of.anchor_keys(users, self.packing())?.map(Rc::new);
        if let Some(keys) = &keys {
            self.anchor_keys.borrow_mut().insert(segment, Rc::clone(keys));
        }
        Ok(keys)
    }

    /// The rows of the task's users in a group.
    fn group_rows(&self, group: &Group<'_>) -> Result<Range<usize>, Problem> {
        let end = u64::from(self.user_base()) + u64::from(TASK_USER_COUNT);
        Ok(group.user_rows(&group.users()?, self.user_base(), end))
    }

    /// The rows of the task's users in a group, and whether each satisfies its condition and belongs to somebody who is not
    /// gone.
    pub(super) fn meant_rows(&self, bound: &BoundGroup) -> Result<(Range<usize>, Vec<bool>), Problem> {
        let group = self.scan.group(bound.segment, bound.group);
        let rows = self.group_rows(&group)?;
        if rows.is_empty() {
            return Ok((rows, Vec::new()));
        }
        let mut ordinals = Vec::with_capacity(rows.len());
        group.users()?.read_u32(rows.clone(), &mut ordinals);
        let users = ordinals.iter().map(|user| (user - self.user_base()) as u16);
        let dead = self.set_of(&self.scan.snapshot().segments[bound.segment as usize].dead);
        let mut is_meant: Vec<bool> = users.clone().map(|user| !dead.contains(user)).collect();
        if let Some(filter) = &bound.filter {
            let mask = filter.mask(self, (bound.segment, bound.group), rows.clone(), users)?;
            is_meant.iter_mut().zip(mask).for_each(|(is_meant, holds)| *is_meant &= holds);
        }
        Ok((rows, is_meant))
    }

    fn read_group(
        &self,
        bound: &BoundGroup,
        range: &Range<TimeMs>,
        with_refs: bool,
        out: &mut Rows,
    ) -> Result<(), Problem> {
        if self.entity == Entity::Account {
            let first = out.keys.len();
            self.scan.by_account().read(self.scan, self.index, bound, range, with_refs, out)?;
            self.scan.count_rows(out.keys.len() - first);
            return Ok(());
        }
        let group = self.scan.group(bound.segment, bound.group);
        let meta = group.meta();
        let range = range.start.max(self.scan.snapshot().expired_before)..range.end;
        if range.is_empty() || meta.time_max < range.start || meta.time_min >= range.end {
            return Ok(());
        }
        let rows = self.group_rows(&group)?;
        if rows.is_empty() {
            return Ok(());
        }
        self.scan.count_rows(rows.len());
        let first = out.keys.len();
        let anchor_keys = self.anchor_keys(bound.segment, rows.len())?;
        group.read_keys(rows.clone(), self.packing(), anchor_keys.as_deref(), &mut out.keys)?;
        if with_refs {
            let reference = |row| RowRef { segment: bound.segment, group: bound.group, row: row as u32 };
            out.refs.extend(rows.clone().map(reference));
        }

        let dead = &self.scan.snapshot().segments[bound.segment as usize].dead;
        let is_whole = range.start <= meta.time_min && meta.time_max < range.end;
        let mask = match &bound.filter {
            Some(filter) => {
                let users = out.keys[first..].iter().map(|key| key_user(*key));
                Some(filter.mask(self, (bound.segment, bound.group), rows, users)?)
            }
            None => None,
        };
        if mask.is_none() && dead.is_empty() && is_whole {
            return Ok(());
        }
        let mut is_meant = mask.unwrap_or_else(|| vec![true; out.keys.len() - first]);
        let keys = &mut out.keys[first..];
        if !is_whole {
            is_meant
                .iter_mut()
                .zip(&*keys)
                .for_each(|(is_meant, key)| *is_meant &= range.contains(&key_time(*key)));
        }
        if !dead.is_empty() {
            let dead = self.set_of(dead);
            is_meant
                .iter_mut()
                .zip(&*keys)
                .for_each(|(is_meant, key)| *is_meant &= !dead.contains(key_user(*key)));
        }
        keep(&mut out.keys, first, &is_meant);
        if with_refs {
            keep(&mut out.refs, first, &is_meant);
        }
        Ok(())
    }

    /// The members of a set of ordinals that belong to the task.
    fn set_of(&self, ordinals: &roaring::RoaringBitmap) -> TaskSet {
        if ordinals.is_empty() {
            return TaskSet::new();
        }
        let base = self.user_base();
        ordinals.range(self.ordinals()).map(|ordinal| (ordinal - base) as u16).collect()
    }

    /// Users, or accounts, active on days of UTC since 1970, any event. Days ascend; each comes once for a day.
    pub fn active_days(&self, days: Range<i32>, f: &mut dyn FnMut(i32, &[u16])) -> Result<(), Problem> {
        debug_assert!(!self.is_clipped(), "day sets are of all events");
        let expired_before = self.scan.snapshot().expired_before;
        if expired_before > i64::from(days.start) * DAY_MS {
            // Of the day that the end of what is expired lies in, rows tell.
            let cut_day = expired_before.div_euclid(DAY_MS);
            if cut_day < i64::from(days.end) {
                let rest = expired_before..(cut_day + 1) * DAY_MS;
                let rows = self.rows(self.scan.every_event(), rest, false)?;
                let mut users: Vec<u16> = rows.keys.iter().map(|key| key_user(*key)).collect();
                users.dedup();
                if !users.is_empty() {
                    f(cut_day as i32, &users);
                }
            }
            let first = (cut_day + 1).min(i64::from(days.end)) as i32;
            return if first < days.end { self.active_days(first..days.end, f) } else { Ok(()) };
        }
        let mut entries: Vec<u32> = Vec::new();
        let mut ends = Vec::new();
        for (_, live) in self.scan.segments(RowKind::Events) {
            let activity = match self.entity {
                Entity::User => live.segment.activity()?,
                Entity::Account if live.knows_account_days() => live.segment.account_activity()?,
                Entity::Account => None,
            };
            let Some(activity) = activity else { continue };
            let before = entries.len();
            activity.read(self.index, days.clone(), &mut entries);
            if self.entity == Entity::User && !live.dead.is_empty() {
                let dead = self.set_of(&live.dead);
                let mut kept = before;
                for at in before..entries.len() {
                    entries[kept] = entries[at];
                    kept += usize::from(!dead.contains((entries[at] % TASK_USER_COUNT) as u16));
                }
                entries.truncate(kept);
            }
            if entries.len() > before {
                ends.push(entries.len());
            }
        }
        let rest = self.scan.without_account_days();
        if self.entity == Entity::Account && !rest.groups.is_empty() {
            let range = i64::from(days.start) * DAY_MS..i64::from(days.end) * DAY_MS;
            let rows = self.rows(rest, range, false)?;
            let before = entries.len();
            entries.extend(rows.keys.iter().map(|key| {
                let day = key_time(*key).div_euclid(DAY_MS) as i32 - days.start;
                day as u32 * TASK_USER_COUNT + u32::from(key_user(*key))
            }));
            entries[before..].sort_unstable();
            if entries.len() > before {
                ends.push(entries.len());
            }
        }
        if !ends.is_empty() {
            merge_runs(&mut entries, &ends);
            entries.dedup();
        }
        let mut users = Vec::new();
        for of_day in entries.chunk_by(|a, b| a / TASK_USER_COUNT == b / TASK_USER_COUNT) {
            users.clear();
            users.extend(of_day.iter().map(|entry| (entry % TASK_USER_COUNT) as u16));
            f(days.start + (of_day[0] / TASK_USER_COUNT) as i32, &users);
        }
        Ok(())
    }

    /// The codes of each row, whose `refs` are filled.
    pub fn breakdown_codes(&self, breakdown: &BreakdownPlan, rows: &Rows) -> Result<Codes, Problem> {
        breakdown.codes(self, rows)
    }

    /// Calls `f` with each row that has a number under a property, and the number.
    pub fn numbers(&self, property: &str, rows: &Rows, f: impl FnMut(usize, Term)) -> Result<(), Problem> {
        columns::numbers(self.scan, property, rows, f)
    }

    /// Calls `f` with each row that has an account, and the account's ordinal.
    pub fn accounts(&self, rows: &Rows, f: &mut dyn FnMut(usize, u32)) -> Result<(), Problem> {
        columns::accounts(self.scan, rows, f)
    }

    /// Users that have an event that is seen, or a profile, ascending.
    pub fn known_users(&self) -> Result<Vec<u16>, Problem> {
        if self.is_clipped() {
            return Task::new(self.scan, self.index).known_users();
        }
        let mut known = TaskSet::new();
        let mut from_rows = self.scan.history();
        let last_day = (from_rows.end - 1).div_euclid(DAY_MS);
        let first_day = from_rows.start.div_euclid(DAY_MS);
        self.active_days(first_day as i32..last_day as i32, &mut |_, users| {
            users.iter().for_each(|user| known.insert(*user));
        })?;
        from_rows.start = last_day * DAY_MS;
        let rows = self.rows(self.scan.every_event(), from_rows, false)?;
        rows.keys.iter().for_each(|key| known.insert(key_user(*key)));
        let base = u64::from(self.user_base());
        for (_, live) in self.scan.segments(self.profile_kind()) {
            let dead = self.set_of(&live.dead);
            for group in live.segment.groups() {
                let users = group.users()?;
                let rows = group.user_rows(&users, self.user_base(), base + u64::from(TASK_USER_COUNT));
                users.for_each_block(rows, |block| {
                    let of_task = block.iter().map(|user| (user - base) as u16);
                    of_task.filter(|user| !dead.contains(*user)).for_each(|user| known.insert(user));
                });
            }
        }
        Ok(known.iter().collect())
    }
}

/// Keeps, of the values from `first` on, those that are meant. Without a branch, as most conditions cannot be foreseen.
fn keep<T: Copy>(values: &mut Vec<T>, first: usize, is_meant: &[bool]) {
    let kept = &mut values[first..];
    let mut count = 0;
    for (place, is_meant) in is_meant.iter().enumerate() {
        kept[count] = kept[place];
        count += usize::from(*is_meant);
    }
    values.truncate(first + count);
}
