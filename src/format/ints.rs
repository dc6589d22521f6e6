//! Packed integers: blocks of 128 values, each in the bits that it needs.
//!
//! Three encodings, chosen from the data: every value the same; one width for all blocks; or a base and a width
//! for each block. A sorted column keeps differences from value to value inside each block. Any block can be read
//! without those before it. Layout: docs/format.md, "Integer column".

use super::bitpack::{self, BLOCK_LEN, block_size};
use super::bytes::{ByteReader, ByteWriter, DecodeError};

const CONSTANT: u8 = 1;
const UNIFORM: u8 = 2;
const BLOCKED: u8 = 3;
const SORTED: u8 = 4;

/// Blocks whose data offsets are added up from widths instead of being stored.
const OFFSET_STRIDE: usize = 16;
const STRUCTURE: &str = "integer column";

/// Encodes values in the smaller of the encodings for unsorted data.
pub fn encode_ints(values: &[u64]) -> Vec<u8> {
    encode_ints_of(values, |value| value)
}

/// Encodes what `int` tells of values, in the smaller of the encodings for unsorted data. It is asked twice of each.
pub fn encode_ints_of<T: Copy>(values: &[T], int: impl Fn(T) -> u64) -> Vec<u8> {
    let range_of = |block: &[T]| {
        block.iter().map(|value| int(*value)).fold((u64::MAX, 0), |(min, max), v| (min.min(v), max.max(v)))
    };
    let ranges: Vec<(u64, u64)> = values.chunks(BLOCK_LEN).map(range_of).collect();
    let (min, max) =
        ranges.iter().fold((u64::MAX, 0), |(min, max), range| (min.min(range.0), max.max(range.1)));
    let mut out = ByteWriter::new();
    if values.is_empty() || min == max {
        out.u8(CONSTANT);
        out.u64(values.len() as u64);
        out.u64(if values.is_empty() { 0 } else { min });
        return out.into_bytes();
    }
    let uniform_width = bitpack::width_of(&[max - min]);
    let block_count = ranges.len();
    let blocks: Vec<(u64, u8)> =
        ranges.into_iter().map(|(min, max)| (min, bitpack::width_of(&[max - min]))).collect();
    let uniform_size = block_count * block_size(uniform_width);
    let blocked_size: usize = blocks.iter().map(|(_, width)| block_size(*width)).sum();
    let base_size = block_count * usize::from(uniform_width).div_ceil(8);
    if blocked_size + block_count + block_count / 4 + base_size < uniform_size {
        encode_blocked(BLOCKED, values, &blocks, &mut out, |block, base, padded| {
            for (slot, value) in padded.iter_mut().zip(block) {
                *slot = int(*value) - base;
            }
        });
    } else {
        encode_uniform(values, &int, (min, uniform_width), &mut out);
    }
    out.into_bytes()
}

/// Encodes values that never fall.
///
/// # Panics
/// In debug builds, if they do.
pub fn encode_sorted_ints<T: Copy + Ord + Into<u64>>(values: &[T]) -> Vec<u8> {
    debug_assert!(values.is_sorted(), "a sorted column is sorted");
    if values.is_empty() {
        return encode_ints(&[]);
    }
    let blocks: Vec<(u64, u8)> = values
        .chunks(BLOCK_LEN)
        .map(|block| {
            let distances = block.windows(2).map(|pair| pair[1].into() - pair[0].into());
            (block[0].into(), bitpack::width_of(&[distances.max().unwrap_or(0)]))
        })
        .collect();
    let mut out = ByteWriter::new();
    encode_blocked(SORTED, values, &blocks, &mut out, |block, base, padded| {
        let mut previous = base;
        for (slot, value) in padded.iter_mut().zip(block) {
            let value = (*value).into();
            *slot = value - previous;
            previous = value;
        }
    });
    out.into_bytes()
}

fn encode_blocked<T: Copy>(
    kind: u8,
    values: &[T],
    blocks: &[(u64, u8)],
    out: &mut ByteWriter,
    fill: impl Fn(&[T], u64, &mut [u64; BLOCK_LEN]),
) {
    out.u8(kind);
    out.u64(values.len() as u64);
    // One width for all bases, so that any can be read by itself.
    let (min, max) = blocks.iter().fold((u64::MAX, 0), |(min, max), (v, _)| (min.min(*v), max.max(*v)));
    let mut bases = ByteWriter::new();
    encode_uniform(blocks, &|(base, _)| base, (min, bitpack::width_of(&[max - min])), &mut bases);
    let bases = bases.into_bytes();
    out.u32(bases.len() as u32);
    out.raw(&bases);
    let packed_size = blocks.iter().map(|(_, width)| block_size(*width)).sum();
    let mut packed = Vec::with_capacity(packed_size);
    let mut offsets = Vec::new();
    for (index, (block, (base, width))) in values.chunks(BLOCK_LEN).zip(blocks).enumerate() {
        if index % OFFSET_STRIDE == 0 {
            offsets.push((packed.len() / 16) as u32);
        }
        let mut padded = [0; BLOCK_LEN];
        fill(block, *base, &mut padded);
        bitpack::pack(&padded, *width, &mut packed);
    }
    for (_, width) in blocks {
        out.u8(*width);
    }
    for offset in offsets {
        out.u32(offset);
    }
    out.raw(&packed);
}

