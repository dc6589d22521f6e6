//! The directory of a segment: what it holds, and where. docs/format.md, "Segment".

use super::RowKind;
use crate::format::{ByteReader, ByteWriter, DecodeError, FileKind};

pub(super) const FILE_KIND: FileKind =
    FileKind { magic: b"FLYSEGMT", version: 3, structure: "segment header" };
/// Directory's offset (8), size (8), checksum (4), and the end's magic (4).
pub(super) const TRAILER_SIZE: usize = 24;
pub(super) const TRAILER_MAGIC: u32 = 0x5445_4753;
/// Sections start at multiples of this.
pub(super) const SECTION_ALIGNMENT: usize = 16;

const STRUCTURE: &str = "segment directory";

/// A contiguous part of the file with a checksum of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Section {
    pub offset: u64,
    pub size: u64,
    pub checksum: u32,
}

/// A place in the directory's list of sections.
pub(super) type SectionIndex = u32;

/// How the values of a property are kept, in all groups of the segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PropertyEncoding {
    /// Columns hold codes: 0 for missing, else one more than the place in the property's sorted values.
    Codes,
    /// All values are numbers, and columns hold their mantissas at this exponent.
    Numbers { exponent: i32 },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PropertyMeta {
    pub name: String,
    pub encoding: PropertyEncoding,
    /// The sorted values, for [`PropertyEncoding::Codes`].
    pub values: Option<SectionIndex>,
    pub value_count: u64,
    /// The code of each user, from the least of the segment's groups to the largest, where columns keep only what
    /// differs from it.
    pub by_user: Option<SectionIndex>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ColumnMeta {
    pub property: u32,
    pub data: SectionIndex,
    /// The least mantissa, which all are stored relative to; 0 for codes.
    pub mantissa_min: i64,
    pub mantissa_max: i64,
    /// 1 where there is a value, for numbers that are missing in some rows.
    pub presence: Option<SectionIndex>,
}

/// The rows of one event name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupMeta {
    pub name: String,
    pub row_count: u64,
    pub time_min: i64,
    pub time_max: i64,
    pub user_min: u32,
    pub user_max: u32,
    pub(super) users: SectionIndex,
    pub(super) times: SectionIndex,
    pub(super) accounts: Option<SectionIndex>,
    pub(super) ids: Option<SectionIndex>,
    pub(super) arrivals: Option<SectionIndex>,
    /// By property.
    pub(super) columns: Vec<ColumnMeta>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Directory {
    pub kind: RowKind,
    pub sections: Vec<Section>,
    /// By name.
    pub properties: Vec<PropertyMeta>,
    /// By name.
    pub groups: Vec<GroupMeta>,
    /// Sorted [activity keys](super::activity_key) of events.
    pub activity: Option<SectionIndex>,
    pub activity_count: u64,
    /// The same of the accounts of events, by the accounts' ordinals.
    pub account_activity: Option<SectionIndex>,
    pub account_activity_count: u64,
    /// What rows count their times from. Without them, groups have users and times of their own.
    pub anchors: Option<SectionIndex>,
    pub anchor_count: u64,
    /// The account of each user, as [`PropertyMeta::by_user`].
    pub accounts_by_user: Option<SectionIndex>,
    /// The version of the file that the directory is of.
    pub version: u16,
}

fn option(out: &mut ByteWriter, section: Option<SectionIndex>) {
    out.varint(section.map_or(0, |index| u64::from(index) + 1));
}

impl Directory {
    pub fn encode(&self) -> Vec<u8> {
        let mut out = ByteWriter::new();
        out.u8(self.kind as u8);
        out.varint(self.sections.len() as u64);
        for section in &self.sections {
            out.varint(section.offset / SECTION_ALIGNMENT as u64);
            out.varint(section.size);
            out.u32(section.checksum);
        }
        out.varint(self.properties.len() as u64);
        for property in &self.properties {
            out.text(&property.name);
            match property.encoding {
                PropertyEncoding::Codes => out.u8(1),
                PropertyEncoding::Numbers { exponent } => {
                    out.u8(2);
                    out.zigzag(i64::from(exponent));
                }
            }
            option(&mut out, property.values);
            out.varint(property.value_count);
            if self.version >= 2 {
                option(&mut out, property.by_user);
            }
        }
        out.varint(self.groups.len() as u64);
        for group in &self.groups {
            out.text(&group.name);
            out.varint(group.row_count);
            out.i64(group.time_min);
            out.i64(group.time_max);
            out.u32(group.user_min);
            out.u32(group.user_max);
            option(&mut out, Some(group.users));
            option(&mut out, Some(group.times));
            option(&mut out, group.accounts);
            option(&mut out, group.ids);
            option(&mut out, group.arrivals);
            out.varint(group.columns.len() as u64);
            for column in &group.columns {
                out.varint(u64::from(column.property));
                option(&mut out, Some(column.data));
                out.i64(column.mantissa_min);
                out.i64(column.mantissa_max);
                option(&mut out, column.presence);
            }
        }
        option(&mut out, self.activity);
        out.varint(self.activity_count);
        if self.version >= 2 {
            option(&mut out, self.anchors);
            out.varint(self.anchor_count);
            option(&mut out, self.accounts_by_user);
        }
        if self.version >= 3 {
            option(&mut out, self.account_activity);
            out.varint(self.account_activity_count);
        }
        out.into_bytes()
    }

    /// Reads the directory of a file of this version, whose sections must lie within the first `data_end` bytes.
    pub fn decode(bytes: &[u8], data_end: u64, version: u16) -> Result<Directory, DecodeError> {
        let mut reader = ByteReader::new(STRUCTURE, bytes);
        let kind = match reader.u8()? {
            1 => RowKind::Events,
            2 => RowKind::UserProfiles,
            3 => RowKind::AccountProfiles,
            _ => return Err(reader.malformed("the kind of its rows is unknown")),
        };
        let mut sections = Vec::new();
        for _ in 0..reader.count(6)? {
            let offset = reader.varint()?.checked_mul(SECTION_ALIGNMENT as u64);
            let size = reader.varint()?;
            let checksum = reader.u32()?;
            let offset = offset
                .filter(|offset| offset.checked_add(size).is_some_and(|end| end <= data_end))
                .ok_or_else(|| reader.malformed("a section lies outside the file"))?;
            sections.push(Section { offset, size, checksum });
        }
        let mut decoder = Decoder { reader, is_used: vec![false; sections.len()], version };
        let properties = decoder.properties()?;
        let groups = decoder.groups(properties.len() as u64)?;
        let activity = decoder.option()?;
        let activity_count = decoder.reader.varint()?;
        let row_count: u64 = groups.iter().map(|group| group.row_count).sum();
        // Each key stands for an event at least.
        if activity_count > row_count {
            return Err(decoder.reader.malformed("there is more activity than events"));
        }
        let (anchors, anchor_count, accounts_by_user) = match version {
            1 => (None, 0, None),
            _ => (decoder.option()?, decoder.reader.varint()?, decoder.option()?),
        };
        // Each anchor is that of an event at least.
        if anchor_count > row_count || (anchor_count == 0) != anchors.is_none() {
            return Err(decoder.reader.malformed("the anchors do not fit the events"));
        }
        let (account_activity, account_activity_count) = match version {
            1 | 2 => (None, 0),
            _ => (decoder.option()?, decoder.reader.varint()?),
        };
        if account_activity_count > row_count {
            return Err(decoder.reader.malformed("there is more activity of accounts than events"));
        }
        decoder.reader.finish()?;
        Ok(Directory {
            kind,
            sections,
            properties,
            groups,
            activity,
            activity_count,
            account_activity,
            account_activity_count,
            anchors,
            anchor_count,
            accounts_by_user,
            version,
        })
    }

    /// The least and the largest ordinal of all rows: of whom tables by user hold values.
    pub fn user_span(&self) -> Option<(u32, u32)> {
        let min = self.groups.iter().map(|group| group.user_min).min()?;
        let max = self.groups.iter().map(|group| group.user_max).max()?;
        Some((min, max))
    }
}

struct Decoder<'a> {
    reader: ByteReader<'a>,
    /// By section: whether something was said to be in it. Each holds one thing, so that what was proved of it holds
    /// for everybody who reads it.
    is_used: Vec<bool>,
    version: u16,
}

