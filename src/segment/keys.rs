//! Users and times of rows as one integer each: what walks over the events of users sort by.
//!
//! Rows that count their times from anchors find them in a list that is unpacked once for a range of users, and read in
//! its order by each group. For few rows among many anchors only the blocks that they need are unpacked.

use std::ops::Range;

use super::anchors::Anchors;
use super::reader::{Damage, Group, Segment};
use crate::format::{BLOCK_LEN, BlockCursor, PackedInts};

/// How a user and a time make a key: `((user − user_base) << user_shift) + time + time_bias`.
#[derive(Clone, Copy, Debug)]
pub struct Packing {
    pub user_base: u32,
    pub user_shift: u32,
    pub time_bias: i64,
}

/// The keys of all anchors of a range of users.
#[derive(Debug)]
pub struct AnchorKeys {
    first: usize,
    keys: Vec<u64>,
}

/// Rows that unpack the whole list of anchors, rather than the blocks that they need, are at least one to so many.
const ANCHORS_PER_ROW_MAX: usize = BLOCK_LEN;

impl Segment {
    /// The keys of the anchors of `users`, for [`Group::read_keys`]; `None` if rows have users and times of their own.
    pub fn anchor_keys(&self, users: Range<u64>, packing: Packing) -> Result<Option<AnchorKeys>, Damage> {
        let Some(anchors) = self.anchors()? else { return Ok(None) };
        let range = anchors.of_users(users);
        let mut keys = Vec::with_capacity(range.len());
        let mut block = [0; BLOCK_LEN];
        for index in range.start / BLOCK_LEN..range.end.div_ceil(BLOCK_LEN) {
            anchors.read_keys(index, packing, &mut block);
            let start = index * BLOCK_LEN;
            keys.extend_from_slice(
                &block[range.start.max(start) - start..range.end.min(start + BLOCK_LEN) - start],
            );
        }
        Ok(Some(AnchorKeys { first: range.start, keys }))
    }

    /// Whether so many rows of `users` are too few to unpack all of their anchors.
    pub fn is_sparse(&self, row_count: usize, users: Range<u64>) -> Result<bool, Damage> {
        let Some(anchors) = self.anchors()? else { return Ok(true) };
        Ok(row_count * ANCHORS_PER_ROW_MAX < anchors.of_users(users).len())
    }
}

impl Group<'_> {
    /// Appends the keys of rows, whose users are not below the base. With the keys of their anchors, these are looked
    /// up; without, as much of the anchors is unpacked as it takes.
    pub fn read_keys(
        &self,
        rows: Range<usize>,
        packing: Packing,
        anchor_keys: Option<&AnchorKeys>,
        out: &mut Vec<u64>,
    ) -> Result<(), Damage> {
        out.reserve(rows.len());
        let Some((anchors, places)) = self.anchors_of_rows()? else {
            return self.read_own_keys(rows, packing, out);
        };
        let mut offsets = Blocks::new(self.own_times()?, rows.start);
        match anchor_keys {
            Some(AnchorKeys { first, keys }) if !keys.is_empty() => {
                let last = keys.len() - 1;
                places.for_each_block(rows, |places| {
                    let offsets = offsets.next(places.len());
                    let key = |(place, offset): (&u64, &u64)| {
                        keys[(*place as usize).wrapping_sub(*first).min(last)].wrapping_add(*offset)
                    };
                    out.extend(places.iter().zip(offsets).map(key));
                });
            }
            _ => {
                let last = anchors.users().len() - 1;
                let (mut unpacked, mut keys) = (usize::MAX, [0; BLOCK_LEN]);
                places.for_each_block(rows, |places| {
                    for (place, offset) in places.iter().zip(offsets.next(places.len())) {
                        let place = (*place as usize).min(last);
                        if place / BLOCK_LEN != unpacked {
                            unpacked = place / BLOCK_LEN;
                            anchors.read_keys(unpacked, packing, &mut keys);
                        }
                        out.push(keys[place % BLOCK_LEN].wrapping_add(*offset));
                    }
                });
            }
        }
        Ok(())
    }

    fn read_own_keys(&self, rows: Range<usize>, packing: Packing, out: &mut Vec<u64>) -> Result<(), Damage> {
        let bias = self.meta().time_min.wrapping_add(packing.time_bias) as u64;
        let mut times = Blocks::new(self.own_times()?, rows.start);
        self.users()?.for_each_block(rows, |users| {
            let key =
                |(user, time): (&u64, &u64)| packing.user_key(*user).wrapping_add(bias).wrapping_add(*time);
            out.extend(users.iter().zip(times.next(users.len())).map(key));
        });
        Ok(())
    }
}

impl Packing {
    fn user_key(self, user: u64) -> u64 {
        user.wrapping_sub(self.user_base.into()) << self.user_shift
    }
}

impl Anchors<'_> {
    /// The anchors of a range of users.
    fn of_users(&self, users: Range<u64>) -> Range<usize> {
        let start = self.users().lower_bound(users.start);
        start..self.users().lower_bound(users.end).max(start)
    }

    /// The keys of a block of anchors. Those behind the last are arbitrary.
    fn read_keys(&self, block: usize, packing: Packing, keys: &mut [u64; BLOCK_LEN]) {
        let mut users = [0; BLOCK_LEN];
        self.users().read_block(block, &mut users);
        self.starts().read_block(block, keys);
        let bias = self.origin().wrapping_add(packing.time_bias) as u64;
        for (key, user) in keys.iter_mut().zip(&users) {
            let time = (*key << self.unit_bits()).wrapping_add(bias);
            *key = packing.user_key(*user).wrapping_add(time);
        }
    }
}

/// The values of a column from a row on, in pieces that do not cross blocks.
struct Blocks<'a> {
    blocks: BlockCursor<'a>,
    /// Where the next piece starts in its block.
    start: usize,
    values: [u64; BLOCK_LEN],
}

impl<'a> Blocks<'a> {
    fn new(column: PackedInts<'a>, at: usize) -> Blocks<'a> {
        let blocks = BlockCursor::new(column, at / BLOCK_LEN);
        Blocks { blocks, start: at % BLOCK_LEN, values: [0; BLOCK_LEN] }
    }

    /// The next piece, of `len` values, which reaches to the end of its block unless it is the last one.
    fn next(&mut self, len: usize) -> &[u64] {
        self.blocks.read(&mut self.values);
        let start = std::mem::take(&mut self.start);
        &self.values[start..start + len]
    }
}
