//! Which row of a split result something counts in.
//!
//! A value of a property is a *code* of the compiled breakdown. A [`Fold`] turns codes into *slots*: one for
//! each value that is kept, in ascending order of the values, then one for `$other`, then one for null. A
//! [`Split`] combines the slots of up to three properties into one, so that ascending slots are the order of
//! the result's rows.

use super::cell_name::SlotName;
use crate::api::{Breakdown, Cell, ColumnType, Problem};
use crate::limits::BREAKDOWN_COMBINATION_COUNT_MAX;
use crate::model::Value;

/// The code of a missing value, and of an empty list.
pub const NULL_CODE: u32 = u32::MAX;

/// The name of the row of all values past the limit.
pub(super) const OTHER: &str = "$other";

/// Numbers for each row: one; or for properties with lists the distinct ones of the elements; or for cohorts those
/// that the row's user belongs to, perhaps none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Codes {
    codes: Vec<u32>,
    /// Where the codes of each row start, and where the last ones end. Absent if every row has one code.
    offsets: Option<Vec<u32>>,
}

impl Codes {
    pub fn one_per_row(codes: Vec<u32>) -> Codes {
        Codes { codes, offsets: None }
    }

    /// Row `r` has the codes `codes[offsets[r]..offsets[r + 1]]`, none twice.
    pub fn lists(codes: Vec<u32>, offsets: Vec<u32>) -> Codes {
        debug_assert_eq!(offsets.last().copied(), Some(codes.len() as u32));
        debug_assert!(offsets.is_sorted(), "rows follow one another");
        Codes { codes, offsets: Some(offsets) }
    }

    #[inline]
    pub fn of(&self, row: usize) -> &[u32] {
        match &self.offsets {
            None => std::slice::from_ref(&self.codes[row]),
            Some(offsets) => &self.codes[offsets[row] as usize..offsets[row + 1] as usize],
        }
    }

    /// The code of each row, if every row has one.
    pub fn singles(&self) -> Option<&[u32]> {
        self.offsets.is_none().then_some(&self.codes)
    }

    pub fn row_count(&self) -> usize {
        self.offsets.as_ref().map_or(self.codes.len(), |offsets| offsets.len() - 1)
    }
}

/// The values of one property that have rows of their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fold {
    slot_by_code: Vec<u32>,
    /// Ascending.
    kept: Vec<Value>,
}

impl Fold {
    /// Keeps every value. `labels[code]` is the value of the code; no two are equal.
    pub fn keep_all(labels: &[Value]) -> Fold {
        Fold::keep(labels, (0..labels.len() as u32).collect())
    }

    /// Keeps every value in the slot of its code, whatever its order: for counts that are folded later.
    pub fn by_code(labels: &[Value]) -> Fold {
        Fold { slot_by_code: (0..labels.len() as u32).collect(), kept: labels.to_vec() }
    }

    /// Keeps the `limit` values of highest rank, of equal ranks the smaller values. A value without a rank
    /// is nobody's.
    pub fn keep_top<R: Ord>(labels: &[Value], limit: usize, rank: impl Fn(u32) -> Option<R>) -> Fold {
        let mut ranked: Vec<(R, u32)> =
            (0..labels.len() as u32).filter_map(|code| Some((rank(code)?, code))).collect();
        let label = |code: u32| &labels[code as usize];
        ranked.sort_unstable_by(|(a, code_a), (b, code_b)| {
            b.cmp(a).then_with(|| label(*code_a).cmp(label(*code_b)))
        });
        Fold::keep(labels, ranked.into_iter().take(limit).map(|(_, code)| code).collect())
    }

    fn keep(labels: &[Value], mut codes: Vec<u32>) -> Fold {
        codes.sort_unstable_by(|a, b| labels[*a as usize].cmp(&labels[*b as usize]));
        let other = codes.len() as u32;
        let mut slot_by_code = vec![other; labels.len()];
        for (code, slot) in codes.iter().zip(0..) {
            slot_by_code[*code as usize] = slot;
        }
        Fold { slot_by_code, kept: codes.iter().map(|code| labels[*code as usize].clone()).collect() }
    }

    fn slot_count(&self) -> usize {
        self.kept.len() + 2
    }

