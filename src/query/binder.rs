//! Binds selectors, filters and cohorts to a snapshot.

use std::collections::BTreeSet;
use std::sync::Arc;

use hashbrown::HashMap;

use super::bound::Bound;
use super::cells::CellPlan;
use super::cohort::{CohortBinder, CohortPlan};
use super::scan::{Scan, profile_cells};
use super::selection::{BoundGroup, RowFilter, Selection, Truth, UserFilter};
use super::{Task, growth_model};
use crate::api::{
    CohortExpr, EventName, Filter, GrowthModel, Json, On, Op, Problem, ResultCell, Scope, Selector, nearest,
};
use crate::limits::{COHORT_DEPTH_MAX, COHORT_PART_COUNT_MAX};
use crate::model::{DocumentKind, Entity};
use crate::segment::{Column, Group, RowKind};
use crate::store::Document;

/// Conditions on who did an event, as one binder decides them: by the place of the condition in memory.
#[derive(Clone, Debug, Default)]
pub(super) struct Decided {
    by_user: HashMap<*const Filter, Arc<UserFilter>>,
    /// Cohorts of accounts.
    by_cohort: HashMap<*const Filter, Arc<Vec<bool>>>,
}

/// Binds the parts of one query to a snapshot.
#[derive(Debug)]
pub struct Binder<'a> {
    scan: &'a Scan<'a>,
    scope: &'a Scope,
    /// Conditions decided for the values of a segment, by the place of the condition in memory.
    by_code: HashMap<(u32, *const Op), Arc<Vec<bool>>>,
    by_account: HashMap<*const Op, Arc<Vec<bool>>>,
    decided: Decided,
    /// Stored cohorts, bound.
    by_name: HashMap<String, Arc<UserFilter>>,
    /// The definitions of stored cohorts: what the maps above know by its place must stay there.
    definitions: Vec<Arc<CohortExpr>>,
    /// The stored cohorts that are being bound, each inside the one before.
    names: Vec<String>,
    /// How many of them the request is itself in: 1 if it is the definition of one.
    own_name_count: usize,
    /// How deep what is being bound is nested.
    depth: usize,
    /// Cohorts and conditions on users that were bound, those of results in them too.
    part_count: usize,
    /// The growth model of the store, once it is asked for.
    stored_model: Option<Arc<GrowthModel>>,
    /// Growth models that parts of the query come from; they stay in their places too.
    models: Vec<Arc<GrowthModel>>,
}

impl<'a> Binder<'a> {
    /// The filters that are bound must outlive the binder: it knows them by their places in memory.
    pub fn new(scan: &'a Scan<'a>, scope: &'a Scope) -> Binder<'a> {
        Binder {
            scan,
            scope,
            by_code: HashMap::new(),
            by_account: HashMap::new(),
            decided: Decided::default(),
            stored_model: None,
            models: Vec::new(),
            by_name: HashMap::new(),
            definitions: Vec::new(),
            names: Vec::new(),
            own_name_count: 0,
            depth: 0,
            part_count: 0,
        }
    }

    /// A binder for the definition of the stored cohort `name`, which must not lead back to itself.
    pub fn for_definition(scan: &'a Scan<'a>, scope: &'a Scope, name: &str) -> Binder<'a> {
        Binder { names: vec![name.to_owned()], own_name_count: 1, ..Binder::new(scan, scope) }
    }

    /// A binder for a part of the query that looks at other moments, or at others. What it binds is reported to this one
    /// by [`Binder::count_parts`].
    pub(super) fn inside<'b>(&self, scan: &'b Scan<'b>, scope: &'b Scope) -> Binder<'b> {
        Binder {
            names: self.names.clone(),
            own_name_count: self.own_name_count,
            stored_model: self.stored_model.clone(),
            depth: self.depth,
            part_count: self.part_count,
            ..Binder::new(scan, scope)
        }
    }

    /// Decides who is in the cohorts that a filter asks for, for [`Binder::knowing`].
    pub(super) fn decide(&mut self, filter: &Filter) -> Result<Decided, Problem> {
        let mut decided = Decided::default();
        self.decide_into(filter, &mut decided)?;
        Ok(decided)
    }

