//! What is in the store: events and their properties.

use std::collections::{BTreeMap, BTreeSet};

use hashbrown::HashMap;

use super::scan::{CellPlace, cell_at};
use super::selection::number;
use super::timeline::{instant, json_of};
use crate::Store;
use crate::api::{Json, Problem};
use crate::limits::{SCHEMA_DISTINCT_VALUE_COUNT_MAX, SCHEMA_TOP_VALUE_COUNT};
use crate::model::{TimeMs, Value};
use crate::segment::{Group, RowKind};
use crate::store::{LiveSegment, Snapshot};

/// What is known of one event name, or of one property of profiles.
#[derive(Default)]
struct Found {
    count: u64,
    first: Option<TimeMs>,
    last: Option<TimeMs>,
    properties: BTreeMap<String, Property>,
}

#[derive(Default)]
struct Property {
    count: u64,
    types: BTreeSet<&'static str>,
    /// How often each value is there; `None` once there are too many to count.
    values: Option<HashMap<Value, u64>>,
}

impl Store {
    /// The body of `GET /v1/schema`: events and their properties with types, counts, first and last seen and top
    /// values; and the properties of profiles.
    pub fn schema(&self) -> Result<Json, Problem> {
        self.read(schema_of)
    }
}

fn schema_of(snapshot: &Snapshot<'_>) -> Result<Json, Problem> {
    let mut events: BTreeMap<String, Found> = BTreeMap::new();
    let mut profiles: [BTreeMap<String, Found>; 2] = Default::default();
    for live in &snapshot.segments {
        let of_kind = match live.segment.kind() {
            RowKind::Events => &mut events,
            RowKind::UserProfiles => &mut profiles[0],
            RowKind::AccountProfiles => &mut profiles[1],
        };
        for group in live.segment.groups() {
            let found = of_kind.entry(group.name().to_owned()).or_default();
            add_group(live, group, snapshot.expired_before, found)?;
        }
    }
    let events = events.into_iter().filter(|(_, found)| found.count > 0).map(|(name, found)| {
        let time = |time: Option<TimeMs>| time.map_or(Json::Null, |time| Json::String(instant(time)));
        Json::Object(vec![
            ("event".to_owned(), Json::String(name)),
            ("count".to_owned(), count_json(found.count)),
            ("first_seen".to_owned(), time(found.first)),
            ("last_seen".to_owned(), time(found.last)),
            ("properties".to_owned(), properties_json(found.properties)),
        ])
    });
    let events = events.collect();
    let [users, accounts] = profiles.map(|found| {
        let own = found
            .into_iter()
            .filter_map(|(name, mut found)| Some((name.clone(), found.properties.remove(&name)?)));
        properties_json(own.collect())
    });
    Ok(Json::Object(vec![
        ("events".to_owned(), Json::Array(events)),
        ("user_properties".to_owned(), users),
        ("account_properties".to_owned(), accounts),
    ]))
}

fn count_json(count: u64) -> Json {
    Json::Number((count as i64).into())
}

fn properties_json(properties: BTreeMap<String, Property>) -> Json {
    let property = |(name, property): (String, Property)| {
        let mut top: Vec<(Value, u64)> = property.values.into_iter().flatten().collect();
        top.sort_by(|(value_a, a), (value_b, b)| b.cmp(a).then_with(|| value_a.cmp(value_b)));
        top.truncate(SCHEMA_TOP_VALUE_COUNT);
        let top = top.into_iter().map(|(value, count)| {
            Json::Object(vec![("value".to_owned(), json_of(&value)), ("count".to_owned(), count_json(count))])
        });
        Json::Object(vec![
            ("property".to_owned(), Json::String(name)),
            (
                "types".to_owned(),
                Json::Array(property.types.into_iter().map(|t| Json::String(t.to_owned())).collect()),
            ),
            ("count".to_owned(), count_json(property.count)),
            ("top_values".to_owned(), Json::Array(top.collect())),
        ])
    };
    Json::Array(properties.into_iter().map(property).collect())
}

