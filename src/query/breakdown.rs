//! What to split by, under one numbering for the whole snapshot: the values of a property, or cohorts.

use std::sync::Arc;

use hashbrown::HashMap;

use super::scan::{CellPlace, Scan, cell_at, profile_cells};
use super::selection::{UserFilter, number, unknown_code};
use super::{Binder, Codes, NULL_CODE, Rows, Task, key_user};
use crate::api::{Breakdown, BreakdownSource, On, Problem};
use crate::format::IntColumn;
use crate::limits::BREAKDOWN_VALUE_COUNT_MAX;
use crate::model::{Entity, Value};
use crate::segment::{Column, Group, RowKind};

/// Something to split by, and the names of its rows in a snapshot.
#[derive(Clone, Debug)]
pub struct BreakdownPlan {
    labels: Vec<Value>,
    source: PlanSource,
}

#[derive(Clone, Debug)]
enum PlanSource {
    Property(PropertyPlan),
    /// By code.
    Cohorts(Vec<Arc<UserFilter>>),
}

/// A property, and the codes of the values that it has.
#[derive(Clone, Debug)]
struct PropertyPlan {
    property: String,
    on: On,
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
    pub fn new(breakdown: &Breakdown, binder: &mut Binder<'_>) -> Result<BreakdownPlan, Problem> {
        match &breakdown.source {
            BreakdownSource::Property(property) => {
                let (plan, labels) = PropertyPlan::new(property, breakdown.on, binder.scan())?;
                Ok(BreakdownPlan { labels, source: PlanSource::Property(plan) })
            }
            BreakdownSource::Cohorts(cohorts) => {
                let labels = cohorts.iter().map(|(name, _)| Value::from(name.as_str())).collect();
                let filters = cohorts.iter().map(|(_, cohort)| binder.cohort_filter(cohort));
                let filters = filters.collect::<Result<_, _>>()?;
                Ok(BreakdownPlan { labels, source: PlanSource::Cohorts(filters) })
            }
        }
    }

    /// The value of each code. No two are equal; they are in no particular order.
    pub fn labels(&self) -> &[Value] {
        &self.labels
    }

    /// The codes of each row: of cohorts those that the row's user belongs to, which may be none.
    pub(super) fn codes(&self, task: &Task<'_>, rows: &Rows) -> Result<Codes, Problem> {
        match &self.source {
            PlanSource::Property(plan) => plan.codes(task, rows),
            PlanSource::Cohorts(filters) => codes_of_cohorts(filters, task, rows),
        }
    }
}

fn codes_of_cohorts(filters: &[Arc<UserFilter>], task: &Task<'_>, rows: &Rows) -> Result<Codes, Problem> {
    let sets = filters.iter().map(|filter| task.users_of(filter)).collect::<Result<Vec<_>, _>>()?;
    let mut codes = Vec::with_capacity(rows.keys.len());
    let mut offsets = Vec::with_capacity(rows.keys.len() + 1);
    offsets.push(0);
    for key in &rows.keys {
        let user = key_user(*key);
        codes.extend((0..).zip(&sets).filter(|(_, set)| set.contains(user)).map(|(code, _)| code));
        offsets.push(codes.len() as u32);
    }
    Ok(Codes::lists(codes, offsets))
}

impl PropertyPlan {
    /// The property in a snapshot, and its values by code.
    fn new(property: &str, on: On, scan: &Scan<'_>) -> Result<(PropertyPlan, Vec<Value>), Problem> {
        let kind = match on {
            On::Event => RowKind::Events,
            On::User => RowKind::UserProfiles,
            On::Account => RowKind::AccountProfiles,
        };
        let mut labels = Labels::default();
        let mut by_segment = HashMap::new();
        for (index, live) in scan.segments(kind) {
            let Some(place) = live.segment.property(property) else { continue };
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
            profile_cells(scan, kind, property, 0..count)
        };
        let mut plan = PropertyPlan {
            property: property.to_owned(),
            on,
            by_segment,
            by_account: Vec::new(),
            by_user: Vec::new(),
        };
        match on {
            On::Account => {
                plan.by_account =
                    std::iter::once(CellPlace::Missing).chain(profiles(Entity::Account)?).collect();
            }
            On::User if scan.entity() == Entity::Account => plan.by_user = profiles(Entity::User)?,
            On::User | On::Event => {}
        }
        Ok((plan, labels.labels))
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

    fn codes(&self, task: &Task<'_>, rows: &Rows) -> Result<Codes, Problem> {
        debug_assert_eq!(rows.refs.len(), rows.keys.len(), "a breakdown needs to know where rows are");
        let scan = task.scan();
        // Whom the task has, if their own profiles are meant.
        let of_task = self.on == On::User && scan.entity() == Entity::User;
        let of_task = match of_task {
            true => Some(profile_cells(scan, RowKind::UserProfiles, &self.property, task.ordinals())?),
            false => None,
        };
        let mut codes = Vec::with_capacity(rows.keys.len());
        let mut offsets: Option<Vec<u32>> = None;
        let mut columns: HashMap<(u32, u32), Source<'_>> = HashMap::new();
        for (index, (key, row)) in rows.keys.iter().zip(&rows.refs).enumerate() {
            let cell = match &of_task {
                Some(of_task) => of_task[usize::from(key_user(*key))],
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
        match self.on {
            On::Account => return Ok(group.accounts()?.map_or(Source::Absent, Source::Accounts)),
            On::User => return Ok(Source::Users(group.users()?)),
            On::Event => {}
        }
        let Some(place) = group.segment().property(&self.property) else {
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
