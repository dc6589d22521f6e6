//! Lifecycle: what became of each user from one interval to the next.

use std::collections::BTreeSet;

use flywheeldb::api::Json;

use super::Refusal;
use super::calendar::{Bucket, Interval};
use super::filter::Selector;
use super::measure::{cell, real, whole};
use super::question::Question;
use super::split::Key;
use super::visits::{Visit, split_visits};
use crate::support::reading;
use crate::support::tables::Row;

pub fn answer(question: &Question) -> Result<Vec<Row>, Refusal> {
    question.check_fields(&["event", "interval"], &[])?;
    let interval = question.interval()?.unwrap_or(Interval::Day);
    let any = Json::String("*".to_owned());
    let selector = Selector::read(question, question.field("event").unwrap_or(&any))?;
    let told = question.calendar.buckets(interval, question.from(), question.to);
    let (Some(first), Some(last)) = (told.first(), told.last()) else { return Ok(Vec::new()) };
    let before_first = question.calendar.bucket_of(interval, first.start - 1);
    let looked_at = Bucket { start: before_first.start, end: last.end };
    let counted = Bucket { start: first.start, end: last.end };
    let (split, visits) = split_visits(question, &selector, looked_at, counted)?;
    let there = visits.iter().filter(|visit| looked_at.holds(visit.time)).map(|visit| &visit.keys);
    let row_keys = split.rows(there);
    let mut rows = Vec::new();
    for bucket in told {
        let before = question.calendar.bucket_of(interval, bucket.start - 1);
        for key in &row_keys {
            let mut row = vec![("time".to_owned(), question.calendar.told(interval, bucket.start))];
            row.extend(split.columns(key));
            row.extend(cells(&visits, key, before, bucket));
            row.push(("complete".to_owned(), Json::Bool(bucket.end <= question.as_of)));
            rows.push(row);
        }
    }
    Ok(rows)
}

/// The cells from `new` to `quick_ratio`.
fn cells(visits: &[Visit], key: &Key, before: Bucket, bucket: Bucket) -> Row {
    let owners = |is_meant: &dyn Fn(&Visit) -> bool| -> BTreeSet<&str> {
        let meant = visits.iter().filter(|visit| visit.keys.contains(key) && is_meant(visit));
        meant.map(|visit| visit.owner).collect()
    };
    let active = owners(&|visit| bucket.holds(visit.time));
    let active_before = owners(&|visit| before.holds(visit.time));
    let seen_before = owners(&|visit| visit.time < bucket.start);
    let new = active.difference(&seen_before).count();
    let retained = active.intersection(&active_before).count();
    let resurrected =
        active.iter().filter(|o| seen_before.contains(*o) && !active_before.contains(*o)).count();
    let churned = active_before.difference(&active).count();
    let quick_ratio =
        (churned > 0).then(|| real(whole(new + resurrected).to_f64() / whole(churned).to_f64()));
    let counts = [
        ("new", new),
        ("retained", retained),
        ("resurrected", resurrected),
        ("churned", churned),
        ("active", active.len()),
    ];
    let mut cells: Row =
        counts.into_iter().map(|(name, count)| (name.to_owned(), reading::count(count))).collect();
    cells.push(("quick_ratio".to_owned(), cell(quick_ratio)));
    cells
}
