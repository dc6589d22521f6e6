//! Turns rows in order of arrival into a segment.

use std::hash::BuildHasher;
use std::io::{self, Write};

use foldhash::fast::FixedState;
use hashbrown::{HashMap, HashTable};

use super::by_user::UserTable;
use super::group::{ColumnData, GroupData, Texts};
use super::writer::{SegmentWriter, write_groups};
use super::{Form, RowKind, activity_key};
use crate::model::{CellRef, DAY_MS, EventBatch, PropertyRef, TextMemo, Value};

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

/// Writes a segment of these rows, in a form that needs no anchors.
///
/// `rows` name their batch by its place in `batches`. Of profiles, each row writes one property: the name of its
/// event.
pub fn build<W: Write>(
    kind: RowKind,
    batches: &[&EventBatch],
    rows: &[BatchRow],
    form: Form,
    sink: W,
) -> io::Result<W> {
    debug_assert!(form != Form::Small, "anchors are found when segments are joined");
    let names = Names::of(batches);
    let mut interners: Vec<Interner> = Vec::new();
    interners.resize_with(names.sorted.len(), Interner::new);
    let mut events: Vec<Option<EventRows>> = Vec::new();
    events.resize_with(names.sorted.len(), || None);
    for row in rows {
        let by_batch = &names.by_batch[row.batch as usize];
        let event = batches[row.batch as usize].get(row.row as usize);
        let of_event = events[by_batch[event.event_index()] as usize].get_or_insert_default();
        of_event.push(row, event.id());
        for property in event.properties() {
            let name = by_batch[property.name_index()];
            of_event.put(name, interners[name as usize].code(row.batch, property));
        }
    }

    let mut writer = SegmentWriter::new(sink, kind)?;
    let span = match form {
        Form::Fast if kind == RowKind::Events => user_span(rows),
        _ => None,
    };
    let table = |row_count| span.and_then(|span| UserTable::for_rows(row_count, span));
    let row_count_with = |has: &dyn Fn(&EventRows) -> bool| -> u64 {
        events.iter().flatten().filter(|event| has(event)).map(|event| event.keys.len() as u64).sum()
    };
    if span.is_some() {
        writer.share(None, table(row_count_with(&|event| event.has_accounts)));
    }
    // By name: the property's place in the segment, and what its interned codes become.
    let mut properties: Vec<Option<(u32, Recode)>> = Vec::with_capacity(names.sorted.len());
    let mut property_count = 0;
    for (index, (name, interner)) in names.sorted.iter().zip(&interners).enumerate() {
        if interner.values.is_empty() {
            properties.push(None);
            continue;
        }
        let recode = interner.finish();
        match &recode {
            Recode::Codes(_) => {
                let mut sorted: Vec<&Value> = interner.values.iter().collect();
                sorted.sort_unstable();
                let has_it = |event: &EventRows| event.places.contains_key(&(index as u32));
                writer.coded_property(name, &sorted, table(row_count_with(&has_it)))?;
            }
            Recode::Numbers { exponent, .. } => writer.number_property(name, *exponent),
        }
        properties.push(Some((property_count, recode)));
        property_count += 1;
    }

    let activity = |of: &dyn Fn(&BatchRow) -> Option<u32>| {
        let key = |row: &BatchRow| Some(activity_key(of(row)?, row.time.div_euclid(DAY_MS) as i32));
        let mut keys: Vec<u64> = rows.iter().filter_map(key).collect();
        // Neighbours in order of arrival are often of one user and day.
        keys.dedup();
        keys.sort_unstable();
        keys.dedup();
        keys
    };
    let (activity, account_activity) = match kind {
        RowKind::Events => (activity(&|row| Some(row.user)), activity(&|row| row.account.checked_sub(1))),
        _ => Default::default(),
    };
    let groups = names.sorted.iter().zip(events).filter_map(|(name, event)| {
        event.map(|event| Ok::<_, io::Error>(event.into_group((*name).to_owned(), &properties)))
    });
    write_groups(&mut writer, rows.len() as u64, groups)?;
    writer.finish(&activity, &account_activity)
}

/// The least and the largest user of rows.
fn user_span(rows: &[BatchRow]) -> Option<(u32, u32)> {
    let users = || rows.iter().map(|row| row.user);
    users().min().zip(users().max())
}

