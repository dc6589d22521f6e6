//! What the simulated disk holds, what of it is only in memory, and what a power cut may leave.
//!
//! The promises are the weakest a real disk gives. Appended bytes are safe after a sync of their file; until
//! then a cut may leave any prefix of them, any sectors of them, or zeros in their place. A create, a rename
//! or a removal is safe after a sync of the directory; until then it may be kept or dropped on its own, except
//! that one which builds on another of the same name needs that one. Syncing a file does not make its name
//! safe. After a failed sync the bytes count as written although they never reach the disk, as on Linux; a
//! failed sync of the directory leaves its changes pending.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::Range;
use std::sync::Arc;

use super::random::Random;

/// The unit that a disk writes at once.
const SECTOR_SIZE: usize = 512;

/// Pending changes of names up to which every sane subset of them is tried.
const NAME_CHANGE_COUNT_EXHAUSTIVE_MAX: usize = 6;

/// Sectors of one file at whose edges a torn write is tried; of longer ones a sample.
const TORN_SECTOR_COUNT_MAX: usize = 32;

pub type FileIndex = usize;

/// One step that changes the disk.
#[derive(Clone, Debug)]
pub enum Change {
    Create {
        name: String,
    },
    Append {
        file: FileIndex,
        bytes: Vec<u8>,
    },
    Sync {
        file: FileIndex,
    },
    /// A sync that failed: what was unsynced stays readable, and no later sync writes it.
    SyncFailed {
        file: FileIndex,
    },
    Rename {
        from: String,
        to: String,
    },
    Remove {
        name: String,
    },
    SyncDirectory,
}

#[derive(Clone, Debug, Default)]
pub struct DiskState {
    files: Vec<FileState>,
    /// The names as programs see them.
    names: BTreeMap<String, FileIndex>,
    /// The names as they are on the disk for certain.
    safe_names: BTreeMap<String, FileIndex>,
    /// What leads from the one to the other, in order.
    pending: Vec<NameChange>,
}

/// The bytes of one file as programs see them, in the pieces in which they came.
#[derive(Clone, Debug, Default)]
struct FileState {
    bytes: Arc<Vec<u8>>,
    pieces: Vec<Piece>,
}

#[derive(Clone, Debug)]
struct Piece {
    range: Range<usize>,
    safety: Safety,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Safety {
    /// Made safe by a sync.
    Safe,
    /// To be made safe by the next sync.
    Unsynced,
    /// Forgotten by a sync that failed.
    Forgotten,
}

#[derive(Clone, Debug)]
enum NameChange {
    Create { name: String, file: FileIndex },
    Rename { from: String, to: String, file: FileIndex },
    Remove { name: String },
}

/// One thing that a power cut may leave.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Says in words what was kept.
    pub label: String,
    names_kept: Vec<bool>,
    /// What is left of single files; of all others everything or nothing.
    remains: BTreeMap<FileIndex, Remains>,
    keeps_other_bytes: bool,
}

/// What is left of a file: so many bytes, of which some unsynced ones read as zeros.
#[derive(Clone, Debug)]
struct Remains {
    size: usize,
    zeroed: Vec<Range<usize>>,
}

impl DiskState {
    /// The disk that holds exactly these files, all safe.
    pub fn of_files(files: impl IntoIterator<Item = (String, Vec<u8>)>) -> DiskState {
        let mut state = DiskState::default();
        for (index, (name, bytes)) in files.into_iter().enumerate() {
            let pieces = vec![Piece { range: 0..bytes.len(), safety: Safety::Safe }];
            state.files.push(FileState { bytes: Arc::new(bytes), pieces });
            state.names.insert(name, index);
        }
        state.safe_names = state.names.clone();
        state
    }

