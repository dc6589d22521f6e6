//! What each address does: reads the request, crosses to the store, tells the answer.

use std::borrow::Cow;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hyper::StatusCode;
use hyper::body::Incoming;
use hyper::header::IF_NONE_MATCH;
use hyper::http::request::Parts;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;
use serde_json::json;

use super::access::{Doorkeeper, needed};
use super::arrivals::{Arrivals, BatchEnd};
use super::body::{self, BodyRoom, ReceivedBody};
use super::bridge::{Bridge, Lane};
use super::connections::Connections;
use super::console;
use super::dialects::{DialectState, endpoint_of};
use super::media::{body_form, require_json, wanted_format};
use super::metrics::Metrics;
use super::openapi;
use super::parameters::Parameters;
use super::queries::AskedQuery;
use super::respond::{self, Refusal, Reply};
use super::routes::{Action, Found, Routes};
use super::validator::Validator;
use crate::api::{Format, Json, Problem, ProblemClass, TreeRoom, nearest};
use crate::ingest::{OnError, ParsedEvents, Rejected, parse_events_within, parse_identities, parse_profiles};
use crate::io::Disk;
use crate::limits::{
    ARRIVAL_COUNT_MAX, BACKUP_NAME_SIZE_MAX, TIMELINE_EVENT_COUNT_DEFAULT, TIMELINE_EVENT_COUNT_MAX,
};
use crate::model::{Entity, TimeMs, checked_time, parse_time};
use crate::settings::Settings;
use crate::store::Refused;

/// The kinds of queries that have an address.
pub const QUERY_KINDS: [&str; 15] = [
    "segmentation",
    "funnel",
    "retention",
    "lifecycle",
    "stickiness",
    "paths",
    "cohort",
    "activation",
    "conversion",
    "drivers",
    "pql",
    "revenue",
    "virality",
    "limits",
    "overview",
];

/// The backup that is meant where none is named.
const BACKUP_NAME_DEFAULT: &str = "latest";

/// What requests are answered with.
#[derive(Debug)]
pub(super) struct App {
    pub bridge: Bridge,
    pub routes: Routes,
    pub bodies: BodyRoom,
    pub validator: Validator,
    pub dialects: Arc<DialectState>,
    pub arrivals: Arc<Arrivals>,
    pub doorkeeper: Arc<Doorkeeper>,
    pub connections: Arc<Connections>,
    pub metrics: Metrics,
    pub settings: Settings,
    pub is_stopping: AtomicBool,
    /// Below which backups are put, by name.
    pub backups: PathBuf,
}

/// The answer to `POST /v1/events`.
#[derive(Serialize)]
struct ToldReceipt<'a> {
    accepted: u64,
    duplicates: u64,
    rejected: Vec<ToldRejected<'a>>,
    /// Told only where there are some.
    #[serde(skip_serializing_if = "is_none")]
    expired: u64,
}

fn is_none(count: &u64) -> bool {
    *count == 0
}

#[derive(Serialize)]
struct ToldRejected<'a> {
    index: u64,
    detail: &'a str,
    path: &'a str,
}

impl<'a> From<&'a Rejected> for ToldRejected<'a> {
    fn from(event: &'a Rejected) -> ToldRejected<'a> {
        ToldRejected { index: event.index, detail: &event.detail, path: &event.path }
    }
}

/// A request whose route is found and whose body is still to be read.
pub(super) struct Call<'a> {
    pub app: &'a App,
    pub parts: &'a Parts,
    incoming: &'a mut Incoming,
    pub parameters: Parameters,
    segment: Option<String>,
}

