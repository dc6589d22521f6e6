//! Reads the rows of a Parquet file as events, one row group after the other and column by column.
//!
//! A name, an id or a value that a dictionary of the file holds is looked at once for all rows that share it. Columns
//! of structures go by dotted names. Nothing but the row group being read is in memory, and of it only the columns
//! that are wanted.

mod cells;
mod columns;
mod objects;

use std::io::{self, BufReader, Seek, SeekFrom};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow_array::RecordBatch;
use arrow_schema::{DataType, Field, Fields, Schema, SchemaRef};
use bytes::Bytes;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
};
use parquet::basic::{Encoding, EncodingMask};
use parquet::errors::ParquetError;
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData};
use parquet::file::reader::{ChunkReader, Length};

use self::columns::{Columns, leaves};
pub(super) use self::objects::ParquetObjects;
use super::mapping::Mapping;
use super::rows::{Filling, RowIds};
use super::table::{Cell, Plan};
use crate::api::{Problem, ProblemClass};
use crate::io::{OutsideFile, open_outside};

/// Bytes of a row group's rows, uncompressed, that are decoded at once.
const DECODED_SIZE: usize = 16 << 20;
/// Rows that are decoded at once at most.
const DECODED_ROW_COUNT_MAX: usize = 20_000;

/// A Parquet file and what its columns become.
pub(super) struct ParquetTable {
    file: OutsideFile,
    metadata: ArrowReaderMetadata,
    /// The columns that are read, of those of the file.
    mask: ProjectionMask,
    plan: Plan,
    /// The row group to be opened next.
    next_group: usize,
    group: Option<ParquetRecordBatchReader>,
    /// Rows that were decoded, and how many of them were taken.
    decoded: Option<(RecordBatch, usize)>,
    row_count: u64,
    consumed: Arc<AtomicU64>,
}

impl ParquetTable {
    /// Opens the file. Fails if it is none, or if the mapping asks for columns that it does not have, or leaves an event
    /// without a name, a user or a time.
    pub fn open(path: &Path, mapping: &Mapping, consumed: Arc<AtomicU64>) -> Result<ParquetTable, Problem> {
        let wrong =
            |error: ParquetError| Problem::invalid(format!("it is not a sound Parquet file: {error}"));
        let file = open_outside(path).map_err(|error| Problem::new(ProblemClass::Io, error.to_string()))?;
        let size = file.size();
        // Without the schema of Arrow that writers leave in the file: what it adds (dictionaries, large strings) is
        // about their memory and not about ours.
        let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
        let metadata = sound(|| ArrowReaderMetadata::load(&file, options)).map_err(wrong)?;
        if !is_within(metadata.metadata(), size) {
            return Err(wrong(ParquetError::General("its columns lie outside it".to_owned())));
        }
        let schema = with_dictionaries(&metadata);
        let options = ArrowReaderOptions::new().with_schema(schema);
        let metadata = sound(|| ArrowReaderMetadata::try_new(Arc::clone(metadata.metadata()), options));
        let metadata = metadata.map_err(wrong)?;

        let leaves = leaves(metadata.schema().fields());
        let names = leaves.iter().map(|leaf| leaf.name.clone()).collect();
        let plan = Plan::new(names, mapping)?;
        let roots = wanted(&plan).map(|index| leaves[index].path[0]);
        let mask = ProjectionMask::roots(metadata.parquet_schema(), roots);
        Ok(ParquetTable {
            file,
            metadata,
            mask,
            plan,
            next_group: 0,
            group: None,
            decoded: None,
            row_count: 0,
            consumed,
        })
    }

    /// Reads rows until the chunk is full or the file ends.
    pub fn fill(&mut self, filling: &mut Filling, row_ids: &mut Option<RowIds>) -> io::Result<()> {
        while !filling.is_full() {
            let Some((batch, taken)) = self.next_decoded()? else { break };
            let columns = Columns::new(&self.plan, &batch);
            let first_line = self.row_count + 1;
            let end = columns.take(taken, first_line, filling, row_ids);
            self.row_count += (end - taken) as u64;
            filling.chunk.line = self.row_count;
            if end < batch.num_rows() {
                self.decoded = Some((batch, end));
            }
        }
        Ok(())
    }

