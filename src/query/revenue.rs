//! Revenue: what recurring revenue was, what moved it, and what is left of it, interval by interval.
//!
//! A subscription event says what its entity pays from then on. That is followed through all history, one entity after
//! the other, and entered as differences from row to row: an entity that pays the same for years is two entries. A row
//! of a currency, or of a value of a breakdown, is a book of its own: whoever pays in euros and then in dollars is
//! churn in the one and new in the other.
//!
//! Invariant: of every row, starting + new + expansion + reactivation − contraction − churn = ending, exactly.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::births::combinations;
use super::cell_name::{SlotName, read_bucket};
use super::grid::{Grid, too_many_rows};
use super::revenue_book::{MovementKind, Rate, Statement, for_each_movement};
use super::split::slots_of;
use super::value_totals::BreakdownTotals;
use super::{
    Analysis, Binder, BreakdownPlan, Calendar, Codes, Fold, Partial, Rows, Selection, Split, Task, TaskSet,
    key_time, key_user,
};
use crate::api::{Breakdown, Cell, ColumnType, Fields, Filter, Interval, Problem, RevenueQuery, Table};
use crate::limits::RESULT_ROW_COUNT_MAX;
use crate::model::{Number, TimeMs};

/// A revenue, bound to a snapshot.
#[derive(Debug)]
pub struct Revenue {
    subscriptions: Selection,
    /// The property of what is paid.
    mrr: String,
    /// The properties of the query's breakdown, and behind them that of the currency if there is one.
    plans: Vec<BreakdownPlan>,
    has_currency: bool,
    /// How many values of each property are told.
    limits: Vec<usize>,
    split: Split,
    calendar: Calendar,
    /// What each row compares: `starts[row]` with `ends[row]`.
    starts: Vec<TimeMs>,
    ends: Vec<TimeMs>,
    /// All history up to the end of the range.
    looked_at: Range<TimeMs>,
    as_of: TimeMs,
}

impl Revenue {
    /// Binds a query to the binder's snapshot, whose entities pay.
    pub fn bind(
        query: &RevenueQuery,
        filter: Option<&Filter>,
        binder: &mut Binder<'_>,
    ) -> Result<Revenue, Problem> {
        let scope = binder.scope();
        let told = scope.told_range(binder.scan().first_event()?);
        // An empty range has no rows, not even a total: there is nothing that what was paid could be compared with.
        let interval = if told.is_empty() { Interval::Day } else { query.interval };
        let calendar = Calendar::new(interval, &scope.zone, scope.week_start, told.clone())?;
        let rows = 0..calendar.bucket_count();
        let ends: Vec<TimeMs> = rows.clone().map(|row| calendar.end(row).min(told.end)).collect();
        let starts = match query.trailing {
            Some(span) => ends.iter().map(|end| span.resolve(*end, &scope.zone)).collect(),
            None => rows.map(|row| calendar.start(row).max(told.start)).collect(),
        };
        let model = binder.growth_model(&query.model)?;
        let subscription = model.subscription()?;
        let subscriptions = binder.selection(&subscription.selector, filter)?;
        let plans = query.breakdowns.iter().map(|breakdown| BreakdownPlan::new(breakdown, binder));
        let mut plans = plans.collect::<Result<Vec<_>, _>>()?;
        let mut limits: Vec<usize> = query.breakdowns.iter().map(|breakdown| breakdown.limit).collect();
        let currency = query.currency.as_ref().or(subscription.currency.as_ref());
        if let Some(currency) = currency {
            plans.push(BreakdownPlan::new(&Breakdown::by_all_values(currency), binder)?);
            limits.push(usize::MAX);
        }
        let mut revenue = Revenue {
            subscriptions,
            mrr: subscription.mrr.clone(),
            plans,
            has_currency: currency.is_some(),
            limits,
            split: Split::default(),
            calendar,
            starts,
            looked_at: scope.seen(scope.history().start..told.end),
            ends,
            as_of: scope.as_of,
        };
        if !revenue.needs_totals() {
            let folds = revenue.plans.iter().map(|plan| Fold::keep_all(plan.labels())).collect();
            revenue.split = Split::new(folds)?;
        }
        Ok(revenue)
    }

