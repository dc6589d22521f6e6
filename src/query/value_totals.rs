//! How much each value of a property has over a whole query: what says which values are told.

use serde::{Deserialize, Serialize};

use super::{BreakdownPlan, Fold, NULL_CODE, Partial, Split};
use crate::api::Problem;

/// A total for each code that occurs. Codes that nobody has are `None`, apart from those with a total of 0.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ValueTotals<T> {
    totals: Vec<Option<T>>,
}

impl<T: Default + Clone> ValueTotals<T> {
    pub fn get(&self, code: u32) -> Option<&T> {
        self.totals.get(code as usize)?.as_ref()
    }

    /// The total of a value, from now on there. `None` for null, which is always told.
    #[inline]
    pub fn entry(&mut self, code: u32) -> Option<&mut T> {
        if code == NULL_CODE {
            return None;
        }
        if self.totals.len() <= code as usize {
            self.totals.resize(code as usize + 1, None);
        }
        Some(self.totals[code as usize].get_or_insert_default())
    }

    pub fn merge(&mut self, other: ValueTotals<T>, add: impl Fn(&mut T, T)) {
        for (code, total) in (0..).zip(other.totals) {
            let Some(term) = total else { continue };
            if let Some(sum) = self.entry(code) {
                add(sum, term);
            }
        }
    }
}

/// The number of distinct users of each value. Users come one after the other, a user's values in any order.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct UserTotals {
    totals: ValueTotals<u64>,
    /// The user, by ordinal, that was counted last for each code.
    #[serde(skip)]
    last_users: Vec<u32>,
}

impl UserTotals {
    pub fn get(&self, code: u32) -> Option<u64> {
        self.totals.get(code).copied()
    }

    /// Counts a user for a value, unless it was counted last. `is_counted` false only notes that the value is there.
    #[inline]
    pub fn count(&mut self, code: u32, user: u32, is_counted: bool) {
        let Some(total) = self.totals.entry(code) else { return };
        if self.last_users.len() <= code as usize {
            self.last_users.resize(code as usize + 1, u32::MAX);
        }
        let last_user = &mut self.last_users[code as usize];
        if is_counted && *last_user != user {
            *last_user = user;
            *total += 1;
        }
    }

    pub fn merge(&mut self, other: UserTotals) {
        self.totals.merge(other.totals, |sum, term| *sum += term);
    }
}

/// The users of each value, for each property of a breakdown.
#[derive(Default, Clone, Debug, Serialize, Deserialize)]
pub struct BreakdownTotals {
    properties: Vec<UserTotals>,
}

impl BreakdownTotals {
    pub fn new(property_count: usize) -> BreakdownTotals {
        BreakdownTotals { properties: vec![UserTotals::default(); property_count] }
    }

    pub fn properties_mut(&mut self) -> &mut [UserTotals] {
        &mut self.properties
    }

    /// The values that have rows of their own: of each property the ones with most users.
    pub fn split(&self, breakdowns: &[BreakdownPlan], limits: &[usize]) -> Result<Split, Problem> {
        let properties = breakdowns.iter().zip(limits).zip(&self.properties);
        let fold = |((plan, limit), totals): ((&BreakdownPlan, &usize), &UserTotals)| {
            Fold::keep_top(plan.labels(), *limit, |code| totals.get(code))
        };
        Split::new(properties.map(fold).collect())
    }
}

impl Partial for BreakdownTotals {
    fn merge(&mut self, other: BreakdownTotals) {
        self.properties.iter_mut().zip(other.properties).for_each(|(totals, other)| totals.merge(other));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_count_once_for_each_of_their_values() {
        let mut totals = UserTotals::default();
        for (code, user) in [(3, 1), (0, 1), (3, 1), (NULL_CODE, 1), (3, 2)] {
            totals.count(code, user, true);
        }
        totals.count(1, 2, false);
        assert_eq!(
            (0..5).map(|code| totals.get(code)).collect::<Vec<_>>(),
            [Some(1), Some(0), None, Some(2), None]
        );
    }

    #[test]
    fn merging_adds_and_survives_serialisation() {
        let totals = |codes: &[u32], user| {
            let mut totals = UserTotals::default();
            codes.iter().for_each(|code| totals.count(*code, user, true));
            totals
        };
        let (a, b) = (totals(&[0, 5], 7), totals(&[5, 9], 8));
        let told = |totals: &UserTotals| {
            (0..10).filter_map(|code| Some((code, totals.get(code)?))).collect::<Vec<_>>()
        };
        let mut left = a.clone();
        left.merge(b.clone());
        let mut right: UserTotals = serde_json::from_str(&serde_json::to_string(&b).unwrap()).unwrap();
        right.merge(a);
        assert_eq!(told(&left), [(0, 1), (5, 2), (9, 1)]);
        assert_eq!(told(&right), told(&left));
    }
}
