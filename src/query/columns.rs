//! Columns read for the rows of a task: whole blocks at once where rows lie close, one by one where they do not.
//!
//! The rows of a selection come from several groups, and of each group from one stretch of rows, most of them as a
//! rule. That stretch is unpacked once; the rows then find their values by place.

use std::ops::Range;
use std::sync::Arc;

use hashbrown::HashMap;
use parking_lot::Mutex;

use super::budget::{Charge, Meter};
use super::scan::Scan;
use super::selection::{number, unknown_code};
use super::{RowRef, Rows, Spread};
use crate::api::Problem;
use crate::format::IntColumn;
use crate::model::{Entity, Number, Value};
use crate::segment::Column;

/// A group's rows are unpacked together if at least one of so many is asked for: unpacking 128 values takes as long
/// as finding some 20 of them one by one.
const ROWS_PER_HIT_MAX: usize = 8;

/// The rows of one group among those of a task.
#[derive(Clone, Debug)]
pub(super) struct GroupRows {
    pub segment: u32,
    pub group: u32,
    /// From the first that is asked for to the last.
    pub rows: Range<usize>,
    hit_count: usize,
}

/// The groups that rows are in, and how rows find theirs.
pub(super) struct Groups {
    pub groups: Vec<GroupRows>,
    /// Of more groups than are found faster one after the other.
    index_by_place: HashMap<(u32, u32), usize>,
}

/// Groups that are looked at one after the other to find one.
const FEW_GROUPS_MAX: usize = 8;

impl Groups {
    pub fn of(rows: &Rows) -> Groups {
        let refs = &rows.refs;
        if let ([first, ..], [.., last]) = (refs.as_slice(), refs.as_slice())
            && rows.spread != Spread::Anywhere
        {
            let (first_row, last_row) = match rows.spread {
                Spread::GroupOrder => (first.row, last.row),
                _ => refs.iter().fold((u32::MAX, 0), |(min, max), row| (min.min(row.row), max.max(row.row))),
            };
            let group = GroupRows {
                segment: first.segment,
                group: first.group,
                rows: first_row as usize..last_row as usize + 1,
                hit_count: refs.len(),
            };
            return Groups { groups: vec![group], index_by_place: HashMap::new() };
        }
        let mut groups = Groups { groups: Vec::new(), index_by_place: HashMap::new() };
        for run in refs.chunk_by(|a, b| (a.segment, a.group) == (b.segment, b.group)) {
            let place = (run[0].segment, run[0].group);
            let index = groups.index_of(place).unwrap_or_else(|| {
                let first = run[0].row as usize;
                groups.add(GroupRows { segment: place.0, group: place.1, rows: first..first, hit_count: 0 })
            });
            let known = &mut groups.groups[index];
            known.hit_count += run.len();
            for row in run {
                let row = row.row as usize;
                known.rows = known.rows.start.min(row)..known.rows.end.max(row + 1);
            }
        }
        groups
    }

    fn index_of(&self, place: (u32, u32)) -> Option<usize> {
        match self.groups.len() {
            0..=FEW_GROUPS_MAX => self.groups.iter().position(|group| (group.segment, group.group) == place),
            _ => self.index_by_place.get(&place).copied(),
        }
    }

    /// Returns the index of the new group.
    fn add(&mut self, group: GroupRows) -> usize {
        let index = self.groups.len();
        self.groups.push(group);
        if self.groups.len() > FEW_GROUPS_MAX {
            let places = self.groups.iter().map(|group| (group.segment, group.group)).zip(0..);
            self.index_by_place.extend(places.skip(self.index_by_place.len()));
        }
        index
    }

    /// Calls `f` with the index of each run of neighbours in one group, and which of `refs` they are.
    pub fn for_each_run(
        &self,
        rows: &Rows,
        mut f: impl FnMut(usize, Range<usize>) -> Result<(), Problem>,
    ) -> Result<(), Problem> {
        let refs = &rows.refs;
        if rows.spread != Spread::Anywhere && !refs.is_empty() {
            return f(0, 0..refs.len());
        }
        let mut start = 0;
        for run in refs.chunk_by(|a, b| (a.segment, a.group) == (b.segment, b.group)) {
            let index =
                self.index_of((run[0].segment, run[0].group)).expect("the groups of all rows are known");
            f(index, start..start + run.len())?;
            start += run.len();
        }
        Ok(())
    }
}