    /// What has to be asked first, if a property has more values than are told; the answer goes to
    /// [`Revenue::fold`].
    pub fn totals(&self) -> Option<RevenueTotals<'_>> {
        self.needs_totals().then_some(RevenueTotals { revenue: self })
    }

    /// The values that anybody ever paid under, for what tells revenue beside other things.
    pub fn values(&self) -> RevenueValues<'_> {
        RevenueValues { revenue: self }
    }

    /// Counts, or only notes, the users of a task for the values that they pay under.
    fn count_values(
        &self,
        task: &Task<'_>,
        is_counted: bool,
        partial: &mut BreakdownTotals,
    ) -> Result<(), Problem> {
        let changes = self.changes(task)?;
        for (codes, totals) in changes.codes.iter().zip(partial.properties_mut()) {
            for (row, _) in changes.list.iter().filter(|(_, amount)| *amount > Number::ZERO) {
                let user = task.user_base() + u32::from(key_user(changes.rows.keys[*row]));
                codes.of(*row).iter().for_each(|code| totals.count(*code, user, is_counted));
            }
        }
        Ok(())
    }

    fn needs_totals(&self) -> bool {
        self.plans.iter().zip(&self.limits).any(|(plan, limit)| plan.labels().len() > *limit)
    }

    /// Sets which values have rows of their own.
    pub fn fold(&mut self, split: Split) {
        self.split = split;
    }

    /// Sets which values of the breakdown have rows of their own. Every currency has.
    pub fn fold_breakdown(&mut self, split: &Split) -> Result<(), Problem> {
        self.split = match self.plans.last().filter(|_| self.has_currency) {
            Some(currency) => split.with(Fold::keep_all(currency.labels()))?,
            None => split.clone(),
        };
        Ok(())
    }

    /// The statements of each slot of the breakdown: one book for each currency that was ever paid in there.
    pub fn by_breakdown<'s>(&self, statements: &'s Statements) -> Vec<(u32, Vec<&'s [Statement]>)> {
        let mut by_slot: Vec<(u32, Vec<&[Statement]>)> = Vec::new();
        for (slot, book) in &statements.by_slot {
            let slot = if self.has_currency { self.split.without_last(*slot) } else { *slot };
            match by_slot.last_mut() {
                Some((last, books)) if *last == slot => books.push(book),
                _ => by_slot.push((slot, vec![book])),
            }
        }
        by_slot
    }

    /// Who of a task pays at the end of a row, in a slot of the breakdown, in whatever currency.
    pub fn customers(&self, task: &Task<'_>, slot: u32, row: usize) -> Result<TaskSet, Problem> {
        let changes = self.changes(task)?;
        let slots = self.split.slots(changes.codes.clone());
        let mut members = TaskSet::new();
        self.each_book(&changes, slots.as_ref(), |of, user, rates| {
            let of = if self.has_currency { self.split.without_last(of) } else { of };
            for_each_movement(rates, &self.starts[row..=row], &self.ends[row..=row], |_, movement| {
                if of == slot && movement.ending > Number::ZERO {
                    members.insert(user);
                }
            });
            Ok(())
        })?;
        Ok(members)
    }

    /// What each of a task pays from which moments on, in whatever currency and row.
    pub fn rates(&self, task: &Task<'_>) -> Result<RatesOfTask, Problem> {
        let changes = self.changes(task)?;
        let keys = &changes.rows.keys;
        let of_users = changes.list.chunk_by(|(a, _), (b, _)| key_user(keys[*a]) == key_user(keys[*b]));
        let rates = of_users.map(|of_user| {
            let rate = |(row, amount): &(usize, Number)| Rate { from: key_time(keys[*row]), amount: *amount };
            (key_user(keys[of_user[0].0]), of_user.iter().map(rate).collect())
        });
        Ok(RatesOfTask { by_user: rates.collect(), ignored_count: changes.ignored_count })
    }

    /// The changes of what is paid by the users of a task, and what else is known of their events.
    fn changes(&self, task: &Task<'_>) -> Result<Changes, Problem> {
        let rows = task.rows(&self.subscriptions, self.looked_at.clone(), true)?;
        let mut amounts: Vec<(usize, Number)> = Vec::with_capacity(rows.keys.len());
        task.numbers(&self.mrr, &rows, |row, term| {
            let amount = term.number();
            if !amount.is_negative() {
                amounts.push((row, amount));
            }
        })?;
        let codes = self.plans.iter().map(|plan| task.breakdown_codes(plan, &rows));
        let codes = codes.collect::<Result<Vec<_>, _>>()?;
        let ignored_count = (rows.keys.len() - amounts.len()) as u64;
        let labels: Vec<_> = self.plans.iter().map(BreakdownPlan::labels).collect();
        let rank = |row: usize| combinations(row, &codes, &labels);
        // Of the events of an entity at one instant the largest holds; of equal ones the first by their values.
        let mut list: Vec<(usize, Number)> = Vec::with_capacity(amounts.len());
        for tied in amounts.chunk_by(|(a, _), (b, _)| rows.keys[*a] == rows.keys[*b]) {
            let largest = tied.iter().map(|(_, amount)| *amount).max().expect("a chunk has a row");
            let largest_rows = tied.iter().filter(|(_, amount)| *amount == largest).map(|(row, _)| *row);
            let row = match tied.len() {
                1 => tied[0].0,
                _ => largest_rows.min_by_key(|row| rank(*row)).expect("one is the largest"),
            };
            list.push((row, largest));
        }
        Ok(Changes { rows, codes, list, ignored_count })
    }

    /// Calls `visit` with each slot that a user of the task ever paid in, the user, and what it pays in the slot.
    fn each_book(
        &self,
        changes: &Changes,
        slots: Option<&Codes>,
        mut visit: impl FnMut(u32, u16, &[Rate]) -> Result<(), Problem>,
    ) -> Result<(), Problem> {
        let keys = &changes.rows.keys;
        let mut rates: Vec<Rate> = Vec::new();
        let mut paid_in: Vec<u32> = Vec::new();
        for of_user in changes.list.chunk_by(|(a, _), (b, _)| key_user(keys[*a]) == key_user(keys[*b])) {
            let user = key_user(keys[of_user[0].0]);
            paid_in.clear();
            let paying = of_user.iter().filter(|(_, amount)| *amount > Number::ZERO);
            paid_in.extend(paying.flat_map(|(row, _)| slots_of(slots, *row)));
            paid_in.sort_unstable();
            paid_in.dedup();
            for slot in &paid_in {
                rates.clear();
                rates.extend(of_user.iter().map(|(row, amount)| Rate {
                    from: key_time(keys[*row]),
                    amount: if slots_of(slots, *row).contains(slot) { *amount } else { Number::ZERO },
                }));
                visit(*slot, user, &rates)?;
            }
        }
        Ok(())
    }

    /// The columns that name a row.
    fn name_columns(&self) -> impl Iterator<Item = (String, ColumnType)> + '_ {
        let breakdown_count = self.plans.len() - usize::from(self.has_currency);
        let currency = self.has_currency.then(|| ("currency".to_owned(), ColumnType::Value));
        [("time".to_owned(), ColumnType::Time)]
            .into_iter()
            .chain(self.split.columns().take(breakdown_count))
            .chain(currency)
    }

    /// The answer, once the statements are known.
    pub fn table(&self, statements: &Statements) -> Result<Table, Problem> {
        let money = ["starting", "new", "expansion", "contraction", "churn", "reactivation", "ending"];
        let numbers = money.into_iter().map(|name| (name, ColumnType::Decimal)).chain([
            ("nrr", ColumnType::Float64),
            ("grr", ColumnType::Float64),
            ("customers", ColumnType::UInt64),
            ("arpa", ColumnType::Float64),
            ("quick_ratio", ColumnType::Float64),
        ]);
        let columns = self.name_columns().chain(numbers.map(|(name, kind)| (name.to_owned(), kind)));
        let mut table = Table::new(columns);
        let row_count = self.calendar.bucket_count();
        if statements.by_slot.len() * row_count > RESULT_ROW_COUNT_MAX {
            return Err(too_many_rows());
        }
        let names: Vec<Vec<Cell>> =
            statements.by_slot.iter().map(|(slot, _)| self.split.cells(*slot)).collect();
        for row in 0..row_count {
            let time = Cell::Text(self.calendar.label(row));
            for (name, (_, of_slot)) in names.iter().zip(&statements.by_slot) {
                let name = [time.clone()].into_iter().chain(name.iter().cloned());
                table.push(name.chain(cells(&of_slot[row])));
            }
        }
        Ok(table)
    }
}

