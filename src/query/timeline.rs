//! One user: profile, ids, and events, newest first.

use hashbrown::HashMap;

use crate::Store;
use crate::api::{Json, Problem};
use crate::limits::TIMELINE_EVENT_COUNT_MAX;
use crate::model::{Entity, TimeMs, Value};
use crate::segment::RowKind;
use crate::store::{FullRow, Snapshot, profile_cells, rows_of};

use super::format_instant;

impl Store {
    /// The body of `GET /v1/users/{user}`: the newest `limit` events before `before` (epoch milliseconds).
    ///
    /// `None` if the user has neither an event nor a profile.
    pub fn user(&self, user: &str, limit: usize, before: Option<TimeMs>) -> Result<Option<Json>, Problem> {
        self.read(|snapshot| told_user(snapshot, user, limit, before))
    }
}

fn told_user(
    snapshot: &Snapshot<'_>,
    user: &str,
    limit: usize,
    before: Option<TimeMs>,
) -> Result<Option<Json>, Problem> {
    let Some(ordinal) = snapshot.find(Entity::User, user) else { return Ok(None) };
    let cells = profile_cells(snapshot.segments.iter(), RowKind::UserProfiles, ordinal)?;
    let mut events: Vec<(TimeMs, String, FullRow)> = Vec::new();
    let (mut count, mut first, mut last) = (0_u64, None, None);
    for rows in rows_of(snapshot.segments.iter(), RowKind::Events, ordinal)? {
        let expired_count = rows.times()?.partition_point(|time| *time < snapshot.expired_before);
        let rows = rows.slice(expired_count..rows.rows.len());
        let times = rows.times()?;
        count += times.len() as u64;
        first = first.into_iter().chain(times.first().copied()).min();
        last = last.into_iter().chain(times.last().copied()).max();
        // Times rise: what is before the page's end, and of that the newest.
        let end = before.map_or(times.len(), |before| times.partition_point(|time| *time < before));
        let start = page_start(&times[..end], limit);
        let page = rows.slice(start..end);
        events.extend(page.read()?.into_iter().map(|row| (row.time, rows.group.name().to_owned(), row)));
    }
    if count == 0 && cells.is_empty() {
        return Ok(None);
    }
    events.sort_by(|(time_a, name_a, row_a), (time_b, name_b, row_b)| {
        time_b.cmp(time_a).then_with(|| name_a.cmp(name_b)).then_with(|| row_a.id.cmp(&row_b.id))
    });
    // Events of the last moment come whole: a page ends between moments, so that the next one misses none.
    if let Some((last, ..)) = events.get(limit.saturating_sub(1)) {
        let last = *last;
        events.retain(|(time, ..)| *time >= last);
    }
    let account = |row: &FullRow| {
        let ordinal = row.account.checked_sub(1)?;
        snapshot.name(Entity::Account, ordinal)
    };
    let told = |(time, name, row)| event_json(time, name, ("account", account(&row)), row);
    let events = events.into_iter().map(told).collect();
    let text = |text: String| Json::String(text);
    let name = snapshot.name(Entity::User, ordinal).unwrap_or_else(|| user.to_owned());
    let ids = snapshot.ids_of_user(ordinal).into_iter().map(text).collect();
    let instant = |time: Option<TimeMs>| time.map_or(Json::Null, |time| text(instant(time)));
    Ok(Some(Json::Object(vec![
        ("user".to_owned(), text(name)),
        ("ids".to_owned(), Json::Array(ids)),
        ("profile".to_owned(), profile_json(&cells)),
        ("event_count".to_owned(), Json::Number((count as i64).into())),
        ("first_seen".to_owned(), instant(first)),
        ("last_seen".to_owned(), instant(last)),
        ("events".to_owned(), Json::Array(events)),
    ])))
}

/// Where a page of the newest `limit` of rising times begins: with all events of its first moment, up to as many as a page
/// may have at the most.
fn page_start(times: &[TimeMs], limit: usize) -> usize {
    let start = times.len().saturating_sub(limit);
    let first = times.get(start).map_or(0, |first| times.partition_point(|time| time < first));
    first.max(times.len().saturating_sub(limit.max(TIMELINE_EVENT_COUNT_MAX)))
}

/// A moment in UTC.
pub(super) fn instant(time: TimeMs) -> String {
    format_instant(time, &jiff::tz::TimeZone::UTC)
}

/// The properties of a profile that are there, by name.
pub(super) fn profile_json(cells: &HashMap<String, (TimeMs, Option<Value>)>) -> Json {
    let set = cells.iter().filter_map(|(name, (_, value))| Some((name.clone(), json_of(value.as_ref()?))));
    let mut profile: Vec<(String, Json)> = set.collect();
    profile.sort_by(|(a, _), (b, _)| a.cmp(b));
    Json::Object(profile)
}

/// An event of a timeline. `other` is whom it tells beside the one whose timeline it is: `user` or `account`.
pub(super) fn event_json(
    time: TimeMs,
    name: String,
    (other, id): (&str, Option<String>),
    row: FullRow,
) -> Json {
    let mut fields =
        vec![("event".to_owned(), Json::String(name)), ("time".to_owned(), Json::String(instant(time)))];
    if !row.id.is_empty() {
        fields.push(("id".to_owned(), Json::String(String::from_utf8_lossy(&row.id).into_owned())));
    }
    fields.extend(id.map(|id| (other.to_owned(), Json::String(id))));
    let properties = row.properties.iter().map(|(name, value)| (name.clone(), json_of(value))).collect();
    fields.push(("properties".to_owned(), Json::Object(properties)));
    Json::Object(fields)
}

/// A property's value as JSON.
pub(super) fn json_of(value: &Value) -> Json {
    match value {
        Value::Number(number) => Json::Number(*number),
        Value::String(text) => Json::String(text.clone()),
        Value::Bool(truth) => Json::Bool(*truth),
        Value::List(elements) => Json::Array(elements.iter().map(json_of).collect()),
    }
}
