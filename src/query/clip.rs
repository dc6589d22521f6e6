//! The first days of each user: what a task shows of its users' events where only those count.

use hashbrown::HashSet;

use super::{RowRef, Rows, TASK_USER_COUNT, key_time, key_user};
use crate::model::TimeMs;

/// For each user of a task the stretch of time that is looked at, from its birth on. The birth event itself, and what
/// repeats it at the same instant, is not looked at; other events of that instant are.
#[derive(Debug)]
pub struct Clip {
    /// By user: the first moment, or [`NEVER`] for who was not born.
    births: Vec<TimeMs>,
    /// From the birth to the last moment.
    length: i64,
    /// Each user's birth event; several rows where it is repeated.
    birth_rows: HashSet<(u16, RowRef)>,
}

/// Beyond all moments that are stored.
const NEVER: TimeMs = TimeMs::MAX;

impl Clip {
    pub fn new(length: i64) -> Clip {
        Clip { births: vec![NEVER; TASK_USER_COUNT as usize], length, birth_rows: HashSet::new() }
    }

    pub fn add(&mut self, user: u16, birth: TimeMs, birth_rows: impl IntoIterator<Item = RowRef>) {
        self.births[usize::from(user)] = birth;
        self.birth_rows.extend(birth_rows.into_iter().map(|row| (user, row)));
    }

    /// Those of the rows, whose `refs` are filled, that are looked at.
    pub fn apply(&self, rows: &Rows) -> Rows {
        debug_assert_eq!(rows.keys.len(), rows.refs.len(), "births are known by their rows");
        let mut seen = Rows::default();
        for (key, row) in rows.keys.iter().zip(&rows.refs) {
            let (user, time) = (key_user(*key), key_time(*key));
            let birth = self.births[usize::from(user)];
            if birth == NEVER || time < birth || time > birth + self.length {
                continue;
            }
            if time == birth && self.birth_rows.contains(&(user, *row)) {
                continue;
            }
            seen.keys.push(*key);
            seen.refs.push(*row);
        }
        seen
    }
}

#[cfg(test)]
mod tests {
    use super::super::key;
    use super::*;

    fn row(row: u32) -> RowRef {
        RowRef { segment: 0, group: 0, row }
    }

    #[test]
    fn both_ends_are_looked_at_and_the_birth_itself_is_not() {
        let mut clip = Clip::new(10);
        clip.add(3, 100, [row(1)]);
        let times = [99, 100, 100, 110, 111];
        let rows = Rows {
            keys: times.iter().map(|time| key(3, *time)).chain([key(4, 100)]).collect(),
            refs: (0..6).map(row).collect(),
            ..Rows::default()
        };
        let seen = clip.apply(&rows);
        assert_eq!(seen.refs, [row(2), row(3)]);
    }
}
