//! The one thing that all dialects mean: events, ids that are one user, and changes to profiles.

use std::borrow::Cow;

use hashbrown::HashSet;

use super::flat::Flat;
use super::recent::RecentIds;
use crate::api::Json;
use crate::ingest::event::{EventLimits, check_size};
use crate::ingest::fault::Fault;
use crate::limits::{
    ENTITY_ID_SIZE_MAX, EVENT_ID_SIZE_MAX, EVENT_NAME_SIZE_MAX, LIST_ELEMENT_COUNT_MAX, PROPERTY_COUNT_MAX,
};
use crate::model::{
    EventBatch, IdentityMerge, Number, ProfileWrite, SECOND_MS, TimeMs, Value, checked_time, parse_time,
};

/// The property of a user's profile that names the account which a group call put the user into.
pub const PROFILE_LINK: &str = "account";

/// What a request asks to be stored, in the order in which that is done: merges, profiles, events.
#[derive(Debug, Default)]
pub struct Writes {
    /// Ids that the sender says are one user.
    pub merges: Vec<IdentityMerge>,
    /// An anonymous id and the user whose it turned out to be: a merge, unless the id was somebody else's already.
    pub recognised: Vec<IdentityMerge>,
    /// The anonymous ids of those.
    pub recognised_ids: HashSet<String>,
    pub users: Vec<ProfileChange>,
    pub accounts: Vec<ProfileChange>,
    pub events: EventBatch,
    /// What was none of these.
    pub dropped: Vec<Dropped>,
    /// Things that were sent, dropped ones included.
    pub item_count: usize,
}

/// A change to a profile, applied in the order of the fields.
#[derive(Debug, Default)]
pub struct ProfileChange {
    /// Unset everything that is there first.
    pub clears: bool,
    pub write: ProfileWrite,
    pub lists: Vec<(String, ListChange)>,
    /// What was sent with one id is done once.
    pub once: Option<String>,
}

impl ProfileChange {
    /// Whether what it does depends on what the profile holds.
    pub fn needs_reading(&self) -> bool {
        self.clears || !self.lists.is_empty()
    }
}

/// A change to the list that a property holds. A value that is no list is a list of one; none is an empty one. What a
/// list is too long for is left out at its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListChange {
    Append(Vec<Value>),
    Prepend(Vec<Value>),
    /// Append what is not there yet.
    Union(Vec<Value>),
    PrependMissing(Vec<Value>),
    Remove(Vec<Value>),
}

impl ListChange {
    /// The list as the change leaves it.
    pub fn apply(&self, mut list: Vec<Value>) -> Vec<Value> {
        let missing = |list: &[Value], values: &[Value]| {
            let mut missing: Vec<Value> = Vec::new();
            for value in values {
                if !list.contains(value) && !missing.contains(value) {
                    missing.push(value.clone());
                }
            }
            missing
        };
        match self {
            ListChange::Append(values) => list.extend(values.iter().cloned()),
            ListChange::Prepend(values) => drop(list.splice(..0, values.iter().cloned())),
            ListChange::Union(values) => list.extend(missing(&list, values)),
            ListChange::PrependMissing(values) => drop(list.splice(..0, missing(&list, values))),
            ListChange::Remove(values) => list.retain(|known| !values.contains(known)),
        }
        list.truncate(LIST_ELEMENT_COUNT_MAX);
        list
    }
}

/// Something that was left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dropped {
    /// Its place in the request, from 0.
    pub index: usize,
    /// The id that its sender gave it.
    pub id: Option<String>,
    /// The field that is wrong, in the sender's words, and whether it is missing rather than wrong.
    pub field: String,
    pub is_missing: bool,
    pub reason: String,
}

/// An event before it is known to be one.
#[derive(Debug, Default)]
pub(super) struct Draft<'a> {
    pub event: &'a str,
    pub user: &'a str,
    pub time: Option<TimeMs>,
    pub id: Option<&'a str>,
    pub account: Option<&'a str>,
    pub properties: Flat,
}

