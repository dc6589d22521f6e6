//! The values of single columns, whatever their type, ready to be put into a batch row by row.

use std::borrow::Cow;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Date32Type, Date64Type, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type,
    Int64Type, TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType,
    TimestampSecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{Array, ArrayRef, BooleanArray, StringArray};
use arrow_buffer::NullBuffer;
use arrow_schema::{DataType, TimeUnit};
use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::ingest::event::check_size;
use crate::ingest::fault::Fault;
use crate::ingest::properties::check_value_text;
use crate::ingest::times::TimeReader;
use crate::limits::LIST_ELEMENT_COUNT_MAX;
use crate::model::{CellRef, DAY_MS, EventBatch, Number, SharedValue, TimeMs, Value, checked_time};

/// A column of texts: each for itself, or codes of a dictionary.
#[derive(Clone, Debug)]
pub(super) enum Texts {
    Plain(StringArray),
    Coded { keys: Vec<i32>, nulls: Option<NullBuffer>, values: StringArray },
}

impl Texts {
    fn of(array: &ArrayRef) -> Option<Texts> {
        if let Some(texts) = array.as_string_opt::<i32>() {
            return Some(Texts::Plain(texts.clone()));
        }
        let coded = array.as_dictionary_opt::<Int32Type>()?;
        let values = coded.values().as_string_opt::<i32>()?.clone();
        Some(Texts::Coded { keys: coded.keys().values().to_vec(), nulls: coded.nulls().cloned(), values })
    }

    /// Distinct texts that rows may share; none if each row has its own.
    fn code_count(&self) -> usize {
        if let Texts::Coded { values, .. } = self { values.len() } else { 0 }
    }

    /// The code of a row, where there are codes and it has one.
    fn code(&self, row: usize) -> Option<usize> {
        match self {
            Texts::Plain(_) => None,
            Texts::Coded { keys, nulls, .. } => {
                let is_there = nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row));
                is_there.then(|| keys[row] as usize)
            }
        }
    }

    fn get(&self, row: usize) -> Option<&str> {
        match self {
            Texts::Plain(texts) => texts.is_valid(row).then(|| texts.value(row)),
            Texts::Coded { values, .. } => {
                self.code(row).filter(|code| values.is_valid(*code)).map(|code| values.value(code))
            }
        }
    }
}

/// A field of the event that is a text: its name, or an id. `T` is what a batch shares of it.
pub(super) struct Heads<'a, T> {
    field: &'static str,
    size_max: usize,
    source: HeadSource<'a>,
    /// By code: what was shared already.
    shared: Vec<Option<T>>,
}

enum HeadSource<'a> {
    Missing,
    Constant(&'a str),
    Texts(Texts),
    /// Numbers and the like, as text.
    Cells(Cells<'a>),
}

impl<'a, T> Heads<'a, T> {
    fn new(field: &'static str, size_max: usize, source: HeadSource<'a>) -> Heads<'a, T> {
        let count = match &source {
            HeadSource::Missing | HeadSource::Cells(_) => 0,
            HeadSource::Constant(_) => 1,
            HeadSource::Texts(texts) => texts.code_count(),
        };
        Heads { field, size_max, source, shared: (0..count).map(|_| None).collect() }
    }

    pub fn missing(field: &'static str, size_max: usize) -> Heads<'a, T> {
        Heads::new(field, size_max, HeadSource::Missing)
    }

    pub fn constant(text: &'a str, field: &'static str, size_max: usize) -> Heads<'a, T> {
        Heads::new(field, size_max, HeadSource::Constant(text))
    }

    pub fn of(array: &'a ArrayRef, field: &'static str, size_max: usize) -> Heads<'a, T> {
        let source = match Texts::of(array) {
            Some(texts) => HeadSource::Texts(texts),
            None => HeadSource::Cells(Cells::of(array, true)),
        };
        Heads::new(field, size_max, source)
    }

    /// What the batch shares of a row's text, made by `share` where it is new. An empty text is none.
    pub fn get(
        &mut self,
        row: usize,
        batch: &mut EventBatch,
        share: impl Fn(&mut EventBatch, &str) -> T,
    ) -> Result<Option<T>, Fault>
    where
        T: Copy,
    {
        let code = match &self.source {
            HeadSource::Missing => return Ok(None),
            HeadSource::Constant(_) => Some(0),
            HeadSource::Texts(texts) => texts.code(row),
            HeadSource::Cells(_) => None,
        };
        if let Some(shared) = code.and_then(|code| self.shared[code]) {
            return Ok(Some(shared));
        }
        let text = match &self.source {
            HeadSource::Missing => None,
            HeadSource::Constant(text) => Some(Cow::Borrowed(*text)),
            HeadSource::Texts(texts) => texts.get(row).map(Cow::Borrowed),
            HeadSource::Cells(cells) => cells.text(row),
        };
        let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok(None) };
        check_size(self.field, &text, self.size_max).map_err(|fault| fault.at(self.field))?;
        let shared = share(batch, &text);
        if let Some(code) = code {
            self.shared[code] = Some(shared);
        }
        Ok(Some(shared))
    }
}