/// One base, which is the least value, and one width for all blocks.
fn encode_uniform<T: Copy>(
    values: &[T],
    int: &impl Fn(T) -> u64,
    (base, width): (u64, u8),
    out: &mut ByteWriter,
) {
    out.u8(UNIFORM);
    out.u64(values.len() as u64);
    out.u64(base);
    out.u8(width);
    let mut packed = Vec::with_capacity(values.len().div_ceil(BLOCK_LEN) * block_size(width));
    for block in values.chunks(BLOCK_LEN) {
        let mut padded = [0; BLOCK_LEN];
        for (slot, value) in padded.iter_mut().zip(block) {
            *slot = int(*value) - base;
        }
        bitpack::pack(&padded, width, &mut packed);
    }
    out.raw(&packed);
}

/// An encoded column, checked when opened, so that reading from it cannot fail.
#[derive(Clone, Copy, Debug)]
pub struct PackedInts<'a> {
    len: usize,
    body: Body<'a>,
}

#[derive(Clone, Copy, Debug)]
enum Body<'a> {
    Constant(u64),
    Uniform(Uniform<'a>),
    Blocked { bases: Uniform<'a>, widths: &'a [u8], offsets: &'a [u8], packed: &'a [u8], sorted: bool },
}

#[derive(Clone, Copy, Debug)]
struct Uniform<'a> {
    base: u64,
    width: u8,
    packed: &'a [u8],
}

impl<'a> Uniform<'a> {
    fn open(reader: &mut ByteReader<'a>, len: usize) -> Result<Uniform<'a>, DecodeError> {
        let base = reader.u64()?;
        let width = reader.u8()?;
        if width > 64 {
            return Err(reader.malformed("a width is over 64 bits"));
        }
        let size = len.div_ceil(BLOCK_LEN).checked_mul(block_size(width));
        let packed = reader.raw(size.ok_or_else(|| reader.malformed("a length overflows"))?)?;
        Ok(Uniform { base, width, packed })
    }

    fn block(&self, block: usize) -> &'a [u8] {
        let size = block_size(self.width);
        &self.packed[block * size..(block + 1) * size]
    }

    fn get(&self, index: usize) -> u64 {
        let packed = self.block(index / BLOCK_LEN);
        self.base.wrapping_add(bitpack::get(packed, self.width, index % BLOCK_LEN))
    }
}

