//! Plain funnels: steps in order, no event matching two of them, and nothing else asked.
//!
//! Step by step, over all users of a task at once: the events of a step that follow one of the step before in time,
//! within the window of that one's start, are its *arrivals*. Of the arrivals before an event the latest has the latest
//! start, so it alone decides; what it came from, and so on back to the start, is the attempt that is told.
//!
//! Every event of a step finds its user's first arrival by a table, and counts how many of the next four are early
//! enough. No row waits for the one before and nothing is branched on, which a processor likes: measured at a third of
//! the time that merging the two sorted lists takes.

use std::ops::Range;

use super::{Rows, Selection, TASK_USER_COUNT, Task, key_time, key_user};
use crate::api::Problem;
use crate::model::TimeMs;

const USER_COUNT: usize = TASK_USER_COUNT as usize;

/// Arrivals that are compared with each event at once. Behind all arrivals lie as many that are later than any event.
const AHEAD: usize = 4;

/// What a plain funnel asks for.
#[derive(Debug)]
pub(super) struct Plain {
    pub window: u64,
    pub is_strict: bool,
    /// Where the first step lies.
    pub starts: Range<TimeMs>,
    /// Where the later steps lie.
    pub followers: Range<TimeMs>,
    /// Users who can still go on then have not dropped off. `None` if nobody can, as the range is over.
    pub pending_at: Option<TimeMs>,
    /// The last moment that a later step may have, whatever the window.
    pub follower_max: TimeMs,
}

/// The told attempts of a task's users, those who got furthest first: a step has the events of the first so many.
#[derive(Debug, Default)]
pub(super) struct PlainOutcomes {
    /// By step: the key of its event in each attempt that reached it.
    pub keys: Vec<Vec<u64>>,
    /// The place of each attempt's first event among the rows of the first step.
    pub firsts: Vec<u32>,
    /// Whether each may still go on. Empty if none of them can.
    in_progress: Vec<bool>,
}

impl PlainOutcomes {
    pub fn len(&self) -> usize {
        self.firsts.len()
    }

    /// How many steps an attempt has.
    pub fn level(&self, attempt: usize) -> usize {
        self.keys.iter().take_while(|of_step| attempt < of_step.len()).count()
    }

    pub fn is_in_progress(&self, attempt: usize) -> bool {
        self.in_progress.get(attempt).copied().unwrap_or(false)
    }

    /// The attempts that may still go on.
    pub fn in_progress(&self) -> impl Iterator<Item = usize> + '_ {
        self.in_progress.iter().enumerate().filter(|(_, can_go_on)| **can_go_on).map(|(attempt, _)| attempt)
    }

    /// The rows of the first step that an attempt can have started with: its first event, and others of that moment.
    pub fn first_rows(&self, attempt: usize, first: &Rows) -> Range<usize> {
        let place = self.firsts[attempt] as usize;
        let key = first.keys[place];
        let is_tied = |other: Option<usize>| other.is_some_and(|other| first.keys.get(other) == Some(&key));
        if !is_tied(place.checked_sub(1)) && !is_tied(Some(place + 1)) {
            return place..place + 1;
        }
        let before = first.keys[..place].iter().rev().take_while(|other| **other == key).count();
        let after = first.keys[place..].iter().take_while(|other| **other == key).count();
        place - before..place + after
    }
}

/// The events that reached a step, by user and time.
#[derive(Debug, Default)]
struct Arrivals {
    /// And [`AHEAD`] that are later than any event.
    keys: Vec<u64>,
    /// The key of the latest first event that each can have started from: of the first step itself, and not repeated.
    starts: Vec<u64>,
    /// The arrival at the step before that each came from, by place.
    origins: Vec<u32>,
    /// By user: the place of the first, or of the first that is later than any event. Empty until somebody asks.
    first_of_user: Vec<u32>,
}

impl Arrivals {
    fn len(&self) -> usize {
        self.keys.len() - AHEAD
    }

    fn starts(&self) -> &[u64] {
        if self.starts.is_empty() { self.keys() } else { &self.starts }
    }

    fn keys(&self) -> &[u64] {
        &self.keys[..self.len()]
    }

    /// The events of the first step. Each starts an attempt.
    fn first(mut keys: Vec<u64>) -> Arrivals {
        keys.extend([u64::MAX; AHEAD]);
        Arrivals { keys, ..Arrivals::default() }
    }

    /// Room for so many.
    fn room_for(count: usize) -> Arrivals {
        Arrivals {
            keys: vec![0; count + AHEAD],
            starts: vec![0; count],
            origins: vec![0; count],
            first_of_user: Vec::new(),
        }
    }

