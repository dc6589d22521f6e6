//! Reads one segment: proves its directory sound when opened, and each section when it is first touched.

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;

use super::anchors::Anchors;
use super::by_user::{BY_USER, open_by_user};
use super::group::TextColumn;
use super::layout::{
    Directory, FILE_KIND, GroupMeta, PropertyEncoding, SectionIndex, TRAILER_MAGIC, TRAILER_SIZE,
};
use super::values::ValueDictionary;
use super::{ACTIVITY_DAY_BITS, ACTIVITY_DAY_MIN, RowKind, TASK_USER_BITS};
use crate::api::{Problem, ProblemClass};
use crate::format::{ByteReader, DecodeError, HEADER_SIZE, IntColumn, PackedInts, Users, checksum};
use crate::io;

/// Stored bytes that are not what was written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file} is damaged: {error}")]
pub struct Damage {
    pub file: String,
    pub error: DecodeError,
}

impl From<Damage> for Problem {
    fn from(damage: Damage) -> Problem {
        Problem::new(ProblemClass::Corrupt, damage.to_string())
            .hint("restore this file from a backup; nothing else is affected")
    }
}

/// An open segment, to be shared freely: it outlives its removal from the manifest and from the directory.
#[derive(Debug)]
pub struct Segment {
    name: String,
    bytes: Bytes,
    directory: Directory,
    fingerprint: u32,
    /// By section: what was proved of it, as [`CHECKSUM_RIGHT`] and [`LAYOUT_RIGHT`].
    proved: Box<[AtomicU8]>,
    /// By group: what readers made of it and keep, since it never changes.
    kept: Mutex<BTreeMap<u32, Arc<dyn Any + Send + Sync>>>,
}

const CHECKSUM_RIGHT: u8 = 1;
/// The layout of the integers in the section was checked.
const LAYOUT_RIGHT: u8 = 2;

/// [`PackedInts::open`] at first, [`PackedInts::reopen`] once the layout was checked.
pub(super) type OpenInts = for<'a> fn(&'a [u8], usize) -> Result<PackedInts<'a>, DecodeError>;

impl Segment {
    /// Opens a segment. `name` is for errors.
    pub fn open(name: &str, bytes: Bytes) -> Result<Segment, Damage> {
        let (directory, fingerprint) =
            Self::directory(&bytes).map_err(|error| Damage { file: name.to_owned(), error })?;
        let proved = directory.sections.iter().map(|_| AtomicU8::new(0)).collect();
        Ok(Segment { name: name.to_owned(), bytes, directory, fingerprint, proved, kept: Mutex::default() })
    }

