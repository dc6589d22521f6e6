//! Cohorts: which users of a task belong to an expression over what users did and are.

use std::cell::OnceCell;
use std::ops::Range;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::activity::visit_active_days;
use super::cells::CellPlan;
use super::grid::too_many_rows;
use super::selection::UserFilter;
use super::{Analysis, Partial, Selection, TASK_USER_COUNT, Task, TaskSet, key_time, key_user};
use crate::api::{
    Cell, CohortExpr, CohortSelect, ColumnType, Filter, Problem, ResultCell, Scope, Selector, Table,
    TimeRange,
};
use crate::limits::RESULT_ROW_COUNT_MAX;
use crate::model::{Entity, TimeMs};

/// A cohort, bound to a snapshot. Its parts look at all history, or at ranges of their own, up to `as_of`.
#[derive(Clone, Debug)]
pub enum CohortPlan {
    /// Users by how many such events they have in the range. Without `at_most` there is no upper bound.
    Did {
        selection: Selection,
        range: Range<TimeMs>,
        at_least: u64,
        at_most: Option<u64>,
    },
    DidNot {
        selection: Selection,
        range: Range<TimeMs>,
    },
    /// Users whose first such event in `history` lies at or after `from`, which is in it.
    FirstDid {
        selection: Selection,
        history: Range<TimeMs>,
        from: TimeMs,
    },
    Profile(Box<UserFilter>),
    /// Users by ordinal, ascending.
    Users(Vec<u32>),
    All(Vec<CohortPlan>),
    Any(Vec<CohortPlan>),
    Not(Box<CohortPlan>),
    /// A stored cohort, which a task looks for once, however often it is named.
    Stored(Arc<UserFilter>),
    Result(Arc<CellPlan>),
}

/// What a snapshot knows that an expression needs.
pub trait CohortBinder {
    /// The events of a selector, without a `where` of the query.
    fn select(&mut self, selector: &Selector) -> Result<Selection, Problem>;

    /// A condition on profiles.
    fn profile(&mut self, filter: &Filter) -> Result<UserFilter, Problem>;

    /// The ordinal of the user that an id means, after merges.
    fn user_ordinal(&self, id: &str) -> Option<u32>;

    /// A stored cohort, named at `path` of the request.
    fn stored(&mut self, name: &str, path: &str) -> Result<CohortPlan, Problem>;

    /// Those whom a cell of a result counts.
    fn result(&mut self, cell: &ResultCell) -> Result<CohortPlan, Problem>;

    /// A cohort inside another.
    fn nested(&mut self, cohort: &CohortExpr) -> Result<CohortPlan, Problem>;
}

impl CohortPlan {
    pub fn bind<B: CohortBinder>(
        expr: &CohortExpr,
        scope: &Scope,
        binder: &mut B,
    ) -> Result<CohortPlan, Problem> {
        let resolve = |range: &TimeRange| range.resolve(scope.as_of, &scope.zone);
        let bind_all = |list: &[CohortExpr], binder: &mut B| -> Result<Vec<CohortPlan>, Problem> {
            list.iter().map(|expr| binder.nested(expr)).collect()
        };
        Ok(match expr {
            CohortExpr::Did { selector, at_least, at_most, range } => CohortPlan::Did {
                selection: binder.select(selector)?,
                range: scope.seen(resolve(range)?),
                at_least: *at_least,
                at_most: *at_most,
            },
            CohortExpr::DidNot { selector, range } => {
                CohortPlan::DidNot { selection: binder.select(selector)?, range: scope.seen(resolve(range)?) }
            }
            CohortExpr::FirstDid { selector, range } => {
                let range = scope.seen(resolve(range)?);
                let history = scope.history().start..range.end;
                CohortPlan::FirstDid { selection: binder.select(selector)?, history, from: range.start }
            }
            CohortExpr::Profile(filter) => CohortPlan::Profile(Box::new(binder.profile(filter)?)),
            CohortExpr::Users(ids) => {
                let mut ordinals: Vec<u32> = ids.iter().filter_map(|id| binder.user_ordinal(id)).collect();
                ordinals.sort_unstable();
                ordinals.dedup();
                CohortPlan::Users(ordinals)
            }
            CohortExpr::All(list) => CohortPlan::All(bind_all(list, binder)?),
            CohortExpr::Any(list) => CohortPlan::Any(bind_all(list, binder)?),
            CohortExpr::Not(expr) => CohortPlan::Not(Box::new(binder.nested(expr)?)),
            CohortExpr::Stored { name, path } => binder.stored(name, path)?,
            CohortExpr::Result(cell) => binder.result(cell)?,
        })
    }

