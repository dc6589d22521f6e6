//! Reads what other products export: their events, and what those say of users, accounts and identities.
//!
//! An exported event is nearly what the product's SDK sent, so the SDK's dialect reads it; here is only what differs.
//! Everything has the id that the product gave it, so that reading a file again adds nothing.

use std::io::Read;

use hashbrown::{HashMap, HashSet};
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::changes::Said;
use super::dialects::{ExportedBy, ForeignItems, ProfileChange, Writes};
use super::files::{InputFile, InputFormat};
use super::lines::{Block, Lines};
use super::parquet::ParquetObjects;
use super::rows::{Chunk, RejectedRow, shown};
use super::zipped::ZippedFiles;
use crate::api::{Json, Problem, ProblemClass};
use crate::limits::EVENT_SIZE_MAX;
use crate::model::{IdentityMerge, Number, ProfileWrite, SECOND_MS, TimeMs};

/// Reads one file of a product's export.
pub struct ForeignReader {
    product: ExportedBy,
    source: ForeignSource,
    /// Where the product's clock on the wall stood, for exports whose times are that and not moments.
    zone: TimeZone,
    now: TimeMs,
    chunk_event_count: usize,
    identities: KnownIdentities,
    name: String,
    line: u64,
}

enum ForeignSource {
    Lines(Box<Lines<Box<dyn Read + Send>>>),
    Parquet(Box<ParquetObjects>),
}

/// Who was recognised so far, so that two users of one device stay two.
#[derive(Debug, Default)]
struct KnownIdentities {
    /// By an anonymous id, the user whose it turned out to be.
    owners: HashMap<String, String>,
    /// Users whose some anonymous id turned out to be.
    users: HashSet<String>,
    /// By the product's own number of a person, the last id that it was met under.
    persons: HashMap<String, String>,
}

impl ForeignReader {
    /// Gets ready to read `file`.
    pub fn new(
        product: ExportedBy,
        file: InputFile,
        zone: TimeZone,
        now: TimeMs,
        chunk_event_count: usize,
    ) -> Result<ForeignReader, Problem> {
        let name = file.name.clone();
        let in_file = |problem: Problem| Problem { detail: format!("{name}: {}", problem.detail), ..problem };
        let source = if file.is_zip() {
            let text = ZippedFiles::open(&file.path).map_err(in_file)?;
            ForeignSource::Lines(Box::new(Lines::new(Box::new(text))))
        } else if file.format().is_ok_and(|format| format == InputFormat::Parquet) {
            ForeignSource::Parquet(Box::new(ParquetObjects::open(&file.path).map_err(in_file)?))
        } else {
            ForeignSource::Lines(Box::new(Lines::new(file.into_text())))
        };
        let identities = KnownIdentities::default();
        Ok(ForeignReader { product, source, zone, now, chunk_event_count, identities, name, line: 0 })
    }

    /// The next events and what they say, or none after the last.
    pub fn next_chunk(&mut self) -> Result<Option<Chunk>, Problem> {
        let mut items = ForeignItems::new(self.product, self.now);
        let mut rejected: Vec<RejectedRow> = Vec::new();
        while items.event_count() < self.chunk_event_count && items.count() < self.chunk_event_count {
            let next = self.next_item().map_err(|error| {
                let (name, line) = (&self.name, self.line);
                Problem::new(
                    ProblemClass::Io,
                    format!("{name} cannot be read on: {error}, after line {line}"),
                )
            })?;
            let Some((item, input)) = next else { break };
            let read = item.and_then(|item| {
                let item = self.prepared(item);
                if let (Some(person), Some(id)) = (person_of(self.product, &item), item.get("distinct_id")) {
                    self.identities.meet(&person, id, &mut items);
                }
                items.read(&item)
            });
            if let Err(problem) = read {
                let path = problem.path.clone().unwrap_or_default();
                let reason = Problem { path: None, ..problem }.to_string();
                rejected.push(RejectedRow { line: self.line, reason, path, input: shown(input.as_bytes()) });
            }
        }
        let Writes { merges, recognised, users, accounts, events, .. } = items.into_writes();
        let mut said = Said { merges, users: joined(users), accounts: joined(accounts) };
        said.merges.extend(recognised.into_iter().filter(|merge| self.identities.is_new(merge)));
        let is_empty = events.is_empty() && said.is_empty() && rejected.is_empty();
        Ok((!is_empty).then_some(Chunk { batch: events, said, rejected, line: self.line }))
    }