    fn directory(bytes: &[u8]) -> Result<(Directory, u32), DecodeError> {
        let (version, _) = FILE_KIND.open(bytes)?;
        let trailer_at = bytes.len().checked_sub(TRAILER_SIZE).filter(|at| *at >= HEADER_SIZE);
        let mut trailer = ByteReader::new("segment trailer", trailer_at.map_or(&[], |at| &bytes[at..]));
        let (offset, size) = (trailer.u64()?, trailer.u64()?);
        let (expected, magic) = (trailer.u32()?, trailer.u32()?);
        let trailer_at = trailer_at.expect("its fields were read") as u64;
        if magic != TRAILER_MAGIC || offset.checked_add(size) != Some(trailer_at) {
            return Err(DecodeError::Magic { structure: "segment trailer" });
        }
        let directory = &bytes[offset as usize..trailer_at as usize];
        let found = checksum(directory);
        if found != expected {
            return Err(DecodeError::Checksum { structure: "segment directory", offset, expected, found });
        }
        Ok((Directory::decode(directory, offset, version)?, found))
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn directory_ref(&self) -> &Directory {
        &self.directory
    }

    /// The whole file.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Tells this segment from others: the checksum of its directory, which has those of all sections.
    pub fn fingerprint(&self) -> u32 {
        self.fingerprint
    }

    /// Fails if the system could not read a part of the file that is mapped here, as when another program cut it
    /// short. It stays so: what was read since may be zeros.
    pub fn check_mapped(&self) -> Result<(), Damage> {
        match io::is_intact(&self.bytes) {
            true => Ok(()),
            false => Err(self.damage(DecodeError::Unreadable { structure: "the segment" })),
        }
    }

    /// What was [kept](Segment::keep) of a group, if it is of this type.
    pub fn kept<T: Any + Send + Sync>(&self, group: u32) -> Option<Arc<T>> {
        let kept = self.kept.lock().get(&group).map(Arc::clone)?;
        kept.downcast().ok()
    }

    /// Keeps what was made of a group, in the place of what was before, until it is [forgotten](Segment::forget) or the segment
    /// is dropped.
    pub fn keep(&self, group: u32, made: Arc<dyn Any + Send + Sync>) {
        self.kept.lock().insert(group, made);
    }

    pub fn forget(&self, group: u32) {
        self.kept.lock().remove(&group);
    }

    pub fn kind(&self) -> RowKind {
        self.directory.kind
    }

    pub fn row_count(&self) -> u64 {
        self.directory.groups.iter().map(|group| group.row_count).sum()
    }

    /// The earliest and the latest time of its rows; `None` without rows.
    pub fn time_range(&self) -> Option<(i64, i64)> {
        let groups = &self.directory.groups;
        let min = groups.iter().map(|group| group.time_min).min()?;
        let max = groups.iter().map(|group| group.time_max).max()?;
        Some((min, max))
    }

    fn damage(&self, error: DecodeError) -> Damage {
        Damage { file: self.name.clone(), error }
    }

    fn section_bytes(&self, index: SectionIndex) -> &[u8] {
        let section = &self.directory.sections[index as usize];
        &self.bytes[section.offset as usize..(section.offset + section.size) as usize]
    }

    /// Has a section read from the disk, if nobody read it yet.
    fn fetch(&self, index: SectionIndex) {
        if self.proved[index as usize].load(Ordering::Relaxed) == 0 {
            io::will_need(self.section_bytes(index));
        }
    }

    fn section(&self, index: SectionIndex) -> Result<&[u8], Damage> {
        self.check_mapped()?;
        let section = &self.directory.sections[index as usize];
        let bytes = self.section_bytes(index);
        // Relaxed: the flags guard no other memory, and proving twice does no harm.
        let proved = &self.proved[index as usize];
        if proved.load(Ordering::Relaxed) & CHECKSUM_RIGHT == 0 {
            self.fetch(index);
            let found = checksum(bytes);
            if found != section.checksum {
                return Err(self.damage(DecodeError::Checksum {
                    structure: "a section",
                    offset: section.offset,
                    expected: section.checksum,
                    found,
                }));
            }
            proved.fetch_or(CHECKSUM_RIGHT, Ordering::Relaxed);
        }
        Ok(bytes)
    }

    /// Checks every section, whether it was read or not.
    pub fn verify(&self) -> Result<(), Damage> {
        (0..self.directory.sections.len()).try_for_each(|index| self.section(index as u32).map(|_| ()))
    }

    /// Opens a section with integers in it. Their layout is checked only once.
    fn open_section<'a, T>(
        &'a self,
        index: SectionIndex,
        open: impl FnOnce(&'a [u8], OpenInts) -> Result<T, DecodeError>,
    ) -> Result<T, Damage> {
        let bytes = self.section(index)?;
        let proved = &self.proved[index as usize];
        let is_proved = proved.load(Ordering::Relaxed) & LAYOUT_RIGHT != 0;
        let open_ints: OpenInts = if is_proved {
            |bytes, len| PackedInts::reopen(bytes, len)
        } else {
            |bytes, len| PackedInts::open(bytes, len)
        };
        let opened = open(bytes, open_ints).map_err(|error| self.damage(error))?;
        proved.fetch_or(LAYOUT_RIGHT, Ordering::Relaxed);
        Ok(opened)
    }

    fn ints(&self, index: SectionIndex, len: u64) -> Result<PackedInts<'_>, Damage> {
        let column = self.open_section(index, |bytes, open_ints| open_ints(bytes, len as usize))?;
        if column.len() as u64 != len {
            let what = "it is shorter than the rows it belongs to";
            return Err(self.damage(DecodeError::Malformed { structure: "integer column", what }));
        }
        Ok(column)
    }

