//! What one entity pays over time, and what that moves in each row of a result.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::ratio::quotient;
use crate::model::{Decimal, ExactSum, Number, TimeMs};

/// From a moment on, an entity pays so much.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rate {
    pub from: TimeMs,
    /// Never negative; 0 is nothing.
    pub amount: Number,
}

/// What an entity paid at the start and at the end of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Movement {
    pub starting: Number,
    pub ending: Number,
    /// Whether it had paid at any time before the start.
    pub has_paid: bool,
}

/// What a movement is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MovementKind {
    /// It pays, and never did before.
    New,
    /// It pays again, after a start without.
    Reactivation,
    Expansion,
    Contraction,
    /// It paid at the start, and does not at the end.
    Churn,
}

impl Movement {
    /// `None` if nothing moved: as much as before, or nothing as before.
    pub fn kind(self) -> Option<MovementKind> {
        let Movement { starting, ending, has_paid } = self;
        if starting == ending {
            None
        } else if starting == Number::ZERO {
            Some(if has_paid { MovementKind::Reactivation } else { MovementKind::New })
        } else if ending == Number::ZERO {
            Some(MovementKind::Churn)
        } else if ending > starting {
            Some(MovementKind::Expansion)
        } else {
            Some(MovementKind::Contraction)
        }
    }
}

/// The movement of each row, by runs of rows in which it is the same.
///
/// Row `r` goes from `starts[r]` to `ends[r]`. `rates` ascend in time, each at a moment of its own; a rate holds at an edge
/// if it is from before it. Rows before the first rate are left out.
pub fn for_each_movement(
    rates: &[Rate],
    starts: &[TimeMs],
    ends: &[TimeMs],
    mut f: impl FnMut(Range<usize>, Movement),
) {
    debug_assert_eq!(starts.len(), ends.len());
    debug_assert!(rates.is_sorted_by(|a, b| a.from < b.from));
    let count_before = |edge: TimeMs| rates.partition_point(|rate| rate.from < edge);
    let Some(first) = rates.first() else { return };
    let first_paid = rates.iter().position(|rate| rate.amount > Number::ZERO);
    let mut row = ends.partition_point(|end| *end <= first.from);
    while row < ends.len() {
        let counts = |row: usize| (count_before(starts[row]), count_before(ends[row]));
        let (before_start, before_end) = counts(row);
        let first_row = row;
        row += 1;
        while row < ends.len() && counts(row) == (before_start, before_end) {
            row += 1;
        }
        let amount = |count: usize| count.checked_sub(1).map_or(Number::ZERO, |last| rates[last].amount);
        let movement = Movement {
            starting: amount(before_start),
            ending: amount(before_end),
            has_paid: first_paid.is_some_and(|first| first < before_start),
        };
        f(first_row..row, movement);
    }
}

/// What all entities together paid and what moved: of one row, or the difference of a row to the one before it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Statement {
    pub starting: ExactSum,
    pub new: ExactSum,
    pub expansion: ExactSum,
    pub contraction: ExactSum,
    pub churn: ExactSum,
    pub reactivation: ExactSum,
    pub ending: ExactSum,
    /// Entities that pay at the end; of a difference perhaps negative.
    pub customers: i64,
}

impl Statement {
    /// Adds a movement, or with `sign` -1 takes it away.
    pub fn add(&mut self, movement: Movement, sign: i128) {
        debug_assert!(sign.abs() == 1);
        let Movement { starting, ending, .. } = movement;
        let add = |sum: &mut ExactSum, sign: i128, number: Number| {
            sum.add_scaled(sign * number.mantissa(), number.exponent());
        };
        add(&mut self.starting, sign, starting);
        add(&mut self.ending, sign, ending);
        self.customers += i64::from(ending > Number::ZERO) * sign as i64;
        let (moved, is_gain) = match movement.kind() {
            None => return,
            Some(MovementKind::New) => (&mut self.new, true),
            Some(MovementKind::Reactivation) => (&mut self.reactivation, true),
            Some(MovementKind::Expansion) => (&mut self.expansion, true),
            Some(MovementKind::Contraction) => (&mut self.contraction, false),
            Some(MovementKind::Churn) => (&mut self.churn, false),
        };
        let sign = if is_gain { sign } else { -sign };
        add(moved, sign, ending);
        add(moved, -sign, starting);
    }

