//! Selectors and filters bound to a snapshot: which rows of which groups they mean.
//!
//! A condition on a property of an event is decided once for each distinct value of a segment, and a row then takes a
//! look in a table. A condition on the user is decided once for each user of a task.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hashbrown::HashMap;

use super::bound::Bound;
use super::cells::CellPlan;
use super::cohort::{CohortBinder, CohortPlan};
use super::scan::{CellPlace, Scan, profile_cells};
use super::{Task, TaskSet, growth_model};
use crate::api::{
    CohortExpr, EventName, Filter, GrowthModel, Json, On, Op, Problem, ProblemClass, ResultCell, Scope,
    Selector, nearest,
};
use crate::limits::{COHORT_DEPTH_MAX, COHORT_PART_COUNT_MAX};
use crate::model::{DocumentKind, Entity, Number, TimeMs, Value};
use crate::segment::{Column, Group, RowKind};
use crate::store::{Document, LiveSegment};

/// The events that a selector and the query's `where` mean, in one snapshot.
#[derive(Clone, Debug)]
pub struct Selection {
    pub(super) groups: Vec<BoundGroup>,
    is_every_event: bool,
    /// Tells selections apart. Clones mean the same events, and share it.
    id: u64,
}

fn next_id() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// The rows of one group that are meant.
#[derive(Clone, Debug)]
pub(super) struct BoundGroup {
    pub segment: u32,
    pub group: u32,
    pub filter: Option<Arc<RowFilter>>,
}

/// A condition on rows of one group.
#[derive(Clone, Debug)]
pub(super) enum RowFilter {
    Constant(bool),
    /// By code of a property.
    Codes {
        property: u32,
        holds: Arc<Vec<bool>>,
    },
    /// On the numbers of a property.
    Numbers {
        property: u32,
        op: Arc<Op>,
    },
    /// By account: one more than its ordinal, 0 for none.
    Accounts(Arc<Vec<bool>>),
    Users(Arc<UserFilter>),
    All(Vec<RowFilter>),
    Any(Vec<RowFilter>),
    Not(Box<RowFilter>),
}

/// A condition on users.
#[derive(Clone, Debug)]
pub enum UserFilter {
    Profile {
        property: String,
        op: Op,
    },
    Cohort(CohortPlan),
    /// As it is for those who see other events, whatever a task sees.
    Seeing {
        filter: Arc<UserFilter>,
        history: Range<TimeMs>,
    },
    All(Vec<UserFilter>),
    Any(Vec<UserFilter>),
    Not(Box<UserFilter>),
}

/// Who is in the cohorts that a filter asks for, as one binder decides it: by the place of the condition in memory.
#[derive(Clone, Debug, Default)]
pub(super) struct Decided {
    by_user: HashMap<*const Filter, Arc<UserFilter>>,
    by_cohort: HashMap<*const Filter, Arc<Vec<bool>>>,
}

impl Selection {
    pub(super) fn id(&self) -> u64 {
        self.id
    }

    /// The events of several selections, and a bit for each that means them: groups that are meant as a whole are named
    /// once, however many mean them.
    pub(super) fn shared(selections: &[&Selection]) -> Vec<(Selection, u64)> {
        let of_groups = |groups: Vec<BoundGroup>| Selection { groups, is_every_event: false, id: next_id() };
        let mut whole: BTreeMap<(u32, u32), u64> = BTreeMap::new();
        let mut shared = Vec::new();
        for (index, selection) in selections.iter().enumerate() {
            let mut in_part = Vec::new();
            for bound in &selection.groups {
                match &bound.filter {
                    None => *whole.entry((bound.segment, bound.group)).or_default() |= 1 << index,
                    Some(_) => in_part.push(bound.clone()),
                }
            }
            if !in_part.is_empty() {
                shared.push((of_groups(in_part), 1 << index));
            }
        }
        let mut by_meaning: BTreeMap<u64, Vec<BoundGroup>> = BTreeMap::new();
        for ((segment, group), meaning) in whole {
            by_meaning.entry(meaning).or_default().push(BoundGroup { segment, group, filter: None });
        }
        shared.extend(by_meaning.into_iter().map(|(meaning, groups)| (of_groups(groups), meaning)));
        shared
    }

    /// Every event of the segments of a snapshot that are wanted.
    pub(super) fn every_event_of(scan: &Scan<'_>, is_wanted: impl Fn(&LiveSegment) -> bool) -> Selection {
        let wanted = scan.segments(RowKind::Events).filter(|(_, live)| is_wanted(live));
        let groups = wanted.flat_map(|(segment, live)| {
            (0..live.segment.groups().len() as u32).map(move |group| BoundGroup {
                segment,
                group,
                filter: None,
            })
        });
        Selection { groups: groups.collect(), is_every_event: true, id: next_id() }
    }

    /// The rows of one group.
    pub(super) fn of_group(group: BoundGroup) -> Selection {
        Selection { groups: vec![group], is_every_event: false, id: next_id() }
    }

