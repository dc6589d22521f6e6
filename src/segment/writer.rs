//! Writes one segment: sections as they come, then the directory that finds them.

use std::io::{self, Write};
use std::panic::resume_unwind;
use std::thread;

use parking_lot::Mutex;

use super::anchors::AnchorTable;
use super::by_user::UserTable;
use super::group::{ColumnData, GroupData};
use super::layout::{
    ColumnMeta, Directory, FILE_KIND, GroupMeta, PropertyEncoding, PropertyMeta, SECTION_ALIGNMENT, Section,
    SectionIndex, TRAILER_MAGIC,
};
use super::values::encode_values;
use super::{ACTIVITY_DAY_BITS, RowKind, TASK_USER_BITS};
use crate::format::{ByteWriter, HEADER_SIZE, checksum, encode_ints, encode_ints_of, encode_sorted_ints};
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
        let mut parts = self.encode(group, time_min).into_iter();
        let mut next = || parts.next().expect("every part is encoded");
        let (users, times) = match &self.anchors {
            Some(_) => {
                let Encoded { data, second, .. } = next();
                (data, second.expect("with anchors, times come with users"))
            }
            None => (next().data, next().data),
        };
        let accounts = has_accounts(group).then(|| next().data);
        let ids = (!group.ids.is_empty()).then(|| (next().data, next().data));
        let (users, times) = (self.section(&users)?, self.section(&times)?);
        let accounts = accounts.map(|accounts| self.section(&accounts)).transpose()?;
        let (ids, arrivals) = match ids {
            Some((ids, arrivals)) => (Some(self.section(&ids)?), Some(self.section(&arrivals)?)),
            None => (None, None),
        };
        let mut columns = Vec::with_capacity(group.columns.len());
        for ((property, _), encoded) in group.columns.iter().zip(parts) {
            columns.push(ColumnMeta {
                property: *property,
                data: self.section(&encoded.data)?,
                mantissa_min: encoded.mantissas.0,
                mantissa_max: encoded.mantissas.1,
                presence: encoded.second.map(|presence| self.section(&presence)).transpose()?,
            });
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

    /// The parts of a group that is not empty, in the order in which they are written.
    fn encode(&mut self, group: &GroupData, time_min: i64) -> Vec<Encoded> {
        let mut parts: Vec<Part<'_>> = Vec::new();
        match &self.anchors {
            Some(anchors) => parts.push(Box::new(|| {
                let (places, offsets) = anchors.places(&group.users, &group.times);
                let second = Some(encode_ints(&offsets));
                Encoded { data: encode_sorted_ints(&places), second, mantissas: (0, 0) }
            })),
            None => {
                parts.push(Box::new(|| Encoded::of(group.encode_users())));
                parts.push(Box::new(move || Encoded::of(group.encode_times(time_min))));
            }
        }
        if has_accounts(group) {
            let table = self.accounts_by_user.as_mut();
            parts.push(Box::new(|| Encoded::of(encode_codes(&group.users, &group.accounts, table))));
        }
        if !group.ids.is_empty() {
            parts.push(Box::new(|| Encoded::of(group.ids.encode())));
            parts.push(Box::new(|| Encoded::of(encode_ints(&group.arrivals))));
        }
        let mut columns = group.columns.iter().peekable();
        for (property, table) in (0..).zip(&mut self.by_user) {
            if let Some((_, column)) = columns.next_if(|(of, _)| *of == property) {
                parts.push(Box::new(move || encode_column(&group.users, column, table.as_mut())));
            }
        }
        debug_assert!(columns.peek().is_none(), "columns ascend by property, and each property was added");
        encode_all(parts, group.row_count() as u64)
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

/// Rows from which on a second thread gathers groups while this one encodes them, and of one group from which on two
/// encode: below, it takes longer to begin.
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

/// A part of a group, in bytes.
struct Encoded {
    data: Vec<u8>,
    /// Which rows have a number, where not all do; the times that go with users, where there are anchors.
    second: Option<Vec<u8>>,
    /// The least and the largest mantissa, of numbers.
    mantissas: (i64, i64),
}

impl Encoded {
    fn of(data: Vec<u8>) -> Encoded {
        Encoded { data, second: None, mantissas: (0, 0) }
    }
}

/// What encodes a part of a group.
type Part<'g> = Box<dyn FnOnce() -> Encoded + Send + 'g>;

/// Encodes the parts of a group, of many rows on two threads: no part needs another, and each is as large as the next.
fn encode_all(parts: Vec<Part<'_>>, row_count: u64) -> Vec<Encoded> {
    if row_count < SHARED_ROW_COUNT_MIN {
        return parts.into_iter().map(|part| part()).collect();
    }
    let queue = Mutex::new(parts.into_iter().enumerate());
    let work = || {
        let mut encoded = Vec::new();
        loop {
            let next = queue.lock().next();
            let Some((place, part)) = next else { return encoded };
            encoded.push((place, part()));
        }
    };
    let mut encoded = thread::scope(|scope| {
        let helper = scope.spawn(work);
        let mut encoded = work();
        encoded.extend(helper.join().unwrap_or_else(|panic| resume_unwind(panic)));
        encoded
    });
    encoded.sort_unstable_by_key(|(place, _)| *place);
    encoded.into_iter().map(|(_, encoded)| encoded).collect()
}

fn has_accounts(group: &GroupData) -> bool {
    group.accounts.iter().any(|account| *account != 0)
}

fn encode_column(users: &[u32], column: &ColumnData, table: Option<&mut UserTable>) -> Encoded {
    match column {
        ColumnData::Codes(codes) => Encoded::of(encode_codes(users, codes, table)),
        ColumnData::Numbers(numbers) => {
            let known = || numbers.iter().flatten().copied();
            let (min, max) = (known().min().unwrap_or(0), known().max().unwrap_or(0));
            let data = encode_ints_of(numbers, |number| number.map_or(0, |m| m.wrapping_sub(min) as u64));
            let has_gaps = numbers.iter().any(Option::is_none);
            let second = has_gaps.then(|| encode_ints_of(numbers, |number| u64::from(number.is_some())));
            Encoded { data, second, mantissas: (min, max) }
        }
    }
}

/// Codes of rows, by user where there is a table and that is shorter.
fn encode_codes(users: &[u32], codes: &[u32], table: Option<&mut UserTable>) -> Vec<u8> {
    let by_user = table.and_then(|table| table.encode(users, codes));
    by_user.unwrap_or_else(|| encode_ints_of(codes, u64::from))
}
