//! What the signals of leads are at a moment, from the events before it.
//!
//! A window is `(moment − window, moment]`. The rows of a signal are read once for a task; what the signal is at a
//! moment is then found within a user's run of them.

use std::ops::Range;

use hashbrown::{HashMap, HashSet};

use super::cohort::{CohortBinder, CohortPlan};
use super::pql_score::Raw;
use super::selection::UserFilter;
use super::{
    Binder, BreakdownPlan, Calendar, Codes, NULL_CODE, RowRef, Rows, Selection, Task, TaskSet, key, key_time,
    key_user,
};
use crate::api::{
    Breadth, Breakdown, BreakdownSource, CohortExpr, Filter, GrowthModel, On, PqlSignal, Problem, Selector,
    SignalSource,
};
use crate::format::IntColumn;
use crate::model::TimeMs;

/// A signal, bound to a snapshot.
#[derive(Debug)]
pub(super) enum Signal {
    /// Events in the window, or since ever.
    Volume {
        selection: Selection,
        window: Option<i64>,
    },
    /// Events in the window over those in the one before.
    Velocity {
        selection: Selection,
        window: i64,
    },
    /// Different items in the window, or since ever.
    Breadth {
        selection: Selection,
        window: Option<i64>,
        items: Items,
    },
    Behaviour(CohortPlan),
    Profile(UserFilter),
}

/// What is counted without repeats.
#[derive(Debug)]
pub(super) enum Items {
    Values(Box<BreakdownPlan>),
    Events,
    /// Days of the calendar.
    Days,
    Users,
}

impl Signal {
    /// `index` is that of the signal in the query.
    pub fn bind(
        index: usize,
        signal: &PqlSignal,
        model: &GrowthModel,
        filter: Option<&Filter>,
        binder: &mut Binder<'_>,
    ) -> Result<Signal, Problem> {
        let placed = |problem: Problem| problem.at(format!("/signals/{index}"));
        let own_or_value = |own: &Option<Selector>| match own {
            Some(_) => Ok(()),
            None => model.value().map(|_| ()).map_err(placed),
        };
        Ok(match &signal.source {
            SignalSource::Volume { selector, window } => {
                own_or_value(selector)?;
                let selector = selector.as_ref().map_or_else(|| model.value(), Ok)?;
                Signal::Volume {
                    selection: binder.selection(selector, filter)?,
                    window: window.map(|window| window.as_ms()),
                }
            }
            SignalSource::Velocity { selector, window } => {
                own_or_value(selector)?;
                let selector = selector.as_ref().map_or_else(|| model.value(), Ok)?;
                Signal::Velocity { selection: binder.selection(selector, filter)?, window: window.as_ms() }
            }
            SignalSource::Breadth { selector, of, window } => Signal::Breadth {
                selection: binder.selection(selector, filter)?,
                window: window.map(|window| window.as_ms()),
                items: match of {
                    Breadth::Values(property) => values_of(property, binder).map_err(placed)?,
                    Breadth::Events => Items::Events,
                    Breadth::ActiveDays => Items::Days,
                    Breadth::Users => Items::Users,
                },
            },
            SignalSource::Features { window } => {
                let feature = model.feature().map_err(placed)?;
                Signal::Breadth {
                    selection: binder.selection(&feature.selector, filter)?,
                    window: window.map(|window| window.as_ms()),
                    items: values_of(&feature.property, binder).map_err(placed)?,
                }
            }
            SignalSource::Behaviour(cohort) => Signal::Behaviour(binder.cohort(cohort)?),
            SignalSource::Profile(filter) => Signal::Profile(binder.profile(filter)?),
        })
    }

    /// Whether its events depend on who is in a cohort, and with that on the moment as of which they are looked for.
    pub fn depends_on_moment(signal: &PqlSignal, model: &GrowthModel) -> bool {
        let selector = match &signal.source {
            SignalSource::Volume { selector, .. } | SignalSource::Velocity { selector, .. } => {
                selector.as_ref().or_else(|| model.value().ok())
            }
            SignalSource::Breadth { selector, .. } => Some(selector),
            SignalSource::Features { .. } => model.feature().ok().map(|feature| &feature.selector),
            SignalSource::Behaviour(_) | SignalSource::Profile(_) => return false,
        };
        selector.is_some_and(Selector::has_cohort)
    }

    /// Whether its raw value is a quotient.
    pub fn is_quotient(&self) -> bool {
        matches!(self, Signal::Velocity { .. })
    }

    /// How far back it looks from a moment; `None` if over all history.
    pub fn reach(&self) -> Option<i64> {
        match self {
            Signal::Volume { window, .. } | Signal::Breadth { window, .. } => *window,
            Signal::Velocity { window, .. } => Some(2 * window),
            Signal::Behaviour(_) | Signal::Profile(_) => Some(0),
        }
    }

    /// After how long an event changes what the signal is, beside when it happens.
    pub fn delays(&self) -> Vec<i64> {
        match self {
            Signal::Volume { window, .. } | Signal::Breadth { window, .. } => {
                window.iter().copied().collect()
            }
            Signal::Velocity { window, .. } => vec![*window, 2 * window],
            Signal::Behaviour(_) | Signal::Profile(_) => Vec::new(),
        }
    }