    /// Whether it is every event, without conditions, so that day sets tell who did it.
    pub fn is_every_event(&self) -> bool {
        self.is_every_event
    }

    /// Whether an event may be meant by both.
    pub fn overlaps(&self, other: &Selection) -> bool {
        self.groups.iter().any(|a| other.groups.iter().any(|b| (a.segment, a.group) == (b.segment, b.group)))
    }
}

/// Binds the parts of one query to a snapshot.
#[derive(Debug)]
pub struct Binder<'a> {
    scan: &'a Scan<'a>,
    scope: &'a Scope,
    /// Conditions decided for the values of a segment, by the place of the condition in memory.
    by_code: HashMap<(u32, *const Op), Arc<Vec<bool>>>,
    by_account: HashMap<*const Op, Arc<Vec<bool>>>,
    by_user: HashMap<*const Filter, Arc<UserFilter>>,
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
    /// Cohorts of accounts.
    by_cohort: HashMap<*const Filter, Arc<Vec<bool>>>,
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
            by_user: HashMap::new(),
            by_cohort: HashMap::new(),
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
        let Decided { by_user, by_cohort } = decided.clone();
        Binder { by_user, by_cohort, ..self }
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
        let names: BTreeSet<&str> = selector.any_of.iter().map(|part| part.event.as_str()).collect();
        for (segment, live) in self.scan.segments(RowKind::Events) {
            let candidates: Vec<Group<'_>> = match has_any_name {
                true => live.segment.groups().collect(),
                // Groups are in order of names, too.
                false => names.iter().filter_map(|name| live.segment.group(name)).collect(),
            };
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
        let has_any =
            selector.any_of.iter().any(|part| part.event == EventName::Any && part.filter.is_none());
        let is_every_event = has_any && filter.is_none();
        // Of every event, days of activity may tell enough.
        if !is_every_event {
            groups.iter().for_each(|bound| self.scan.group(bound.segment, bound.group).fetch());
        }
        Ok(Selection { groups, is_every_event, id: next_id() })
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
                let known = self.by_user.get(&std::ptr::from_ref(filter)).cloned();
                let bound = match known {
                    Some(bound) => bound,
                    None => Arc::new(self.user_filter(filter)?),
                };
                self.by_user.insert(std::ptr::from_ref(filter), Arc::clone(&bound));
                RowFilter::Users(bound)
            }
        })
    }

    /// The accounts of a cohort of accounts: by one more than the ordinal, 0 for none.
    fn accounts_of(&mut self, cohort: &CohortExpr, place: *const Filter) -> Result<Arc<Vec<bool>>, Problem> {
        if let Some(known) = self.by_cohort.get(&place) {
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
        self.by_cohort.insert(place, Arc::clone(&is_member));
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
fn all(mut conditions: Vec<RowFilter>) -> RowFilter {
    conditions.retain(|condition| !matches!(condition, RowFilter::Constant(true)));
    if conditions.iter().any(|condition| matches!(condition, RowFilter::Constant(false))) {
        return RowFilter::Constant(false);
    }
    match conditions.len() {
        0 => RowFilter::Constant(true),
        1 => conditions.swap_remove(0),
        _ => RowFilter::All(conditions),
    }
}

/// Any condition, without those that never hold.
fn any(mut conditions: Vec<RowFilter>) -> RowFilter {
    conditions.retain(|condition| !matches!(condition, RowFilter::Constant(false)));
    if conditions.iter().any(|condition| matches!(condition, RowFilter::Constant(true))) {
        return RowFilter::Constant(true);
    }
    match conditions.len() {
        0 => RowFilter::Constant(false),
        1 => conditions.swap_remove(0),
        _ => RowFilter::Any(conditions),
    }
}

/// Whether cells of profiles satisfy an operator: each distinct value of a segment is judged once.
struct Truth<'a> {
    scan: &'a Scan<'a>,
    op: &'a Op,
    missing: bool,
    by_segment: HashMap<u32, Vec<bool>>,
}

impl<'a> Truth<'a> {
    fn new(scan: &'a Scan<'a>, kind: RowKind, property: &str, op: &'a Op) -> Result<Truth<'a>, Problem> {
        let mut by_segment = HashMap::new();
        for (index, live) in scan.segments(kind) {
            let Some(place) = live.segment.property(property) else { continue };
            let Some(values) = live.segment.values(place)? else { continue };
            let values = values.values().map_err(|error| live.segment.wrap(error))?;
            by_segment.insert(index, values.iter().map(|value| op.holds(Some(value))).collect());
        }
        Ok(Truth { scan, op, missing: op.holds(None), by_segment })
    }

    fn of(&mut self, cell: CellPlace) -> Result<bool, Problem> {
        Ok(match cell {
            CellPlace::Missing => self.missing,
            CellPlace::Number { mantissa, exponent } => self.op.holds(Some(&number(mantissa, exponent)?)),
            CellPlace::Code { segment, code } => {
                let holds = &self.by_segment[&segment];
                *holds.get(code as usize - 1).ok_or_else(|| unknown_code(self.scan, segment))?
            }
        })
    }
}

/// The error of a code that no value belongs to.
pub(super) fn unknown_code(scan: &Scan<'_>, segment: u32) -> Problem {
    let what = "a code has no value";
    let error = crate::format::DecodeError::Malformed { structure: "column of codes", what };
    scan.snapshot().segments[segment as usize].segment.wrap(error).into()
}

/// The number of a mantissa that was read from a column.
pub(super) fn number(mantissa: i64, exponent: i32) -> Result<Value, Problem> {
    let number = Number::new(i128::from(mantissa), exponent);
    number.map(Value::Number).map_err(|error| Problem::new(ProblemClass::Corrupt, error.to_string()))
}

impl UserFilter {
    /// The users of a task that satisfy it.
    pub fn users(&self, task: &Task<'_>) -> Result<TaskSet, Problem> {
        match self {
            UserFilter::Cohort(cohort) => cohort.members(task),
            UserFilter::Seeing { filter, history } => {
                let scan = task.scan().seeing(history.clone());
                filter.users(&task.on(&scan))
            }
            UserFilter::All(filters) => filters.iter().try_fold(TaskSet::all(), |mut set, filter| {
                set.intersect(&filter.users(task)?);
                Ok(set)
            }),
            UserFilter::Any(filters) => filters.iter().try_fold(TaskSet::new(), |mut set, filter| {
                set.unite(&filter.users(task)?);
                Ok(set)
            }),
            UserFilter::Not(filter) => {
                let mut set = TaskSet::all();
                set.subtract(&filter.users(task)?);
                Ok(set)
            }
            UserFilter::Profile { property, op } => {
                let kind = task.profile_kind();
                let cells = profile_cells(task.scan(), kind, property, task.ordinals())?;
                let mut truth = Truth::new(task.scan(), kind, property, op)?;
                let mut set = TaskSet::new();
                for (user, cell) in cells.into_iter().enumerate() {
                    if truth.of(cell)? {
                        set.insert(user as u16);
                    }
                }
                Ok(set)
            }
        }
    }
}

impl RowFilter {
    /// Whether each row of a range satisfies it. `users` are the rows' users within the task.
    pub fn mask(
        &self,
        task: &Task<'_>,
        place: (u32, u32),
        rows: Range<usize>,
        users: &[u16],
    ) -> Result<Vec<bool>, Problem> {
        debug_assert_eq!(users.len(), rows.len());
        let group = task.scan().group(place.0, place.1);
        let mut mask = Vec::with_capacity(rows.len());
        match self {
            RowFilter::Constant(truth) => mask.resize(rows.len(), *truth),
            RowFilter::Codes { property, holds } => {
                let Some(Column::Codes { codes, .. }) = group.column(*property)? else {
                    unreachable!("the column was there when the filter was bound")
                };
                let mut is_known = true;
                codes.for_each_block(rows, |codes| {
                    mask.extend(codes.iter().map(|code| {
                        let holds = holds.get(*code as usize);
                        is_known &= holds.is_some();
                        holds.copied().unwrap_or(false)
                    }));
                });
                if !is_known {
                    return Err(unknown_code(task.scan(), place.0));
                }
            }
            RowFilter::Numbers { property, op } => {
                let column =
                    group.column(*property)?.expect("the column was there when the filter was bound");
                for row in rows {
                    mask.push(match super::scan::cell_at(&column, place.0, row) {
                        CellPlace::Number { mantissa, exponent } => {
                            op.holds(Some(&number(mantissa, exponent)?))
                        }
                        _ => op.holds(None),
                    });
                }
            }
            RowFilter::Accounts(holds) => match group.accounts()? {
                None => mask.resize(rows.len(), holds[0]),
                Some(accounts) => accounts.for_each_block(rows, |accounts| {
                    // An account that came after the snapshot has no profile in it.
                    mask.extend(
                        accounts.iter().map(|account| holds.get(*account as usize).unwrap_or(&holds[0])),
                    );
                }),
            },
            RowFilter::Users(filter) => {
                let set = task.users_of(filter)?;
                mask.extend(users.iter().map(|user| set.contains(*user)));
            }
            RowFilter::All(filters) => {
                mask.resize(rows.len(), true);
                for filter in filters {
                    let part = filter.mask(task, place, rows.clone(), users)?;
                    mask.iter_mut().zip(part).for_each(|(all, part)| *all &= part);
                }
            }
            RowFilter::Any(filters) => {
                mask.resize(rows.len(), false);
                for filter in filters {
                    let part = filter.mask(task, place, rows.clone(), users)?;
                    mask.iter_mut().zip(part).for_each(|(any, part)| *any |= part);
                }
            }
            RowFilter::Not(filter) => {
                mask = filter.mask(task, place, rows, users)?;
                mask.iter_mut().for_each(|truth| *truth = !*truth);
            }
        }
        Ok(mask)
    }
}
