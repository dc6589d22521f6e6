//! What to split by, under one numbering for the whole snapshot: the values of a property, or cohorts.

use std::ops::Range;
use std::sync::Arc;

use hashbrown::{HashMap, hash_map};

use super::columns::{ColumnPart, GroupRows, Groups, Unpacked};
use super::neighbours::NeighbourSplit;
use super::scan::{CellPlace, Scan, cell_at, profile_cells};
use super::selection::{UserFilter, number, unknown_code};
use super::{Binder, Codes, NULL_CODE, Rows, Spread, Task, key_user};
use crate::api::{Breakdown, BreakdownSource, On, Problem};
use crate::format::ByUser;
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
    /// The codes of each list of several elements, ascending.
    lists: Vec<Box<[u32]>>,
    /// For properties of accounts: by one more than the ordinal, 0 for none.
    by_account: Vec<Entry>,
    /// For properties of users where accounts are counted: by ordinal.
    by_user: Vec<Entry>,
}

/// What a cell holds: the code of a label, [`NULL_CODE`], or with [`LIST_BIT`] the index of a list.
type Entry = u32;

const LIST_BIT: Entry = 1 << 31;
const _: () = assert!(BREAKDOWN_VALUE_COUNT_MAX < LIST_BIT as usize);

/// Numbers of a column that lie closer together than this are told apart by a table instead of by hashes.
const NUMBER_TABLE_SIZE_MAX: u64 = 1 << 20;

/// From what a segment holds to entries.
#[derive(Debug, Default)]
struct SegmentCodes {
    /// By code of the segment, the first of which stands for a missing value.
    by_code: Vec<Entry>,
    /// By mantissa and exponent.
    by_number: HashMap<(i64, i32), Entry>,
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

    fn entry(&mut self, value: &Value, lists: &mut Vec<Box<[u32]>>) -> Result<Entry, Problem> {
        let Value::List(elements) = value else { return self.code(value) };
        let mut codes = elements.iter().map(|element| self.code(element)).collect::<Result<Vec<_>, _>>()?;
        codes.sort_unstable();
        codes.dedup();
        Ok(match codes.as_slice() {
            [] => NULL_CODE,
            [code] => *code,
            _ => {
                lists.push(codes.into());
                LIST_BIT | (lists.len() as u32 - 1)
            }
        })
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

    /// Whether a row may have several codes, or none.
    pub fn has_lists(&self) -> bool {
        match &self.source {
            PlanSource::Property(plan) => !plan.lists.is_empty(),
            PlanSource::Cohorts(_) => true,
        }
    }

    /// The codes of each row: of cohorts those that the row's user belongs to, which may be none.
    pub(super) fn codes(&self, task: &Task<'_>, rows: &Rows) -> Result<Codes, Problem> {
        match &self.source {
            PlanSource::Property(plan) => plan.codes(task, rows),
            PlanSource::Cohorts(filters) => {
                codes_of_cohorts(filters, task, rows.keys.iter().map(|key| key_user(*key)))
            }
        }
    }

    /// The column that tells the code of each of neighbouring rows; `None` if none does, or a row may have several.
    pub(super) fn split_of_neighbours<'a>(
        &'a self,
        scan: &Scan<'a>,
        rows: &GroupRows,
    ) -> Result<Option<NeighbourSplit<'a>>, Problem> {
        let PlanSource::Property(plan) = &self.source else { return Ok(None) };
        if !plan.lists.is_empty() {
            return Ok(None);
        }
        let group = scan.group(rows.segment, rows.group);
        let (column, code_by_value) = match plan.on {
            On::Account => (group.accounts()?, plan.by_account.as_slice()),
            On::Event => {
                let place = group.segment().property(&plan.property);
                match place.map(|place| group.column(place)).transpose()?.flatten() {
                    None => (None, [].as_slice()),
                    Some(Column::Codes { codes, .. }) => {
                        let known = plan.by_segment.get(&rows.segment);
                        let known = known.expect("segments with the property were bound");
                        (Some(codes), known.by_code.as_slice())
                    }
                    Some(Column::Numbers { .. }) => return Ok(None),
                }
            }
            On::User => return Ok(None),
        };
        let (label_count, is_complete) = (self.labels.len(), plan.on == On::Event);
        Ok(Some(NeighbourSplit { column, code_by_value, label_count, is_complete }))
    }

    /// The codes of some of those whom the task has, by what they are themselves: their own profiles, or cohorts.
    pub(super) fn codes_of_users(&self, task: &Task<'_>, users: &[u16]) -> Result<Codes, Problem> {
        match &self.source {
            PlanSource::Property(plan) => plan.codes_of_users(task, users),
            PlanSource::Cohorts(filters) => codes_of_cohorts(filters, task, users.iter().copied()),
        }
    }
}

