//! How many bytes each part of a segment takes.

use super::Segment;
use super::layout::SectionIndex;

/// What bytes of a segment are for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SegmentPart {
    /// Whose each row is: users, or anchors.
    Users,
    /// When each row was, or how long after its anchor.
    Times,
    /// Users and moments that many rows share.
    Anchors,
    Accounts,
    Ids,
    /// The numbers of rows with ids in order of arrival.
    Arrivals,
    /// Who was active on which day.
    Activity,
    /// A property in the rows, and by user.
    Property(String),
    /// The distinct values of a property.
    Values(String),
    /// What finds all these.
    Directory,
}

impl Segment {
    /// The bytes of each part, which add up to those of the file. A part may come more than once.
    pub fn sizes(&self) -> Vec<(SegmentPart, u64)> {
        let directory = self.directory_ref();
        let size = |section: SectionIndex| directory.sections[section as usize].size;
        let mut sizes = Vec::new();
        let mut add = |part: SegmentPart, section: Option<SectionIndex>| {
            sizes.extend(section.map(|section| (part, size(section))));
        };
        for property in &directory.properties {
            add(SegmentPart::Values(property.name.clone()), property.values);
            add(SegmentPart::Property(property.name.clone()), property.by_user);
        }
        for group in &directory.groups {
            add(SegmentPart::Users, Some(group.users));
            add(SegmentPart::Times, Some(group.times));
            add(SegmentPart::Accounts, group.accounts);
            add(SegmentPart::Ids, group.ids);
            add(SegmentPart::Arrivals, group.arrivals);
            for column in &group.columns {
                let name = || directory.properties[column.property as usize].name.clone();
                add(SegmentPart::Property(name()), Some(column.data));
                add(SegmentPart::Property(name()), column.presence);
            }
        }
        add(SegmentPart::Activity, directory.activity);
        add(SegmentPart::Activity, directory.account_activity);
        add(SegmentPart::Anchors, directory.anchors);
        add(SegmentPart::Accounts, directory.accounts_by_user);
        let told: u64 = sizes.iter().map(|(_, size)| size).sum();
        sizes.push((SegmentPart::Directory, self.bytes().len() as u64 - told));
        sizes
    }
}
