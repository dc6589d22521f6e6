//! Overview: the figures of a row for each interval, or who moved from which state to which.

use std::collections::{BTreeMap, BTreeSet};

use flywheeldb::api::Json;
use flywheeldb::model::{Entity, Event, Number, TimeMs};

use super::Refusal;
use super::calendar::{Bucket, Interval, duration};
use super::filter::Selector;
use super::growth_model::{PARTS, part};
use super::measure::{cell, share, whole};
use super::question::{Question, count, field, text};
use super::revenue::Book;
use super::signups::{Signup, first_of_everybody, owners};
use super::split::{Folding, Key, Split};
use crate::support::reading;
use crate::support::tables::Row;

/// What everybody did, with the rows that each event counts in.
struct Story<'a> {
    question: &'a Question<'a>,
    split: Split,
    folding: Folding,
    /// Any event, and its rows.
    visits: Vec<(&'a Event, BTreeSet<Key>)>,
    signups: Option<Vec<Signup<'a>>>,
    /// When who signed up met the definition of activation.
    activated: Option<BTreeMap<&'a str, TimeMs>>,
    /// Who paid at or after the signup.
    converted: Option<BTreeSet<&'a str>>,
    invites: Option<Vec<(&'a Event, BTreeSet<Key>)>>,
    accepts: Option<Vec<(&'a Event, BTreeSet<Key>)>>,
}

pub fn answer(question: &Question) -> Result<Vec<Row>, Refusal> {
    question.check_fields(&[&PARTS[..], &["interval", "transitions"]].concat(), &[])?;
    let interval = question.interval()?.unwrap_or(Interval::Day);
    let told = question.calendar.buckets(interval, question.from(), question.to);
    let (Some(first), Some(last)) = (told.first(), told.last()) else { return Ok(Vec::new()) };
    let whole_range = Bucket { start: first.start, end: last.end };
    let payers_query = payers_query(question, whole_range, question.flag("transitions")?)?;
    let payers = payers_query.as_ref().map(|query| Question::new(question.reference, query)).transpose()?;
    // Values that are paid under are told, whoever is counted.
    let unfolded = payers.as_ref().filter(|_| !question.flag("transitions").unwrap_or(false));
    let unfolded = unfolded.map(|payers| Book::read(payers, None)).transpose()?;
    let noted = unfolded.iter().flat_map(Book::unfolded).cloned().collect();
    let story = Story::read(question, whole_range, noted)?;
    let folding = (!question.flag("transitions")?).then_some(&story.folding);
    let book = payers.as_ref().map(|payers| Book::read(payers, folding)).transpose()?;
    if question.flag("transitions")? {
        let entity = payers.as_ref().map(|payers| payers.entity);
        return Ok(story.transitions(interval, &told, entity.zip(book.as_ref())));
    }
    let before_first = question.calendar.bucket_of(interval, first.start - 1);
    let mut keys: BTreeSet<Key> = story
        .visits
        .iter()
        .filter(|(event, _)| before_first.start <= event.time && event.time < last.end)
        .flat_map(|(_, keys)| keys.clone())
        .collect();
    if story.split.is_none() {
        keys.insert(Key::new());
    }
    keys.extend(book.iter().flat_map(Book::row_keys));
    let mut rows = Vec::new();
    for bucket in &told {
        let before = question.calendar.bucket_of(interval, bucket.start - 1);
        for key in &keys {
            let mut row = vec![("time".to_owned(), question.calendar.told(interval, bucket.start))];
            row.extend(story.split.columns(key));
            row.extend(story.cells(key, before, *bucket, book.as_ref()));
            rows.push(row);
        }
    }
    Ok(rows)
}

/// The query for those who pay: whom the subscription says. For transitions those who are counted do, but that users pay
/// by accounts.
fn payers_query(question: &Question, range: Bucket, is_of_states: bool) -> Result<Option<Json>, Refusal> {
    let Ok(subscription) = part(question, "subscription") else { return Ok(None) };
    let own = question.entity.name();
    let entity = match text(subscription, "entity")? {
        Some("user") if is_of_states => own,
        Some(said) => said,
        None => own,
    };
    let mut fields = vec![
        ("kind".to_owned(), Json::String("revenue".to_owned())),
        ("entity".to_owned(), Json::String(entity.to_owned())),
        ("from".to_owned(), reading::json(&range.start.into())),
        ("to".to_owned(), reading::json(&range.end.into())),
        ("subscription".to_owned(), subscription.clone()),
    ];
    let shared = ["timezone", "week_start", "as_of", "where"];
    let shared = shared.into_iter().chain((!is_of_states).then_some("breakdown"));
    for name in shared {
        fields.extend(question.field(name).map(|value| (name.to_owned(), value.clone())));
    }
    Ok(Some(Json::Object(fields)))
}

impl<'a> Story<'a> {
    fn read(
        question: &'a Question<'a>,
        range: Bucket,
        noted: Vec<BTreeSet<Key>>,
    ) -> Result<Story<'a>, Refusal> {
        let split = Split::read(question)?;
        if split.has_event_properties() {
            return Err(Refusal::Invalid("not split by properties of events".to_owned()));
        }
        let matching = |selector: &Json| -> Result<Vec<&'a Event>, Refusal> {
            let events = question.matching(&Selector::read(question, selector)?);
            Ok(events.into_iter().filter(|event| question.owner(event).is_some()).collect())
        };
        let all = matching(&Json::String("*".to_owned()))?;
        let seen: Vec<&Event> = all.iter().filter(|event| event.time < range.end).copied().collect();
        let mut things: Vec<(Option<&Event>, BTreeSet<Key>)> =
            seen.iter().map(|event| (Some(*event), split.keys(question, event))).collect();
        things.extend(noted.into_iter().map(|keys| (None, keys)));
        let folding = split.folding(
            &things,
            |(_, keys)| keys.clone(),
            |things| {
                let visits = things.iter().filter_map(|(event, _)| *event);
                let counted = visits.filter(|event| range.holds(event.time));
                Some(whole(owners(question, counted).len()))
            },
        );
        let with_keys = |events: Vec<&'a Event>| -> Vec<(&'a Event, BTreeSet<Key>)> {
            events.into_iter().map(|event| (event, folding.keys(&split.keys(question, event)))).collect()
        };
        let events_of = |name: &str| part(question, name).ok().map(matching).transpose();
        let signups = events_of("signup")?.map(|events| first_of_everybody(question, &events));
        let (mut activated, mut converted) = (None, None);
        if let (Some(signups), Some(activate)) = (&signups, part(question, "activate").ok()) {
            let milestone = matching(activate)?;
            let at_least = field(activate, "at_least").map_or(Ok(1), count)?;
            let within = field(activate, "within").map(duration).transpose()?;
            let met = signups.iter().filter_map(|signup| {
                let time = signup.later_of(question, &milestone).get(at_least - 1)?.time;
                within.is_none_or(|within| time <= signup.time + within).then_some((signup.owner, time))
            });
            activated = Some(met.collect());
        }
        if let (Some(signups), Some(paid)) = (&signups, events_of("paid")?) {
            let pays = |signup: &&Signup| !signup.later_of(question, &paid).is_empty();
            converted = Some(signups.iter().filter(pays).map(|signup| signup.owner).collect());
        }
        Ok(Story {
            question,
            visits: with_keys(seen),
            signups,
            activated,
            converted,
            invites: events_of("invite")?.map(with_keys),
            accepts: events_of("accept")?.map(with_keys),
            split,
            folding,
        })
    }

    /// Who did any of these in a bucket, in a row.
    fn doers(
        &self,
        events: &[(&'a Event, BTreeSet<Key>)],
        key: Option<&Key>,
        bucket: Bucket,
    ) -> BTreeSet<&'a str> {
        let here = events
            .iter()
            .filter(|(event, keys)| bucket.holds(event.time) && key.is_none_or(|key| keys.contains(key)));
        owners(self.question, here.map(|(event, _)| *event))
    }

    fn cells(&self, key: &Key, before: Bucket, bucket: Bucket, book: Option<&Book>) -> Row {
        let mut cells: Vec<(&str, Option<Number>)> = Vec::new();
        let new: Vec<&Signup> = self
            .signups
            .iter()
            .flatten()
            .filter(|signup| {
                bucket.holds(signup.time)
                    && self.folding.keys(&signup.keys(self.question, &self.split)).contains(key)
            })
            .collect();
        if self.signups.is_some() {
            cells.push(("new_users", Some(whole(new.len()))));
        }
        if let Some(activated) = &self.activated {
            let met = new.iter().filter(|signup| activated.contains_key(signup.owner)).count();
            cells.push(("activated", Some(whole(met))));
            cells.push(("activation_rate", share(whole(met), new.len())));
        }
        let active = self.doers(&self.visits, Some(key), bucket);
        let active_before = self.doers(&self.visits, Some(key), before);
        let retained = active.intersection(&active_before).count();
        cells.push(("active_users", Some(whole(active.len()))));
        cells.push(("retained_users", Some(whole(retained))));
        cells.push(("retention_rate", share(whole(retained), active_before.len())));
        if let Some(invites) = &self.invites {
            cells.push(("inviters", Some(whole(self.doers(invites, Some(key), bucket).len()))));
            let here = |events: &[(&Event, BTreeSet<Key>)]| {
                events.iter().filter(|(event, keys)| bucket.holds(event.time) && keys.contains(key)).count()
            };
            if let Some(accepts) = &self.accepts {
                let (sent, taken) = (here(invites), here(accepts));
                let k_factor = share(whole(taken), active.len()).filter(|_| sent > 0);
                cells.push(("k_factor", k_factor));
            }
        }
        let money = book.map(|book| book.cells(key, bucket.start, bucket.end));
        let number = |name: &str| -> Option<Number> {
            let money = money.as_ref()?;
            match &money.iter().find(|(known, _)| known == name)?.1 {
                Json::Number(number) => Some(*number),
                _ => None,
            }
        };
        if book.is_some() {
            cells.push(("customers", number("customers")));
        }
        if let Some(converted) = &self.converted {
            let paid = new.iter().filter(|signup| converted.contains(signup.owner)).count();
            cells.push(("conversion_rate", share(whole(paid), new.len())));
        }
        if book.is_some() {
            cells.push(("mrr", number("ending")));
            cells.push(("nrr", number("nrr")));
        }
        cells.into_iter().map(|(name, number)| (name.to_owned(), cell(number))).collect()
    }

    fn transitions(&self, interval: Interval, told: &[Bucket], book: Option<(Entity, &Book)>) -> Vec<Row> {
        let keys: BTreeSet<&Key> = self.visits.iter().flat_map(|(_, keys)| keys).collect();
        let mut rows = Vec::new();
        for bucket in told {
            let before = self.question.calendar.bucket_of(interval, bucket.start - 1);
            for key in &keys {
                let mut counts: BTreeMap<(&str, &str), usize> = BTreeMap::new();
                let in_row = self.visits.iter().filter(|(_, keys)| keys.contains(*key));
                for owner in owners(self.question, in_row.map(|(event, _)| *event)) {
                    let state = |bucket: Bucket| self.state(owner, key, interval, bucket, book);
                    *counts.entry((state(before), state(*bucket))).or_default() += 1;
                }
                counts.remove(&("absent", "absent"));
                for ((from, to), users) in counts {
                    let mut row =
                        vec![("time".to_owned(), self.question.calendar.told(interval, bucket.start))];
                    row.extend(self.split.columns(key));
                    row.push(("from_state".to_owned(), Json::String(from.to_owned())));
                    row.push(("to_state".to_owned(), Json::String(to.to_owned())));
                    row.push(("users".to_owned(), reading::count(users)));
                    rows.push(row);
                }
            }
        }
        rows
    }

    fn state(
        &self,
        owner: &str,
        key: &Key,
        interval: Interval,
        bucket: Bucket,
        book: Option<(Entity, &Book)>,
    ) -> &'static str {
        let before = self.question.calendar.bucket_of(interval, bucket.start - 1);
        let is_active = |bucket: Bucket| self.doers(&self.visits, Some(key), bucket).contains(owner);
        let own = self
            .visits
            .iter()
            .filter(|(event, keys)| self.question.owner(event) == Some(owner) && keys.contains(key));
        let first = own.map(|(event, _)| event.time).min();
        if book.is_some_and(|(entity, book)| self.pays(owner, bucket.end, entity, book)) {
            "paying"
        } else if self.invites.as_ref().is_some_and(|i| self.doers(i, None, bucket).contains(owner)) {
            "referring"
        } else if self.activated.as_ref().is_some_and(|met| met.get(owner).is_some_and(|t| bucket.holds(*t)))
        {
            "activated"
        } else if is_active(bucket) && is_active(before) {
            "retained"
        } else if first.is_some_and(|first| bucket.holds(first)) {
            "new"
        } else if is_active(bucket) {
            "resurrected"
        } else if first.is_some_and(|first| first < bucket.start) {
            "churned"
        } else {
            "absent"
        }
    }

    fn pays(&self, owner: &str, end: TimeMs, entity: Entity, book: &Book) -> bool {
        if entity == self.question.entity {
            return book.amount_anywhere(owner, end) > Number::ZERO;
        }
        let acts = self
            .visits
            .iter()
            .map(|(event, _)| *event)
            .filter(|event| self.question.owner(event) == Some(owner) && event.time < end);
        acts.filter_map(|event| event.account.as_deref())
            .any(|account| book.amount_anywhere(account, end) > Number::ZERO)
    }
}
