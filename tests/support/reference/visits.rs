//! Activity split by what users or their accounts are: what lifecycle and stickiness look at.

use std::collections::BTreeSet;

use flywheeldb::model::TimeMs;

use super::Refusal;
use super::calendar::Bucket;
use super::filter::Selector;
use super::measure::whole;
use super::question::Question;
use super::split::{Key, Split};

/// An event of somebody, and the rows that it counts in.
pub struct Visit<'a> {
    pub owner: &'a str,
    pub time: TimeMs,
    pub keys: BTreeSet<Key>,
}

/// The split of a question, and the events of a selector up to the end of what is looked at. Values are found in
/// `looked_at`; those with most users in `counted` are kept.
pub fn split_visits<'a>(
    question: &'a Question,
    selector: &Selector,
    looked_at: Bucket,
    counted: Bucket,
) -> Result<(Split, Vec<Visit<'a>>), Refusal> {
    let split = Split::read(question)?;
    if split.has_event_properties() {
        return Err(Refusal::Invalid("not split by properties of events".to_owned()));
    }
    let mut visits: Vec<Visit> = question
        .matching(selector)
        .into_iter()
        .filter(|event| event.time < looked_at.end)
        .filter_map(|event| {
            let keys = split.keys(question, event);
            Some(Visit { owner: question.owner(event)?, time: event.time, keys })
        })
        .collect();
    let folded = split.fold(
        &visits,
        |visit| visit.keys.clone(),
        |visits| {
            // A value that is only found before what is looked at is not there, and takes no place.
            visits.iter().find(|visit| looked_at.holds(visit.time))?;
            let counted = visits.iter().filter(|visit| counted.holds(visit.time));
            Some(whole(counted.map(|visit| visit.owner).collect::<BTreeSet<_>>().len()))
        },
    );
    visits.iter_mut().zip(folded).for_each(|(visit, keys)| visit.keys = keys);
    Ok((split, visits))
}
