//! Births: which events make users members of cohorts, and where their returns count.

use super::{Codes, NULL_CODE, TASK_USER_COUNT, key_time, key_user};
use crate::api::CohortRule;
use crate::limits::BUCKET_COUNT_MAX;
use crate::model::{TimeMs, Value};

/// A user of the task becomes a member of a cohort.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Founding {
    pub user: u16,
    pub cohort: u32,
    /// When the user was born into the cohort.
    pub time: TimeMs,
    /// The row of the birth event.
    pub row: usize,
}

/// The members that birth events make, by user, then cohort. `keys` are the birth events' in order; `cohort_of`
/// is `None` where a birth founds none.
///
/// Of births that tie in time the one whose values come first in the order of rows counts: `codes` and `labels`
/// are those of the breakdown's properties.
pub fn find_foundings(
    rule: CohortRule,
    keys: &[u64],
    cohort_of: impl Fn(TimeMs) -> Option<usize>,
    codes: &[Codes],
    labels: &[&[Value]],
) -> Vec<Founding> {
    let mut foundings: Vec<Founding> = Vec::new();
    let mut last_user = None;
    if codes.is_empty() && rule != CohortRule::Recurring {
        // Of births that tie nothing can be told apart.
        for (row, key) in keys.iter().enumerate() {
            let user = key_user(*key);
            if last_user.replace(user) != Some(user)
                && let Some(cohort) = cohort_of(key_time(*key))
            {
                foundings.push(Founding { user, cohort: cohort as u32, time: key_time(*key), row });
            }
        }
        return foundings;
    }
    let mut row = 0;
    while row < keys.len() {
        let (key, user) = (keys[row], key_user(keys[row]));
        let first_row = row;
        row += keys[row..].iter().take_while(|next| **next == key).count();
        let is_first = last_user != Some(user);
        last_user = Some(user);
        let may_found = match rule {
            // Births outside the range are not among the rows of `FirstInRange`.
            CohortRule::FirstTime | CohortRule::FirstInRange => is_first,
            CohortRule::Recurring => true,
        };
        let Some(cohort) = cohort_of(key_time(key)).filter(|_| may_found) else { continue };
        let cohort = cohort as u32;
        if foundings.last().is_some_and(|last| last.user == user && last.cohort == cohort) {
            continue;
        }
        let tied = first_row..row;
        let row = if tied.len() == 1 || codes.is_empty() {
            first_row
        } else {
            tied.min_by_key(|row| combinations(*row, codes, labels)).expect("a row ties with itself")
        };
        foundings.push(Founding { user, cohort, time: key_time(key), row });
    }
    foundings
}

/// A value in the order of rows, in which null is last.
pub(super) type Label<'a> = (bool, Option<&'a Value>);

/// The rows of the result that an event belongs to, in their order, by their names. Who is in none of the cohorts of a
/// breakdown is in no row, but the values of its other properties are counted: they order it all the same.
pub(super) fn combinations<'a>(row: usize, codes: &[Codes], labels: &[&'a [Value]]) -> Vec<Vec<Label<'a>>> {
    let of_property = |(codes, labels): (&Codes, &&'a [Value])| -> Vec<Label<'a>> {
        codes.of(row).iter().map(|code| (*code == NULL_CODE, labels.get(*code as usize))).collect()
    };
    let mut combinations = combined(codes.iter().zip(labels).map(of_property), (true, None));
    combinations.sort_unstable();
    combinations
}

/// One of each list, in every way, in the order of the lists; an empty list counts as one of `nowhere`.
pub(super) fn combined<T: Copy>(lists: impl IntoIterator<Item: AsRef<[T]>>, nowhere: T) -> Vec<Vec<T>> {
    lists.into_iter().fold(vec![Vec::new()], |combinations, list| {
        let list = if list.as_ref().is_empty() { &[nowhere] } else { list.as_ref() };
        let longer = |combination: &Vec<T>| -> Vec<Vec<T>> {
            list.iter().map(|value| [combination.as_slice(), &[*value]].concat()).collect()
        };
        combinations.iter().flat_map(longer).collect()
    })
}