/// What readers of all dialects work with.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    pub writes: Writes,
    pub now: TimeMs,
    pub recent: &'a RecentIds,
    pub limits: EventLimits,
}

impl Reader<'_> {
    /// Reads items one by one; what is wrong with one drops that one only.
    pub fn each(
        &mut self,
        items: &[Json],
        id_field: &str,
        mut read: impl FnMut(&mut Self, &Json) -> Result<(), Fault>,
    ) {
        for item in items {
            let index = self.writes.item_count;
            self.writes.item_count += 1;
            let done = match item {
                Json::Object(_) => read(self, item),
                _ => Err(Fault::new("expected an object")),
            };
            if let Err(fault) = done {
                let id = text(item.get(id_field)).map(Cow::into_owned);
                let field = fault.path.trim_start_matches('/').to_owned();
                let is_missing = fault.detail.ends_with("is missing");
                self.writes.dropped.push(Dropped { index, id, field, is_missing, reason: fault.sentence() });
            }
        }
    }

    /// Adds an event. Without a time it happened when it was first sent.
    pub fn event(&mut self, draft: Draft<'_>) -> Result<(), Fault> {
        let Draft { event, user, time, id, account, properties } = draft;
        check_size("event", event, EVENT_NAME_SIZE_MAX).map_err(|fault| fault.at("event"))?;
        check_user(user)?;
        let account = account.filter(|account| !account.is_empty() && account.len() <= ENTITY_ID_SIZE_MAX);
        let id = id.filter(|id| !id.is_empty()).map(short_id);
        let time = match (time, &id) {
            (Some(time), _) => time,
            (None, Some(id)) => self.recent.first_seen(id, self.now),
            (None, None) => self.now,
        };
        let batch = &mut self.writes.events;
        batch
            .push_event(event, user, time, id.as_deref(), account)
            .map_err(|error| Fault::new(error.to_string()))?;
        for (name, value) in properties.into_values(self.limits) {
            batch.push_property(&name, &value).expect("names are checked as they are taken in");
        }
        Ok(())
    }

    /// Says that two ids are one user, called by `into` from now on.
    pub fn merge(&mut self, from: &str, into: &str) -> Result<(), Fault> {
        check_user(from)?;
        check_user(into)?;
        let count_max = self.limits.batch_event_count_max;
        if self.writes.merges.len() == count_max {
            return Err(Fault::new(format!("a request merges at most {count_max} pairs of ids")));
        }
        if from != into {
            self.writes.merges.push(IdentityMerge { from: from.to_owned(), into: into.to_owned() });
        }
        Ok(())
    }

    /// Says that an anonymous id turned out to be a user's.
    pub fn recognise(&mut self, from: &str, into: &str) -> Result<(), Fault> {
        check_user(from)?;
        check_user(into)?;
        // Of an id that two users had in one request the first one's it is.
        if from != into && self.writes.recognised_ids.insert(from.to_owned()) {
            self.writes.recognised.push(IdentityMerge { from: from.to_owned(), into: into.to_owned() });
        }
        Ok(())
    }

    /// Sets properties of a user; nulls unset them.
    pub fn set_user(&mut self, user: &str, properties: Flat) -> Result<(), Fault> {
        self.change_user(user, set(properties))
    }

    pub fn change_user(&mut self, user: &str, change: ProfileChange) -> Result<(), Fault> {
        check_user(user)?;
        push_change(&mut self.writes.users, user, change);
        Ok(())
    }

    /// Sets properties of an account; nulls unset them.
    pub fn set_account(&mut self, account: &str, properties: Flat) -> Result<(), Fault> {
        self.change_account(account, set(properties))
    }

    pub fn change_account(&mut self, account: &str, change: ProfileChange) -> Result<(), Fault> {
        check_size("account", account, ENTITY_ID_SIZE_MAX).map_err(|fault| fault.at("account"))?;
        push_change(&mut self.writes.accounts, account, change);
        Ok(())
    }
}

