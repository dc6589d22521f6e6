//! Funnels added up: how many reached each step, and how long it took them.

use std::collections::BTreeMap;

use hashbrown::HashMap;
use serde::{Deserialize, Serialize};

use super::Partial;
use super::funnel_plain::PlainOutcomes;
use super::funnel_values::Values;
use crate::api::{Cell, FunnelHistogram, Problem};
use crate::limits::BREAKDOWN_VALUE_COUNT_MAX;
use crate::model::{SECOND_MS, TimeMs};

/// Users by when they started and what they had in common, and how far they got.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct FunnelPartial {
    pub(super) step_count: usize,
    /// The bucket, and the values of each property: what users of one place in `groups` have in common.
    pub(super) names: Vec<(u32, Values)>,
    pub(super) groups: Vec<FunnelGroup>,
    /// By property and value: users, each once in however many buckets. Empty where no user is in several.
    pub(super) ranks: Vec<BTreeMap<u32, u64>>,
    #[serde(skip)]
    places: HashMap<(u32, Values), usize>,
}

/// Users who started alike.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct FunnelGroup {
    /// By step: whose told attempt has it.
    pub reached: Vec<u64>,
    /// By step: who stands there and can still go on.
    pub in_progress: Vec<u64>,
    /// By step: milliseconds since the event before, in no order.
    pub durations: Vec<Vec<i64>>,
    /// Milliseconds between the two steps of a histogram, in no order.
    pub spans: Vec<i64>,
}

/// What is added of one attempt.
pub(super) struct Progress<'a> {
    pub level: usize,
    pub is_in_progress: bool,
    /// Steps from 0 and their times, in order.
    pub stops: &'a [(u8, TimeMs)],
    pub histogram: Option<FunnelHistogram>,
}

impl FunnelPartial {
    pub fn new(step_count: usize) -> FunnelPartial {
        FunnelPartial { step_count, ..FunnelPartial::default() }
    }

    /// The place of a group, which is made if there is none.
    pub(super) fn place(&mut self, bucket: u32, values: &Values) -> Result<usize, Problem> {
        self.index();
        let name = (bucket, values.clone());
        if let Some(place) = self.places.get(&name) {
            return Ok(*place);
        }
        if self.names.len() == BREAKDOWN_VALUE_COUNT_MAX {
            let detail =
                format!("the breakdown has more than {BREAKDOWN_VALUE_COUNT_MAX} combinations of values");
            return Err(Problem::invalid(detail)
                .at("/breakdown")
                .hint("split by properties with fewer values"));
        }
        self.places.insert(name.clone(), self.names.len());
        self.names.push(name);
        self.groups.push(FunnelGroup::new(self.step_count));
        Ok(self.names.len() - 1)
    }

    /// Adds each attempt to the group at its place.
    pub(super) fn add_each(
        &mut self,
        found: &PlainOutcomes,
        places: &[u32],
        histogram: Option<FunnelHistogram>,
    ) {
        let groups = &mut self.groups;
        for (step, keys) in found.keys.iter().enumerate() {
            places[..keys.len()].iter().for_each(|place| groups[*place as usize].reached[step] += 1);
            if step > 0 {
                for ((place, end), start) in places.iter().zip(keys).zip(&found.keys[step - 1]) {
                    groups[*place as usize].durations[step].push((end - start) as i64);
                }
            }
        }
        for attempt in found.in_progress() {
            groups[places[attempt] as usize].in_progress[found.level(attempt) - 1] += 1;
        }
        spans(found, histogram)
            .zip(places)
            .for_each(|(span, place)| groups[*place as usize].spans.push(span));
    }

    /// Counts one user under each of these values of each property.
    pub(super) fn rank(&mut self, values: &[Vec<u32>]) {
        self.ranks.resize_with(values.len().max(self.ranks.len()), BTreeMap::new);
        for (ranks, values) in self.ranks.iter_mut().zip(values) {
            values.iter().for_each(|value| *ranks.entry(*value).or_default() += 1);
        }
    }

    /// Finds places again after the partial was read.
    fn index(&mut self) {
        if self.places.len() != self.names.len() {
            self.places = self.names.iter().cloned().zip(0..).collect();
        }
    }
}