/// The moments of rows.
pub(super) enum Times<'a> {
    /// Counts since 1970 and how many of them a millisecond has, or the other way round.
    Counted { counts: Vec<i64>, nulls: Option<NullBuffer>, unit: CountUnit, zone: Option<&'a TimeZone> },
    /// Texts and numbers of a unit that the user says.
    Read { cells: Cells<'a>, reader: &'a TimeReader, last: Option<(String, TimeMs)> },
}

/// What a count of time counts.
#[derive(Clone, Copy, Debug)]
pub(super) enum CountUnit {
    /// So many milliseconds.
    Milliseconds(i64),
    /// So many to a millisecond.
    PerMillisecond(i64),
}

impl CountUnit {
    fn ms(self, count: i64) -> Option<i64> {
        match self {
            CountUnit::Milliseconds(ms) => count.checked_mul(ms),
            CountUnit::PerMillisecond(divisor) => Some(count.div_euclid(divisor)),
        }
    }
}

impl<'a> Times<'a> {
    pub fn constant(text: &'a str, reader: &'a TimeReader) -> Times<'a> {
        Times::Read { cells: Cells::constant(Some(CellRef::Text(text))), reader, last: None }
    }

    pub fn of(array: &'a ArrayRef, reader: &'a TimeReader) -> Times<'a> {
        let Some((counts, unit)) = counts(array) else {
            return Times::Read { cells: Cells::of(array, true), reader, last: None };
        };
        // A moment without a zone, and a date, is what a clock on the wall showed.
        let is_local = !matches!(array.data_type(), DataType::Timestamp(_, Some(_)));
        let zone = Some(&reader.zone).filter(|zone| is_local && **zone != TimeZone::UTC);
        Times::Counted { counts, nulls: array.nulls().cloned(), unit, zone }
    }

    pub fn get(&mut self, row: usize) -> Result<TimeMs, Fault> {
        let missing = || Fault::new("the time is missing");
        match self {
            Times::Counted { counts, nulls, unit, zone } => {
                if nulls.as_ref().is_some_and(|nulls| nulls.is_null(row)) {
                    return Err(missing());
                }
                let ms = unit.ms(counts[row]).and_then(checked_time);
                let ms = match zone {
                    None => ms,
                    Some(zone) => ms.and_then(|ms| from_local(ms, zone)),
                };
                ms.ok_or_else(|| Fault::new("the time is outside 1900-01-01 to 2200-01-01"))
            }
            Times::Read { cells, reader, last } => {
                let text = cells.text(row).ok_or_else(missing)?;
                if let Some((known, time)) = last
                    && *known == *text
                {
                    return Ok(*time);
                }
                let time = reader.read(text.trim())?;
                *last = Some((text.into_owned(), time));
                Ok(time)
            }
        }
    }
}