    /// The rows of all event names, by name.
    pub fn groups(&self) -> impl ExactSizeIterator<Item = Group<'_>> {
        (0..self.directory.groups.len()).map(|index| Group { segment: self, index })
    }

    /// The rows of one event name.
    pub fn group(&self, name: &str) -> Option<Group<'_>> {
        let index = self.directory.groups.binary_search_by(|group| group.name.as_str().cmp(name)).ok()?;
        Some(Group { segment: self, index })
    }

    /// The group at a place in [`Segment::groups`].
    pub fn group_at(&self, index: usize) -> Group<'_> {
        assert!(index < self.directory.groups.len());
        Group { segment: self, index }
    }

    /// The place of a property, in the order of names.
    pub fn property(&self, name: &str) -> Option<u32> {
        let found = self.directory.properties.binary_search_by(|property| property.name.as_str().cmp(name));
        found.ok().map(|index| index as u32)
    }

    /// The name of the property at a place in [`Segment::properties`].
    pub fn property_name(&self, property: u32) -> &str {
        &self.directory.properties[property as usize].name
    }

    /// The names of all properties, in order.
    pub fn properties(&self) -> impl ExactSizeIterator<Item = &str> {
        self.directory.properties.iter().map(|property| property.name.as_str())
    }

    pub fn property_encoding(&self, property: u32) -> PropertyEncoding {
        self.directory.properties[property as usize].encoding
    }

    /// The sorted values of a property that is kept as codes.
    pub fn values(&self, property: u32) -> Result<Option<ValueDictionary<'_>>, Damage> {
        let meta = &self.directory.properties[property as usize];
        let Some(section) = meta.values else { return Ok(None) };
        let open = |bytes, open_ints| ValueDictionary::open(bytes, meta.value_count, open_ints);
        self.open_section(section, open).map(Some)
    }

    /// A value of a property that is kept as codes; `None` for the code 0.
    pub fn value(
        &self,
        values: &ValueDictionary<'_>,
        code: u64,
    ) -> Result<Option<crate::model::Value>, Damage> {
        let Some(index) = code.checked_sub(1) else { return Ok(None) };
        if index >= values.len() as u64 {
            let what = "a code has no value";
            return Err(self.damage(DecodeError::Malformed { structure: "column of codes", what }));
        }
        values.get(index as usize).map(Some).map_err(|error| self.damage(error))
    }

    /// The sorted [activity keys](super::activity_key), or `None` where rows are no events.
    pub fn activity(&self) -> Result<Option<Activity<'_>>, Damage> {
        let Some(section) = self.directory.activity else { return Ok(None) };
        Ok(Some(Activity { keys: self.ints(section, self.directory.activity_count)?.into() }))
    }

    /// The same of accounts: the days on which each had an event. `None` if none had any, or if nobody noted it: see
    /// [`Segment::knows_account_days`].
    pub fn account_activity(&self) -> Result<Option<Activity<'_>>, Damage> {
        let Some(section) = self.directory.account_activity else { return Ok(None) };
        Ok(Some(Activity { keys: self.ints(section, self.directory.account_activity_count)?.into() }))
    }

    /// Whether [`Segment::account_activity`] tells of all accounts: before version 3 it did not.
    pub fn knows_account_days(&self) -> bool {
        self.directory.version >= 3 || self.groups().all(|group| !group.has_accounts())
    }

    /// Whether rows count their times from anchors.
    pub fn has_anchors(&self) -> bool {
        self.directory.anchors.is_some()
    }

    /// What rows count their times from; `None` if groups have users and times of their own.
    pub fn anchors(&self) -> Result<Option<Anchors<'_>>, Damage> {
        let Some(section) = self.directory.anchors else { return Ok(None) };
        let count = self.directory.anchor_count;
        self.open_section(section, |bytes, open_ints| Anchors::open(bytes, count, open_ints)).map(Some)
    }

    /// Names this segment in an error of decoding.
    pub fn wrap(&self, error: DecodeError) -> Damage {
        self.damage(error)
    }
}