    /// Leaves the first so many.
    fn cut(&mut self, count: usize) {
        self.keys.truncate(count + AHEAD);
        self.keys[count..].fill(u64::MAX);
        self.starts.truncate(count);
        self.origins.truncate(count);
    }

    /// Whether nobody arrived twice, once the first of each user is known.
    fn are_alone(&self) -> bool {
        let nobody = self.len() as u32;
        let user_count: usize = self.first_of_user.iter().map(|first| usize::from(*first < nobody)).sum();
        user_count == self.len()
    }

    /// Finds the first of each user.
    fn find_firsts(&mut self) {
        let mut first_of_user = vec![self.len() as u32; USER_COUNT];
        for (place, key) in self.keys().iter().enumerate().rev() {
            first_of_user[usize::from(key_user(*key)) % USER_COUNT] = place as u32;
        }
        self.first_of_user = first_of_user;
    }

    /// Whether there are so many that users are gone through faster than they are.
    fn are_by_user(&self) -> bool {
        !self.first_of_user.is_empty() && self.len() >= USER_COUNT / 2
    }

    /// Sets the level of each user who arrived.
    fn raise(&self, level: u8, levels: &mut [u8]) {
        if self.are_by_user() {
            let nobody = self.len() as u32;
            for (reached, first) in levels.iter_mut().zip(&self.first_of_user) {
                *reached = if *first < nobody { level } else { *reached };
            }
        } else {
            self.keys().iter().for_each(|key| levels[usize::from(key_user(*key)) % USER_COUNT] = level);
        }
    }

    /// Appends the place of the first arrival of each user who has this level, by user.
    fn push_firsts(&self, level: u8, levels: &[u8], places: &mut Vec<u32>) {
        let mut count = places.len();
        places.resize(count + self.len().min(USER_COUNT) + 1, 0);
        let mut push = |place: u32, is_told: bool| {
            places[count] = place;
            count += usize::from(is_told);
        };
        if self.are_by_user() {
            self.first_of_user
                .iter()
                .zip(levels)
                .for_each(|(first, of_user)| push(*first, *of_user == level));
        } else {
            let mut last_user = None;
            for (place, key) in (0..).zip(self.keys()) {
                let user = key_user(*key);
                let is_first = last_user.replace(user) != Some(user);
                push(place, is_first & (levels[usize::from(user) % USER_COUNT] == level));
            }
        }
        places.truncate(count);
    }
}

impl Plain {
    /// What became of the users of a task, and the rows of the first step, with refs if asked for.
    pub fn outcomes(
        &self,
        task: &Task<'_>,
        steps: &[&Selection],
        with_refs: bool,
    ) -> Result<(PlainOutcomes, Rows), Problem> {
        let mut first = match with_refs {
            true => task.placed_rows(steps[0], self.starts.clone())?,
            false => task.rows(steps[0], self.starts.clone(), false)?,
        };
        let mut all = Vec::with_capacity(steps.len());
        all.push(Arrivals::first(std::mem::take(&mut first.keys)));
        for selection in &steps[1..] {
            let before = all.last_mut().expect("the first step is there");
            if before.len() == 0 {
                break;
            }
            let rows = task.rows(selection, self.followers.clone(), false)?;
            let arrivals = self.follow(before, &rows.keys);
            all.push(arrivals);
        }
        let reached = all.iter().take_while(|arrivals| arrivals.len() > 0).count();
        let outcomes = self.told(&all[..reached], steps.len());
        first.keys = all.swap_remove(0).keys;
        first.keys.truncate(first.keys.len() - AHEAD);
        Ok((outcomes, first))
    }

    /// The events of a step that follow an arrival at the step before, within the window.
    fn follow(&self, before: &mut Arrivals, keys: &[u64]) -> Arrivals {
        if before.first_of_user.is_empty() {
            before.find_firsts();
        }
        match before.are_alone() {
            true => self.follow_one(before, keys),
            false => self.follow_latest(before, keys),
        }
    }