impl Partial for FunnelPartial {
    fn merge(&mut self, other: FunnelPartial) {
        // A sum of two partials that are within bounds may pass them a little; the table is bounded again.
        self.index();
        for (name, group) in other.names.into_iter().zip(other.groups) {
            match self.places.get(&name) {
                Some(place) => self.groups[*place].merge(group),
                None => {
                    self.places.insert(name.clone(), self.names.len());
                    self.names.push(name);
                    self.groups.push(group);
                }
            }
        }
        self.ranks.resize_with(other.ranks.len().max(self.ranks.len()), BTreeMap::new);
        for (ranks, others) in self.ranks.iter_mut().zip(other.ranks) {
            others.into_iter().for_each(|(value, count)| *ranks.entry(value).or_default() += count);
        }
    }
}

impl FunnelGroup {
    pub fn new(step_count: usize) -> FunnelGroup {
        FunnelGroup {
            reached: vec![0; step_count],
            in_progress: vec![0; step_count],
            durations: vec![Vec::new(); step_count],
            spans: Vec::new(),
        }
    }

    pub fn add(&mut self, progress: &Progress<'_>) {
        progress.stops.iter().for_each(|(step, _)| self.reached[usize::from(*step)] += 1);
        self.in_progress[progress.level - 1] += u64::from(progress.is_in_progress);
        for pair in progress.stops.windows(2) {
            self.durations[usize::from(pair[1].0)].push(pair[1].1 - pair[0].1);
        }
        if let Some(histogram) = progress.histogram {
            let time_of = |number: usize| {
                let stop = progress.stops.iter().find(|(step, _)| usize::from(*step) + 1 == number);
                stop.map(|(_, time)| *time)
            };
            let span = time_of(histogram.to_step).zip(time_of(histogram.from_step));
            self.spans.extend(span.map(|(end, start)| end - start));
        }
    }

    /// Adds plain attempts.
    pub fn add_all(&mut self, found: &PlainOutcomes, histogram: Option<FunnelHistogram>) {
        for (step, keys) in found.keys.iter().enumerate() {
            self.reached[step] += keys.len() as u64;
            if step > 0 {
                let durations =
                    keys.iter().zip(&found.keys[step - 1]).map(|(end, start)| (end - start) as i64);
                self.durations[step].extend(durations);
            }
        }
        found.in_progress().for_each(|attempt| self.in_progress[found.level(attempt) - 1] += 1);
        self.spans.extend(spans(found, histogram));
    }

    pub fn merge(&mut self, other: FunnelGroup) {
        let add = |a: &mut Vec<u64>, b: &[u64]| a.iter_mut().zip(b).for_each(|(a, b)| *a += b);
        add(&mut self.reached, &other.reached);
        add(&mut self.in_progress, &other.in_progress);
        self.durations.iter_mut().zip(other.durations).for_each(|(all, more)| all.extend(more));
        self.spans.extend(other.spans);
    }
}

/// Milliseconds between the two steps of a histogram, of those who reached both, in order of attempts.
fn spans(found: &PlainOutcomes, histogram: Option<FunnelHistogram>) -> impl Iterator<Item = i64> + '_ {
    let of_step = |number: usize| found.keys.get(number - 1).map_or(&[][..], Vec::as_slice);
    let (ends, starts) = histogram
        .map_or((&[][..], &[][..]), |histogram| (of_step(histogram.to_step), of_step(histogram.from_step)));
    ends.iter().zip(starts).map(|(end, start)| (end - start) as i64)
}

/// How long a step took those who reached it, in seconds; null if nobody did.
pub(super) struct Times {
    pub median: Cell,
    pub average: Cell,
    pub p90: Cell,
}

impl Times {
    pub fn of(durations: &mut [i64]) -> Times {
        if durations.is_empty() {
            return Times { median: Cell::Null, average: Cell::Null, p90: Cell::Null };
        }
        let seconds = |ms: i64| Cell::Float(ms as f64 / SECOND_MS as f64);
        let total: i128 = durations.iter().map(|ms| i128::from(*ms)).sum();
        let average = total as f64 / durations.len() as f64 / SECOND_MS as f64;
        let [median, p90] = nearest_ranks(durations, [50, 90]);
        Times { median: seconds(median), average: Cell::Float(average), p90: seconds(p90) }
    }
}