    pub fn merge(&mut self, other: &Statement) {
        self.starting.merge(&other.starting);
        self.new.merge(&other.new);
        self.expansion.merge(&other.expansion);
        self.contraction.merge(&other.contraction);
        self.churn.merge(&other.churn);
        self.reactivation.merge(&other.reactivation);
        self.ending.merge(&other.ending);
        self.customers += other.customers;
    }

    /// Net revenue retention: what those who paid at the start pay at the end, over what they paid.
    pub fn nrr(&self) -> Option<f64> {
        let mut kept = self.starting.clone();
        kept.merge(&self.expansion);
        kept.subtract(&self.contraction);
        kept.subtract(&self.churn);
        quotient(&kept.total(), &self.starting.total())
    }

    /// Gross revenue retention: the same without what grew.
    pub fn grr(&self) -> Option<f64> {
        let mut kept = self.starting.clone();
        kept.subtract(&self.contraction);
        kept.subtract(&self.churn);
        quotient(&kept.total(), &self.starting.total())
    }

    /// Revenue of each customer on average.
    pub fn arpa(&self) -> Option<f64> {
        quotient(&self.ending.total(), &Decimal::from(Number::from(self.customers)))
    }

    /// What came over what went.
    pub fn quick_ratio(&self) -> Option<f64> {
        let mut come = self.new.clone();
        come.merge(&self.expansion);
        come.merge(&self.reactivation);
        let mut gone = self.contraction.clone();
        gone.merge(&self.churn);
        quotient(&come.total(), &gone.total())
    }

    /// Whether `starting + movements = ending`.
    pub fn adds_up(&self) -> bool {
        let mut ending = self.starting.clone();
        for gain in [&self.new, &self.expansion, &self.reactivation] {
            ending.merge(gain);
        }
        ending.subtract(&self.contraction);
        ending.subtract(&self.churn);
        ending.total() == self.ending.total()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rates(list: &[(TimeMs, i64)]) -> Vec<Rate> {
        list.iter().map(|(from, amount)| Rate { from: *from, amount: Number::from(*amount) }).collect()
    }

    fn kinds(list: &[(TimeMs, i64)], starts: &[TimeMs], ends: &[TimeMs]) -> Vec<Option<MovementKind>> {
        let mut kinds = vec![None; ends.len()];
        for_each_movement(&rates(list), starts, ends, |rows, movement| {
            rows.for_each(|row| kinds[row] = movement.kind());
        });
        kinds
    }

    #[test]
    fn each_movement_has_its_name() {
        let (starts, ends) = ([0, 10, 20, 30, 40, 50, 60], [10, 20, 30, 40, 50, 60, 70]);
        let found = kinds(&[(3, 5), (10, 7), (25, 4), (31, 0), (45, 0), (59, 2)], &starts, &ends);
        use MovementKind::{Churn, Contraction, Expansion, New, Reactivation};
        let expected =
            [Some(New), Some(Expansion), Some(Contraction), Some(Churn), None, Some(Reactivation), None];
        assert_eq!(found, expected);
        // Whoever comes and goes between two edges moved nothing, and has paid.
        assert_eq!(kinds(&[(3, 5), (8, 0), (12, 5)], &[0, 10], &[10, 20]), [None, Some(Reactivation)]);
        assert_eq!(kinds(&[], &[0], &[10]), [None]);
    }

    #[test]
    fn differences_add_up_to_statements() {
        let list = [(3, 5), (10, 7), (25, 4), (31, 0), (45, 9)];
        let (starts, ends) = ([0, 10, 20, 30, 40], [10, 20, 30, 40, 50]);
        let mut differences = vec![Statement::default(); 6];
        for_each_movement(&rates(&list), &starts, &ends, |rows, movement| {
            differences[rows.start].add(movement, 1);
            differences[rows.end].add(movement, -1);
        });
        let mut statement = Statement::default();
        let mut endings = Vec::new();
        for difference in &differences[..5] {
            statement.merge(difference);
            assert!(statement.adds_up());
            endings.push((statement.ending.total().to_string(), statement.customers));
        }
        let expected = [("5", 1), ("7", 1), ("4", 1), ("0", 0), ("9", 1)];
        assert_eq!(endings, expected.map(|(ending, customers)| (ending.to_owned(), customers)));
    }
}