impl App {
    /// Answers a request. Reads of its body what it needs.
    pub async fn answer(&self, parts: &Parts, incoming: &mut Incoming) -> Result<Reply, Refusal> {
        if let Some(endpoint) = endpoint_of(parts) {
            return self.answer_dialect(endpoint, parts, incoming).await;
        }
        let Found { route, segment } = self.routes.find(&parts.method, parts.uri.path())?;
        self.doorkeeper.admit(self.bridge.store(), needed(route.action), parts)?;
        let parameters = Parameters::parse(parts.uri.query(), route.parameters)?;
        let mut call = Call { app: self, parts, incoming, parameters, segment };
        let reply = match route.action {
            Action::WriteEvents => call.write_events().await,
            Action::WriteProfiles(entity) => call.write_profiles(entity).await,
            Action::MergeIdentities => call.merge_identities().await,
            Action::DeleteUser => call.delete_user().await,
            Action::ShowUser => call.show_user().await,
            Action::ShowAccount => call.show_account().await,
            Action::Query => call.query().await,
            Action::QueryInAddress => call.query_in_address().await,
            Action::ShowSchema => call.show_schema().await,
            Action::ListDocuments(kind) => call.list_documents(kind).await,
            Action::PutDocument(kind) => call.put_document(kind).await,
            Action::ShowCohort => call.show_cohort().await,
            Action::ShowQuery => call.show_query().await,
            Action::DeleteDocument(kind) => call.delete_document(kind).await,
            Action::PutGrowthModel => call.put_growth_model().await,
            Action::ShowGrowthModel => call.show_growth_model().await,
            Action::DeleteGrowthModel => call.delete_growth_model().await,
            Action::RunQuery => call.run_stored_query().await,
            Action::ShowOpenApi => Ok(respond::json_text(openapi::document_text())),
            Action::ShowConsole | Action::ShowConsoleFile => {
                console::show(call.segment.as_deref(), &parts.headers)
            }
            Action::ShowArrivals => call.show_arrivals(),
            Action::Export => call.export(),
            Action::ShowHealth => Ok(respond::json(StatusCode::OK, &json!({"status": "ok"}))),
            Action::ShowReadiness => Ok(self.show_readiness().await),
            Action::ShowMetrics => {
                let readiness = self.readiness().await;
                Ok(self.show_metrics(readiness.is_ready(), readiness.takes_writes()))
            }
            Action::Seal => call.seal().await,
            Action::Compact => call.compact().await,
            Action::ListKeys => call.list_keys().await,
            Action::CreateKey => call.create_key().await,
            Action::RevokeKey => call.revoke_key().await,
            Action::Backup => call.backup().await,
        };
        Ok(reply?)
    }
}