/// Adds the live rows of a group.
fn add_group(
    live: &LiveSegment,
    group: Group<'_>,
    expired_before: TimeMs,
    found: &mut Found,
) -> Result<(), Problem> {
    let mut is_alive = vec![true; group.row_count()];
    if !live.dead.is_empty() {
        let mut users = Vec::new();
        group.users()?.read_u32(0..group.row_count(), &mut users);
        is_alive = users.iter().map(|user| !live.dead.contains(*user)).collect();
    }
    if live.segment.kind() == RowKind::Events && group.meta().time_min < expired_before {
        let mut times = Vec::new();
        group.times()?.read(0..group.row_count(), &mut times);
        for (is_alive, time) in is_alive.iter_mut().zip(times) {
            *is_alive &= group.meta().time_min + time as i64 >= expired_before;
        }
    }
    let alive_count = is_alive.iter().filter(|alive| **alive).count();
    if alive_count == 0 {
        return Ok(());
    }
    found.count += alive_count as u64;
    let mut times = (group.meta().time_min, group.meta().time_max);
    if alive_count < is_alive.len() {
        let mut relative = Vec::new();
        group.times()?.read(0..group.row_count(), &mut relative);
        let alive = relative.iter().zip(&is_alive).filter(|(_, alive)| **alive);
        let alive: Vec<TimeMs> = alive.map(|(time, _)| group.meta().time_min + *time as i64).collect();
        times = (*alive.iter().min().expect("rows are alive"), *alive.iter().max().expect("rows are alive"));
    }
    found.first = found.first.into_iter().chain([times.0]).min();
    found.last = found.last.into_iter().chain([times.1]).max();
    for place in group.column_properties() {
        let name = group.segment().properties().nth(place as usize).expect("a column has a property");
        let property = found
            .properties
            .entry(name.to_owned())
            .or_insert_with(|| Property { values: Some(HashMap::new()), ..Property::default() });
        add_column(group, place, &is_alive, property)?;
    }
    Ok(())
}

fn add_column(
    group: Group<'_>,
    place: u32,
    is_alive: &[bool],
    property: &mut Property,
) -> Result<(), Problem> {
    let column = group.column(place)?.expect("the group has it");
    let values = group.segment().values(place)?;
    let mut by_code: Vec<u64> = vec![0; values.map_or(0, |values| values.len())];
    let mut by_number: HashMap<(i64, i32), u64> = HashMap::new();
    for row in (0..group.row_count()).filter(|row| is_alive[*row]) {
        match cell_at(&column, 0, row) {
            CellPlace::Missing => continue,
            CellPlace::Code { code, .. } => {
                let count = by_code.get_mut(code as usize - 1);
                *count.ok_or_else(|| {
                    let what = "a code has no value";
                    group
                        .segment()
                        .wrap(crate::format::DecodeError::Malformed { structure: "column of codes", what })
                })? += 1;
            }
            CellPlace::Number { mantissa, exponent } => {
                *by_number.entry((mantissa, exponent)).or_default() += 1;
            }
        }
        property.count += 1;
    }
    if !by_number.is_empty() {
        property.types.insert("number");
    }
    for ((mantissa, exponent), count) in by_number {
        count_value(property, number(mantissa, exponent)?, count);
    }
    for (index, count) in by_code.into_iter().enumerate().filter(|(_, count)| *count > 0) {
        let values = values.expect("codes have values");
        let value = values.get(index).map_err(|error| group.segment().wrap(error))?;
        property.types.insert(match value {
            Value::Number(_) => "number",
            Value::String(_) => "string",
            Value::Bool(_) => "boolean",
            Value::List(_) => "list",
        });
        count_value(property, value, count);
    }
    Ok(())
}

fn count_value(property: &mut Property, value: Value, count: u64) {
    if let Some(values) = &mut property.values {
        *values.entry(value).or_default() += count;
        if values.len() > SCHEMA_DISTINCT_VALUE_COUNT_MAX {
            property.values = None;
        }
    }
}
