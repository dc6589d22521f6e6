//! PostHog's protocols: the server SDKs' `/batch/` and `/i/v1/…`, the browser's `/e/`, and those of older libraries.

use super::answer::{Answer, number, object, string, with_rejected};
use super::call::Call;
use super::flat::Flat;
use super::writes::{Draft, ProfileChange, Reader, account_of, text, time};
use crate::api::{Json, Problem};
use crate::ingest::event::missing;
use crate::ingest::fault::Fault;
use crate::model::{Number, ProfileWrite, TimeMs};

/// Reads one event, a list of them, or a batch.
pub(super) fn read(call: &Call, reader: &mut Reader<'_>) -> Result<Answer, Problem> {
    read_items(call, reader);
    let writes = &reader.writes;
    if let (Some(first), true) = (writes.dropped.first(), writes.dropped.len() == writes.item_count) {
        return Err(Problem::invalid(first.reason.clone()));
    }
    Ok(Answer::json(200, &with_rejected([("status", string("Ok"))], writes)))
}

/// Reads a batch whose events are each told what became of them.
pub(super) fn read_v1(call: &Call, reader: &mut Reader<'_>) -> Result<Answer, Problem> {
    read_items(call, reader);
    let dropped = &reader.writes.dropped;
    let result = |(index, item): (usize, &Json)| {
        let uuid = text(item.get("uuid"))?.into_owned();
        // They are in the order of their places.
        let result = match dropped.binary_search_by_key(&index, |dropped| dropped.index) {
            Err(_) => object([("result", string("ok"))]),
            Ok(at) => object([("result", string("drop")), ("details", string(&dropped[at].reason))]),
        };
        Some((uuid, result))
    };
    let results = call.items("batch").iter().enumerate().filter_map(result).collect();
    Ok(Answer::json(200, &object([("results", Json::Object(results))])))
}

/// Whether what came to an address that is Mixpanel's, too, is PostHog's: a key beside the event, or an event with more than
/// its name and its properties.
pub(super) fn is_own(document: &Json) -> bool {
    let first = match document {
        Json::Array(items) => items.first(),
        one => Some(one),
    };
    let has = |name: &str| first.is_some_and(|event| event.get(name).is_some());
    ["api_key", "uuid", "timestamp", "distinct_id"].into_iter().any(has)
}

fn read_items(call: &Call, reader: &mut Reader<'_>) {
    let sent_at = call.document.get("sent_at");
    let sent_at = time("sent_at", sent_at).ok().flatten();
    let sent_at = sent_at.or_else(|| {
        let at = Json::String(call.field("_")?.to_owned());
        time("_", Some(&at)).ok().flatten()
    });
    reader.each(call.items("batch"), "uuid", |reader, item| read_event(item, sent_at, reader));
}

/// Reads an event. `sent_at` is the client's clock when it sent the batch.
pub(super) fn read_event(item: &Json, sent_at: Option<TimeMs>, reader: &mut Reader<'_>) -> Result<(), Fault> {
    let properties = item.get("properties");
    let of_event = |name: &str| properties.and_then(|properties| properties.get(name));
    let event = text(item.get("event")).ok_or_else(|| missing("event"))?;
    let user = ["distinct_id", "$distinct_id"]
        .iter()
        .find_map(|name| text(item.get(name)).or_else(|| text(of_event(name))))
        .ok_or_else(|| missing("distinct_id"))?;
    match &*event {
        "$identify" => {
            if let Some(anonymous) = text(of_event("$anon_distinct_id")) {
                reader.recognise(&anonymous, &user)?;
            }
        }
        "$create_alias" | "$merge_dangerously" => {
            let into = text(of_event("distinct_id")).unwrap_or_else(|| user.clone());
            reader.merge(&text(of_event("alias")).ok_or_else(|| missing("alias"))?, &into)?;
        }
        "$groupidentify" => {
            let account = text(of_event("$group_key")).ok_or_else(|| missing("$group_key"))?;
            return reader.set_account(&account, Flat::object(of_event("$group_set")));
        }
        _ => {}
    }
    if of_event("$process_person_profile") != Some(&Json::Bool(false)) {
        reader.change_user(&user, profile_change(item, properties))?;
    }
    // What describes a user is not something that the user did.
    if matches!(
        &*event,
        "$identify" | "$create_alias" | "$merge_dangerously" | "$set" | "$set_once" | "$unset"
    ) {
        return Ok(());
    }

    let when = match time("timestamp", item.get("timestamp").or_else(|| of_event("timestamp")))? {
        Some(when) => Some(when),
        None => match (item.get("offset"), sent_at) {
            (Some(Json::Number(offset)), Some(sent_at)) => before(sent_at, *offset),
            _ => None,
        },
    };
    let mut kept = Flat::default();
    kept.put_all(properties, |name| !is_envelope(name));
    for (field, name) in [("session_id", "$session_id"), ("window_id", "$window_id")] {
        if let Some(value) = item.get(field) {
            kept.put_missing(name, value);
        }
    }
    let account = account_of(of_event("$groups"));
    let id = text(item.get("uuid")).or_else(|| text(of_event("$insert_id")));
    let (id, account) = (id.as_deref(), account.as_deref());
    reader.event(Draft { event: &event, user: &user, time: when, id, account, properties: kept })
}

