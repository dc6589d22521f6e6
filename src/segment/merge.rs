//! Joins segments into one, and leaves out the rows of those who are gone.

use std::io::{self, Write};

use hashbrown::HashMap;
use roaring::RoaringBitmap;

use super::build::{mantissa_at, number_exponent};
use super::by_user::UserTable;
use super::group::{ColumnData, GroupData, Texts};
use super::merge_activity::{merged_account_activity, merged_activity};
use super::moments::anchors_of;
use super::reader::{Column, Damage, Group, Segment};
use super::writer::{SegmentWriter, write_groups};
use super::{PropertyEncoding, RowKind};
use crate::model::{Number, TimeMs, Value};

/// A segment to be joined, and what of it is gone.
#[derive(Clone, Copy, Debug)]
pub struct MergeSource<'a> {
    pub segment: &'a Segment,
    /// Ordinals whose rows in it are gone.
    pub dead: &'a RoaringBitmap,
    /// Earlier events are gone. Writes to profiles, whose times are numbers, stay.
    pub from: TimeMs,
}

impl MergeSource<'_> {
    /// Whether events of it are gone because of their time.
    pub fn loses_events(&self) -> bool {
        let first = self.segment.time_range().map(|(first, _)| first);
        self.segment.kind() == RowKind::Events && first.is_some_and(|first| first < self.from)
    }

    pub(super) fn loses_rows(&self) -> bool {
        !self.dead.is_empty() || self.loses_events()
    }
}

