//! Sign-ups: who was born when, and what of theirs happened after.

use std::collections::{BTreeMap, BTreeSet};

use flywheeldb::api::Json;
use flywheeldb::model::{Event, TimeMs};

use super::Refusal;
use super::filter::Selector;
use super::question::Question;
use super::split::{Key, Split};

/// Somebody's first matching event ever.
pub struct Signup<'a> {
    pub owner: &'a str,
    pub time: TimeMs,
    /// All sign-up events of that instant.
    pub tied: Vec<&'a Event>,
}

/// The sign-ups that lie in the range, by who.
pub fn signups<'a>(question: &'a Question, selector: &Selector) -> Vec<Signup<'a>> {
    let mut signups = first_of_everybody(question, &question.matching(selector));
    signups.retain(|signup| question.in_range(signup.time));
    signups
}

/// The first of these events of everybody, by who.
pub fn first_of_everybody<'a>(question: &'a Question, events: &[&'a Event]) -> Vec<Signup<'a>> {
    let mut by_owner: BTreeMap<&str, Vec<&Event>> = BTreeMap::new();
    for event in events {
        if let Some(owner) = question.owner(event) {
            by_owner.entry(owner).or_default().push(event);
        }
    }
    let first = |(owner, events): (&'a str, Vec<&'a Event>)| {
        let time = events.iter().map(|event| event.time).min().expect("there is one");
        Signup { owner, time, tied: events.into_iter().filter(|event| event.time == time).collect() }
    };
    by_owner.into_iter().map(first).collect()
}

/// Who did any of these.
pub fn owners<'a>(question: &Question, events: impl Iterator<Item = &'a Event>) -> BTreeSet<&'a str> {
    events.filter_map(|event| question.owner(event)).collect()
}

impl<'a> Signup<'a> {
    /// The sign-up itself is one of these: of those that tie, one with the first name.
    fn own(&self) -> Vec<&'a Event> {
        let name = self.tied.iter().map(|event| &event.event).min();
        self.tied.iter().filter(|event| Some(&event.event) == name).copied().collect()
    }

    /// The rows that it counts in, of tied ones the first.
    pub fn keys(&self, question: &Question, split: &Split) -> BTreeSet<Key> {
        split.smallest_keys(question, &self.tied)
    }

    /// What the selector takes of theirs from the sign-up on, in order of time, without the sign-up itself.
    pub fn later(&self, question: &'a Question, selector: &Selector) -> Vec<&'a Event> {
        self.later_of(question, &question.matching(selector))
    }

    /// The same of these events.
    pub fn later_of(&self, question: &Question, events: &[&'a Event]) -> Vec<&'a Event> {
        let is_theirs = |event: &&Event| question.owner(event) == Some(self.owner) && event.time >= self.time;
        let mut events: Vec<&Event> = events.iter().copied().filter(is_theirs).collect();
        let own = self.own();
        let itself = events.iter().position(|event| own.iter().any(|own| std::ptr::eq(*own, *event)));
        if let Some(itself) = itself {
            events.remove(itself);
        }
        events.sort_by_key(|event| event.time);
        events
    }
}

/// The members of a cohort, judged on so much of each one's events from the sign-up on, without the sign-up itself and
/// what repeats it at that instant.
pub fn members_within(
    question: &Question,
    signups: &[Signup],
    cohort: &Json,
    within: i64,
) -> Result<BTreeSet<String>, Refusal> {
    let mut events = Vec::new();
    for signup in signups {
        let own = signup.own();
        for event in &question.events {
            let is_theirs = question.owner(event) == Some(signup.owner);
            let is_own = own.iter().any(|own| std::ptr::eq(*own, event));
            if is_theirs && !is_own && (signup.time..=signup.time + within).contains(&event.time) {
                events.push(event.clone());
            }
        }
    }
    let known = question.everyone();
    let reference = question.reference.with_first_days_only(events, (question.entity, known));
    // The same question, without a condition that looks at events which are not there any more.
    let Json::Object(fields) = question.query else { unreachable!("a query is an object") };
    let fields = fields.iter().filter(|(name, _)| name != "where").cloned().collect();
    super::cohort::members(&Question::new(&reference, &Json::Object(fields))?, cohort)
}
