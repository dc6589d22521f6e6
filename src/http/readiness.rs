//! Whether the server can be relied on, as `GET /readyz` says it.
//!
//! Healthy is not ready: a server that answers may have a store that takes no writes, lacks files, or whose disk does
//! not answer.

use std::sync::atomic::Ordering;
use std::time::Duration;

use hyper::StatusCode;
use serde_json::{Value, json};

use super::handlers::App;
use super::respond::{self, Reply};
use crate::store::Health;

/// Time within which the store has to say how it is.
const TIME_MAX: Duration = Duration::from_secs(5);

/// How the server is.
#[derive(Clone, Debug)]
pub(super) struct Readiness {
    /// `ready`, `degraded`, `read_only`, `failed` or `stopping`.
    word: &'static str,
    /// Whether requests should be sent here.
    is_serving: bool,
    takes_writes: bool,
    told: Value,
}

impl Readiness {
    /// Whether all is well.
    pub fn is_ready(&self) -> bool {
        self.word == "ready"
    }

    pub fn takes_writes(&self) -> bool {
        self.takes_writes
    }

    fn down(word: &'static str, detail: Option<String>) -> Readiness {
        let mut told = json!({"status": word});
        if let Some(detail) = detail {
            told["detail"] = detail.into();
        }
        Readiness { word, is_serving: false, takes_writes: false, told }
    }

    fn of(health: &Health) -> Readiness {
        let word = match health {
            Health { write_failure: Some(_), .. } => "read_only",
            health if !health.is_whole() => "degraded",
            _ => "ready",
        };
        let mut told = json!({"status": word});
        let mut tell = |name: &str, value: Value| told[name] = value;
        if !health.is_whole() {
            let missing = health.missing.iter();
            let missing: Vec<_> =
                missing.map(|file| json!({"file": file.name, "detail": file.reason})).collect();
            tell("missing", missing.into());
            tell("damaged", health.damaged.clone().into());
        }
        if let Some(reason) = &health.write_failure {
            tell("detail", reason.clone().into());
        }
        if let Some(reason) = &health.expiry_halted {
            tell("expiry_halted", reason.clone().into());
        }
        // A store without some of its files takes no writes.
        let takes_writes = health.write_failure.is_none() && health.missing.is_empty();
        Readiness { word, is_serving: word != "read_only", takes_writes, told }
    }
}

impl App {
    /// Finds out how the server is.
    pub(super) async fn readiness(&self) -> Readiness {
        if self.is_stopping.load(Ordering::Relaxed) {
            return Readiness::down("stopping", None);
        }
        match tokio::time::timeout(TIME_MAX, self.bridge.health()).await {
            Ok(Ok(health)) => Readiness::of(&health),
            Ok(Err(problem)) => Readiness::down("failed", Some(problem.detail)),
            Err(_) => {
                Readiness::down("failed", Some("the store did not answer; its disk may be stuck".to_owned()))
            }
        }
    }

    pub(super) async fn show_readiness(&self) -> Reply {
        let readiness = self.readiness().await;
        let status = if readiness.is_serving { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        respond::json(status, &readiness.told)
    }
}