/// The moment at which a clock in `zone` showed what a clock in UTC shows at `ms`.
fn from_local(ms: TimeMs, zone: &TimeZone) -> Option<TimeMs> {
    let shown = TimeZone::UTC.to_datetime(Timestamp::from_millisecond(ms).ok()?);
    checked_time(zone.to_timestamp(shown).ok()?.as_millisecond())
}

/// The counts of a column of moments or dates.
fn counts(array: &ArrayRef) -> Option<(Vec<i64>, CountUnit)> {
    Some(match array.data_type() {
        DataType::Timestamp(TimeUnit::Second, _) => {
            (array.as_primitive::<TimestampSecondType>().values().to_vec(), CountUnit::Milliseconds(1_000))
        }
        DataType::Timestamp(TimeUnit::Millisecond, _) => {
            (array.as_primitive::<TimestampMillisecondType>().values().to_vec(), CountUnit::Milliseconds(1))
        }
        DataType::Timestamp(TimeUnit::Microsecond, _) => (
            array.as_primitive::<TimestampMicrosecondType>().values().to_vec(),
            CountUnit::PerMillisecond(1_000),
        ),
        DataType::Timestamp(TimeUnit::Nanosecond, _) => (
            array.as_primitive::<TimestampNanosecondType>().values().to_vec(),
            CountUnit::PerMillisecond(1_000_000),
        ),
        DataType::Date32 => {
            let days =
                array.as_primitive::<Date32Type>().values().iter().map(|day| i64::from(*day)).collect();
            (days, CountUnit::Milliseconds(DAY_MS))
        }
        DataType::Date64 => {
            (array.as_primitive::<Date64Type>().values().to_vec(), CountUnit::Milliseconds(1))
        }
        _ => return None,
    })
}

/// The values of a column.
pub(super) enum Cells<'a> {
    Constant {
        value: Option<CellRef<'a>>,
        shared: Option<SharedValue>,
    },
    /// Texts as they are; a table of text could not say otherwise, but a file of columns has types.
    Texts {
        texts: Texts,
        shared: Vec<Option<SharedValue>>,
    },
    Bools(BooleanArray),
    Integers {
        values: Vec<i64>,
        nulls: Option<NullBuffer>,
    },
    Floats {
        values: Vec<f64>,
        nulls: Option<NullBuffer>,
    },
    /// Any other type, value by value.
    Others {
        array: &'a ArrayRef,
        is_text: bool,
    },
}