impl<'a> PackedInts<'a> {
    /// Opens an encoded column of at most `len_max` values, and checks all of its layout.
    pub fn open(bytes: &'a [u8], len_max: usize) -> Result<PackedInts<'a>, DecodeError> {
        let column = Self::reopen(bytes, len_max)?;
        column.check()?;
        Ok(column)
    }

    /// Opens a column whose bytes were opened before: the widths of its blocks are not added up again.
    ///
    /// Reading from a column that never passed [`PackedInts::open`] may panic.
    pub fn reopen(bytes: &'a [u8], len_max: usize) -> Result<PackedInts<'a>, DecodeError> {
        let mut reader = ByteReader::new(STRUCTURE, bytes);
        let kind = reader.u8()?;
        let len = usize::try_from(reader.u64()?).ok().filter(|len| *len <= len_max);
        let len = len.ok_or_else(|| reader.malformed("it is longer than the rows it belongs to"))?;
        let body = match kind {
            CONSTANT => Body::Constant(reader.u64()?),
            UNIFORM => Body::Uniform(Uniform::open(&mut reader, len)?),
            BLOCKED | SORTED => Self::open_blocked(&mut reader, len, kind == SORTED)?,
            _ => return Err(reader.malformed("its encoding is unknown")),
        };
        reader.finish()?;
        Ok(PackedInts { len, body })
    }

    fn open_blocked(reader: &mut ByteReader<'a>, len: usize, sorted: bool) -> Result<Body<'a>, DecodeError> {
        let block_count = len.div_ceil(BLOCK_LEN);
        let bases_size = reader.u32()? as usize;
        let mut bases = ByteReader::new(STRUCTURE, reader.raw(bases_size)?);
        if bases.u8()? != UNIFORM || bases.u64()? != block_count as u64 {
            return Err(reader.malformed("its bases do not fit its blocks"));
        }
        let uniform = Uniform::open(&mut bases, block_count)?;
        bases.finish()?;
        let widths = reader.raw(block_count)?;
        let offsets = reader.raw(block_count.div_ceil(OFFSET_STRIDE) * size_of::<u32>())?;
        let packed = reader.raw(reader.remaining())?;
        Ok(Body::Blocked { bases: uniform, widths, offsets, packed, sorted })
    }

    fn check(&self) -> Result<(), DecodeError> {
        let Body::Blocked { widths, offsets, packed, .. } = &self.body else { return Ok(()) };
        let malformed = |what| Err(DecodeError::Malformed { structure: STRUCTURE, what });
        let mut end = 0_usize;
        for (index, width) in widths.iter().enumerate() {
            if *width > 64 {
                return malformed("a width is over 64 bits");
            }
            if index % OFFSET_STRIDE == 0 && offset_at(offsets, index / OFFSET_STRIDE) * 16 != end {
                return malformed("an offset does not fit the widths before it");
            }
            end += block_size(*width);
        }
        if end == packed.len() { Ok(()) } else { malformed("its blocks do not fill it") }
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The value at a place.
    ///
    /// # Panics
    /// If there is no such place.
    pub fn get(&self, index: usize) -> u64 {
        assert!(index < self.len, "index {index} of {}", self.len);
        match &self.body {
            Body::Constant(value) => *value,
            Body::Uniform(uniform) => uniform.get(index),
            Body::Blocked { bases, widths, sorted, .. } => {
                let (block, within) = (index / BLOCK_LEN, index % BLOCK_LEN);
                if *sorted {
                    let mut values = [0; BLOCK_LEN];
                    self.read_block(block, &mut values);
                    return values[within];
                }
                let packed = self.packed_block(block);
                bases.get(block).wrapping_add(bitpack::get(packed, widths[block], within))
            }
        }
    }

    /// Calls `f` with the values of `range`, in order, in pieces of at most 128.
    pub fn for_each_block(&self, range: std::ops::Range<usize>, mut f: impl FnMut(&[u64])) {
        assert!(range.end <= self.len, "range {range:?} of {}", self.len);
        let mut values = [0; BLOCK_LEN];
        let mut at = range.start;
        let mut blocks = BlockCursor::new(*self, at / BLOCK_LEN);
        while at < range.end {
            let start = at / BLOCK_LEN * BLOCK_LEN;
            let end = range.end.min(start + BLOCK_LEN);
            blocks.read(&mut values);
            f(&values[at - start..end - start]);
            at = end;
        }
    }

    /// The first place whose value is not below `value`, in a column that never falls.
    pub fn lower_bound(&self, value: u64) -> usize {
        match &self.body {
            Body::Blocked { bases, widths, .. } => {
                // The block before the first whose base reaches the value holds the place, or it is that base.
                let mut low = 0;
                let mut high = widths.len();
                while low < high {
                    let middle = low.midpoint(high);
                    if bases.get(middle) < value { low = middle + 1 } else { high = middle }
                }
                let Some(block) = low.checked_sub(1) else { return 0 };
                let mut values = [0; BLOCK_LEN];
                self.read_block(block, &mut values);
                let start = block * BLOCK_LEN;
                let filled = BLOCK_LEN.min(self.len - start);
                start + values[..filled].partition_point(|known| *known < value)
            }
            _ => {
                let (mut low, mut high) = (0, self.len);
                while low < high {
                    let middle = low.midpoint(high);
                    if self.get(middle) < value { low = middle + 1 } else { high = middle }
                }
                low
            }
        }
    }

    /// Where the bits of a block start.
    fn packed_start(&self, block: usize) -> usize {
        let Body::Blocked { widths, offsets, .. } = &self.body else { return 0 };
        let group = block / OFFSET_STRIDE;
        let before: usize = widths[group * OFFSET_STRIDE..block].iter().map(|width| block_size(*width)).sum();
        offset_at(offsets, group) * 16 + before
    }

    fn packed_block(&self, block: usize) -> &'a [u8] {
        let Body::Blocked { widths, packed, .. } = &self.body else {
            unreachable!("only blocked columns have blocks of their own width")
        };
        let start = self.packed_start(block);
        &packed[start..start + block_size(widths[block])]
    }

    /// Reads a whole block; values behind the column's end are arbitrary.
    ///
    /// # Panics
    /// If there is no such block.
    pub fn read_block(&self, block: usize, values: &mut [u64; BLOCK_LEN]) {
        BlockCursor::new(*self, block).read(values);
    }
}

/// Reads one whole block after the other.
#[derive(Clone, Copy, Debug)]
pub struct BlockCursor<'a> {
    column: PackedInts<'a>,
    block: usize,
    packed_start: usize,
}

impl<'a> BlockCursor<'a> {
    /// `block` is read first. One past the last is not read.
    pub fn new(column: PackedInts<'a>, block: usize) -> BlockCursor<'a> {
        let is_there = block * BLOCK_LEN < column.len;
        BlockCursor { column, block, packed_start: if is_there { column.packed_start(block) } else { 0 } }
    }

    /// Reads the next block; values behind the column's end are arbitrary.
    ///
    /// # Panics
    /// If there is none.
    #[inline]
    pub fn read(&mut self, values: &mut [u64; BLOCK_LEN]) {
        let block = self.block;
        self.block += 1;
        match &self.column.body {
            Body::Constant(value) => values.fill(*value),
            Body::Uniform(uniform) => {
                bitpack::unpack_u64(uniform.block(block), uniform.width, values);
                values.iter_mut().for_each(|value| *value = value.wrapping_add(uniform.base));
            }
            Body::Blocked { bases, widths, sorted, packed, .. } => {
                let mut base = bases.get(block);
                let end = self.packed_start + block_size(widths[block]);
                bitpack::unpack_u64(&packed[self.packed_start..end], widths[block], values);
                self.packed_start = end;
                if *sorted {
                    for value in values.iter_mut() {
                        base = base.wrapping_add(*value);
                        *value = base;
                    }
                } else {
                    values.iter_mut().for_each(|value| *value = value.wrapping_add(base));
                }
            }
        }
    }
}

fn offset_at(offsets: &[u8], index: usize) -> usize {
    let bytes = offsets[index * 4..index * 4 + 4].try_into().expect("four bytes");
    u32::from_le_bytes(bytes) as usize
}

#[cfg(test)]
mod tests {
    use super::super::IntColumn;
    use super::*;
    use crate::dice::Dice;

    fn random(len: usize, bits: u32, seed: u64) -> Vec<u64> {
        let mut dice = Dice(seed);
        (0..len).map(|_| if bits == 0 { 7 } else { dice.next() >> (64 - bits) }).collect()
    }

    #[test]
    fn every_kind_reads_back_whole_in_part_and_one_by_one() {
        for bits in [0, 1, 5, 20, 33, 64] {
            for len in [0, 1, 127, 128, 129, 5000] {
                let mut clustered = random(len, bits, 3);
                clustered
                    .iter_mut()
                    .enumerate()
                    .for_each(|(i, v)| *v = (*v >> 8).wrapping_add((i as u64 / 500) << 40));
                let mut sorted = random(len, bits, 4);
                sorted.sort_unstable();
                for (values, bytes) in [
                    (random(len, bits, 5), encode_ints(&random(len, bits, 5))),
                    (clustered.clone(), encode_ints(&clustered)),
                    (sorted.clone(), encode_sorted_ints(&sorted)),
                ] {
                    let column = IntColumn::open(&bytes, len).unwrap();
                    let mut read = Vec::new();
                    column.read(0..len, &mut read);
                    assert_eq!(read, values);
                    read.clear();
                    column.read(len / 3..len / 2, &mut read);
                    assert_eq!(read, values[len / 3..len / 2]);
                    assert!((0..len).step_by(97).all(|i| column.get(i) == values[i]));
                }
                let bytes = encode_sorted_ints(&sorted);
                let column = IntColumn::open(&bytes, len).unwrap();
                for probe in sorted.iter().flat_map(|v| [v.saturating_sub(1), *v, v.saturating_add(1)]) {
                    assert_eq!(column.lower_bound(probe), sorted.partition_point(|v| *v < probe));
                }
            }
        }
    }

    #[test]
    fn no_bytes_are_believed_unchecked() {
        let values = random(1000, 30, 9);
        for bytes in
            [encode_ints(&values), encode_sorted_ints(&(0..1000_u64).map(|i| i * i).collect::<Vec<_>>())]
        {
            for cut in 0..bytes.len().min(400) {
                assert!(IntColumn::open(&bytes[..cut], 1000).is_err());
            }
            for at in 0..200 {
                let mut damaged = bytes.clone();
                damaged[at] ^= 0x55;
                if let Ok(column) = IntColumn::open(&damaged, 1000) {
                    let mut read = Vec::new();
                    column.read(0..column.len(), &mut read);
                }
            }
        }
    }
}