    /// The next thing in the file, or why it is none, with how it stands there.
    fn next_item(&mut self) -> std::io::Result<Option<(Result<Json, Problem>, String)>> {
        match &mut self.source {
            ForeignSource::Parquet(objects) => {
                let Some(object) = objects.next_object()? else { return Ok(None) };
                self.line += 1;
                let input = object.to_string();
                Ok(Some((Ok(object), input)))
            }
            ForeignSource::Lines(lines) => loop {
                self.line = lines.line_count() + 1;
                match lines.block()? {
                    None => return Ok(None),
                    Some(Block::Overlong(start)) => {
                        let input = shown(start);
                        lines.take_overlong();
                        let detail = format!("the line has more than {EVENT_SIZE_MAX} bytes");
                        return Ok(Some((Err(Problem::invalid(detail)), input)));
                    }
                    Some(Block::Lines(block)) => {
                        let size = memchr::memchr(b'\n', block).map_or(block.len(), |feed| feed + 1);
                        let text = block[..size].trim_ascii();
                        let item = (!text.is_empty()).then(|| {
                            (super::dialects::parse_item(text), String::from_utf8_lossy(text).into_owned())
                        });
                        lines.take(size, 1);
                        if let Some(item) = item {
                            return Ok(Some(item));
                        }
                    }
                }
            },
        }
    }

    /// The event as its SDK would have sent it.
    fn prepared(&self, item: Json) -> Json {
        match self.product {
            ExportedBy::Mixpanel if self.zone != TimeZone::UTC => with_time_in(item, &self.zone),
            ExportedBy::Mixpanel => item,
            ExportedBy::Amplitude => amplitude_event(item),
            ExportedBy::PostHog => posthog_event(item),
        }
    }
}

impl KnownIdentities {
    fn is_new(&mut self, merge: &IdentityMerge) -> bool {
        // A user that others turned out to be is no anonymous id of somebody else.
        if self.owners.contains_key(&merge.from) || self.users.contains(&merge.from) {
            return false;
        }
        self.users.insert(merge.into.clone());
        self.owners.insert(merge.from.clone(), merge.into.clone());
        true
    }

    /// Says that ids of one person are one user. The later id is what a person is called by after signing in.
    fn meet(&mut self, person: &str, id: &Json, items: &mut ForeignItems) {
        let Json::String(id) = id else { return };
        match self.persons.get_mut(person) {
            Some(known) if known == id => {}
            Some(known) => {
                let is_known = self.owners.get(known) == Some(id) || self.owners.get(id) == Some(known);
                if !is_known {
                    items.merge(known, id);
                    self.owners.insert(known.clone(), id.clone());
                }
                id.clone_into(known);
            }
            None => {
                self.persons.insert(person.to_owned(), id.clone());
            }
        }
    }
}

/// The product's own name of the person whose event it is.
fn person_of(product: ExportedBy, item: &Json) -> Option<String> {
    match (product, item.get("person_id")) {
        (ExportedBy::PostHog, Some(Json::String(person))) if !person.is_empty() => Some(person.clone()),
        _ => None,
    }
}

/// One write for each owner: exports tell the whole profile with every event, of which the last holds.
fn joined(changes: Vec<ProfileChange>) -> Vec<ProfileWrite> {
    let mut places: HashMap<String, usize> = HashMap::new();
    let mut joined: Vec<ProfileWrite> = Vec::new();
    for ProfileChange { write, .. } in changes {
        let is_plain = write.set_once.is_empty() && write.add.is_empty() && write.unset.is_empty();
        match places.get(&write.id).filter(|_| is_plain) {
            Some(&place) => {
                let known = &mut joined[place].set;
                for (name, value) in write.set {
                    known.retain(|(known, _)| *known != name);
                    known.push((name, value));
                }
            }
            None => {
                if is_plain {
                    places.insert(write.id.clone(), joined.len());
                } else {
                    places.remove(&write.id);
                }
                joined.push(write);
            }
        }
    }
    joined
}

