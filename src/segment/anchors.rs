//! Anchors: moments of users, from which the times of their events are counted. docs/format.md, "Anchors".
//!
//! People use a product in sittings, and a sitting shows in many groups. Whose it is and when it began is kept once for
//! the segment; a row says which anchor it has, and how long after it the event was. The anchors of a user ascend, and
//! the anchor of a row is the last of its user that is not after it, so rows in the order of a group have anchors that
//! never fall.

use super::reader::OpenInts;
use crate::format::{
    ByteReader, ByteWriter, DecodeError, Lookup, PackedInts, encode_ints, encode_sorted_ints,
};
use crate::model::TimeMs;

const STRUCTURE: &str = "anchors";
/// Times from an anchor on take so many more bits than the unit that anchors are counted in: a finer unit would
/// lengthen anchors, a coarser one the times.
const UNIT_BITS_BELOW_REACH: u32 = 7;
/// Bits of a reach that are tried: a second to a day.
const REACH_BITS: std::ops::RangeInclusive<u32> = 10..=26;

/// The anchors of a segment that is being written.
#[derive(Debug)]
pub(super) struct AnchorTable {
    reach: Reach,
    users: Vec<u32>,
    /// In units from the origin.
    starts: Vec<u32>,
}

/// How far the rows of an anchor lie from it at most, and from when on anchors are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reach {
    origin: TimeMs,
    bits: u32,
}

impl Reach {
    fn unit_bits(self) -> u32 {
        self.bits - UNIT_BITS_BELOW_REACH
    }

    fn start_time(self, start: u32) -> TimeMs {
        self.origin + (i64::from(start) << self.unit_bits())
    }
}

/// A reach, the user and the time of the last anchor, and how many there are.
type Candidate = (Reach, Option<(u32, TimeMs)>, u64);

/// Counts the anchors that reaches of different lengths would make, to choose one.
pub(super) struct ReachChoice {
    span_bits: u32,
    origin: TimeMs,
    row_count: u64,
    by_reach: Vec<Candidate>,
}

impl ReachChoice {
    /// For rows from `first` to `last`.
    pub fn new(first: TimeMs, last: TimeMs) -> ReachChoice {
        let span_bits = u64::BITS - ((last - first) as u64).leading_zeros();
        // Starts are kept in 32 bits.
        let fits = |reach: &Reach| span_bits.saturating_sub(reach.unit_bits()) <= u32::BITS;
        let reaches = REACH_BITS.map(|bits| Reach { origin: first, bits }).filter(fits);
        let by_reach = reaches.map(|reach| (reach, None, 0)).collect();
        ReachChoice { span_bits, origin: first, row_count: 0, by_reach }
    }

    /// Looks at rows, or some users' rows among them, in order of user and time.
    pub fn push(&mut self, user: u32, time: TimeMs) {
        self.row_count += 1;
        for (reach, last, count) in &mut self.by_reach {
            let is_within = |(last_user, start)| last_user == user && time - start < 1 << reach.bits;
            if !last.is_some_and(is_within) {
                let unit = 1 << reach.unit_bits();
                *last = Some((user, time - (time - self.origin) % unit));
                *count += 1;
            }
        }
    }

    /// The reach with which users and times take the fewest bits; `None` if they take no more by themselves.
    pub fn finish(self) -> Option<Reach> {
        let span_bits = u64::from(self.span_bits);
        let size = |(reach, _, count): &Candidate| {
            let anchor_bits = span_bits.saturating_sub(u64::from(reach.unit_bits())) + 2;
            // Anchors of rows are about one and a half bits longer than users.
            self.row_count * u64::from(2 * reach.bits + 3) / 2 + count * anchor_bits
        };
        let best = self.by_reach.iter().min_by_key(|choice| size(choice))?;
        (size(best) < self.row_count * span_bits).then_some(best.0)
    }
}

impl AnchorTable {
    pub fn new(reach: Reach) -> AnchorTable {
        AnchorTable { reach, users: Vec::new(), starts: Vec::new() }
    }

