//! Virality: who was invited by whom, how often, and how soon that brought somebody.

use std::collections::{BTreeMap, BTreeSet};

use flywheeldb::api::Json;
use flywheeldb::model::{DAY_MS, Entity, Event, TimeMs, Value};

use super::Refusal;
use super::calendar::{Interval, duration};
use super::filter::{On, Selector, value_of};
use super::growth_model::part;
use super::measure::{cell, percentile, real, share, whole};
use super::question::{Question, text};
use super::signups::{Signup, first_of_everybody, owners};
use super::split::{Key, Split};
use crate::support::reading;
use crate::support::tables::Row;

/// All that is known of invitations.
pub struct Invitations<'a> {
    signups: Vec<Signup<'a>>,
    invites: Vec<&'a Event>,
    accepts: Vec<&'a Event>,
    /// Whom an accept names.
    named: BTreeMap<usize, String>,
}

const WINDOW_UNLESS_SAID: TimeMs = 30 * DAY_MS;

pub fn answer(question: &Question) -> Result<Vec<Row>, Refusal> {
    question.check_fields(&["signup", "invite", "accept", "interval", "by", "window", "tree"], &[])?;
    let split = Split::read(question)?;
    if split.has_event_properties() {
        return Err(Refusal::Invalid("not split by properties of events".to_owned()));
    }
    let all = Invitations::read(question)?;
    // Whoever does anything in the range has a row.
    let any = Selector::read(question, &Json::String("*".to_owned()))?;
    let events = owned(question, &any);
    let in_range: Vec<&Event> =
        events.iter().copied().filter(|event| question.in_range(event.time)).collect();
    let folded = split.fold(
        &in_range,
        |event| split.keys(question, event),
        |events| Some(whole(owners(question, events.iter().copied().copied()).len())),
    );
    let unfolded = in_range.iter().map(|event| split.keys(question, event));
    // A user's keys are folded as the same keys of the events are.
    let fold: BTreeMap<BTreeSet<Key>, BTreeSet<Key>> = unfolded.zip(folded.iter().cloned()).collect();
    let keys_of = |event: &Event| fold[&split.keys(question, event)].clone();
    let rows = split.rows(folded.iter());
    if question.flag("tree")? {
        return Ok(tree(question, &split, &all, &fold));
    }
    let interval = question.interval()?.unwrap_or(Interval::Day);
    let window = match question.text("by")? {
        Some("signup") => Some(question.field("window").map_or(Ok(WINDOW_UNLESS_SAID), duration)?),
        _ => None,
    };
    let mut told = Vec::new();
    for bucket in question.calendar.buckets(interval, question.from(), question.to) {
        for key in &rows {
            let here = |event: &&&Event| {
                bucket.holds(event.time) && question.in_range(event.time) && keys_of(event).contains(key)
            };
            let mut row = vec![("time".to_owned(), question.calendar.told(interval, bucket.start))];
            row.extend(split.columns(key));
            let signups: Vec<&Signup> = all
                .signups
                .iter()
                .filter(|signup| bucket.holds(signup.time) && question.in_range(signup.time))
                .filter(|signup| fold[&signup.keys(question, &split)].contains(key))
                .collect();
            let active = owners(question, events.iter().filter(here).copied()).len();
            row.extend(all.cells(question, &signups, active, window, here));
            told.push(row);
        }
    }
    Ok(told)
}

/// What a selector takes of the events that somebody did who is counted.
fn owned<'a>(question: &'a Question, selector: &Selector) -> Vec<&'a Event> {
    question.matching(selector).into_iter().filter(|event| question.owner(event).is_some()).collect()
}