/// The memberships of the users of a task: in which cohort, and where the cells of that cohort start.
#[derive(Debug)]
pub enum Births {
    /// No user has more than one, and the cells of a cohort are the same for all.
    Few(FewBirths),
    /// No user has more than one. `cohorts[user]` is [`NO_COHORT`] for who has none.
    One { cohorts: Vec<u32>, first_cells: Vec<u32> },
    /// Some user has several: of several cohorts, or of several values. `members` are ordered by user, and
    /// those of a user start at `offsets[user]`.
    Many { offsets: Vec<u32>, members: Vec<Member> },
}

#[derive(Clone, Copy, Debug)]
pub struct Member {
    pub user: u16,
    pub cohort: u32,
    pub birth: TimeMs,
    /// Where the cells of the cohort start, that of period 0 first.
    pub first_cell: u32,
}

/// Cohorts that lie close enough together to be told apart by 16 bits, and counted in a small table.
#[derive(Debug)]
pub struct FewBirths {
    /// By user: the cohort, counted from the first one; one past the last for who has none.
    cohorts: Vec<u16>,
    first_cohort: u32,
    /// By cohort.
    first_cells: Vec<u32>,
}

/// Cohorts of which a table of counts stays in the nearest cache.
const FEW_COHORT_COUNT_MAX: u32 = 2048;

impl FewBirths {
    /// Those that each user's first birth makes, if cohorts are few. `keys` are the births' in order, and `cohorts` tells
    /// that of each: `cohort_count` if it founds none. The cells of a cohort are `width`, those of the first come first.
    pub fn of_firsts(
        keys: &[u64],
        cohorts: impl DoubleEndedIterator<Item = u32> + ExactSizeIterator,
        cohort_count: usize,
        width: usize,
    ) -> Option<FewBirths> {
        if cohort_count > FEW_COHORT_COUNT_MAX as usize {
            return None;
        }
        let mut of_user = vec![cohort_count as u16; TASK_USER_COUNT as usize];
        for (key, cohort) in keys.iter().zip(cohorts).rev() {
            of_user[usize::from(key_user(*key))] = cohort as u16;
        }
        let first_cells = (0..cohort_count).map(|cohort| (cohort * width) as u32).collect();
        Some(FewBirths { cohorts: of_user, first_cohort: 0, first_cells })
    }

    /// How many members each cohort has.
    pub fn sizes(&self) -> Vec<u64> {
        let mut sizes = vec![0; self.first_cells.len() + 1];
        self.cohorts.iter().for_each(|cohort| sizes[usize::from(*cohort)] += 1);
        sizes.pop();
        sizes
    }

    fn new(members: &[Member]) -> Option<FewBirths> {
        let bounds =
            |(first, last): (u32, u32), member: &Member| (first.min(member.cohort), last.max(member.cohort));
        let (first, last) = members.iter().fold((u32::MAX, 0), bounds);
        if members.is_empty() || last - first >= FEW_COHORT_COUNT_MAX {
            return None;
        }
        let mut first_cells = vec![None; (last - first + 1) as usize];
        let mut of_user = vec![first_cells.len() as u16; TASK_USER_COUNT as usize];
        for member in members {
            let cohort = (member.cohort - first) as usize;
            if *first_cells[cohort].get_or_insert(member.first_cell) != member.first_cell {
                return None;
            }
            of_user[usize::from(member.user)] = cohort as u16;
        }
        let first_cells = first_cells.into_iter().map(|cell| cell.unwrap_or(0)).collect();
        Some(FewBirths { cohorts: of_user, first_cohort: first, first_cells })
    }
}

/// Counts returns bucket by bucket: in a bucket the returns of each cohort, which are then added to its cells.
#[derive(Debug)]
pub struct ReturnTally<'b> {
    births: &'b FewBirths,
    period_count: u32,
    bucket: u32,
    /// By cohort, and of those without one.
    counts: Vec<u32>,
    /// By user: the bucket they were counted in last. `None` if nobody comes twice in a bucket.
    last_buckets: Option<Vec<u32>>,
}

