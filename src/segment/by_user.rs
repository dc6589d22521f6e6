//! What is the same in all rows of a user, kept once for each user. docs/format.md, "By user".
//!
//! A country, a source, a plan or an account rarely changes from event to event. A segment keeps the code of each user
//! in a table; a group's column then has only the rows that differ from it.

use super::reader::OpenInts;
use crate::format::{
    ByUser, ByteReader, ByteWriter, DecodeError, PackedInts, Users, encode_ints_of, encode_sorted_ints,
};

/// Begins a column that has only what differs from the table: no kind of packed integers.
pub(super) const BY_USER: u8 = 5;

/// A user whose value is not known yet.
const UNKNOWN: u32 = u32::MAX;
/// A property is kept by user only if its rows are so many times as many as the users of the segment, so that the
/// table is a small part of what it replaces.
const ROWS_PER_USER_MIN: u64 = 4;
/// ... and in groups where exceptions take no more than this part of the bits of all rows.
const SAVING_FACTOR: usize = 3;

/// The values of users in a segment that is being written.
#[derive(Debug)]
pub(super) struct UserTable {
    user_min: u32,
    /// By user from `user_min` on.
    values: Vec<u32>,
    /// Whether a group relies on it.
    is_used: bool,
}

impl UserTable {
    /// A table for users of a span, both ends included, if so many rows make it worth its bytes.
    pub fn for_rows(row_count: u64, (user_min, user_max): (u32, u32)) -> Option<UserTable> {
        let user_count = u64::from(user_max - user_min) + 1;
        let is_worth_it = row_count >= user_count * ROWS_PER_USER_MIN;
        is_worth_it.then(|| UserTable {
            user_min,
            values: vec![UNKNOWN; user_count as usize],
            is_used: false,
        })
    }

    /// Encodes a column as what differs from the table, after filling in users that it does not know; `None` if the
    /// rows of users differ too much among each other.
    pub fn encode(&mut self, users: &[u32], codes: &[u32]) -> Option<Vec<u8>> {
        let largest = codes.iter().max()?;
        let width = (u32::BITS - largest.leading_zeros()) as usize;
        if codes.iter().all(|code| code == largest) {
            return None;
        }
        let bits_max = codes.len() * width / SAVING_FACTOR;
        // Each takes its value, and about the logarithm of the distance to the next.
        let fits = |exception_count: usize| {
            let distance = codes.len() / exception_count.max(1);
            exception_count * (width + 2 + distance.ilog2() as usize) <= bits_max
        };
        let learnt = self.learn(users, codes);
        let (mut rows, mut values) = (Vec::new(), Vec::new());
        // Row by row: how many rows a user has is nothing that a processor could foresee.
        for (row, (user, code)) in (0_u64..).zip(users.iter().zip(codes)) {
            if self.values[(user - self.user_min) as usize] != *code {
                rows.push(row);
                values.push(*code);
                if rows.len() > codes.len() / 4 && !fits(rows.len()) {
                    break;
                }
            }
        }
        if !fits(rows.len()) {
            learnt.into_iter().for_each(|user| self.values[(user - self.user_min) as usize] = UNKNOWN);
            return None;
        }
        self.is_used = true;
        let mut out = ByteWriter::new();
        out.u8(BY_USER);
        out.u64(codes.len() as u64);
        out.sized(&encode_sorted_ints(&rows));
        out.raw(&encode_ints_of(&values, u64::from));
        Some(out.into_bytes())
    }

    /// Fills in the users that the table does not know, and returns them.
    fn learn(&mut self, users: &[u32], codes: &[u32]) -> Vec<u32> {
        let mut learnt = Vec::new();
        for (start, user) in users.iter().enumerate() {
            let slot = &mut self.values[(user - self.user_min) as usize];
            if *slot == UNKNOWN {
                let row_count = users[start..].iter().take_while(|other| *other == user).count();
                // Of a value that changes once, the one in the middle is that of most rows.
                *slot = codes[start + row_count / 2];
                learnt.push(*user);
            }
        }
        learnt
    }

    /// The table of the users of a span, if a group relies on it. Users without rows have the value of the one before.
    pub fn finish(mut self, (user_min, user_max): (u32, u32)) -> Option<Vec<u8>> {
        if !self.is_used {
            return None;
        }
        let mut last = 0;
        for value in &mut self.values {
            if *value == UNKNOWN {
                *value = last;
            }
            last = *value;
        }
        let span = (user_min - self.user_min) as usize..=(user_max - self.user_min) as usize;
        Some(encode_ints_of(&self.values[span], u64::from))
    }
}

/// Opens what [`UserTable::encode`] wrote, with the table of the users from `user_min` on.
pub(super) fn open_by_user<'a>(
    bytes: &'a [u8],
    users: Users<'a>,
    table: PackedInts<'a>,
    user_min: u32,
    open_ints: OpenInts,
) -> Result<ByUser<'a>, DecodeError> {
    let mut reader = ByteReader::new("column by user", bytes);
    let (kind, count) = (reader.u8()?, reader.u64()?);
    if kind != BY_USER || count != users.len() as u64 {
        return Err(reader.malformed("it does not fit the rows it belongs to"));
    }
    let exceptions = open_ints(reader.sized()?, users.len())?;
    let exception_values = open_ints(reader.rest(), users.len())?;
    if exceptions.len() != exception_values.len() {
        return Err(reader.malformed("it does not have as many exceptions as values of them"));
    }
    Ok(ByUser { users, user_min: user_min.into(), table, exceptions, exception_values })
}
