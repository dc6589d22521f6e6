//! The scripted life of a small store, and who did what in it, worked out the plain way.
//!
//! Every event carries a mark of its own, so that a lost, doubled or made-up event can be named.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use flywheeldb::model::{DAY_MS, Entity, Event, HOUR_MS, IdentityMerge, ProfileWrite, TimeMs, Value};

/// One call of the store's interface.
#[derive(Clone, Debug)]
pub enum Call {
    Ingest(Vec<Event>),
    /// Events in two batches that go into no log, and a seal.
    Load(Vec<Event>),
    WriteProfiles(Entity, Vec<ProfileWrite>),
    MergeIdentities(Vec<IdentityMerge>),
    DeleteUser(&'static str),
    /// A name and a body.
    PutCohort(&'static str, &'static str),
    DeleteCohort(&'static str),
    /// A key, by its number.
    CreateKey(u8),
    RevokeKey(u8),
    Seal,
    Compact,
    /// Close, and open again.
    Reopen,
}

impl Call {
    /// Whether the call changes what queries answer.
    pub fn writes(&self) -> bool {
        !matches!(self, Call::Seal | Call::Compact | Call::Reopen)
    }

    /// Whether the call may be made a second time when nobody knows what became of the first.
    pub fn can_be_repeated(&self) -> bool {
        match self {
            Call::Ingest(events) | Call::Load(events) => events.iter().all(|event| event.id.is_some()),
            Call::WriteProfiles(_, writes) => writes.iter().all(|write| write.add.is_empty()),
            _ => true,
        }
    }

    pub fn name(&self) -> &'static str {
        match self {
            Call::Ingest(_) => "ingest",
            Call::Load(_) => "load",
            Call::WriteProfiles(..) => "write_profiles",
            Call::MergeIdentities(_) => "merge_identities",
            Call::DeleteUser(_) => "delete_user",
            Call::PutCohort(..) => "put_cohort",
            Call::DeleteCohort(_) => "delete_cohort",
            Call::CreateKey(_) => "create_key",
            Call::RevokeKey(_) => "revoke_key",
            Call::Seal => "seal",
            Call::Compact => "compact",
            Call::Reopen => "reopen",
        }
    }
}

/// Midnight of 2026-01-01 UTC.
pub const YEAR_START: TimeMs = 1_767_225_600_000;

/// The name of the property that holds an event's mark.
const MARK: &str = "mark";

/// The calls of the script, in order. The last one is not part of it: it is made after each recovery.
pub static CALLS: LazyLock<Vec<Call>> = LazyLock::new(|| {
    let mut marks = Marks(0);
    let first = vec![
        marks.did("ada", "signup", 3),
        marks.did("bo", "signup", 4),
        marks.did("cy", "signup", 31),
        marks.did("dee", "signup", 33),
        marks.did("eve", "signup", 60),
        marks.did("ada", "project_created", 5),
    ];
    let again = first[1..3].to_vec();
    let late = vec![
        marks.did("ada", "purchase", 40),
        marks.did("bo", "page_viewed", -50),
        marks.did("dee", "purchase", 41),
        marks.did("eve", "page_viewed", -20),
    ];
    let late_again = late[1..].to_vec();
    vec![
        Call::Ingest(first),
        Call::WriteProfiles(Entity::User, vec![plan("ada", "pro"), plan("bo", "free"), plan("dee", "pro")]),
        Call::Ingest(vec![
            marks.did("anon-1", "page_viewed", 1),
            marks.did("anon-2", "page_viewed", 30),
            marks.did("anon-3", "project_created", 32),
        ]),
        Call::Ingest([again, vec![marks.did("bo", "project_created", 6)]].concat()),
        Call::Seal,
        Call::MergeIdentities(vec![merge("anon-1", "ada")]),
        Call::Ingest(late),
        Call::Ingest(without_ids(marks.crowd(60))),
        Call::WriteProfiles(Entity::Account, vec![industry("acme", "toys"), industry("globex", "tools")]),
        Call::Seal,
        Call::Compact,
        Call::Reopen,
        Call::DeleteUser("dee"),
        Call::Ingest([vec![marks.did("bo", "purchase", 62)], late_again[..1].to_vec()].concat()),
        Call::MergeIdentities(vec![merge("anon-2", "anon-3"), merge("anon-3", "cy"), merge("anon-1", "ada")]),
        Call::WriteProfiles(
            Entity::User,
            vec![
                ProfileWrite { add: vec![("logins".to_owned(), 3.into())], ..plan("cy", "pro") },
                ProfileWrite { id: "ada".to_owned(), unset: vec!["plan".to_owned()], ..Default::default() },
                ProfileWrite {
                    id: "bo".to_owned(),
                    set_once: vec![("plan".to_owned(), "pro".into()), ("source".to_owned(), "ads".into())],
                    ..Default::default()
                },
            ],
        ),
        Call::Seal,
        Call::Ingest(vec![marks.did("dee", "signup", 70), marks.did("anon-2", "purchase", 34)]),
        Call::Compact,
        Call::DeleteUser("eve"),
        Call::Ingest(marks.crowd(12)),
        Call::Load(vec![
            marks.did("cy", "page_viewed", 71),
            marks.did("fay", "signup", 72),
            marks.did("anon-3", "purchase", 73),
            marks.did("fay", "project_created", 104),
        ]),
        Call::PutCohort("new", r#"{"first_did": "signup"}"#),
        Call::PutCohort("fixed", r#"{"users": ["ada", "bo", "anon-2"], "static": true}"#),
        Call::CreateKey(0),
        Call::CreateKey(1),
        Call::RevokeKey(0),
        Call::Seal,
        Call::Compact,
        Call::Reopen,
        Call::DeleteCohort("new"),
        Call::CreateKey(2),
        Call::RevokeKey(1),
        Call::Ingest(vec![marks.did("cy", "purchase", 80), marks.did("bo", "page_viewed", 81)]),
        Call::Ingest(vec![marks.did("zed", "signup", 82), marks.did("ada", "purchase", 83)]),
    ]
});

/// The number of the call that is made after each recovery.
pub fn last_call_index() -> usize {
    CALLS.len() - 1
}

/// Counts the events that were made.
pub struct Marks(pub u32);

impl Marks {
    /// An event so many days after the start of the year, told apart by its mark and its id.
    pub fn did(&mut self, user: &str, event: &str, day: i64) -> Event {
        self.0 += 1;
        let mut properties = vec![(MARK.to_owned(), format!("mark-{}", self.0).as_str().into())];
        if event == "purchase" {
            properties.push(("amount".to_owned(), i64::from(self.0).into()));
        }
        Event {
            event: event.to_owned(),
            user: user.to_owned(),
            time: YEAR_START + day * DAY_MS + i64::from(self.0 % 24) * HOUR_MS,
            id: Some(format!("id-{}", self.0)),
            account: Some(if self.0.is_multiple_of(2) { "acme" } else { "globex" }.to_owned()),
            properties,
        }
    }

    /// Many events of ten users over three months, with enough text to fill several sectors.
    fn crowd(&mut self, event_count: u32) -> Vec<Event> {
        let names = ["signup", "project_created", "page_viewed", "purchase"];
        let event = |index: u32| {
            let day = i64::from(index * 37 % 90);
            let mut event =
                self.did(&format!("user-{}", index % 10), names[index as usize / 10 % names.len()], day);
            event.properties.push(("note".to_owned(), format!("{index} ").repeat(20).as_str().into()));
            event
        };
        (0..event_count).map(event).collect()
    }
}

fn without_ids(mut events: Vec<Event>) -> Vec<Event> {
    events.iter_mut().for_each(|event| event.id = None);
    events
}

fn merge(from: &str, into: &str) -> IdentityMerge {
    IdentityMerge { from: from.to_owned(), into: into.to_owned() }
}

fn plan(id: &str, plan: &str) -> ProfileWrite {
    ProfileWrite { id: id.to_owned(), set: vec![("plan".to_owned(), plan.into())], ..Default::default() }
}

fn industry(id: &str, industry: &str) -> ProfileWrite {
    ProfileWrite {
        id: id.to_owned(),
        set: vec![("industry".to_owned(), industry.into())],
        ..Default::default()
    }
}

/// Marks of each user's events, sorted. A user without events is not there.
pub type MarksByUser = BTreeMap<String, Vec<String>>;

/// The marks that each user must have after these calls.
pub fn marks_after<'a>(calls: impl IntoIterator<Item = &'a Call>) -> MarksByUser {
    let mut events: Vec<Event> = Vec::new();
    let mut merged: BTreeMap<String, String> = BTreeMap::new();
    for call in calls {
        match call {
            Call::Ingest(batch) | Call::Load(batch) => {
                for event in batch {
                    let event = Event { user: called(&merged, &event.user), ..event.clone() };
                    let is_known = |known: &Event| {
                        event.id.is_some()
                            && (&known.id, &known.event, &known.user, known.time)
                                == (&event.id, &event.event, &event.user, event.time)
                    };
                    if !events.iter().any(is_known) {
                        events.push(event);
                    }
                }
            }
            Call::MergeIdentities(pairs) => {
                for pair in pairs {
                    let (from, into) = (called(&merged, &pair.from), called(&merged, &pair.into));
                    if from != into {
                        let moved = events.iter_mut().filter(|event| event.user == from);
                        moved.for_each(|event| event.user.clone_from(&into));
                        merged.insert(from, into);
                    }
                }
            }
            Call::DeleteUser(user) => {
                let gone = called(&merged, user);
                events.retain(|event| event.user != gone);
            }
            Call::WriteProfiles(..)
            | Call::PutCohort(..)
            | Call::DeleteCohort(_)
            | Call::CreateKey(_)
            | Call::RevokeKey(_)
            | Call::Seal
            | Call::Compact
            | Call::Reopen => {}
        }
    }
    let mut marks = MarksByUser::new();
    for event in &events {
        let (_, mark) = event.properties.iter().find(|(name, _)| name == MARK).expect("every event has one");
        let Value::String(mark) = mark else { unreachable!("marks are strings") };
        marks.entry(event.user.clone()).or_default().push(mark.clone());
    }
    marks.values_mut().for_each(|marks| marks.sort());
    marks
}

/// Keys that the script makes.
pub const KEY_COUNT: u8 = 3;

/// The numbers of the keys that open a store after these calls.
pub fn open_keys_after<'a>(calls: impl IntoIterator<Item = &'a Call>) -> BTreeSet<u8> {
    let mut open = BTreeSet::new();
    for call in calls {
        match call {
            Call::CreateKey(number) => {
                open.insert(*number);
            }
            Call::RevokeKey(number) => {
                open.remove(number);
            }
            _ => {}
        }
    }
    open
}

fn called(merged: &BTreeMap<String, String>, user: &str) -> String {
    let mut name = user;
    while let Some(into) = merged.get(name) {
        name = into;
    }
    name.to_owned()
}

/// Everyone whom the script ever names and who never becomes part of another user.
pub fn users() -> Vec<String> {
    let named =
        ["ada", "bo", "cy", "dee", "eve", "zed", "fay", "anon-1", "anon-2", "anon-3"].map(str::to_owned);
    named.into_iter().chain((0..10).map(|index| format!("user-{index}"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_follow_duplicates_merges_and_deletions() {
        let marks = marks_after(CALLS.iter());
        assert_eq!(
            marks["ada"],
            ["mark-1", "mark-11", "mark-6", "mark-7", "mark-97"].map(|mark| mark.to_owned())
        );
        assert!(!marks.contains_key("eve") && !marks.contains_key("anon-1"));
        assert_eq!(marks["dee"].len(), 1, "only what came after the deletion");
        assert_eq!(marks_after(CALLS.iter().chain(&CALLS[20..21])), marks, "a repeat changes nothing");
        assert_eq!(open_keys_after(CALLS.iter()), BTreeSet::from([2]));
    }
}
