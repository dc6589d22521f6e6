//! A request of an SDK: what it holds, whose key it carries, and what it means.

use super::answer::{self, Answer, MixpanelForm};
use super::endpoint::{Dialect, Endpoint};
use super::recent::RecentIds;
use super::wire::{Grow, decode_base64, parse_form, percent_decode, unwrap};
use super::writes::{Reader, Writes, text};
use super::{amplitude, cloudevents, lenient, mixpanel, posthog, segment, snowplow};
use crate::api::{Json, Problem, ProblemClass, TREE_VALUE_SIZE};
use crate::ingest::event::EventLimits;
use crate::model::TimeMs;

/// A request, freed of its wrapping.
#[derive(Debug)]
pub struct Call {
    pub endpoint: Endpoint,
    /// The key in the path; empty if there is none.
    pub(super) key: String,
    /// The fields of the address and of forms, in order.
    pub(super) fields: Vec<(String, String)>,
    /// Names in lower case.
    pub(super) headers: Vec<(String, String)>,
    /// Null if there is no body.
    pub(super) document: Json,
    pub(super) body_size: usize,
    /// Whether the body was a form, or the data in the address.
    pub(super) is_form: bool,
}

/// What a tree of so many values takes, in bytes of a body, which count twice.
fn tree_size(value_count: usize) -> usize {
    value_count * TREE_VALUE_SIZE / 2
}

/// What a call means, and the answer once that is stored.
#[derive(Debug)]
pub struct Reading {
    pub writes: Writes,
    pub answer: Answer,
}

impl Call {
    /// A request of which only the head is read so far. `address` is path and query; `headers` have names in lower case.
    pub fn of_head(endpoint: Endpoint, address: &str, headers: Vec<(String, String)>) -> Call {
        let (path, query) = address.split_once('?').unwrap_or((address, ""));
        let key = Endpoint::key_in(path).map_or_else(String::new, |key| percent_decode(key, false));
        let fields = parse_form(query);
        let is_form = fields.iter().any(|(name, _)| endpoint.data_fields().contains(&name.as_str()));
        Call { endpoint, key, fields, headers, document: Json::Null, body_size: 0, is_form }
    }

    /// Reads the body, or the data in the address; once unwrapped it has at most `size_max` bytes, and `grow` is told how
    /// many before they are there. The rest is as of [`Call::of_head`].
    pub fn new(
        endpoint: Endpoint,
        address: &str,
        headers: Vec<(String, String)>,
        body: &[u8],
        size_max: usize,
        grow: Grow<'_>,
    ) -> Result<Call, Box<(Answer, Problem)>> {
        let mut call = Call { body_size: body.len(), ..Call::of_head(endpoint, address, headers) };
        let mut fields = std::mem::take(&mut call.fields);
        call.is_form = false;
        if endpoint == Endpoint::Ignored {
            // It is thrown away, whatever it is.
            return Ok(call);
        }
        if endpoint == Endpoint::CloudEvents && call.header("ce-specversion").is_some() {
            // Only here may the body be no JSON.
            return match cloudevents::binary_document(&call, body, &mut |count| {
                grow(body.len() + tree_size(count))
            }) {
                Ok(document) => {
                    call.document = document;
                    Ok(call)
                }
                Err(problem) => Err(Box::new((call.refusal(&problem), problem))),
            };
        }
        let in_address = fields.iter().position(|(name, _)| endpoint.data_fields().contains(&name.as_str()));
        let in_address = in_address.map(|at| fields.remove(at).1).filter(|_| body.is_empty());
        let payload = in_address.as_deref().map_or(body, str::as_bytes);
        let unwrapped = unwrap(payload, endpoint.data_fields(), size_max, grow).and_then(|unwrapped| {
            let size = unwrapped.payload.len();
            let is_empty = unwrapped.payload.trim_ascii().is_empty();
            let mut room = |count| grow(size + tree_size(count));
            let document =
                if is_empty { Ok(Json::Null) } else { lenient::parse_within(&unwrapped.payload, &mut room) };
            Ok((unwrapped.fields, document?))
        });
        match unwrapped {
            Ok((form, document)) => {
                call.is_form = in_address.is_some() || call.is_form_body(body);
                fields.extend(form);
                call.fields = fields;
                call.document = document;
                if endpoint == Endpoint::Batch && call.document.get("events").is_none() {
                    call.endpoint = Endpoint::PostHogCapture;
                }
                if endpoint == Endpoint::MixpanelTrack && posthog::is_own(&call.document) {
                    call.endpoint = Endpoint::PostHogCapture;
                }
                Ok(call)
            }
            Err(problem) => {
                call.fields = fields;
                Err(Box::new((call.refusal(&problem), problem)))
            }
        }
    }

