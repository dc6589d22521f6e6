//! Results as a stream of Arrow's IPC: what data frames read without parsing text.
//!
//! Each type of column has one Arrow type, but for decimals: a column whose numbers all fit 38 digits at one
//! scale is a `Decimal128` of that scale, another a `Float64`. Values of properties are text here, because a
//! column of Arrow has one type.

use std::sync::Arc;

use arrow_array::builder::{ListBuilder, StringBuilder};
use arrow_array::{
    ArrayRef, BooleanArray, Decimal128Array, Float64Array, RecordBatch, RecordBatchOptions, StringArray,
    UInt32Array, UInt64Array,
};
use arrow_ipc::writer::StreamWriter;
use arrow_schema::{DataType, Field, Schema};

use super::table::{Cell, ColumnType, Table};
use crate::model::{Decimal, Value};

/// Rows of one batch: large enough for whole columns to pay, small enough to be taken piece by piece.
const BATCH_ROW_COUNT_MAX: usize = 1 << 16;

/// Digits of a `Decimal128`, all of which fit its 128 bits.
const DECIMAL_DIGIT_COUNT: u8 = 38;
const _: () = assert!(10_i128.checked_pow(DECIMAL_DIGIT_COUNT as u32).is_some());

/// Writes the table as a stream: the schema, then batches of at most [`BATCH_ROW_COUNT_MAX`] rows.
pub(super) fn arrow_stream(table: &Table) -> Vec<u8> {
    let types: Vec<DataType> = (0..table.columns().len()).map(|column| data_type(table, column)).collect();
    let fields = table.columns().iter().zip(&types);
    let fields = fields.map(|(column, data_type)| Field::new(&column.name, data_type.clone(), true));
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    let rows: Vec<&[Cell]> = table.rows().collect();
    let mut writer = StreamWriter::try_new(Vec::new(), &schema).expect("memory takes writes");
    for rows in rows.chunks(BATCH_ROW_COUNT_MAX) {
        let columns = table.columns().iter().zip(&types).enumerate();
        let arrays = columns
            .map(|(index, (column, data_type))| array(column.column_type, data_type, rows, index))
            .collect();
        let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
        let batch = RecordBatch::try_new_with_options(Arc::clone(&schema), arrays, &options)
            .expect("columns have the types of the schema and one length");
        writer.write(&batch).expect("memory takes writes");
    }
    writer.into_inner().expect("memory takes writes")
}

/// The Arrow type of a column.
fn data_type(table: &Table, column: usize) -> DataType {
    match table.columns()[column].column_type {
        ColumnType::Bool => DataType::Boolean,
        ColumnType::UInt32 => DataType::UInt32,
        ColumnType::UInt64 => DataType::UInt64,
        ColumnType::Float64 => DataType::Float64,
        ColumnType::Decimal => match decimal_scale(table, column) {
            Some(scale) => DataType::Decimal128(DECIMAL_DIGIT_COUNT, scale),
            None => DataType::Float64,
        },
        ColumnType::String | ColumnType::Time | ColumnType::Value => DataType::Utf8,
        ColumnType::StringList => DataType::new_list(DataType::Utf8, true),
    }
}

/// The decimals that tell all numbers of a column exactly, if 38 digits can hold them.
fn decimal_scale(table: &Table, column: usize) -> Option<i8> {
    let decimals = || table.rows().filter_map(move |row| decimal(&row[column]));
    let exponent = decimals().map(Decimal::exponent).min().unwrap_or(0).min(0);
    let scale = i8::try_from(-exponent).ok().filter(|scale| *scale as u8 <= DECIMAL_DIGIT_COUNT)?;
    let bound = 10_u128.pow(u32::from(DECIMAL_DIGIT_COUNT));
    let fits = |number: &Decimal| number.mantissa_at(exponent).is_some_and(|m| m.unsigned_abs() < bound);
    decimals().all(fits).then_some(scale)
}