    #[inline]
    fn slot(&self, code: u32) -> u32 {
        debug_assert!(code == NULL_CODE || (code as usize) < self.slot_by_code.len(), "codes have labels");
        // The code of null is beyond all labels.
        self.slot_by_code.get(code as usize).copied().unwrap_or(self.kept.len() as u32 + 1)
    }

    fn cell(&self, slot: usize) -> Cell {
        match self.kept.get(slot) {
            Some(value) => Cell::Value(value.clone()),
            None if slot == self.kept.len() => Cell::Value(Value::from(OTHER)),
            None => Cell::Null,
        }
    }
}

/// The folds of all properties of a breakdown. Without a breakdown everything is in slot 0.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Split {
    folds: Vec<Fold>,
}

impl Split {
    /// # Errors
    /// If the combinations of kept values are too many.
    pub fn new(folds: Vec<Fold>) -> Result<Split, Problem> {
        let combinations = folds.iter().try_fold(1_usize, |count, fold| count.checked_mul(fold.slot_count()));
        if combinations.is_none_or(|count| count > BREAKDOWN_COMBINATION_COUNT_MAX) {
            return Err(Problem::invalid(format!(
                "the values of the breakdown have more than {BREAKDOWN_COMBINATION_COUNT_MAX} combinations"
            ))
            .at("/breakdown")
            .hint("give each property a smaller limit"));
        }
        Ok(Split { folds })
    }

    /// The same with one property more.
    pub fn with(&self, fold: Fold) -> Result<Split, Problem> {
        Split::new(self.folds.iter().cloned().chain([fold]).collect())
    }

    /// The slot in all properties but the last.
    pub fn without_last(&self, slot: u32) -> u32 {
        slot / self.folds.last().map_or(1, |fold| fold.slot_count() as u32)
    }

    /// Whether there is no breakdown.
    pub fn is_none(&self) -> bool {
        self.folds.is_empty()
    }

    /// The slots that each row counts in, from its codes of each property. `None` without a breakdown.
    pub fn slots(&self, codes: Vec<Codes>) -> Option<Codes> {
        debug_assert_eq!(codes.len(), self.folds.len());
        let mut properties = self.folds.iter().zip(codes);
        let (fold, codes) = properties.next()?;
        let first = fold_codes(fold, codes);
        Some(
            properties.fold(first, |slots, (fold, codes)| {
                combine(slots, fold_codes(fold, codes), fold.slot_count())
            }),
        )
    }

    /// The code of each property in a slot, where all folds are [by code](Fold::by_code).
    pub fn codes_of(&self, slot: u32) -> Vec<u32> {
        let mut rest = slot;
        let mut codes: Vec<u32> = self
            .folds
            .iter()
            .rev()
            .map(|fold| {
                let (width, count) = (fold.slot_count() as u32, fold.kept.len() as u32);
                let code = rest % width;
                rest /= width;
                if code < count { code } else { NULL_CODE }
            })
            .collect();
        codes.reverse();
        codes
    }

    /// The slot of a code of each property.
    pub fn slot_of(&self, codes: &[u32]) -> u32 {
        let folds = self.folds.iter().zip(codes);
        folds.fold(0, |slot, (fold, code)| slot * fold.slot_count() as u32 + fold.slot(*code))
    }

    /// The cells that name a slot, one for each property.
    pub fn cells(&self, slot: u32) -> Vec<Cell> {
        let mut rest = slot as usize;
        let mut cells: Vec<Cell> = self
            .folds
            .iter()
            .rev()
            .map(|fold| {
                let cell = fold.cell(rest % fold.slot_count());
                rest /= fold.slot_count();
                cell
            })
            .collect();
        cells.reverse();
        cells
    }

    /// The slot of the row with these names, one for each property. `None` if no value that is kept has the name.
    pub fn slot_named(&self, names: &[SlotName]) -> Option<u32> {
        debug_assert_eq!(names.len(), self.folds.len());
        self.folds.iter().zip(names).try_fold(0, |slots, (fold, name)| {
            let other = fold.kept.len();
            let slot = match name {
                SlotName::Value(value) => fold.kept.binary_search(value).ok()?,
                SlotName::Other => other,
                SlotName::Null => other + 1,
            };
            Some(slots * fold.slot_count() as u32 + slot as u32)
        })
    }

