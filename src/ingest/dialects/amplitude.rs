//! Amplitude's HTTP API V2 and batch upload, and its identify calls.

use super::answer::{Answer, number, object, string};
use super::call::Call;
use super::flat::Flat;
use super::mixpanel::{additions, values};
use super::writes::{Draft, Dropped, ListChange, ProfileChange, Reader, account_of, text, time};
use crate::api::{Json, Problem};
use crate::ingest::event::missing;
use crate::ingest::fault::Fault;
use crate::model::{ProfileWrite, Value};

/// Reads events. One that is wrong fails them all: the SDK leaves out those that the answer names and sends the rest.
pub(super) fn read_events(call: &Call, reader: &mut Reader<'_>) -> Result<Answer, Problem> {
    let now = reader.now;
    if matches!(call.document, Json::Null)
        || (call.document.get("api_key").is_some() && call.document.get("events").is_none())
    {
        let fields = [
            ("code", number(400)),
            ("error", string("Request missing required field")),
            ("missing_field", string("events")),
        ];
        return Ok(Answer::json(400, &object(fields)));
    }
    reader.each(call.items("events"), "insert_id", read_event);
    let writes = &mut reader.writes;
    if !writes.dropped.is_empty() {
        let dropped = std::mem::take(&mut writes.dropped);
        *writes = super::Writes { item_count: writes.item_count, ..super::Writes::default() };
        return Ok(bad_events(&dropped));
    }
    let fields = [
        ("code", number(200)),
        ("events_ingested", number(writes.item_count)),
        ("payload_size_bytes", number(call.body_size)),
        ("server_upload_time", Json::Number(now.into())),
    ];
    Ok(Answer::json(200, &object(fields)))
}

fn bad_events(dropped: &[Dropped]) -> Answer {
    let by_field = |is_missing: bool| {
        let mut fields: Vec<(String, Json)> = Vec::new();
        for dropped in dropped.iter().filter(|dropped| dropped.is_missing == is_missing) {
            let index = number(dropped.index);
            let name = if dropped.field.is_empty() { "event" } else { &dropped.field };
            match fields.iter_mut().find(|(field, _)| field == name) {
                Some((_, Json::Array(indexes))) => indexes.push(index),
                _ => fields.push((name.to_owned(), Json::Array(vec![index]))),
            }
        }
        Json::Object(fields)
    };
    let fields = [
        ("code", number(400)),
        ("error", string(format!("Request has missing or invalid fields: {}", dropped[0].reason))),
        ("events_with_invalid_fields", by_field(false)),
        ("events_with_missing_fields", by_field(true)),
        ("silenced_events", Json::Array(Vec::new())),
        ("silenced_devices", Json::Array(Vec::new())),
    ];
    Answer::json(400, &object(fields))
}

/// Reads what `POST /identify` carries, a form with a JSON list in it.
pub(super) fn read_users(call: &Call, reader: &mut Reader<'_>) -> Result<Answer, Problem> {
    read_identifications(call, reader, |reader, item| {
        let (user, _) = who(item)?;
        operations(item.get("user_properties"), None)
            .into_iter()
            .try_for_each(|change| reader.change_user(&user, change))
    })
}

/// Reads what `POST /groupidentify` carries, a form with a JSON list in it.
pub(super) fn read_accounts(call: &Call, reader: &mut Reader<'_>) -> Result<Answer, Problem> {
    read_identifications(call, reader, |reader, item| {
        let account = text(item.get("group_value")).ok_or_else(|| missing("group_value"))?;
        operations(item.get("group_properties"), None)
            .into_iter()
            .try_for_each(|change| reader.change_account(&account, change))
    })
}