impl Call<'_> {
    async fn write_events(&mut self) -> Result<Reply, Problem> {
        let on_error = [("reject", OnError::Reject), ("skip", OnError::Skip)];
        let on_error = self.parameters.word("on_error", &on_error)?.unwrap_or(OnError::Reject);
        let form = body_form(&self.parts.headers)?;
        let received = self.body_to_store().await?;
        let (arrivals, limits) = (Arc::clone(&self.app.arrivals), self.app.settings.event_limits());
        let write = move |store: &crate::Store| {
            let received_at = now();
            let mut parsed =
                received.decoded(|body| parse_events_within(body, form, on_error, received_at, limits))?;
            let batch = std::mem::take(&mut parsed.batch);
            let mut end = BatchEnd::of(&batch);
            let (receipt, refused) = match on_error {
                OnError::Reject => store.ingest(batch).map(|receipt| (receipt, Vec::new())),
                OnError::Skip => store.ingest_what_fits(batch),
            }
            .map_err(|problem| in_body(&parsed, problem))?;
            end.leave_out(refused.iter().map(|refused| refused.part));
            for Refused { part, problem, .. } in refused {
                let path = problem.path.unwrap_or_default();
                parsed.rejected.push(parsed.rejection(part, problem.detail, &path));
            }
            parsed.rejected.sort_by_key(|rejected| rejected.index);
            arrivals.add(end, instant(received_at));
            Ok((receipt, parsed.rejected))
        };
        let (receipt, rejected) = self.app.bridge.write(write).await?;
        self.app.metrics.events_rejected.add(rejected.len() as u64);
        let told = ToldReceipt {
            accepted: receipt.accepted,
            duplicates: receipt.duplicates,
            rejected: rejected.iter().map(ToldRejected::from).collect(),
            expired: receipt.expired,
        };
        Ok(respond::json(StatusCode::OK, &told))
    }

    async fn write_profiles(&mut self, entity: Entity) -> Result<Reply, Problem> {
        let form = body_form(&self.parts.headers)?;
        let received = self.body_to_store().await?;
        let limits = self.app.settings.event_limits();
        let write = move |store: &crate::Store| {
            let writes = received.decoded(|body| parse_profiles(body, form, entity, limits))?;
            let count = writes.len();
            store.write_profiles(entity, writes).map(|()| count)
        };
        accepted(self.app.bridge.write(write).await?)
    }

    async fn merge_identities(&mut self) -> Result<Reply, Problem> {
        let form = body_form(&self.parts.headers)?;
        let received = self.body_to_store().await?;
        let limits = self.app.settings.event_limits();
        let write = move |store: &crate::Store| {
            let merges = received.decoded(|body| parse_identities(body, form, limits))?;
            let count = merges.len();
            store.merge_identities(merges).map(|()| count)
        };
        accepted(self.app.bridge.write(write).await?)
    }

    async fn delete_user(&mut self) -> Result<Reply, Problem> {
        let user = self.segment();
        let problem = no_such_user(&user);
        let deleted = self.app.bridge.write(move |store| store.delete_user(&user)).await?;
        self.app.arrivals.clear();
        match deleted {
            true => Ok(respond::json(StatusCode::OK, &json!({"deleted": true}))),
            false => Err(problem),
        }
    }

    async fn show_user(&mut self) -> Result<Reply, Problem> {
        let user = self.segment();
        let limit = timeline_limit(self.parameters.get("limit"))?;
        let before = self.parameters.get("before").map(|text| time_parameter("before", text)).transpose()?;
        let problem = no_such_user(&user);
        let found = self.app.bridge.read(Lane::Look, move |store| store.user(&user, limit, before)).await?;
        found.map(|body| respond::json(StatusCode::OK, &body)).ok_or(problem)
    }

    async fn show_account(&mut self) -> Result<Reply, Problem> {
        let account = self.segment();
        let limit = timeline_limit(self.parameters.get("limit"))?;
        let before = self.parameters.get("before").map(|text| time_parameter("before", text)).transpose()?;
        let problem = Problem::new(ProblemClass::NotFound, format!("there is no account {account:?}"));
        let found =
            self.app.bridge.read(Lane::Look, move |store| store.account(&account, limit, before)).await?;
        found.map(|body| respond::json(StatusCode::OK, &body)).ok_or(problem)
    }

    async fn query(&mut self) -> Result<Reply, Problem> {
        let kind = known_kind(self.segment())?;
        let asked = self.asked_query(self.wanted_format()?)?;
        require_json(&self.parts.headers)?;
        let received = self.body().await?;
        asked.run(self.app, move |_| with_kind(received.tree(parse_query)?, kind)).await
    }

    async fn query_in_address(&mut self) -> Result<Reply, Problem> {
        let kind = known_kind(self.segment())?;
        let asked = self.asked_query(self.wanted_format()?)?;
        let text = self.parameters.get("q").ok_or_else(|| {
            Problem::invalid("the query parameter \"q\" is missing")
                .hint("give it the query's JSON, or send that as the body of a POST")
        })?;
        let text = text.to_owned();
        asked.run(self.app, move |_| with_kind(parse_query(text.as_bytes(), &mut |_| Ok(()))?, kind)).await
    }

    /// What the head of a request says of its query, whose result has this format.
    pub fn asked_query(&self, format: Format) -> Result<AskedQuery, Problem> {
        let held = self.parts.headers.get_all(IF_NONE_MATCH).iter();
        Ok(AskedQuery {
            format,
            time_max: time_max(self.parameters.get("timeout_ms"), self.app.settings.query_timeout)?,
            held: held.filter_map(|tags| tags.to_str().ok()).map(str::to_owned).collect(),
        })
    }

    /// The format of a result that the head of a request asks for.
    pub fn wanted_format(&self) -> Result<Format, Problem> {
        wanted_format(&self.parameters, &self.parts.headers)
    }

    async fn show_schema(&mut self) -> Result<Reply, Problem> {
        let schema = self.app.bridge.read(Lane::Look, |store| store.schema()).await?;
        Ok(respond::json(StatusCode::OK, &schema))
    }

    fn show_arrivals(&self) -> Result<Reply, Problem> {
        let after = self.parameters.get("after").map(|text| whole_number("after", text, 0..=u64::MAX));
        let limit = self.parameters.get("limit");
        let limit = limit.map(|text| whole_number("limit", text, 1..=ARRIVAL_COUNT_MAX as u64));
        let limit = limit.transpose()?.map_or(ARRIVAL_COUNT_MAX, |limit| limit as usize);
        Ok(respond::json(StatusCode::OK, &self.app.arrivals.told(after.transpose()?.unwrap_or(0), limit)))
    }

    async fn backup(&mut self) -> Result<Reply, Problem> {
        let received = self.body().await?;
        let name = received.tree(backup_name)?;
        let path = self.app.backups.join(&name);
        let report = self
            .app
            .bridge
            .write(move |store| {
                let target = Disk::open(&path).map_err(|error| {
                    let detail = format!("cannot open the directory of the backup: {error}");
                    Problem::new(ProblemClass::Io, detail)
                })?;
                store.backup(&target)
            })
            .await?;
        let told = json!({
            "backup": name,
            "change": report.change,
            "files": report.file_count,
            "bytes": report.size_bytes,
            "copied_files": report.copied_count,
            "copied_bytes": report.copied_bytes,
        });
        Ok(respond::json(StatusCode::OK, &told))
    }

    async fn seal(&mut self) -> Result<Reply, Problem> {
        self.app.bridge.write(|store| store.seal()).await?;
        Ok(respond::json(StatusCode::OK, &json!({"sealed": true})))
    }

    async fn compact(&mut self) -> Result<Reply, Problem> {
        self.app.bridge.write(|store| store.compact()).await?;
        Ok(respond::json(StatusCode::OK, &json!({"compacted": true})))
    }

    /// The body of a request to store something, unless too many wait for that already.
    async fn body_to_store(&mut self) -> Result<ReceivedBody, Problem> {
        self.app.bridge.check_write_room()?;
        self.body().await
    }

    pub async fn body(&mut self) -> Result<ReceivedBody, Problem> {
        body::read(self.incoming, &self.parts.headers, &self.app.bodies).await
    }

    /// The open segment of the address.
    pub fn segment(&self) -> String {
        self.segment.clone().expect("the route's address has an open segment")
    }
}