    /// The file that a program finds under the name.
    pub fn find(&self, name: &str) -> io::Result<FileIndex> {
        self.names.get(name).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Files that there ever were: the next one created gets this index.
    pub fn file_count(&self) -> usize {
        self.files.len()
    }

    pub fn bytes(&self, file: FileIndex) -> &[u8] {
        &self.files[file].bytes
    }

    /// Names and sizes, as programs see them.
    pub fn list(&self) -> Vec<(String, u64)> {
        self.names.iter().map(|(name, &file)| (name.clone(), self.bytes(file).len() as u64)).collect()
    }

    /// Takes the step. The files that it names must be there, and the name that it creates must not.
    pub fn apply(&mut self, change: &Change) {
        match change {
            Change::Create { name } => {
                let file = self.files.len();
                self.files.push(FileState::default());
                self.names.insert(name.clone(), file);
                self.pending.push(NameChange::Create { name: name.clone(), file });
            }
            Change::Append { file, bytes } => self.files[*file].append(bytes),
            Change::Sync { file } => self.files[*file].turn_unsynced(Safety::Safe),
            Change::SyncFailed { file } => self.files[*file].turn_unsynced(Safety::Forgotten),
            Change::Rename { from, to } => {
                let file = self.names.remove(from).expect("the caller found the file");
                self.names.insert(to.clone(), file);
                self.pending.push(NameChange::Rename { from: from.clone(), to: to.clone(), file });
            }
            Change::Remove { name } => {
                self.names.remove(name);
                self.pending.push(NameChange::Remove { name: name.clone() });
            }
            Change::SyncDirectory => {
                self.pending.clear();
                self.safe_names = self.names.clone();
            }
        }
    }

    /// The disk after the power cut that this outcome tells of.
    pub fn after(&self, outcome: &Outcome) -> DiskState {
        let mut names = self.safe_names.clone();
        for (change, _) in self.pending.iter().zip(&outcome.names_kept).filter(|(_, kept)| **kept) {
            match change {
                NameChange::Create { name, file } => {
                    names.insert(name.clone(), *file);
                }
                NameChange::Rename { from, to, file } => {
                    names.remove(from);
                    names.insert(to.clone(), *file);
                }
                NameChange::Remove { name } => {
                    names.remove(name);
                }
            }
        }
        DiskState::of_files(names.into_iter().map(|(name, index)| {
            let file = &self.files[index];
            let remains = match outcome.remains.get(&index) {
                Some(remains) => remains.clone(),
                None if outcome.keeps_other_bytes => file.whole(),
                None => file.safe_only(),
            };
            (name, file.cut_to(&remains))
        }))
    }

    /// What a power cut at this moment may leave: all kinds of losses, at most `limit` of them.
    ///
    /// The first four are always there: nothing unsynced, everything, names without bytes, bytes without
    /// names. Past the limit the others are a sample. Some may lead to the same disk.
    pub fn outcomes(&self, limit: usize, seed: u64) -> Vec<Outcome> {
        let mut random = Random::new(seed);
        let all = vec![true; self.pending.len()];
        let none = vec![false; self.pending.len()];
        let mut outcomes = Vec::new();
        for (keeps_names, keeps_bytes) in [(false, false), (true, true), (true, false), (false, true)] {
            let names_kept = if keeps_names { all.clone() } else { none.clone() };
            let label = format!("{} and {}", names_label(&names_kept), bytes_label(keeps_bytes));
            outcomes.push(Outcome {
                label,
                names_kept,
                remains: BTreeMap::new(),
                keeps_other_bytes: keeps_bytes,
            });
        }
        let essential_count = outcomes.len();
        for names_kept in self.name_subsets() {
            for keeps_other_bytes in [true, false] {
                let label = format!("{} and {}", names_label(&names_kept), bytes_label(keeps_other_bytes));
                let names_kept = names_kept.clone();
                outcomes.push(Outcome { label, names_kept, remains: BTreeMap::new(), keeps_other_bytes });
            }
        }
        for file in self.reachable_files() {
            let name = self.name_of(file);
            for (what, remains) in self.files[file].losses(&mut random) {
                for keeps_other_bytes in [true, false] {
                    outcomes.push(Outcome {
                        label: format!(
                            "all names, of {name} {what}, {} elsewhere",
                            bytes_label(keeps_other_bytes)
                        ),
                        names_kept: all.clone(),
                        remains: BTreeMap::from([(file, remains.clone())]),
                        keeps_other_bytes,
                    });
                }
            }
        }
        if outcomes.len() > limit {
            random.shuffle(&mut outcomes[essential_count..]);
            outcomes.truncate(limit.max(essential_count));
        }
        outcomes
    }

    fn reachable_files(&self) -> BTreeSet<FileIndex> {
        self.names.values().chain(self.safe_names.values()).copied().collect()
    }

    fn name_of(&self, file: FileIndex) -> &str {
        let mut names = self.names.iter().chain(&self.safe_names);
        names.find(|(_, index)| **index == file).map_or("a nameless file", |(name, _)| name)
    }

    /// The sane subsets of the pending changes of names: all, or, where that would be too many, those that an
    /// ordered journal leaves, each change alone with what it builds on, and all without one and what builds on it.
    fn name_subsets(&self) -> Vec<Vec<bool>> {
        let count = self.pending.len();
        let builds_on = |later: usize, earlier: usize| {
            let names = self.pending[earlier].names();
            earlier < later && self.pending[later].names().iter().any(|name| names.contains(name))
        };
        let is_sane = |kept: &[bool]| {
            (0..count).all(|later| {
                !kept[later] || (0..later).all(|earlier| kept[earlier] || !builds_on(later, earlier))
            })
        };
        if count <= NAME_CHANGE_COUNT_EXHAUSTIVE_MAX {
            let subsets = (0..1_usize << count).map(|bits| (0..count).map(|i| bits >> i & 1 == 1).collect());
            return subsets.filter(|kept: &Vec<bool>| is_sane(kept)).collect();
        }
        let mut subsets: Vec<Vec<bool>> =
            (1..count).map(|length| (0..count).map(|i| i < length).collect()).collect();
        for chosen in 0..count {
            let mut alone = vec![false; count];
            let mut dropped = vec![true; count];
            alone[chosen] = true;
            dropped[chosen] = false;
            for earlier in (0..chosen).rev() {
                alone[earlier] = (earlier..=chosen).any(|later| alone[later] && builds_on(later, earlier));
            }
            for later in chosen + 1..count {
                dropped[later] =
                    !(chosen..later).any(|earlier| !dropped[earlier] && builds_on(later, earlier));
            }
            subsets.extend([alone, dropped]);
        }
        debug_assert!(subsets.iter().all(|kept| is_sane(kept)));
        subsets
    }
}

fn names_label(kept: &[bool]) -> String {
    match kept.iter().filter(|kept| **kept).count() {
        count if count == kept.len() => "all names".to_owned(),
        0 => "no new names".to_owned(),
        _ => {
            let kept: Vec<usize> = (0..kept.len()).filter(|&index| kept[index]).collect();
            format!("of the pending names {kept:?}")
        }
    }
}

fn bytes_label(kept: bool) -> &'static str {
    if kept { "all bytes" } else { "no unsynced bytes" }
}

