//! Runs queries: first among the quick ones, then, if one was not and others wait, where it makes way.
//!
//! On two cores a few heavy queries would hold up everything else, and nobody knows beforehand which ones are heavy. So
//! each begins in the lane for quick queries. Where it is after a moment, it goes on only as long as nobody else wants
//! its place; else it is given up and begins anew in a lane of their own, on threads to which the system gives time
//! only when nobody else wants it. What it did until then is lost: little more than that moment if there is a crowd, and
//! nothing if there is none. A query keeps its deadline through both.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hyper::header::{HeaderName, HeaderValue};

use super::bridge::{Asker, Lane};
use super::handlers::{App, QUERY_KINDS};
use super::respond::{self, Reply};
use super::validator::is_held;
use crate::Store;
use crate::api::{Format, Json, Problem, encode};
use crate::query::{Budget, Courtesy, QueryOptions};

/// A query whose body is still to be read.
pub(super) struct AskedQuery {
    pub format: Format,
    /// Once its body has arrived, the wait for a thread included.
    pub time_max: Duration,
    /// The tags of results that the asker has: the values of `If-None-Match`.
    pub held: Vec<String>,
}

/// What comes back from the thread of a query.
enum Told {
    /// The asker has the result already, with this tag.
    Held(String),
    Table {
        encoded: Vec<u8>,
        tag: Option<String>,
        /// What each part took.
        timing: String,
        /// The damaged files that the answer is without.
        degraded: String,
    },
    /// It takes longer than a moment, and others wait.
    MakesWay,
}

impl AskedQuery {
    /// Runs the query, from its parsing to its encoding, and tells what each part took. `query` gives its body, which
    /// carries its `"kind"`.
    ///
    /// It stops when its time is over, and when the asker goes.
    pub async fn run(
        self,
        app: &App,
        query: impl FnOnce(&Store) -> Result<Json, Problem> + Send + 'static,
    ) -> Result<Reply, Problem> {
        let (asker, asked) = (Asker::default(), Instant::now());
        let body = app.bridge.read(Lane::Quick, query).await.map(Arc::new);
        let kind = body.as_ref().map_or("unknown", |body| kind_of(body));
        let told = match body {
            Ok(body) => self.answer(app, body, asked, &asker).await,
            Err(problem) => Err(problem),
        };
        app.metrics.queried(kind, asked.elapsed(), told.as_ref().err());
        match told? {
            Told::MakesWay => unreachable!("the slow lane answers"),
            Told::Held(tag) => Ok(respond::not_modified(&tag)),
            Told::Table { encoded, tag, timing, degraded } => {
                let mut reply = respond::table(self.format, encoded, tag.as_deref());
                let timing = HeaderValue::from_str(&timing).expect("words and numbers are visible ASCII");
                reply.headers_mut().insert(HeaderName::from_static("server-timing"), timing);
                if !degraded.is_empty() {
                    // Formats other than JSON have no place for it.
                    let degraded =
                        HeaderValue::from_str(&degraded).expect("names of files are visible ASCII");
                    reply.headers_mut().insert(HeaderName::from_static("flywheel-degraded"), degraded);
                }
                Ok(reply)
            }
        }
    }

    async fn answer(
        &self,
        app: &App,
        query: Arc<Json>,
        asked: Instant,
        asker: &Asker,
    ) -> Result<Told, Problem> {
        let deadline = asked + self.time_max;
        let attempt = |makes_way: bool| {
            let (query, held, format) = (Arc::clone(&query), self.held.clone(), self.format);
            let (validator, quick_time) = (app.validator, app.settings.quick_query_time);
            let memory_max = app.settings.query_memory as u64;
            let (cancelled, others) = (asker.has_gone(), app.bridge.wanting());
            move |store: &Store| {
                let begun = Instant::now();
                let tag = |snapshot| validator.tag(&query, format, snapshot);
                if !held.is_empty()
                    && let Some(tag) = tag(store.snapshot().number)
                    && is_held(&tag, &held)
                {
                    return Ok(Told::Held(tag));
                }
                let is_shown = Arc::new(AtomicBool::new(false));
                let courtesy =
                    Courtesy { after: begun + quick_time, others, is_shown: Arc::clone(&is_shown) };
                let courtesy = (!makes_way).then_some(courtesy);
                let budget = Budget { deadline: Some(deadline), cancelled, memory_max, courtesy, makes_way };
                let answer = store.query_with(&query, &QueryOptions { now: None, budget });
                if answer.is_err() && is_shown.load(Ordering::Relaxed) {
                    return Ok(Told::MakesWay);
                }
                let answer = answer?;
                let answered = Instant::now();
                let (encoded, tag) = (encode(&answer, format), tag(answer.statistics.snapshot));
                let degraded = answer.statistics.degraded.join(", ");
                let timing =
                    [("wait", begun - asked), ("query", answered - begun), ("encode", answered.elapsed())];
                let timing = timing.map(|(part, time)| format!("{part};dur={:.3}", time.as_secs_f64() * 1e3));
                Ok(Told::Table { encoded, tag, timing: timing.join(", "), degraded })
            }
        };
        match app.bridge.read(Lane::Quick, attempt(false)).await? {
            Told::MakesWay => {
                app.metrics.queries_slowed.add(1);
                app.bridge.read(Lane::Slow, attempt(true)).await
            }
            told => Ok(told),
        }
    }
}

/// The kind of a query, as metrics call it.
fn kind_of(query: &Json) -> &'static str {
    let said = match query.get("kind") {
        Some(Json::String(kind)) => kind.as_str(),
        _ => "",
    };
    QUERY_KINDS.into_iter().find(|known| *known == said).unwrap_or("unknown")
}
