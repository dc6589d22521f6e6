//! What an operator watches: counts and times of requests, queries and connections, with those of the store and of the
//! process. `GET /metrics` tells them; docs/operations.md says which to be woken by.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::{Method, StatusCode};
use parking_lot::Mutex;

use super::bridge::Lane;
use super::handlers::App;
use super::process;
use super::respond::Reply;
use crate::api::Problem;
use crate::store::Bound;
use crate::telemetry::{self, Counter, Exposition, Histogram};

/// What the server counts.
#[derive(Debug, Default)]
pub(super) struct Metrics {
    /// By method, route and status.
    requests: Mutex<BTreeMap<(&'static str, &'static str, u16), u64>>,
    /// By what was wrong.
    refused: Mutex<BTreeMap<&'static str, u64>>,
    /// By kind.
    queries: Mutex<BTreeMap<&'static str, Queries>>,
    in_flight: AtomicUsize,
    pub events_rejected: Counter,
    /// Queries that took longer than their first moments.
    pub queries_slowed: Counter,
}

#[derive(Debug, Default)]
struct Queries {
    time: Histogram,
    by_outcome: BTreeMap<&'static str, u64>,
}

impl Metrics {
    /// Notes that a request is under way, until what is returned is dropped: also if its asker leaves.
    pub fn begin(&self) -> InFlight<'_> {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlight(self)
    }

    /// Notes an answer. `route` is the pattern of the address, so that there are not as many as there are users.
    pub fn answered(&self, method: &Method, route: &'static str, status: u16) {
        // A method is as free as an address.
        let known = ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"];
        let method = known.into_iter().find(|known| *known == method.as_str()).unwrap_or("other");
        *self.requests.lock().entry((method, route, status)).or_default() += 1;
    }

    /// How many requests were answered, unless one is under way.
    pub fn answered_while_idle(&self) -> Option<u64> {
        (self.in_flight.load(Ordering::Relaxed) == 0).then(|| self.requests.lock().values().sum())
    }

    /// Notes a refusal, of a request or a connection.
    pub fn refused(&self, problem: &Problem) {
        *self.refused.lock().entry(problem.class.code()).or_default() += 1;
    }

    /// Notes a query that is over, answered or not.
    pub fn queried(&self, kind: &'static str, time: Duration, problem: Option<&Problem>) {
        let mut queries = self.queries.lock();
        let of_kind = queries.entry(kind).or_default();
        of_kind.time.observe(time);
        let outcome = problem.map_or("answered", |problem| problem.class.code());
        *of_kind.by_outcome.entry(outcome).or_default() += 1;
    }
}

/// A request that is under way.
pub(super) struct InFlight<'a>(&'a Metrics);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