    /// The columns that name a slot.
    pub fn columns(&self) -> impl Iterator<Item = (String, ColumnType)> + '_ {
        (0..self.folds.len()).map(|index| (Breakdown::column_name(index), ColumnType::Value))
    }
}

const NO_BREAKDOWN: [u32; 1] = [0];

/// The slots that a row counts in: slot 0 without a breakdown.
#[inline]
pub fn slots_of(slots: Option<&Codes>, row: usize) -> &[u32] {
    slots.map_or(&NO_BREAKDOWN, |slots| slots.of(row))
}

fn fold_codes(fold: &Fold, mut codes: Codes) -> Codes {
    codes.codes.iter_mut().for_each(|code| *code = fold.slot(*code));
    match codes.offsets {
        None => codes,
        Some(offsets) => distinct(codes.codes, &offsets),
    }
}

/// Sorts the slots of each row and leaves out what it has twice: values that were folded into one.
fn distinct(mut slots: Vec<u32>, offsets: &[u32]) -> Codes {
    let mut kept_count = 0;
    let mut kept_offsets = vec![0];
    for bounds in offsets.windows(2) {
        let (start, end) = (bounds[0] as usize, bounds[1] as usize);
        slots[start..end].sort_unstable();
        for index in start..end {
            if index == start || slots[index] != slots[index - 1] {
                slots[kept_count] = slots[index];
                kept_count += 1;
            }
        }
        kept_offsets.push(kept_count as u32);
    }
    slots.truncate(kept_count);
    Codes { codes: slots, offsets: Some(kept_offsets) }
}

