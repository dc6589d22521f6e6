//! Overview: acquisition, activation, retention, referral and revenue beside each other, interval by interval.
//!
//! What is told of users is counted in one walk over them ([`overview_users`](super::overview_users)). Revenue is
//! followed as the query `revenue` does, by whom the subscription says that it pays: users and accounts may stand in
//! one row. A part of the growth model that nobody says has no columns.

use std::ops::Range;

use super::cell_name::{SlotName, read_bucket};
use super::grid::too_many_rows;
use super::overview_users::{OverviewCounts, OverviewUsers, UserState};
use super::ratio::quotient;
use super::revenue::{Revenue, Statements};
use super::revenue_book::Statement;
use super::transitions::{State, Transitions};
use super::value_totals::BreakdownTotals;
use super::{Binder, Calendar, Scan, Split, Task, TaskSet};
use crate::api::{Cell, ColumnType, Fields, Filter, OverviewQuery, Problem, RevenueQuery, Scope, Table};
use crate::limits::RESULT_ROW_COUNT_MAX;
use crate::model::{Entity, TimeMs};

/// An overview, bound to a snapshot.
#[derive(Debug)]
pub struct Overview {
    /// Bucket 0 is the interval before the first one that is told; there is none if none is told.
    calendar: Calendar,
    users: OverviewUsers,
    revenue: Option<Payers>,
    transitions: Option<Transitions>,
    as_of: TimeMs,
}

/// Revenue, and of whom.
#[derive(Debug)]
struct Payers {
    revenue: Revenue,
    entity: Entity,
}

impl Overview {
    /// Binds a query to the binder's snapshot.
    pub fn bind(
        query: &OverviewQuery,
        filter: Option<&Filter>,
        binder: &mut Binder<'_>,
    ) -> Result<Overview, Problem> {
        let (scope, scan) = (binder.scope(), binder.scan());
        let buckets = |range| Calendar::new(query.interval, &scope.zone, scope.week_start, range);
        let mut calendar = buckets(scope.told_range(scan.first_event()?))?;
        let mut told = calendar.start(0)..calendar.start(0);
        if calendar.bucket_count() > 0 {
            told = calendar.span();
            calendar = buckets(told.start - 1..told.end)?;
        }
        // Whole intervals, as if they had been asked for.
        let whole = Scope { range: told.clone(), has_from: true, ..scope.clone() };
        let model = binder.growth_model(&query.model)?;
        let payers = model.subscription().ok().map(|part| part.entity.unwrap_or(scan.entity()));
        let mut inner = binder.inside(scan, &whole);
        let users = OverviewUsers::bind(query, filter, calendar.clone(), &mut inner)?;
        let transitions = match query.transitions {
            true => Some(Transitions::bind(query, filter, &calendar, &mut inner)?),
            false => None,
        };
        let part_count = inner.part_count();
        binder.count_parts(part_count);
        let revenue = match payers.filter(|_| !query.transitions) {
            Some(entity) => {
                let scan = scan.counting(entity);
                let mut inner = binder.inside(&scan, &whole);
                let revenue = RevenueQuery {
                    model: query.model.clone(),
                    interval: query.interval,
                    currency: None,
                    trailing: None,
                    breakdowns: query.breakdowns.clone(),
                };
                let revenue = Revenue::bind(&revenue, filter, &mut inner)?;
                let part_count = inner.part_count();
                binder.count_parts(part_count);
                Some(Payers { revenue, entity })
            }
            None => None,
        };
        Ok(Overview { calendar, users, revenue, transitions, as_of: scope.as_of })
    }

    /// Which values have rows of their own, if a property has more than are told: for [`Overview::fold`].
    pub fn split(&self, scan: &Scan<'_>) -> Result<Option<Split>, Problem> {
        if !self.users.needs_totals() {
            return Ok(None);
        }
        let noted = match self.revenue.as_ref().filter(|payers| payers.entity != scan.entity()) {
            Some(payers) => scan.counting(payers.entity).run(&payers.revenue.values())?,
            None => BreakdownTotals::default(),
        };
        scan.run(&self.users.totals(noted)).map(Some)
    }