fn into_fields(item: Json) -> Vec<(String, Json)> {
    if let Json::Object(fields) = item { fields } else { Vec::new() }
}

/// Moves the time of a Mixpanel event, whose seconds count what a clock in `zone` showed, to the moment it was.
fn with_time_in(item: Json, zone: &TimeZone) -> Json {
    let moved = |seconds: Number| -> Option<Json> {
        let shown =
            Timestamp::from_millisecond(seconds.mantissa_at(0)?.try_into().ok().map(|s: i64| s * SECOND_MS)?);
        let moment = zone.to_timestamp(TimeZone::UTC.to_datetime(shown.ok()?)).ok()?;
        Some(Json::Number(moment.as_millisecond().into()))
    };
    let fields = into_fields(item).into_iter().map(|(name, value)| match value {
        Json::Object(properties) if name == "properties" => {
            let properties = properties.into_iter().map(|(name, value)| match value {
                Json::Number(seconds) if name == "time" => (name, moved(seconds).unwrap_or(value)),
                other => (name, other),
            });
            (name, Json::Object(properties.collect()))
        }
        other => (name, other),
    });
    Json::Object(fields.collect())
}

/// Fields in which Amplitude keeps its own books.
const AMPLITUDE_BOOKS: [&str; 20] = [
    "$schema",
    "amplitude_attribution_ids",
    "amplitude_event_type",
    "amplitude_id",
    "app",
    "client_event_time",
    "client_upload_time",
    "data",
    "data_type",
    "display_name",
    "event_id",
    "global_user_properties",
    "is_attribution_event",
    "partner_id",
    "plan",
    "processed_time",
    "sample_rate",
    "server_received_time",
    "server_upload_time",
    "source_id",
];

/// Renames what Amplitude's export calls otherwise than its API.
fn amplitude_event(item: Json) -> Json {
    let mut fields = into_fields(item);
    let has_insert_id = fields.iter().any(|(name, value)| name == "$insert_id" && *value != Json::Null);
    fields.retain(|(name, _)| !AMPLITUDE_BOOKS.contains(&name.as_str()));
    let renamed = fields.into_iter().filter_map(|(name, value)| match name.as_str() {
        "event_time" => Some(("time".to_owned(), value)),
        "uuid" if has_insert_id => None,
        "uuid" => Some(("insert_id".to_owned(), value)),
        _ => Some((name, value)),
    });
    Json::Object(renamed.collect())
}

/// Columns of PostHog's batch exports that are an event; the others are its books.
const POSTHOG_COLUMNS: [&str; 6] = ["uuid", "event", "distinct_id", "timestamp", "properties", "person_id"];

/// Parses the objects that PostHog's exports keep as text. The person's properties are the user's profile.
fn posthog_event(item: Json) -> Json {
    let parsed = |value: Json| match value {
        Json::String(text) => super::dialects::parse_item(text.as_bytes()).unwrap_or(Json::Null),
        other => other,
    };
    let fields = into_fields(item).into_iter().filter_map(|(name, value)| match name.as_str() {
        "properties" => Some((name, parsed(value))),
        "person_properties" => Some(("$set".to_owned(), parsed(value))),
        known if POSTHOG_COLUMNS.contains(&known) => Some((name, value)),
        _ => None,
    });
    Json::Object(fields.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_on_the_wall_is_moved_to_its_moment() {
        let item =
            super::super::dialects::parse_item(br#"{"event":"e","properties":{"time":1709285400,"a":1}}"#);
        let zone = TimeZone::get("America/New_York").unwrap();
        let moved = with_time_in(item.unwrap(), &zone);
        assert_eq!(moved.to_string(), r#"{"event":"e","properties":{"time":1709303400000,"a":1}}"#);
    }
}
