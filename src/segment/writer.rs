//! Writes one segment: sections as they come, then the directory that finds them.

use std::io::{self, Write};
use std::thread;

use super::anchors::AnchorTable;
use super::by_user::UserTable;
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
    anchors: Option<AnchorTable>,
    /// By property.
    by_user: Vec<Option<UserTable>>,
    accounts_by_user: Option<UserTable>,
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
            account_activity: None,
            account_activity_count: 0,
            anchors: None,
            anchor_count: 0,
            accounts_by_user: None,
            version: FILE_KIND.version,
        };
        let offset = HEADER_SIZE as u64;
        let (anchors, by_user, accounts_by_user) = (None, Vec::new(), None);
        Ok(SegmentWriter { sink, offset, directory, anchors, by_user, accounts_by_user })
    }

    /// Lets all groups count their times from these anchors, and keep accounts by user where that is shorter.
    pub(super) fn share(&mut self, anchors: Option<AnchorTable>, accounts_by_user: Option<UserTable>) {
        debug_assert!(self.directory.groups.is_empty(), "it is for all groups");
        self.anchors = anchors;
        self.accounts_by_user = accounts_by_user;
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

    /// Adds a property whose columns hold codes into these values, sorted and distinct. With a table, they may hold
    /// what differs from it.
    pub(super) fn coded_property(
        &mut self,
        name: &str,
        values: &[&Value],
        by_user: Option<UserTable>,
    ) -> io::Result<()> {
        debug_assert!(values.is_sorted_by(|a, b| a < b), "values are sorted and distinct");
        let section = self.section(&encode_values(values.iter().copied()))?;
        self.by_user.push(by_user);
        self.property(name, PropertyEncoding::Codes, Some(section), values.len() as u64);
        Ok(())
    }

    /// Adds a property whose columns hold mantissas at this exponent.
    pub(super) fn number_property(&mut self, name: &str, exponent: i32) {
        self.by_user.push(None);
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
        self.directory.properties.push(PropertyMeta {
            name: name.to_owned(),
            encoding,
            values,
            value_count,
            by_user: None,
        });
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
        let (users, times) = match &self.anchors {
            Some(anchors) => {
                let (places, offsets) = anchors.places(&group.users, &group.times);
                (encode_sorted_ints(&places), encode_ints(&offsets))
            }
            None => (group.encode_users(), group.encode_times(time_min)),
        };
        let (users, times) = (self.section(&users)?, self.section(&times)?);
        let accounts = match group.accounts.iter().any(|account| *account != 0) {
            true => {
                let bytes = encode_codes(&group.users, &group.accounts, self.accounts_by_user.as_mut());
                Some(self.section(&bytes)?)
            }
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
            columns.push(self.column(&group.users, *property, data)?);
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

    fn column(&mut self, users: &[u32], property: u32, data: &ColumnData) -> io::Result<ColumnMeta> {
        Ok(match data {
            ColumnData::Codes(codes) => {
                let bytes = encode_codes(users, codes, self.by_user[property as usize].as_mut());
                let data = self.section(&bytes)?;
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

    /// Adds the sorted activity keys of a segment of events, by users and by accounts, writes the directory, and gives
    /// the sink back.
    pub(super) fn finish(mut self, activity: &[u64], account_activity: &[u64]) -> io::Result<W> {
        (self.directory.activity, self.directory.activity_count) = self.activity(activity)?;
        (self.directory.account_activity, self.directory.account_activity_count) =
            self.activity(account_activity)?;
        if let Some(span) = self.directory.user_span() {
            for (property, table) in std::mem::take(&mut self.by_user).into_iter().enumerate() {
                self.directory.properties[property].by_user = self.user_table(table, span)?;
            }
            let accounts = self.accounts_by_user.take();
            self.directory.accounts_by_user = self.user_table(accounts, span)?;
            if let Some(anchors) = self.anchors.take() {
                self.directory.anchor_count = anchors.len() as u64;
                self.directory.anchors = Some(self.section(&anchors.encode())?);
            }
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

    fn activity(&mut self, keys: &[u64]) -> io::Result<(Option<SectionIndex>, u64)> {
        debug_assert!(keys.is_sorted_by(|a, b| a < b), "activity keys are sorted and distinct");
        let section = if keys.is_empty() { None } else { Some(self.section(&encode_sorted_ints(keys))?) };
        Ok((section, keys.len() as u64))
    }

    fn user_table(&mut self, table: Option<UserTable>, span: (u32, u32)) -> io::Result<Option<SectionIndex>> {
        let bytes = table.and_then(|table| table.finish(span));
        bytes.map(|bytes| self.section(&bytes)).transpose()
    }
}

/// Rows from which on a second thread gathers groups while this one encodes them: below, it takes longer to begin.
const SHARED_ROW_COUNT_MIN: u64 = 50_000;

/// Writes groups in their order. Of many rows, the next group is gathered while one is encoded.
pub(super) fn write_groups<W: Write, E: From<io::Error> + Send>(
    writer: &mut SegmentWriter<W>,
    row_count: u64,
    mut groups: impl Iterator<Item = Result<GroupData, E>> + Send,
) -> Result<(), E> {
    if row_count < SHARED_ROW_COUNT_MIN {
        return groups.try_for_each(|group| Ok(writer.group(&group?)?));
    }
    // Without room in between: no more than two groups are in memory.
    let (sender, receiver) = crossbeam::channel::bounded(0);
    thread::scope(|scope| {
        scope.spawn(move || {
            for group in groups {
                let is_last = group.is_err();
                // Nobody takes it any more when writing failed.
                if sender.send(group).is_err() || is_last {
                    break;
                }
            }
        });
        receiver.into_iter().try_for_each(|group| Ok(writer.group(&group?)?))
    })
}

/// Codes of rows, by user where there is a table and that is shorter.
fn encode_codes(users: &[u32], codes: &[u32], table: Option<&mut UserTable>) -> Vec<u8> {
    let by_user = table.and_then(|table| table.encode(users, codes));
    by_user.unwrap_or_else(|| encode_ints(&widened(codes)))
}

fn widened(values: &[u32]) -> Vec<u64> {
    values.iter().map(|value| u64::from(*value)).collect()
}
