//! CloudEvents 1.0.2 over HTTP: structured, batched and binary (github.com/cloudevents/spec).

use super::answer::{Answer, number, with_rejected};
use super::call::Call;
use super::flat::Flat;
use super::lenient;
use super::wire::percent_decode;
use super::writes::{Draft, Reader, text, time};
use crate::api::{Json, Problem, ProblemClass, TreeRoom};
use crate::ingest::event::missing;
use crate::ingest::fault::Fault;

/// An event in binary mode as it would be in structured mode: its attributes are headers, its data the body.
pub(super) fn binary_document(call: &Call, body: &[u8], room: TreeRoom<'_>) -> Result<Json, Problem> {
    let attribute = |(name, value): &(String, String)| {
        let name = name.strip_prefix("ce-")?;
        Some((name.to_owned(), Json::String(percent_decode(value, false))))
    };
    let mut fields: Vec<(String, Json)> = call.headers.iter().filter_map(attribute).collect();
    let is_json = call.header("content-type").is_none_or(|kind| kind.contains("json"));
    if !body.is_empty() {
        let parsed = is_json.then(|| lenient::parse_within(body, room));
        let data = match parsed {
            Some(Ok(data)) => data,
            Some(Err(problem)) if problem.class != ProblemClass::Invalid => return Err(problem),
            _ => Json::String(String::from_utf8_lossy(body).into_owned()),
        };
        fields.push(("data".to_owned(), data));
    }
    Ok(Json::Object(fields))
}

pub(super) fn read(call: &Call, reader: &mut Reader<'_>) -> Result<Answer, Problem> {
    reader.each(call.items("events"), "id", read_event);
    let writes = &reader.writes;
    if let (Some(first), true) = (writes.dropped.first(), writes.dropped.len() == writes.item_count) {
        return Err(Problem::invalid(first.reason.clone()).at(format!("/{}", first.field)));
    }
    let taken = writes.item_count - writes.dropped.len();
    Ok(Answer::json(200, &with_rejected([("accepted", number(taken))], writes)))
}

fn read_event(reader: &mut Reader<'_>, item: &Json) -> Result<(), Fault> {
    let event = text(item.get("type")).ok_or_else(|| missing("type"))?;
    let id = text(item.get("id")).ok_or_else(|| missing("id"))?;
    let source = text(item.get("source")).ok_or_else(|| missing("source"))?;
    let user = text(item.get("subject")).or_else(|| text(item.get("userid")));
    let user = user.ok_or_else(|| missing("subject").hint("it, or the extension userid, is the user"))?;
    let when = time("time", item.get("time"))?;
    let mut properties = Flat::default();
    match item.get("data") {
        Some(data @ Json::Object(_)) => properties.put_all(Some(data), |_| true),
        Some(data) => properties.put("data", data),
        None => {}
    }
    if let Json::Object(fields) = item {
        for (name, value) in fields.iter().filter(|(name, _)| !is_envelope(name)) {
            properties.put_missing(name, value);
        }
    }
    let account = text(item.get("accountid"));
    // An id is the source's own; a blank is in no source.
    let id = format!("{source} {id}");
    let account = account.as_deref();
    reader.event(Draft { event: &event, user: &user, time: when, id: Some(&id), account, properties })
}

/// Attributes that are not properties of the event.
fn is_envelope(name: &str) -> bool {
    matches!(
        name,
        "type"
            | "id"
            | "specversion"
            | "subject"
            | "userid"
            | "accountid"
            | "time"
            | "data"
            | "datacontenttype"
            | "dataschema"
    )
}