    /// Sets which values have rows of their own, in all that is told.
    pub fn fold(&mut self, split: Split) -> Result<(), Problem> {
        if let Some(payers) = &mut self.revenue {
            payers.revenue.fold_breakdown(&split)?;
        }
        if let Some(transitions) = &mut self.transitions {
            transitions.fold(&split);
        }
        self.users.fold(split);
        Ok(())
    }

    /// What has to be asked always, before anything is told.
    pub fn prepare(&mut self, scan: &Scan<'_>) -> Result<(), Problem> {
        self.transitions.as_mut().map_or(Ok(()), |transitions| transitions.prepare(scan))
    }

    /// The answer.
    pub fn run(&self, scan: &Scan<'_>) -> Result<Table, Problem> {
        if let Some(transitions) = &self.transitions {
            let moves = scan.run(transitions)?;
            if transitions.has_payers() {
                scan.tell_ignored(moves.ignored_count);
            }
            return transitions.table(&moves, self.users.split());
        }
        let counts = scan.run(&self.users)?;
        let statements = match &self.revenue {
            Some(payers) => {
                let statements = scan.counting(payers.entity).run(&payers.revenue)?;
                scan.tell_ignored(statements.ignored_count);
                Some(statements)
            }
            None => None,
        };
        self.table(&counts, statements.as_ref())
    }

    fn told(&self) -> Range<usize> {
        1..self.calendar.bucket_count().max(1)
    }

    fn table(&self, counts: &OverviewCounts, statements: Option<&Statements>) -> Result<Table, Problem> {
        let split = self.users.split();
        let parts = self.users.parts();
        let has_revenue = statements.is_some();
        let numbers = [
            ("new_users", ColumnType::UInt64, parts.signup),
            ("activated", ColumnType::UInt64, parts.activate),
            ("activation_rate", ColumnType::Float64, parts.activate),
            ("active_users", ColumnType::UInt64, true),
            ("retained_users", ColumnType::UInt64, true),
            ("retention_rate", ColumnType::Float64, true),
            ("inviters", ColumnType::UInt64, parts.invite),
            ("k_factor", ColumnType::Float64, parts.accept),
            ("customers", ColumnType::UInt64, has_revenue),
            ("conversion_rate", ColumnType::Float64, parts.paid),
            ("mrr", ColumnType::Decimal, has_revenue),
            ("nrr", ColumnType::Float64, has_revenue),
        ];
        let is_told: Vec<bool> = numbers.iter().map(|(_, _, is_told)| *is_told).collect();
        let columns = [("time".to_owned(), ColumnType::Time)].into_iter().chain(split.columns());
        let numbers = numbers.into_iter().filter(|(_, _, is_told)| *is_told);
        let mut table = Table::new(columns.chain(numbers.map(|(name, kind, _)| (name.to_owned(), kind))));
        let by_currency = match (&self.revenue, statements) {
            (Some(payers), Some(statements)) => payers.revenue.by_breakdown(statements),
            _ => Vec::new(),
        };
        let mut slots: Vec<u32> = counts.slots();
        slots.extend(by_currency.iter().map(|(slot, _)| *slot));
        if split.is_none() {
            slots.push(0);
        }
        slots.sort_unstable();
        slots.dedup();
        if slots.len() * self.calendar.bucket_count() > RESULT_ROW_COUNT_MAX {
            return Err(too_many_rows());
        }
        let nothing = Statement::default();
        for bucket in self.told() {
            for slot in &slots {
                let of_slot = by_currency.binary_search_by_key(slot, |(slot, _)| *slot);
                let books: &[&[Statement]] = of_slot.map_or(&[], |index| &by_currency[index].1);
                let here: Vec<&Statement> = books.iter().map(|book| &book[bucket - 1]).collect();
                let revenue = revenue_cells(&here, &nothing);
                let cells = counts.cells(*slot, bucket, revenue);
                let told = cells.into_iter().zip(&is_told).filter(|(_, is_told)| **is_told);
                let name = [Cell::Text(self.calendar.label(bucket))].into_iter().chain(split.cells(*slot));
                table.push(name.chain(told.map(|(cell, _)| cell)));
            }
        }
        Ok(table)
    }
}

