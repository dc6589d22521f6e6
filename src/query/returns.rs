//! Returns: in which periods members of cohorts were back, and what each mode makes of it.
//!
//! A member is not kept with all its periods. It is told in few cells, and only those at the end of the result
//! say in how many periods it counts: with `on_or_before` the first period it was back in, which counts in all
//! later ones; with `on_or_after` the last one, and with `streak` the last of an unbroken row, which count in
//! all earlier ones.

use super::TASK_USER_COUNT;
use super::births::Member;
use crate::api::{Alignment, ReturnMode};
use crate::model::TimeMs;

/// Which moments are which periods of a member.
#[derive(Debug)]
pub struct Periods {
    alignment: Alignment,
    /// The period of each interval from the birth's own on.
    by_interval: Vec<u32>,
    /// The interval after the last one of each period, from the birth's own on.
    ends: Vec<u32>,
}

impl Periods {
    /// `widths` are those of the periods after the birth's own, in intervals.
    pub fn new(alignment: Alignment, widths: &[u32]) -> Periods {
        let (mut by_interval, mut ends) = (vec![0], vec![1]);
        for (period, width) in (1..).zip(widths) {
            by_interval.extend((0..*width).map(|_| period));
            ends.push(by_interval.len() as u32);
        }
        Periods { alignment, by_interval, ends }
    }

    pub fn alignment(&self) -> Alignment {
        self.alignment
    }

    /// Periods, the birth's own included.
    pub fn count(&self) -> usize {
        self.ends.len()
    }

    /// Intervals of all periods, the birth's own included.
    pub fn interval_count(&self) -> usize {
        self.by_interval.len()
    }

    /// How many intervals, the birth's own included, are over at the end of a period.
    pub fn end(&self, period: usize) -> usize {
        self.ends[period] as usize
    }

    /// Whether every period is as wide as the interval.
    pub fn are_single(&self) -> bool {
        self.count() == self.interval_count()
    }

    /// Which interval from the birth's own on a moment lies in. `None` before that.
    #[inline]
    fn interval_of(&self, member: &Member, moment: Moment) -> Option<usize> {
        match self.alignment {
            Alignment::Calendar => moment.bucket.checked_sub(member.cohort).map(|interval| interval as usize),
            Alignment::Rolling { interval_ms } => {
                let since_birth = moment.time - member.birth;
                (since_birth >= 0).then(|| (since_birth / interval_ms) as usize)
            }
        }
    }
}

/// When something happened.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    pub time: TimeMs,
    /// The bucket of the calendar: what periods of the calendar go by. Rolling ones never look at it.
    pub bucket: u32,
}

/// Finds the members, among the users of a task, that have a period at a moment.
#[derive(Debug)]
pub struct Followers<'a> {
    periods: &'a Periods,
    /// By user, then cohort.
    members: &'a [Member],
    /// Of each user the first member whose periods are not all over, and the end of the user's members.
    open: Vec<(u32, u32)>,
}

impl<'a> Followers<'a> {
    /// `members` are ordered by user, then cohort, and so by birth.
    pub fn new(periods: &'a Periods, members: &'a [Member]) -> Followers<'a> {
        debug_assert!(members.is_sorted_by_key(|member| (member.user, member.cohort, member.birth)));
        let mut open = vec![(0, 0); TASK_USER_COUNT as usize];
        for (index, member) in (0..).zip(members) {
            let (start, end) = &mut open[usize::from(member.user)];
            if *start == *end {
                (*start, *end) = (index, index);
            }
            *end += 1;
        }
        Followers { periods, members, open }
    }

    /// Calls `visit` with each member of the user that has a period at the moment, by index, and the period.
    /// The moments of a user come in order.
    #[inline]
    pub fn at(&mut self, user: u16, moment: Moment, mut visit: impl FnMut(usize, &Member, u32)) {
        let (start, end) = &mut self.open[usize::from(user)];
        let interval_count = self.periods.interval_count();
        let interval_of = |index: u32| self.periods.interval_of(&self.members[index as usize], moment);
        while start < end && interval_of(*start).is_some_and(|interval| interval >= interval_count) {
            *start += 1;
        }
        for index in *start..*end {
            // Those born later have no period yet, and those left have none that is over.
            let Some(interval) = interval_of(index) else { break };
            visit(index as usize, &self.members[index as usize], self.periods.by_interval[interval]);
        }
    }
}

/// What the return events of each member come to.
#[derive(Debug)]
pub struct Returns {
    mode: ReturnMode,
    at_least: u32,
    by_member: Vec<Return>,
}

/// Periods are above 0; 0 is none.
#[derive(Clone, Copy, Debug, Default)]
struct Return {
    /// The period of the last event.
    period: u32,
    /// Events in it.
    count: u32,
    /// The period that the member was told in last.
    told: u32,
}

/// A change of how many members are told in a period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    One(u32),
    /// One less in the first period, one more in the second.
    Moved(u32, u32),
}

impl Returns {
    pub fn new(mode: ReturnMode, at_least: u32, member_count: usize) -> Returns {
        Returns { mode, at_least, by_member: vec![Return::default(); member_count] }
    }

