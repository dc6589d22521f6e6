//! Who was active on which day of UTC: by day sets where whole days are asked about, by rows at the ends of a
//! range that cuts days.

use std::ops::Range;

use super::{Selection, Task, key_time, key_user};
use crate::api::Problem;
use crate::model::{DAY_MS, TimeMs};

/// Calls `visit` with each day since 1970 that `range` touches and has activity in, and users who did
/// anything on it in the range. Days ascend; a day comes once, and a user once on a day.
///
/// `every_event` is a selection without conditions: day sets know nothing of any.
pub fn visit_active_days(
    task: &Task<'_>,
    every_event: &Selection,
    range: Range<TimeMs>,
    visit: &mut dyn FnMut(i32, &[u16]),
) -> Result<(), Problem> {
    debug_assert!(every_event.is_every_event());
    let visit_cut_day = |part: Range<TimeMs>, visit: &mut dyn FnMut(i32, &[u16])| -> Result<(), Problem> {
        if part.is_empty() {
            return Ok(());
        }
        let rows = task.rows(every_event, part.clone(), false)?;
        let mut users: Vec<u16> = rows.keys.iter().map(|key| key_user(*key)).collect();
        users.dedup();
        visit(part.start.div_euclid(DAY_MS) as i32, &users);
        Ok(())
    };
    if task.is_clipped() {
        let rows = task.rows(every_event, range, false)?;
        let mut of_days: Vec<(i32, u16)> =
            rows.keys.iter().map(|key| (key_time(*key).div_euclid(DAY_MS) as i32, key_user(*key))).collect();
        of_days.sort_unstable();
        of_days.dedup();
        for of_day in of_days.chunk_by(|a, b| a.0 == b.0) {
            let users: Vec<u16> = of_day.iter().map(|(_, user)| *user).collect();
            visit(of_day[0].0, &users);
        }
        return Ok(());
    }
    let (head, days, tail) = cut_at_days(range);
    visit_cut_day(head, visit)?;
    if !days.is_empty() {
        task.active_days(days, visit)?;
    }
    visit_cut_day(tail, visit)
}

/// The part before the first midnight inside, whole days, and the part after the last midnight.
fn cut_at_days(range: Range<TimeMs>) -> (Range<TimeMs>, Range<i32>, Range<TimeMs>) {
    let first_day = -(-range.start).div_euclid(DAY_MS);
    let last_day = range.end.div_euclid(DAY_MS);
    if first_day > last_day {
        return (range.clone(), 0..0, range.end..range.end);
    }
    let (head, tail) = (range.start..first_day * DAY_MS, last_day * DAY_MS..range.end);
    (head, first_day as i32..last_day as i32, tail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_whole_days_and_what_is_left_at_its_ends() {
        let hours = |from: i64, to: i64| {
            let (head, days, tail) = cut_at_days(from * DAY_MS / 24..to * DAY_MS / 24);
            let hour = |time: TimeMs| time * 24 / DAY_MS;
            (hour(head.start)..hour(head.end), days, hour(tail.start)..hour(tail.end))
        };
        assert_eq!(hours(0, 48), (0..0, 0..2, 48..48));
        assert_eq!(hours(5, 50), (5..24, 1..2, 48..50));
        assert_eq!(hours(-30, 1), (-30..-24, -1..0, 0..1));
        assert_eq!(hours(5, 25), (5..24, 1..1, 24..25));
        assert_eq!(hours(5, 7), (5..7, 0..0, 7..7));
        assert_eq!(hours(24, 24), (24..24, 1..1, 24..24));
    }
}
