//! A column of integers as readers see it: packed, or worked out from other columns.
//!
//! What is the same for many rows is kept once, in a table, and rows say where (`Lookup`); or it is kept once for each
//! user, and rows say only where they differ (`ByUser`). Readers need not know which it is. Bytes are checked when the
//! parts are opened; a place outside its table, which only damage could make, reads as some value of it.

use std::ops::Range;

use super::bitpack::BLOCK_LEN;
use super::bytes::DecodeError;
use super::ints::PackedInts;

/// A column of integers, whose bytes were checked, so that reading from it cannot fail.
#[derive(Clone, Copy, Debug)]
pub struct IntColumn<'a>(Body<'a>);

#[derive(Clone, Copy, Debug)]
#[expect(clippy::large_enum_variant, reason = "columns are opened once for many rows, and copied as often")]
enum Body<'a> {
    Packed(PackedInts<'a>),
    Lookup(Lookup<'a>),
    ByUser(ByUser<'a>),
}

/// Values from a table: of row `i` it is `bias + (table[places[i]] << shift) + added[i]`, where `added` is.
#[derive(Clone, Copy, Debug)]
pub struct Lookup<'a> {
    /// Never falling.
    pub places: PackedInts<'a>,
    /// Not empty.
    pub table: PackedInts<'a>,
    pub shift: u8,
    pub bias: u64,
    /// As long as `places`.
    pub added: Option<PackedInts<'a>>,
}

/// A value for each user, and the rows that have another.
#[derive(Clone, Copy, Debug)]
pub struct ByUser<'a> {
    pub users: Users<'a>,
    /// Whose value is the first of the table.
    pub user_min: u64,
    /// Not empty.
    pub table: PackedInts<'a>,
    /// Rows that have values of their own, ascending.
    pub exceptions: PackedInts<'a>,
    /// As long as `exceptions`.
    pub exception_values: PackedInts<'a>,
}