/// A change that sets properties.
pub(super) fn set(properties: Flat) -> ProfileChange {
    let (set, unset) = properties.into_profile();
    ProfileChange {
        write: ProfileWrite { set, unset, ..ProfileWrite::default() },
        ..ProfileChange::default()
    }
}

fn push_change(changes: &mut Vec<ProfileChange>, id: &str, mut change: ProfileChange) {
    let ProfileWrite { set, set_once, add, unset, .. } = &change.write;
    let is_empty = set.is_empty() && set_once.is_empty() && add.is_empty() && unset.is_empty();
    if !is_empty || change.clears || !change.lists.is_empty() {
        change.write.id = id.to_owned();
        change.write.unset.truncate(PROPERTY_COUNT_MAX);
        change.lists.truncate(PROPERTY_COUNT_MAX);
        changes.push(change);
    }
}

fn check_user(user: &str) -> Result<(), Fault> {
    check_size("user", user, ENTITY_ID_SIZE_MAX).map_err(|fault| fault.at("user"))
}

/// An id that is too long for an event's is its hash.
fn short_id(id: &str) -> Cow<'_, str> {
    match id.len() > EVENT_ID_SIZE_MAX {
        true => format!("{:032x}", xxhash_rust::xxh3::xxh3_128(id.as_bytes())).into(),
        false => id.into(),
    }
}

/// A string that is not empty, or a number as its digits: what ids are sent as.
pub(super) fn text(json: Option<&Json>) -> Option<Cow<'_, str>> {
    match json? {
        Json::String(text) if !text.is_empty() => Some(Cow::Borrowed(text)),
        Json::Number(number) => Some(Cow::Owned(number.to_string())),
        _ => None,
    }
}

/// A moment: RFC 3339 or the like, or a number since 1970 of a unit that its size tells. `None` for null.
pub(super) fn time(field: &str, json: Option<&Json>) -> Result<Option<TimeMs>, Fault> {
    let wrong = |shown: &dyn std::fmt::Display| Fault::new(format!("{shown} is no time")).at(field);
    match json {
        None | Some(Json::Null) => Ok(None),
        Some(Json::String(text)) if text.is_empty() => Ok(None),
        Some(Json::String(text)) => match Number::parse(text) {
            Ok(number) => epoch(number).map(Some).ok_or_else(|| wrong(text)),
            Err(_) => date_time(text).map(Some).ok_or_else(|| wrong(text)),
        },
        Some(Json::Number(number)) => epoch(*number).map(Some).ok_or_else(|| wrong(number)),
        Some(other) => Err(wrong(other)),
    }
}

/// Seconds before the year 5138, milliseconds before 5138, or microseconds.
fn epoch(number: Number) -> Option<TimeMs> {
    const SECONDS_END: i128 = 100_000_000_000;
    const MILLISECONDS_END: i128 = SECONDS_END * SECOND_MS as i128;
    let micros = {
        let exponent = number.exponent() + 6;
        let factor = 10_i128.checked_pow(exponent.unsigned_abs())?;
        if exponent < 0 {
            number.mantissa().div_euclid(factor)
        } else {
            number.mantissa().checked_mul(factor)?
        }
    };
    let magnitude = (micros / 1_000_000).unsigned_abs() as i128;
    let ms = match magnitude {
        seconds if seconds < SECONDS_END => micros.div_euclid(1_000),
        milliseconds if milliseconds < MILLISECONDS_END => micros.div_euclid(1_000_000),
        _ => micros.div_euclid(1_000_000_000),
    };
    checked_time(i64::try_from(ms).ok()?)
}