fn cells(statement: &Statement) -> impl Iterator<Item = Cell> {
    debug_assert!(statement.adds_up());
    let ratio = |ratio: Option<f64>| ratio.map_or(Cell::Null, Cell::Float);
    let money = [
        &statement.starting,
        &statement.new,
        &statement.expansion,
        &statement.contraction,
        &statement.churn,
        &statement.reactivation,
        &statement.ending,
    ];
    let money = money.map(|sum| Cell::Decimal(sum.total()));
    let ratios = [
        ratio(statement.nrr()),
        ratio(statement.grr()),
        Cell::UInt(statement.customers as u64),
        ratio(statement.arpa()),
        ratio(statement.quick_ratio()),
    ];
    money.into_iter().chain(ratios)
}

/// What those of a task pay, by ascending user.
#[derive(Debug)]
pub struct RatesOfTask {
    pub by_user: Vec<(u16, Vec<Rate>)>,
    /// Subscription events without a valid amount.
    pub ignored_count: u64,
}

/// What the users of a task pay, from which moments on.
struct Changes {
    rows: Rows,
    /// Of each row, for each property.
    codes: Vec<Codes>,
    /// The rows that say what is paid, and how much: in the order of rows, one for each user and instant.
    list: Vec<(usize, Number)>,
    /// Rows that say nothing.
    ignored_count: u64,
}

