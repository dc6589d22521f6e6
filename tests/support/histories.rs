//! Random histories: small, and full of what goes wrong.
//!
//! Few users, few names and few moments, so that events meet: at one millisecond, at midnights of several
//! zones, on days of 23 and 25 hours, exactly a window apart and one millisecond more.

use std::fmt;

use flywheeldb::api::Json;
use flywheeldb::model::{
    DAY_MS, Entity, Event, HOUR_MS, IdentityMerge, MINUTE_MS, Number, ProfileWrite, SECOND_MS, TimeMs, Value,
    WEEK_MS,
};

use super::dice::Dice;

/// One thing that happens to a store.
#[derive(Clone, Debug)]
pub enum Act {
    Events(Vec<Event>),
    Profiles(Entity, Vec<ProfileWrite>),
    Merge(Vec<IdentityMerge>),
    Delete(String),
    /// The growth model is stored.
    Model(Json),
    Seal,
    Compact,
    Reopen,
    /// A query that the store must answer as the reference does.
    Ask(Json),
}

/// What happens, and the moments at which events lie, for queries to ask about.
#[derive(Clone, Debug)]
pub struct History {
    pub acts: Vec<Act>,
    pub moments: Vec<TimeMs>,
}

pub const USERS: [&str; 7] = ["u1", "u2", "u3", "u4", "anon-1", "anon-2", "anon-3"];
pub const ACCOUNTS: [&str; 3] = ["acme", "globex", "initech"];
/// Ids that events name: of users, of an account, and of nobody.
const NAMED: [&str; 8] = ["u1", "u2", "u3", "u4", "anon-1", "anon-2", "acme", "nobody"];
pub const EVENTS: [&str; 4] = ["a", "b", "c", "d"];

/// Moments that histories begin at: changes of clocks in Berlin, midnights of Berlin, Kolkata and UTC, the
/// ends of months and years, a leap day, and times before 1970.
const ANCHORS: [&str; 14] = [
    "2024-01-01T00:00:00Z",
    "2024-01-15T12:00:00Z",
    "2024-02-28T23:59:59.999Z",
    "2024-02-29T18:30:00Z",
    "2024-03-30T23:00:00Z",
    "2024-03-31T00:59:59.999Z",
    "2024-03-31T01:00:00Z",
    "2024-03-31T22:00:00Z",
    "2024-10-26T22:00:00Z",
    "2024-10-27T00:30:00Z",
    "2024-10-27T01:30:00Z",
    "2023-12-31T18:29:59.999Z",
    "2023-12-31T23:00:00Z",
    "1969-12-31T23:59:59.999Z",
];

/// Steps from one moment to the next.
const GAPS_MS: [i64; 22] = [
    1,
    SECOND_MS,
    MINUTE_MS,
    MINUTE_MS + 1,
    30 * MINUTE_MS,
    HOUR_MS,
    HOUR_MS,
    6 * HOUR_MS,
    12 * HOUR_MS,
    23 * HOUR_MS,
    DAY_MS - 1,
    DAY_MS,
    DAY_MS,
    DAY_MS + 1,
    25 * HOUR_MS,
    2 * DAY_MS,
    WEEK_MS,
    WEEK_MS + 1,
    2 * WEEK_MS,
    2 * WEEK_MS + 1,
    31 * DAY_MS,
    100 * DAY_MS,
];

const MOMENT_COUNT_MAX: usize = 12;
const EVENT_COUNT_MAX: usize = 24;
const BATCH_COUNT_MAX: usize = 5;

/// Throws a history.
pub fn history(dice: &mut Dice) -> History {
    let moments = moments(dice);
    // The fewer users, the more each of them did.
    let first_user = dice.below(USERS.len() - 1);
    let users = &USERS[first_user..dice.between(first_user + 1, USERS.len())];
    let mut events: Vec<Event> = Vec::new();
    for _ in 0..dice.between(6, EVENT_COUNT_MAX) {
        let event = match events.is_empty() {
            false if dice.percent(12) => again(dice, &events),
            _ => event(dice, users, &moments),
        };
        events.push(event);
    }
    let mut acts = Vec::new();
    let batch_count = dice.between(1, BATCH_COUNT_MAX);
    for batch in events.chunks(events.len().div_ceil(batch_count)) {
        acts.push(Act::Events(batch.to_vec()));
        for _ in 0..2 {
            if dice.percent(60) {
                acts.push(other_act(dice));
            }
        }
    }
    History { acts, moments }
}

fn moments(dice: &mut Dice) -> Vec<TimeMs> {
    let anchor: jiff::Timestamp = dice.pick(&ANCHORS).parse().expect("anchors are moments");
    let mut moments = vec![anchor.as_millisecond()];
    // Some histories stay within hours and some go from day to day, so that buckets of each size are worth
    // asking for.
    let gaps = match dice.below(3) {
        0 => &GAPS_MS[..9],
        1 => &GAPS_MS[7..16],
        _ => &GAPS_MS[..],
    };
    for _ in 1..dice.between(3, MOMENT_COUNT_MAX) {
        moments.push(moments[moments.len() - 1] + dice.pick(gaps));
    }
    moments
}

fn event(dice: &mut Dice, users: &[&str], moments: &[TimeMs]) -> Event {
    Event {
        event: dice.pick(&EVENTS).to_owned(),
        user: dice.pick(users).to_owned(),
        time: dice.pick(moments),
        id: dice.percent(30).then(|| dice.pick(&["i1", "i2"]).to_owned()),
        account: dice.percent(60).then(|| dice.pick(&ACCOUNTS).to_owned()),
        properties: properties(dice),
    }
}