    /// Looks at the next row in order of user and time.
    pub fn push(&mut self, user: u32, time: TimeMs) {
        let start = ((time - self.reach.origin) >> self.reach.unit_bits()) as u32;
        let is_within = match (self.users.last(), self.starts.last()) {
            (Some(last_user), Some(last)) => {
                *last_user == user && time - self.reach.start_time(*last) < 1 << self.reach.bits
            }
            _ => false,
        };
        if !is_within {
            self.users.push(user);
            self.starts.push(start);
        }
    }

    /// Adds anchors of later users.
    pub fn append(&mut self, mut later: AnchorTable) {
        debug_assert!(self.users.last() < later.users.first() || later.users.is_empty());
        self.users.append(&mut later.users);
        self.starts.append(&mut later.starts);
    }

    pub fn len(&self) -> usize {
        self.users.len()
    }

    /// The anchors of rows in order of user and time, which were pushed, and how long after them the rows are.
    pub fn places(&self, users: &[u32], times: &[TimeMs]) -> (Vec<u64>, Vec<u64>) {
        let (mut places, mut offsets) = (Vec::with_capacity(users.len()), Vec::with_capacity(users.len()));
        let mut at = 0;
        for (user, time) in users.iter().zip(times) {
            let is_reached = |place: usize| {
                place < self.len()
                    && (self.users[place], self.reach.start_time(self.starts[place])) <= (*user, *time)
            };
            // Leaps of growing length, and a search in the last one: groups of few rows skip most anchors.
            let mut leap = 1;
            while is_reached(at + leap) {
                at += leap;
                leap *= 2;
            }
            while leap > 1 {
                leap /= 2;
                if is_reached(at + leap) {
                    at += leap;
                }
            }
            places.push(at as u64);
            offsets.push((time - self.reach.start_time(self.starts[at])) as u64);
        }
        (places, offsets)
    }

    pub fn encode(&self) -> Vec<u8> {
        let widened = |values: &[u32]| values.iter().map(|value| u64::from(*value)).collect::<Vec<_>>();
        let mut out = ByteWriter::new();
        out.i64(self.reach.origin);
        out.u8(self.reach.unit_bits() as u8);
        out.sized(&encode_sorted_ints(&widened(&self.users)));
        out.raw(&encode_ints(&widened(&self.starts)));
        out.into_bytes()
    }
}

/// The anchors of a segment, read in place.
#[derive(Clone, Copy, Debug)]
pub struct Anchors<'a> {
    origin: TimeMs,
    unit_bits: u8,
    /// Never falling.
    users: PackedInts<'a>,
    starts: PackedInts<'a>,
}

impl<'a> Anchors<'a> {
    pub(super) fn open(bytes: &'a [u8], count: u64, open_ints: OpenInts) -> Result<Anchors<'a>, DecodeError> {
        let mut reader = ByteReader::new(STRUCTURE, bytes);
        let (origin, unit_bits) = (reader.i64()?, reader.u8()?);
        let users = open_ints(reader.sized()?, count as usize)?;
        let starts = open_ints(reader.rest(), count as usize)?;
        if unit_bits >= 32 || users.len() as u64 != count || starts.len() as u64 != count || count == 0 {
            return Err(reader.malformed("it does not have as many as it should"));
        }
        Ok(Anchors { origin, unit_bits, users, starts })
    }

    /// The users of rows that have these anchors.
    pub(super) fn users_of(&self, places: PackedInts<'a>) -> Lookup<'a> {
        Lookup { places, table: self.users, shift: 0, bias: 0, added: None }
    }

    /// The times, from `time_min` on, of rows that lie so long after these anchors.
    pub(super) fn times_of(
        &self,
        places: PackedInts<'a>,
        offsets: PackedInts<'a>,
        time_min: TimeMs,
    ) -> Lookup<'a> {
        let bias = self.origin.wrapping_sub(time_min) as u64;
        Lookup { places, table: self.starts, shift: self.unit_bits, bias, added: Some(offsets) }
    }

    pub(super) fn origin(&self) -> TimeMs {
        self.origin
    }

    pub(super) fn unit_bits(&self) -> u8 {
        self.unit_bits
    }

    pub(super) fn users(&self) -> PackedInts<'a> {
        self.users
    }

    pub(super) fn starts(&self) -> PackedInts<'a> {
        self.starts
    }
}