/// Why segments could not be joined.
#[derive(Debug, thiserror::Error)]
pub enum MergeError {
    #[error(transparent)]
    Damage(#[from] Damage),
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// How a segment is to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Quickly: for memory, and for what will soon be joined again.
    Quick,
    /// For queries: what is the same for a user is kept once, and the rest as it is read.
    Fast,
    /// In the fewest bytes: times are counted from moments of users, too, which take longer to find.
    Small,
}

/// Writes one segment with the live rows of the sources, which are of one kind.
///
/// Of profile writes only the latest of each user and property stays. Values that no row has any more are left out.
pub fn merge<W: Write>(
    kind: RowKind,
    sources: &[MergeSource<'_>],
    form: Form,
    sink: W,
) -> Result<W, MergeError> {
    debug_assert!(sources.iter().all(|source| source.segment.kind() == kind));
    let mut names: Vec<&str> =
        sources.iter().flat_map(|s| s.segment.groups().map(|group| group.name())).collect();
    names.sort_unstable();
    names.dedup();

    let properties = Properties::plan(kind, sources, &names)?;
    let mut writer = SegmentWriter::new(sink, kind)?;
    let span = match form {
        Form::Fast | Form::Small if kind == RowKind::Events => user_span(sources),
        _ => None,
    };
    let table = |row_count| span.and_then(|span| UserTable::for_rows(row_count, span));
    if span.is_some() {
        let anchors = if form == Form::Small { anchors_of(sources)? } else { None };
        writer.share(anchors, table(row_count_with_account(sources)));
    }
    for property in &properties.all {
        match &property.target {
            Target::Codes(values) => {
                let values: Vec<&Value> = values.iter().collect();
                let by_user = table(row_count_with(sources, &property.name));
                writer.coded_property(&property.name, &values, by_user)?
            }
            Target::Numbers { exponent } => writer.number_property(&property.name, *exponent),
        }
    }
    let groups = names.into_iter().map(|name| {
        let parts = Part::all(sources, name)?;
        let order = live_order(kind, &parts);
        merged_group(name, parts, order, &properties)
    });
    let row_count = sources.iter().map(|source| source.segment.row_count()).sum();
    write_groups(&mut writer, row_count, groups.map(|group| group.map_err(MergeError::from)))?;
    let (activity, account_activity) = match kind {
        RowKind::Events => (merged_activity(sources)?, merged_account_activity(sources)?),
        _ => Default::default(),
    };
    Ok(writer.finish(&activity, &account_activity)?)
}

/// The least and the largest user that the sources have rows of.
fn user_span(sources: &[MergeSource<'_>]) -> Option<(u32, u32)> {
    let groups = || sources.iter().flat_map(|source| source.segment.groups()).map(|group| group.meta());
    Some((groups().map(|meta| meta.user_min).min()?, groups().map(|meta| meta.user_max).max()?))
}

/// Rows of groups that have a property.
fn row_count_with(sources: &[MergeSource<'_>], property: &str) -> u64 {
    let of_source = |source: &MergeSource<'_>| {
        let place = source.segment.property(property)?;
        let groups = source.segment.groups().filter(|group| group.has_column(place));
        Some(groups.map(|group| group.meta().row_count).sum::<u64>())
    };
    sources.iter().filter_map(of_source).sum()
}

fn row_count_with_account(sources: &[MergeSource<'_>]) -> u64 {
    let groups = sources.iter().flat_map(|source| source.segment.groups());
    groups.filter(|group| group.has_accounts()).map(|group| group.meta().row_count).sum()
}

/// The rows of one event name in one source.
pub(super) struct Part<'a> {
    source: usize,
    pub dead: &'a RoaringBitmap,
    pub from: TimeMs,
    pub group: Group<'a>,
    pub users: Vec<u32>,
    times: Vec<u64>,
}

impl<'a> Part<'a> {
    pub fn all(sources: &[MergeSource<'a>], name: &str) -> Result<Vec<Part<'a>>, Damage> {
        let mut parts = Vec::new();
        for (source, MergeSource { segment, dead, from }) in sources.iter().enumerate() {
            let Some(group) = segment.group(name) else { continue };
            let (mut users, mut times) = (Vec::new(), Vec::new());
            group.users()?.read_u32(0..group.row_count(), &mut users);
            group.times()?.read(0..group.row_count(), &mut times);
            let from = if segment.kind() == RowKind::Events { *from } else { TimeMs::MIN };
            parts.push(Part { source, dead, from, group, users, times });
        }
        Ok(parts)
    }

    pub fn time(&self, row: usize) -> i64 {
        self.group.meta().time_min.wrapping_add(self.times[row] as i64)
    }
}

/// A row of a part.
#[derive(Clone, Copy)]
struct Place {
    user: u32,
    time: i64,
    part: u32,
    row: u32,
}

/// Where a row comes from.
#[derive(Clone, Copy)]
struct Source {
    part: u32,
    row: u32,
}

/// The rows that stay, in the order of a segment.
fn live_order(kind: RowKind, parts: &[Part<'_>]) -> Vec<Place> {
    let mut order = Vec::with_capacity(parts.iter().map(|part| part.users.len()).sum());
    for (index, part) in parts.iter().enumerate() {
        let mut last = None; // the previous row's user, and whether it is gone
        for (row, user) in part.users.iter().enumerate() {
            let is_dead = match last {
                Some((same, is_dead)) if same == *user => is_dead,
                _ => !part.dead.is_empty() && part.dead.contains(*user),
            };
            last = Some((*user, is_dead));
            let time = part.time(row);
            if !is_dead && time >= part.from {
                order.push(Place { user: *user, time, part: index as u32, row: row as u32 });
            }
        }
    }
    if parts.len() > 1 {
        // A stable sort finds the runs that the parts are, and merges them.
        order.sort_by_key(|place| (place.user, place.time));
    }
    if kind != RowKind::Events {
        let mut kept: Vec<Place> = Vec::with_capacity(order.len());
        for place in order {
            match kept.last_mut() {
                Some(last) if last.user == place.user => *last = place,
                _ => kept.push(place),
            }
        }
        order = kept;
    }
    order
}

/// What a property becomes, and how each source's values get there.
struct Property {
    name: String,
    target: Target,
    by_source: Vec<Recode>,
}

enum Target {
    Codes(Vec<Value>),
    Numbers { exponent: i32 },
}

/// From what a source holds to what the target holds.
enum Recode {
    /// The source does not have the property.
    Absent,
    CodesToCodes(Vec<u32>),
    CodesToNumbers(Vec<Option<i64>>),
    NumbersToCodes(HashMap<i64, u32>),
    /// Multiply by this power of ten.
    NumbersToNumbers(i64),
}

struct Properties {
    all: Vec<Property>,
}

/// The values of one property that are in use, for one source.
enum Used {
    Absent,
    /// By code − 1.
    Codes(Vec<bool>),
    /// Mantissas at the source's exponent. Filled only where they must become codes.
    Numbers {
        exponent: i32,
        mantissas: HashMap<i64, u32>,
    },
}

impl Properties {
    fn plan(kind: RowKind, sources: &[MergeSource<'_>], groups: &[&str]) -> Result<Properties, Damage> {
        let mut names: Vec<&str> = sources.iter().flat_map(|s| s.segment.properties()).collect();
        names.sort_unstable();
        names.dedup();
        let loses_rows = kind != RowKind::Events || sources.iter().any(MergeSource::loses_rows);

        let mut all = Vec::new();
        let mut used: Vec<Vec<Used>> = Vec::new();
        for name in &names {
            used.push(
                sources.iter().map(|s| Used::new(s.segment, name, !loses_rows)).collect::<Result<_, _>>()?,
            );
        }
        let must_list = |used: &[Used], name: &str| -> bool { joint_exponent(sources, used, name).is_none() };
        let listed: Vec<bool> = names.iter().zip(&used).map(|(name, used)| must_list(used, name)).collect();
        for group in groups {
            let has_numbers_to_list = used.iter().zip(&listed).any(|(by_source, listed)| {
                *listed && by_source.iter().any(|used| matches!(used, Used::Numbers { .. }))
            });
            if loses_rows || has_numbers_to_list {
                let parts = Part::all(sources, group)?;
                let order = live_order(kind, &parts);
                for ((name, used), listed) in names.iter().zip(&mut used).zip(&listed) {
                    if *listed {
                        mark_used(&parts, &order, name, used)?;
                    }
                }
            }
        }
        for (name, used) in names.iter().zip(used) {
            // The name of a property goes with the last row that has it.
            all.extend(match joint_exponent(sources, &used, name) {
                Some(_) if loses_rows && !has_number(kind, sources, groups, name)? => None,
                Some(exponent) => Some(numbers_property(name, exponent, &used)),
                None => listed_property(sources, name, used)?,
            });
        }
        Ok(Properties { all })
    }
}

impl Used {
    fn new(segment: &Segment, name: &str, all_codes: bool) -> Result<Used, Damage> {
        let Some(property) = segment.property(name) else { return Ok(Used::Absent) };
        Ok(match segment.property_encoding(property) {
            PropertyEncoding::Codes => {
                let count = segment.values(property)?.map_or(0, |values| values.len());
                Used::Codes(vec![all_codes; count])
            }
            PropertyEncoding::Numbers { exponent } => Used::Numbers { exponent, mantissas: HashMap::new() },
        })
    }
}

/// The exponent for a property that all sources hold as numbers, if one suits them all.
fn joint_exponent(sources: &[MergeSource<'_>], used: &[Used], name: &str) -> Option<i32> {
    let mut exponent = i32::MAX;
    for used in used {
        match used {
            Used::Absent => {}
            Used::Codes(_) => return None,
            Used::Numbers { exponent: own, .. } => exponent = exponent.min(*own),
        }
    }
    for (source, used) in sources.iter().zip(used) {
        let Used::Numbers { exponent: own, .. } = used else { continue };
        let property = source.segment.property(name)?;
        let factor = 10_i64.checked_pow((own - exponent) as u32)?;
        for column in
            source.segment.groups().flat_map(|g| &g.meta().columns).filter(|c| c.property == property)
        {
            let fits =
                |mantissa: i64| mantissa.checked_mul(factor).is_some_and(|m| m.unsigned_abs() < 1 << 62);
            if !fits(column.mantissa_min) || !fits(column.mantissa_max) {
                return None;
            }
        }
    }
    Some(exponent)
}

fn numbers_property(name: &str, exponent: i32, used: &[Used]) -> Property {
    let recode = |used: &Used| match used {
        Used::Numbers { exponent: own, .. } => Recode::NumbersToNumbers(10_i64.pow((own - exponent) as u32)),
        _ => Recode::Absent,
    };
    Property {
        name: name.to_owned(),
        target: Target::Numbers { exponent },
        by_source: used.iter().map(recode).collect(),
    }
}

/// Notes which values the live rows of a group have.
fn mark_used(parts: &[Part<'_>], order: &[Place], name: &str, used: &mut [Used]) -> Result<(), Damage> {
    for (index, part) in parts.iter().enumerate() {
        let Some(property) = part.group.segment().property(name) else { continue };
        let Some(column) = part.group.column(property)? else { continue };
        let rows = order.iter().filter(|place| place.part == index as u32).map(|place| place.row as usize);
        match (column, &mut used[part.source]) {
            (Column::Codes { codes, .. }, Used::Codes(used)) => {
                let mut all = Vec::new();
                codes.read_u32(0..codes.len(), &mut all);
                for code in rows.map(|row| all[row]).filter(|code| *code > 0) {
                    *used.get_mut(code as usize - 1).ok_or_else(|| unknown_code(part))? = true;
                }
            }
            (
                Column::Numbers { mantissa_min, mantissas, presence, .. },
                Used::Numbers { mantissas: used, .. },
            ) => {
                let numbers = read_numbers(mantissa_min, &mantissas, presence.as_ref());
                used.extend(rows.filter_map(|row| numbers[row]).map(|mantissa| (mantissa, 0)));
            }
            _ => unreachable!("a column is encoded as its property"),
        }
    }
    Ok(())
}

/// Whether a row that stays has a number under a property that is kept as numbers.
fn has_number(
    kind: RowKind,
    sources: &[MergeSource<'_>],
    groups: &[&str],
    name: &str,
) -> Result<bool, Damage> {
    for group in groups {
        let parts = Part::all(sources, group)?;
        let order = live_order(kind, &parts);
        for (index, part) in parts.iter().enumerate() {
            let Some(property) = part.group.segment().property(name) else { continue };
            let Some(Column::Numbers { presence, .. }) = part.group.column(property)? else { continue };
            let is_there = |row: u32| presence.is_none_or(|presence| presence.get(row as usize) != 0);
            if order.iter().any(|place| place.part == index as u32 && is_there(place.row)) {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

fn unknown_code(part: &Part<'_>) -> Damage {
    let what = "a code has no value";
    part.group.segment().wrap(crate::format::DecodeError::Malformed { structure: "column of codes", what })
}

/// A property whose values are listed; `None` if none is in use.
fn listed_property(
    sources: &[MergeSource<'_>],
    name: &str,
    mut used: Vec<Used>,
) -> Result<Option<Property>, Damage> {
    // Every value in use, with the source and the code or mantissa it has there.
    let mut found: Vec<(Value, u32, i64)> = Vec::new();
    for (index, (source, used)) in sources.iter().zip(&used).enumerate() {
        match used {
            Used::Absent => {}
            Used::Codes(used) => {
                let property = source.segment.property(name).expect("the source has it");
                let values = source.segment.values(property)?.expect("codes have values");
                let values = values.values().map_err(|error| source.segment.wrap(error))?;
                let in_use = values.into_iter().zip(used).enumerate().filter(|(_, (_, used))| **used);
                found.extend(in_use.map(|(place, (value, _))| (value, index as u32, place as i64)));
            }
            Used::Numbers { exponent, mantissas } => {
                let value = |mantissa: i64| {
                    Number::new(i128::from(mantissa), *exponent).expect("it was read from a number").into()
                };
                found.extend(mantissas.keys().map(|mantissa| (value(*mantissa), index as u32, *mantissa)));
            }
        }
    }
    found.sort_unstable();
    if found.is_empty() {
        return Ok(None);
    }

    let mut values: Vec<Value> = Vec::new();
    let mut code_tables: Vec<Vec<u32>> = used
        .iter()
        .map(|used| match used {
            Used::Codes(used) => vec![0; used.len() + 1],
            _ => Vec::new(),
        })
        .collect();
    for (value, source, place) in found {
        if values.last() != Some(&value) {
            values.push(value);
        }
        let code = values.len() as u32;
        match &mut used[source as usize] {
            Used::Codes(_) => code_tables[source as usize][place as usize + 1] = code,
            Used::Numbers { mantissas, .. } => *mantissas.get_mut(&place).expect("it was listed") = code,
            Used::Absent => unreachable!("an absent property has no values"),
        }
    }

    let exponent = number_exponent(&mut values.iter());
    // Numbers that were listed because sources hold them differently stay codes: only codes become numbers.
    let all_codes = used.iter().all(|used| !matches!(used, Used::Numbers { .. }));
    let exponent = exponent.filter(|_| all_codes);
    let by_source = used
        .into_iter()
        .zip(code_tables)
        .map(|(used, table)| match (used, exponent) {
            (Used::Absent, _) => Recode::Absent,
            (Used::Numbers { mantissas, .. }, _) => Recode::NumbersToCodes(mantissas),
            (Used::Codes(_), None) => Recode::CodesToCodes(table),
            (Used::Codes(_), Some(exponent)) => {
                let mantissa = |code: &u32| mantissa_at(&values[code.checked_sub(1)? as usize], exponent);
                Recode::CodesToNumbers(table.iter().map(mantissa).collect())
            }
        })
        .collect();
    let target = match exponent {
        Some(exponent) => Target::Numbers { exponent },
        None => Target::Codes(values),
    };
    Ok(Some(Property { name: name.to_owned(), target, by_source }))
}

fn read_numbers(
    mantissa_min: i64,
    mantissas: &crate::format::IntColumn<'_>,
    presence: Option<&crate::format::IntColumn<'_>>,
) -> Vec<Option<i64>> {
    let mut numbers = Vec::with_capacity(mantissas.len());
    mantissas.for_each_block(0..mantissas.len(), |block| {
        numbers.extend(block.iter().map(|value| Some(mantissa_min.wrapping_add(*value as i64))));
    });
    if let Some(presence) = presence {
        let mut row = 0;
        presence.for_each_block(0..presence.len(), |block| {
            for is_present in block {
                if *is_present == 0 {
                    numbers[row] = None;
                }
                row += 1;
            }
        });
    }
    numbers
}

fn merged_group(
    name: &str,
    mut parts: Vec<Part<'_>>,
    order: Vec<Place>,
    properties: &Properties,
) -> Result<GroupData, Damage> {
    let mut group = GroupData { name: name.to_owned(), ..GroupData::default() };
    group.users = order.iter().map(|place| place.user).collect();
    group.times = order.iter().map(|place| place.time).collect();
    // Of millions of rows, what is not needed any more is a third of all that is in memory.
    let order: Vec<Source> = order.into_iter().map(|Place { part, row, .. }| Source { part, row }).collect();
    for part in &mut parts {
        (part.users, part.times) = Default::default();
    }
    let (parts, order) = (&parts[..], &order[..]);

    let accounts: Vec<Option<Vec<u32>>> = parts
        .iter()
        .map(|part| {
            Ok(part.group.accounts()?.map(|column| {
                let mut accounts = Vec::new();
                column.read_u32(0..column.len(), &mut accounts);
                accounts
            }))
        })
        .collect::<Result<_, Damage>>()?;
    if accounts.iter().any(Option::is_some) {
        let account =
            |place: &Source| accounts[place.part as usize].as_ref().map_or(0, |a| a[place.row as usize]);
        group.accounts = order.iter().map(account).collect();
    }

    let ids: Vec<_> = parts.iter().map(|part| part.group.ids()).collect::<Result<_, _>>()?;
    if ids.iter().any(Option::is_some) {
        let arrivals: Vec<_> = parts.iter().map(|part| part.group.arrivals()).collect::<Result<_, _>>()?;
        let mut texts = Texts::default();
        for place in order {
            let (part, row) = (place.part as usize, place.row as usize);
            let id = ids[part].as_ref().map_or(Ok(&[][..]), |ids| ids.get(row));
            texts.push(id.map_err(|error| parts[part].group.segment().wrap(error))?);
            group.arrivals.push(arrivals[part].as_ref().map_or(0, |arrivals| arrivals.get(row)));
        }
        group.ids = texts;
    }

    for (index, property) in properties.all.iter().enumerate() {
        if let Some(column) = merged_column(property, parts, order)? {
            group.columns.push((index as u32, column));
        }
    }
    Ok(group)
}

/// The column of a property in the merged rows; `None` if no part has it.
fn merged_column(
    property: &Property,
    parts: &[Part<'_>],
    order: &[Source],
) -> Result<Option<ColumnData>, Damage> {
    let mut columns = Vec::with_capacity(parts.len());
    for part in parts {
        let column = match part.group.segment().property(&property.name) {
            Some(place) => part.group.column(place)?,
            None => None,
        };
        columns.push(column.map(|column| recoded(&column, &property.by_source[part.source])));
    }
    if columns.iter().all(Option::is_none) {
        return Ok(None);
    }
    let at = |place: &Source| (columns[place.part as usize].as_ref(), place.row as usize);
    Ok(Some(match &property.target {
        Target::Codes(_) => ColumnData::Codes(
            order
                .iter()
                .map(|place| match at(place) {
                    (Some(ColumnData::Codes(codes)), row) => codes[row],
                    _ => 0,
                })
                .collect(),
        ),
        Target::Numbers { .. } => ColumnData::Numbers(
            order
                .iter()
                .map(|place| match at(place) {
                    (Some(ColumnData::Numbers(numbers)), row) => numbers[row],
                    _ => None,
                })
                .collect(),
        ),
    }))
}

/// A whole column of a source, in what the target holds. Rows that are gone may hold anything.
fn recoded(column: &Column<'_>, recode: &Recode) -> ColumnData {
    match column {
        Column::Codes { codes, .. } => {
            let mut all = Vec::new();
            codes.read_u32(0..codes.len(), &mut all);
            match recode {
                Recode::CodesToCodes(table) => {
                    all.iter_mut().for_each(|code| *code = table.get(*code as usize).copied().unwrap_or(0));
                    ColumnData::Codes(all)
                }
                Recode::CodesToNumbers(table) => ColumnData::Numbers(
                    all.iter().map(|code| table.get(*code as usize).copied().flatten()).collect(),
                ),
                _ => unreachable!("the source holds codes"),
            }
        }
        Column::Numbers { mantissa_min, mantissas, presence, .. } => {
            let mut numbers = read_numbers(*mantissa_min, mantissas, presence.as_ref());
            match recode {
                Recode::NumbersToNumbers(factor) => {
                    numbers
                        .iter_mut()
                        .flatten()
                        .for_each(|mantissa| *mantissa = mantissa.wrapping_mul(*factor));
                    ColumnData::Numbers(numbers)
                }
                Recode::NumbersToCodes(table) => {
                    let code =
                        |mantissa: Option<i64>| mantissa.and_then(|m| table.get(&m)).copied().unwrap_or(0);
                    ColumnData::Codes(numbers.into_iter().map(code).collect())
                }
                _ => unreachable!("the source holds numbers"),
            }
        }
    }
}
