//! 128 integers in as many bits as the largest needs.
//!
//! Values are spread over lanes (four of 32 bits, or two of 64 for values of more than 32 bits), so that the
//! compiler turns each step into one vector instruction: value `i` lies in lane `i % lanes`. A block of `width`
//! bits a value takes `16 × width` bytes. The layout follows Lemire and Boytsov, "Decoding billions of integers
//! per second through vectorization" (2015).

/// Values in a block.
pub const BLOCK_LEN: usize = 128;

/// Bytes of a packed block.
pub const fn block_size(width: u8) -> usize {
    width as usize * (BLOCK_LEN / 8)
}

/// Bits that the largest of the values needs.
pub fn width_of(values: &[u64]) -> u8 {
    (u64::BITS - values.iter().fold(0, |all, value| all | value).leading_zeros()) as u8
}

macro_rules! lanes {
    ($unpack:ident, $pack:ident, $step:ident, $word:ty, $bits:literal, $lanes:literal, [$($i:literal)*]) => {
        #[inline(always)]
        fn $step<const WIDTH: usize, const I: usize>(packed: &[u8], values: &mut [$word; BLOCK_LEN]) {
            let (word, shift) = (I * WIDTH / $bits, I * WIDTH % $bits);
            let mask = <$word>::MAX >> ($bits - WIDTH);
            for lane in 0..$lanes {
                let at = (word * $lanes + lane) * ($bits / 8);
                let load = |at: usize| <$word>::from_le_bytes(packed[at..at + $bits / 8].try_into().expect("a word"));
                let mut value = load(at) >> shift;
                if shift + WIDTH > $bits {
                    value |= load(at + 16) << ($bits - shift);
                }
                values[I * $lanes + lane] = value & mask;
            }
        }

        #[inline(never)]
        fn $unpack<const WIDTH: usize>(packed: &[u8], values: &mut [$word; BLOCK_LEN]) {
            let packed = &packed[..16 * WIDTH];
            $($step::<WIDTH, $i>(packed, values);)*
        }

        /// Packs the values into `16 × width` bytes at the end of `packed`. Bits above `width` must be zero.
        fn $pack(values: &[$word; BLOCK_LEN], width: u8, packed: &mut Vec<u8>) {
            let width = usize::from(width);
            let mut words = vec![0 as $word; width * $lanes];
            for (index, value) in values.iter().enumerate() {
                let (row, lane) = (index / $lanes, index % $lanes);
                let (word, shift) = (row * width / $bits, row * width % $bits);
                words[word * $lanes + lane] |= value << shift;
                if shift + width > $bits {
                    words[(word + 1) * $lanes + lane] |= value >> ($bits - shift);
                }
            }
            for word in words {
                packed.extend_from_slice(&word.to_le_bytes());
            }
        }
    };
}

lanes!(unpack_narrow, pack_narrow, step_narrow, u32, 32, 4, [
    0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31
]);
lanes!(unpack_wide, pack_wide, step_wide, u64, 64, 2, [
    0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31
    32 33 34 35 36 37 38 39 40 41 42 43 44 45 46 47 48 49 50 51 52 53 54 55 56 57 58 59 60 61 62 63
]);

macro_rules! dispatch {
    ($unpack:ident, $width:expr, $packed:expr, $values:expr, [$($w:literal)*]) => {
        match $width {
            0 => $values.fill(0),
            $($w => $unpack::<$w>($packed, $values),)*
            _ => unreachable!("the width was checked when the column was opened"),
        }
    };
}

/// Unpacks a block of at most 32 bits a value.
pub fn unpack_u32(packed: &[u8], width: u8, values: &mut [u32; BLOCK_LEN]) {
    dispatch!(unpack_narrow, width, packed, values, [
        1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31 32
    ]);
}

/// Unpacks a block of any width.
pub fn unpack_u64(packed: &[u8], width: u8, values: &mut [u64; BLOCK_LEN]) {
    if width <= 32 {
        let mut narrow = [0_u32; BLOCK_LEN];
        unpack_u32(packed, width, &mut narrow);
        for (wide, narrow) in values.iter_mut().zip(narrow) {
            *wide = u64::from(narrow);
        }
        return;
    }
    dispatch!(unpack_wide, width, packed, values, [
        33 34 35 36 37 38 39 40 41 42 43 44 45 46 47 48 49 50 51 52 53 54 55 56 57 58 59 60 61 62 63 64
    ]);
}

/// Appends the packed block. Bits of the values above `width` must be zero.
pub fn pack(values: &[u64; BLOCK_LEN], width: u8, packed: &mut Vec<u8>) {
    debug_assert!(width_of(values) <= width);
    if width == 0 {
        return;
    }
    if width <= 32 {
        pack_narrow(&values.map(|value| value as u32), width, packed);
    } else {
        pack_wide(values, width, packed);
    }
}

/// Reads one value of a packed block.
pub fn get(packed: &[u8], width: u8, index: usize) -> u64 {
    let width = usize::from(width);
    if width == 0 {
        return 0;
    }
    let (bits, lanes) = if width <= 32 { (32, 4) } else { (64, 2) };
    let (row, lane) = (index / lanes, index % lanes);
    let (word, shift) = (row * width / bits, row * width % bits);
    let load = |word: usize| -> u64 {
        let at = (word * lanes + lane) * (bits / 8);
        let bytes = &packed[at..at + bits / 8];
        if bits == 32 {
            u64::from(u32::from_le_bytes(bytes.try_into().expect("a word")))
        } else {
            u64::from_le_bytes(bytes.try_into().expect("a word"))
        }
    };
    let mut value = load(word) >> shift;
    if shift + width > bits {
        value |= load(word + 1) << (bits - shift);
    }
    value & (u64::MAX >> (64 - width))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_width_reads_back_as_it_was_packed() {
        for width in 0..=64_u8 {
            let mask = if width == 0 { 0 } else { u64::MAX >> (64 - width) };
            let values: [u64; BLOCK_LEN] = std::array::from_fn(|i| {
                (i as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(i as u32) & mask
            });
            let mut packed = Vec::new();
            pack(&values, width, &mut packed);
            assert_eq!(packed.len(), block_size(width));
            let mut wide = [0; BLOCK_LEN];
            unpack_u64(&packed, width, &mut wide);
            assert_eq!(wide, values, "width {width}");
            for (index, value) in values.iter().enumerate() {
                assert_eq!(get(&packed, width, index), *value, "width {width} index {index}");
            }
        }
    }
}
