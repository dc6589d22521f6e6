//! Turns rows in order of arrival into a segment.

use std::hash::BuildHasher;
use std::io::{self, Write};

use foldhash::fast::FixedState;
use hashbrown::{HashMap, HashTable};

use super::group::{ColumnData, GroupData};
use super::writer::SegmentWriter;
use super::{RowKind, activity_key};
use crate::model::{CellRef, DAY_MS, EventBatch, Value};

/// A row of a batch, with its ids resolved.
#[derive(Clone, Copy, Debug)]
pub struct BatchRow {
    /// The place of its batch.
    pub batch: u32,
    /// Its place in the batch.
    pub row: u32,
    pub user: u32,
    /// One more than the account's ordinal, 0 for none.
    pub account: u32,
    pub time: i64,
    /// Its number in order of arrival.
    pub arrival: u64,
}

/// Distinct numbers above which a property of numbers alone is kept as numbers rather than as codes.
const CODED_NUMBER_COUNT_MAX: usize = 256;

/// Writes a segment of these rows.
///
/// `rows` name their batch by its place in `batches`. Of profiles, each row writes one property: the name of its
/// event.
pub fn build<W: Write>(kind: RowKind, batches: &[&EventBatch], rows: &[BatchRow], sink: W) -> io::Result<W> {
    let names = Names::of(batches);
    let mut interners: Vec<Interner> = Vec::new();
    interners.resize_with(names.sorted.len(), Interner::default);
    let mut cells: Vec<(u32, u32)> = Vec::with_capacity(rows.len() * 4);
    let mut cells_ends: Vec<u32> = Vec::with_capacity(rows.len() + 1);
    cells_ends.push(0);
    for row in rows {
        let by_batch = &names.by_batch[row.batch as usize];
        for property in batches[row.batch as usize].get(row.row as usize).properties() {
            let property_name = by_batch[property.name_index()];
            let code = interners[property_name as usize].code(&property.value());
            cells.push((property_name, code));
        }
        cells_ends.push(cells.len() as u32);
    }

    let mut order: Vec<(u32, u32, i64, u32)> = rows
        .iter()
        .enumerate()
        .map(|(index, row)| {
            let event = batches[row.batch as usize].get(row.row as usize).event_index();
            (names.by_batch[row.batch as usize][event], row.user, row.time, index as u32)
        })
        .collect();
    order.sort_unstable();

    let mut writer = SegmentWriter::new(sink, kind)?;
    // By name: the property's place in the segment, and what its interned codes become.
    let mut properties: Vec<Option<(u32, Recode)>> = Vec::with_capacity(names.sorted.len());
    let mut property_count = 0;
    for (name, interner) in names.sorted.iter().zip(&interners) {
        if interner.values.is_empty() {
            properties.push(None);
            continue;
        }
        let recode = interner.finish();
        match &recode {
            Recode::Codes(_) => {
                let mut sorted: Vec<&Value> = interner.values.iter().collect();
                sorted.sort_unstable();
                writer.coded_property(name, &sorted, None)?;
            }
            Recode::Numbers { exponent, .. } => writer.number_property(name, *exponent),
        }
        properties.push(Some((property_count, recode)));
        property_count += 1;
    }

    let mut activity = Vec::new();
    for rows_of_event in order.chunk_by(|a, b| a.0 == b.0) {
        let mut group =
            GroupData { name: names.sorted[rows_of_event[0].0 as usize].to_owned(), ..GroupData::default() };
        let row_count = rows_of_event.len();
        let has_ids =
            rows_of_event.iter().any(|(.., row)| event_of(batches, &rows[*row as usize]).id().is_some());
        // By name: the column of the property in this group.
        let mut columns: HashMap<u32, ColumnData> = HashMap::new();
        for (place, (_, user, time, row)) in rows_of_event.iter().enumerate() {
            group.users.push(*user);
            group.times.push(*time);
            let source = &rows[*row as usize];
            group.accounts.push(source.account);
            if has_ids {
                group.ids.push(event_of(batches, source).id().unwrap_or("").as_bytes());
                group.arrivals.push(source.arrival);
            }
            let cells_of_row = cells_ends[*row as usize] as usize..cells_ends[*row as usize + 1] as usize;
            for (name, code) in &cells[cells_of_row] {
                let (_, recode) = properties[*name as usize].as_ref().expect("it has a value");
                let column = columns.entry(*name).or_insert_with(|| recode.empty_column(row_count));
                recode.put(*code, place, column);
            }
            if kind == RowKind::Events {
                activity.push(activity_key(*user, time.div_euclid(DAY_MS) as i32));
            }
        }
        let place_of = |name: u32| properties[name as usize].as_ref().expect("it has a value").0;
        group.columns = columns.into_iter().map(|(name, column)| (place_of(name), column)).collect();
        group.columns.sort_unstable_by_key(|(property, _)| *property);
        writer.group(&group)?;
    }
    activity.sort_unstable();
    activity.dedup();
    writer.finish(&activity)
}

fn event_of<'b>(batches: &[&'b EventBatch], row: &BatchRow) -> crate::model::EventRef<'b> {
    batches[row.batch as usize].get(row.row as usize)
}