/// The cells `customers`, `mrr` and `nrr` of the statements of each currency. Currencies are never added: where several
/// are paid in, the money is null.
fn revenue_cells(books: &[&Statement], nothing: &Statement) -> [Cell; 3] {
    let customers: i64 = books.iter().map(|statement| statement.customers).sum();
    let is_paid = |statement: &&&Statement| {
        !statement.starting.total().is_zero() || !statement.ending.total().is_zero()
    };
    let paid: Vec<&&Statement> = books.iter().filter(is_paid).collect();
    let statement = match paid.as_slice() {
        [] => nothing,
        [one] => one,
        _ => return [Cell::UInt(customers as u64), Cell::Null, Cell::Null],
    };
    let nrr = statement.nrr().map_or(Cell::Null, Cell::Float);
    [Cell::UInt(customers as u64), Cell::Decimal(statement.ending.total()), nrr]
}

/// A share as it is told, null of nobody.
pub(super) fn share(part: u64, all: u64) -> Cell {
    let count = |count: u64| crate::model::Decimal::from(crate::model::Number::from(count as i64));
    quotient(&count(part), &count(all)).map_or(Cell::Null, Cell::Float)
}

/// A cell of an overview: who is what in an interval, or moved from one state to another.
#[derive(Clone, Debug)]
pub struct OverviewCell {
    which: Which,
    slot: Vec<SlotName>,
}

#[derive(Clone, Copy, Debug)]
enum Which {
    State { bucket: usize, state: UserState },
    Customers { bucket: usize },
    Move { bucket: usize, from: State, to: State },
}

impl Overview {
    /// Reads the name of a cell: `time` and `state` (the name of a column of users), or with transitions `time`,
    /// `from_state` and `to_state`; and the value of each breakdown.
    pub fn cell(&self, fields: &mut Fields<'_>) -> Result<OverviewCell, Problem> {
        let bucket = read_bucket(&fields.required("time")?, &self.calendar, self.told(), self.as_of)?;
        let which = if self.transitions.is_some() {
            let from = fields.required("from_state")?.word(&State::NAMES)?;
            Which::Move { bucket, from, to: fields.required("to_state")?.word(&State::NAMES)? }
        } else {
            let node = fields.required("state")?;
            let states = self.users.states();
            let names: Vec<(&'static str, Option<UserState>)> = states
                .into_iter()
                .map(|(name, state)| (name, Some(state)))
                .chain(self.revenue.is_some().then_some(("customers", None)))
                .collect();
            match node.word(&names)? {
                Some(state) => Which::State { bucket, state },
                None => {
                    let payers = self.revenue.as_ref().expect("they have a column");
                    if payers.entity != self.users.entity() {
                        let detail = format!("the customers are {}s", payers.entity.name());
                        return Err(node
                            .problem(detail)
                            .hint("the cell \"customers\" of the query \"revenue\" is the set of them"));
                    }
                    Which::Customers { bucket }
                }
            }
        };
        Ok(OverviewCell { which, slot: SlotName::read_all(fields, self.users.breakdown_count())? })
    }

    /// Those of a cell: as many as it tells.
    pub fn members(&self, task: &Task<'_>, cell: &OverviewCell) -> Result<TaskSet, Problem> {
        let Some(slot) = self.users.split().slot_named(&cell.slot) else { return Ok(TaskSet::new()) };
        match (cell.which, &self.transitions, &self.revenue) {
            (Which::Move { bucket, from, to }, Some(transitions), _) => {
                transitions.members(task, slot, bucket, from, to)
            }
            (Which::Customers { bucket }, _, Some(payers)) => {
                payers.revenue.customers(task, slot, bucket - 1)
            }
            (Which::State { bucket, state }, ..) => self.users.members(task, slot, bucket, state),
            _ => unreachable!("the cell is one of this table"),
        }
    }
}
