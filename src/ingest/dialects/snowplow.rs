//! Snowplow's tracker protocol (docs.snowplow.io, "Snowplow Tracker Protocol"): lists by POST, single events by GET.

use std::borrow::Cow;

use super::answer::{Answer, object};
use super::call::Call;
use super::flat::Flat;
use super::lenient;
use super::wire::decode_base64;
use super::writes::{Draft, Reader, text, time};
use crate::api::{Json, Problem};
use crate::ingest::event::missing;
use crate::ingest::fault::Fault;
use crate::limits::EVENT_SIZE_MAX;

/// Short names of the protocol that have a longer one here. The others keep theirs.
const LONG_NAMES: [(&str, &str); 24] = [
    ("url", "url"),
    ("page", "page_title"),
    ("refr", "referrer"),
    ("p", "platform"),
    ("aid", "app_id"),
    ("tv", "tracker_version"),
    ("tna", "tracker_name"),
    ("lang", "language"),
    ("tz", "timezone"),
    ("ua", "user_agent"),
    ("res", "screen_size"),
    ("vp", "viewport_size"),
    ("ds", "document_size"),
    ("cs", "charset"),
    ("ip", "ip"),
    ("sid", "session_id"),
    ("vid", "session_index"),
    ("se_ca", "category"),
    ("se_la", "label"),
    ("se_pr", "property"),
    ("se_va", "value"),
    ("tr_id", "transaction_id"),
    ("tr_tt", "total"),
    ("tr_cu", "currency"),
];

/// Reads the events of a POST.
pub(super) fn read_list(call: &Call, reader: &mut Reader<'_>) -> Result<Answer, Problem> {
    reader.each(call.items("data"), "eid", read_event);
    finish(reader, Answer::json(200, &object([])))
}

/// Reads the one event of an address.
pub(super) fn read_address(call: &Call, reader: &mut Reader<'_>) -> Result<Answer, Problem> {
    let fields = call.fields.iter().map(|(name, value)| (name.clone(), Json::String(value.clone())));
    reader.each(&[Json::Object(fields.collect())], "eid", read_event);
    finish(reader, Answer::pixel())
}

fn finish(reader: &Reader<'_>, answer: Answer) -> Result<Answer, Problem> {
    let writes = &reader.writes;
    match writes.dropped.first() {
        Some(first) if writes.dropped.len() == writes.item_count => {
            Err(Problem::invalid(first.reason.clone()))
        }
        _ => Ok(answer),
    }
}

fn read_event(reader: &mut Reader<'_>, item: &Json) -> Result<(), Fault> {
    let field = |name: &str| text(item.get(name));
    let known = field("uid");
    let anonymous = ["duid", "nuid", "tnuid"].iter().find_map(|name| field(name));
    let user = known.as_ref().or(anonymous.as_ref());
    let user = user.ok_or_else(|| Fault::new("the event has neither uid nor duid").at("uid"))?;
    if let (Some(known), Some(anonymous)) = (&known, &anonymous) {
        reader.recognise(anonymous, known)?;
    }
    let mut properties = Flat::default();
    let event: Cow<'_, str> = match &*field("e").ok_or_else(|| missing("e"))? {
        "pv" => "page_view".into(),
        "pp" => "page_ping".into(),
        "se" => field("se_ac").ok_or_else(|| missing("se_ac"))?,
        "tr" => "transaction".into(),
        "ti" => "transaction_item".into(),
        "ue" => {
            let envelope = document(item, "ue_pr", "ue_px")?.ok_or_else(|| missing("ue_pr"))?;
            let inner = envelope.get("data").ok_or_else(|| missing("data"))?;
            properties.put_all(inner.get("data"), |_| true);
            let schema = text(inner.get("schema")).ok_or_else(|| missing("schema"))?;
            schema_name(&schema).to_owned().into()
        }
        other => return Err(Fault::new(format!("there is no event of the type {other:?}")).at("e")),
    };
    if let Some(Json::Array(contexts)) = document(item, "co", "cx")?.as_ref().and_then(|all| all.get("data"))
    {
        for context in contexts {
            if let (Some(schema), Some(data)) = (text(context.get("schema")), context.get("data")) {
                properties.put(schema_name(&schema), data);
            }
        }
    }
    if let Json::Object(fields) = item {
        for (name, value) in fields.iter().filter(|(name, _)| !is_envelope(name)) {
            let long =
                LONG_NAMES.iter().find(|(short, _)| short == name).map_or(name.as_str(), |(_, long)| long);
            properties.put_missing(long, &typed(name, value));
        }
    }
    // The clock of whoever tracks, if it knows the true time, else that of the device.
    let when = match time("ttm", item.get("ttm"))? {
        Some(when) => Some(when),
        None => time("dtm", item.get("dtm"))?,
    };
    let id = field("eid");
    reader.event(Draft { event: &event, user, time: when, id: id.as_deref(), account: None, properties })
}

/// The JSON that is in a field as it is, or in another as base64.
fn document(item: &Json, plain: &str, encoded: &str) -> Result<Option<Json>, Fault> {
    let wrong = |field: &str| Fault::new("it is no JSON").at(field);
    // The tree of a text that is no larger than an event needs no room of its own.
    let is_large = [plain, encoded]
        .iter()
        .any(|name| text(item.get(name)).is_some_and(|text| text.len() > EVENT_SIZE_MAX));
    if is_large {
        return Err(Fault::new(format!("it has more than {EVENT_SIZE_MAX} bytes")).at(plain));
    }
    if let Some(text) = text(item.get(plain)) {
        return lenient::parse(text.as_bytes()).map(Some).map_err(|_| wrong(plain));
    }
    let Some(text) = text(item.get(encoded)) else { return Ok(None) };
    let bytes = decode_base64(text.as_bytes()).ok_or_else(|| wrong(encoded))?;
    lenient::parse(&bytes).map(Some).map_err(|_| wrong(encoded))
}

/// `signed_up` of `iglu:com.acme/signed_up/jsonschema/1-0-0`.
fn schema_name(schema: &str) -> &str {
    schema.split('/').nth(1).filter(|name| !name.is_empty()).unwrap_or(schema)
}

/// The protocol writes all values as text; those that are numbers become ones.
fn typed(name: &str, value: &Json) -> Json {
    let is_number = matches!(name, "se_va" | "vid" | "tr_tt" | "tr_tx" | "tr_sh" | "ti_pr" | "ti_qu")
        || name.starts_with("pp_");
    match value {
        Json::String(text) if is_number => {
            crate::model::Number::parse(text).map_or_else(|_| value.clone(), Json::Number)
        }
        other => other.clone(),
    }
}

/// Fields that are not properties of the event.
fn is_envelope(name: &str) -> bool {
    matches!(name, "e" | "eid" | "uid" | "ttm" | "dtm" | "stm" | "se_ac" | "ue_pr" | "ue_px" | "co" | "cx")
}
