//! How much memory a partial result takes, found from its serialised form, so that no analysis has to count.
//!
//! Every number weighs its own size, texts and lists their bytes and a header. Room that a vector keeps spare,
//! and tables that are not serialised, are not seen: the weight is right to within a small factor.

use serde::Serialize;
use serde::ser::{self, Serializer};

/// Bytes of the header of a string, a list or a map.
const HEADER_SIZE: u64 = size_of::<Vec<u8>>() as u64;

/// The bytes that a value takes in memory, roughly.
pub(super) fn weigh(value: &impl Serialize) -> u64 {
    let mut scales = Scales(0);
    // A value that refuses to be serialised weighs what was seen of it: only a limit depends on it.
    let _ = value.serialize(&mut scales);
    scales.0
}

struct Scales(u64);

impl Scales {
    fn add<T>(&mut self, _: T) -> Result<(), Refused> {
        self.0 += size_of::<T>() as u64;
        Ok(())
    }

    fn add_block(&mut self, len: usize) -> Result<(), Refused> {
        self.0 += HEADER_SIZE + len as u64;
        Ok(())
    }
}

/// A value that said it cannot be serialised.
#[derive(Debug, thiserror::Error)]
#[error("a value cannot be serialised")]
struct Refused;

impl ser::Error for Refused {
    fn custom<T: std::fmt::Display>(_: T) -> Refused {
        Refused
    }
}

macro_rules! add_scalars {
    ($($name:ident: $scalar:ty),*) => {
        $(fn $name(self, value: $scalar) -> Result<(), Refused> {
            self.add(value)
        })*
    };
}

impl Serializer for &mut Scales {
    type Ok = ();
    type Error = Refused;
    type SerializeSeq = Self;
    type SerializeTuple = Self;
    type SerializeTupleStruct = Self;
    type SerializeTupleVariant = Self;
    type SerializeMap = Self;
    type SerializeStruct = Self;
    type SerializeStructVariant = Self;

    add_scalars!(
        serialize_bool: bool, serialize_char: char, serialize_i8: i8, serialize_i16: i16,
        serialize_i32: i32, serialize_i64: i64, serialize_i128: i128, serialize_u8: u8, serialize_u16: u16,
        serialize_u32: u32, serialize_u64: u64, serialize_u128: u128, serialize_f32: f32, serialize_f64: f64
    );

    fn serialize_str(self, text: &str) -> Result<(), Refused> {
        self.add_block(text.len())
    }

    fn serialize_bytes(self, bytes: &[u8]) -> Result<(), Refused> {
        self.add_block(bytes.len())
    }

    fn serialize_none(self) -> Result<(), Refused> {
        self.add(0_u64)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Refused> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<(), Refused> {
        Ok(())
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<(), Refused> {
        Ok(())
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, _: &'static str) -> Result<(), Refused> {
        self.add(0_u8)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<(), Refused> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        value: &T,
    ) -> Result<(), Refused> {
        self.add(0_u64)?;
        value.serialize(self)
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Self, Refused> {
        self.add_block(0)?;
        Ok(self)
    }

    fn serialize_tuple(self, _: usize) -> Result<Self, Refused> {
        Ok(self)
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Self, Refused> {
        Ok(self)
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self, Refused> {
        self.add(0_u64)?;
        Ok(self)
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Self, Refused> {
        self.add_block(0)?;
        Ok(self)
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Self, Refused> {
        Ok(self)
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self, Refused> {
        self.add(0_u64)?;
        Ok(self)
    }
}

macro_rules! weigh_parts {
    ($($group:ident: $part:ident),*) => {
        $(impl ser::$group for &mut Scales {
            type Ok = ();
            type Error = Refused;

            fn $part<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Refused> {
                value.serialize(&mut **self)
            }

            fn end(self) -> Result<(), Refused> {
                Ok(())
            }
        })*
    };
}

weigh_parts!(
    SerializeSeq: serialize_element, SerializeTuple: serialize_element,
    SerializeTupleStruct: serialize_field, SerializeTupleVariant: serialize_field
);

macro_rules! weigh_fields {
    ($($group:ident),*) => {
        $(impl ser::$group for &mut Scales {
            type Ok = ();
            type Error = Refused;

            fn serialize_field<T: Serialize + ?Sized>(
                &mut self,
                _: &'static str,
                value: &T,
            ) -> Result<(), Refused> {
                value.serialize(&mut **self)
            }

            fn end(self) -> Result<(), Refused> {
                Ok(())
            }
        })*
    };
}

weigh_fields!(SerializeStruct, SerializeStructVariant);

impl ser::SerializeMap for &mut Scales {
    type Ok = ();
    type Error = Refused;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Refused> {
        key.serialize(&mut **self)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Refused> {
        value.serialize(&mut **self)
    }

    fn end(self) -> Result<(), Refused> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn values_weigh_what_they_hold() {
        #[derive(Serialize)]
        enum Tally {
            Counts(Vec<u64>),
            Named { name: &'static str, sum: Option<i128> },
        }
        assert_eq!(weigh(&7_u32), 4);
        assert_eq!(weigh(&vec![0_i64; 1_000]), HEADER_SIZE + 8_000);
        assert_eq!(weigh(&(1_u8, "abc")), 1 + HEADER_SIZE + 3);
        assert_eq!(weigh(&BTreeMap::from([(1_u16, 2.0_f64)])), HEADER_SIZE + 10);
        assert_eq!(weigh(&Tally::Counts(vec![1])), 8 + HEADER_SIZE + 8);
        assert_eq!(weigh(&Tally::Named { name: "", sum: Some(1) }), 8 + HEADER_SIZE + 16);
    }
}