    /// Adds a return event of a member in a period after the birth's own. Periods of a member ascend.
    #[inline]
    pub fn add(&mut self, member: usize, period: u32) -> Option<Change> {
        debug_assert!(period > 0, "the birth's own period is not for returns");
        let state = &mut self.by_member[member];
        if state.period != period {
            (state.period, state.count) = (period, 0);
        }
        state.count = state.count.saturating_add(1);
        if state.count != self.at_least {
            return None;
        }
        let told = state.told;
        let is_told = match self.mode {
            ReturnMode::On | ReturnMode::OnOrAfter => true,
            ReturnMode::OnOrBefore => told == 0,
            ReturnMode::Streak => told + 1 == period,
        };
        if !is_told {
            return None;
        }
        state.told = period;
        Some(if told == 0 || self.mode == ReturnMode::On {
            Change::One(period)
        } else {
            Change::Moved(told, period)
        })
    }
}

/// Whether what is told in a period counts in another one.
pub fn counts_in(mode: ReturnMode, told: u32, period: u32) -> bool {
    match mode {
        ReturnMode::On => told == period,
        ReturnMode::OnOrBefore => told <= period,
        ReturnMode::OnOrAfter | ReturnMode::Streak => told >= period,
    }
}

/// Turns what is told in each period into what counts in each, in place.
pub fn cumulate<T: Clone>(mode: ReturnMode, by_period: &mut [T], add: impl Fn(&mut T, &T)) {
    match mode {
        ReturnMode::On => {}
        ReturnMode::OnOrBefore => {
            for period in 1..by_period.len() {
                let earlier = by_period[period - 1].clone();
                add(&mut by_period[period], &earlier);
            }
        }
        ReturnMode::OnOrAfter | ReturnMode::Streak => {
            for period in (1..by_period.len()).rev() {
                let later = by_period[period].clone();
                add(&mut by_period[period - 1], &later);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Members that count in periods 1 to 4, from the periods that each was back in.
    fn told(mode: ReturnMode, at_least: u32, members: &[&[u32]]) -> Vec<i64> {
        let mut returns = Returns::new(mode, at_least, members.len());
        let mut cells = vec![0; 4];
        let mut judged = vec![vec![0; 4]; members.len()];
        for (member, periods) in members.iter().enumerate() {
            for period in *periods {
                let mut change = |told: u32, term: i64| {
                    cells[told as usize - 1] += term;
                    for period in (1..=4).filter(|period| counts_in(mode, told, *period)) {
                        judged[member][period as usize - 1] += term;
                    }
                };
                match returns.add(member, *period) {
                    None => {}
                    Some(Change::One(period)) => change(period, 1),
                    Some(Change::Moved(from, to)) => {
                        change(from, -1);
                        change(to, 1);
                    }
                }
            }
        }
        cumulate(mode, &mut cells, |sum, term| *sum += term);
        let counted: Vec<i64> = (0..4)
            .map(|period| judged.iter().filter(|of_member| of_member[period] > 0).count() as i64)
            .collect();
        assert_eq!(counted, cells, "each member is in the periods that it counts in");
        cells
    }

    #[test]
    fn modes_make_different_curves_of_the_same_returns() {
        let members: [&[u32]; 4] = [&[1, 1, 2, 4], &[2, 3], &[1, 2, 3, 4, 4], &[]];
        assert_eq!(told(ReturnMode::On, 1, &members), [2, 3, 2, 2]);
        assert_eq!(told(ReturnMode::OnOrAfter, 1, &members), [3, 3, 3, 2]);
        assert_eq!(told(ReturnMode::OnOrBefore, 1, &members), [2, 3, 3, 3]);
        assert_eq!(told(ReturnMode::Streak, 1, &members), [2, 2, 1, 1]);
        assert_eq!(told(ReturnMode::On, 2, &members), [1, 0, 0, 1]);
        assert_eq!(told(ReturnMode::OnOrAfter, 2, &members), [2, 1, 1, 1]);
    }

    /// The members, by index, and their periods at some moments of user 7.
    fn visits(periods: &Periods, births: &[(u32, TimeMs)], moments: &[TimeMs]) -> Vec<(usize, u32)> {
        let member = |(cohort, birth): &(u32, TimeMs)| Member {
            user: 7,
            cohort: *cohort,
            birth: *birth,
            first_cell: 0,
        };
        let members: Vec<Member> = births.iter().map(member).collect();
        let mut followers = Followers::new(periods, &members);
        let mut visits = Vec::new();
        for time in moments {
            let moment = Moment { time: *time, bucket: (*time / 10) as u32 };
            followers.at(7, moment, |index, _, period| visits.push((index, period)));
            followers.at(8, moment, |_, _, _| panic!("user 8 is no member"));
        }
        visits
    }

    #[test]
    fn periods_of_the_calendar_and_rolling_ones_begin_elsewhere() {
        let births = [(1, 18), (2, 21)];
        let calendar = Periods::new(Alignment::Calendar, &[1, 2]);
        assert_eq!((calendar.count(), calendar.interval_count(), calendar.end(2)), (3, 4, 4));
        assert!(!calendar.are_single());
        let moments = [5, 19, 27, 35, 49, 55, 65];
        assert_eq!(
            visits(&calendar, &births, &moments),
            [(0, 0), (0, 1), (1, 0), (0, 2), (1, 1), (0, 2), (1, 2), (1, 2)]
        );
        let rolling = Periods::new(Alignment::Rolling { interval_ms: 10 }, &[1, 2]);
        assert_eq!(
            visits(&rolling, &births, &moments),
            [(0, 0), (0, 0), (1, 0), (0, 1), (1, 1), (0, 2), (1, 2), (0, 2), (1, 2)]
        );
    }
}
