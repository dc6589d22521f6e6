//! Where the bytes of a store are: every file, part by part.

use std::collections::BTreeMap;

use super::dictionary::Dictionary;
use super::manifest::{MANIFEST_NAME, parse_name};
use super::{Store, io_problem};
use crate::api::Problem;
use crate::segment::{RowKind, SegmentPart};

/// Part of a store's bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartSize {
    pub part: String,
    pub bytes: u64,
}

/// The bytes of a store on disk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoreSizes {
    /// Events in segments.
    pub event_count: u64,
    /// The largest first; they add up to the files of the directory.
    pub parts: Vec<PartSize>,
}

impl StoreSizes {
    pub fn total(&self) -> u64 {
        self.parts.iter().map(|part| part.bytes).sum()
    }
}

impl Store {
    /// Where the bytes on disk are. Events that are still in memory have theirs in the log.
    pub fn sizes(&self) -> Result<StoreSizes, Problem> {
        let _joining = self.inner.joining.lock();
        let _sealing = self.inner.sealing.lock();
        let mut event_count = 0;
        let mut parts: BTreeMap<String, u64> = BTreeMap::new();
        let mut add = |part: String, bytes: u64| *parts.entry(part).or_default() += bytes;
        for disk in self.inner.view.read().disk.iter() {
            let segment = &disk.live.segment;
            if segment.kind() == RowKind::Events {
                event_count += segment.row_count();
                segment.sizes().into_iter().for_each(|(part, size)| add(name_of(part), size));
            } else {
                add(segment.kind().name().to_owned(), segment.bytes().len() as u64);
            }
        }
        let dictionaries: [(&str, &Dictionary); 2] =
            [("users", &self.inner.users), ("accounts", &self.inner.accounts)];
        for (whose, dictionary) in dictionaries {
            for file in dictionary.files() {
                add(format!("ids of {whose}"), file.size());
            }
        }
        let files = self.inner.directory.list();
        for (name, size) in files.map_err(|error| io_problem("list the data directory", &error))? {
            match parse_name(&name) {
                _ if name == MANIFEST_NAME => add("manifest".to_owned(), size),
                Some((_, "log")) => add("log".to_owned(), size),
                Some(_) => {}
                None => add("other files".to_owned(), size),
            }
        }
        let mut parts: Vec<PartSize> =
            parts.into_iter().map(|(part, bytes)| PartSize { part, bytes }).collect();
        parts.sort_by_key(|part| std::cmp::Reverse(part.bytes));
        Ok(StoreSizes { event_count, parts })
    }
}

fn name_of(part: SegmentPart) -> String {
    match part {
        SegmentPart::Users => "users of events".to_owned(),
        SegmentPart::Times => "times of events".to_owned(),
        SegmentPart::Anchors => "anchors".to_owned(),
        SegmentPart::Accounts => "accounts of events".to_owned(),
        SegmentPart::Ids => "ids of events".to_owned(),
        SegmentPart::Arrivals => "order of arrival".to_owned(),
        SegmentPart::Activity => "days of activity".to_owned(),
        SegmentPart::Property(name) => format!("property {name}"),
        SegmentPart::Values(name) => format!("values of {name}"),
        SegmentPart::Directory => "directories of segments".to_owned(),
    }
}