/// An event that was sent before, perhaps with other properties, or by another id of its user.
fn again(dice: &mut Dice, events: &[Event]) -> Event {
    let mut event = dice.pick(events);
    event.id.get_or_insert_with(|| "i1".to_owned());
    if dice.percent(30) {
        event.properties = properties(dice);
    }
    if dice.percent(30) {
        event.user = dice.pick(&USERS).to_owned();
    }
    event
}

fn properties(dice: &mut Dice) -> Vec<(String, Value)> {
    let mut properties = Vec::new();
    if dice.percent(75) {
        properties.push(("country".to_owned(), dice.pick(&["at", "de", "fr", "it"]).into()));
    }
    if dice.percent(60) {
        properties.push(("amount".to_owned(), number(dice)));
    }
    if dice.percent(50) {
        properties.push(("mixed".to_owned(), scalar(dice)));
    }
    if dice.percent(50) {
        let by = if dice.percent(90) { dice.pick(&NAMED).into() } else { scalar(dice) };
        properties.push(("by".to_owned(), by));
    }
    if dice.percent(40) {
        let elements = (0..dice.below(4)).map(|_| scalar(dice)).collect();
        properties.push(("tags".to_owned(), Value::List(elements)));
    }
    properties
}

/// A number that doubles would round, or count apart from its like.
pub fn number(dice: &mut Dice) -> Value {
    let texts = ["0.1", "0.2", "1", "1.0", "2.5", "-3", "10", "12345678901234567.89", "1e20", "0"];
    Value::Number(Number::parse(dice.pick(&texts)).expect("these are numbers"))
}

/// Any value that is no list.
pub fn scalar(dice: &mut Dice) -> Value {
    match dice.below(4) {
        0 => number(dice),
        1 => dice.percent(50).into(),
        _ => dice.pick(&["de", "fr", "10", "true", "Größe", ""]).into(),
    }
}

fn other_act(dice: &mut Dice) -> Act {
    match dice.below(10) {
        0 | 1 => Act::Seal,
        2 => Act::Compact,
        3 => Act::Reopen,
        4 | 5 => Act::Merge((0..dice.between(1, 3)).map(|_| merge(dice)).collect()),
        6 | 7 => {
            let entity = dice.pick(&[Entity::User, Entity::User, Entity::Account]);
            Act::Profiles(entity, (0..dice.between(1, 4)).map(|_| profile_write(dice, entity)).collect())
        }
        8 => Act::Profiles(Entity::User, (0..3).map(|_| profile_write(dice, Entity::User)).collect()),
        _ => Act::Delete(dice.pick(&USERS).to_owned()),
    }
}

/// A merge of any two ids: chains, repeats and cycles come of themselves.
fn merge(dice: &mut Dice) -> IdentityMerge {
    let from = dice.pick(&USERS[3..]);
    let into = dice.pick(&USERS);
    IdentityMerge { from: from.to_owned(), into: into.to_owned() }
}

fn profile_write(dice: &mut Dice, entity: Entity) -> ProfileWrite {
    let ids: &[&str] = if entity == Entity::User { &USERS } else { &ACCOUNTS };
    let mut write = ProfileWrite { id: dice.pick(ids).to_owned(), ..ProfileWrite::default() };
    if dice.percent(70) {
        write.set.push(("plan".to_owned(), dice.pick(&["free", "pro", "team"]).into()));
    }
    if dice.percent(30) {
        write.set.push(("seats".to_owned(), scalar(dice)));
    }
    if dice.percent(30) {
        write.set_once.push(("source".to_owned(), dice.pick(&["ad", "friend"]).into()));
    }
    if dice.percent(30) {
        let Value::Number(term) = number(dice) else { unreachable!("numbers are thrown") };
        write.add.push(("seats".to_owned(), term));
    }
    if dice.percent(20) {
        write.unset.push(dice.pick(&["plan", "source"]).to_owned());
    }
    write
}

/// Writes an act as the body of its request.
impl fmt::Display for Act {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Act::Events(events) => {
                writeln!(f, "events")?;
                events.iter().try_for_each(|event| writeln!(f, "    {}", event_text(event)))
            }
            Act::Profiles(entity, writes) => {
                writeln!(f, "profiles of {}s", entity.name())?;
                writes.iter().try_for_each(|write| writeln!(f, "    {write:?}"))
            }
            Act::Merge(merges) => {
                writeln!(f, "merges")?;
                merges.iter().try_for_each(|merge| writeln!(f, "    {} into {}", merge.from, merge.into))
            }
            Act::Delete(user) => writeln!(f, "delete {user}"),
            Act::Model(model) => writeln!(f, "the growth model {model}"),
            Act::Seal => writeln!(f, "seal"),
            Act::Compact => writeln!(f, "compact"),
            Act::Reopen => writeln!(f, "close and open"),
            Act::Ask(query) => writeln!(f, "ask {query}"),
        }
    }
}

fn event_text(event: &Event) -> String {
    let time = jiff::Timestamp::from_millisecond(event.time).expect("histories stay within the calendar");
    let mut text = format!("{time} {} {}", event.user, event.event);
    if let Some(id) = &event.id {
        text += &format!(" id={id}");
    }
    if let Some(account) = &event.account {
        text += &format!(" account={account}");
    }
    for (name, value) in &event.properties {
        text += &format!(" {name}={value}");
    }
    text
}
