//! Reads any bytes as each kind of outside bytes in turn, as far as they go: the targets of `fuzz/`.
//!
//! Nothing here may panic, whatever the bytes (`total-decoders`). Checksums keep chance from everything behind
//! them, so files are read twice: as they are, and with checksums made right. The seeds are in `fuzz/corpus`; the
//! test below reads them all, and thousands of mutations of each.

use std::sync::Arc;

use bytes::Bytes;
use roaring::RoaringBitmap;

use crate::Store;
use crate::api::Json;
use crate::format::{ByteWriter, DecodeError, IntColumn, checksum};
use crate::http::{Framing, QUERY_KINDS};
use crate::ingest::dialects::{Call, Endpoint, RecentIds};
use crate::ingest::{BodyForm, EventLimits, OnError, parse_events};
use crate::segment::{self, Bounds, Column, Damage, Segment};
use crate::store::{BackupList, Dictionary, IdFile, Manifest};
use crate::wal::{Change, read_log};

/// Rows that are read from each end of a column: a column of one repeated value claims billions of them in 17 bytes.
const ROW_COUNT_READ: usize = 300;

/// Rows up to which a segment is proved: that reads all of them.
const ROW_COUNT_PROVED_MAX: u64 = 100_000;

/// Where files of one header keep the checksum of all that follows it.
const CHECKSUM_AT: usize = 16;

/// A segment: opened, verified, and every column read.
pub fn segment(bytes: &[u8]) {
    let _ = read_segment(bytes);
    if let Some(mended) = segment::with_right_checksums(bytes) {
        let _ = read_segment(&mended);
    }
}

fn read_segment(bytes: &[u8]) -> Result<(), Damage> {
    let segment = Segment::open("bytes", Bytes::copy_from_slice(bytes))?;
    let _ = segment.verify();
    if segment.row_count() < ROW_COUNT_PROVED_MAX {
        let _ = segment.prove(Bounds { user_count: 1 << 20, account_count: 1 << 20, next_arrival: 1 << 20 });
    }
    let _ = (segment.row_count(), segment.time_range());
    if let Ok(Some(activity)) = segment.activity() {
        read_ints(&activity.keys());
    }
    for group in segment.groups() {
        for column in [group.users(), group.times()].into_iter().flatten() {
            read_ints(&column);
        }
        for column in [group.accounts(), group.arrivals()].into_iter().flatten().flatten() {
            read_ints(&column);
        }
        let (row_count, name) = (group.row_count(), group.name());
        assert_eq!(segment.group(name).map(|group| group.index()), Some(group.index()));
        if let Ok(Some(ids)) = group.ids() {
            for row in rows_to_read(row_count) {
                let _ = ids.get(row);
            }
        }
        for property in group.column_properties() {
            let Ok(Some(column)) = group.column(property) else { continue };
            match column {
                Column::Codes { property, codes } => {
                    read_ints(&codes);
                    let Ok(Some(values)) = segment.values(property) else { continue };
                    let _ = values.values();
                    for row in rows_to_read(row_count) {
                        let _ = segment.value(&values, codes.get(row));
                    }
                }
                Column::Numbers { mantissas, presence, .. } => {
                    read_ints(&mantissas);
                    presence.iter().for_each(read_ints);
                }
            }
        }
    }
    Ok(())
}

fn rows_to_read(row_count: usize) -> impl Iterator<Item = usize> {
    let last = row_count.saturating_sub(ROW_COUNT_READ).max(ROW_COUNT_READ.min(row_count));
    (0..ROW_COUNT_READ.min(row_count)).chain(last..row_count)
}

fn read_ints(column: &IntColumn<'_>) {
    let len = column.len();
    let mut values = Vec::new();
    column.read(0..len.min(ROW_COUNT_READ), &mut values);
    column.read(len.saturating_sub(ROW_COUNT_READ)..len, &mut values);
    for row in rows_to_read(len) {
        column.get(row);
    }
    for value in [0, values.first().copied().unwrap_or(1), u64::MAX] {
        assert!(column.lower_bound(value) <= len);
    }
}

/// A column of integers by itself, of at most as many values as its first byte says hundreds.
pub fn ints(bytes: &[u8]) {
    let Some((hundreds, bytes)) = bytes.split_first() else { return };
    if let Ok(column) = IntColumn::open(bytes, usize::from(*hundreds) * 100) {
        read_ints(&column);
    }
}

/// A manifest.
pub fn manifest(bytes: &[u8]) {
    for bytes in [Some(bytes.to_vec()), with_right_checksum(bytes)].into_iter().flatten() {
        if let Ok(manifest) = Manifest::decode(&bytes) {
            assert!(Manifest::decode(&manifest.encode()).is_ok());
        }
    }
}

