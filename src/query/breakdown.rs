//! The values of a property to split by, under one numbering for the whole snapshot.

use std::sync::Arc;

use hashbrown::HashMap;

use super::scan::{CellPlace, Scan, cell_at, profile_cells};
use super::selection::{number, unknown_code};
use super::{Codes, NULL_CODE, Rows, Task};
use crate::api::{Breakdown, On, Problem};
use crate::format::IntColumn;
use crate::limits::BREAKDOWN_VALUE_COUNT_MAX;
use crate::model::{Entity, Value};
use crate::segment::{Column, Group, RowKind};

/// A property to split by, and the values it has in a snapshot.
#[derive(Clone, Debug)]
pub struct BreakdownPlan {
    breakdown: Breakdown,
    labels: Vec<Value>,
    by_segment: HashMap<u32, Arc<SegmentCodes>>,
    /// For properties of accounts: by one more than the ordinal, 0 for none.
    by_account: Vec<CellPlace>,
    /// For properties of users where accounts are counted: by ordinal.
    by_user: Vec<CellPlace>,
}

/// From what a segment holds to codes of labels.
#[derive(Debug, Default)]
struct SegmentCodes {
    /// By code of the segment, less one: the labels of the value's elements.
    by_code: Vec<Elements>,
    /// By mantissa and exponent.
    by_number: HashMap<(i64, i32), u32>,
}

#[derive(Clone, Debug)]
enum Elements {
    One(u32),
    Many(Box<[u32]>),
}

impl Elements {
    fn as_slice(&self) -> &[u32] {
        match self {
            Elements::One(code) => std::slice::from_ref(code),
            Elements::Many(codes) => codes,
        }
    }
}

/// Numbers values in order of first meeting.
#[derive(Default)]
struct Labels {
    codes: HashMap<Value, u32>,
    labels: Vec<Value>,
}

impl Labels {
    fn code(&mut self, value: &Value) -> Result<u32, Problem> {
        if let Some(code) = self.codes.get(value) {
            return Ok(*code);
        }
        if self.labels.len() == BREAKDOWN_VALUE_COUNT_MAX {
            let detail =
                format!("the property of the breakdown has more than {BREAKDOWN_VALUE_COUNT_MAX} values");
            return Err(Problem::invalid(detail)
                .at("/breakdown")
                .hint("split by a property with fewer values"));
        }
        let code = self.labels.len() as u32;
        self.labels.push(value.clone());
        self.codes.insert(value.clone(), code);
        Ok(code)
    }

    fn elements(&mut self, value: &Value) -> Result<Elements, Problem> {
        if let Value::List(elements) = value {
            let mut codes =
                elements.iter().map(|element| self.code(element)).collect::<Result<Vec<_>, _>>()?;
            codes.sort_unstable();
            codes.dedup();
            return Ok(Elements::Many(if codes.is_empty() { [NULL_CODE].into() } else { codes.into() }));
        }
        Ok(Elements::One(self.code(value)?))
    }
}

impl BreakdownPlan {
    pub fn new(breakdown: &Breakdown, scan: &Scan<'_>) -> Result<BreakdownPlan, Problem> {
        let kind = match breakdown.on {
            On::Event => RowKind::Events,
            On::User => RowKind::UserProfiles,
            On::Account => RowKind::AccountProfiles,
        };
        let mut labels = Labels::default();
        let mut by_segment = HashMap::new();
        for (index, live) in scan.segments(kind) {
            let Some(place) = live.segment.property(&breakdown.property) else { continue };
            let mut codes = SegmentCodes::default();
            if let Some(values) = live.segment.values(place)? {
                let values = values.values().map_err(|error| live.segment.wrap(error))?;
                codes.by_code =
                    values.iter().map(|value| labels.elements(value)).collect::<Result<_, _>>()?;
            }
            for group in live.segment.groups() {
                add_numbers(group, place, &mut codes, &mut labels)?;
            }
            by_segment.insert(index, Arc::new(codes));
        }
        let profiles = |entity: Entity| {
            let count = scan.snapshot().ordinal_count(entity);
            profile_cells(scan, kind, &breakdown.property, 0..count)
        };
        let mut plan = BreakdownPlan {
            breakdown: breakdown.clone(),
            labels: labels.labels,
            by_segment,
            by_account: Vec::new(),
            by_user: Vec::new(),
        };
        match breakdown.on {
            On::Account => {
                plan.by_account =
                    std::iter::once(CellPlace::Missing).chain(profiles(Entity::Account)?).collect();
            }
            On::User if scan.entity() == Entity::Account => plan.by_user = profiles(Entity::User)?,
            On::User | On::Event => {}
        }
        Ok(plan)
    }

