//! Single users in segments: their rows, the events they make up, and whether an event is there already.

use hashbrown::HashMap;
use roaring::RoaringBitmap;

use super::view::LiveSegment;
use crate::model::{Number, TimeMs, Value};
use crate::segment::{Column, Damage, Group, RowKind, Segment, ValueDictionary};

/// The rows of one user in one group.
#[derive(Clone, Debug)]
pub struct UserRows<'a> {
    pub group: Group<'a>,
    pub rows: std::ops::Range<usize>,
}

/// All live rows of a user (or account, of account profiles) in segments of a kind.
pub fn rows_of<'a>(
    segments: impl Iterator<Item = &'a LiveSegment>,
    kind: RowKind,
    user: u32,
) -> Result<Vec<UserRows<'a>>, Damage> {
    let mut found = Vec::new();
    for live in segments {
        if live.segment.kind() != kind || live.dead.contains(user) {
            continue;
        }
        for group in live.segment.groups() {
            let rows = rows_in(group, user)?;
            if !rows.is_empty() {
                found.push(UserRows { group, rows });
            }
        }
    }
    Ok(found)
}

fn rows_in(group: Group<'_>, user: u32) -> Result<std::ops::Range<usize>, Damage> {
    let meta = group.meta();
    if user < meta.user_min || user > meta.user_max {
        return Ok(0..0);
    }
    Ok(group.user_rows(&group.users()?, user, u64::from(user) + 1))
}

/// A row, read whole.
#[derive(Clone, Debug, PartialEq)]
pub struct FullRow {
    pub time: TimeMs,
    /// One more than the account's ordinal, 0 for none.
    pub account: u32,
    /// Empty for none.
    pub id: Vec<u8>,
    pub arrival: u64,
    pub properties: Vec<(String, Value)>,
}

impl UserRows<'_> {
    /// The times of the rows, rising.
    pub fn times(&self) -> Result<Vec<TimeMs>, Damage> {
        let mut relative = Vec::new();
        self.group.times()?.read(self.rows.clone(), &mut relative);
        Ok(relative.into_iter().map(|time| self.group.meta().time_min.wrapping_add(time as i64)).collect())
    }

    /// Some of the rows, by their places among them.
    pub fn slice(&self, places: std::ops::Range<usize>) -> Self {
        UserRows { group: self.group, rows: self.rows.start + places.start..self.rows.start + places.end }
    }

    /// Reads the rows, in order of time.
    pub fn read(&self) -> Result<Vec<FullRow>, Damage> {
        let group = &self.group;
        let segment = group.segment();
        let (times, accounts) = (group.times()?, group.accounts()?);
        let (ids, arrivals) = (group.ids()?, group.arrivals()?);
        let mut columns = Vec::new();
        for property in group.column_properties() {
            let name = segment.property_name(property);
            let column = group.column(property)?.expect("the group has it");
            columns.push((name, column, segment.values(property)?));
        }
        let mut found = Vec::with_capacity(self.rows.len());
        for row in self.rows.clone() {
            let mut properties = Vec::new();
            for (name, column, values) in &columns {
                if let Some(value) = value_at(segment, column, values.as_ref(), row)? {
                    properties.push(((*name).to_owned(), value));
                }
            }
            let id = ids.map_or(Ok(&[][..]), |ids| ids.get(row)).map_err(|error| segment.wrap(error))?;
            found.push(FullRow {
                time: group.meta().time_min.wrapping_add(times.get(row) as i64),
                account: accounts.map_or(0, |accounts| accounts.get(row) as u32),
                id: id.to_vec(),
                arrival: arrivals.map_or(0, |arrivals| arrivals.get(row)),
                properties,
            });
        }
        Ok(found)
    }
}

/// The value of a column in a row. `values` are those of the column's property, where it is kept as codes.
fn value_at(
    segment: &Segment,
    column: &Column<'_>,
    values: Option<&ValueDictionary<'_>>,
    row: usize,
) -> Result<Option<Value>, Damage> {
    match column {
        Column::Codes { codes, .. } => segment.value(values.expect("codes have values"), codes.get(row)),
        Column::Numbers { exponent, mantissa_min, mantissas, presence, .. } => {
            if presence.is_some_and(|presence| presence.get(row) == 0) {
                return Ok(None);
            }
            let mantissa = mantissa_min.wrapping_add(mantissas.get(row) as i64);
            let what = "a number is out of range";
            let error = crate::format::DecodeError::Malformed { structure: "column of numbers", what };
            let number = Number::new(i128::from(mantissa), *exponent).map_err(|_| segment.wrap(error))?;
            Ok(Some(number.into()))
        }
    }
}

/// The current values of a profile, each with the number of its write; `None` where it was unset.
///
/// The later write of each property holds.
pub fn profile_cells<'a>(
    segments: impl Iterator<Item = &'a LiveSegment>,
    kind: RowKind,
    ordinal: u32,
) -> Result<HashMap<String, (TimeMs, Option<Value>)>, Damage> {
    debug_assert!(kind != RowKind::Events);
    let mut cells: HashMap<String, (TimeMs, Option<Value>)> = HashMap::new();
    for rows in rows_of(segments, kind, ordinal)? {
        for row in rows.read()? {
            let value = row.properties.into_iter().next().map(|(_, value)| value);
            let cell = cells.entry(rows.group.name().to_owned()).or_insert((TimeMs::MIN, None));
            if row.time > cell.0 {
                *cell = (row.time, value);
            }
        }
    }
    Ok(cells)
}

/// The number of arrival of an event with this name, user, time and id, if a segment has one.
pub fn find_event<'a>(
    segments: impl Iterator<Item = (&'a Segment, &'a RoaringBitmap)>,
    event: &str,
    user: u32,
    time: TimeMs,
    id: &[u8],
) -> Result<Option<u64>, Damage> {
    for (segment, dead) in segments {
        let Some(group) = segment.group(event) else { continue };
        let meta = group.meta();
        let may_be_there = (meta.time_min..=meta.time_max).contains(&time) && !dead.contains(user);
        let Some(ids) = (if may_be_there { group.ids()? } else { None }) else { continue };
        let (times, mut rows) = (group.times()?, rows_in(group, user)?);
        let relative = (time - meta.time_min) as u64;
        // Times rise within a user's rows: search for the first of this time.
        let (mut low, mut high) = (rows.start, rows.end);
        while low < high {
            let middle = low.midpoint(high);
            if times.get(middle) < relative { low = middle + 1 } else { high = middle }
        }
        rows.start = low;
        for row in rows {
            if times.get(row) != relative {
                break;
            }
            if ids.get(row).map_err(|error| segment.wrap(error))? == id {
                return Ok(Some(group.arrivals()?.map_or(0, |arrivals| arrivals.get(row))));
            }
        }
    }
    Ok(None)
}