fn codes_of_cohorts(
    filters: &[Arc<UserFilter>],
    task: &Task<'_>,
    users: impl ExactSizeIterator<Item = u16>,
) -> Result<Codes, Problem> {
    let sets = filters.iter().map(|filter| task.users_of(filter)).collect::<Result<Vec<_>, _>>()?;
    let mut codes = Vec::with_capacity(users.len());
    let mut offsets = Vec::with_capacity(users.len() + 1);
    offsets.push(0);
    for user in users {
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
        let (mut by_segment, mut lists) = (HashMap::new(), Vec::new());
        for (index, live) in scan.segments(kind) {
            let Some(place) = live.segment.property(property) else { continue };
            let mut codes = SegmentCodes::default();
            if let Some(values) = live.segment.values(place)? {
                let values = values.values().map_err(|error| live.segment.wrap(error))?;
                let entries = values.iter().map(|value| labels.entry(value, &mut lists));
                codes.by_code = std::iter::once(Ok(NULL_CODE)).chain(entries).collect::<Result<_, _>>()?;
            } else {
                for group in live.segment.groups() {
                    add_numbers(group, place, &mut codes, &mut labels)?;
                }
            }
            by_segment.insert(index, Arc::new(codes));
        }
        let mut plan = PropertyPlan {
            property: property.to_owned(),
            on,
            by_segment,
            lists,
            by_account: Vec::new(),
            by_user: Vec::new(),
        };
        let profiles = |plan: &PropertyPlan, entity: Entity| -> Result<Vec<Entry>, Problem> {
            let count = scan.snapshot().ordinal_count(entity);
            plan.profile_entries(scan, kind, 0..count)
        };
        match on {
            On::Account => {
                let accounts = profiles(&plan, Entity::Account)?;
                plan.by_account = std::iter::once(NULL_CODE).chain(accounts).collect();
            }
            On::User if scan.entity() == Entity::Account => plan.by_user = profiles(&plan, Entity::User)?,
            On::User | On::Event => {}
        }
        Ok((plan, labels.labels))
    }

    fn profile_entries(
        &self,
        scan: &Scan<'_>,
        kind: RowKind,
        ordinals: Range<u32>,
    ) -> Result<Vec<Entry>, Problem> {
        let cells = profile_cells(scan, kind, &self.property, ordinals)?;
        cells.into_iter().map(|cell| self.entry_of(scan, cell)).collect()
    }

    fn entry_of(&self, scan: &Scan<'_>, cell: CellPlace) -> Result<Entry, Problem> {
        Ok(match cell {
            CellPlace::Missing => NULL_CODE,
            CellPlace::Code { segment, code } => {
                let codes = self.by_segment.get(&segment);
                let entry = codes.and_then(|codes| codes.by_code.get(code as usize));
                *entry.ok_or_else(|| unknown_code(scan, segment))?
            }
            CellPlace::Number { mantissa, exponent } => {
                let known =
                    self.by_segment.values().find_map(|codes| codes.by_number.get(&(mantissa, exponent)));
                *known.expect("all numbers of the columns were added")
            }
        })
    }

    /// The codes of each row.
    fn codes(&self, task: &Task<'_>, rows: &Rows) -> Result<Codes, Problem> {
        debug_assert_eq!(rows.refs.len(), rows.keys.len(), "a breakdown needs to know where rows are");
        let scan = task.scan();
        // Whom the task has, if their own profiles are meant.
        let is_of_task = self.on == On::User && scan.entity() == Entity::User;
        let entries = if is_of_task {
            let of_task = self.profile_entries(scan, RowKind::UserProfiles, task.ordinals())?;
            rows.keys.iter().map(|key| of_task[usize::from(key_user(*key))]).collect()
        } else {
            self.row_entries(task, rows)?
        };
        Ok(self.codes_of_entries(entries))
    }

    /// The codes of users of the task, or accounts, by their own profiles.
    fn codes_of_users(&self, task: &Task<'_>, users: &[u16]) -> Result<Codes, Problem> {
        let entries = match self.on {
            On::Account => {
                let entry = |user: &u16| {
                    entry_at(&self.by_account, u64::from(task.user_base() + u32::from(*user)) + 1)
                };
                users.iter().map(entry).collect()
            }
            On::User | On::Event => {
                debug_assert!(self.on == On::User, "users are not events");
                let of_task = self.profile_entries(task.scan(), RowKind::UserProfiles, task.ordinals())?;
                users.iter().map(|user| of_task[usize::from(*user)]).collect()
            }
        };
        Ok(self.codes_of_entries(entries))
    }

    fn codes_of_entries(&self, entries: Vec<Entry>) -> Codes {
        if self.lists.is_empty() {
            return Codes::one_per_row(entries);
        }
        let mut codes = Vec::with_capacity(entries.len());
        let mut offsets = Vec::with_capacity(entries.len() + 1);
        offsets.push(0);
        for entry in entries {
            if entry != NULL_CODE && entry & LIST_BIT != 0 {
                codes.extend_from_slice(&self.lists[(entry ^ LIST_BIT) as usize]);
            } else {
                codes.push(entry);
            }
            offsets.push(codes.len() as u32);
        }
        Codes::lists(codes, offsets)
    }

    /// The entry of each row, by a column of its group.
    fn row_entries(&self, task: &Task<'_>, rows: &Rows) -> Result<Vec<Entry>, Problem> {
        let scan = task.scan();
        let groups = Groups::of(rows);
        let mut sources = Vec::with_capacity(groups.groups.len());
        for of_group in &groups.groups {
            sources.push(self.source(task, of_group)?);
        }
        // Rows of one group, each of them and in order: its entries are theirs.
        if let ([of_group], [Source::Unpacked { .. }]) = (groups.groups.as_slice(), sources.as_slice())
            && of_group.rows.len() == rows.refs.len()
            && (rows.spread == Spread::GroupOrder || rows.refs.is_sorted_by_key(|row| row.row))
            && let Some(Source::Unpacked { entries, .. }) = sources.pop()
        {
            return Ok(entries);
        }
        let mut entries = Vec::with_capacity(rows.refs.len());
        groups.for_each_run(rows, |index, run| {
            let keys = &rows.keys[run.clone()];
            let run = &rows.refs[run];
            match &sources[index] {
                Source::ByUser(by_user) => {
                    entries.extend(
                        keys.iter().zip(run).map(|(key, row)| by_user.entry(key_user(*key), row.row)),
                    );
                }
                Source::Absent => entries.resize(entries.len() + run.len(), NULL_CODE),
                Source::Unpacked { first, entries: known } => {
                    entries.extend(run.iter().map(|row| known[row.row as usize - first]));
                }
                Source::Column(column) => {
                    for row in run {
                        let cell = cell_at(column, row.segment, row.row as usize);
                        entries.push(self.entry_of(scan, cell)?);
                    }
                }
                Source::Codes(codes, by_code) => {
                    for row in run {
                        let entry = by_code.get(codes.get(row.row) as usize);
                        entries.push(*entry.ok_or_else(|| unknown_code(scan, row.segment))?);
                    }
                }
                Source::Ordinals(ordinals, by_ordinal) => {
                    entries.extend(run.iter().map(|row| entry_at(by_ordinal, ordinals.get(row.row))));
                }
            }
            Ok(())
        })?;
        Ok(entries)
    }

    fn source<'a>(&'a self, task: &Task<'a>, of_group: &GroupRows) -> Result<Source<'a>, Problem> {
        let scan = task.scan();
        let group = scan.group(of_group.segment, of_group.group);
        let first = of_group.rows.start;
        let ordinals = match self.on {
            On::Account => match group.accounts()? {
                Some(accounts) => Some((accounts, self.by_account.as_slice())),
                None => return Ok(Source::Absent),
            },
            On::User => Some((group.users()?, self.by_user.as_slice())),
            On::Event => None,
        };
        if let Some((ordinals, by_ordinal)) = ordinals {
            let unpacked = of_group.unpack_with(ordinals, |ordinal| entry_at(by_ordinal, ordinal));
            return Ok(match unpacked {
                Some(entries) => Source::Unpacked { first, entries },
                None => {
                    let part = if self.on == On::Account { ColumnPart::Accounts } else { ColumnPart::Users };
                    Source::Ordinals(of_group.unpack(scan, part, ordinals)?, by_ordinal)
                }
            });
        }
        let Some(place) = group.segment().property(&self.property) else { return Ok(Source::Absent) };
        let Some(column) = group.column(place)? else { return Ok(Source::Absent) };
        let known = self.by_segment.get(&of_group.segment).expect("segments with the property were bound");
        let entries = match &column {
            Column::Codes { codes, .. } => {
                let mut is_known = true;
                if let (Some(by_user), Entity::User) = (codes.by_user(), scan.entity()) {
                    let entry = |code: u64| {
                        let entry = known.by_code.get(code as usize);
                        is_known &= entry.is_some();
                        entry.copied().unwrap_or(NULL_CODE)
                    };
                    let entries = UserEntries::new(by_user, task.ordinals(), of_group.rows.clone(), entry);
                    return if is_known {
                        Ok(Source::ByUser(entries))
                    } else {
                        Err(unknown_code(scan, of_group.segment))
                    };
                }
                let entries = of_group.unpack_with(*codes, |code| {
                    let entry = known.by_code.get(code as usize);
                    is_known &= entry.is_some();
                    entry.copied().unwrap_or(NULL_CODE)
                });
                if !is_known {
                    return Err(unknown_code(scan, of_group.segment));
                }
                if entries.is_none() {
                    let codes = of_group.unpack(scan, ColumnPart::Values(place), *codes)?;
                    return Ok(Source::Codes(codes, &known.by_code));
                }
                entries
            }
            Column::Numbers { exponent, mantissa_min, mantissas, presence, .. } => {
                let entry = |mantissa: u64| {
                    let number = (mantissa_min.wrapping_add(mantissa as i64), *exponent);
                    known.by_number.get(&number).copied().unwrap_or(NULL_CODE)
                };
                let mut entries = of_group.unpack_with(*mantissas, entry);
                if let (Some(entries), Some(presence)) = (&mut entries, presence) {
                    let presence = of_group.unpack(scan, ColumnPart::Presence(place), *presence)?;
                    for (entry, row) in entries.iter_mut().zip(first as u32..) {
                        *entry = if presence.get(row) == 0 { NULL_CODE } else { *entry };
                    }
                }
                entries
            }
        };
        Ok(match entries {
            Some(entries) => Source::Unpacked { first, entries },
            None => Source::Column(Box::new(column)),
        })
    }
}