/// For each of ascending percentages the smallest value with at least so many of the values at or below it.
fn nearest_ranks<const N: usize>(values: &mut [i64], percents: [usize; N]) -> [i64; N] {
    let count = values.len();
    let mut before = 0; // smaller values are in front of this one
    percents.map(|percent| {
        let rank = (count * percent).div_ceil(100).max(1) - 1;
        let found = *values[before..].select_nth_unstable(rank - before).1;
        before = rank;
        found
    })
}

/// The bins of a histogram, in seconds, and how many lie in each: equal widths, the last one closed, one if all are equal.
pub(super) fn bins(spans: &[i64], bin_count: usize) -> Vec<(f64, f64, u64)> {
    let seconds = |ms: i64| ms as f64 / SECOND_MS as f64;
    let (Some(least), Some(greatest)) = (spans.iter().min(), spans.iter().max()) else { return Vec::new() };
    let (least, greatest) = (seconds(*least), seconds(*greatest));
    if least == greatest {
        return vec![(least, greatest, spans.len() as u64)];
    }
    let width = (greatest - least) / bin_count as f64;
    let start = |bin: usize| least + width * bin as f64;
    let end = |bin: usize| if bin + 1 == bin_count { greatest } else { start(bin + 1) };
    let mut bins: Vec<(f64, f64, u64)> = (0..bin_count).map(|bin| (start(bin), end(bin), 0)).collect();
    for span in spans {
        let bin = ((seconds(*span) - least) / width) as usize;
        bins[bin.min(bin_count - 1)].2 += 1;
    }
    bins
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_by_nearest_rank() {
        let mut values: Vec<i64> = (1..=10).rev().collect();
        assert_eq!(nearest_ranks(&mut values, [50, 90]), [5, 9]);
        assert_eq!(nearest_ranks(&mut values, [10, 50, 50, 100]), [1, 5, 5, 10]);
        assert_eq!(nearest_ranks(&mut [7], [50, 90]), [7, 7]);
    }

    #[test]
    fn the_last_bin_is_closed_and_empty_ones_are_there() {
        let told = bins(&[0, 1_000, 9_000, 10_000], 5);
        assert_eq!(told.iter().map(|bin| bin.2).collect::<Vec<_>>(), [2, 0, 0, 0, 2]);
        assert_eq!((told[4].0, told[4].1), (8.0, 10.0));
        assert_eq!(bins(&[5_000, 5_000], 5), [(5.0, 5.0, 2)]);
        assert_eq!(bins(&[], 5), []);
    }

    #[test]
    fn partials_merge_in_any_order_and_survive_being_written() {
        let partial = |levels: &[(u32, u8)]| {
            let mut partial = FunnelPartial::new(3);
            for (value, level) in levels {
                let stops: Vec<(u8, TimeMs)> =
                    (0..*level).map(|step| (step, i64::from(step) * 1000)).collect();
                let group = partial.place(0, &vec![vec![*value]]).unwrap();
                partial.groups[group].add(&Progress {
                    level: stops.len(),
                    is_in_progress: *level == 1,
                    stops: &stops,
                    histogram: None,
                });
            }
            partial
        };
        let told = |mut partial: FunnelPartial| {
            let mut told: Vec<String> = Vec::new();
            for (name, group) in partial.names.iter().zip(&mut partial.groups) {
                group.durations.iter_mut().for_each(|durations| durations.sort_unstable());
                told.push(format!("{name:?} {group:?}"));
            }
            told.sort();
            told
        };
        let parts = [partial(&[(1, 3), (2, 1)]), partial(&[(2, 2)]), partial(&[(3, 1), (1, 1)])];
        let sum = |order: [usize; 3]| {
            let mut all = FunnelPartial::new(3);
            for index in order {
                let written = serde_json::to_string(&parts[index]).unwrap();
                all.merge(serde_json::from_str(&written).unwrap());
            }
            told(all)
        };
        assert_eq!(sum([0, 1, 2]), sum([2, 0, 1]));
        assert_eq!(sum([0, 1, 2]), told(partial(&[(1, 3), (2, 1), (2, 2), (3, 1), (1, 1)])));
    }
}