impl<'a> Cells<'a> {
    pub fn constant(value: Option<CellRef<'a>>) -> Cells<'a> {
        Cells::Constant { value, shared: None }
    }

    /// Reads a column. With `is_text` its numbers are told as text.
    pub fn of(array: &'a ArrayRef, is_text: bool) -> Cells<'a> {
        if let Some(texts) = Texts::of(array) {
            let shared = vec![None; texts.code_count()];
            return Cells::Texts { texts, shared };
        }
        if is_text {
            return Cells::Others { array, is_text };
        }
        if let Some(values) = integers(array) {
            return Cells::Integers { values, nulls: array.nulls().cloned() };
        }
        if let Some(values) = floats(array) {
            return Cells::Floats { values, nulls: array.nulls().cloned() };
        }
        match array.as_boolean_opt() {
            Some(truths) => Cells::Bools(truths.clone()),
            None => Cells::Others { array, is_text },
        }
    }

    /// What the batch shares of a row's value; nothing for a null, and for a number that is none.
    pub fn get(&mut self, row: usize, batch: &mut EventBatch) -> Result<Option<SharedValue>, Fault> {
        let is_null = |nulls: &Option<NullBuffer>| nulls.as_ref().is_some_and(|nulls| nulls.is_null(row));
        Ok(match self {
            Cells::Constant { value, shared } => {
                if shared.is_none() {
                    *shared = value.as_ref().map(|value| batch.share_value(value));
                }
                // What is shared belongs to one batch, and a column is made anew for each.
                *shared
            }
            Cells::Texts { texts, shared } => {
                let code = texts.code(row);
                if let Some(known) = code.and_then(|code| shared[code]) {
                    return Ok(Some(known));
                }
                let Some(text) = texts.get(row) else { return Ok(None) };
                check_value_text(text)?;
                let value = batch.share_value(&CellRef::Text(text));
                if let Some(code) = code {
                    shared[code] = Some(value);
                }
                Some(value)
            }
            Cells::Bools(truths) => {
                truths.is_valid(row).then(|| batch.share_value(&CellRef::Bool(truths.value(row))))
            }
            Cells::Integers { nulls, .. } | Cells::Floats { nulls, .. } if is_null(nulls) => None,
            Cells::Integers { values, .. } => {
                Some(batch.share_value(&CellRef::Number(Number::from(values[row]))))
            }
            Cells::Floats { values, .. } => {
                decimal(values[row]).map(|number| batch.share_value(&CellRef::Number(number)))
            }
            Cells::Others { array, is_text } => match value_at(array, row)? {
                Some(Value::Number(number)) if *is_text => {
                    Some(batch.share_value(&CellRef::Text(&number.to_string())))
                }
                Some(value) => Some(batch.share_value(&CellRef::from(&value))),
                None => None,
            },
        })
    }

    /// The value of a row as text; nothing for a null, and for a list.
    pub fn text(&self, row: usize) -> Option<Cow<'_, str>> {
        match self {
            Cells::Texts { texts, .. } => texts.get(row).map(Cow::Borrowed),
            Cells::Constant { value: Some(CellRef::Text(text)), .. } => Some(Cow::Borrowed(text)),
            Cells::Constant { value, .. } => value.as_ref().and_then(|value| text_of(value.to_value())),
            Cells::Bools(truths) => truths.is_valid(row).then(|| truths.value(row).to_string().into()),
            Cells::Integers { values, nulls } => {
                let is_there = nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row));
                is_there.then(|| values[row].to_string().into())
            }
            Cells::Floats { values, nulls } => {
                let is_there = nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row));
                is_there.then(|| decimal(values[row])).flatten().map(|number| number.to_string().into())
            }
            Cells::Others { array, .. } => value_at(array, row).ok().flatten().and_then(text_of),
        }
    }
}

fn text_of(value: Value) -> Option<Cow<'static, str>> {
    match value {
        Value::String(text) => Some(text.into()),
        Value::List(_) => None,
        scalar => Some(scalar.to_string().into()),
    }
}

/// The integers of a column that holds integers of at most 64 bits.
fn integers(array: &ArrayRef) -> Option<Vec<i64>> {
    macro_rules! widened {
        ($type:ty) => {
            array.as_primitive::<$type>().values().iter().map(|value| i64::from(*value)).collect()
        };
    }
    Some(match array.data_type() {
        DataType::Int8 => widened!(Int8Type),
        DataType::Int16 => widened!(Int16Type),
        DataType::Int32 => widened!(Int32Type),
        DataType::Int64 => array.as_primitive::<Int64Type>().values().to_vec(),
        DataType::UInt8 => widened!(UInt8Type),
        DataType::UInt16 => widened!(UInt16Type),
        DataType::UInt32 => widened!(UInt32Type),
        _ => return None,
    })
}

fn floats(array: &ArrayRef) -> Option<Vec<f64>> {
    match array.data_type() {
        DataType::Float64 => Some(array.as_primitive::<Float64Type>().values().to_vec()),
        // The decimal that it prints as, not the double's: 0.1 and not 0.10000000149011612.
        DataType::Float32 => {
            let values = array.as_primitive::<Float32Type>().values();
            Some(values.iter().map(|value| value.to_string().parse().unwrap_or(f64::NAN)).collect())
        }
        _ => None,
    }
}