/// A problem of an event of a batch, told at its place in the body.
fn in_body(parsed: &ParsedEvents, problem: Problem) -> Problem {
    let Some((row, path)) = problem.path.as_deref().and_then(|path| path.strip_prefix('/')?.split_once('/'))
    else {
        return problem;
    };
    match row.parse() {
        Ok(row) => Problem { path: Some(parsed.path(row, &format!("/{path}"))), ..problem },
        Err(_) => problem,
    }
}

/// The name of a backup that a body asks for: `{"name": "nightly"}`, or `latest` where there is no body.
fn backup_name(body: &[u8], room: TreeRoom<'_>) -> Result<String, Problem> {
    if body.trim_ascii().is_empty() {
        return Ok(BACKUP_NAME_DEFAULT.to_owned());
    }
    let body = Json::parse_within(body, room)?;
    let mut fields = body.root().object()?;
    let name = match fields.optional("name") {
        Some(node) => {
            let name = node.string()?;
            let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
            if !(1..=BACKUP_NAME_SIZE_MAX).contains(&name.len())
                || name.starts_with('.')
                || !name.bytes().all(is_plain)
            {
                let problem = Problem::invalid(format!("{name:?} cannot be the name of a backup"));
                return Err(problem.at("/name").hint(
                    "it is a name below the server's directory of backups, not a path: letters, digits, dots, \
                     dashes and underscores, without a dot in front",
                ));
            }
            name.to_owned()
        }
        None => BACKUP_NAME_DEFAULT.to_owned(),
    };
    fields.finish()?;
    Ok(name)
}

