//! One property value in bytes. docs/format.md, "Value".

use super::{ByteReader, ByteWriter, DecodeError};
use crate::model::{CellRef, Number, Value};

const NUMBER: u8 = 1;
const WIDE_NUMBER: u8 = 2;
const STRING: u8 = 3;
const FALSE: u8 = 4;
const TRUE: u8 = 5;
const LIST: u8 = 6;

/// Writes one value.
pub fn encode_value(value: &Value, out: &mut ByteWriter) {
    encode_cell(&CellRef::from(value), out);
}

/// Writes one value of a batch.
pub fn encode_cell(cell: &CellRef<'_>, out: &mut ByteWriter) {
    match cell {
        CellRef::Number(number) => {
            match i64::try_from(number.mantissa()) {
                Ok(mantissa) => {
                    out.u8(NUMBER);
                    out.zigzag(mantissa);
                }
                Err(_) => {
                    out.u8(WIDE_NUMBER);
                    out.raw(&number.mantissa().to_le_bytes());
                }
            }
            out.zigzag(i64::from(number.exponent()));
        }
        CellRef::Text(text) => {
            out.u8(STRING);
            out.text(text);
        }
        CellRef::Bool(truth) => out.u8(if *truth { TRUE } else { FALSE }),
        CellRef::List(elements) => {
            out.u8(LIST);
            out.varint(elements.len() as u64);
            for element in elements {
                encode_cell(element, out);
            }
        }
    }
}

/// Reads one value.
pub fn decode_value(reader: &mut ByteReader<'_>) -> Result<Value, DecodeError> {
    decode(reader, true)
}

fn decode(reader: &mut ByteReader<'_>, may_be_list: bool) -> Result<Value, DecodeError> {
    let number = |reader: &mut ByteReader<'_>, mantissa: i128| {
        let exponent =
            i32::try_from(reader.zigzag()?).map_err(|_| reader.malformed("an exponent is out of range"))?;
        let number =
            Number::new(mantissa, exponent).map_err(|_| reader.malformed("a number is out of range"))?;
        Ok(Value::Number(number))
    };
    match reader.u8()? {
        NUMBER => {
            let mantissa = i128::from(reader.zigzag()?);
            number(reader, mantissa)
        }
        WIDE_NUMBER => {
            let mantissa = i128::from_le_bytes(reader.raw(16)?.try_into().expect("sixteen bytes"));
            number(reader, mantissa)
        }
        STRING => Ok(Value::String(reader.text()?.to_owned())),
        FALSE => Ok(Value::Bool(false)),
        TRUE => Ok(Value::Bool(true)),
        LIST if may_be_list => {
            let count = reader.count(1)?;
            Ok(Value::List((0..count).map(|_| decode(reader, false)).collect::<Result<_, _>>()?))
        }
        _ => Err(reader.malformed("a value has an unknown type")),
    }
}