    /// The members among the users of a task. They all have an event that is seen, or a profile.
    pub fn members(&self, task: &Task<'_>) -> Result<TaskSet, Problem> {
        self.members_of(&Everybody { task, known: OnceCell::new() })
    }

    fn members_of(&self, everybody: &Everybody<'_>) -> Result<TaskSet, Problem> {
        let task = everybody.task;
        if let Some(others) = self.others(everybody) {
            let mut set = everybody.known()?.clone();
            set.subtract(&others?);
            return Ok(set);
        }
        match self {
            CohortPlan::Did { selection, range, at_least: 1, at_most: None } => {
                did_ever(task, selection, range)
            }
            CohortPlan::Did { selection, range, at_least, at_most } => {
                did_times(task, selection, range, |count| {
                    *at_least <= count && at_most.is_none_or(|at_most| count <= at_most)
                })
            }
            CohortPlan::FirstDid { selection, history, from } => first_did(task, selection, history, *from),
            CohortPlan::Profile(filter) => {
                let mut set = filter.users(task)?;
                set.intersect(everybody.known()?);
                Ok(set)
            }
            CohortPlan::Users(ordinals) => {
                let known = everybody.known()?;
                let users = users_of_task(ordinals, task.user_base());
                Ok(users.filter(|user| known.contains(*user)).collect())
            }
            CohortPlan::All(list) => everybody.in_all(list),
            CohortPlan::Any(list) => list.iter().try_fold(TaskSet::new(), |mut set, plan| {
                set.unite(&plan.members_of(everybody)?);
                Ok(set)
            }),
            CohortPlan::Stored(filter) => Ok((*task.users_of(filter)?).clone()),
            CohortPlan::Result(cell) => {
                let mut set = cell.members(task)?;
                set.intersect(everybody.known()?);
                Ok(set)
            }
            CohortPlan::DidNot { .. } | CohortPlan::Not(_) => unreachable!("these are found by the others"),
        }
    }

    /// Of a cohort that is everybody but some: those. `None` of any other.
    fn others(&self, everybody: &Everybody<'_>) -> Option<Result<TaskSet, Problem>> {
        let task = everybody.task;
        match self {
            CohortPlan::DidNot { selection, range } => Some(did_ever(task, selection, range)),
            CohortPlan::Not(plan) => Some(plan.members_of(everybody)),
            // Who has none is among everybody but those who have too many, and is not found by rows.
            CohortPlan::Did { selection, range, at_least: 0, at_most } => Some(match at_most {
                Some(at_most) => did_times(task, selection, range, |count| count > *at_most),
                None => Ok(TaskSet::new()),
            }),
            _ => None,
        }
    }
}

/// The users of a task that have an event that is seen, or a profile: looked for when they are asked for.
struct Everybody<'t> {
    task: &'t Task<'t>,
    known: OnceCell<TaskSet>,
}