fn read_identifications(
    call: &Call,
    reader: &mut Reader<'_>,
    read: impl FnMut(&mut Reader<'_>, &Json) -> Result<(), Fault>,
) -> Result<Answer, Problem> {
    reader.each(call.items("identification"), "", read);
    match reader.writes.dropped.first() {
        Some(first) => Err(Problem::invalid(first.reason.clone())),
        None => Ok(Answer::json(200, &object([("code", number(200))]))),
    }
}

/// The user's id and whether it is only the device's.
fn who(item: &Json) -> Result<(String, bool), Fault> {
    let (known, device) = (text(item.get("user_id")), text(item.get("device_id")));
    match (known, device) {
        (Some(known), _) => Ok((known.into_owned(), false)),
        (None, Some(device)) => Ok((device.into_owned(), true)),
        (None, None) => Err(missing("user_id")),
    }
}

/// Reads an event as it is sent, or exported with its fields renamed.
pub(super) fn read_event(reader: &mut Reader<'_>, item: &Json) -> Result<(), Fault> {
    let event = text(item.get("event_type")).ok_or_else(|| missing("event_type"))?;
    let id = text(item.get("insert_id")).or_else(|| text(item.get("$insert_id")));
    let groups = item.get("groups");
    if event == "$groupidentify" {
        let account = account_of(groups).ok_or_else(|| missing("groups"))?;
        return operations(item.get("group_properties"), id.as_deref())
            .into_iter()
            .try_for_each(|change| reader.change_account(&account, change));
    }
    let (user, is_device) = who(item)?;
    if let (false, Some(device)) = (is_device, text(item.get("device_id"))) {
        reader.recognise(&device, &user)?;
    }
    for change in operations(item.get("user_properties"), id.as_deref()) {
        reader.change_user(&user, change)?;
    }
    if event == "$identify" {
        return Ok(());
    }
    let when = time("time", item.get("time"))?;
    let mut properties = Flat::object(item.get("event_properties"));
    if let Json::Object(fields) = item {
        for (name, value) in fields.iter().filter(|(name, _)| !is_envelope(name)) {
            properties.put_missing(name, value);
        }
    }
    let account = account_of(groups);
    let (id, account) = (id.as_deref(), account.as_deref());
    reader.event(Draft { event: &event, user: &user, time: when, id, account, properties })
}

/// Fields of an event that are not properties of it.
fn is_envelope(name: &str) -> bool {
    matches!(
        name,
        "event_type"
            | "user_id"
            | "time"
            | "insert_id"
            | "$insert_id"
            | "event_properties"
            | "user_properties"
            | "group_properties"
    )
}

/// What `user_properties` or `group_properties` ask for: operations, or plain values to set. Each operation is a
/// change of its own, in the order in which Amplitude applies them.
fn operations(json: Option<&Json>, id: Option<&str>) -> Vec<ProfileChange> {
    let Some(Json::Object(fields)) = json else { return Vec::new() };
    let mut change = ProfileChange::default();
    let mut plain = Flat::default();
    for (name, value) in fields {
        let lists: Option<fn(Vec<Value>) -> ListChange> = match name.as_str() {
            "$append" => Some(ListChange::Append),
            "$prepend" => Some(ListChange::Prepend),
            "$preInsert" => Some(ListChange::PrependMissing),
            "$postInsert" => Some(ListChange::Union),
            "$remove" => Some(ListChange::Remove),
            _ => None,
        };
        match (name.as_str(), lists, value) {
            (_, Some(list), Json::Object(fields)) => {
                change.lists.extend(fields.iter().map(|(name, json)| (name.clone(), list(values(json)))));
            }
            ("$clearAll", ..) => change.clears = true,
            ("$set", ..) => plain.put_all(Some(value), |_| true),
            ("$setOnce", ..) => change.write.set_once = Flat::object(Some(value)).into_profile().0,
            ("$add", ..) => change.write.add = additions(Some(value)),
            ("$unset", _, Json::Object(names)) => {
                change.write.unset.extend(names.iter().map(|(name, _)| name.clone()));
            }
            _ => plain.put(name, value),
        }
    }
    let (set, unset) = plain.into_profile();
    change.write = ProfileWrite { set, ..change.write };
    change.write.unset.extend(unset);
    // Repeating the others changes nothing.
    let counts = !change.write.add.is_empty() || !change.lists.is_empty();
    change.once = id.filter(|_| counts).map(str::to_owned);
    vec![change]
}