fn known_kind(kind: String) -> Result<&'static str, Problem> {
    QUERY_KINDS.into_iter().find(|known| *known == kind).ok_or_else(|| {
        let problem = Problem::new(ProblemClass::NotFound, format!("there is no kind of query {kind:?}"));
        match nearest(&kind, QUERY_KINDS) {
            Some(known) => problem.hint(format!("did you mean {known:?}?")),
            None => problem.hint(format!("known kinds: {}", QUERY_KINDS.join(", "))),
        }
    })
}

fn parse_query(text: &[u8], room: TreeRoom<'_>) -> Result<Json, Problem> {
    if text.trim_ascii().is_empty() {
        return Err(
            Problem::invalid("the query is empty").hint("send a JSON object; \"{}\" asks for all defaults")
        );
    }
    Json::parse_within(text, room)
}

/// Puts the kind of the address into the body, which may say it as well.
fn with_kind(query: Json, kind: &str) -> Result<Json, Problem> {
    let Json::Object(mut fields) = query else {
        return Err(Problem::invalid("the query is not a JSON object").at(""));
    };
    match fields.iter().find(|(name, _)| name == "kind") {
        Some((_, Json::String(said))) if said == kind => {}
        Some((_, said)) => {
            let detail = format!("the address asks for the kind {kind:?}, and the body for {said}");
            return Err(Problem::invalid(detail).at("/kind").hint("leave it out of the body"));
        }
        None => fields.insert(0, ("kind".to_owned(), Json::String(kind.to_owned()))),
    }
    Ok(Json::Object(fields))
}

fn accepted(count: usize) -> Result<Reply, Problem> {
    Ok(respond::json(StatusCode::OK, &json!({"accepted": count})))
}

fn no_such_user(user: &str) -> Problem {
    Problem::new(ProblemClass::NotFound, format!("there is no user {user:?}"))
}

fn timeline_limit(text: Option<&str>) -> Result<usize, Problem> {
    let Some(text) = text else { return Ok(TIMELINE_EVENT_COUNT_DEFAULT) };
    whole_number("limit", text, 1..=TIMELINE_EVENT_COUNT_MAX as u64).map(|limit| limit as usize)
}

/// A query parameter that is a whole number within a range.
fn whole_number(name: &str, text: &str, range: RangeInclusive<u64>) -> Result<u64, Problem> {
    text.parse().ok().filter(|number| range.contains(number)).ok_or_else(|| {
        let (start, end) = range.into_inner();
        let detail = format!(
            "the query parameter {name:?} is {text:?}; it can be a whole number from {start} to {end}"
        );
        Problem::invalid(detail)
    })
}

/// How long a query may take: `timeout_ms`, else as long as any.
fn time_max(text: Option<&str>, most: Duration) -> Result<Duration, Problem> {
    let Some(text) = text else { return Ok(most) };
    whole_number("timeout_ms", text, 1..=most.as_millis() as u64).map(Duration::from_millis)
}

/// A time in the address: epoch milliseconds, RFC 3339 or a date in UTC.
pub(super) fn time_parameter(name: &str, text: &str) -> Result<TimeMs, Problem> {
    let wrong = |reason: Cow<'_, str>| {
        let problem = Problem::invalid(format!("the query parameter {name:?} is {text:?}: {reason}"));
        problem.hint("give epoch milliseconds, or a time such as 2024-03-01T09:30:00Z")
    };
    match text.parse() {
        Ok(ms) => checked_time(ms).ok_or_else(|| wrong("the time is out of range".into())),
        Err(_) => parse_time(text, &TimeZone::UTC).map_err(|e| wrong(e.to_string().into())),
    }
}

