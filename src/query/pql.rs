//! Product-qualified leads: who uses the product like somebody who will pay for it.
//!
//! Every user or account that is known gets a score as of a moment: the weighted mean of its signals (`pql_signal`,
//! `pql_score`). A condition on whom the query counts says who is told; any other says which events count.

use serde::{Deserialize, Serialize};

use super::cohort::{CohortBinder, CohortPlan};
use super::grid::too_many_rows;
use super::pql_days::Days;
use super::pql_score::{KnownScores, Raw, Scorer};
use super::pql_signal::{Loaded, Signal};
use super::selection::UserFilter;
use super::{Analysis, Binder, Calendar, Partial, Selection, Task, TaskSet, key_user};
use crate::api::{Cell, ColumnType, Fields, Filter, HandRaise, Interval, PqlQuery, Problem, Table};
use crate::limits::RESULT_ROW_COUNT_MAX;
use crate::model::{Entity, TimeMs};

/// Leads, bound to a snapshot.
#[derive(Debug)]
pub struct Pql {
    entity: Entity,
    as_of: TimeMs,
    names: Vec<String>,
    signals: Vec<Signal>,
    scorer: Scorer,
    hand_raise: Option<HandsUp>,
    /// Who is told: those who satisfy all of these.
    listed: Vec<UserFilter>,
    /// From the first event to `as_of`.
    calendar: Calendar,
    /// Where it is asked when leads were qualified.
    days: Option<Days>,
}

#[derive(Debug)]
enum HandsUp {
    Did(Selection),
    Cohort(CohortPlan),
}

impl Pql {
    pub fn bind(query: &PqlQuery, filter: Option<&Filter>, binder: &mut Binder<'_>) -> Result<Pql, Problem> {
        let (scan, scope) = (binder.scan(), binder.scope());
        let entity = scan.entity();
        let model = binder.growth_model(&query.parts)?;
        let signals = query
            .signals
            .iter()
            .enumerate()
            .map(|(index, signal)| Signal::bind(index, signal, &model, filter, binder))
            .collect::<Result<_, _>>()?;
        let hand_raise = match &query.hand_raise {
            Some(HandRaise::Did(selector)) => Some(HandsUp::Did(binder.selection(selector, filter)?)),
            Some(HandRaise::Cohort(cohort)) => Some(HandsUp::Cohort(binder.cohort(cohort)?)),
            None => None,
        };
        let conditions = filter.map_or(Vec::new(), |filter| filter.conditions_on(entity));
        let listed = conditions.into_iter().map(|condition| binder.profile(condition));
        let listed = listed.collect::<Result<_, _>>()?;
        let first = scan.first_event()?.unwrap_or(scope.as_of);
        let calendar = Calendar::new(Interval::Day, &scope.zone, scope.week_start, first..scope.as_of + 1)?;
        let days = match query.tells_qualified_at {
            true => Some(Days::bind(&query.signals, calendar.clone(), &model, filter, binder)?),
            false => None,
        };
        Ok(Pql {
            entity,
            as_of: scope.as_of,
            names: query.signals.iter().map(|signal| signal.name.clone()).collect(),
            signals,
            scorer: Scorer::new(&query.signals, query.threshold),
            hand_raise,
            listed,
            calendar,
            days,
        })
    }

    /// Who of a task is told.
    fn listed(&self, task: &Task<'_>) -> Result<TaskSet, Problem> {
        let mut listed: TaskSet = task.known_users()?.into_iter().collect();
        for filter in &self.listed {
            listed.intersect(&filter.users(task)?);
        }
        Ok(listed)
    }

    /// What each signal needs to know of a task: to tell `qualified_at` that of all history.
    fn load(&self, task: &Task<'_>) -> Result<Vec<Loaded>, Problem> {
        let history = task.scan().history();
        let load = |signal: &Signal| {
            let range = match signal.reach().filter(|_| self.days.is_none()) {
                Some(reach) => (self.as_of + 1 - reach).max(history.start)..history.end,
                None => history.clone(),
            };
            signal.load(task, range, &self.calendar)
        };
        self.signals.iter().map(load).collect()
    }

    fn raws(&self, loaded: &[Loaded], user: u16) -> Vec<Raw> {
        let signals = self.signals.iter().zip(loaded);
        signals.map(|(signal, loaded)| signal.raw(loaded, user, self.as_of)).collect()
    }

    /// Who raised a hand, if that is asked.
    fn hands_up(&self, task: &Task<'_>) -> Result<Option<TaskSet>, Problem> {
        Ok(match &self.hand_raise {
            Some(HandsUp::Did(selection)) => {
                let rows = task.rows(selection, task.scan().history(), false)?;
                Some(rows.keys.iter().map(|key| key_user(*key)).collect())
            }
            Some(HandsUp::Cohort(plan)) => Some(plan.members(task)?),
            None => None,
        })
    }
}

/// Leads so far, in no order.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct PqlPartial {
    leads: Vec<Lead>,
    #[serde(skip)]
    known: KnownScores,
}

#[derive(Debug, Serialize, Deserialize)]
struct Lead {
    name: String,
    score: f64,
    raws: Box<[Raw]>,
    is_qualified: bool,
    hand_raised: bool,
    /// The day, if it is asked for and there is one.
    qualified_at: Option<u32>,
}

impl Partial for PqlPartial {
    fn merge(&mut self, other: PqlPartial) {
        self.leads.extend(other.leads);
    }
}

impl Analysis for Pql {
    type Partial = PqlPartial;
    type Output = Table;