/// One column of some rows.
fn array(column_type: ColumnType, data_type: &DataType, rows: &[&[Cell]], column: usize) -> ArrayRef {
    let cells = rows.iter().map(|row| &row[column]);
    let count = |cell: &Cell| if let Cell::UInt(count) = cell { Some(*count) } else { None };
    match column_type {
        ColumnType::Bool => {
            let truth = |cell: &Cell| if let Cell::Bool(truth) = cell { Some(*truth) } else { None };
            Arc::new(cells.map(truth).collect::<BooleanArray>())
        }
        ColumnType::UInt32 => {
            let narrow = |count| u32::try_from(count).expect("the column's type bounds it");
            Arc::new(cells.map(|cell| count(cell).map(narrow)).collect::<UInt32Array>())
        }
        ColumnType::UInt64 => Arc::new(cells.map(count).collect::<UInt64Array>()),
        ColumnType::Float64 => {
            let number = |cell: &Cell| match cell {
                Cell::Float(number) => Some(*number).filter(|number| number.is_finite()),
                _ => None,
            };
            Arc::new(cells.map(number).collect::<Float64Array>())
        }
        ColumnType::Decimal => match data_type {
            DataType::Decimal128(digits, scale) => {
                let exponent = -i32::from(*scale);
                let mantissa = |cell: &Cell| {
                    decimal(cell).map(|number| number.mantissa_at(exponent).expect("the scale was chosen so"))
                };
                let array: Decimal128Array = cells.map(mantissa).collect();
                let array = array.with_precision_and_scale(*digits, *scale);
                Arc::new(array.expect("38 digits and a scale within them"))
            }
            _ => {
                let number = |cell: &Cell| decimal(cell).map(Decimal::to_f64);
                Arc::new(cells.map(number).collect::<Float64Array>())
            }
        },
        ColumnType::String | ColumnType::Time | ColumnType::Value => {
            Arc::new(cells.map(text).collect::<StringArray>())
        }
        ColumnType::StringList => {
            let mut lists = ListBuilder::new(StringBuilder::new());
            for cell in cells {
                match cell {
                    Cell::List(elements) => lists.append_value(elements.iter().map(Some)),
                    _ => lists.append_null(),
                }
            }
            Arc::new(lists.finish())
        }
    }
}

fn decimal(cell: &Cell) -> Option<&Decimal> {
    if let Cell::Decimal(number) = cell { Some(number) } else { None }
}