/// RFC 3339, or the same without an offset, which is then UTC.
fn date_time(text: &str) -> Option<TimeMs> {
    let utc = jiff::tz::TimeZone::UTC;
    if let Ok(time) = parse_time(text, &utc) {
        return Some(time);
    }
    let local: jiff::civil::DateTime = text.trim_end_matches(" UTC").parse().ok()?;
    let nanoseconds = utc.to_timestamp(local).ok()?.as_nanosecond();
    checked_time(nanoseconds.div_euclid(1_000_000) as i64)
}

/// Kinds of groups that are an account, the likeliest first. The SDKs let groups be of any kind; we have one.
const ACCOUNT_KINDS: [&str; 12] = [
    "account",
    "account_id",
    "company",
    "company_id",
    "organization",
    "organization_id",
    "organisation",
    "organisation_id",
    "workspace",
    "workspace_id",
    "team",
    "customer",
];

/// The account among an event's groups, which are an object of kinds and ids: the likeliest kind, else the first.
pub(super) fn account_of(groups: Option<&Json>) -> Option<Cow<'_, str>> {
    likely_account(groups).or_else(|| match groups {
        Some(Json::Object(fields)) => fields.iter().find_map(|(_, id)| first_text(id)),
        _ => None,
    })
}

/// The account among fields of which most are no groups.
pub(super) fn likely_account(fields: Option<&Json>) -> Option<Cow<'_, str>> {
    ACCOUNT_KINDS.iter().find_map(|kind| first_text(fields?.get(kind)?))
}

/// An id, or the first of a list of them.
fn first_text(json: &Json) -> Option<Cow<'_, str>> {
    match json {
        Json::Array(items) => items.iter().find_map(|item| text(Some(item))),
        other => text(Some(other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_known_by_its_size() {
        let moment = Ok(Some(1_709_285_400_250));
        let read = |json: &str| time("time", Some(&super::super::lenient::parse(json.as_bytes()).unwrap()));
        for json in [
            "1709285400.25",
            "1709285400250",
            "1709285400250000",
            "\"1709285400250\"",
            "\"2024-03-01T09:30:00.250Z\"",
            "\"2024-03-01T10:30:00.250000+01:00\"",
            "\"2024-03-01 09:30:00.250000\"",
            "\"2024-03-01T09:30:00.250\"",
        ] {
            assert_eq!(read(json), moment, "{json}");
        }
        assert_eq!(read("null"), Ok(None));
        assert_eq!(read("-1"), Ok(Some(-1000)));
        assert!(read("\"soon\"").is_err());
        assert!(read("true").is_err());
        assert!(read("1e30").is_err());
    }

    #[test]
    fn lists_change_as_their_names_say() {
        let list = |texts: &[&str]| texts.iter().map(|text| Value::from(*text)).collect::<Vec<_>>();
        let apply = |change: ListChange| change.apply(list(&["a", "b"]));
        assert_eq!(apply(ListChange::Append(list(&["b", "c"]))), list(&["a", "b", "b", "c"]));
        assert_eq!(apply(ListChange::Union(list(&["b", "c", "c"]))), list(&["a", "b", "c"]));
        assert_eq!(apply(ListChange::Prepend(list(&["b"]))), list(&["b", "a", "b"]));
        assert_eq!(apply(ListChange::PrependMissing(list(&["b", "c"]))), list(&["c", "a", "b"]));
        assert_eq!(apply(ListChange::Remove(list(&["a", "z"]))), list(&["b"]));
    }

    #[test]
    fn the_likeliest_kind_of_group_is_the_account() {
        let parse = |json: &str| super::super::lenient::parse(json.as_bytes()).unwrap();
        let groups = parse(r#"{"project":"p","company":["acme","other"]}"#);
        assert_eq!(account_of(Some(&groups)).as_deref(), Some("acme"));
        assert_eq!(account_of(Some(&parse(r#"{"project":7}"#))).as_deref(), Some("7"));
        assert_eq!(likely_account(Some(&parse(r#"{"project":7}"#))), None);
        assert_eq!(account_of(None), None);
    }
}