/// The entry of an ordinal. One that came after the snapshot has no profile in it.
fn entry_at(by_ordinal: &[Entry], ordinal: u64) -> Entry {
    by_ordinal.get(ordinal as usize).copied().unwrap_or(NULL_CODE)
}

/// The entries of a task's users, and of the rows of a group that have others.
struct UserEntries {
    of_users: Vec<Entry>,
    first_row: usize,
    /// A bit for each row from the first on: whether it is among the others.
    has_own: Vec<u64>,
    /// Ascending.
    own: Vec<(u32, Entry)>,
}

impl UserEntries {
    fn new(
        by_user: &ByUser<'_>,
        users: Range<u32>,
        rows: Range<usize>,
        mut entry: impl FnMut(u64) -> Entry,
    ) -> UserEntries {
        let mut codes = Vec::with_capacity(users.len());
        by_user.read_table(users.start.into()..users.end.into(), &mut codes);
        let of_users = codes.into_iter().map(&mut entry).collect();
        let (mut has_own, mut own) = (vec![0; rows.len().div_ceil(64)], Vec::new());
        by_user.for_each_exception(rows.clone(), |row, code| {
            let at = row - rows.start;
            has_own[at / 64] |= 1 << (at % 64);
            own.push((row as u32, entry(code)));
        });
        UserEntries { of_users, first_row: rows.start, has_own, own }
    }

