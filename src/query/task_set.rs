//! A set of users of one task.

use super::TASK_USER_COUNT;

const WORD_COUNT: usize = TASK_USER_COUNT as usize / u64::BITS as usize;

/// A bit for each of the 16,384 users of a task.
#[derive(Clone, PartialEq, Eq)]
pub struct TaskSet {
    words: [u64; WORD_COUNT],
}

impl TaskSet {
    pub fn new() -> TaskSet {
        TaskSet { words: [0; WORD_COUNT] }
    }

    /// All 16,384 users.
    pub fn all() -> TaskSet {
        TaskSet { words: [u64::MAX; WORD_COUNT] }
    }

    pub fn insert(&mut self, user: u16) {
        self.words[usize::from(user >> 6)] |= 1 << (user & 63);
    }

    pub fn contains(&self, user: u16) -> bool {
        self.words[usize::from(user >> 6)] >> (user & 63) & 1 == 1
    }

    pub fn len(&self) -> usize {
        self.words.iter().map(|word| word.count_ones() as usize).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.words.iter().all(|word| *word == 0)
    }

    /// Keeps the users that are in `other` too.
    pub fn intersect(&mut self, other: &TaskSet) {
        self.words.iter_mut().zip(&other.words).for_each(|(word, other)| *word &= other);
    }

    /// Adds the users of `other`.
    pub fn unite(&mut self, other: &TaskSet) {
        self.words.iter_mut().zip(&other.words).for_each(|(word, other)| *word |= other);
    }

    /// Removes the users of `other`.
    pub fn subtract(&mut self, other: &TaskSet) {
        self.words.iter_mut().zip(&other.words).for_each(|(word, other)| *word &= !other);
    }

    /// The users in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = u16> + '_ {
        self.words.iter().zip((0_u16..).step_by(64)).flat_map(|(word, first)| {
            let mut left = *word;
            std::iter::from_fn(move || {
                let user = (left != 0).then(|| first + left.trailing_zeros() as u16)?;
                left &= left - 1;
                Some(user)
            })
        })
    }
}

impl Default for TaskSet {
    fn default() -> TaskSet {
        TaskSet::new()
    }
}

impl FromIterator<u16> for TaskSet {
    fn from_iter<I: IntoIterator<Item = u16>>(users: I) -> TaskSet {
        let mut set = TaskSet::new();
        users.into_iter().for_each(|user| set.insert(user));
        set
    }
}

impl std::fmt::Debug for TaskSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_and_the_last_user_have_a_place() {
        let users = [0, 63, 64, 1_000, 16_383];
        let set: TaskSet = users.into_iter().collect();
        assert_eq!(set.iter().collect::<Vec<_>>(), users);
        assert_eq!(set.len(), 5);
        assert!(set.contains(16_383));
        assert!(!set.contains(16_382));
    }

    #[test]
    fn sets_combine() {
        let (a, b): (TaskSet, TaskSet) =
            ([1, 2, 300].into_iter().collect(), [2, 300, 400].into_iter().collect());
        let combined = |combine: fn(&mut TaskSet, &TaskSet)| {
            let mut set = a.clone();
            combine(&mut set, &b);
            set.iter().collect::<Vec<_>>()
        };
        assert_eq!(combined(TaskSet::intersect), [2, 300]);
        assert_eq!(combined(TaskSet::unite), [1, 2, 300, 400]);
        assert_eq!(combined(TaskSet::subtract), [1]);
        assert!(TaskSet::new().is_empty());
    }
}
