//! Reads the rows of a Parquet file as JSON objects, for files whose rows are more than a table.

use std::io;
use std::path::Path;

use arrow_array::RecordBatch;
use parquet::arrow::arrow_reader::{
    ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
};
use parquet::errors::ParquetError;

use super::cells::value_at;
use super::columns::{leaf_array, leaves};
use super::{is_within, sound};
use crate::api::{Json, Problem, ProblemClass};
use crate::io::open_outside;
use crate::model::Value;

/// Rows that are decoded at once.
const DECODED_ROW_COUNT: usize = 4_096;

/// The rows of a file, in order.
pub(in crate::ingest) struct ParquetObjects {
    reader: ParquetRecordBatchReader,
    names: Vec<String>,
    decoded: Option<(RecordBatch, usize)>,
}

impl ParquetObjects {
    pub fn open(path: &Path) -> Result<ParquetObjects, Problem> {
        let wrong =
            |error: ParquetError| Problem::invalid(format!("it is not a sound Parquet file: {error}"));
        let file = open_outside(path).map_err(|error| Problem::new(ProblemClass::Io, error.to_string()))?;
        let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
        let size = file.size();
        let builder = sound(|| ParquetRecordBatchReaderBuilder::try_new_with_options(file, options));
        let builder = builder.map_err(wrong)?;
        if !is_within(builder.metadata(), size) {
            return Err(wrong(ParquetError::General("its columns lie outside it".to_owned())));
        }
        let names = leaves(builder.schema().fields()).into_iter().map(|leaf| leaf.name).collect();
        let reader = sound(|| builder.with_batch_size(DECODED_ROW_COUNT).build()).map_err(wrong)?;
        Ok(ParquetObjects { reader, names, decoded: None })
    }

    /// The next row. Columns of types that are not read are not in it.
    pub fn next_object(&mut self) -> io::Result<Option<Json>> {
        let (batch, row) = match self.decoded.take() {
            Some((batch, row)) if row < batch.num_rows() => (batch, row),
            _ => match sound(|| self.reader.next().transpose().map_err(ParquetError::from)) {
                Ok(None) => return Ok(None),
                Ok(Some(batch)) => (batch, 0),
                Err(error) => return Err(io::Error::other(error)),
            },
        };
        let field = |name: &String| {
            let value = value_at(&leaf_array(&batch, name)?, row).ok()??;
            Some((name.clone(), json_of(&value)))
        };
        let object = Json::Object(self.names.iter().filter_map(field).collect());
        self.decoded = Some((batch, row + 1));
        Ok(Some(object))
    }
}

fn json_of(value: &Value) -> Json {
    match value {
        Value::Number(number) => Json::Number(*number),
        Value::String(text) => Json::String(text.clone()),
        Value::Bool(truth) => Json::Bool(*truth),
        Value::List(elements) => Json::Array(elements.iter().map(json_of).collect()),
    }
}