impl GroupRows {
    /// All rows of a range.
    pub fn neighbours(segment: u32, group: u32, rows: Range<usize>) -> GroupRows {
        GroupRows { segment, group, hit_count: rows.len(), rows }
    }

    /// Whether it is worth it to unpack all rows from the first to the last.
    fn is_dense(&self) -> bool {
        self.rows.len() <= self.hit_count * ROWS_PER_HIT_MAX
    }

    /// Unpacks a column of the group as far as it is asked for.
    pub fn unpack<'c>(
        &self,
        scan: &Scan<'_>,
        part: ColumnPart,
        column: IntColumn<'c>,
    ) -> Result<Unpacked<'c>, Problem> {
        if self.is_dense() {
            let mut values = Vec::new();
            column.read(self.rows.clone(), &mut values);
            return Ok(Unpacked::Dense { first: self.rows.start, values });
        }
        // Rows in the order of accounts are scattered over all of the group, in each task over all of it again.
        let hit_count = self.hit_count * scan.task_count() as usize;
        if scan.entity() == Entity::Account && column.len() <= hit_count * ROWS_PER_HIT_MAX {
            let values = scan.whole_columns().of((self.segment, self.group, part), &column, scan.meter())?;
            return Ok(Unpacked::Whole(values));
        }
        Ok(Unpacked::Sparse(Box::new(column)))
    }

    /// 32 bits that `f` makes of the values of rows that are worth unpacking by themselves.
    pub fn unpack_with(&self, column: IntColumn<'_>, mut f: impl FnMut(u64) -> u32) -> Option<Vec<u32>> {
        if !self.is_dense() {
            return None;
        }
        let mut values = Vec::with_capacity(self.rows.len());
        column.for_each_block(self.rows.clone(), |block| values.extend(block.iter().map(|value| f(*value))));
        Some(values)
    }
}

/// A column of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum ColumnPart {
    Users,
    Accounts,
    /// Codes or mantissas of a property, by its place in the segment.
    Values(u32),
    /// Whether rows have a number of a property.
    Presence(u32),
}

/// Columns of groups that the tasks of a query share, each unpacked once.
#[derive(Debug, Default)]
pub(super) struct WholeColumns {
    by_place: Mutex<HashMap<ColumnPlace, WholeColumn>>,
}

/// A segment's place in the snapshot, a group's in it, and a column of that.
type ColumnPlace = (u32, u32, ColumnPart);

#[derive(Debug)]
struct WholeColumn {
    values: Arc<Vec<u64>>,
    _charge: Charge,
}

impl WholeColumns {
    fn of(
        &self,
        place: ColumnPlace,
        column: &IntColumn<'_>,
        meter: &Meter,
    ) -> Result<Arc<Vec<u64>>, Problem> {
        // Others wait meanwhile: they would read the same.
        let mut by_place = self.by_place.lock();
        if let Some(known) = by_place.get(&place) {
            return Ok(Arc::clone(&known.values));
        }
        let charge = meter.charge((column.len() * size_of::<u64>()) as u64)?;
        let mut values = Vec::new();
        column.read(0..column.len(), &mut values);
        let values = Arc::new(values);
        by_place.insert(place, WholeColumn { values: Arc::clone(&values), _charge: charge });
        Ok(values)
    }
}

/// The values of a column in the rows of a group.
pub(super) enum Unpacked<'c> {
    Dense { first: usize, values: Vec<u64> },
    Whole(Arc<Vec<u64>>),
    Sparse(Box<IntColumn<'c>>),
}

impl Unpacked<'_> {
    #[inline]
    pub fn get(&self, row: u32) -> u64 {
        match self {
            Unpacked::Dense { first, values } => values[row as usize - first],
            Unpacked::Whole(values) => values[row as usize],
            Unpacked::Sparse(column) => column.get(row as usize),
        }
    }
}

/// A number as a column has it, `mantissa × 10^exponent`: not in the one form that equal numbers share, which takes as
/// long to find as a sum takes to add it.
#[derive(Clone, Copy, Debug)]
pub struct Term {
    pub mantissa: i128,
    pub exponent: i32,
}

impl Term {
    pub fn number(self) -> Number {
        Number::new(self.mantissa, self.exponent)
            .expect("columns of other exponents are read number by number")
    }
}

impl From<Number> for Term {
    fn from(number: Number) -> Term {
        Term { mantissa: number.mantissa(), exponent: number.exponent() }
    }
}

/// Numbers by code, the first of which stands for a missing value.
type NumbersByCode = Vec<Option<Term>>;

