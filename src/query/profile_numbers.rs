//! Numbers in the profiles of a task's users.

use hashbrown::HashMap;

use super::Task;
use super::scan::{CellPlace, profile_cells};
use super::selection::{number, unknown_code};
use crate::api::Problem;
use crate::model::{Number, Value};

/// The number that each user of a task has under a property of its profile.
pub(super) fn profile_numbers(task: &Task<'_>, property: &str) -> Result<Vec<Option<Number>>, Problem> {
    let scan = task.scan();
    let kind = task.profile_kind();
    let mut by_segment: HashMap<u32, Vec<Option<Number>>> = HashMap::new();
    for (index, live) in scan.segments(kind) {
        let Some(place) = live.segment.property(property) else { continue };
        let Some(values) = live.segment.values(place)? else { continue };
        let values = values.values().map_err(|error| live.segment.wrap(error))?;
        by_segment.insert(index, values.iter().map(Value::as_number).collect());
    }
    let cells = profile_cells(scan, kind, property, task.ordinals())?;
    let number_of = |cell: CellPlace| match cell {
        CellPlace::Missing => Ok(None),
        CellPlace::Number { mantissa, exponent } => Ok(number(mantissa, exponent)?.as_number()),
        CellPlace::Code { segment, code } => {
            let numbers = by_segment.get(&segment).and_then(|numbers| numbers.get(code as usize - 1));
            numbers.copied().ok_or_else(|| unknown_code(scan, segment))
        }
    };
    cells.into_iter().map(number_of).collect()
}