/// A moment of the clock.
pub fn instant(time: TimeMs) -> Timestamp {
    Timestamp::from_millisecond(time).expect("the clock shows a time that calendars know")
}

/// The server's clock: what an event without a time is given.
pub fn now() -> TimeMs {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is past 1970");
    i64::try_from(since_epoch.as_millis()).expect("the clock is before the year 292 million")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kind_is_the_addresss() {
        let with = |text: &str| with_kind(Json::parse(text.as_bytes()).unwrap(), "funnel");
        assert_eq!(with(r#"{"steps": []}"#).unwrap().to_string(), r#"{"kind":"funnel","steps":[]}"#);
        assert_eq!(with(r#"{"kind": "funnel"}"#).unwrap().to_string(), r#"{"kind":"funnel"}"#);
        assert_eq!(with(r#"{"kind": "paths"}"#).unwrap_err().path.as_deref(), Some("/kind"));
        assert_eq!(with(r#"{"kind": 3}"#).unwrap_err().path.as_deref(), Some("/kind"));
        assert_eq!(with("[]").unwrap_err().status(), 400);
    }

    #[test]
    fn an_unknown_kind_is_told_the_nearest() {
        let problem = known_kind("funel".to_owned()).unwrap_err();
        assert_eq!((problem.status(), problem.hint.as_deref()), (404, Some("did you mean \"funnel\"?")));
    }

    #[test]
    fn times_in_the_address_are_read_as_in_bodies() {
        assert_eq!(time_parameter("before", "1709285400250"), Ok(1_709_285_400_250));
        assert_eq!(time_parameter("before", "2024-03-01T09:30:00.250Z"), Ok(1_709_285_400_250));
        assert_eq!(time_parameter("before", "2024-03-01"), Ok(1_709_251_200_000));
        assert!(time_parameter("before", "9223372036854775807").is_err());
        assert!(time_parameter("before", "yesterday").is_err());
    }

    #[test]
    fn a_query_may_be_given_less_time_than_any_may_take() {
        let most = Duration::from_secs(30);
        assert_eq!(time_max(None, most), Ok(most));
        assert_eq!(time_max(Some("250"), most), Ok(Duration::from_millis(250)));
        for text in ["0", "-1", "1.5", "30001", "5s", ""] {
            assert!(time_max(Some(text), most).is_err(), "{text}");
        }
    }

    #[test]
    fn a_backup_has_a_name_and_not_a_path() {
        let name = |body: &str| backup_name(body.as_bytes(), &mut |_| Ok(()));
        assert_eq!(name(""), Ok("latest".to_owned()));
        assert_eq!(name("{}"), Ok("latest".to_owned()));
        assert_eq!(name(r#"{"name": "2026-11-02_a.b"}"#), Ok("2026-11-02_a.b".to_owned()));
        for wrong in ["", ".", "..", ".a", "a/b", "/etc", "../a", "a b", "a\\u0000"] {
            let problem = name(&format!(r#"{{"name": "{wrong}"}}"#)).unwrap_err();
            assert_eq!((problem.status(), problem.path.as_deref()), (400, Some("/name")), "{wrong}");
        }
        assert_eq!(name(r#"{"path": "x"}"#).unwrap_err().status(), 400);
    }

    #[test]
    fn a_page_of_the_timeline_has_a_bounded_size() {
        assert_eq!(timeline_limit(None), Ok(TIMELINE_EVENT_COUNT_DEFAULT));
        assert_eq!(timeline_limit(Some("7")), Ok(7));
        for text in ["0", "-1", "1001", "x", ""] {
            assert!(timeline_limit(Some(text)).is_err(), "{text}");
        }
    }
}