    /// What it needs to know of a task: of events those in `range`. `days` are those that days of activity are told by.
    pub fn load(&self, task: &Task<'_>, range: Range<TimeMs>, days: &Calendar) -> Result<Loaded, Problem> {
        Ok(match self {
            Signal::Volume { selection, .. } | Signal::Velocity { selection, .. } => {
                Loaded::Events { rows: task.rows(selection, range, false)?, items: None }
            }
            Signal::Breadth { selection, items, .. } => {
                let rows = task.rows(selection, range, true)?;
                let items = items.of_rows(task, &rows, days)?;
                Loaded::Events { rows, items: Some(items) }
            }
            Signal::Behaviour(plan) => Loaded::Members(Box::new(plan.members(task)?)),
            Signal::Profile(filter) => Loaded::Members(Box::new(filter.users(task)?)),
        })
    }

    /// What it is for a user at a moment. Rows reach back far enough.
    pub fn raw(&self, loaded: &Loaded, user: u16, moment: TimeMs) -> Raw {
        let (rows, items) = match loaded {
            Loaded::Members(members) => return Raw::of_truth(members.contains(user)),
            Loaded::Events { rows, items } => (rows, items),
        };
        // Rows of the user after one moment, up to and including another.
        let within = |after: Option<TimeMs>, until: TimeMs| -> Range<usize> {
            let start = match after {
                Some(after) => rows.keys.partition_point(|other| *other <= key(user, after)),
                None => rows.keys.partition_point(|other| key_user(*other) < user),
            };
            let end = start + rows.keys[start..].partition_point(|other| *other <= key(user, until));
            start..end
        };
        match self {
            Signal::Velocity { window, .. } => {
                let now = within(Some(moment - window), moment).len() as u64;
                let before = within(Some(moment - 2 * window), moment - window).len() as u64;
                Raw { count: now, over: before.max(1) }
            }
            Signal::Volume { window, .. } => {
                Raw::of(within(window.map(|window| moment - window), moment).len() as u64)
            }
            Signal::Breadth { window, .. } => {
                let items = items.as_ref().expect("items were loaded");
                let mut different: HashSet<u32> = HashSet::new();
                for row in within(window.map(|window| moment - window), moment) {
                    different.extend(items.of(row).iter().filter(|item| **item != NULL_CODE));
                }
                Raw::of(different.len() as u64)
            }
            Signal::Behaviour(_) | Signal::Profile(_) => unreachable!("they are loaded as members"),
        }
    }
}

/// What a signal knows of the users of a task.
#[derive(Debug)]
pub(super) enum Loaded {
    Events { rows: Rows, items: Option<Codes> },
    Members(Box<TaskSet>),
}

impl Loaded {
    /// When a user did what counts.
    pub fn times(&self, user: u16) -> impl Iterator<Item = TimeMs> + '_ {
        let keys: &[u64] = match self {
            Loaded::Events { rows, .. } => &rows.keys,
            Loaded::Members(_) => &[],
        };
        let start = keys.partition_point(|key| key_user(*key) < user);
        keys[start..].iter().take_while(move |key| key_user(**key) == user).map(|key| key_time(*key))
    }
}

fn values_of(property: &str, binder: &mut Binder<'_>) -> Result<Items, Problem> {
    let values = Breakdown {
        source: BreakdownSource::Property(property.to_owned()),
        on: On::Event,
        limit: 1,
        attribution: None,
        within: None,
    };
    Ok(Items::Values(Box::new(BreakdownPlan::new(&values, binder)?)))
}

impl Items {
    /// The items of each row, by number: equal items have equal numbers.
    fn of_rows(&self, task: &Task<'_>, rows: &Rows, days: &Calendar) -> Result<Codes, Problem> {
        Ok(Codes::one_per_row(match self {
            Items::Values(plan) => return task.breakdown_codes(plan, rows),
            Items::Days => {
                let day =
                    |key: &u64| days.bucket_of(key_time(*key)).expect("days span all events that are seen");
                rows.keys.iter().map(|key| day(key) as u32).collect()
            }
            Items::Events => {
                let mut by_name: HashMap<&str, u32> = HashMap::new();
                let mut by_group: HashMap<(u32, u32), u32> = HashMap::new();
                let mut number = |row: &RowRef| {
                    *by_group.entry((row.segment, row.group)).or_insert_with(|| {
                        let next = by_name.len() as u32;
                        *by_name.entry(task.scan().group(row.segment, row.group).name()).or_insert(next)
                    })
                };
                rows.refs.iter().map(&mut number).collect()
            }
            Items::Users => {
                let mut columns: HashMap<(u32, u32), IntColumn<'_>> = HashMap::new();
                let mut users = Vec::with_capacity(rows.refs.len());
                for row in &rows.refs {
                    let place = (row.segment, row.group);
                    let column = match columns.get(&place) {
                        Some(column) => *column,
                        None => {
                            let column = task.scan().group(row.segment, row.group).users()?;
                            columns.insert(place, column);
                            column
                        }
                    };
                    users.push(column.get(row.row as usize) as u32);
                }
                users
            }
        }))
    }
}

/// Whether a cohort is those who did something often enough, ever: who is in it stays in it.
pub(super) fn is_lasting(cohort: &CohortExpr) -> bool {
    match cohort {
        CohortExpr::Did { selector, at_least, at_most: None, range } => {
            *at_least > 0 && range.from.is_none() && range.to.is_none() && !selector.has_cohort()
        }
        _ => false,
    }
}