/// The user of each row, never falling.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::large_enum_variant, reason = "as above")]
pub enum Users<'a> {
    Packed(PackedInts<'a>),
    Lookup(Lookup<'a>),
}

impl<'a> From<PackedInts<'a>> for IntColumn<'a> {
    fn from(packed: PackedInts<'a>) -> IntColumn<'a> {
        IntColumn(Body::Packed(packed))
    }
}

impl<'a> From<Lookup<'a>> for IntColumn<'a> {
    fn from(lookup: Lookup<'a>) -> IntColumn<'a> {
        IntColumn(Body::Lookup(lookup))
    }
}

impl<'a> From<ByUser<'a>> for IntColumn<'a> {
    fn from(by_user: ByUser<'a>) -> IntColumn<'a> {
        IntColumn(Body::ByUser(by_user))
    }
}

impl<'a> From<Users<'a>> for IntColumn<'a> {
    fn from(users: Users<'a>) -> IntColumn<'a> {
        match users {
            Users::Packed(packed) => packed.into(),
            Users::Lookup(lookup) => lookup.into(),
        }
    }
}

impl<'a> IntColumn<'a> {
    /// Opens a packed column of at most `len_max` values, and checks all of its layout.
    pub fn open(bytes: &'a [u8], len_max: usize) -> Result<IntColumn<'a>, DecodeError> {
        PackedInts::open(bytes, len_max).map(IntColumn::from)
    }

    pub fn len(&self) -> usize {
        match &self.0 {
            Body::Packed(packed) => packed.len(),
            Body::Lookup(lookup) => lookup.places.len(),
            Body::ByUser(by_user) => by_user.users.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The value at a place.
    ///
    /// # Panics
    /// If there is no such place.
    pub fn get(&self, index: usize) -> u64 {
        match &self.0 {
            Body::Packed(packed) => packed.get(index),
            Body::Lookup(lookup) => lookup.get(index),
            Body::ByUser(by_user) => by_user.get(index),
        }
    }

    /// Calls `f` with the values of `range`, in order, in pieces of at most 128.
    pub fn for_each_block(&self, range: Range<usize>, f: impl FnMut(&[u64])) {
        match &self.0 {
            Body::Packed(packed) => packed.for_each_block(range, f),
            Body::Lookup(lookup) => lookup.for_each_block(range, f),
            Body::ByUser(by_user) => by_user.for_each_block(range, f),
        }
    }

    /// Appends the values of `range`.
    pub fn read(&self, range: Range<usize>, out: &mut Vec<u64>) {
        out.reserve(range.len());
        self.for_each_block(range, |values| out.extend_from_slice(values));
    }

    /// Appends the low 32 bits of the values of `range`.
    pub fn read_u32(&self, range: Range<usize>, out: &mut Vec<u32>) {
        out.reserve(range.len());
        self.for_each_block(range, |values| out.extend(values.iter().map(|value| *value as u32)));
    }

    /// What a column by user is made of.
    pub fn by_user(&self) -> Option<&ByUser<'a>> {
        match &self.0 {
            Body::ByUser(by_user) => Some(by_user),
            _ => None,
        }
    }

    /// The rows that differ from their user's value, of a column by user.
    pub fn exceptions(&self) -> Option<PackedInts<'a>> {
        match &self.0 {
            Body::ByUser(by_user) => Some(by_user.exceptions),
            _ => None,
        }
    }

    /// The first place whose value is not below `value`, in a column that never falls.
    pub fn lower_bound(&self, value: u64) -> usize {
        match &self.0 {
            Body::Packed(packed) => packed.lower_bound(value),
            // Of users, whose table never falls either.
            Body::Lookup(lookup) if lookup.added.is_none() => {
                let in_table = value.saturating_sub(lookup.bias).div_ceil(1 << lookup.shift);
                lookup.places.lower_bound(lookup.table.lower_bound(in_table) as u64)
            }
            _ => {
                let (mut low, mut high) = (0, self.len());
                while low < high {
                    let middle = low.midpoint(high);
                    if self.get(middle) < value { low = middle + 1 } else { high = middle }
                }
                low
            }
        }
    }
}

impl Lookup<'_> {
    fn get(&self, index: usize) -> u64 {
        let place = (self.places.get(index) as usize).min(self.table.len() - 1);
        let added = self.added.map_or(0, |added| added.get(index));
        self.bias.wrapping_add(self.table.get(place) << self.shift).wrapping_add(added)
    }

    fn for_each_block(&self, range: Range<usize>, mut f: impl FnMut(&[u64])) {
        let mut table = Cursor::new(&self.table);
        let mut at = range.start;
        self.places.for_each_block(range, |places| {
            let mut values = [0; BLOCK_LEN];
            let values = &mut values[..places.len()];
            for (value, place) in values.iter_mut().zip(places) {
                *value = self.bias.wrapping_add(table.get(*place) << self.shift);
            }
            if let Some(added) = &self.added {
                let mut block = [0; BLOCK_LEN];
                added.read_block(at / BLOCK_LEN, &mut block);
                let added = &block[at % BLOCK_LEN..];
                values.iter_mut().zip(added).for_each(|(value, added)| *value = value.wrapping_add(*added));
            }
            at += places.len();
            f(values);
        });
    }
}

impl Users<'_> {
    pub(crate) fn len(&self) -> usize {
        match self {
            Users::Packed(packed) => packed.len(),
            Users::Lookup(lookup) => lookup.places.len(),
        }
    }

    fn get(&self, index: usize) -> u64 {
        match self {
            Users::Packed(packed) => packed.get(index),
            Users::Lookup(lookup) => lookup.get(index),
        }
    }

    fn for_each_block(&self, range: Range<usize>, f: impl FnMut(&[u64])) {
        match self {
            Users::Packed(packed) => packed.for_each_block(range, f),
            Users::Lookup(lookup) => lookup.for_each_block(range, f),
        }
    }
}

