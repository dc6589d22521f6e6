//! Recurring cohorts of the calendar: each interval in which a user does something founds one, to which the user comes back
//! with each interval after it.
//!
//! Nobody has to be followed: what a user did in each interval is enough, whatever came first in it.

use std::ops::Range;

use super::{Calendar, Selection, TASK_USER_COUNT, Task, key_time, key_user};
use crate::api::Problem;
use crate::model::{ExactSum, TimeMs};

/// Periods of an interval each, counted from events that are births and returns in one.
pub(super) struct Recurring<'a> {
    pub calendar: &'a Calendar,
    /// Events from then on only come back.
    pub birth_end: TimeMs,
    /// Periods of a cohort, its own included.
    pub width: usize,
}

/// Intervals at the most of which the sums of all users of a task are kept at once: four megabytes of them.
const SUMMED_BUCKET_COUNT_MAX: usize = 32;

impl Recurring<'_> {
    /// Counts each interval with an event of a user, and those after it, from all events by user and time.
    pub fn count(&self, keys: &[u64], cells: &mut [u64]) {
        // The intervals of one user, and how many of them have births.
        let mut buckets: Vec<u32> = Vec::new();
        let mut birth_count = 0;
        let mut count = |buckets: &[u32], birth_count: usize| {
            for (at, cohort) in buckets[..birth_count].iter().enumerate() {
                let row = &mut cells[*cohort as usize * self.width..][..self.width];
                for bucket in &buckets[at..] {
                    match row.get_mut((bucket - cohort) as usize) {
                        Some(cell) => *cell += 1,
                        None => break,
                    }
                }
            }
        };
        let mut last_user = None;
        for key in keys {
            let (user, time) = (key_user(*key), key_time(*key));
            if last_user.replace(user) != Some(user) {
                count(&buckets, birth_count);
                buckets.clear();
                birth_count = 0;
            }
            let bucket = self.calendar.bucket_of(time).expect("returns lie in the calendar") as u32;
            if buckets.last() != Some(&bucket) {
                buckets.push(bucket);
                // Births come before whatever lies behind their range.
                birth_count += usize::from(time < self.birth_end);
            }
        }
        count(&buckets, birth_count);
    }

    /// Counts the members of each cohort in the first of its `cells`, and adds a property of their events in each period to
    /// its `sums`. Whether it could: nothing was counted if there are too many intervals, or numbers of several exponents
    /// or too large.
    pub fn add_up(
        &self,
        task: &Task<'_>,
        events: &Selection,
        range: Range<TimeMs>,
        property: &str,
        cells: &mut [u64],
        sums: &mut [ExactSum],
    ) -> Result<bool, Problem> {
        let bucket_count = self.calendar.bucket_count();
        if bucket_count > SUMMED_BUCKET_COUNT_MAX {
            return Ok(false);
        }
        let mut users = UserSums {
            exponent: None,
            are_sums_right: true,
            sums: vec![0; TASK_USER_COUNT as usize * bucket_count],
            births: vec![0; TASK_USER_COUNT as usize],
        };
        let mut buckets = Vec::new();
        task.for_each_piece(events, range, true, &mut |rows| {
            buckets.resize(rows.keys.len(), 0);
            self.calendar.buckets_of(rows.keys.iter().map(|key| key_time(*key)), &mut buckets);
            for (key, bucket) in rows.keys.iter().zip(&buckets) {
                users.births[usize::from(key_user(*key))] |=
                    u32::from(key_time(*key) < self.birth_end) << bucket;
            }
            task.numbers(property, rows, |row, term| {
                let cell = usize::from(key_user(rows.keys[row])) * bucket_count + buckets[row] as usize;
                let sum =
                    i64::try_from(term.mantissa).ok().and_then(|term| users.sums[cell].checked_add(term));
                let is_right =
                    sum.is_some() & (*users.exponent.get_or_insert(term.exponent) == term.exponent);
                users.are_sums_right &= is_right;
                users.sums[cell] = sum.unwrap_or(0);
            })
        })?;
        if users.are_sums_right {
            self.tell(&users, cells, sums);
        }
        Ok(users.are_sums_right)
    }

    /// Adds what the users of a task did.
    fn tell(&self, users: &UserSums, cells: &mut [u64], sums: &mut [ExactSum]) {
        let bucket_count = self.calendar.bucket_count();
        let mut totals = vec![0_i128; sums.len()];
        for (births, of_user) in users.births.iter().zip(users.sums.chunks_exact(bucket_count)) {
            let mut left = *births;
            while left != 0 {
                let cohort = left.trailing_zeros() as usize;
                left &= left - 1;
                cells[cohort * self.width] += 1;
                let of_cohort = &mut totals[cohort * self.width..][..self.width];
                let periods = of_cohort.iter_mut().zip(&of_user[cohort..]);
                periods.for_each(|(total, sum)| *total += i128::from(*sum));
            }
        }
        let exponent = users.exponent.unwrap_or(0);
        sums.iter_mut().zip(totals).for_each(|(sum, total)| sum.add_scaled(total, exponent));
    }
}

/// What each user of a task comes to in each interval.
struct UserSums {
    /// Of all sums; `None` without a number.
    exponent: Option<i32>,
    are_sums_right: bool,
    /// Interval by interval, user by user.
    sums: Vec<i64>,
    /// By user: a bit for each interval that founds a cohort.
    births: Vec<u32>,
}