/// Properties that are no properties of the event.
fn is_envelope(name: &str) -> bool {
    matches!(
        name,
        "token"
            | "distinct_id"
            | "$distinct_id"
            | "$set"
            | "$set_once"
            | "$unset"
            | "timestamp"
            | "$insert_id"
    )
}

/// What an event says of its user, beside the event or in its properties.
fn profile_change(item: &Json, properties: Option<&Json>) -> ProfileChange {
    // What stands beside the event holds where both say something.
    let parts = |name: &str| [properties.and_then(|properties| properties.get(name)), item.get(name)];
    let both = |name: &str| {
        let mut flat = Flat::default();
        parts(name).into_iter().for_each(|part| flat.put_all(part, |_| true));
        flat.into_profile()
    };
    let ((set, mut unset), (set_once, _)) = (both("$set"), both("$set_once"));
    for part in parts("$unset") {
        if let Some(Json::Array(names)) = part {
            unset.extend(names.iter().filter_map(|name| text(Some(name)).map(Into::into)));
        }
    }
    let write = ProfileWrite { set, set_once, unset, ..ProfileWrite::default() };
    ProfileChange { write, ..ProfileChange::default() }
}

/// The moment so many milliseconds before `sent_at`.
fn before(sent_at: TimeMs, offset: Number) -> Option<TimeMs> {
    crate::model::checked_time(sent_at - offset.to_f64() as i64)
}

/// No flags, in the words of every version of the protocol.
pub(super) fn flags() -> Answer {
    let body = object([
        ("flags", object([])),
        ("featureFlags", object([])),
        ("featureFlagPayloads", object([])),
        ("errorsWhileComputingFlags", Json::Bool(false)),
        ("quotaLimited", Json::Array(Vec::new())),
        ("requestId", string("00000000-0000-0000-0000-000000000000")),
        ("config", object([("enable_collect_everything", Json::Bool(false))])),
        ("supportedCompression", Json::Array(vec![string("gzip-js"), string("gzip")])),
        ("sessionRecording", Json::Bool(false)),
    ]);
    Answer::json(200, &body)
}

/// The same as a script, as which the browser's SDK asks for it first.
pub(super) fn config_script(call: &Call) -> Answer {
    let (key, config) = (string(&call.key), remote_config());
    let script = format!(
        "(window._POSTHOG_REMOTE_CONFIG = window._POSTHOG_REMOTE_CONFIG || {{}})[{key}] = {{config: {config}, siteApps: []}};\n"
    );
    Answer { status: 200, content_type: "text/javascript; charset=utf-8", body: script.into_bytes() }
}

/// What the browser's SDK may do.
pub(super) fn config() -> Answer {
    Answer::json(200, &remote_config())
}

/// Send events, and nothing of its own accord that is not kept here.
fn remote_config() -> Json {
    let off = || Json::Bool(false);
    object([
        ("supportedCompression", Json::Array(vec![string("gzip-js"), string("gzip")])),
        ("hasFeatureFlags", off()),
        ("sessionRecording", off()),
        ("surveys", off()),
        ("heatmaps", off()),
        ("capturePerformance", off()),
        ("captureDeadClicks", off()),
        ("autocaptureExceptions", off()),
        ("autocapture_opt_out", Json::Bool(true)),
        ("defaultIdentifiedOnly", Json::Bool(true)),
        ("siteApps", Json::Array(Vec::new())),
        ("analytics", object([("endpoint", string("/e/"))])),
        ("version", number(1)),
    ])
}