impl ByUser<'_> {
    /// Appends the value of each user of a range: of one that the table does not know, some value.
    pub fn read_table(&self, users: Range<u64>, out: &mut Vec<u64>) {
        let mut table = Cursor::new(&self.table);
        out.extend(users.map(|user| table.get(user.saturating_sub(self.user_min))));
    }

    /// Calls `f` with each row of a range that has a value of its own, ascending, and the value.
    pub fn for_each_exception(&self, rows: Range<usize>, mut f: impl FnMut(usize, u64)) {
        let start = self.exceptions.lower_bound(rows.start as u64);
        let end = self.exceptions.lower_bound(rows.end as u64).max(start);
        let mut values = Cursor::new(&self.exception_values);
        let (mut at, mut next_row) = (start as u64, rows.start);
        self.exceptions.for_each_block(start..end, |exceptions| {
            for row in exceptions {
                let row = *row as usize;
                // Always, but of bytes that nobody should have written.
                if (next_row..rows.end).contains(&row) {
                    f(row, values.get(at));
                    next_row = row + 1;
                }
                at += 1;
            }
        });
    }

    fn get(&self, index: usize) -> u64 {
        let exception = self.exceptions.lower_bound(index as u64);
        if exception < self.exceptions.len() && self.exceptions.get(exception) == index as u64 {
            return self.exception_values.get(exception);
        }
        let place = self.users.get(index).saturating_sub(self.user_min) as usize;
        self.table.get(place.min(self.table.len() - 1))
    }

    fn for_each_block(&self, range: Range<usize>, mut f: impl FnMut(&[u64])) {
        let mut table = Cursor::new(&self.table);
        let mut exceptions = Cursor::new(&self.exceptions);
        let mut exception_values = Cursor::new(&self.exception_values);
        let mut next = self.exceptions.lower_bound(range.start as u64);
        let mut at = range.start;
        self.users.for_each_block(range, |users| {
            let mut values = [0; BLOCK_LEN];
            let values = &mut values[..users.len()];
            for (value, user) in values.iter_mut().zip(users) {
                *value = table.get(user.saturating_sub(self.user_min));
            }
            while next < self.exceptions.len() {
                let row = (exceptions.get(next as u64) as usize).wrapping_sub(at);
                if row >= values.len() {
                    break;
                }
                values[row] = exception_values.get(next as u64);
                next += 1;
            }
            at += users.len();
            f(values);
        });
    }
}

/// Reads values at places that are close to one another: the block of the last one stays unpacked.
struct Cursor<'a, 'p> {
    packed: &'p PackedInts<'a>,
    block: usize,
    values: [u64; BLOCK_LEN],
}

impl<'a, 'p> Cursor<'a, 'p> {
    fn new(packed: &'p PackedInts<'a>) -> Cursor<'a, 'p> {
        Cursor { packed, block: usize::MAX, values: [0; BLOCK_LEN] }
    }

    /// The value at a place, or the last one if there is no such place.
    #[inline]
    fn get(&mut self, place: u64) -> u64 {
        let place = (place as usize).min(self.packed.len() - 1);
        if place / BLOCK_LEN != self.block {
            self.block = place / BLOCK_LEN;
            self.packed.read_block(self.block, &mut self.values);
        }
        self.values[place % BLOCK_LEN]
    }
}

#[cfg(test)]
mod tests {
    use super::super::ints::{encode_ints, encode_sorted_ints};
    use super::*;
    use crate::dice::Dice;

    fn random(len: usize, below: u64, seed: u64) -> Vec<u64> {
        let mut dice = Dice(seed);
        (0..len).map(|_| dice.below(below)).collect()
    }

    fn sorted(len: usize, below: u64, seed: u64) -> Vec<u64> {
        let mut values = random(len, below, seed);
        values.sort_unstable();
        values
    }

