//! Writes one segment: sections as they come, then the directory that finds them.

use std::io::{self, Write};

use super::group::{ColumnData, GroupData};
use super::layout::{
    ColumnMeta, Directory, FILE_KIND, GroupMeta, PropertyEncoding, PropertyMeta, SECTION_ALIGNMENT, Section,
    SectionIndex, TRAILER_MAGIC,
};
use super::values::encode_values;
use super::{ACTIVITY_DAY_BITS, RowKind, TASK_USER_BITS};
use crate::format::{ByteWriter, HEADER_SIZE, checksum, encode_ints, encode_sorted_ints};
use crate::model::Value;

const _: () = assert!(TASK_USER_BITS + ACTIVITY_DAY_BITS == 32, "an activity key within a task fits a u32");

/// A segment being written. Properties come first, then groups in ascending order of name, then `finish`.
#[derive(Debug)]
pub struct SegmentWriter<W> {
    sink: W,
    offset: u64,
    directory: Directory,
}

impl<W: Write> SegmentWriter<W> {
    pub(super) fn new(mut sink: W, kind: RowKind) -> io::Result<SegmentWriter<W>> {
        sink.write_all(FILE_KIND.header().as_slice())?;
        let directory = Directory {
            kind,
            sections: Vec::new(),
            properties: Vec::new(),
            groups: Vec::new(),
            activity: None,
            activity_count: 0,
        };
        Ok(SegmentWriter { sink, offset: HEADER_SIZE as u64, directory })
    }

    fn section(&mut self, bytes: &[u8]) -> io::Result<SectionIndex> {
        let section = Section { offset: self.offset, size: bytes.len() as u64, checksum: checksum(bytes) };
        self.sink.write_all(bytes)?;
        let padding = bytes.len().next_multiple_of(SECTION_ALIGNMENT) - bytes.len();
        self.sink.write_all(&[0; SECTION_ALIGNMENT][..padding])?;
        self.offset += (bytes.len() + padding) as u64;
        self.directory.sections.push(section);
        Ok(self.directory.sections.len() as u32 - 1)
    }

    /// Adds a property whose columns hold codes into these values, sorted and distinct.
    pub(super) fn coded_property(&mut self, name: &str, values: &[&Value]) -> io::Result<()> {
        debug_assert!(values.is_sorted_by(|a, b| a < b), "values are sorted and distinct");
        let section = self.section(&encode_values(values.iter().copied()))?;
        self.property(name, PropertyEncoding::Codes, Some(section), values.len() as u64);
        Ok(())
    }

    /// Adds a property whose columns hold mantissas at this exponent.
    pub(super) fn number_property(&mut self, name: &str, exponent: i32) {
        self.property(name, PropertyEncoding::Numbers { exponent }, None, 0);
    }

    fn property(
        &mut self,
        name: &str,
        encoding: PropertyEncoding,
        values: Option<SectionIndex>,
        value_count: u64,
    ) {
        debug_assert!(self.directory.properties.last().is_none_or(|last| last.name.as_str() < name));
        self.directory.properties.push(PropertyMeta { name: name.to_owned(), encoding, values, value_count });
    }

    /// Adds the rows of an event name. A group without rows is left out.
    pub(super) fn group(&mut self, group: &GroupData) -> io::Result<()> {
        debug_assert!(self.directory.groups.last().is_none_or(|last| last.name < group.name));
        debug_assert!(
            (1..group.row_count())
                .all(|i| (group.users[i - 1], group.times[i - 1]) <= (group.users[i], group.times[i])),
            "ordered-runs"
        );
        let (Some(user_min), Some(user_max)) = (group.users.first(), group.users.last()) else {
            return Ok(());
        };
        let time_min = *group.times.iter().min().expect("there are rows");
        let time_max = *group.times.iter().max().expect("there are rows");
        let users = self.section(&group.encode_users())?;
        let times = self.section(&group.encode_times(time_min))?;
        let accounts = match group.accounts.iter().any(|account| *account != 0) {
            true => Some(self.section(&encode_ints(&widened(&group.accounts)))?),
            false => None,
        };
        let (ids, arrivals) = match group.ids.is_empty() {
            true => (None, None),
            false => {
                (Some(self.section(&group.ids.encode())?), Some(self.section(&encode_ints(&group.arrivals))?))
            }
        };
        let mut columns = Vec::with_capacity(group.columns.len());
        for (property, data) in &group.columns {
            columns.push(self.column(*property, data)?);
        }
        self.directory.groups.push(GroupMeta {
            name: group.name.clone(),
            row_count: group.row_count() as u64,
            time_min,
            time_max,
            user_min: *user_min,
            user_max: *user_max,
            users,
            times,
            accounts,
            ids,
            arrivals,
            columns,
        });
        Ok(())
    }

    fn column(&mut self, property: u32, data: &ColumnData) -> io::Result<ColumnMeta> {
        Ok(match data {
            ColumnData::Codes(codes) => {
                let data = self.section(&encode_ints(&widened(codes)))?;
                ColumnMeta { property, data, mantissa_min: 0, mantissa_max: 0, presence: None }
            }
            ColumnData::Numbers(mantissas) => {
                let known = || mantissas.iter().flatten().copied();
                let (min, max) = (known().min().unwrap_or(0), known().max().unwrap_or(0));
                let relative: Vec<u64> =
                    mantissas.iter().map(|m| m.map_or(0, |m| m.wrapping_sub(min) as u64)).collect();
                let data = self.section(&encode_ints(&relative))?;
                let presence = match mantissas.iter().all(Option::is_some) {
                    true => None,
                    false => {
                        let presence: Vec<u64> = mantissas.iter().map(|m| u64::from(m.is_some())).collect();
                        Some(self.section(&encode_ints(&presence))?)
                    }
                };
                ColumnMeta { property, data, mantissa_min: min, mantissa_max: max, presence }
            }
        })
    }

    /// Adds the sorted activity keys of a segment of events, writes the directory, and gives the sink back.
    pub(super) fn finish(mut self, activity: &[u64]) -> io::Result<W> {
        if !activity.is_empty() {
            debug_assert!(activity.is_sorted_by(|a, b| a < b), "activity keys are sorted and distinct");
            self.directory.activity = Some(self.section(&encode_sorted_ints(activity))?);
            self.directory.activity_count = activity.len() as u64;
        }
        let directory = self.directory.encode();
        let mut trailer = ByteWriter::new();
        trailer.u64(self.offset);
        trailer.u64(directory.len() as u64);
        trailer.u32(checksum(&directory));
        trailer.u32(TRAILER_MAGIC);
        self.sink.write_all(&directory)?;
        self.sink.write_all(trailer.as_slice())?;
        Ok(self.sink)
    }
}

fn widened(values: &[u32]) -> Vec<u64> {
    values.iter().map(|value| u64::from(*value)).collect()
}
