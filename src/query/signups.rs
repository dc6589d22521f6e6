//! Sign-ups: whose clock starts when, and in which rows of the result that counts.
//!
//! A user signs up with its first matching event ever, and counts if that lies in the range. Growth queries measure
//! from there. What happens at the very instant of the sign-up counts for them, the sign-up itself does not.

use std::ops::Range;
use std::rc::Rc;

use super::births::{Founding, find_foundings};
use super::clip::Clip;
use super::split::slots_of;
use super::value_totals::BreakdownTotals;
use super::{
    Analysis, Binder, BreakdownPlan, Calendar, Codes, Fold, RowRef, Rows, Selection, Split, Task, key,
};
use crate::api::{Breakdown, CohortRule, Interval, Problem, Scope};
use crate::model::{DurationMs, TimeMs};

/// The sign-ups of a query, bound to a snapshot.
#[derive(Debug)]
pub struct Signups {
    selection: Selection,
    /// All history up to the end of the range, and never after `as_of`.
    looked_at: Range<TimeMs>,
    /// The told range: who signed up outside it is not told.
    range: Range<TimeMs>,
    pub calendar: Calendar,
    breakdowns: Vec<SignupBreakdown>,
    split: Split,
}

#[derive(Debug)]
struct SignupBreakdown {
    plan: BreakdownPlan,
    /// How many values are told.
    limit: usize,
    /// The first days of each user that cohorts look at, if not all history.
    within: Option<DurationMs>,
}

/// The sign-ups of the users of a task.
#[derive(Debug)]
pub struct Found {
    /// By user, each of whom has one.
    pub signups: Vec<Founding>,
    rows: Rows,
    slots: Option<Codes>,
}

impl Found {
    /// The rows of the result that a sign-up counts in: slot 0 without a breakdown.
    pub fn slots(&self, signup: &Founding) -> &[u32] {
        slots_of(self.slots.as_ref(), signup.row)
    }

    /// The rows of the sign-up event: several if events of one name and instant are all sign-ups, one of which is it.
    pub fn own_rows<'a>(
        &'a self,
        task: &'a Task<'_>,
        signup: &Founding,
    ) -> impl Iterator<Item = RowRef> + 'a {
        let key = key(signup.user, signup.time);
        let start = self.rows.keys.partition_point(|other| *other < key);
        let end = start + self.rows.keys[start..].partition_point(|other| *other == key);
        let tied = &self.rows.refs[start..end];
        let name = |row: &RowRef| task.scan().group(row.segment, row.group).name();
        let first_name = if tied.len() > 1 { tied.iter().map(name).min() } else { None };
        tied.iter().filter(move |row| first_name.is_none_or(|first| name(row) == first)).copied()
    }

    /// From the first sign-up to so long after the last one, as far as it is seen.
    pub fn span(&self, length: Option<i64>, seen_end: TimeMs) -> Range<TimeMs> {
        let times = || self.signups.iter().map(|signup| signup.time);
        let Some((first, last)) = times().min().zip(times().max()) else { return 0..0 };
        let end = length.map_or(seen_end, |length| seen_end.min(last + length + 1));
        first.min(end)..end
    }
}

impl Signups {
    /// `selection` is that of sign-up events with the query's `where`.
    pub fn new(
        selection: Selection,
        interval: Interval,
        breakdowns: &[Breakdown],
        binder: &mut Binder<'_>,
    ) -> Result<Signups, Problem> {
        let (scope, scan): (&Scope, _) = (binder.scope(), binder.scan());
        let range = scope.told_range(scan.first_event()?);
        let calendar = Calendar::new(interval, &scope.zone, scope.week_start, range.clone())?;
        let looked_at = scope.history().start..scope.seen(range.clone()).end;
        let mut plans = Vec::with_capacity(breakdowns.len());
        for breakdown in breakdowns {
            plans.push(SignupBreakdown {
                plan: BreakdownPlan::new(breakdown, binder)?,
                limit: breakdown.limit,
                within: breakdown.within,
            });
        }
        let mut signups =
            Signups { selection, looked_at, range, calendar, breakdowns: plans, split: Split::default() };
        if !signups.needs_totals() {
            let folds = signups.breakdowns.iter().map(|breakdown| Fold::keep_all(breakdown.plan.labels()));
            signups.split = Split::new(folds.collect())?;
        }
        Ok(signups)
    }