impl App {
    /// The body of `GET /metrics`. `is_ready` is what `GET /readyz` would say, `None` if the store does not answer.
    pub(super) fn show_metrics(&self, is_ready: bool, takes_writes: bool) -> Reply {
        let mut out = Exposition::default();
        self.tell_requests(&mut out);
        self.tell_queries(&mut out);
        self.tell_connections(&mut out);
        self.tell_store(&mut out, is_ready, takes_writes);
        process::tell(&mut out);
        let mut reply = Reply::new(out.finish().into());
        *reply.status_mut() = StatusCode::OK;
        reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(telemetry::CONTENT_TYPE));
        reply.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        reply
    }

    fn tell_requests(&self, out: &mut Exposition) {
        let metrics = &self.metrics;
        out.family("flywheel_requests", "counter", "Requests answered.");
        for ((method, route, status), count) in metrics.requests.lock().iter() {
            let labels = [("method", *method), ("route", *route), ("status", &status.to_string())];
            out.counter(&labels, *count as f64);
        }
        let in_flight = metrics.in_flight.load(Ordering::Relaxed);
        out.family("flywheel_requests_in_flight", "gauge", "Requests being answered.")
            .gauge(&[], in_flight as f64);
        out.family("flywheel_refused", "counter", "Requests and connections refused.");
        for (reason, count) in metrics.refused.lock().iter() {
            out.counter(&[("reason", reason)], *count as f64);
        }
        out.family("flywheel_writes_waiting", "gauge", "Writing requests that wait for their turn.")
            .gauge(&[], self.bridge.waiting_write_count() as f64);
        out.family("flywheel_body_memory_bytes", "gauge", "Memory that bodies of requests take.")
            .gauge(&[], self.bodies.used() as f64);
    }

    fn tell_queries(&self, out: &mut Exposition) {
        let queries = self.metrics.queries.lock();
        out.family("flywheel_query_seconds", "histogram", "Time that queries took, their wait included.");
        for (kind, of_kind) in queries.iter() {
            out.histogram(&[("kind", kind)], &of_kind.time);
        }
        out.family("flywheel_queries", "counter", "Queries, by how they ended.");
        for (kind, of_kind) in queries.iter() {
            for (outcome, count) in &of_kind.by_outcome {
                out.counter(&[("kind", kind), ("outcome", outcome)], *count as f64);
            }
        }
        drop(queries);
        out.family("flywheel_queries_slowed", "counter", "Queries that made way for quicker ones.")
            .counter(&[], self.metrics.queries_slowed.count() as f64);
        let loads = Lane::ALL.map(|lane| (lane.word(), self.bridge.load(lane)));
        out.family("flywheel_reads_running", "gauge", "Reads that run, by lane.");
        for (lane, (running, _)) in loads {
            out.gauge(&[("lane", lane)], running as f64);
        }
        out.family("flywheel_reads_waiting", "gauge", "Reads that wait for a thread, by lane.");
        for (lane, (_, waiting)) in loads {
            out.gauge(&[("lane", lane)], waiting as f64);
        }
    }

    fn tell_connections(&self, out: &mut Exposition) {
        let counts = self.connections.counts();
        out.family("flywheel_connections", "gauge", "Connections open.").gauge(&[], counts.open as f64);
        out.family("flywheel_connections_evicted", "counter", "Waiting connections closed for new ones.")
            .counter(&[], counts.evicted as f64);
        out.family("flywheel_connections_refused", "counter", "Connections refused for want of room.")
            .counter(&[], counts.refused as f64);
    }

    fn tell_store(&self, out: &mut Exposition, is_ready: bool, takes_writes: bool) {
        let store = self.bridge.store();
        let (did, size) = (store.telemetry(), store.size());
        let flag = |is_so: bool| if is_so { 1.0 } else { 0.0 };
        out.family("flywheel_ready", "gauge", "1 if all is well, as GET /readyz says.")
            .gauge(&[], flag(is_ready));
        out.family("flywheel_takes_writes", "gauge", "1 if the store takes writes.")
            .gauge(&[], flag(takes_writes));
        out.family("flywheel_events", "counter", "Events that arrived, by what became of them.")
            .counter(&[("outcome", "accepted")], did.events_accepted.count() as f64)
            .counter(&[("outcome", "duplicate")], did.events_duplicate.count() as f64)
            .counter(&[("outcome", "rejected")], self.metrics.events_rejected.count() as f64);
        out.family("flywheel_log_sync_seconds", "histogram", "Syncs of the log, each for all that waited.")
            .histogram(&[], &did.log_sync);
        out.family("flywheel_seals", "counter", "Times that memory was sealed to segments.")
            .counter(&[("outcome", "done")], did.seals.count() as f64)
            .counter(&[("outcome", "failed")], did.seals_failed.count() as f64);
        out.family("flywheel_compactions", "counter", "Times that segments were joined.")
            .counter(&[("outcome", "done")], did.compactions.count() as f64)
            .counter(&[("outcome", "failed")], did.compactions_failed.count() as f64);
        out.family("flywheel_segments", "gauge", "Segments on disk.").gauge(&[], size.segment_count as f64);
        out.family("flywheel_segments_bytes", "gauge", "Bytes of the segments.")
            .gauge(&[], size.segment_bytes as f64);
        out.family("flywheel_segment_rows", "gauge", "Rows in segments, of events and profiles.")
            .gauge(&[], size.row_count as f64);
        out.family("flywheel_memory_bytes", "gauge", "Bytes of changes that are not in segments yet.")
            .gauge(&[], size.memory_bytes as f64);
        out.family("flywheel_change", "gauge", "The number of the last change.")
            .gauge(&[], size.change as f64);
        out.family(
            "flywheel_known_ids",
            "gauge",
            "Ids that the store knows, those of merged users included.",
        )
        .gauge(&[("entity", "user")], size.user_id_count as f64)
        .gauge(&[("entity", "account")], size.account_id_count as f64);
        out.family(
            "flywheel_over_bound",
            "counter",
            "Events, writes to profiles and merges refused, by bound.",
        );
        for (bound, count) in Bound::ALL.into_iter().zip(&did.over_bound) {
            out.counter(&[("bound", bound.name())], count.count() as f64);
        }
        out.family("flywheel_documents", "gauge", "What is stored by name, keys included.")
            .gauge(&[], size.document_count as f64);
    }
}