    fn packed(bytes: &[u8]) -> PackedInts<'_> {
        PackedInts::open(bytes, 1 << 20).unwrap()
    }

    fn reads_as(column: IntColumn<'_>, expected: &[u64]) {
        assert_eq!(column.len(), expected.len());
        for range in [0..expected.len(), expected.len() / 3..expected.len() / 2, 1..2] {
            let mut read = Vec::new();
            column.read(range.clone(), &mut read);
            assert_eq!(read, expected[range]);
        }
        assert!((0..expected.len()).all(|at| column.get(at) == expected[at]));
    }

    #[test]
    fn values_from_a_table_read_whole_in_part_and_one_by_one() {
        for (rows, anchors) in [(1000, 300), (500, 5000), (300, 1), (2000, 3)] {
            let (places, table) = (sorted(rows, anchors, 1), sorted(anchors as usize, 1 << 20, 2));
            let added = random(rows, 1 << 19, 3);
            let bytes = [encode_sorted_ints(&places), encode_sorted_ints(&table), encode_ints(&added)];
            let [p, t, a] = bytes.each_ref().map(|bytes| packed(bytes));
            let users = Lookup { places: p, table: t, shift: 0, bias: 0, added: None };
            let of_row = |row: usize| table[places[row] as usize];
            let expected: Vec<u64> = (0..rows).map(of_row).collect();
            reads_as(users.into(), &expected);
            let column = IntColumn::from(users);
            for probe in expected.iter().flat_map(|v| [v.saturating_sub(1), *v, v + 1]) {
                assert_eq!(column.lower_bound(probe), expected.partition_point(|v| *v < probe));
            }
            let times = Lookup { places: p, table: t, shift: 12, bias: 7, added: Some(a) };
            let expected: Vec<u64> = (0..rows).map(|row| 7 + (of_row(row) << 12) + added[row]).collect();
            reads_as(times.into(), &expected);
        }
    }

    #[test]
    fn values_by_user_read_with_their_exceptions() {
        for (rows, user_count, exceptions) in [(1000, 300, 40), (500, 5000, 0), (300, 1, 1), (700, 90, 600)] {
            let users = sorted(rows, user_count, 1);
            let table = random(user_count as usize, 200, 2);
            let mut at = random(exceptions, rows as u64, 3);
            at.sort_unstable();
            at.dedup();
            let own = random(at.len(), 1000, 4);
            let mut expected: Vec<u64> = users.iter().map(|user| table[*user as usize]).collect();
            at.iter().zip(&own).for_each(|(row, value)| expected[*row as usize] = *value);
            let users: Vec<u64> = users.iter().map(|user| user + 70).collect();
            let bytes =
                [encode_sorted_ints(&users), encode_ints(&table), encode_sorted_ints(&at), encode_ints(&own)];
            let [users, table, exceptions, exception_values] = bytes.each_ref().map(|bytes| packed(bytes));
            let users = Users::Packed(users);
            let column = ByUser { users, user_min: 70, table, exceptions, exception_values };
            reads_as(column.into(), &expected);
            let mut of_users = Vec::new();
            column.read_table(70..70 + user_count, &mut of_users);
            let mut read: Vec<u64> = (0..rows).map(|row| of_users[users.get(row) as usize - 70]).collect();
            let within = rows / 3..rows / 2;
            column.for_each_exception(within.clone(), |row, value| read[row] = value);
            assert_eq!(read[within.clone()], expected[within]);
        }
    }

    #[test]
    fn places_outside_their_table_read_as_some_value() {
        let bytes = [encode_sorted_ints(&[1_u64, 5, 900]), encode_ints(&[4, 9])];
        let [places, table] = bytes.each_ref().map(|bytes| packed(bytes));
        let lookup = Lookup { places, table, shift: 0, bias: 0, added: None };
        reads_as(lookup.into(), &[9, 9, 9]);
        let nothing = encode_ints(&[]);
        let (exceptions, exception_values) = (packed(&nothing), packed(&nothing));
        let users = Users::Lookup(lookup);
        reads_as(ByUser { users, user_min: 9, table, exceptions, exception_values }.into(), &[4, 4, 4]);
    }
}
