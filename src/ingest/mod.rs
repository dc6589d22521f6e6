//! Reads what clients send: bodies of events, profiles and identities.

use std::borrow::Cow;

use crate::api::{Problem, ProblemClass};
use crate::model::{Entity, EventBatch, IdentityMerge, ProfileWrite, TimeMs};

/// How a body lays out its items.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyForm {
    /// One object, or an array of them.
    Json,
    /// An object a line.
    Ndjson,
}

/// What becomes of the batch when one of its events is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnError {
    Reject,
    Skip,
}

/// An event that was left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    pub index: u64,
    pub detail: String,
    pub path: String,
}

/// The events of a body.
#[derive(Debug)]
pub struct ParsedEvents {
    pub batch: EventBatch,
    pub rejected: Vec<Rejected>,
}

pub fn decode_body<'a>(encoding: Option<&str>, body: &'a [u8]) -> Result<Cow<'a, [u8]>, Problem> {
    match encoding {
        None | Some("identity") => Ok(Cow::Borrowed(body)),
        Some(other) => {
            let detail = format!("the content encoding {other:?} is not read");
            Err(Problem::new(ProblemClass::UnsupportedMediaType, detail))
        }
    }
}

pub fn parse_events(
    body: &[u8],
    form: BodyForm,
    on_error: OnError,
    now: TimeMs,
) -> Result<ParsedEvents, Problem> {
    let _ = (body, form, on_error, now);
    Ok(ParsedEvents { batch: EventBatch::new(), rejected: Vec::new() })
}

pub fn parse_profiles(body: &[u8], form: BodyForm, entity: Entity) -> Result<Vec<ProfileWrite>, Problem> {
    let _ = (body, form, entity);
    Ok(Vec::new())
}

pub fn parse_identities(body: &[u8], form: BodyForm) -> Result<Vec<IdentityMerge>, Problem> {
    let _ = (body, form);
    Ok(Vec::new())
}