    fn empty(&self) -> PqlPartial {
        PqlPartial::default()
    }

    fn observe(&self, task: &Task<'_>, partial: &mut PqlPartial) -> Result<(), Problem> {
        let listed = self.listed(task)?;
        if listed.is_empty() {
            return Ok(());
        }
        let loaded = self.load(task)?;
        let hands_up = self.hands_up(task)?;
        let daily = match &self.days {
            Some(days) => Some((days, days.load(task)?, days.first_days(task)?)),
            None => None,
        };
        for user in listed.iter() {
            let Some(name) = task.user_name(user) else { continue };
            let raws = self.raws(&loaded, user);
            let score = partial.known.of(&self.scorer, &raws);
            let qualified_at = daily.as_ref().and_then(|(days, loaded_days, first_days)| {
                let signals: Vec<_> = self
                    .signals
                    .iter()
                    .zip(&loaded)
                    .zip(loaded_days)
                    .map(|((signal, loaded), of_days)| (signal, loaded, of_days.as_ref()))
                    .collect();
                let first_day = first_days[usize::from(user)];
                days.qualified_at(user, first_day, &signals, &self.scorer, &mut partial.known)
            });
            partial.leads.push(Lead {
                name,
                score: score.value,
                raws: raws.into(),
                is_qualified: score.is_qualified,
                hand_raised: hands_up.as_ref().is_some_and(|hands_up| hands_up.contains(user)),
                qualified_at: qualified_at.map(|day| day as u32),
            });
        }
        check_count(partial)
    }

    fn finish(&self, mut partial: PqlPartial) -> Result<Table, Problem> {
        check_count(&partial)?;
        partial.leads.sort_unstable_by(|a, b| b.score.total_cmp(&a.score).then_with(|| a.name.cmp(&b.name)));
        let signals = self.names.iter().zip(&self.signals).map(|(name, signal)| {
            let kind = if signal.is_quotient() { ColumnType::Float64 } else { ColumnType::UInt64 };
            (name.as_str(), kind)
        });
        let hand_raised = self.hand_raise.as_ref().map(|_| ("hand_raised", ColumnType::Bool));
        let qualified_at = self.days.as_ref().map(|_| ("qualified_at", ColumnType::Time));
        let columns = [(self.entity.name(), ColumnType::String), ("score", ColumnType::Float64)];
        let columns = columns.into_iter().chain(signals).chain([("qualified", ColumnType::Bool)]);
        let mut table = Table::new(columns.chain(hand_raised).chain(qualified_at));
        for lead in partial.leads {
            let raws = lead.raws.iter().zip(&self.signals).map(|(raw, signal)| match signal.is_quotient() {
                true => Cell::Float(raw.count as f64 / raw.over as f64),
                false => Cell::UInt(raw.count),
            });
            let row = [Cell::Text(lead.name), Cell::Float(lead.score)].into_iter().chain(raws);
            let hand_raised = self.hand_raise.as_ref().map(|_| Cell::Bool(lead.hand_raised));
            let qualified_at = self
                .days
                .as_ref()
                .map(|days| lead.qualified_at.map_or(Cell::Null, |day| Cell::Text(days.label(day as usize))));
            table.push(row.chain([Cell::Bool(lead.is_qualified)]).chain(hand_raised).chain(qualified_at));
        }
        Ok(table)
    }
}

/// Nobody calls millions of leads.
fn check_count(partial: &PqlPartial) -> Result<(), Problem> {
    if partial.leads.len() > RESULT_ROW_COUNT_MAX {
        let hint =
            "ask for some of them with \"where\", or for the cell of those who are qualified as a cohort";
        return Err(Problem { hint: Some(hint.to_owned()), ..too_many_rows() });
    }
    Ok(())
}

/// A cell of leads: those who are, or are not, what both columns say.
#[derive(Clone, Debug)]
pub struct PqlCell {
    qualified: Option<bool>,
    hand_raised: Option<bool>,
}

impl Pql {
    /// Reads the name of a cell: `qualified` and `hand_raised`, each true or false; without either, the qualified.
    pub fn cell(&self, fields: &mut Fields<'_>) -> Result<PqlCell, Problem> {
        let mut qualified = fields.optional("qualified").map(|truth| truth.bool()).transpose()?;
        let node = fields.optional("hand_raised");
        if let Some(node) = node.as_ref().filter(|_| self.hand_raise.is_none()) {
            return Err(node
                .problem("the query does not say how hands are raised")
                .hint("give it \"hand_raise\""));
        }
        let hand_raised = node.map(|truth| truth.bool()).transpose()?;
        if hand_raised.is_none() {
            qualified = qualified.or(Some(true));
        }
        Ok(PqlCell { qualified, hand_raised })
    }

    /// The users of a cell: as many as it tells.
    pub fn members(&self, task: &Task<'_>, cell: &PqlCell) -> Result<TaskSet, Problem> {
        let mut members = self.listed(task)?;
        if let (Some(is_raised), Some(hands_up)) = (cell.hand_raised, self.hands_up(task)?) {
            match is_raised {
                true => members.intersect(&hands_up),
                false => members.subtract(&hands_up),
            }
        }
        let Some(qualified) = cell.qualified.filter(|_| !members.is_empty()) else { return Ok(members) };
        let loaded = self.load(task)?;
        let mut known = KnownScores::default();
        let is_meant =
            |user: &u16| known.of(&self.scorer, &self.raws(&loaded, *user)).is_qualified == qualified;
        Ok(members.iter().filter(is_meant).collect())
    }
}