/// The numbers of values, at one exponent where they fit, so that sums need not scale them.
fn numbers_by_code(values: &[Value]) -> NumbersByCode {
    let numbers: Vec<Option<Number>> =
        std::iter::once(None).chain(values.iter().map(Value::as_number)).collect();
    let finest = numbers.iter().flatten().map(|number| number.exponent()).min().unwrap_or(0);
    let scaled = |number: &Number| {
        let mantissa = number.mantissa_at(finest).filter(|mantissa| i64::try_from(*mantissa).is_ok());
        mantissa.map_or(Term::from(*number), |mantissa| Term { mantissa, exponent: finest })
    };
    numbers.iter().map(|number| number.as_ref().map(scaled)).collect()
}

/// The numbers of the values of properties, which a query reads once for each segment.
#[derive(Debug, Default)]
pub(super) struct KnownNumbers {
    by_property: Mutex<HashMap<u32, HashMap<String, Arc<NumbersByCode>>>>,
}

impl KnownNumbers {
    fn of(
        &self,
        segment: u32,
        property: &str,
        read: impl FnOnce() -> Result<NumbersByCode, Problem>,
    ) -> Result<Arc<NumbersByCode>, Problem> {
        // Others wait meanwhile: they would read the same.
        let mut by_property = self.by_property.lock();
        let of_segment = by_property.entry(segment).or_default();
        if let Some(known) = of_segment.get(property) {
            return Ok(Arc::clone(known));
        }
        let numbers = Arc::new(read()?);
        of_segment.insert(property.to_owned(), Arc::clone(&numbers));
        Ok(numbers)
    }
}

/// Where the numbers of a property are in the rows of a group.
enum Source<'c> {
    Absent,
    Codes {
        codes: Unpacked<'c>,
        numbers: Arc<NumbersByCode>,
    },
    Numbers {
        mantissas: Unpacked<'c>,
        mantissa_min: i64,
        exponent: i32,
        /// Whether every mantissa makes a number with the exponent.
        is_any_number: bool,
        presence: Option<Unpacked<'c>>,
    },
}

impl Source<'_> {
    /// The number of a row, if it has one.
    #[inline]
    fn term(&self, scan: &Scan<'_>, row: RowRef) -> Result<Option<Term>, Problem> {
        match self {
            Source::Absent => Ok(None),
            Source::Codes { codes, numbers } => {
                let known = numbers.get(codes.get(row.row) as usize);
                known.copied().ok_or_else(|| unknown_code(scan, row.segment))
            }
            Source::Numbers { mantissas, mantissa_min, exponent, is_any_number, presence } => {
                if presence.as_ref().is_some_and(|presence| presence.get(row.row) == 0) {
                    return Ok(None);
                }
                let mantissa = mantissa_min.wrapping_add(mantissas.get(row.row) as i64);
                if !is_any_number {
                    number(mantissa, *exponent)?;
                }
                Ok(Some(Term { mantissa: i128::from(mantissa), exponent: *exponent }))
            }
        }
    }
}

impl Source<'_> {
    /// Calls `f` with the number of each row, where it is read without more questions. Whether it is.
    fn for_each_plain(&self, rows: &[RowRef], f: &mut impl FnMut(usize, Term)) -> bool {
        let Source::Numbers { mantissas, mantissa_min, exponent, is_any_number: true, presence: None } = self
        else {
            return false;
        };
        let (first, values) = match mantissas {
            Unpacked::Dense { first, values } => (*first, values.as_slice()),
            Unpacked::Whole(values) => (0, values.as_slice()),
            Unpacked::Sparse(_) => return false,
        };
        for (place, row) in rows.iter().enumerate() {
            let mantissa = mantissa_min.wrapping_add(values[row.row as usize - first] as i64);
            f(place, Term { mantissa: i128::from(mantissa), exponent: *exponent });
        }
        true
    }
}

/// Numbers that are found before something is made of them.
const FOUND_AT_ONCE: usize = 256;