    pub fn selection(&self) -> &Selection {
        &self.selection
    }

    pub fn range(&self) -> Range<TimeMs> {
        self.range.clone()
    }

    pub fn split(&self) -> &Split {
        &self.split
    }

    pub fn breakdown_count(&self) -> usize {
        self.breakdowns.len()
    }

    /// What has to be asked first, if a property has more values than are told; the answer goes to
    /// [`Signups::fold`].
    pub fn totals(&self) -> Option<SignupTotals<'_>> {
        self.needs_totals().then_some(SignupTotals { signups: self })
    }

    fn needs_totals(&self) -> bool {
        self.breakdowns.iter().any(|breakdown| breakdown.plan.labels().len() > breakdown.limit)
    }

    /// Sets which values have rows of their own.
    pub fn fold(&mut self, split: Split) {
        self.split = split;
    }

    /// The sign-ups among the users of a task.
    pub fn find(&self, task: &Task<'_>) -> Result<Found, Problem> {
        let (rows, signups, codes) = self.find_codes(task)?;
        Ok(Found { signups, slots: self.split.slots(codes), rows })
    }

    fn find_codes(&self, task: &Task<'_>) -> Result<(Rows, Vec<Founding>, Vec<Codes>), Problem> {
        let rows = task.rows(&self.selection, self.looked_at.clone(), true)?;
        let cohort_of =
            |time: TimeMs| self.range.contains(&time).then(|| self.calendar.bucket_of(time)).flatten();
        // Cohorts are of users: they never tell sign-ups of one user apart.
        let judged_later = |breakdown: &&SignupBreakdown| breakdown.within.is_none();
        let at_once: Vec<Codes> = self
            .breakdowns
            .iter()
            .filter(judged_later)
            .map(|breakdown| task.breakdown_codes(&breakdown.plan, &rows))
            .collect::<Result<_, _>>()?;
        let labels: Vec<_> =
            self.breakdowns.iter().filter(judged_later).map(|breakdown| breakdown.plan.labels()).collect();
        let signups = find_foundings(CohortRule::FirstTime, &rows.keys, cohort_of, &at_once, &labels);
        let mut at_once = at_once.into_iter();
        let found = Found { signups, slots: None, rows };
        let mut codes = Vec::with_capacity(self.breakdowns.len());
        for breakdown in &self.breakdowns {
            codes.push(match breakdown.within {
                None => at_once.next().expect("the codes of every other breakdown are there"),
                Some(within) => {
                    let first_days = task.clipped(Rc::new(found.first_days(task, within)));
                    first_days.breakdown_codes(&breakdown.plan, &found.rows)?
                }
            });
        }
        Ok((found.rows, found.signups, codes))
    }
}

impl Found {
    fn first_days(&self, task: &Task<'_>, within: DurationMs) -> Clip {
        let mut clip = Clip::new(within.as_ms());
        for signup in &self.signups {
            clip.add(signup.user, signup.time, self.own_rows(task, signup));
        }
        clip
    }
}

/// The first look: how many of those who signed up have each value.
#[derive(Debug)]
pub struct SignupTotals<'a> {
    signups: &'a Signups,
}

impl Analysis for SignupTotals<'_> {
    type Partial = BreakdownTotals;
    type Output = Split;

    fn empty(&self) -> BreakdownTotals {
        BreakdownTotals::new(self.signups.breakdowns.len())
    }

    fn observe(&self, task: &Task<'_>, partial: &mut BreakdownTotals) -> Result<(), Problem> {
        let (_, signups, codes) = self.signups.find_codes(task)?;
        for (codes, totals) in codes.iter().zip(partial.properties_mut()) {
            for signup in &signups {
                let user = task.user_base() + u32::from(signup.user);
                codes.of(signup.row).iter().for_each(|code| totals.count(*code, user, true));
            }
        }
        Ok(())
    }

    /// The values that have rows of their own.
    fn finish(&self, partial: BreakdownTotals) -> Result<Split, Problem> {
        let breakdowns = &self.signups.breakdowns;
        let plans: Vec<BreakdownPlan> = breakdowns.iter().map(|breakdown| breakdown.plan.clone()).collect();
        let limits: Vec<usize> = breakdowns.iter().map(|breakdown| breakdown.limit).collect();
        partial.split(&plans, &limits)
    }
}