impl NameChange {
    fn names(&self) -> Vec<&str> {
        match self {
            NameChange::Create { name, .. } | NameChange::Remove { name } => vec![name],
            NameChange::Rename { from, to, .. } => vec![from, to],
        }
    }
}

impl FileState {
    fn append(&mut self, bytes: &[u8]) {
        let start = self.bytes.len();
        Arc::make_mut(&mut self.bytes).extend_from_slice(bytes);
        self.pieces.push(Piece { range: start..start + bytes.len(), safety: Safety::Unsynced });
    }

    fn turn_unsynced(&mut self, safety: Safety) {
        for piece in self.pieces.iter_mut().filter(|piece| piece.safety == Safety::Unsynced) {
            piece.safety = safety;
        }
    }

    /// How long the file is for certain.
    fn safe_size(&self) -> usize {
        let safe = self.pieces.iter().filter(|piece| piece.safety == Safety::Safe);
        safe.map(|piece| piece.range.end).max().unwrap_or(0)
    }

    /// The ranges that no sync made safe, in order.
    fn unsafe_ranges(&self) -> Vec<Range<usize>> {
        let pieces = self.pieces.iter().filter(|piece| piece.safety != Safety::Safe);
        pieces.map(|piece| piece.range.clone()).filter(|range| !range.is_empty()).collect()
    }

    fn whole(&self) -> Remains {
        Remains { size: self.bytes.len(), zeroed: Vec::new() }
    }

    fn safe_only(&self) -> Remains {
        Remains { size: self.safe_size(), zeroed: self.unsafe_ranges() }
    }

    fn cut_to(&self, remains: &Remains) -> Vec<u8> {
        let mut bytes = self.bytes[..remains.size].to_vec();
        for range in &remains.zeroed {
            let end = range.end.min(bytes.len());
            bytes[range.start.min(end)..end].fill(0);
        }
        bytes
    }

    /// The ways to lose some of the unsynced bytes.
    fn losses(&self, random: &mut Random) -> Vec<(String, Remains)> {
        let unsynced = self.unsafe_ranges();
        let (Some(first), Some(last)) = (unsynced.first(), unsynced.last()) else { return Vec::new() };
        let size = self.bytes.len();
        let safe_size = self.safe_size();
        let mut losses = Vec::new();

        let mut cuts: BTreeSet<usize> = unsynced.iter().map(|range| range.start).collect();
        let edges = (first.start / SECTOR_SIZE + 1..).map(|sector| sector * SECTOR_SIZE);
        let mut edges: Vec<usize> = edges.take_while(|edge| *edge < last.end).collect();
        random.shuffle(&mut edges);
        cuts.extend(edges.iter().take(TORN_SECTOR_COUNT_MAX));
        cuts.extend([last.start + 1, last.start.midpoint(last.end), last.end - 1]);
        cuts.extend((0..2).map(|_| last.start + random.below(last.len())));
        for cut in cuts {
            let zeroed = unsynced.iter().map(|range| range.start.max(cut)..range.end.max(cut)).collect();
            losses.push((format!("zeros from byte {cut} on"), Remains { size, zeroed }));
            if cut >= safe_size {
                losses.push((format!("only {cut} bytes"), Remains { size: cut, zeroed: Vec::new() }));
            }
        }

        for kept in &unsynced {
            let zeroed = unsynced.iter().filter(|range| *range != kept).cloned().collect();
            let what = format!("of the unsynced bytes only {}..{}", kept.start, kept.end);
            losses.push((what, Remains { size: kept.end.max(safe_size), zeroed }));
            let what = format!("zeros at {}..{}", kept.start, kept.end);
            losses.push((what, Remains { size, zeroed: vec![kept.clone()] }));
        }

        let sectors = last.start / SECTOR_SIZE..last.end.div_ceil(SECTOR_SIZE);
        for sector in sectors.take(TORN_SECTOR_COUNT_MAX) {
            let lost = last.start.max(sector * SECTOR_SIZE)..last.end.min((sector + 1) * SECTOR_SIZE);
            let what = format!("the sector {}..{} as zeros", lost.start, lost.end);
            losses.push((what, Remains { size, zeroed: vec![lost] }));
        }
        losses
    }
}