impl<'b> ReturnTally<'b> {
    pub fn new(births: &'b FewBirths, period_count: u32, may_repeat: bool) -> ReturnTally<'b> {
        ReturnTally {
            births,
            period_count,
            bucket: 0,
            counts: vec![0; births.first_cells.len() + 1],
            last_buckets: may_repeat.then(|| vec![u32::MAX; TASK_USER_COUNT as usize]),
        }
    }

    /// Counts users who returned in a bucket, which is no earlier than those before.
    pub fn add(&mut self, users: &[u16], bucket: u32, cells: &mut [u64]) {
        if bucket != self.bucket {
            self.flush(cells);
            self.bucket = bucket;
        }
        let cohorts = &self.births.cohorts;
        match &mut self.last_buckets {
            None => {
                users.iter().for_each(|user| self.counts[usize::from(cohorts[usize::from(*user)])] += 1);
            }
            Some(last_buckets) => {
                for user in users {
                    let last = std::mem::replace(&mut last_buckets[usize::from(*user)], bucket);
                    self.counts[usize::from(cohorts[usize::from(*user)])] += u32::from(last != bucket);
                }
            }
        }
    }

    /// Adds what was counted in the last bucket to the cells.
    pub fn flush(&mut self, cells: &mut [u64]) {
        let place = |cohort: u32| cohort.saturating_sub(self.births.first_cohort) as usize;
        let count = self.births.first_cells.len();
        let cohorts =
            place(self.bucket.saturating_sub(self.period_count)).min(count)..place(self.bucket).min(count);
        for cohort in cohorts {
            let period = self.bucket - self.births.first_cohort - cohort as u32;
            cells[(self.births.first_cells[cohort] + period) as usize] += u64::from(self.counts[cohort]);
        }
        self.counts.fill(0);
    }
}

/// So far from every bucket that no period of it is within any count of periods, whichever way it wraps.
const NO_COHORT: u32 = 1 << 31;
const _: () = assert!(BUCKET_COUNT_MAX < NO_COHORT as usize);

impl Births {
    /// `members` are ordered by user.
    pub fn new(members: Vec<Member>) -> Births {
        let user_count = TASK_USER_COUNT as usize;
        if members.is_sorted_by(|a, b| a.user < b.user) {
            if let Some(few) = FewBirths::new(&members) {
                return Births::Few(few);
            }
            let (mut cohorts, mut first_cells) = (vec![NO_COHORT; user_count], vec![0; user_count]);
            for member in &members {
                cohorts[usize::from(member.user)] = member.cohort;
                first_cells[usize::from(member.user)] = member.first_cell;
            }
            return Births::One { cohorts, first_cells };
        }
        let mut offsets = vec![0; user_count + 1];
        members.iter().for_each(|member| offsets[usize::from(member.user) + 1] += 1);
        for user in 0..user_count {
            offsets[user + 1] += offsets[user];
        }
        Births::Many { offsets, members }
    }

