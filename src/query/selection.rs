//! What selectors and filters mean in a snapshot: which rows of which groups, and which users.
//!
//! A condition on a property of an event is decided once for each distinct value of a segment, and a row then takes a
//! look in a table. A condition on the user is decided once for each user of a task.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hashbrown::HashMap;

use super::cohort::CohortPlan;
use super::scan::{CellPlace, Scan, profile_cells};
use super::{Task, TaskSet};
use crate::api::{Op, Problem, ProblemClass};
use crate::model::{Number, TimeMs, Value};
use crate::segment::{Column, RowKind};
use crate::store::LiveSegment;

/// The events that a selector and the query's `where` mean, in one snapshot.
#[derive(Clone, Debug)]
pub struct Selection {
    pub(super) groups: Vec<BoundGroup>,
    is_every_event: bool,
    /// Tells selections apart. Clones mean the same events, and share it.
    id: u64,
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

impl Selection {
    pub(super) fn new(groups: Vec<BoundGroup>, is_every_event: bool) -> Selection {
        static NEXT_ID: AtomicU64 = AtomicU64::new(0);
        Selection { groups, is_every_event, id: NEXT_ID.fetch_add(1, Ordering::Relaxed) }
    }

    pub(super) fn id(&self) -> u64 {
        self.id
    }

    /// The events of several selections, and a bit for each that means them: groups that are meant as a whole are named
    /// once, however many mean them.
    pub(super) fn shared(selections: &[&Selection]) -> Vec<(Selection, u64)> {
        let of_groups = |groups: Vec<BoundGroup>| Selection::new(groups, false);
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
        Selection::new(groups.collect(), true)
    }

    /// The rows of one group.
    pub(super) fn of_group(group: BoundGroup) -> Selection {
        Selection::new(vec![group], false)
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

/// Whether cells of profiles satisfy an operator: each distinct value of a segment is judged once.
pub(super) struct Truth<'a> {
    scan: &'a Scan<'a>,
    op: &'a Op,
    missing: bool,
    by_segment: HashMap<u32, Vec<bool>>,
}

impl<'a> Truth<'a> {
    pub fn new(scan: &'a Scan<'a>, kind: RowKind, property: &str, op: &'a Op) -> Result<Truth<'a>, Problem> {
        let mut by_segment = HashMap::new();
        for (index, live) in scan.segments(kind) {
            let Some(place) = live.segment.property(property) else { continue };
            let Some(values) = live.segment.values(place)? else { continue };
            let values = values.values().map_err(|error| live.segment.wrap(error))?;
            by_segment.insert(index, values.iter().map(|value| op.holds(Some(value))).collect());
        }
        Ok(Truth { scan, op, missing: op.holds(None), by_segment })
    }

    pub fn of(&mut self, cell: CellPlace) -> Result<bool, Problem> {
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
        users: impl ExactSizeIterator<Item = u16> + Clone,
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
                mask.extend(users.map(|user| set.contains(user)));
            }
            RowFilter::All(filters) => {
                mask.resize(rows.len(), true);
                for filter in filters {
                    let part = filter.mask(task, place, rows.clone(), users.clone())?;
                    mask.iter_mut().zip(part).for_each(|(all, part)| *all &= part);
                }
            }
            RowFilter::Any(filters) => {
                mask.resize(rows.len(), false);
                for filter in filters {
                    let part = filter.mask(task, place, rows.clone(), users.clone())?;
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