/// The rows of one event name, in order of arrival.
#[derive(Default)]
struct EventRows {
    /// The user and the time of each.
    keys: Vec<(u32, i64)>,
    accounts: Vec<u32>,
    has_accounts: bool,
    /// Of the rows up to the last that has one.
    ids: Texts,
    arrivals: Vec<u64>,
    /// Interned codes by property, one more than they are, of the rows up to the last that has one.
    columns: Vec<(u32, Vec<u32>)>,
    /// Where a property's column is.
    places: HashMap<u32, usize>,
    /// The column behind the one that was written last: most rows have their properties in one order.
    next_column: usize,
}

impl EventRows {
    fn push(&mut self, row: &BatchRow, id: Option<&str>) {
        if let Some(id) = id {
            self.ids.pad(self.keys.len());
            self.ids.push(id.as_bytes());
        }
        self.keys.push((row.user, row.time));
        self.accounts.push(row.account);
        self.has_accounts |= row.account != 0;
        self.arrivals.push(row.arrival);
        self.next_column = 0;
    }

    /// Gives the last row a value.
    fn put(&mut self, property: u32, code: u32) {
        let expected = self.columns.get(self.next_column).filter(|(known, _)| *known == property);
        let place = match expected {
            Some(_) => self.next_column,
            None => *self.places.entry(property).or_insert_with(|| {
                self.columns.push((property, Vec::new()));
                self.columns.len() - 1
            }),
        };
        let column = &mut self.columns[place].1;
        column.resize(self.keys.len() - 1, 0);
        column.push(code + 1);
        self.next_column = place + 1;
    }

    /// The rows by user and time, with the values that the segment holds.
    fn into_group(mut self, name: String, properties: &[Option<(u32, Recode)>]) -> GroupData {
        let row_count = self.keys.len();
        // Rows of one user and moment stay in order of arrival.
        let mut order: Vec<u128> =
            self.keys.iter().zip(0..).map(|((user, time), row)| sort_key(*user, *time, row)).collect();
        order.sort_unstable();
        let rows = || order.iter().map(|key| *key as u32 as usize);
        let mut group = GroupData { name, ..GroupData::default() };
        group.users = order.iter().map(|key| (key >> 96) as u32).collect();
        group.times = rows().map(|row| self.keys[row].1).collect();
        if self.has_accounts {
            group.accounts = rows().map(|row| self.accounts[row]).collect();
        }
        if !self.ids.is_empty() {
            self.ids.pad(row_count);
            rows().for_each(|row| group.ids.push(self.ids.get(row)));
            group.arrivals = rows().map(|row| self.arrivals[row]).collect();
        }
        for (property, mut codes) in self.columns {
            codes.resize(row_count, 0);
            let (place, recode) = properties[property as usize].as_ref().expect("it has a value");
            group.columns.push((*place, recode.column(rows().map(|row| codes[row].checked_sub(1)))));
        }
        group.columns.sort_unstable_by_key(|(property, _)| *property);
        group
    }
}

/// A row by user, time and place as one number: comparing it takes no branches, which nobody could foresee.
fn sort_key(user: u32, time: i64, row: u32) -> u128 {
    // Flipped, so that times before 1970 come first.
    let time = time as u64 ^ 1 << 63;
    u128::from(user) << 96 | u128::from(time) << 32 | u128::from(row)
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

/// Values of a property that are known by their place, as a power of two: as many as most properties have.
const KNOWN_BITS: u32 = 10;

/// Distinct values of one property, numbered in order of first use.
struct Interner {
    by_value: HashTable<u32>,
    values: Vec<Value>,
    /// Codes of texts that were looked up before.
    known: TextMemo,
}

impl Interner {
    fn new() -> Interner {
        Interner { by_value: HashTable::new(), values: Vec::new(), known: TextMemo::new(KNOWN_BITS) }
    }

    fn code(&mut self, batch: u32, property: PropertyRef<'_>) -> u32 {
        let Some(place) = property.text_place() else { return self.look_up(&property.value()) };
        if let Some(code) = self.known.get(batch, place) {
            return code;
        }
        let code = self.look_up(&property.value());
        self.known.put(batch, place, code);
        code
    }

    fn look_up(&mut self, cell: &CellRef<'_>) -> u32 {
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
    /// A column of the values of rows, by their interned codes.
    fn column(&self, codes: impl Iterator<Item = Option<u32>>) -> ColumnData {
        match self {
            Recode::Codes(ranks) => {
                ColumnData::Codes(codes.map(|code| code.map_or(0, |code| ranks[code as usize])).collect())
            }
            Recode::Numbers { mantissas, .. } => {
                ColumnData::Numbers(codes.map(|code| code.map(|code| mantissas[code as usize])).collect())
            }
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