    /// Rows that are decoded, and from which of them on they are still to be taken.
    fn next_decoded(&mut self) -> io::Result<Option<(RecordBatch, usize)>> {
        if let Some(decoded) = self.decoded.take() {
            return Ok(Some(decoded));
        }
        loop {
            if let Some(group) = &mut self.group {
                match sound(|| group.next().transpose().map_err(ParquetError::from)) {
                    Ok(Some(batch)) => return Ok(Some((batch, 0))),
                    Ok(None) => self.group = None,
                    Err(error) => {
                        // What a reader that stopped half way would give next, nobody knows.
                        (self.group, self.next_group) = (None, usize::MAX);
                        return Err(io::Error::other(error));
                    }
                }
            }
            let groups = self.metadata.metadata().row_groups();
            let Some(group) = groups.get(self.next_group) else { return Ok(None) };
            let row_size = group.total_byte_size() as usize / (group.num_rows().max(1) as usize);
            let batch_size = (DECODED_SIZE / row_size.max(1)).clamp(1, DECODED_ROW_COUNT_MAX);
            let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(
                self.file.try_clone()?,
                self.metadata.clone(),
            );
            let builder = builder
                .with_row_groups(vec![self.next_group])
                .with_projection(self.mask.clone())
                .with_batch_size(batch_size);
            self.group = Some(sound(|| builder.build()).map_err(io::Error::other)?);
            self.consumed.fetch_add(group.compressed_size() as u64, Ordering::Relaxed);
            self.next_group += 1;
        }
    }
}

impl Length for OutsideFile {
    fn len(&self) -> u64 {
        self.size()
    }
}

impl ChunkReader for OutsideFile {
    type T = BufReader<OutsideFile>;

    fn get_read(&self, start: u64) -> parquet::errors::Result<Self::T> {
        let mut file = self.try_clone()?;
        file.seek(SeekFrom::Start(start))?;
        Ok(BufReader::new(file))
    }

    fn get_bytes(&self, start: u64, length: usize) -> parquet::errors::Result<Bytes> {
        Ok(self.read_range(start, length)?)
    }
}

/// Reads, and turns the panic that the reader of a damaged file may end in into an error (`total-decoders`).
fn sound<T>(read: impl FnOnce() -> Result<T, ParquetError>) -> Result<T, ParquetError> {
    // What was half done by a panic is dropped and never looked at.
    let read = catch_unwind(AssertUnwindSafe(read));
    read.unwrap_or_else(|_| Err(ParquetError::General("its parts contradict each other".to_owned())))
}

/// Whether what the metadata says of sizes can be so in a file of `size` bytes. Nothing is reserved on the word of a
/// length that cannot be.
fn is_within(metadata: &ParquetMetaData, size: u64) -> bool {
    let is_size = |stated: i64| u64::try_from(stated).is_ok_and(|stated| stated <= size);
    metadata.row_groups().iter().all(|group| {
        u32::try_from(group.num_rows()).is_ok()
            && group.total_byte_size() >= 0
            && group.columns().iter().all(|chunk| {
                is_size(chunk.compressed_size())
                    && is_size(chunk.data_page_offset())
                    && chunk.dictionary_page_offset().is_none_or(is_size)
            })
    })
}

/// The places of the leaf columns that the plan reads.
fn wanted(plan: &Plan) -> impl Iterator<Item = usize> {
    let cells = plan.heads.iter().flatten().chain(plan.properties.iter().map(|property| &property.cell));
    cells.filter_map(|cell| if let Cell::Column(index) = cell { Some(*index) } else { None })
}

/// The file's schema, in which texts that the file keeps as codes are to be read as codes.
fn with_dictionaries(metadata: &ArrowReaderMetadata) -> SchemaRef {
    let parquet = metadata.metadata();
    let is_coded = |column: &str| {
        parquet.row_groups().iter().all(|group| {
            group
                .columns()
                .iter()
                .any(|chunk| chunk.column_path().parts() == [column] && is_coded_throughout(chunk))
        })
    };
    let hint = |field: &Arc<Field>| match field.data_type() {
        DataType::Utf8 if is_coded(field.name()) => {
            let codes = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
            Arc::new(field.as_ref().clone().with_data_type(codes))
        }
        _ => Arc::clone(field),
    };
    let fields: Fields = metadata.schema().fields().iter().map(hint).collect();
    Arc::new(Schema::new(fields))
}

/// Whether every page of a column holds codes. A writer whose dictionary grows too large goes on with plain pages.
fn is_coded_throughout(chunk: &ColumnChunkMetaData) -> bool {
    // Older writers still name it by its first name.
    let is_code = |mask: &EncodingMask| {
        mask.is_only(Encoding::RLE_DICTIONARY) || mask.is_only(Encoding::PLAIN_DICTIONARY)
    };
    chunk.dictionary_page_offset().is_some() && chunk.page_encoding_stats_mask().is_some_and(is_code)
}