/// Of each slot the differences from row to row, of which the last takes away what the others left.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RevenuePartial {
    differences: Grid<Statement>,
    ignored_count: u64,
}

impl Partial for RevenuePartial {
    fn merge(&mut self, other: RevenuePartial) {
        self.differences.merge(&other.differences, Statement::merge);
        self.ignored_count += other.ignored_count;
    }
}

/// What was paid and what moved, by slot.
#[derive(Debug)]
pub struct Statements {
    /// Slots ascend. Each has a statement for every row; without a breakdown there is always the one slot.
    pub by_slot: Vec<(u32, Vec<Statement>)>,
    /// Subscription events without a valid amount.
    pub ignored_count: u64,
}

impl Analysis for Revenue {
    type Partial = RevenuePartial;
    type Output = Statements;

    fn empty(&self) -> RevenuePartial {
        RevenuePartial { differences: Grid::new(self.calendar.bucket_count() + 1), ignored_count: 0 }
    }

    fn observe(&self, task: &Task<'_>, partial: &mut RevenuePartial) -> Result<(), Problem> {
        let changes = self.changes(task)?;
        partial.ignored_count += changes.ignored_count;
        let slots = self.split.slots(changes.codes.clone());
        self.each_book(&changes, slots.as_ref(), |slot, _, rates| {
            let start = partial.differences.row_start(slot)?;
            let cells = partial.differences.cells_mut();
            for_each_movement(rates, &self.starts, &self.ends, |rows, movement| {
                cells[start + rows.start].add(movement, 1);
                cells[start + rows.end].add(movement, -1);
            });
            Ok(())
        })
    }

    fn finish(&self, partial: RevenuePartial) -> Result<Statements, Problem> {
        let row_count = self.calendar.bucket_count();
        let summed = |differences: &[Statement]| -> Vec<Statement> {
            let mut sum = Statement::default();
            let rows = differences[..row_count].iter().map(|difference| {
                sum.merge(difference);
                sum.clone()
            });
            rows.collect()
        };
        let mut by_slot: Vec<(u32, Vec<Statement>)> =
            partial.differences.rows().into_iter().map(|(slot, cells)| (slot, summed(cells))).collect();
        if by_slot.is_empty() && self.split.is_none() {
            by_slot.push((0, vec![Statement::default(); row_count]));
        }
        Ok(Statements { by_slot, ignored_count: partial.ignored_count })
    }
}