impl Decoder<'_> {
    fn option(&mut self) -> Result<Option<SectionIndex>, DecodeError> {
        let Some(index) = self.reader.varint()?.checked_sub(1) else { return Ok(None) };
        match usize::try_from(index).ok().and_then(|index| self.is_used.get_mut(index)) {
            None => Err(self.reader.malformed("a section is missing")),
            Some(true) => Err(self.reader.malformed("a section is used twice")),
            Some(is_used) => {
                *is_used = true;
                Ok(Some(index as u32))
            }
        }
    }

    fn section(&mut self) -> Result<SectionIndex, DecodeError> {
        self.option()?.ok_or_else(|| self.reader.malformed("a section is missing"))
    }

    fn properties(&mut self) -> Result<Vec<PropertyMeta>, DecodeError> {
        let mut properties: Vec<PropertyMeta> = Vec::new();
        for _ in 0..self.reader.count(4)? {
            let name = self.reader.text()?.to_owned();
            let encoding = match self.reader.u8()? {
                1 => PropertyEncoding::Codes,
                2 => {
                    let exponent =
                        i32::try_from(self.reader.zigzag()?).ok().filter(|e| (-400..=400).contains(e));
                    let exponent =
                        exponent.ok_or_else(|| self.reader.malformed("an exponent is out of range"))?;
                    PropertyEncoding::Numbers { exponent }
                }
                _ => return Err(self.reader.malformed("a property's encoding is unknown")),
            };
            let values = self.option()?;
            if values.is_some() != (encoding == PropertyEncoding::Codes) {
                return Err(self.reader.malformed("a property's values do not fit its encoding"));
            }
            let value_count = self.reader.varint()?;
            let by_user = if self.version == 1 { None } else { self.option()? };
            if by_user.is_some() && encoding != PropertyEncoding::Codes {
                return Err(self.reader.malformed("numbers are kept by user"));
            }
            if properties.last().is_some_and(|last| last.name >= name) {
                return Err(self.reader.malformed("properties are not in order"));
            }
            properties.push(PropertyMeta { name, encoding, values, value_count, by_user });
        }
        Ok(properties)
    }

    fn groups(&mut self, property_count: u64) -> Result<Vec<GroupMeta>, DecodeError> {
        let mut groups: Vec<GroupMeta> = Vec::new();
        for _ in 0..self.reader.count(31)? {
            let name = self.reader.text()?.to_owned();
            let row_count = self.reader.varint()?;
            let (time_min, time_max) = (self.reader.i64()?, self.reader.i64()?);
            let (user_min, user_max) = (self.reader.u32()?, self.reader.u32()?);
            let (users, times) = (self.section()?, self.section()?);
            let (accounts, ids, arrivals) = (self.option()?, self.option()?, self.option()?);
            let mut columns: Vec<ColumnMeta> = Vec::new();
            for _ in 0..self.reader.count(19)? {
                let property = self.reader.varint()?;
                if property >= property_count
                    || columns.last().is_some_and(|c| u64::from(c.property) >= property)
                {
                    return Err(self.reader.malformed("columns are not in order of properties"));
                }
                let data = self.section()?;
                let (mantissa_min, mantissa_max) = (self.reader.i64()?, self.reader.i64()?);
                let presence = self.option()?;
                columns.push(ColumnMeta {
                    property: property as u32,
                    data,
                    mantissa_min,
                    mantissa_max,
                    presence,
                });
            }
            let is_sound = row_count > 0
                && row_count <= u64::from(u32::MAX)
                && time_min <= time_max
                && user_min <= user_max;
            if !is_sound || groups.last().is_some_and(|last| last.name >= name) {
                return Err(self.reader.malformed("groups are not in order, or one is empty"));
            }
            groups.push(GroupMeta {
                name,
                row_count,
                time_min,
                time_max,
                user_min,
                user_max,
                users,
                times,
                accounts,
                ids,
                arrivals,
                columns,
            });
        }
        Ok(groups)
    }
}