/// Who was active on which day (UTC), by any event.
#[derive(Clone, Copy, Debug)]
pub struct Activity<'a> {
    keys: IntColumn<'a>,
}

impl Activity<'_> {
    /// Appends the activity of a task on `days` (since 1970), each entry as `(day − days.start) << 14 | user in
    /// task`, ascending.
    pub fn read(&self, task: u32, days: std::ops::Range<i32>, out: &mut Vec<u32>) {
        let day_max = (1 << ACTIVITY_DAY_BITS) - 1;
        let start = i64::from(days.start) - i64::from(ACTIVITY_DAY_MIN);
        let end = i64::from(days.end) - i64::from(ACTIVITY_DAY_MIN);
        let base = u64::from(task) << (TASK_USER_BITS + ACTIVITY_DAY_BITS);
        let key = |day: i64| base + ((day.clamp(0, day_max + 1) as u64) << TASK_USER_BITS);
        let rows = self.keys.lower_bound(key(start))..self.keys.lower_bound(key(end));
        if rows.is_empty() {
            return;
        }
        // The clamped start is the day that entries are counted from, unless days lie before 1900.
        let origin = base.wrapping_add((start << TASK_USER_BITS) as u64);
        out.reserve(rows.len());
        self.keys
            .for_each_block(rows, |keys| out.extend(keys.iter().map(|key| key.wrapping_sub(origin) as u32)));
    }

    /// All keys.
    pub fn keys(&self) -> IntColumn<'_> {
        self.keys
    }
}

/// The rows of one event name in one segment.
#[derive(Clone, Copy, Debug)]
pub struct Group<'a> {
    segment: &'a Segment,
    index: usize,
}

/// The values of one property in the rows of a group.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::large_enum_variant, reason = "columns are opened once for many rows")]
pub enum Column<'a> {
    /// Codes into the values of this property, 0 for missing.
    Codes { property: u32, codes: IntColumn<'a> },
    /// Numbers: `(mantissa_min + value) × 10^exponent`, where `presence` is absent or 1.
    Numbers {
        exponent: i32,
        mantissa_min: i64,
        mantissa_max: i64,
        mantissas: IntColumn<'a>,
        presence: Option<IntColumn<'a>>,
    },
}

