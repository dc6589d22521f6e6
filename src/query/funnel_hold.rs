//! Held properties: which events of a task have the same value.

use hashbrown::HashMap;

use super::scan::{CellPlace, Scan, cell_at};
use super::selection::{number, unknown_code};
use super::{Rows, Task};
use crate::api::Problem;
use crate::model::Value;
use crate::segment::RowKind;

/// A property of events, with numbers for the values that it has in a snapshot.
#[derive(Debug)]
pub struct HeldProperty {
    property: String,
    ids: HashMap<Value, u32>,
    /// By segment, and code less one: the number of the value; `None` for an empty list, which is no value.
    by_segment: HashMap<u32, Vec<Option<u32>>>,
}

impl HeldProperty {
    pub fn new(property: &str, scan: &Scan<'_>) -> Result<HeldProperty, Problem> {
        let mut held =
            HeldProperty { property: property.to_owned(), ids: HashMap::new(), by_segment: HashMap::new() };
        for (index, live) in scan.segments(RowKind::Events) {
            let Some(place) = live.segment.property(property) else { continue };
            let Some(values) = live.segment.values(place)? else { continue };
            let values = values.values().map_err(|error| live.segment.wrap(error))?;
            let mut codes = Vec::with_capacity(values.len());
            for value in values {
                let is_empty = matches!(&value, Value::List(elements) if elements.is_empty());
                let next = held.ids.len() as u32;
                codes.push((!is_empty).then(|| *held.ids.entry(value).or_insert(next)));
            }
            held.by_segment.insert(index, codes);
        }
        Ok(held)
    }

    /// The number of each row's value, the same for the same value anywhere in the task. `None` if it is missing.
    pub fn ids(&self, task: &Task<'_>, rows: &Rows) -> Result<Vec<Option<u32>>, Problem> {
        let scan = task.scan();
        let mut columns = HashMap::new();
        // Numbers that columns hold themselves are met task by task.
        let mut more: HashMap<Value, u32> = HashMap::new();
        let mut ids = Vec::with_capacity(rows.refs.len());
        for row in &rows.refs {
            let place = (row.segment, row.group);
            let column = match columns.get(&place) {
                Some(column) => *column,
                None => {
                    let group = scan.group(row.segment, row.group);
                    let column = match group.segment().property(&self.property) {
                        Some(place) => group.column(place)?,
                        None => None,
                    };
                    columns.insert(place, column);
                    column
                }
            };
            let cell =
                column.map_or(CellPlace::Missing, |column| cell_at(&column, row.segment, row.row as usize));
            ids.push(match cell {
                CellPlace::Missing => None,
                CellPlace::Code { segment, code } => {
                    let codes = self.by_segment.get(&segment);
                    let id = codes.and_then(|codes| codes.get(code as usize - 1));
                    *id.ok_or_else(|| unknown_code(scan, segment))?
                }
                CellPlace::Number { mantissa, exponent } => {
                    let value = number(mantissa, exponent)?;
                    let next = (self.ids.len() + more.len()) as u32;
                    Some(match self.ids.get(&value) {
                        Some(id) => *id,
                        None => *more.entry(value).or_insert(next),
                    })
                }
            });
        }
        Ok(ids)
    }
}
