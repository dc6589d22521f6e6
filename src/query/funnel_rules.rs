//! What makes events an attempt at a funnel, whatever the order of its steps.

use std::ops::Range;

use crate::limits::FUNNEL_STEP_COUNT_MAX;
use crate::model::TimeMs;

/// A time allowed that never runs out, far from the ends of `i64`.
pub(super) const UNBOUNDED_MS: i64 = i64::MAX / 4;

/// An event of one user that matters to a funnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Hit {
    pub time: TimeMs,
    /// A bit for each step that it matches, counted from 0.
    pub steps: u64,
    /// A bit for each exclusion that it matches.
    pub ends: u64,
    /// Its place among the rows of the task.
    pub place: u32,
}

#[derive(Debug)]
pub(super) struct Rules {
    pub step_count: usize,
    pub window: i64,
    /// By step: the longest time since the event before.
    pub within: Vec<i64>,
    /// A bit for each optional step.
    pub optional: u64,
    pub is_strict: bool,
    /// By level, from 0: a bit for each exclusion that has begun, as its `after_step` is reached.
    pub begun: Vec<u64>,
    /// By level, from 0: a bit for each exclusion that is not over, as its `before_step` is not reached.
    pub open: Vec<u64>,
    pub as_of: TimeMs,
    /// Where later steps cannot lie any more.
    pub follower_end: TimeMs,
}

/// The events that one attempt, or several, are looked for among.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ground<'a> {
    /// In order.
    pub hits: &'a [Hit],
    /// The last moment at which the session goes on, if attempts end with it.
    pub open_until: TimeMs,
}

/// Stops of an attempt at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub time: TimeMs,
    /// The steps, ascending.
    pub seats: Vec<u8>,
    /// Events that match one of these exclusions must be part of the attempt.
    pub ends: u64,
}

/// An attempt that is told.
#[derive(Clone, Debug)]
pub(super) struct Told {
    /// The highest step reached, counted from 1.
    pub level: usize,
    pub is_in_progress: bool,
    /// In order of time.
    pub runs: Vec<Run>,
}

impl Told {
    pub fn times(&self) -> impl Iterator<Item = TimeMs> + '_ {
        self.runs.iter().flat_map(|run| run.seats.iter().map(|_| run.time))
    }

    pub fn seats(&self) -> impl Iterator<Item = u8> + '_ {
        self.runs.iter().flat_map(|run| run.seats.iter().copied())
    }

    pub fn start(&self) -> TimeMs {
        self.runs[0].time
    }

    pub fn end(&self) -> TimeMs {
        self.runs[self.runs.len() - 1].time
    }

    /// Whether it is told rather than another attempt of the same user: greater is better, equal is a tie.
    pub fn compare(&self, other: &Told) -> std::cmp::Ordering {
        (self.level.cmp(&other.level))
            .then_with(|| other.end().cmp(&self.end()))
            .then_with(|| self.start().cmp(&other.start()))
            .then_with(|| self.seats().count().cmp(&other.seats().count()))
            .then_with(|| self.times().cmp(other.times()))
            .then_with(|| other.seats().cmp(self.seats()))
    }
}

impl Rules {
    pub fn is_optional(&self, step: usize) -> bool {
        self.optional >> step & 1 == 1
    }

    /// The exclusions that forbid strangers at a moment that an attempt came to with one level and leaves with another.
    pub fn ends_between(&self, level: usize, level_after: usize) -> u64 {
        self.begun[level] & self.open[level_after]
    }

    /// The steps that may come after a level: the next, and while those are optional, the ones behind.
    pub fn next_steps(&self, level: usize) -> Range<usize> {
        let required = !self.optional & u64::MAX.checked_shl(level as u32).unwrap_or(0);
        let last = (required.trailing_zeros() as usize).min(self.step_count.saturating_sub(1));
        level..(last + 1).max(level)
    }

    /// Whether of all attempts of a level the one with the latest start is the best, whatever came of it: nothing but the
    /// window ends one, and no two events that could be told apart share a moment.
    pub fn is_latest_best(&self, moments: &Moments) -> bool {
        self.optional == 0
            && self.begun.iter().all(|exclusions| *exclusions == 0)
            && self.within.iter().all(|within| *within == UNBOUNDED_MS)
            && (self.is_strict || moments.hits.len() == moments.count())
    }

    /// Whether an attempt of a level below the last can take a step at `as_of`, as far as time tells.
    pub fn has_time_left(&self, level: usize, start: TimeMs, last: TimeMs, open_until: TimeMs) -> bool {
        let soonest = if self.is_strict { self.as_of.max(last + 1) } else { self.as_of };
        soonest - start <= self.window
            && soonest < self.follower_end
            && soonest <= open_until
            && self.next_steps(level).any(|step| soonest - last <= self.within[step])
    }
}

/// The hits by moment, without those that no attempt can need: of alike events at one moment a few more than there are
/// steps.
#[derive(Debug, Default)]
pub(super) struct Moments {
    hits: Vec<Hit>,
    bounds: Vec<u32>,
}

impl Moments {
    pub fn new(hits: &[Hit]) -> Moments {
        let mut moments = Moments { hits: Vec::with_capacity(hits.len()), bounds: Vec::new() };
        for of_moment in hits.chunk_by(|a, b| a.time == b.time) {
            moments.bounds.push(moments.hits.len() as u32);
            for alike in of_moment.chunk_by(|a, b| (a.steps, a.ends) == (b.steps, b.ends)) {
                moments.hits.extend_from_slice(&alike[..alike.len().min(FUNNEL_STEP_COUNT_MAX + 1)]);
            }
        }
        moments.bounds.push(moments.hits.len() as u32);
        moments
    }

    pub fn count(&self) -> usize {
        self.bounds.len() - 1
    }

    pub fn at(&self, moment: usize) -> &[Hit] {
        &self.hits[self.bounds[moment] as usize..self.bounds[moment + 1] as usize]
    }

    pub fn time(&self, moment: usize) -> TimeMs {
        self.at(moment)[0].time
    }

    /// The moment of this time, which there is.
    pub fn find(&self, time: TimeMs) -> usize {
        let bounds = &self.bounds[..self.count()];
        bounds.partition_point(|bound| self.hits[*bound as usize].time < time)
    }
}

/// The steps that any of the hits match, and the exclusions.
pub(super) fn union(hits: &[Hit]) -> (u64, u64) {
    hits.iter().fold((0, 0), |(steps, ends), hit| (steps | hit.steps, ends | hit.ends))
}

/// The places of the bits that are set, ascending.
pub(super) fn bits(mut set: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let bit = (set != 0).then(|| set.trailing_zeros() as usize)?;
        set &= set - 1;
        Some(bit)
    })
}

/// A set of all steps from the start of a range to its end, which is outside.
pub(super) fn span(steps: Range<usize>) -> u64 {
    let below = |step: usize| u64::MAX.checked_shl(step as u32).map_or(u64::MAX, |above| !above);
    below(steps.end) & !below(steps.start)
}
