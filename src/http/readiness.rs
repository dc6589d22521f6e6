//! Whether the server can be relied on, as `GET /readyz` says it.
//!
//! Healthy is not ready: a server that answers may have a store that takes no writes, or a disk that does not answer.

use std::sync::atomic::Ordering;
use std::time::Duration;

use hyper::StatusCode;
use serde::Serialize;

use super::bridge::Lane;
use super::handlers::App;
use super::respond::{self, Reply};
use crate::Store;

/// Time within which the store has to say how it is.
const TIME_MAX: Duration = Duration::from_secs(5);

/// How the server is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Readiness {
    /// `ready`, `degraded`, `failed` or `stopping`.
    status: &'static str,
    reads: bool,
    writes: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    reasons: Vec<String>,
}

impl Readiness {
    pub fn is_ready(&self) -> bool {
        self.status == "ready"
    }

    pub fn takes_writes(&self) -> bool {
        self.writes
    }

    fn of(store: &Store) -> Readiness {
        let reasons: Vec<String> = store.write_failure().into_iter().collect();
        match reasons.is_empty() {
            true => Readiness { status: "ready", reads: true, writes: true, reasons },
            false => Readiness { status: "degraded", reads: true, writes: false, reasons },
        }
    }
}

impl App {
    /// Finds out how the server is.
    pub(super) async fn readiness(&self) -> Readiness {
        if self.is_stopping.load(Ordering::Relaxed) {
            return Readiness { status: "stopping", reads: false, writes: false, reasons: Vec::new() };
        }
        let asked = self.bridge.read(Lane::Health, |store| Ok(Readiness::of(store)));
        let failed = |reason: String| Readiness {
            status: "failed",
            reads: false,
            writes: false,
            reasons: vec![reason],
        };
        match tokio::time::timeout(TIME_MAX, asked).await {
            Ok(Ok(readiness)) => readiness,
            Ok(Err(problem)) => failed(problem.detail),
            Err(_) => failed("the store did not answer; its disk may be stuck".to_owned()),
        }
    }

    pub(super) async fn show_readiness(&self) -> Reply {
        let readiness = self.readiness().await;
        let status = if readiness.is_ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        respond::json(status, &readiness)
    }
}