    /// Counts that a user returned in a bucket, in the periods 1 to `period_count` of the user's cohorts.
    #[inline]
    pub fn count_return(&self, user: u16, bucket: u32, period_count: u32, cells: &mut [u64]) {
        let user = usize::from(user);
        let mut count = |cohort: u32, first_cell: u32| {
            // The period before the birth's own wraps around to a very late one, as that of nobody does.
            let period = bucket.wrapping_sub(cohort);
            if period.wrapping_sub(1) < period_count {
                cells[(first_cell + period) as usize] += 1;
            }
        };
        match self {
            Births::Few(few) => {
                let cohort = few.cohorts[user];
                if let Some(first_cell) = few.first_cells.get(usize::from(cohort)) {
                    count(few.first_cohort + u32::from(cohort), *first_cell);
                }
            }
            Births::One { cohorts, first_cells } => count(cohorts[user], first_cells[user]),
            Births::Many { offsets, members } => members[offsets[user] as usize..offsets[user + 1] as usize]
                .iter()
                .for_each(|member| count(member.cohort, member.first_cell)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::key;
    use super::*;

    fn users_and_cohorts(rule: CohortRule, births: &[(u16, TimeMs)]) -> Vec<(u16, u32)> {
        let keys: Vec<u64> = births.iter().map(|(user, time)| key(*user, *time)).collect();
        let cohort_of = |time: TimeMs| (10..40).contains(&time).then(|| time as usize / 10 - 1);
        let foundings = find_foundings(rule, &keys, cohort_of, &[], &[]);
        foundings.into_iter().map(|founding| (founding.user, founding.cohort)).collect()
    }

    #[test]
    fn the_first_birth_decides_or_every_interval_does() {
        let births = [(1, 15), (1, 25), (2, 5), (2, 15), (3, 12), (3, 18), (3, 31), (4, 99)];
        assert_eq!(users_and_cohorts(CohortRule::FirstTime, &births), [(1, 0), (3, 0)]);
        assert_eq!(
            users_and_cohorts(CohortRule::Recurring, &births),
            [(1, 0), (1, 1), (2, 0), (3, 0), (3, 2)]
        );
        let in_range = [(1, 15), (1, 25), (2, 15)];
        assert_eq!(users_and_cohorts(CohortRule::FirstInRange, &in_range), [(1, 0), (2, 0)]);
    }

    #[test]
    fn of_births_at_one_time_the_smallest_value_counts_and_null_is_last() {
        let labels = [Value::from("b"), Value::from("a"), Value::from(3)];
        let row = |codes: &[u32]| {
            let keys = vec![key(9, 15); codes.len()];
            let codes = [Codes::one_per_row(codes.to_vec())];
            find_foundings(CohortRule::FirstTime, &keys, |_| Some(0), &codes, &[&labels])[0].row
        };
        assert_eq!(row(&[NULL_CODE, 0, 1]), 2);
        assert_eq!(row(&[0, 2, 1]), 1);
        assert_eq!(row(&[NULL_CODE, NULL_CODE]), 0);
    }

    /// Cells of two cohorts with periods 0 to 2, after some returns.
    fn cells(members: &[(u16, u32)], returns: &[(u16, u32)]) -> Vec<u64> {
        let member = |(user, cohort): &(u16, u32)| Member {
            user: *user,
            cohort: *cohort,
            birth: 0,
            first_cell: cohort * 3,
        };
        let births = Births::new(members.iter().map(member).collect());
        let mut cells = vec![0; 6];
        returns.iter().for_each(|(user, bucket)| births.count_return(*user, *bucket, 2, &mut cells));
        if let Births::Few(few) = &births {
            for may_repeat in [false, true] {
                let (mut tally, mut tallied) = (ReturnTally::new(few, 2, may_repeat), vec![0; 6]);
                for bucket in 0..5 {
                    let users: Vec<u16> =
                        returns.iter().filter(|(_, of)| *of == bucket).map(|(user, _)| *user).collect();
                    tally.add(&users, bucket, &mut tallied);
                    if may_repeat {
                        tally.add(&users, bucket, &mut tallied);
                    }
                }
                tally.flush(&mut tallied);
                assert_eq!(tallied, cells, "the tally counts as one by one");
            }
        }
        cells
    }

    #[test]
    fn returns_count_in_the_periods_after_the_birth_and_in_no_other() {
        let returns = [(0, 0), (0, 1), (5, 0), (5, 1), (5, 2), (5, 3), (5, 4), (7, 2), (16_383, 1)];
        assert_eq!(cells(&[(5, 1), (16_383, 0)], &returns), [0, 1, 0, 0, 1, 1]);
        assert_eq!(cells(&[(5, 0), (5, 1)], &returns), [0, 1, 1, 0, 1, 1]);
        assert_eq!(cells(&[], &returns), [0; 6]);
    }
}
