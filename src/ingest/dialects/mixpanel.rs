//! Mixpanel's ingestion API: `/track`, `/import`, `/engage` and `/groups`.

use super::answer::{self, Answer};
use super::call::Call;
use super::flat::Flat;
use super::writes::{Draft, ListChange, ProfileChange, Reader, likely_account, text, time};
use crate::api::{Json, Problem};
use crate::ingest::event::missing;
use crate::ingest::fault::Fault;
use crate::model::{Number, ProfileWrite, Value};

/// Reads events, and what is said of identities among them.
pub(super) fn read_events(call: &Call, reader: &mut Reader<'_>) -> Result<Answer, Problem> {
    reader.each(call.items("data"), "", read_event);
    for dropped in &mut reader.writes.dropped {
        let properties = call.items("data")[dropped.index].get("properties");
        dropped.id = properties.and_then(|properties| text(properties.get("$insert_id"))).map(Into::into);
    }
    finish(call, reader)
}

/// Reads changes to profiles of users.
pub(super) fn read_users(call: &Call, reader: &mut Reader<'_>) -> Result<Answer, Problem> {
    reader.each(call.items("data"), "$distinct_id", |reader, item| {
        let user = ["$distinct_id", "distinct_id"].iter().find_map(|name| text(item.get(name)));
        let user = user.ok_or_else(|| missing("$distinct_id"))?;
        profile_changes(item).into_iter().try_for_each(|change| reader.change_user(&user, change))
    });
    finish(call, reader)
}

/// Reads changes to profiles of groups, whatever their kind.
pub(super) fn read_accounts(call: &Call, reader: &mut Reader<'_>) -> Result<Answer, Problem> {
    reader.each(call.items("data"), "$group_id", |reader, item| {
        let account = text(item.get("$group_id")).ok_or_else(|| missing("$group_id"))?;
        profile_changes(item).into_iter().try_for_each(|change| reader.change_account(&account, change))
    });
    finish(call, reader)
}

/// The answer, or why nothing of the request means anything.
fn finish(call: &Call, reader: &Reader<'_>) -> Result<Answer, Problem> {
    let (writes, form) = (&reader.writes, call.mixpanel_form());
    match writes.dropped.first() {
        // A list of records that failed says more.
        Some(first) if writes.dropped.len() == writes.item_count && form != answer::MixpanelForm::Import => {
            Err(Problem::invalid(first.reason.clone()))
        }
        _ => Ok(answer::mixpanel(form, writes)),
    }
}

/// Reads an event as it is tracked, imported or exported.
pub(super) fn read_event(reader: &mut Reader<'_>, item: &Json) -> Result<(), Fault> {
    let event = text(item.get("event")).ok_or_else(|| missing("event"))?;
    let properties = item.get("properties").ok_or_else(|| missing("properties"))?;
    let of_event = |name: &str| text(properties.get(name));
    match &*event {
        "$identify" => {
            let known = of_event("$identified_id").or_else(|| of_event("distinct_id"));
            let known = known.ok_or_else(|| missing("$identified_id"))?;
            // As the browser's SDK calls it, and as the API's reference does.
            let anonymous = of_event("$anon_distinct_id").or_else(|| of_event("$anon_id"));
            return reader.recognise(&anonymous.ok_or_else(|| missing("$anon_id"))?, &known);
        }
        "$create_alias" => {
            let original = of_event("distinct_id").ok_or_else(|| missing("distinct_id"))?;
            return reader.merge(&original, &of_event("alias").ok_or_else(|| missing("alias"))?);
        }
        "$merge" => {
            let Some(Json::Array(ids)) = properties.get("$distinct_ids") else {
                return Err(missing("$distinct_ids"));
            };
            let mut ids = ids.iter().filter_map(|id| text(Some(id)));
            let into = ids.next().ok_or_else(|| missing("$distinct_ids"))?;
            return ids.try_for_each(|from| reader.merge(&from, &into));
        }
        _ => {}
    }
    let (known, device) = (of_event("$user_id"), of_event("$device_id"));
    let user = known.clone().or_else(|| of_event("distinct_id"));
    let user = user.ok_or_else(|| missing("distinct_id"))?;
    if let (Some(known), Some(device)) = (&known, &device) {
        // What a browser calls itself as long as nobody has signed in.
        reader.recognise(&format!("$device:{device}"), known)?;
    }
    let when = time("time", properties.get("time"))?;
    let mut kept = Flat::default();
    kept.put_all(Some(properties), |name| !matches!(name, "token" | "distinct_id" | "time" | "$insert_id"));
    let (id, account) = (of_event("$insert_id"), likely_account(Some(properties)));
    let (id, account) = (id.as_deref(), account.as_deref());
    reader.event(Draft { event: &event, user: &user, time: when, id, account, properties: kept })
}

/// What an update of a profile asks for. Its operations are applied in a fixed order, as it has no order of its own.
fn profile_changes(item: &Json) -> Vec<ProfileChange> {
    let mut change = ProfileChange { clears: item.get("$delete").is_some(), ..ProfileChange::default() };
    let fields = |name: &str| match item.get(name) {
        Some(Json::Object(fields)) => fields.as_slice(),
        _ => &[],
    };
    let (set, mut unset) = Flat::object(item.get("$set")).into_profile();
    let (set_once, _) = Flat::object(item.get("$set_once")).into_profile();
    if let Some(Json::Array(names)) = item.get("$unset") {
        unset.extend(names.iter().filter_map(|name| text(Some(name)).map(Into::into)));
    }
    change.write = ProfileWrite { set, set_once, unset, add: additions(item.get("$add")), ..change.write };
    for (operation, list) in LIST_OPERATIONS {
        for (name, json) in fields(operation) {
            change.lists.push((name.clone(), list(values(json))));
        }
    }
    vec![change]
}

type MakeChange = fn(Vec<Value>) -> ListChange;
const LIST_OPERATIONS: [(&str, MakeChange); 3] =
    [("$append", ListChange::Append), ("$union", ListChange::Union), ("$remove", ListChange::Remove)];

/// The elements of a list, or the one value, as values of a list of ours.
pub(super) fn values(json: &Json) -> Vec<Value> {
    let mut flat = Flat::default();
    let list = match json {
        Json::Array(_) => json.clone(),
        one => Json::Array(vec![one.clone()]),
    };
    flat.put("list", &list);
    flat.into_profile().0.pop().map_or_else(Vec::new, |(_, value)| value.elements().to_vec())
}

/// Numbers to add, by property.
pub(super) fn additions(json: Option<&Json>) -> Vec<(String, Number)> {
    let (values, _) = Flat::object(json).into_profile();
    values.into_iter().filter_map(|(name, value)| Some((name, value.as_number()?))).collect()
}