    #[inline]
    fn entry(&self, user: u16, row: u32) -> Entry {
        let at = row as usize - self.first_row;
        if self.has_own[at / 64] >> (at % 64) & 1 == 0 {
            return self.of_users[usize::from(user)];
        }
        let place = self.own.binary_search_by_key(&row, |(row, _)| *row).expect("the bits are of these rows");
        self.own[place].1
    }
}

/// Where the rows of a group have their value.
enum Source<'a> {
    Absent,
    ByUser(UserEntries),
    /// The entries of neighbouring rows.
    Unpacked {
        first: usize,
        entries: Vec<Entry>,
    },
    Column(Box<Column<'a>>),
    /// The codes of the rows, and the entries of all codes.
    Codes(Unpacked<'a>, &'a [Entry]),
    /// Whose property it is, and the entries of all of those.
    Ordinals(Unpacked<'a>, &'a [Entry]),
}

/// Gives labels to the distinct numbers of a column that holds no codes.
fn add_numbers(
    group: Group<'_>,
    place: u32,
    codes: &mut SegmentCodes,
    labels: &mut Labels,
) -> Result<(), Problem> {
    let column = group.column(place)?;
    let Some(Column::Numbers { exponent, mantissa_min, mantissa_max, mantissas, presence }) = column else {
        return Ok(());
    };
    let mut all = Vec::new();
    mantissas.read(0..group.row_count(), &mut all);
    if let Some(presence) = presence {
        let mut present = Vec::new();
        presence.read(0..group.row_count(), &mut present);
        let mut present = present.into_iter();
        all.retain(|_| present.next() != Some(0));
    }
    let width = mantissa_max.wrapping_sub(mantissa_min) as u64;
    if width < NUMBER_TABLE_SIZE_MAX {
        let mut is_there = vec![false; width as usize + 1];
        all.iter()
            .filter(|mantissa| **mantissa <= width)
            .for_each(|mantissa| is_there[*mantissa as usize] = true);
        all.retain(|mantissa| *mantissa > width);
        all.extend((0..=width).filter(|mantissa| is_there[*mantissa as usize]));
    }
    for mantissa in all {
        let mantissa = mantissa_min.wrapping_add(mantissa as i64);
        if let hash_map::Entry::Vacant(entry) = codes.by_number.entry((mantissa, exponent)) {
            entry.insert(labels.code(&number(mantissa, exponent)?)?);
        }
    }
    Ok(())
}