    fn decide_into(&mut self, filter: &Filter, decided: &mut Decided) -> Result<(), Problem> {
        let place = std::ptr::from_ref(filter);
        match filter {
            Filter::All(list) | Filter::Any(list) => {
                list.iter().try_for_each(|filter| self.decide_into(filter, decided))?;
            }
            Filter::Not(filter) => self.decide_into(filter, decided)?,
            Filter::Property { .. } => {}
            Filter::Cohort(cohort) if self.scan.entity() == Entity::Account => {
                decided.by_cohort.insert(place, self.accounts_of(cohort, place)?);
            }
            Filter::Cohort(cohort) => {
                let filter = self.cohort_filter(cohort)?;
                let seeing = UserFilter::Seeing { filter, history: self.scan.history() };
                decided.by_user.insert(place, Arc::new(seeing));
            }
        }
        Ok(())
    }

    /// The same binder, for which is decided already what another has decided.
    pub(super) fn knowing(self, decided: &Decided) -> Binder<'a> {
        Binder { decided: decided.clone(), ..self }
    }

    /// Cohorts and conditions on users that were bound so far.
    pub(super) fn part_count(&self) -> usize {
        self.part_count
    }

    /// Takes over how many parts a binder [inside](Binder::inside) has come to.
    pub(super) fn count_parts(&mut self, part_count: usize) {
        self.part_count = part_count;
    }

    pub(super) fn scan(&self) -> &'a Scan<'a> {
        self.scan
    }

    pub(super) fn scope(&self) -> &'a Scope {
        self.scope
    }

    /// The parts of a growth model that a query has itself, and for those that are missing the ones of the store's
    /// model.
    pub fn growth_model(&mut self, own: &GrowthModel) -> Result<Arc<GrowthModel>, Problem> {
        let stored = match &self.stored_model {
            Some(model) => Arc::clone(model),
            None => Arc::new(growth_model::stored_model(self.scan.snapshot())?),
        };
        let model = Arc::new(own.clone().or(&stored));
        self.stored_model = Some(stored);
        // What the maps of this binder know by its place must stay there.
        self.models.push(Arc::clone(&model));
        Ok(model)
    }

    /// The events of a selector that satisfy the query's `where`.
    pub fn selection(&mut self, selector: &Selector, filter: Option<&Filter>) -> Result<Selection, Problem> {
        let mut groups = Vec::new();
        let has_any_name = selector.any_of.iter().any(|part| part.event == EventName::Any);
        let has_any =
            selector.any_of.iter().any(|part| part.event == EventName::Any && part.filter.is_none());
        let is_every_event = has_any && filter.is_none();
        let names: BTreeSet<&str> = selector.any_of.iter().map(|part| part.event.as_str()).collect();
        for (segment, live) in self.scan.segments(RowKind::Events) {
            let candidates: Vec<Group<'_>> = match has_any_name {
                true => live.segment.groups().collect(),
                // Groups are in order of names, too.
                false => names.iter().filter_map(|name| live.segment.group(name)).collect(),
            };
            // Of every event, days of activity may tell enough.
            if !is_every_event {
                candidates.iter().for_each(Group::fetch);
            }
            for group in candidates {
                let meant: Vec<_> = selector
                    .any_of
                    .iter()
                    .filter(|part| match &part.event {
                        EventName::Any => true,
                        EventName::Named(name) => name == group.name(),
                    })
                    .collect();
                if meant.is_empty() {
                    continue;
                }
                let place = (segment, group.index() as u32);
                let mut conditions = Vec::new();
                if let Some(filter) = filter {
                    conditions.push(self.row_filter(filter, place)?);
                }
                if meant.iter().all(|part| part.filter.is_some()) {
                    let parts = meant.iter().filter_map(|part| part.filter.as_ref());
                    let parts =
                        parts.map(|part| self.row_filter(part, place)).collect::<Result<Vec<_>, _>>()?;
                    conditions.push(any(parts));
                }
                match all(conditions) {
                    RowFilter::Constant(false) => {}
                    RowFilter::Constant(true) => {
                        groups.push(BoundGroup { segment: place.0, group: place.1, filter: None });
                    }
                    filter => {
                        let filter = Some(Arc::new(filter));
                        groups.push(BoundGroup { segment: place.0, group: place.1, filter });
                    }
                }
            }
        }
        // What no event was held against is still to be right: whether a query is does not depend on the data.
        let is_bound = |name: &EventName| {
            self.scan.segments(RowKind::Events).any(|(_, live)| match name {
                EventName::Any => live.segment.groups().next().is_some(),
                EventName::Named(name) => live.segment.group(name).is_some(),
            })
        };
        let (bound, unbound): (Vec<_>, Vec<_>) =
            selector.any_of.iter().partition(|part| is_bound(&part.event));
        let unused = unbound.into_iter().filter_map(|part| part.filter.as_ref());
        for filter in unused.chain(filter.filter(|_| bound.is_empty())) {
            self.check_cohorts(filter)?;
        }
        Ok(Selection::new(groups, is_every_event))
    }

    /// Fails if a cohort of the filter cannot be found.
    fn check_cohorts(&mut self, filter: &Filter) -> Result<(), Problem> {
        match filter {
            Filter::All(list) | Filter::Any(list) => {
                list.iter().try_for_each(|filter| self.check_cohorts(filter))
            }
            Filter::Not(filter) => self.check_cohorts(filter),
            Filter::Cohort(cohort) => self.cohort(cohort).map(drop),
            Filter::Property { .. } => Ok(()),
        }
    }

    fn row_filter(&mut self, filter: &Filter, place: (u32, u32)) -> Result<RowFilter, Problem> {
        Ok(match filter {
            Filter::All(list) => {
                all(list.iter().map(|filter| self.row_filter(filter, place)).collect::<Result<_, _>>()?)
            }
            Filter::Any(list) => {
                any(list.iter().map(|filter| self.row_filter(filter, place)).collect::<Result<_, _>>()?)
            }
            Filter::Not(filter) => match self.row_filter(filter, place)? {
                RowFilter::Constant(truth) => RowFilter::Constant(!truth),
                filter => RowFilter::Not(Box::new(filter)),
            },
            Filter::Property { property, op, on: On::Event } => self.event_filter(property, op, place)?,
            Filter::Property { property, op, on: On::Account } => {
                RowFilter::Accounts(self.accounts(property, op)?)
            }
            Filter::Cohort(cohort) if self.scan.entity() == Entity::Account => {
                RowFilter::Accounts(self.accounts_of(cohort, std::ptr::from_ref(filter))?)
            }
            Filter::Property { on: On::User, .. } | Filter::Cohort(_) => {
                let known = self.decided.by_user.get(&std::ptr::from_ref(filter)).cloned();
                let bound = match known {
                    Some(bound) => bound,
                    None => Arc::new(self.user_filter(filter)?),
                };
                self.decided.by_user.insert(std::ptr::from_ref(filter), Arc::clone(&bound));
                RowFilter::Users(bound)
            }
        })
    }

    /// The accounts of a cohort of accounts: by one more than the ordinal, 0 for none.
    fn accounts_of(&mut self, cohort: &CohortExpr, place: *const Filter) -> Result<Arc<Vec<bool>>, Problem> {
        if let Some(known) = self.decided.by_cohort.get(&place) {
            return Ok(Arc::clone(known));
        }
        let plan = self.cohort(cohort)?;
        let mut is_member = vec![false; self.scan.snapshot().ordinal_count(Entity::Account) as usize + 1];
        for index in 0..self.scan.task_count() {
            let task = Task::new(self.scan, index);
            for member in plan.members(&task)?.iter() {
                is_member[(task.user_base() + u32::from(member)) as usize + 1] = true;
            }
        }
        let is_member = Arc::new(is_member);
        self.decided.by_cohort.insert(place, Arc::clone(&is_member));
        Ok(is_member)
    }

    fn event_filter(
        &mut self,
        property: &str,
        op: &Op,
        (segment, group): (u32, u32),
    ) -> Result<RowFilter, Problem> {
        let missing = RowFilter::Constant(op.holds(None));
        let group = self.scan.group(segment, group);
        let Some(place) = group.segment().property(property) else { return Ok(missing) };
        Ok(match group.column(place)? {
            None => missing,
            Some(Column::Numbers { .. }) => RowFilter::Numbers { property: place, op: Arc::new(op.clone()) },
            Some(Column::Codes { .. }) => {
                let known = self.by_code.get(&(segment, std::ptr::from_ref(op))).cloned();
                let holds = match known {
                    Some(holds) => holds,
                    None => {
                        let values = group.segment().values(place)?.expect("codes have values");
                        let values = values.values().map_err(|error| group.segment().wrap(error))?;
                        let by_value = values.iter().map(|value| op.holds(Some(value)));
                        Arc::new(std::iter::once(op.holds(None)).chain(by_value).collect())
                    }
                };
                self.by_code.insert((segment, std::ptr::from_ref(op)), Arc::clone(&holds));
                RowFilter::Codes { property: place, holds }
            }
        })
    }

    /// Which accounts satisfy an operator on a property of their profile: by one more than the ordinal, 0 for none.
    fn accounts(&mut self, property: &str, op: &Op) -> Result<Arc<Vec<bool>>, Problem> {
        if let Some(known) = self.by_account.get(&std::ptr::from_ref(op)) {
            return Ok(Arc::clone(known));
        }
        let count = self.scan.snapshot().ordinal_count(Entity::Account);
        let cells = profile_cells(self.scan, RowKind::AccountProfiles, property, 0..count)?;
        let mut holds = vec![op.holds(None)];
        let mut truth = Truth::new(self.scan, RowKind::AccountProfiles, property, op)?;
        for cell in cells {
            holds.push(truth.of(cell)?);
        }
        let holds = Arc::new(holds);
        self.by_account.insert(std::ptr::from_ref(op), Arc::clone(&holds));
        Ok(holds)
    }

    fn user_filter(&mut self, filter: &Filter) -> Result<UserFilter, Problem> {
        self.deeper()?;
        let bound = self.user_filter_inside(filter)?;
        self.depth -= 1;
        Ok(bound)
    }

    fn user_filter_inside(&mut self, filter: &Filter) -> Result<UserFilter, Problem> {
        let mut list = |filters: &[Filter]| -> Result<Vec<UserFilter>, Problem> {
            filters.iter().map(|filter| self.user_filter(filter)).collect()
        };
        Ok(match filter {
            Filter::All(filters) => UserFilter::All(list(filters)?),
            Filter::Any(filters) => UserFilter::Any(list(filters)?),
            Filter::Not(filter) => UserFilter::Not(Box::new(self.user_filter(filter)?)),
            Filter::Property { property, op, .. } => {
                UserFilter::Profile { property: property.clone(), op: op.clone() }
            }
            Filter::Cohort(cohort) => UserFilter::Cohort(self.cohort(cohort)?),
        })
    }

    /// A cohort of the query. It looks at all history, and never at the query's `where`.
    pub fn cohort(&mut self, cohort: &CohortExpr) -> Result<CohortPlan, Problem> {
        self.deeper()?;
        let plan = CohortPlan::bind(cohort, self.scope, self)?;
        self.depth -= 1;
        Ok(plan)
    }

    /// A cohort of the query as a condition, which a task decides once.
    pub(super) fn cohort_filter(&mut self, cohort: &CohortExpr) -> Result<Arc<UserFilter>, Problem> {
        Ok(match self.cohort(cohort)? {
            CohortPlan::Stored(filter) => filter,
            plan => Arc::new(UserFilter::Cohort(plan)),
        })
    }

    /// Goes one level down. After an error nothing more is bound, so that nobody comes up again.
    fn deeper(&mut self) -> Result<(), Problem> {
        if self.depth == COHORT_DEPTH_MAX {
            let detail = format!("cohorts and filters are nested more than {COHORT_DEPTH_MAX} deep");
            return Err(Problem::invalid(detail).hint("stored cohorts count with all that they lead to"));
        }
        if self.part_count == COHORT_PART_COUNT_MAX {
            let detail =
                format!("there are more than {COHORT_PART_COUNT_MAX} cohorts and conditions on users");
            return Err(Problem::invalid(detail).hint("stored cohorts count with all that they lead to"));
        }
        self.depth += 1;
        self.part_count += 1;
        Ok(())
    }

    /// The condition to belong to a stored cohort.
    fn bind_stored(&mut self, name: &str) -> Result<Arc<UserFilter>, Problem> {
        if let Some(start) = self.names.iter().position(|known| known == name) {
            let chain: Vec<String> = self.names[start..]
                .iter()
                .map(String::as_str)
                .chain([name])
                .map(|n| format!("{n:?}"))
                .collect();
            let detail = format!("a stored cohort leads back to itself: {}", chain.join(" → "));
            return Err(Problem::invalid(detail));
        }
        let snapshot = self.scan.snapshot();
        let Some(document) = snapshot.documents.get(DocumentKind::Cohort, name) else {
            let problem = Problem::invalid(format!("there is no stored cohort {name:?}"));
            let known = snapshot.documents.of_kind(DocumentKind::Cohort).map(|(name, _)| name);
            return Err(match nearest(name, known) {
                Some(known) => problem.hint(format!("did you mean {known:?}?")),
                None => problem.hint("PUT /v1/cohorts/{name} stores one"),
            });
        };
        let plan = match document {
            Document::Members(_) if self.scan.entity() == Entity::Account => {
                let detail = format!("the stored cohort {name:?} lists users, and the query counts accounts");
                return Err(Problem::invalid(detail).hint("store its definition instead"));
            }
            Document::Members(ordinals) => {
                let mut users: Vec<u32> = ordinals.iter().map(|ordinal| snapshot.user(ordinal)).collect();
                users.sort_unstable();
                users.dedup();
                CohortPlan::Users(users)
            }
            Document::Text(text) => {
                let definition = Json::parse(text.as_bytes())?;
                let definition = Arc::new(CohortExpr::parse(&definition.root())?);
                self.definitions.push(Arc::clone(&definition));
                self.names.push(name.to_owned());
                let plan = self.cohort(&definition)?;
                self.names.pop();
                plan
            }
        };
        Ok(Arc::new(UserFilter::Cohort(plan)))
    }
}