/// The names of all batches, sorted, and each batch's numbering of them.
struct Names<'b> {
    sorted: Vec<&'b str>,
    by_batch: Vec<Vec<u32>>,
}

impl<'b> Names<'b> {
    fn of(batches: &[&'b EventBatch]) -> Names<'b> {
        let mut sorted: Vec<&str> = batches.iter().flat_map(|batch| batch.names()).collect();
        sorted.sort_unstable();
        sorted.dedup();
        let place = |name: &str| sorted.binary_search(&name).expect("every name is there") as u32;
        let by_batch = batches.iter().map(|batch| batch.names().map(place).collect()).collect();
        Names { sorted, by_batch }
    }
}

/// Distinct values of one property, numbered in order of first use.
#[derive(Default)]
struct Interner {
    by_value: HashTable<u32>,
    values: Vec<Value>,
}

impl Interner {
    fn code(&mut self, cell: &CellRef<'_>) -> u32 {
        let hash = hash_of_cell(cell);
        if let Some(code) = self.by_value.find(hash, |code| cell_is(cell, &self.values[*code as usize])) {
            return *code;
        }
        let code = self.values.len() as u32;
        self.values.push(cell.to_value());
        let values = &self.values;
        self.by_value
            .insert_unique(hash, code, |other| hash_of_cell(&CellRef::from(&values[*other as usize])));
        code
    }

    fn finish(&self) -> Recode {
        if let Some(exponent) = number_exponent(&mut self.values.iter()) {
            let mantissa = |value: &Value| mantissa_at(value, exponent).expect("the exponent suits all");
            return Recode::Numbers { exponent, mantissas: self.values.iter().map(mantissa).collect() };
        }
        let mut sorted: Vec<u32> = (0..self.values.len() as u32).collect();
        sorted.sort_unstable_by(|a, b| self.values[*a as usize].cmp(&self.values[*b as usize]));
        let mut codes = vec![0; sorted.len()];
        for (rank, code) in sorted.into_iter().enumerate() {
            codes[code as usize] = rank as u32 + 1;
        }
        Recode::Codes(codes)
    }
}

/// What interned codes become in a segment.
enum Recode {
    Codes(Vec<u32>),
    Numbers { exponent: i32, mantissas: Vec<i64> },
}

impl Recode {
    fn empty_column(&self, row_count: usize) -> ColumnData {
        match self {
            Recode::Codes(_) => ColumnData::Codes(vec![0; row_count]),
            Recode::Numbers { .. } => ColumnData::Numbers(vec![None; row_count]),
        }
    }

    fn put(&self, code: u32, place: usize, column: &mut ColumnData) {
        match (self, column) {
            (Recode::Codes(codes), ColumnData::Codes(column)) => column[place] = codes[code as usize],
            (Recode::Numbers { mantissas, .. }, ColumnData::Numbers(column)) => {
                column[place] = Some(mantissas[code as usize]);
            }
            _ => unreachable!("the column was made by this property"),
        }
    }
}

/// The exponent at which all values are whole numbers of 62 bits, if they are many and all numbers.
pub(super) fn number_exponent(values: &mut dyn ExactSizeIterator<Item = &Value>) -> Option<i32> {
    if values.len() <= CODED_NUMBER_COUNT_MAX {
        return None;
    }
    let (mut least, mut digits_max) = (0, 0);
    for value in values {
        let number = value.as_number()?;
        least = least.min(number.exponent());
        let digits = number.mantissa().unsigned_abs().checked_ilog10().unwrap_or(0) as i32;
        digits_max = digits_max.max(digits + number.exponent());
    }
    // 18 digits are below 2^60.
    (digits_max - least < 18).then_some(least)
}

/// A number's mantissa at an exponent, if the value is a number that has one of 62 bits.
pub(super) fn mantissa_at(value: &Value, exponent: i32) -> Option<i64> {
    let mantissa = i64::try_from(value.as_number()?.mantissa_at(exponent)?).ok()?;
    (mantissa.unsigned_abs() < 1 << 62).then_some(mantissa)
}

fn hash_of_cell(cell: &CellRef<'_>) -> u64 {
    match cell {
        CellRef::Text(text) => hash(&(1_u8, text)),
        CellRef::Number(number) => hash(&(2_u8, number)),
        CellRef::Bool(truth) => hash(&(3_u8, truth)),
        CellRef::List(elements) => {
            hash(&elements.iter().fold(4_u64, |all, element| hash(&(all, hash_of_cell(element)))))
        }
    }
}

fn hash(value: &impl std::hash::Hash) -> u64 {
    FixedState::default().hash_one(value)
}

fn cell_is(cell: &CellRef<'_>, value: &Value) -> bool {
    match (cell, value) {
        (CellRef::Text(a), Value::String(b)) => a == b,
        (CellRef::Number(a), Value::Number(b)) => a == b,
        (CellRef::Bool(a), Value::Bool(b)) => a == b,
        (CellRef::List(a), Value::List(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| cell_is(a, b))
        }
        _ => false,
    }
}