/// The list of a backup, as it is, with its checksum made right, and with that of the manifest in it too.
pub fn backup(bytes: &[u8]) {
    let mended = with_right_checksum(bytes);
    let manifest_at = bytes.windows(8).position(|window| window == b"FLYWMANI");
    let inner = manifest_at.and_then(|at| {
        let manifest = with_right_checksum(bytes.get(at..)?)?;
        with_right_checksum(&[&bytes[..at], &manifest].concat())
    });
    for bytes in [Some(bytes.to_vec()), mended, inner].into_iter().flatten() {
        if let Ok(list) = BackupList::decode(&bytes) {
            assert_eq!(BackupList::decode(&list.encode()).as_ref(), Ok(&list));
            let _ = list.change();
        }
    }
}

/// A file of ids.
pub fn ids(bytes: &[u8]) {
    for bytes in [Some(bytes.to_vec()), with_right_checksum(bytes)].into_iter().flatten() {
        if let Ok(file) = IdFile::open("bytes", bytes.into()) {
            let (first, count) = (file.first, file.count());
            let dictionary = Dictionary::open(vec![Arc::new(file)], RoaringBitmap::new());
            for file in dictionary.files() {
                let _ = dictionary.prove(&file);
            }
            for index in rows_to_read(count as usize) {
                let _ = dictionary.id(first + index as u32).and_then(|id| dictionary.find(&id));
            }
            let _ = dictionary.find("an id that is not there");
        }
    }
}

fn with_right_checksum(bytes: &[u8]) -> Option<Vec<u8>> {
    let body = bytes.get(CHECKSUM_AT + size_of::<u32>()..)?;
    let mut mended = bytes.to_vec();
    mended[CHECKSUM_AT..][..size_of::<u32>()].copy_from_slice(&checksum(body).to_le_bytes());
    Some(mended)
}

/// A log file.
pub fn log(bytes: &[u8]) {
    for known in [0, 1, u64::MAX] {
        if let Ok(contents) = read_log(bytes, known) {
            for (_, encoded) in contents.records {
                change(encoded);
            }
        }
    }
}

/// One record of a log.
pub fn change(bytes: &[u8]) {
    let encoded = |change: Change| {
        let mut out = ByteWriter::new();
        change.encode(&mut out);
        out.into_bytes()
    };
    if let Ok(change) = Change::decode(bytes) {
        let once = encoded(change);
        let twice: Result<Vec<u8>, DecodeError> = Change::decode(&once).map(encoded);
        assert_eq!(twice.as_ref(), Ok(&once), "what was read is written and read as the same");
    }
}

/// The body of a request with events, in both forms.
pub fn events(bytes: &[u8]) {
    for form in [BodyForm::Json, BodyForm::Ndjson] {
        let all = parse_events(bytes, form, OnError::Reject, 0);
        let some = parse_events(bytes, form, OnError::Skip, 0);
        if let Ok(all) = all {
            let some = some.expect("a good body is good with bad events left out");
            assert_eq!((some.batch.len(), some.rejected.len()), (all.batch.len(), 0));
        }
    }
}

/// Addresses of SDKs, one of each endpoint with a body.
const DIALECT_PATHS: [&str; 16] = [
    "/v1/batch",
    "/v1/track",
    "/v1/identify",
    "/v1/group",
    "/v1/alias",
    "/capture",
    "/i/v1/analytics/events",
    "/batch",
    "/track",
    "/import",
    "/engage",
    "/groups",
    "/2/httpapi",
    "/identify",
    "/v1/cloudevents",
    "/com.snowplowanalytics.snowplow/tp2",
];
/// Bytes that a body may have once it is unwrapped.
const UNWRAPPED_SIZE_MAX: usize = 1 << 20;

/// The body of a request of an SDK. The first byte says which; what the same bytes mean must be the same twice.
pub fn dialect(bytes: &[u8]) {
    let Some((first, body)) = bytes.split_first() else { return };
    let path = DIALECT_PATHS[usize::from(*first) % DIALECT_PATHS.len()];
    let endpoint = Endpoint::find(path, "application/json", false).expect("it is an SDK's");
    let read = || {
        let mut grown = 0;
        let mut grow = |size: usize| {
            grown = grown.max(size);
            Ok(())
        };
        let call = Call::new(endpoint, "", Vec::new(), body, UNWRAPPED_SIZE_MAX, &mut grow);
        assert!(grown <= 2 * UNWRAPPED_SIZE_MAX, "{grown} bytes are asked for");
        let call = call.ok()?;
        let _ = call.keys();
        let writes = call.read(1_700_000_000_000, &RecentIds::default(), EventLimits::default()).ok()?.writes;
        Some(writes.events.iter().map(|event| format!("{:?}", event.to_event())).collect::<Vec<_>>())
    };
    assert_eq!(read(), read());
}

