//! The addresses of other products' SDKs: what each is for, and what such an SDK sends there.

use base64::prelude::*;
use serde_json::{Map, Value, json};

use super::path_parameters;
use super::schema::{reference, text};
use crate::ingest::dialects::{ADDRESSES, Endpoint};

/// The operations at the addresses of SDKs, by address and method.
pub(super) fn paths() -> Map<String, Value> {
    let mut paths = Map::new();
    for (path, endpoint) in ADDRESSES {
        let methods = endpoint.methods().iter();
        let operations: Map<String, Value> =
            methods.map(|method| (method.to_lowercase(), operation(path, method, endpoint))).collect();
        paths.insert(path.to_owned(), Value::Object(operations));
    }
    paths
}

/// What is told of an endpoint, and what its SDK sends.
struct About {
    product: &'static str,
    summary: &'static str,
    /// A body, or what `GET` carries in the place of one. Null where nothing is sent.
    example: Value,
}

fn operation(path: &str, method: &str, endpoint: Endpoint) -> Value {
    let about = describe(endpoint);
    let words: Vec<&str> =
        path.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).collect();
    let mut parameters = path_parameters(path);
    let mut operation = json!({
        "operationId": format!("sdk_{}_{}", method.to_lowercase(), words.join("_")),
        "tags": [format!("SDKs: {}", about.product)],
        "summary": about.summary,
        "description": "As the product's SDKs call it, with or without a slash at the end. \
            Bodies may be compressed, forms, or base64; the key is found where the SDK puts it.",
        "security": if endpoint.is_write() { json!([{"key": []}, {}]) } else { json!([]) },
        "responses": {
            "200": {"description": "Taken, in the words that the SDK expects", "content": answer(endpoint)},
            "default": {"description": "What is wrong, in the words that the SDK expects", "content": {
                "application/json": {"schema": {}},
                "application/problem+json": {"schema": reference("Problem")},
            }},
        },
    });
    match method {
        "GET" if endpoint == Endpoint::SnowplowPixel => {
            let fields = about.example.as_object().into_iter().flatten();
            parameters
                .extend(fields.map(|(name, value)| in_address(name, "A field of the event.", value.clone())));
        }
        "GET" if !about.example.is_null() => {
            let data = BASE64_STANDARD.encode(about.example.to_string());
            parameters.push(in_address("data", "What a POST has in its body, in base64.", json!(data)));
        }
        "POST" => {
            let schema = json!({"type": ["object", "array"], "description": "As the SDK sends it."});
            let content =
                json!({"schema": schema, "examples": {"one": {"summary": "One", "value": about.example}}});
            operation["requestBody"] = json!({"content": {"application/json": content}});
        }
        _ => {}
    }
    if !parameters.is_empty() {
        operation["parameters"] = Value::Array(parameters);
    }
    operation
}

fn in_address(name: &str, about: &str, example: Value) -> Value {
    json!({"name": name, "in": "query", "schema": text(about), "example": example})
}

fn answer(endpoint: Endpoint) -> Value {
    match endpoint {
        Endpoint::PostHogConfigScript => json!({"text/javascript": {"schema": {"type": "string"}}}),
        Endpoint::SnowplowPixel => json!({"image/gif": {"schema": {"type": "string", "format": "binary"}}}),
        Endpoint::MixpanelTrack
        | Endpoint::MixpanelImport
        | Endpoint::MixpanelEngage
        | Endpoint::MixpanelGroups => {
            json!({"application/json": {"schema": {}}, "text/plain": {"schema": {"type": "string"}}})
        }
        _ => json!({"application/json": {"schema": {}}}),
    }
}