impl<'a> Invitations<'a> {
    pub fn read(question: &'a Question) -> Result<Invitations<'a>, Refusal> {
        let matching = |name: &str| -> Result<Vec<&'a Event>, Refusal> {
            Ok(owned(question, &Selector::read(question, part(question, name)?)?))
        };
        let inviter = text(part(question, "accept")?, "inviter")?;
        let inviter = inviter.ok_or_else(|| Refusal::Invalid("accepts name an inviter".to_owned()))?;
        let accepts = matching("accept")?;
        let named = accepts.iter().enumerate().filter_map(|(index, accept)| {
            let id = match value_of(question, On::Event, inviter, accept)? {
                Value::String(id) => id.clone(),
                Value::Number(number) => number.to_string(),
                Value::List(elements) => match elements.iter().collect::<BTreeSet<_>>().first() {
                    Some(Value::String(id)) if elements.iter().all(|e| e.as_str() == Some(id)) => id.clone(),
                    Some(Value::Number(number))
                        if elements.iter().all(|e| e.as_number() == Some(*number)) =>
                    {
                        number.to_string()
                    }
                    _ => return None,
                },
                Value::Bool(_) => return None,
            };
            let name = match question.entity {
                Entity::User => question.reference.name_of(&id),
                Entity::Account => id,
            };
            Some((index, name))
        });
        Ok(Invitations {
            signups: first_of_everybody(question, &matching("signup")?),
            invites: matching("invite")?,
            named: named.collect(),
            accepts,
        })
    }

    /// Who invited somebody: the one that its earliest accept names, of tied ones the first by name.
    fn inviter_of(&self, question: &Question, owner: &str) -> Option<&str> {
        let own = self.named.iter().filter(|(index, _)| question.owner(self.accepts[**index]) == Some(owner));
        let first = own.min_by_key(|(index, name)| (self.accepts[**index].time, (*name).clone()));
        first.map(|(_, name)| name.as_str())
    }

    fn signup_of(&self, owner: &str) -> Option<TimeMs> {
        self.signups.iter().find(|signup| signup.owner == owner).map(|signup| signup.time)
    }

    /// The times of accepts that name somebody.
    fn accepted_of(&self, owner: &str) -> Vec<TimeMs> {
        self.named
            .iter()
            .filter(|(_, name)| *name == owner)
            .map(|(index, _)| self.accepts[*index].time)
            .collect()
    }