impl<'a> Group<'a> {
    pub fn meta(&self) -> &'a GroupMeta {
        &self.segment.directory.groups[self.index]
    }

    pub fn segment(&self) -> &'a Segment {
        self.segment
    }

    /// Has what says whose rows these are, and when, read from the disk, for those who will read it soon.
    pub fn fetch(&self) {
        [self.meta().users, self.meta().times].into_iter().for_each(|section| self.segment.fetch(section));
    }

    /// The place in [`Segment::groups`].
    pub fn index(&self) -> usize {
        self.index
    }

    pub fn name(&self) -> &'a str {
        &self.meta().name
    }

    pub fn row_count(&self) -> usize {
        self.meta().row_count as usize
    }

    /// Ordinals, never falling.
    pub fn users(&self) -> Result<IntColumn<'a>, Damage> {
        self.users_of_rows().map(IntColumn::from)
    }

    fn users_of_rows(&self) -> Result<Users<'a>, Damage> {
        Ok(match self.anchors_of_rows()? {
            Some((anchors, places)) => Users::Lookup(anchors.users_of(places)),
            None => Users::Packed(self.segment.ints(self.meta().users, self.meta().row_count)?),
        })
    }

    /// The anchors, and which of them each row has; `None` if rows have users and times of their own.
    pub(super) fn anchors_of_rows(&self) -> Result<Option<(Anchors<'a>, PackedInts<'a>)>, Damage> {
        let Some(anchors) = self.segment.anchors()? else { return Ok(None) };
        Ok(Some((anchors, self.segment.ints(self.meta().users, self.meta().row_count)?)))
    }

    /// What the group has of the times: relative to its `time_min`, or to anchors.
    pub(super) fn own_times(&self) -> Result<PackedInts<'a>, Damage> {
        self.segment.ints(self.meta().times, self.meta().row_count)
    }

    /// Times relative to the group's `time_min`, rising within each user.
    pub fn times(&self) -> Result<IntColumn<'a>, Damage> {
        let meta = self.meta();
        let own = self.own_times()?;
        Ok(match self.anchors_of_rows()? {
            Some((anchors, places)) => anchors.times_of(places, own, meta.time_min).into(),
            None => own.into(),
        })
    }

    /// One more than each account's ordinal, 0 for none; `None` if no row has an account.
    pub fn accounts(&self) -> Result<Option<IntColumn<'a>>, Damage> {
        let by_user = self.segment.directory.accounts_by_user;
        self.meta().accounts.map(|section| self.codes(section, by_user)).transpose()
    }

    /// A column of codes, which may be what differs from a table by user.
    fn codes(&self, section: SectionIndex, by_user: Option<SectionIndex>) -> Result<IntColumn<'a>, Damage> {
        let segment = self.segment;
        match by_user {
            Some(table) if segment.section(section)?.first() == Some(&BY_USER) => {
                let (user_min, user_max) = segment.directory.user_span().expect("there is a group");
                let table = segment.ints(table, u64::from(user_max) - u64::from(user_min) + 1)?;
                let users = self.users_of_rows()?;
                let open = |bytes, open_ints| open_by_user(bytes, users, table, user_min, open_ints);
                segment.open_section(section, open).map(IntColumn::from)
            }
            _ => segment.ints(section, self.meta().row_count).map(IntColumn::from),
        }
    }

    pub(super) fn has_accounts(&self) -> bool {
        self.meta().accounts.is_some()
    }

    /// The ids of events; `None` if no row has one.
    pub fn ids(&self) -> Result<Option<TextColumn<'a>>, Damage> {
        let Some(section) = self.meta().ids else { return Ok(None) };
        let open = |bytes, open_ints| TextColumn::open(bytes, self.row_count(), open_ints);
        self.segment.open_section(section, open).map(Some)
    }

    /// The numbers of rows in order of arrival; `None` if no row has an id.
    pub fn arrivals(&self) -> Result<Option<IntColumn<'a>>, Damage> {
        let Some(section) = self.meta().arrivals else { return Ok(None) };
        self.segment.ints(section, self.meta().row_count).map(|arrivals| Some(arrivals.into()))
    }

    /// The properties that its rows have, as places in [`Segment::properties`].
    pub fn column_properties(&self) -> impl Iterator<Item = u32> + use<'a> {
        self.meta().columns.iter().map(|column| column.property)
    }

    pub(super) fn has_column(&self, property: u32) -> bool {
        self.meta().columns.binary_search_by_key(&property, |column| column.property).is_ok()
    }

    /// The values of a property; `None` if no row has it.
    pub fn column(&self, property: u32) -> Result<Option<Column<'a>>, Damage> {
        let meta = self.meta();
        let Ok(at) = meta.columns.binary_search_by_key(&property, |column| column.property) else {
            return Ok(None);
        };
        let column = &meta.columns[at];
        let ints = |section| self.segment.ints(section, meta.row_count).map(IntColumn::from);
        Ok(Some(match self.segment.property_encoding(property) {
            PropertyEncoding::Codes => {
                let by_user = self.segment.directory.properties[property as usize].by_user;
                Column::Codes { property, codes: self.codes(column.data, by_user)? }
            }
            PropertyEncoding::Numbers { exponent } => Column::Numbers {
                exponent,
                mantissa_min: column.mantissa_min,
                mantissa_max: column.mantissa_max,
                mantissas: ints(column.data)?,
                presence: column.presence.map(ints).transpose()?,
            },
        }))
    }

    /// The rows of users `[start, end)`.
    pub fn user_rows(&self, users: &IntColumn<'_>, start: u32, end: u64) -> std::ops::Range<usize> {
        let meta = self.meta();
        if end <= u64::from(meta.user_min) || start > meta.user_max {
            return 0..0;
        }
        users.lower_bound(u64::from(start))..users.lower_bound(end)
    }
}