    /// The same where nobody arrived twice.
    fn follow_one(&self, before: &Arrivals, keys: &[u64]) -> Arrivals {
        let latest = u64::from(!self.is_strict); // 1: an arrival at the same moment counts
        let mut arrivals = Arrivals::room_for(keys.len());
        let (before_keys, before_starts) = (before.keys.as_slice(), before.starts());
        let mut count = 0;
        for key in keys {
            let origin = before.first_of_user[usize::from(key_user(*key)) % USER_COUNT];
            // Of those who did not arrive it is one that is later than any event.
            let is_early = before_keys[origin as usize] < key + latest;
            let start = before_starts[(origin as usize).min(before_starts.len() - 1)];
            arrivals.keys[count] = *key;
            arrivals.starts[count] = start;
            arrivals.origins[count] = origin;
            let is_arrival = is_early & (key.wrapping_sub(start) <= self.window);
            count += usize::from(is_arrival);
        }
        arrivals.cut(count);
        arrivals
    }

    /// The same of users' latest arrivals.
    fn follow_latest(&self, before: &mut Arrivals, keys: &[u64]) -> Arrivals {
        let latest = u64::from(!self.is_strict); // 1: an arrival at the same moment counts
        let mut arrivals = Arrivals::room_for(keys.len());
        // Those without an arrival look at the ones that are later than any event.
        let mut first_of_user = std::mem::take(&mut before.first_of_user);
        let mut moved: Vec<(usize, u32)> = Vec::new();
        let (before_keys, before_starts) = (before.keys.as_slice(), before.starts());
        let mut count = 0;
        for key in keys {
            let user = usize::from(key_user(*key)) % USER_COUNT;
            let mut first = first_of_user[user] as usize;
            let end = key + latest;
            let ahead: &[u64; AHEAD] = before_keys[first..first + AHEAD].try_into().expect("as many");
            let mut early_count: usize = ahead.iter().map(|arrival| usize::from(*arrival < end)).sum();
            if early_count == AHEAD {
                // Later events of the user need not look at these again.
                let rest = &before.keys()[first..];
                early_count = rest.iter().take_while(|arrival| **arrival < end).count();
                first += early_count - 1;
                early_count = 1;
                moved.push((user, first_of_user[user]));
                first_of_user[user] = first as u32;
            }
            let origin = (first + early_count).saturating_sub(1);
            let start = before_starts[origin];
            arrivals.keys[count] = *key;
            arrivals.starts[count] = start;
            arrivals.origins[count] = origin as u32;
            // Another user's start is farther away than any window.
            let is_arrival = (early_count > 0) & (key.wrapping_sub(start) <= self.window);
            count += usize::from(is_arrival);
        }
        arrivals.cut(count);
        moved.into_iter().rev().for_each(|(user, first)| first_of_user[user] = first);
        before.first_of_user = first_of_user;
        arrivals
    }

    /// Whether an attempt at this event can still reach another step.
    fn can_go_on(&self, key: u64, start: u64) -> bool {
        let Some(as_of) = self.pending_at else { return false };
        let time = key_time(key);
        let last = key_time(start).saturating_add(self.window as i64).min(self.follower_max);
        last >= as_of && (!self.is_strict || last > time)
    }

    /// Whether one of a user's attempts at a step, from their first arrival there on, can still reach another.
    fn can_user_go_on(&self, arrivals: &Arrivals, first: usize) -> bool {
        let user = key_user(arrivals.keys[first]);
        let own = (first..arrivals.len()).take_while(|place| key_user(arrivals.keys[*place]) == user);
        own.into_iter().any(|place| self.can_go_on(arrivals.keys[place], arrivals.starts()[place]))
    }

    /// From the last step back: who came there first, and where those came from.
    fn told(&self, arrivals: &[Arrivals], step_count: usize) -> PlainOutcomes {
        let mut levels = vec![0_u8; USER_COUNT];
        for (level, of_step) in (1..).zip(arrivals) {
            of_step.raise(level, &mut levels);
        }
        let mut outcomes = PlainOutcomes { keys: vec![Vec::new(); arrivals.len()], ..Default::default() };
        let mut places: Vec<u32> = Vec::new(); // of the told attempts among the arrivals of a step
        for (step, of_step) in arrivals.iter().enumerate().rev() {
            if let Some(after) = arrivals.get(step + 1) {
                places.iter_mut().for_each(|place| *place = after.origins[*place as usize]);
            }
            of_step.push_firsts(step as u8 + 1, &levels, &mut places);
            if self.pending_at.is_some() {
                let added = &places[outcomes.in_progress.len()..];
                let can_go_on =
                    |place: &u32| step + 1 < step_count && self.can_user_go_on(of_step, *place as usize);
                outcomes.in_progress.extend(added.iter().map(can_go_on));
            }
            outcomes.keys[step] = places.iter().map(|place| of_step.keys[*place as usize]).collect();
            if step == 0 {
                outcomes.firsts = std::mem::take(&mut places);
            }
        }
        outcomes
    }
}