impl CohortBinder for Binder<'_> {
    fn select(&mut self, selector: &Selector) -> Result<Selection, Problem> {
        self.selection(selector, None)
    }

    fn profile(&mut self, filter: &Filter) -> Result<UserFilter, Problem> {
        self.user_filter(filter)
    }

    fn user_ordinal(&self, id: &str) -> Option<u32> {
        self.scan.snapshot().find(self.scan.entity(), id)
    }

    fn stored(&mut self, name: &str, path: &str) -> Result<CohortPlan, Problem> {
        if let Some(known) = self.by_name.get(name) {
            return Ok(CohortPlan::Stored(Arc::clone(known)));
        }
        let is_outermost = self.names.len() == self.own_name_count;
        let filter = self.bind_stored(name).map_err(|problem| match problem.path {
            // A place in the definition is of no use to who asks.
            Some(_) if is_outermost => {
                let detail = format!("in the stored cohort {name:?}: {}", problem.detail);
                Problem { detail, path: Some(path.to_owned()), ..problem }
            }
            Some(_) => problem,
            None => problem.at(path),
        })?;
        self.by_name.insert(name.to_owned(), Arc::clone(&filter));
        Ok(CohortPlan::Stored(filter))
    }

    fn nested(&mut self, cohort: &CohortExpr) -> Result<CohortPlan, Problem> {
        self.cohort(cohort)
    }

    fn result(&mut self, cell: &ResultCell) -> Result<CohortPlan, Problem> {
        // Places that an analysis tells are those of its own query.
        let placed = |problem: Problem| match &problem.path {
            Some(path) if !path.starts_with(&cell.path) => {
                let path = format!("{}/query{path}", cell.path);
                problem.at(path)
            }
            _ => problem,
        };
        let common = cell.common(self.scope, self.scan.entity());
        let entity =
            growth_model::counted(&cell.request, self.scan.snapshot(), common.entity).map_err(placed)?;
        if entity != self.scan.entity() {
            let problem = Problem::invalid("the query of a cell counts whom the query around it counts");
            return Err(problem
                .at(format!("{}/query", cell.path))
                .hint("give both the same \"entity\", or none to the one inside"));
        }
        let scope = common.resolve(self.scope.as_of).map_err(placed)?;
        let scan = self.scan.seeing(scope.history());
        let mut binder = self.inside(&scan, &scope);
        binder.deeper()?;
        let mut bound = Bound::new(&cell.request, &mut binder).map_err(placed)?;
        self.count_parts(binder.part_count());
        bound.prepare_cells(&scan).map_err(placed)?;
        Ok(CohortPlan::Result(Arc::new(CellPlan::new(bound, scope.history(), cell)?)))
    }
}

/// All conditions, without those that always hold.
fn all(conditions: Vec<RowFilter>) -> RowFilter {
    joined(conditions, true, RowFilter::All)
}

/// Any condition, without those that never hold.
fn any(conditions: Vec<RowFilter>) -> RowFilter {
    joined(conditions, false, RowFilter::Any)
}

/// Conditions joined in a way to which those that are always `neutral` add nothing, and one that never is decides.
fn joined(
    mut conditions: Vec<RowFilter>,
    neutral: bool,
    join: impl Fn(Vec<RowFilter>) -> RowFilter,
) -> RowFilter {
    let is_always =
        |condition: &RowFilter, truth| matches!(condition, RowFilter::Constant(known) if *known == truth);
    conditions.retain(|condition| !is_always(condition, neutral));
    if conditions.iter().any(|condition| is_always(condition, !neutral)) {
        return RowFilter::Constant(!neutral);
    }
    match conditions.len() {
        0 => RowFilter::Constant(neutral),
        1 => conditions.swap_remove(0),
        _ => join(conditions),
    }
}