/// Every combination of a row's slots in two splits, the second of which has `width` slots.
fn combine(first: Codes, second: Codes, width: usize) -> Codes {
    let width = width as u32;
    if first.offsets.is_none() && second.offsets.is_none() {
        let pairs = first.codes.iter().zip(&second.codes);
        return Codes::one_per_row(pairs.map(|(a, b)| a * width + b).collect());
    }
    let mut slots = Vec::with_capacity(first.codes.len());
    let mut offsets = vec![0];
    for row in 0..first.row_count() {
        for a in first.of(row) {
            slots.extend(second.of(row).iter().map(|b| a * width + b));
        }
        offsets.push(slots.len() as u32);
    }
    Codes::lists(slots, offsets)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels() -> Vec<Value> {
        vec![Value::from("red"), Value::from(10), Value::from("blue"), Value::from(2), Value::from(true)]
    }

    fn told(split: &Split, slot: u32) -> Vec<String> {
        let text = |cell| match cell {
            Cell::Value(value) => value.to_string(),
            cell => format!("{cell:?}"),
        };
        split.cells(slot).into_iter().map(text).collect()
    }

    #[test]
    fn slots_ascend_with_the_values_then_other_then_null() {
        let split = Split::new(vec![Fold::keep_all(&labels())]).unwrap();
        let told: Vec<String> = (0..7).flat_map(|slot| told(&split, slot)).collect();
        assert_eq!(told, ["2", "10", "\"blue\"", "\"red\"", "true", "\"$other\"", "Null"]);
        let slots = split.slots(vec![Codes::one_per_row(vec![1, NULL_CODE, 0])]).unwrap();
        assert_eq!(slots, Codes::one_per_row(vec![1, 6, 3]));
    }

    #[test]
    fn the_values_kept_have_the_highest_rank_and_ties_go_to_the_smaller() {
        let ranks = [Some(5), None, Some(1), Some(5), Some(5)];
        let fold = Fold::keep_top(&labels(), 2, |code| ranks[code as usize]);
        assert_eq!(fold.kept, [Value::from(2), Value::from("red")]);
        assert_eq!([0, 1, 2, 3, 4, NULL_CODE].map(|code| fold.slot(code)), [1, 2, 2, 0, 2, 3]);
    }

    #[test]
    fn a_row_counts_once_in_other_however_many_of_its_values_are_folded() {
        let fold = Fold::keep_top(&labels(), 1, |code| (code != 2).then_some(if code == 0 { 2 } else { 1 }));
        let split = Split::new(vec![fold]).unwrap();
        let codes = Codes::lists(vec![4, 3, 0, 1, NULL_CODE], vec![0, 3, 4, 5]);
        let slots = split.slots(vec![codes]).unwrap();
        assert_eq!([slots.of(0), slots.of(1), slots.of(2)], [&[0, 1][..], &[1], &[2]]);
    }

    #[test]
    fn a_row_without_codes_is_in_no_slot_however_it_combines() {
        let two = Fold::keep_all(&[Value::from("x"), Value::from("y")]);
        let split = Split::new(vec![two.clone(), two]).unwrap();
        let cohorts = || Codes::lists(vec![0, 1, 1], vec![0, 2, 2, 3]);
        let property = Codes::one_per_row(vec![0, 1, NULL_CODE]);
        let count = |slots: &Codes| [0, 1, 2].map(|row| slots.of(row).len());
        assert_eq!(count(&split.slots(vec![cohorts(), property.clone()]).unwrap()), [2, 0, 1]);
        assert_eq!(count(&split.slots(vec![property, cohorts()]).unwrap()), [2, 0, 1]);
    }

    #[test]
    fn properties_combine_in_the_order_of_their_columns() {
        let two = Fold::keep_all(&[Value::from("x"), Value::from("y")]);
        let split = Split::new(vec![two.clone(), two]).unwrap();
        let plain = Codes::one_per_row(vec![0, 1, NULL_CODE]);
        let slots = split.slots(vec![plain.clone(), plain.clone()]).unwrap();
        assert_eq!(
            (0..3).map(|row| told(&split, slots.of(row)[0])).collect::<Vec<_>>(),
            [["\"x\"", "\"x\""], ["\"y\"", "\"y\""], ["Null", "Null"]]
        );
        let lists = Codes::lists(vec![0, 1, 1, 0], vec![0, 2, 3, 4]);
        let slots = split.slots(vec![plain, lists]).unwrap();
        assert_eq!(
            slots.of(0).iter().map(|slot| told(&split, *slot)).collect::<Vec<_>>(),
            [["\"x\"", "\"x\""], ["\"x\"", "\"y\""]]
        );
        assert_eq!(split.columns().map(|(name, _)| name).collect::<Vec<_>>(), ["breakdown", "breakdown_2"]);
        let named = |first: &str, second| split.slot_named(&[SlotName::Value(Value::from(first)), second]);
        assert_eq!(named("y", SlotName::Value(Value::from("x"))), Some(4));
        assert_eq!(named("y", SlotName::Null), Some(7));
        assert_eq!(named("x", SlotName::Other), Some(2));
        assert_eq!(named("z", SlotName::Null), None);
    }

    #[test]
    fn counts_by_code_are_folded_later() {
        let by_code = Split::new(vec![Fold::by_code(&labels()), Fold::by_code(&labels()[..2])]).unwrap();
        let top = |count: usize| Fold::keep_top(&labels()[..count], 1, |code| Some(-i64::from(code)));
        let folded = Split::new(vec![top(5), top(2)]).unwrap();
        for (a, b) in [(0, 0), (4, 1), (NULL_CODE, 0), (2, NULL_CODE)] {
            let codes = [a, b].map(|code| Codes::one_per_row(vec![code]));
            let slot = |split: &Split| split.slots(codes.to_vec()).unwrap().of(0)[0];
            assert_eq!(by_code.codes_of(slot(&by_code)), [a, b]);
            assert_eq!(folded.slot_of(&[a, b]), slot(&folded));
        }
    }

    #[test]
    fn a_row_is_found_by_its_names() {
        let fold = Fold::keep_top(&labels(), 2, |code| Some(-i64::from(code)));
        let split = Split::new(vec![fold.clone(), fold]).unwrap();
        let value = |value: &str| SlotName::Value(Value::from(value));
        assert_eq!(split.slot_named(&[SlotName::Value(Value::from(10)), value("red")]), Some(1));
        assert_eq!(split.slot_named(&[SlotName::Other, SlotName::Null]), Some(11));
        assert_eq!(split.slot_named(&[value("blue"), SlotName::Null]), None);
    }

    #[test]
    fn more_combinations_than_a_table_holds_are_refused() {
        let many: Vec<Value> = (0..3_000).map(Value::from).collect();
        let fold = Fold::keep_all(&many);
        assert!(Split::new(vec![fold.clone()]).is_ok());
        assert_eq!(Split::new(vec![fold.clone(), fold]).unwrap_err().path.as_deref(), Some("/breakdown"));
    }
}