/// The bytes of a connection: where requests end does not depend on how the bytes are cut.
pub fn framing(bytes: &[u8]) {
    let feed = |piece_size: usize| {
        let mut framing = Framing::default();
        bytes.chunks(piece_size).try_for_each(|piece| framing.feed(piece)).map(|()| framing.is_in_head())
    };
    assert_eq!(feed(1), feed(bytes.len().max(1)));
}

/// The body of a query of every kind, asked of a store.
pub fn query(store: &Store, bytes: &[u8]) {
    let Ok(body) = Json::parse(bytes) else { return };
    let _ = store.query(&body);
    let Json::Object(fields) = body else { return };
    for kind in QUERY_KINDS {
        let mut fields: Vec<(String, Json)> = fields.clone();
        fields.retain(|(name, _)| name != "kind");
        fields.insert(0, ("kind".to_owned(), Json::String(kind.to_owned())));
        let _ = store.query(&Json::Object(fields));
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "the seeds lie in the source tree")]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::path::Path;

    use super::*;
    use crate::dice::Dice;

    /// Changes a few bytes, cuts, doubles a part, or puts in a number that lies at an edge.
    fn mutate(bytes: &mut Vec<u8>, random: &mut impl FnMut(usize) -> usize) {
        for _ in 0..=random(4) {
            let at = random(bytes.len() + 1);
            match random(7) {
                0 => bytes.truncate(at),
                1 => bytes.insert(at, random(256) as u8),
                2 => {
                    let part: Vec<u8> = bytes[at..].iter().copied().take(random(40)).collect();
                    let to = random(bytes.len() + 1);
                    bytes.splice(to..to, part);
                }
                3 => {
                    let edges = [0_u64, 1, 127, 128, 0x7fff_ffff, 0xffff_ffff, u64::MAX >> 1, u64::MAX];
                    let edge = edges[random(edges.len())].to_le_bytes();
                    let size = [1, 2, 4, 8][random(4)];
                    for (byte, edge) in bytes.iter_mut().skip(at).zip(edge).take(size) {
                        *byte = edge;
                    }
                }
                4 => drop(bytes.drain(at..(at + random(20)).min(bytes.len()))),
                _ if at < bytes.len() => bytes[at] ^= 1 << random(8),
                _ => {}
            }
        }
    }

    /// Reads the seeds of a target and mutations of them: a few hundred, or `FLYWHEEL_CASES` of each.
    fn replay(target: &str, read: impl Fn(&[u8])) {
        let cases = std::env::var("FLYWHEEL_CASES").map_or(300, |text| text.parse().expect("it is a number"));
        let seed = std::env::var("FLYWHEEL_SEED").map_or(1, |text| text.parse().expect("it is a number"));
        let mut dice = Dice(seed);
        let mut random = |end: usize| dice.below(end as u64) as usize;
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
        let mut seeds: Vec<_> =
            std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        seeds.sort();
        assert!(!seeds.is_empty());
        for path in seeds {
            let whole = std::fs::read(&path).unwrap();
            for case in 0..=cases {
                let mut bytes = whole.clone();
                if case > 0 {
                    mutate(&mut bytes, &mut random);
                }
                if catch_unwind(AssertUnwindSafe(|| read(&bytes))).is_err() {
                    panic!(
                        "{}, case {case} of FLYWHEEL_SEED={seed}: {}",
                        path.display(),
                        bytes.escape_ascii()
                    );
                }
            }
        }
    }

    #[test]
    fn segments_are_read_or_refused() {
        replay("segment", segment);
    }

    #[test]
    fn integers_are_read_or_refused() {
        replay("ints", ints);
    }

    #[test]
    fn manifests_are_read_or_refused() {
        replay("manifest", manifest);
    }

    #[test]
    fn lists_of_backups_are_read_or_refused() {
        replay("backup", backup);
    }

    #[test]
    fn ids_are_read_or_refused() {
        replay("ids", ids);
    }

    #[test]
    fn logs_and_changes_are_read_or_refused() {
        replay("log", log);
        replay("change", change);
    }

    #[test]
    fn events_are_read_or_refused() {
        replay("events", events);
    }

    #[test]
    fn what_sdks_send_is_read_or_refused() {
        replay("dialect", dialect);
    }

    #[test]
    fn connections_are_cut_into_requests_or_refused() {
        replay("framing", framing);
    }

    #[test]
    fn queries_are_answered_or_refused() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let seed = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/events/shop.ndjson");
        let events = std::fs::read(seed).unwrap();
        store.ingest(parse_events(&events, BodyForm::Ndjson, OnError::Reject, 0).unwrap().batch).unwrap();
        replay("query", |bytes| query(&store, bytes));
    }
}