    /// The inviter who signed up no later, and is somebody else.
    fn earlier_inviter(&self, question: &Question, signup: &Signup) -> Option<&Signup<'a>> {
        let inviter = self.inviter_of(question, signup.owner)?;
        let inviter = self.signups.iter().find(|known| known.owner == inviter)?;
        (inviter.owner != signup.owner && inviter.time <= signup.time).then_some(inviter)
    }

    /// The cells from `new_users` on.
    fn cells(
        &self,
        question: &Question,
        signups: &[&Signup],
        active: usize,
        window: Option<TimeMs>,
        here: impl Fn(&&&Event) -> bool,
    ) -> Row {
        let has_accepted =
            |signup: &&&Signup| self.accepts.iter().any(|e| question.owner(e) == Some(signup.owner));
        let invited = signups.iter().filter(has_accepted).count();
        let (inviters, invites, accepted) = match window {
            None => {
                let sent: Vec<&&Event> = self.invites.iter().filter(&here).collect();
                let inviters = owners(question, sent.iter().map(|event| **event)).len();
                (inviters, sent.len(), self.accepts.iter().filter(&here).count())
            }
            Some(window) => {
                let sent = |signup: &&Signup| self.sent_after(question, signup, window);
                let accepted = |signup: &&Signup| {
                    let times = self.accepted_of(signup.owner).into_iter();
                    times.filter(|time| (signup.time..=signup.time + window).contains(time)).count()
                };
                let inviters = signups.iter().filter(|signup| sent(signup) > 0).count();
                (inviters, signups.iter().map(sent).sum(), signups.iter().map(accepted).sum())
            }
        };
        let cycles = signups.iter().filter_map(|signup| {
            let inviter = self.earlier_inviter(question, signup)?;
            Some(real((signup.time - inviter.time) as f64 / 1000.0))
        });
        let median = percentile(50, cycles.collect());
        let senders = if window.is_some() { signups.len() } else { active };
        let invites_per_user = share(whole(invites), senders);
        let acceptance_rate = share(whole(accepted), invites);
        let k_factor =
            invites_per_user.zip(acceptance_rate).map(|(sent, taken)| real(sent.to_f64() * taken.to_f64()));
        let counts = [
            ("new_users", signups.len()),
            ("invited_users", invited),
            ("organic_users", signups.len() - invited),
            ("active_users", active),
            ("inviters", inviters),
            ("invites", invites),
            ("accepted", accepted),
        ];
        let ratios = [
            ("invites_per_user", invites_per_user),
            ("acceptance_rate", acceptance_rate),
            ("k_factor", k_factor),
            ("median_cycle_seconds", median),
        ];
        let mut row: Row =
            counts.into_iter().map(|(name, count)| (name.to_owned(), reading::count(count))).collect();
        row.extend(ratios.into_iter().map(|(name, number)| (name.to_owned(), cell(number))));
        row
    }

    /// How many invitations somebody sent within a window of its signup, the signup itself left out.
    fn sent_after(&self, question: &Question, signup: &Signup, window: TimeMs) -> usize {
        let sent = signup.later_of(question, &self.invites);
        sent.into_iter().filter(|event| event.time <= signup.time + window).count()
    }

    fn generation(&self, question: &Question, signup: &Signup) -> usize {
        let mut chain = vec![signup.owner];
        let mut at = signup;
        loop {
            let Some(inviter) = self.inviter_of(question, at.owner) else { return chain.len() - 1 };
            if inviter != at.owner && self.signup_of(inviter).is_none() {
                return chain.len(); // of somebody who never signed up
            }
            let Some(before) = self.earlier_inviter(question, at) else { return chain.len() - 1 };
            if let Some(first) = chain.iter().position(|known| *known == before.owner) {
                return first; // those of a circle are of generation 0
            }
            chain.push(before.owner);
            at = before;
        }
    }
}

fn tree(
    question: &Question,
    split: &Split,
    all: &Invitations,
    fold: &BTreeMap<BTreeSet<Key>, BTreeSet<Key>>,
) -> Vec<Row> {
    let told: Vec<(&Signup, usize)> = all
        .signups
        .iter()
        .filter(|signup| question.in_range(signup.time))
        .map(|signup| (signup, all.generation(question, signup)))
        .collect();
    let keys_of = |signup: &Signup| &fold[&signup.keys(question, split)];
    let keys: BTreeSet<Key> = told.iter().flat_map(|(signup, _)| keys_of(signup).clone()).collect();
    let in_a_row = told.iter().filter(|(signup, _)| !keys_of(signup).is_empty());
    let Some(last) = in_a_row.map(|(_, generation)| *generation).max() else { return Vec::new() };
    let mut rows = Vec::new();
    for generation in 0..=last {
        for key in &keys {
            let own = |signup: &Signup, g: usize| g == generation && keys_of(signup).contains(key);
            let users: Vec<&Signup> = told.iter().filter(|(s, g)| own(s, *g)).map(|(s, _)| *s).collect();
            let is_of = |event: &&&Event| users.iter().any(|user| question.owner(event) == Some(user.owner));
            let invites =
                all.invites.iter().filter(|event| question.in_range(event.time)).filter(is_of).count();
            let accepted: usize = users
                .iter()
                .map(|user| all.accepted_of(user.owner).into_iter().filter(|t| question.in_range(*t)).count())
                .sum();
            let mut row = vec![("generation".to_owned(), reading::count(generation))];
            row.extend(split.columns(key));
            let counts = [("users", users.len()), ("invites", invites), ("accepted", accepted)];
            row.extend(counts.map(|(name, count)| (name.to_owned(), reading::count(count))));
            row.push(("k_factor".to_owned(), cell(share(whole(accepted), users.len()))));
            rows.push(row);
        }
    }
    rows
}
