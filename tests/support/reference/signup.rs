//! Signups: the first of everybody, and which events it is.

use std::collections::BTreeSet;

use flywheeldb::model::{Event, TimeMs};

use super::question::Question;
use super::split::{Key, Split};

/// The first signup of somebody.
pub struct Signup<'a> {
    pub owner: &'a str,
    pub time: TimeMs,
    pub keys: BTreeSet<Key>,
    /// The events of which one is the signup itself.
    own: Vec<&'a Event>,
}

impl Signup<'_> {
    /// The times of the owner's events among these from the signup on, without the signup itself, ascending.
    pub fn after(&self, question: &Question, events: &[&Event]) -> Vec<TimeMs> {
        let is_own = |event: &Event| self.own.iter().any(|own| std::ptr::eq(*own, event));
        let mut after: Vec<&Event> = events
            .iter()
            .filter(|event| question.owner(event) == Some(self.owner) && event.time >= self.time)
            .copied()
            .collect();
        if let Some(index) = after.iter().position(|event| is_own(event)) {
            after.remove(index);
        }
        let mut times: Vec<TimeMs> = after.iter().map(|event| event.time).collect();
        times.sort_unstable();
        times
    }
}

/// Whether an event counts for anybody.
pub fn owned(question: &Question, event: &Event) -> bool {
    question.owner(event).is_some()
}

pub fn owners<'a>(question: &Question, events: impl Iterator<Item = &'a Event>) -> BTreeSet<&'a str> {
    events.filter_map(|event| question.owner(event)).collect()
}

/// The first signups, of signup events that all have owners. Of signups at one instant the one of the smallest name is
/// it, and the smallest rows are the user's.
pub fn signups<'a>(question: &'a Question, split: &Split, events: &[&'a Event]) -> Vec<Signup<'a>> {
    let mut signups = Vec::new();
    for owner in owners(question, events.iter().copied()) {
        let own: Vec<&Event> =
            events.iter().filter(|event| question.owner(event) == Some(owner)).copied().collect();
        let time = own.iter().map(|event| event.time).min().expect("an owner has an event");
        let tied: Vec<&Event> = own.into_iter().filter(|event| event.time == time).collect();
        let name = tied.iter().map(|event| &event.event).min().expect("a first one");
        let own = tied.iter().copied().filter(|event| event.event == *name).collect();
        signups.push(Signup { owner, time, keys: split.smallest_keys(question, &tied), own });
    }
    signups
}