impl Everybody<'_> {
    fn known(&self) -> Result<&TaskSet, Problem> {
        if let Some(known) = self.known.get() {
            return Ok(known);
        }
        let known = self.task.known_users()?.into_iter().collect();
        Ok(self.known.get_or_init(|| known))
    }

    /// Who is in all cohorts. Those that are everybody but some are taken away from the rest.
    fn in_all(&self, list: &[CohortPlan]) -> Result<TaskSet, Problem> {
        let mut set: Option<TaskSet> = None;
        let mut rest = Vec::new();
        for plan in list {
            if set.as_ref().is_some_and(TaskSet::is_empty) {
                break;
            }
            match (plan, &mut set) {
                (CohortPlan::DidNot { .. } | CohortPlan::Not(_) | CohortPlan::Did { at_least: 0, .. }, _) => {
                    rest.push(plan)
                }
                (plan, Some(set)) => set.intersect(&plan.members_of(self)?),
                (plan, none) => *none = Some(plan.members_of(self)?),
            }
        }
        let mut set = set.map_or_else(|| self.known().cloned(), Ok)?;
        for plan in rest {
            if !set.is_empty() {
                set.subtract(&plan.others(self).expect("it is everybody but some")?);
            }
        }
        Ok(set)
    }
}

/// Those of the ordinals, which ascend, that belong to the task that starts at `base`.
fn users_of_task(ordinals: &[u32], base: u32) -> impl Iterator<Item = u16> + '_ {
    let start = ordinals.partition_point(|ordinal| *ordinal < base);
    ordinals[start..]
        .iter()
        .map(move |ordinal| ordinal - base)
        .take_while(|user| *user < TASK_USER_COUNT)
        .map(|user| user as u16)
}

fn did_ever(task: &Task<'_>, selection: &Selection, range: &Range<TimeMs>) -> Result<TaskSet, Problem> {
    if !selection.is_every_event() {
        return Ok(task
            .rows(selection, range.clone(), false)?
            .keys
            .iter()
            .map(|key| key_user(*key))
            .collect());
    }
    let mut set = TaskSet::new();
    visit_active_days(task, selection, range.clone(), &mut |_, users| {
        users.iter().for_each(|user| set.insert(*user));
    })?;
    Ok(set)
}

/// Users whose number of events is one that is asked for. It is never 0.
fn did_times(
    task: &Task<'_>,
    selection: &Selection,
    range: &Range<TimeMs>,
    is_asked_for: impl Fn(u64) -> bool,
) -> Result<TaskSet, Problem> {
    let rows = task.rows(selection, range.clone(), false)?;
    let runs = rows.keys.chunk_by(|a, b| key_user(*a) == key_user(*b));
    Ok(runs.filter(|run| is_asked_for(run.len() as u64)).map(|run| key_user(run[0])).collect())
}

fn first_did(
    task: &Task<'_>,
    selection: &Selection,
    history: &Range<TimeMs>,
    from: TimeMs,
) -> Result<TaskSet, Problem> {
    let rows = task.rows(selection, history.clone(), false)?;
    let runs = rows.keys.chunk_by(|a, b| key_user(*a) == key_user(*b));
    Ok(runs.filter(|run| key_time(run[0]) >= from).map(|run| key_user(run[0])).collect())
}

/// The query `cohort`: how many, or who.
#[derive(Debug)]
pub struct Cohort {
    plan: CohortPlan,
    select: CohortSelect,
    entity: Entity,
}

impl Cohort {
    pub fn new(plan: CohortPlan, select: CohortSelect, entity: Entity) -> Cohort {
        Cohort { plan, select, entity }
    }

    /// The members among the users of a task, whatever is selected of them.
    pub fn members(&self, task: &Task<'_>) -> Result<TaskSet, Problem> {
        self.plan.members(task)
    }
}

/// Members so far.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct CohortPartial {
    count: u64,
    /// Ids in no order, if members are asked for; of a page those that can still be in it, and some more.
    ids: Vec<String>,
    limit: Option<usize>,
}

impl CohortPartial {
    /// Ids held beyond twice the page before those past its end are dropped.
    const SLACK: usize = 4096;