/// The decimal that a double prints as.
///
/// Most have few decimals. A decimal of at most 15 digits is the only one of so few that reads as its double, so the
/// first that does is what the double prints as.
fn decimal(value: f64) -> Option<Number> {
    const EXACT_END: f64 = 1e15;
    const POWERS: [f64; 7] = [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6];
    for (decimals, power) in POWERS.iter().enumerate() {
        let mantissa = (value * power).round();
        if mantissa.abs() < EXACT_END && mantissa / power == value {
            return Number::new(mantissa as i128, -(decimals as i32)).ok();
        }
    }
    Number::from_f64(value)
}

/// A value of any type: numbers exactly, moments and dates as text, lists of those, and nothing for a null.
pub(super) fn value_at(array: &ArrayRef, row: usize) -> Result<Option<Value>, Fault> {
    if array.is_null(row) {
        return Ok(None);
    }
    let number = |mantissa: i128, exponent: i32| {
        Number::new(mantissa, exponent)
            .map(|number| Some(number.into()))
            .map_err(|e| Fault::new(e.to_string()))
    };
    if let Some(texts) = Texts::of(array) {
        return Ok(texts.get(row).map(Value::from));
    }
    if let Some((counts, unit)) = counts(array) {
        let ms = unit.ms(counts[row]).and_then(|ms| Timestamp::from_millisecond(ms).ok());
        let moment = ms.ok_or_else(|| Fault::new("the time is out of bounds"))?;
        let is_date = matches!(array.data_type(), DataType::Date32 | DataType::Date64);
        let text =
            if is_date { TimeZone::UTC.to_datetime(moment).date().to_string() } else { moment.to_string() };
        return Ok(Some(Value::String(text)));
    }
    if let Some(elements) = elements(array, row) {
        if elements.len() > LIST_ELEMENT_COUNT_MAX {
            return Err(Fault::new(format!("the list has more than {LIST_ELEMENT_COUNT_MAX} elements")));
        }
        let values = (0..elements.len()).filter_map(|index| value_at(&elements, index).transpose());
        let values: Vec<Value> = values.collect::<Result<_, _>>()?;
        return match values.iter().any(|value| matches!(value, Value::List(_))) {
            true => Err(Fault::new("a list holds strings, numbers and booleans; found an array")),
            false => Ok(Some(Value::List(values))),
        };
    }
    match array.data_type() {
        DataType::Boolean => Ok(Some(array.as_boolean().value(row).into())),
        DataType::UInt64 => number(array.as_primitive::<UInt64Type>().value(row).into(), 0),
        DataType::Decimal128(_, scale) => {
            number(array.as_primitive::<Decimal128Type>().value(row), -i32::from(*scale))
        }
        other => match (integers(&array.slice(row, 1)), floats(&array.slice(row, 1))) {
            (Some(values), _) => Ok(Some(values[0].into())),
            (None, Some(values)) => Ok(decimal(values[0]).map(Value::Number)),
            (None, None) => Err(Fault::new(format!("values of the type {other} are not read")).hint(
                "leave the column out with --only-mapped, or cast it to text when the file is written",
            )),
        },
    }
}

/// The elements of a row's list.
fn elements(array: &ArrayRef, row: usize) -> Option<ArrayRef> {
    if let Some(list) = array.as_list_opt::<i32>() {
        return Some(list.value(row));
    }
    if let Some(list) = array.as_list_opt::<i64>() {
        return Some(list.value(row));
    }
    array.as_fixed_size_list_opt().map(|list| list.value(row))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_double_is_the_decimal_that_it_prints_as(value: f64, mantissa in -10_000_000_i64..10_000_000, decimals in 0_i32..9) {
            prop_assert_eq!(decimal(value), Number::from_f64(value));
            let short = mantissa as f64 / 10_f64.powi(decimals);
            prop_assert_eq!(decimal(short), Number::from_f64(short));
        }
    }
}