fn describe(endpoint: Endpoint) -> About {
    let about = |product, summary, example| About { product, summary, example };
    let (segment, posthog, mixpanel) = ("Segment, RudderStack", "PostHog", "Mixpanel");
    let (amplitude, snowplow) = ("Amplitude", "Snowplow");
    match endpoint {
        Endpoint::SegmentBatch => about(
            segment,
            "Calls of all types",
            json!({"batch": [{"type": "track", "event": "Signed Up", "userId": "ada", "anonymousId": "anon-7f",
                "messageId": "m-1", "timestamp": "2026-10-01T09:30:00Z", "properties": {"plan": "free"},
                "context": {"groupId": "acme"}}], "sentAt": "2026-10-01T09:30:01Z"}),
        ),
        Endpoint::SegmentCall(kind) => {
            let mut call = json!({"userId": "ada", "messageId": format!("m-{kind}"), "timestamp": "2026-10-01T09:30:00Z"});
            let (summary, field, value) = match kind {
                "track" => ("An event", "event", json!("Signed Up")),
                "identify" => ("A user's profile", "traits", json!({"email": "ada@example.com"})),
                "page" => ("A page that was seen", "name", json!("Docs")),
                "screen" => ("A screen that was seen", "name", json!("Home")),
                "group" => ("The account that a user belongs to, and its profile", "groupId", json!("acme")),
                "alias" => ("Another id of a user", "previousId", json!("anon-7f")),
                other => panic!("the call {other} is not described"),
            };
            call[field] = value;
            about(segment, summary, call)
        }
        Endpoint::SegmentSettings => about(segment, "Where Segment's browser SDK sends: here", Value::Null),
        Endpoint::RudderStackSettings => {
            about(segment, "The source of RudderStack's browser SDK, which sends nowhere else", Value::Null)
        }
        Endpoint::PostHogCapture => about(
            posthog,
            "Events: one, a list, or a batch",
            json!({"api_key": "phc_key", "event": "signed_up", "distinct_id": "ada", "uuid": "0192c6f0-0000-7000-8000-000000000001",
                "timestamp": "2026-10-01T09:30:00Z", "properties": {"plan": "free", "$set": {"email": "ada@example.com"}}}),
        ),
        Endpoint::PostHogCaptureV1 => about(
            posthog,
            "Events, each with a result of its own",
            json!({"created_at": "2026-10-01T09:30:01Z", "batch": [{"event": "signed_up", "distinct_id": "ada",
                "uuid": "0192c6f0-0000-7000-8000-000000000002", "timestamp": "2026-10-01T09:30:00Z", "properties": {"plan": "free"}}]}),
        ),
        Endpoint::PostHogFlags => about(
            posthog,
            "Feature flags, of which there are none",
            json!({"api_key": "phc_key", "distinct_id": "ada"}),
        ),
        Endpoint::PostHogConfig | Endpoint::PostHogConfigScript => {
            about(posthog, "What PostHog's browser SDK is to do: no more than send", Value::Null)
        }
        Endpoint::Batch => about(
            "Amplitude, PostHog",
            "Events of Amplitude, or with a batch in the place of events of PostHog",
            json!({"api_key": "key", "events": [amplitude_event("i-1")]}),
        ),
        Endpoint::MixpanelTrack | Endpoint::MixpanelImport => about(
            mixpanel,
            "Events",
            json!([{"event": "Signed Up", "properties": {"token": "key", "distinct_id": "ada", "time": 1_790_847_000,
                "$insert_id": "i-2", "plan": "free"}}]),
        ),
        Endpoint::MixpanelEngage => about(
            mixpanel,
            "Changes to profiles of users",
            json!([{"$token": "key", "$distinct_id": "ada", "$set": {"$email": "ada@example.com"}}]),
        ),
        Endpoint::MixpanelGroups => about(
            mixpanel,
            "Changes to profiles of accounts",
            json!([{"$token": "key", "$group_key": "company", "$group_id": "acme", "$set": {"name": "Acme"}}]),
        ),
        Endpoint::AmplitudeEvents => {
            about(amplitude, "Events", json!({"api_key": "key", "events": [amplitude_event("i-3")]}))
        }
        Endpoint::AmplitudeIdentify => about(
            amplitude,
            "Changes to profiles of users",
            json!({"api_key": "key", "identification": [{"user_id": "ada", "user_properties": {"$set": {"plan": "free"}}}]}),
        ),
        Endpoint::AmplitudeGroupIdentify => about(
            amplitude,
            "Changes to profiles of accounts",
            json!({"api_key": "key", "identification":
                [{"group_type": "company", "group_value": "acme", "group_properties": {"$set": {"name": "Acme"}}}]}),
        ),
        Endpoint::SnowplowPost => about(
            snowplow,
            "Events",
            json!({"schema": "iglu:com.snowplowanalytics.snowplow/payload_data/jsonschema/1-0-4", "data": [snowplow_event()]}),
        ),
        Endpoint::SnowplowPixel => {
            about(snowplow, "One event, answered with a picture of one pixel", snowplow_event())
        }
        Endpoint::CloudEvents => about(
            "CloudEvents",
            "Events: structured, in batches, or binary",
            json!({"specversion": "1.0", "id": "1", "source": "/shop", "type": "signed_up", "subject": "ada",
                "time": "2026-10-01T09:30:00Z", "data": {"plan": "free"}}),
        ),
        Endpoint::Ignored => about(
            "thrown away",
            "Recordings, metrics and settings, taken so that no SDK tries them again",
            json!({}),
        ),
    }
}

fn amplitude_event(id: &str) -> Value {
    json!({"user_id": "ada", "device_id": "device-7f", "event_type": "Signed Up", "time": 1_790_847_000_000_i64,
        "insert_id": id, "event_properties": {"plan": "free"}, "groups": {"company": "acme"}})
}

/// All values are text, as in the protocol.
fn snowplow_event() -> Value {
    json!({"e": "pv", "eid": "0192c6f0-0000-4000-8000-000000000003", "dtm": "1790847000000", "uid": "ada",
        "url": "https://example.com/", "page": "Home", "p": "web", "aid": "key"})
}