/// Calls `f` with each row that has a number under a property, and the number.
pub(super) fn numbers(
    scan: &Scan<'_>,
    property: &str,
    rows: &Rows,
    mut f: impl FnMut(usize, Term),
) -> Result<(), Problem> {
    debug_assert_eq!(rows.refs.len(), rows.keys.len(), "a property needs to know where rows are");
    let groups = Groups::of(rows);
    let mut sources = Vec::with_capacity(groups.groups.len());
    for of_group in &groups.groups {
        sources.push(source(scan, property, of_group)?);
    }
    if let [source] = sources.as_slice()
        && source.for_each_plain(&rows.refs, &mut f)
    {
        return Ok(());
    }
    // What is found first does not wait for what is made of it: rows in the order of accounts are anywhere in memory.
    let mut found: Vec<(usize, Term)> = Vec::with_capacity(FOUND_AT_ONCE);
    groups.for_each_run(rows, |index, run| {
        for place in run {
            found.extend(sources[index].term(scan, rows.refs[place])?.map(|term| (place, term)));
            if found.len() == FOUND_AT_ONCE {
                found.drain(..).for_each(|(place, term)| f(place, term));
            }
        }
        Ok(())
    })?;
    found.into_iter().for_each(|(place, term)| f(place, term));
    Ok(())
}

fn source<'s>(scan: &Scan<'s>, property: &str, of_group: &GroupRows) -> Result<Source<'s>, Problem> {
    let group = scan.group(of_group.segment, of_group.group);
    let Some(place) = group.segment().property(property) else { return Ok(Source::Absent) };
    Ok(match group.column(place)? {
        None => Source::Absent,
        Some(Column::Numbers { exponent, mantissa_min, mantissas, presence, .. }) => Source::Numbers {
            mantissas: of_group.unpack(scan, ColumnPart::Values(place), mantissas)?,
            mantissa_min,
            exponent,
            is_any_number: is_any_number(exponent),
            presence: presence
                .map(|presence| of_group.unpack(scan, ColumnPart::Presence(place), presence))
                .transpose()?,
        },
        Some(Column::Codes { codes, .. }) => {
            let read = || {
                let values = group.segment().values(place)?.expect("codes have values");
                let values = values.values().map_err(|error| group.segment().wrap(error))?;
                Ok(numbers_by_code(&values))
            };
            let numbers = scan.numbers_by_code().of(of_group.segment, property, read)?;
            Source::Codes { codes: of_group.unpack(scan, ColumnPart::Values(place), codes)?, numbers }
        }
    })
}

/// A property's numbers in neighbouring rows of a group: `(mantissa_min + mantissa) × 10^exponent`, where `presence` is
/// absent or not 0.
pub(super) struct NumberColumn<'c> {
    pub mantissas: IntColumn<'c>,
    pub presence: Option<IntColumn<'c>>,
    pub mantissa_min: i64,
    pub exponent: i32,
}

/// The numbers of neighbouring rows, if a column has them as they are and sums of their mantissas fit 64 bits.
pub(super) fn numbers_of_neighbours<'s>(
    scan: &Scan<'s>,
    property: &str,
    rows: &GroupRows,
) -> Result<Option<NumberColumn<'s>>, Problem> {
    let group = scan.group(rows.segment, rows.group);
    let Some(place) = group.segment().property(property) else { return Ok(None) };
    Ok(match group.column(place)? {
        Some(Column::Numbers { exponent, mantissa_min, mantissa_max, mantissas, presence }) => {
            let largest = i128::from(mantissa_min.unsigned_abs().max(mantissa_max.unsigned_abs()));
            let do_sums_fit = largest * rows.rows.len() as i128 <= i128::from(i64::MAX);
            (do_sums_fit && is_any_number(exponent)).then_some(NumberColumn {
                mantissas,
                presence,
                mantissa_min,
                exponent,
            })
        }
        _ => None,
    })
}

/// Whether every mantissa makes a number with an exponent.
fn is_any_number(exponent: i32) -> bool {
    [1, i64::MAX, i64::MIN].iter().all(|mantissa| number(*mantissa, exponent).is_ok())
}

/// Calls `f` with each row that has an account, and the account's ordinal.
pub(super) fn accounts(scan: &Scan<'_>, rows: &Rows, f: &mut dyn FnMut(usize, u32)) -> Result<(), Problem> {
    let groups = Groups::of(rows);
    let mut sources = Vec::with_capacity(groups.groups.len());
    for of_group in &groups.groups {
        let column = scan.group(of_group.segment, of_group.group).accounts()?;
        sources.push(column.map(|column| of_group.unpack(scan, ColumnPart::Accounts, column)).transpose()?);
    }
    groups.for_each_run(rows, |index, run| {
        let Some(accounts) = &sources[index] else { return Ok(()) };
        for place in run {
            if let Some(ordinal) = accounts.get(rows.refs[place].row).checked_sub(1) {
                f(place, ordinal as u32);
            }
        }
        Ok(())
    })
}