    fn add(&mut self, id: String) {
        self.ids.push(id);
        self.drop_surplus();
    }

    fn drop_surplus(&mut self) {
        if let Some(limit) = self.limit
            && self.ids.len() > 2 * limit + CohortPartial::SLACK
        {
            self.ids.select_nth_unstable(limit);
            self.ids.truncate(limit);
        }
    }
}

impl Partial for CohortPartial {
    fn merge(&mut self, other: CohortPartial) {
        self.count += other.count;
        self.ids.extend(other.ids);
        self.drop_surplus();
    }
}

impl Analysis for Cohort {
    type Partial = CohortPartial;
    type Output = Table;

    fn empty(&self) -> CohortPartial {
        let limit = match &self.select {
            CohortSelect::Members { limit, .. } => *limit,
            CohortSelect::Count => None,
        };
        CohortPartial { limit, ..CohortPartial::default() }
    }

    fn observe(&self, task: &Task<'_>, partial: &mut CohortPartial) -> Result<(), Problem> {
        let members = self.plan.members(task)?;
        partial.count += members.len() as u64;
        let CohortSelect::Members { after, .. } = &self.select else { return Ok(()) };
        for user in members.iter() {
            let Some(id) = task.user_name(user) else { continue };
            if after.as_deref().is_none_or(|after| *id > *after) {
                partial.add(id);
            }
        }
        check_count(partial)
    }

    fn finish(&self, mut partial: CohortPartial) -> Result<Table, Problem> {
        let CohortSelect::Members { limit, .. } = &self.select else {
            let mut table = Table::new([("users", ColumnType::UInt64)]);
            table.push([Cell::UInt(partial.count)]);
            return Ok(table);
        };
        check_count(&partial)?;
        partial.ids.sort_unstable();
        let mut table = Table::new([(self.entity.name(), ColumnType::String)]);
        for id in partial.ids.into_iter().take(limit.unwrap_or(usize::MAX)) {
            table.push([Cell::Text(id)]);
        }
        Ok(table)
    }
}

/// Nobody reads a list of many millions: it comes in pages.
fn check_count(partial: &CohortPartial) -> Result<(), Problem> {
    if partial.limit.is_none() && partial.ids.len() > RESULT_ROW_COUNT_MAX {
        return Err(too_many_rows().at("/limit").hint("ask for pages, with \"limit\" and \"after\""));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listed_users_belong_to_the_task_that_has_their_ordinal() {
        let ordinals = [3, 16_383, 16_384, 40_000];
        assert_eq!(users_of_task(&ordinals, 0).collect::<Vec<_>>(), [3, 16_383]);
        assert_eq!(users_of_task(&ordinals, TASK_USER_COUNT).collect::<Vec<_>>(), [0]);
        assert_eq!(users_of_task(&ordinals, 3 * TASK_USER_COUNT).count(), 0);
    }

    #[test]
    fn a_page_is_the_smallest_ids_however_the_parts_were_merged() {
        let part = |ids: std::ops::Range<u32>| {
            let mut part = CohortPartial { limit: Some(3), ..CohortPartial::default() };
            for id in ids.rev() {
                part.count += 1;
                part.add(format!("{id:05}"));
            }
            part
        };
        let page = |mut partial: CohortPartial| {
            partial.ids.sort_unstable();
            partial.ids.truncate(3);
            (partial.count, partial.ids)
        };
        let (mut left, mut right) = (part(10_000..20_000), part(2..4));
        assert!(left.ids.len() < 10_000, "what cannot be told is dropped");
        let text = serde_json::to_string(&left).unwrap();
        right.merge(serde_json::from_str(&text).unwrap());
        left.merge(part(2..4));
        let expected = (10_002, vec!["00002".to_owned(), "00003".to_owned(), "10000".to_owned()]);
        assert_eq!(page(left), expected);
        assert_eq!(page(right), expected);
    }
}