/// The first look at a revenue: how many ever paid in the row of each value.
#[derive(Debug)]
pub struct RevenueTotals<'a> {
    revenue: &'a Revenue,
}

impl Analysis for RevenueTotals<'_> {
    type Partial = BreakdownTotals;
    type Output = Split;

    fn empty(&self) -> BreakdownTotals {
        BreakdownTotals::new(self.revenue.plans.len())
    }

    fn observe(&self, task: &Task<'_>, partial: &mut BreakdownTotals) -> Result<(), Problem> {
        self.revenue.count_values(task, true, partial)
    }

    /// The values that have rows of their own.
    fn finish(&self, partial: BreakdownTotals) -> Result<Split, Problem> {
        partial.split(&self.revenue.plans, &self.revenue.limits)
    }
}

/// The values that a revenue is told under, whoever they count for.
#[derive(Debug)]
pub struct RevenueValues<'a> {
    revenue: &'a Revenue,
}

impl Analysis for RevenueValues<'_> {
    type Partial = BreakdownTotals;
    type Output = BreakdownTotals;

    fn empty(&self) -> BreakdownTotals {
        BreakdownTotals::new(self.revenue.plans.len())
    }

    fn observe(&self, task: &Task<'_>, partial: &mut BreakdownTotals) -> Result<(), Problem> {
        self.revenue.count_values(task, false, partial)
    }

    fn finish(&self, partial: BreakdownTotals) -> Result<BreakdownTotals, Problem> {
        Ok(partial)
    }
}

/// A cell of a revenue: those whose movement it tells.
#[derive(Clone, Debug)]
pub struct RevenueCell {
    row: usize,
    state: State,
    slot: Vec<SlotName>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Who pays at the start.
    Starting,
    Moved(MovementKind),
    /// Who pays at the end.
    Customers,
}

impl Revenue {
    /// Reads the name of a cell: `time`, `state` (the name of a column of money, or `customers`), the value of each
    /// breakdown, and the `currency` if there is one.
    pub fn cell(&self, fields: &mut Fields<'_>) -> Result<RevenueCell, Problem> {
        let row = read_bucket(
            &fields.required("time")?,
            &self.calendar,
            0..self.calendar.bucket_count(),
            self.as_of,
        )?;
        let state = fields.required("state")?.word(&[
            ("starting", State::Starting),
            ("new", State::Moved(MovementKind::New)),
            ("expansion", State::Moved(MovementKind::Expansion)),
            ("contraction", State::Moved(MovementKind::Contraction)),
            ("churn", State::Moved(MovementKind::Churn)),
            ("reactivation", State::Moved(MovementKind::Reactivation)),
            ("ending", State::Customers),
            ("customers", State::Customers),
        ])?;
        let mut slot = SlotName::read_all(fields, self.plans.len() - usize::from(self.has_currency))?;
        if self.has_currency {
            slot.push(SlotName::read(fields, "currency")?);
        }
        Ok(RevenueCell { row, state, slot })
    }

    /// Those of a cell: for `customers`, as many as it tells.
    pub fn members(&self, task: &Task<'_>, cell: &RevenueCell) -> Result<TaskSet, Problem> {
        let mut members = TaskSet::new();
        let Some(meant) = self.split.slot_named(&cell.slot) else { return Ok(members) };
        let changes = self.changes(task)?;
        let slots = self.split.slots(changes.codes.clone());
        let (starts, ends) = (&self.starts[cell.row..=cell.row], &self.ends[cell.row..=cell.row]);
        self.each_book(&changes, slots.as_ref(), |slot, user, rates| {
            for_each_movement(rates, starts, ends, |_, movement| {
                let is_meant = match cell.state {
                    State::Starting => movement.starting > Number::ZERO,
                    State::Moved(kind) => movement.kind() == Some(kind),
                    State::Customers => movement.ending > Number::ZERO,
                };
                if slot == meant && is_meant {
                    members.insert(user);
                }
            });
            Ok(())
        })?;
        Ok(members)
    }
}
