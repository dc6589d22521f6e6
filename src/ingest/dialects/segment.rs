//! Segment's calls, and RudderStack's, which are the same (segment.com/docs/connections/spec).

use super::answer::{Answer, number, object, string, with_rejected};
use super::call::Call;
use super::flat::Flat;
use super::writes::{Draft, PROFILE_LINK, Reader, text, time};
use crate::api::{Json, Problem};
use crate::ingest::event::missing;
use crate::ingest::fault::Fault;

/// Reads a batch, or the one call of the type that the address says.
pub(super) fn read(
    call: &Call,
    kind: Option<&'static str>,
    reader: &mut Reader<'_>,
) -> Result<Answer, Problem> {
    let sent_at = call.document.get("sentAt");
    reader.each(call.items("batch"), "messageId", |reader, item| read_call(item, kind, sent_at, reader));
    let writes = &reader.writes;
    if let (Some(first), true) = (writes.dropped.first(), writes.dropped.len() == writes.item_count) {
        return Err(Problem::invalid(first.reason.clone()));
    }
    Ok(Answer::json(200, &with_rejected([("success", Json::Bool(true))], writes)))
}

fn read_call(
    item: &Json,
    kind: Option<&'static str>,
    sent_at: Option<&Json>,
    reader: &mut Reader<'_>,
) -> Result<(), Fault> {
    let kind = match (kind, item.get("type")) {
        (Some(kind), _) => kind,
        (None, Some(Json::String(kind))) => kind.as_str(),
        (None, _) => return Err(missing("type")),
    };
    let (known, anonymous) = (text(item.get("userId")), text(item.get("anonymousId")));
    let context = item.get("context");
    if kind == "alias" {
        let from = text(item.get("previousId")).or(anonymous).ok_or_else(|| missing("previousId"))?;
        return reader.merge(&from, &known.ok_or_else(|| missing("userId"))?);
    }
    let Some(user) = known.as_deref().or(anonymous.as_deref()) else {
        return Err(Fault::new("the call has neither a userId nor an anonymousId").at("userId"));
    };
    if let (Some(known), Some(anonymous)) = (&known, &anonymous) {
        reader.recognise(anonymous, known)?;
    }
    let name = match kind {
        "identify" => {
            // RudderStack's SDKs put them into the context.
            let traits = item.get("traits").or_else(|| context?.get("traits"));
            return reader.set_user(user, Flat::object(traits));
        }
        "group" => {
            let account = text(item.get("groupId")).ok_or_else(|| missing("groupId"))?;
            reader.set_account(&account, Flat::object(item.get("traits")))?;
            let mut link = Flat::default();
            link.put(PROFILE_LINK, &Json::String(account.into_owned()));
            return reader.set_user(user, link);
        }
        "track" => text(item.get("event")).ok_or_else(|| missing("event"))?,
        "page" | "screen" => kind.into(),
        other => return Err(Fault::new(format!("there is no call of the type {other:?}")).at("type")),
    };
    let time_of = |field: &str| time(field, item.get(field));
    let when = match time_of("timestamp")? {
        Some(when) => Some(when),
        None => match time_of("originalTimestamp")? {
            Some(when) => Some(when),
            None => time("sentAt", item.get("sentAt").or(sent_at))?,
        },
    };
    let mut properties = Flat::object(item.get("properties"));
    for field in ["name", "category"] {
        if let (false, Some(value)) = (kind == "track", item.get(field)) {
            properties.put_missing(field, value);
        }
    }
    let account = context.and_then(|context| text(context.get("groupId")));
    if let Some(Json::Object(fields)) = context {
        for (name, value) in fields.iter().filter(|(name, _)| name != "groupId") {
            properties.put(&format!("context.{name}"), value);
        }
    }
    let id = text(item.get("messageId"));
    let (id, account) = (id.as_deref(), account.as_deref());
    reader.event(Draft { event: &name, user, time: when, id, account, properties })
}

/// What the browser's SDK wants to know of its one destination, which is this server.
pub(super) fn settings(call: &Call) -> Answer {
    let host = call.header("host").unwrap_or("localhost");
    let destination = object([
        ("apiKey", string(&call.key)),
        ("apiHost", string(format!("{host}/v1"))),
        ("protocol", string(if call.is_from_https() { "https" } else { "http" })),
        ("retryQueue", Json::Bool(true)),
        ("maybeBundledConfigIds", object([])),
        ("version", number(1)),
    ]);
    let body = object([
        ("integrations", object([("Segment.io", destination)])),
        ("plan", object([])),
        ("edgeFunction", object([])),
        // It would report on itself, to its vendor.
        ("metrics", object([("sampleRate", number(0))])),
    ]);
    Answer::json(200, &body)
}

/// What RudderStack's SDK for browsers wants to know of its source: that it is on, that nobody else gets its events, and
/// that it is not to report on itself.
pub(super) fn source_config() -> Answer {
    let off = || object([("enabled", Json::Bool(false))]);
    let config = object([("statsCollection", object([("errors", off()), ("metrics", off())]))]);
    let source = object([
        ("id", string("flywheel")),
        ("name", string("FlywheelDB")),
        ("enabled", Json::Bool(true)),
        ("workspaceId", string("flywheel")),
        ("config", config),
        ("destinations", Json::Array(Vec::new())),
    ]);
    Answer::json(200, &object([("source", source)]))
}