    fn is_form_body(&self, body: &[u8]) -> bool {
        let is_declared = self
            .header("content-type")
            .is_some_and(|kind| kind.starts_with("application/x-www-form-urlencoded"));
        is_declared || body.starts_with(b"data=")
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Whether it came over TLS, as whoever ended that says, or from a page that did: such a page may send to nothing else.
    pub(super) fn is_from_https(&self) -> bool {
        let is_page = |name| self.header(name).is_some_and(|page| page.starts_with("https://"));
        self.header("x-forwarded-proto") == Some("https") || is_page("origin") || is_page("referer")
    }

    pub(super) fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The things in the body: a list, the list in a field of it, or the one thing that it is.
    pub(super) fn items(&self, list: &str) -> &[Json] {
        match (&self.document, self.document.get(list)) {
            (_, Some(Json::Array(items))) | (Json::Array(items), _) => items,
            (Json::Null, _) => &[],
            (one, _) => std::slice::from_ref(one),
        }
    }

    /// How many things there may be in the body, whatever it is read as.
    fn item_count_max(&self) -> usize {
        let lists =
            ["events", "batch", "data", "identification"].iter().filter_map(|list| self.document.get(list));
        let count = |json: &Json| if let Json::Array(items) = json { items.len() } else { 1 };
        lists.chain([&self.document]).map(count).max().unwrap_or(0)
    }

    /// The keys that it carries, wherever its SDK puts them.
    pub fn keys(&self) -> Vec<String> {
        let all = [self.key_in_headers(), self.key_in_fields(), self.key_in_document()];
        all.into_iter().flatten().collect()
    }

    fn key_in_headers(&self) -> Option<String> {
        let (scheme, credentials) = self.header("authorization")?.split_once(' ')?;
        let key = if scheme.eq_ignore_ascii_case("basic") {
            let pair = String::from_utf8(decode_base64(credentials.as_bytes())?).ok()?;
            let (user, password) = pair.split_once(':').unwrap_or((&pair, ""));
            // Some send the key as the name and some as the password of nobody.
            if user.is_empty() { password.to_owned() } else { user.to_owned() }
        } else if scheme.eq_ignore_ascii_case("bearer") {
            credentials.trim().to_owned()
        } else {
            return None;
        };
        Some(key).filter(|key| !key.is_empty())
    }

    fn key_in_fields(&self) -> Option<String> {
        let names: &[&str] = match self.endpoint.dialect() {
            Dialect::Snowplow => &["aid"],
            _ => &["api_key", "token", "writeKey"],
        };
        let found = names.iter().find_map(|name| self.field(name));
        found.filter(|key| !key.is_empty()).map(str::to_owned)
    }

    fn key_in_document(&self) -> Option<String> {
        let names = ["api_key", "token", "$token", "writeKey"];
        let of = |json: &Json| {
            let own = names.iter().find_map(|name| text(json.get(name)));
            own.or_else(|| text(json.get("properties")?.get("token"))).map(|key| key.into_owned())
        };
        match self.endpoint.dialect() {
            Dialect::Snowplow => {
                self.items("data").first().and_then(|item| text(item.get("aid"))).map(Into::into)
            }
            _ => of(&self.document).or_else(|| self.items("batch").first().and_then(of)),
        }
    }

    /// Reads what it means. Without a time, things happened when `recent` first saw their ids, or `now`.
    ///
    /// Fails if the call as a whole means nothing; a single thing that does not is left out.
    pub fn read(&self, now: TimeMs, recent: &RecentIds, limits: EventLimits) -> Result<Reading, Problem> {
        let count_max = limits.batch_event_count_max;
        if self.item_count_max() > count_max {
            let detail = format!("a request holds at most {count_max} events");
            return Err(Problem::new(ProblemClass::TooLarge, detail).hint("send them in several requests"));
        }
        let mut reader = Reader { writes: Writes::default(), now, recent, limits };
        let answer = match self.endpoint {
            Endpoint::SegmentBatch => segment::read(self, None, &mut reader),
            Endpoint::SegmentCall(kind) => segment::read(self, Some(kind), &mut reader),
            Endpoint::SegmentSettings => Ok(segment::settings(self)),
            Endpoint::RudderStackSettings => Ok(segment::source_config()),
            Endpoint::PostHogCapture => posthog::read(self, &mut reader),
            Endpoint::PostHogCaptureV1 => posthog::read_v1(self, &mut reader),
            Endpoint::PostHogFlags => Ok(posthog::flags()),
            Endpoint::PostHogConfig => Ok(posthog::config()),
            Endpoint::PostHogConfigScript => Ok(posthog::config_script(self)),
            Endpoint::MixpanelTrack | Endpoint::MixpanelImport => mixpanel::read_events(self, &mut reader),
            Endpoint::MixpanelEngage => mixpanel::read_users(self, &mut reader),
            Endpoint::MixpanelGroups => mixpanel::read_accounts(self, &mut reader),
            Endpoint::Batch | Endpoint::AmplitudeEvents => amplitude::read_events(self, &mut reader),
            Endpoint::AmplitudeIdentify => amplitude::read_users(self, &mut reader),
            Endpoint::AmplitudeGroupIdentify => amplitude::read_accounts(self, &mut reader),
            Endpoint::CloudEvents => cloudevents::read(self, &mut reader),
            Endpoint::SnowplowPost => snowplow::read_list(self, &mut reader),
            Endpoint::SnowplowPixel => snowplow::read_address(self, &mut reader),
            Endpoint::Ignored => Ok(Answer::json(200, &Json::Object(Vec::new()))),
        }?;
        Ok(Reading { writes: reader.writes, answer })
    }

    /// Tells why nothing of it was stored.
    pub fn refusal(&self, problem: &Problem) -> Answer {
        answer::refusal(self.endpoint, self.mixpanel_form(), problem)
    }

    pub(super) fn mixpanel_form(&self) -> MixpanelForm {
        if self.field("verbose").is_some_and(|verbose| verbose != "0") {
            MixpanelForm::Verbose
        } else if self.endpoint == Endpoint::MixpanelImport && !self.is_form {
            MixpanelForm::Import
        } else {
            MixpanelForm::Digit
        }
    }
}