/// A cell as plain text: a string as it is, other values as JSON writes them.
fn text(cell: &Cell) -> Option<String> {
    match cell {
        Cell::Text(text) | Cell::Value(Value::String(text)) => Some(text.clone()),
        Cell::Value(value) => Some(value.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use arrow_array::cast::AsArray;
    use arrow_array::types::{Decimal128Type, Float64Type, UInt32Type, UInt64Type};
    use arrow_array::{Array, ListArray};
    use arrow_ipc::reader::StreamReader;

    use super::*;
    use crate::model::Number;

    fn read(table: &Table) -> (Arc<Schema>, Vec<RecordBatch>) {
        let bytes = arrow_stream(table);
        let reader = StreamReader::try_new(bytes.as_slice(), None).unwrap();
        let schema = reader.schema();
        (schema, reader.map(Result::unwrap).collect())
    }

    fn decimal(text: &str) -> Cell {
        Cell::Decimal(Number::parse(text).unwrap().into())
    }

    #[test]
    fn every_type_of_column_reads_back() {
        let mut table = Table::new([
            ("time", ColumnType::Time),
            ("breakdown", ColumnType::Value),
            ("path", ColumnType::StringList),
            ("step", ColumnType::UInt32),
            ("users", ColumnType::UInt64),
            ("value", ColumnType::Decimal),
            ("rate", ColumnType::Float64),
            ("complete", ColumnType::Bool),
        ]);
        table.push([
            Cell::Text("2024-03-01".into()),
            Cell::Value(Value::from("say \"hi\"")),
            Cell::List(vec!["a".into(), "b".into()]),
            Cell::UInt(7),
            Cell::UInt(u64::MAX),
            decimal("-12.05"),
            Cell::Float(0.5),
            Cell::Bool(true),
        ]);
        table.push([
            Cell::Text("2024-03-02".into()),
            Cell::Value(Value::Bool(true)),
            Cell::List(vec![]),
            Cell::UInt(0),
            Cell::UInt(0),
            decimal("3e2"),
            Cell::Float(f64::NAN),
            Cell::Bool(false),
        ]);
        table.push(vec![Cell::Null; 8]);
        let (schema, batches) = read(&table);
        let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
        assert_eq!(names, ["time", "breakdown", "path", "step", "users", "value", "rate", "complete"]);
        let [batch] = batches.as_slice() else { panic!("{} batches", batches.len()) };
        assert!(batch.columns().iter().all(|column| column.is_null(2)), "the row of nulls");

        let texts = |index: usize| batch.column(index).as_string::<i32>().iter().collect::<Vec<_>>();
        assert_eq!(texts(0), [Some("2024-03-01"), Some("2024-03-02"), None]);
        assert_eq!(texts(1), [Some("say \"hi\""), Some("true"), None]);
        let lists: &ListArray = batch.column(2).as_list();
        assert_eq!(lists.value(0).as_string::<i32>().iter().flatten().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(lists.value_length(1), 0);
        assert_eq!(batch.column(3).as_primitive::<UInt32Type>().values()[..2], [7, 0]);
        assert_eq!(batch.column(4).as_primitive::<UInt64Type>().values()[..2], [u64::MAX, 0]);
        assert_eq!(*batch.column(5).data_type(), DataType::Decimal128(38, 2));
        assert_eq!(batch.column(5).as_primitive::<Decimal128Type>().values()[..2], [-1_205, 30_000]);
        let rates: Vec<_> = batch.column(6).as_primitive::<Float64Type>().iter().collect();
        assert_eq!(rates, [Some(0.5), None, None]);
        assert_eq!(batch.column(7).as_boolean().iter().collect::<Vec<_>>(), [Some(true), Some(false), None]);
    }

    #[test]
    fn decimals_of_too_many_digits_are_doubles() {
        let types = |numbers: &[&str]| {
            let mut table = Table::new([("value", ColumnType::Decimal)]);
            numbers.iter().for_each(|number| table.push([decimal(number)]));
            let (_, batches) = read(&table);
            let column = Arc::clone(batches[0].column(0));
            (column.data_type().clone(), column)
        };
        assert_eq!(types(&["0"]).0, DataType::Decimal128(38, 0));
        let whole = "99999999999999999999999999999999999999";
        assert_eq!(types(&[whole]).0, DataType::Decimal128(38, 0));
        assert_eq!(types(&["1e38"]).0, DataType::Float64);
        let (mixed, column) = types(&[whole, "0.5"]);
        assert_eq!(mixed, DataType::Float64);
        assert_eq!(column.as_primitive::<Float64Type>().values()[..], [1e38, 0.5]);
        assert_eq!(types(&["1e-38"]).0, DataType::Decimal128(38, 38));
        assert_eq!(types(&["1e-39"]).0, DataType::Float64);
        assert_eq!(types(&["1e-300", "1e300"]).0, DataType::Float64);
    }

    #[test]
    fn batches_are_bounded_and_an_empty_table_has_its_schema() {
        let mut table = Table::new([("users", ColumnType::UInt64)]);
        assert_eq!(read(&table).0.fields().len(), 1);
        assert!(read(&table).1.is_empty());
        for count in 0..=BATCH_ROW_COUNT_MAX as u64 {
            table.push([Cell::UInt(count)]);
        }
        let (_, batches) = read(&table);
        let counts: Vec<usize> = batches.iter().map(RecordBatch::num_rows).collect();
        assert_eq!(counts, [BATCH_ROW_COUNT_MAX, 1]);
        assert_eq!(batches[1].column(0).as_primitive::<UInt64Type>().value(0), BATCH_ROW_COUNT_MAX as u64);
    }
}