    /// The value of each code. No two are equal; they are in no particular order.
    pub fn labels(&self) -> &[Value] {
        &self.labels
    }

    fn codes_of(&self, scan: &Scan<'_>, cell: CellPlace) -> Result<&[u32], Problem> {
        Ok(match cell {
            CellPlace::Missing => &[NULL_CODE],
            CellPlace::Code { segment, code } => {
                let codes =
                    self.by_segment.get(&segment).and_then(|codes| codes.by_code.get(code as usize - 1));
                codes.ok_or_else(|| unknown_code(scan, segment))?.as_slice()
            }
            CellPlace::Number { mantissa, exponent } => {
                let known =
                    self.by_segment.values().find_map(|codes| codes.by_number.get(&(mantissa, exponent)));
                std::slice::from_ref(known.expect("all numbers of the columns were added"))
            }
        })
    }

    /// The codes of each row.
    pub(super) fn codes(&self, task: &Task<'_>, rows: &Rows) -> Result<Codes, Problem> {
        debug_assert_eq!(rows.refs.len(), rows.keys.len(), "a breakdown needs to know where rows are");
        let scan = task.scan();
        // Whom the task has, if their own profiles are meant.
        let of_task = self.breakdown.on == On::User && scan.entity() == Entity::User;
        let of_task = match of_task {
            true => {
                Some(profile_cells(scan, RowKind::UserProfiles, &self.breakdown.property, task.ordinals())?)
            }
            false => None,
        };
        let mut codes = Vec::with_capacity(rows.keys.len());
        let mut offsets: Option<Vec<u32>> = None;
        let mut columns: HashMap<(u32, u32), Source<'_>> = HashMap::new();
        for (index, (key, row)) in rows.keys.iter().zip(&rows.refs).enumerate() {
            let cell = match &of_task {
                Some(of_task) => of_task[usize::from(super::key_user(*key))],
                None => {
                    let place = (row.segment, row.group);
                    let source = match columns.get(&place) {
                        Some(source) => *source,
                        None => *columns
                            .entry(place)
                            .insert(self.source(scan.group(row.segment, row.group))?)
                            .get(),
                    };
                    match source {
                        Source::Absent => CellPlace::Missing,
                        Source::Column(column) => cell_at(&column, row.segment, row.row as usize),
                        Source::Accounts(accounts) => {
                            let account = accounts.get(row.row as usize) as usize;
                            self.by_account.get(account).copied().unwrap_or(CellPlace::Missing)
                        }
                        Source::Users(users) => {
                            let user = users.get(row.row as usize) as usize;
                            self.by_user.get(user).copied().unwrap_or(CellPlace::Missing)
                        }
                    }
                }
            };
            let of_row = self.codes_of(scan, cell)?;
            if of_row.len() != 1 && offsets.is_none() {
                offsets = Some((0..=index as u32).collect());
            }
            codes.extend_from_slice(of_row);
            if let Some(offsets) = &mut offsets {
                offsets.push(codes.len() as u32);
            }
        }
        Ok(match offsets {
            None => Codes::one_per_row(codes),
            Some(offsets) => Codes::lists(codes, offsets),
        })
    }

    fn source<'g>(&self, group: Group<'g>) -> Result<Source<'g>, Problem> {
        match self.breakdown.on {
            On::Account => return Ok(group.accounts()?.map_or(Source::Absent, Source::Accounts)),
            On::User => return Ok(Source::Users(group.users()?)),
            On::Event => {}
        }
        let Some(place) = group.segment().property(&self.breakdown.property) else {
            return Ok(Source::Absent);
        };
        Ok(group.column(place)?.map_or(Source::Absent, Source::Column))
    }
}

/// Where the rows of a group have their value.
#[derive(Clone, Copy)]
enum Source<'g> {
    Absent,
    Column(Column<'g>),
    Accounts(IntColumn<'g>),
    Users(IntColumn<'g>),
}

/// Gives labels to the distinct numbers of a column that holds no codes.
fn add_numbers(
    group: Group<'_>,
    place: u32,
    codes: &mut SegmentCodes,
    labels: &mut Labels,
) -> Result<(), Problem> {
    let Some(column @ Column::Numbers { .. }) = group.column(place)? else { return Ok(()) };
    for row in 0..group.row_count() {
        if let CellPlace::Number { mantissa, exponent } = cell_at(&column, 0, row)
            && !codes.by_number.contains_key(&(mantissa, exponent))
        {
            let code = labels.code(&number(mantissa, exponent)?)?;
            codes.by_number.insert((mantissa, exponent), code);
        }
    }
    Ok(())
}
