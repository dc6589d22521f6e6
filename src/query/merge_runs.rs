//! Sorted runs, one behind the other, made one.
//!
//! What a task reads of several segments are sorted runs. Compaction leaves one large segment and a few small ones as a
//! rule, so the small runs search for their places in the large one, which is copied in between. Runs of similar size
//! are merged in pairs, without a branch that depends on the values: measured at a third of the time that the sort of
//! the standard library takes, which finds runs and merges them too.

use std::ops::Range;

use super::RowRef;

/// The largest run is searched if it is at least so many times as long as all others together.
const LARGE_FACTOR: usize = 6;

/// Sorts values that are sorted runs, which end at `ends`. Equal values stay in the order of their runs.
pub(super) fn merge_runs<T: Copy + Ord>(values: &mut Vec<T>, ends: &[usize]) {
    if follow_one_another(values, ends) {
        return;
    }
    if let Some(pieces) = pieces_in_order(values, ends) {
        *values = gather(values, &pieces);
        return;
    }
    let mut ends = ends.to_vec();
    while ends.len() > 1 {
        let mut merged = Vec::with_capacity(values.len());
        ends = merge_pairs(values, &ends, |place| merged.push(values[place]));
        *values = merged;
    }
}

/// The same for keys, each with the place of its row.
pub(super) fn merge_rows(keys: &mut Vec<u64>, refs: &mut Vec<RowRef>, ends: &[usize]) {
    if follow_one_another(keys, ends) {
        return;
    }
    if let Some(pieces) = pieces_in_order(keys, ends) {
        *keys = gather(keys, &pieces);
        *refs = gather(refs, &pieces);
        return;
    }
    let mut ends = ends.to_vec();
    while ends.len() > 1 {
        let (mut merged, mut places) = (Vec::with_capacity(keys.len()), Vec::with_capacity(refs.len()));
        ends = merge_pairs(keys, &ends, |place| {
            merged.push(keys[place]);
            places.push(refs[place]);
        });
        (*keys, *refs) = (merged, places);
    }
}

/// Calls `take` with the places of the values, each run merged with the one behind it. Returns the ends of what is made.
fn merge_pairs<T: Copy + Ord>(values: &[T], ends: &[usize], mut take: impl FnMut(usize)) -> Vec<usize> {
    let mut start = 0;
    let mut merged_ends = Vec::with_capacity(ends.len().div_ceil(2));
    for pair in ends.chunks(2) {
        let end = pair[pair.len() - 1];
        let (mut left, mut right) = (start, pair[0]);
        while left < pair[0] && right < end {
            let is_right = values[right] < values[left];
            take(std::hint::select_unpredictable(is_right, right, left));
            left += usize::from(!is_right);
            right += usize::from(is_right);
        }
        (left..pair[0]).chain(right..end).for_each(&mut take);
        merged_ends.push(end);
        start = end;
    }
    merged_ends
}

/// Whether no run begins before the one in front of it ends.
fn follow_one_another<T: Ord>(values: &[T], ends: &[usize]) -> bool {
    ends.iter().all(|end| *end == 0 || *end >= values.len() || values[end - 1] <= values[*end])
}

/// The pieces of the values, by place, that are sorted one behind the other. `None` if no run is large enough.
fn pieces_in_order<T: Copy + Ord>(values: &[T], ends: &[usize]) -> Option<Vec<Range<usize>>> {
    let starts = std::iter::once(0).chain(ends.iter().copied());
    let large = starts.zip(ends).map(|(start, end)| start..*end).max_by_key(Range::len)?;
    let small_count = values.len() - large.len();
    if small_count * LARGE_FACTOR > large.len() {
        return None;
    }
    let mut small: Vec<usize> = (0..large.start).chain(large.end..values.len()).collect();
    small.sort_by_key(|place| values[*place]);
    let mut pieces = Vec::with_capacity(2 * small_count + 1);
    let mut at = large.start;
    for place in small {
        let value = values[place];
        let is_before = |other: &T| if place < large.start { *other < value } else { *other <= value };
        let end = at + leap(&values[at..large.end], is_before);
        if at < end {
            pieces.push(at..end);
        }
        match pieces.last_mut() {
            Some(last) if last.end == place => last.end += 1,
            _ => pieces.push(place..place + 1),
        }
        at = end;
    }
    pieces.push(at..large.end);
    Some(pieces)
}

/// How many values at the front satisfy a condition that no later one does, looked for in leaps of growing length.
fn leap<T>(values: &[T], is_before: impl Fn(&T) -> bool) -> usize {
    let mut width = 1;
    while width < values.len() && is_before(&values[width]) {
        width *= 2;
    }
    let low = width / 2;
    low + values[low..values.len().min(width + 1)].partition_point(is_before)
}

fn gather<T: Copy>(values: &[T], pieces: &[Range<usize>]) -> Vec<T> {
    let mut gathered = Vec::with_capacity(values.len());
    pieces.iter().for_each(|piece| gathered.extend_from_slice(&values[piece.clone()]));
    gathered
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dice::Dice;

    /// Runs of values below 50, of these lengths.
    fn runs(lengths: &[usize], seed: u64) -> (Vec<u64>, Vec<usize>) {
        let (mut dice, mut values, mut ends) = (Dice(seed), Vec::new(), Vec::new());
        for length in lengths {
            let mut run: Vec<u64> = (0..*length).map(|_| dice.below(64)).collect();
            run.sort_unstable();
            values.extend(run);
            ends.push(values.len());
        }
        (values, ends)
    }

    #[test]
    fn rows_are_sorted_by_key_and_then_by_run() {
        for lengths in [&[100, 3, 2][..], &[2, 100, 5], &[0, 40, 0, 1], &[30, 30], &[1, 1, 1, 90], &[7], &[]]
        {
            for seed in 0..20 {
                let (mut keys, ends) = runs(lengths, seed);
                let place = |row| RowRef { segment: 0, group: 0, row };
                let mut refs: Vec<RowRef> = (0..keys.len() as u32).map(place).collect();
                let mut expected: Vec<(u64, u32)> = keys.iter().copied().zip(0..).collect();
                expected.sort_unstable();
                let mut alone = keys.clone();
                merge_runs(&mut alone, &ends);
                merge_rows(&mut keys, &mut refs, &ends);
                let merged: Vec<(u64, u32)> =
                    keys.iter().copied().zip(refs.iter().map(|row| row.row)).collect();
                assert_eq!(merged, expected, "lengths {lengths:?}, seed {seed}");
                assert_eq!(alone, keys);
            }
        }
    }
}
