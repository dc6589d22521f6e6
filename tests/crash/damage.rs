//! Every bit of a small store flipped, every file cut to every length, gone, in the place of another, or an old one.
//!
//! Whatever happens to the bytes: the store does not open and names the file, or answers as before, or the query that
//! meets the damage names the file. Never another answer, never a panic. And `check` finds it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use flywheeldb::io::Directory;
use flywheeldb::store::check;
use parking_lot::Mutex;

use super::ledger::Observation;
use super::power_cuts::{Effort, without_panic};
use super::random::Random;
use super::sim_disk::SimDisk;
use super::subject::{Subject, open_store};
use super::workload::CALLS;

type Files = BTreeMap<String, Vec<u8>>;

/// What was tried, and what came of it.
#[derive(Debug, Default)]
pub struct Figures {
    pub bytes: usize,
    pub cases: AtomicUsize,
    pub refused_at_open: AtomicUsize,
    pub refused_by_queries: AtomicUsize,
    pub harmless: AtomicUsize,
    /// Of those, groups at the end of the log of a store that was not closed, which look like its end.
    pub log_end: AtomicUsize,
    pub cases_left: usize,
    pub seconds: f64,
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let get = |count: &AtomicUsize| count.load(Ordering::Relaxed);
        write!(
            f,
            "{} bytes, {} cases: {} refused at open, {} by queries, {} harmless (of them {} the end of an open \
             log), 0 silent; {} left, {:.1} s",
            self.bytes,
            get(&self.cases),
            get(&self.refused_at_open),
            get(&self.refused_by_queries),
            get(&self.harmless),
            get(&self.log_end),
            self.cases_left,
            self.seconds
        )
    }
}

/// A small store, by its files.
struct Small {
    files: Files,
    /// Earlier bytes of files that are there.
    stale: Vec<(String, Vec<u8>)>,
    observed: Observation,
    /// What is seen with fewer of the groups of changes that the log of a store holds that was not closed; the last
    /// has one fewer. That the last group was there nothing proves, and of a log that is cut between groups, no more.
    with_fewer: Vec<Observation>,
}

impl Small {
    fn new(is_closed: bool) -> Small {
        let disk = SimDisk::new();
        let store = open_store(Arc::new(disk.clone())).unwrap();
        let mut with_fewer = Vec::new();
        for index in [0, 1, 2, 4, 5, 6, 8, 9, 12, 22, 13] {
            match CALLS[index].writes() {
                true => with_fewer.push(Observation::of(&store).unwrap()),
                false => with_fewer.clear(), // sealed
            }
            store.call(&CALLS[index]).unwrap();
        }
        let observed = Observation::of(&store).unwrap();
        if is_closed {
            store.close().unwrap();
            with_fewer.clear();
        } else {
            drop(store);
        }
        let files = files_of(&disk);
        let mut stale = Vec::new();
        for state in disk.history() {
            for (name, _) in state.list() {
                let bytes = state.bytes(state.find(&name).unwrap()).to_vec();
                let is_other = files.get(&name).is_some_and(|now| *now != bytes);
                if is_other && !stale.contains(&(name.clone(), bytes.clone())) {
                    stale.push((name, bytes));
                }
            }
        }
        Small { files, stale, observed, with_fewer }
    }

    /// Tries the store with one file changed; `None` takes it away. So many groups at the end of an open log may go
    /// unnoticed.
    fn try_with(
        &self,
        name: &str,
        bytes: Option<Vec<u8>>,
        groups_lost_max: usize,
        figures: &Figures,
    ) -> Result<(), String> {
        let mut files = self.files.clone();
        match bytes {
            Some(bytes) => files.insert(name.to_owned(), bytes),
            None => files.remove(name),
        };
        figures.cases.fetch_add(1, Ordering::Relaxed);
        let count = |figure: &AtomicUsize| figure.fetch_add(1, Ordering::Relaxed);
        let disk = SimDisk::of_files(files);
        let report = check(&SimDisk::after_kill(&disk.state())).map_err(|problem| problem.to_string())?;
        let expect_found = || match report.is_sound() {
            true => Err("check finds nothing".to_owned()),
            false if report.findings.iter().any(|finding| finding.file == name) => Ok(()),
            false if name == "MANIFEST" || name.ends_with(".log") => Ok(()), // the other of the two may be to blame
            false => Err(format!("check blames {:?}", report.findings)),
        };
        let store = match open_store(Arc::new(disk)) {
            Ok(store) => store,
            Err(problem) => {
                if problem.exit_code() != 3 || !names_a_file(&problem.detail) {
                    return Err(format!("it is not told what is damaged: {problem}"));
                }
                count(&figures.refused_at_open);
                return expect_found();
            }
        };
        match Observation::of(&store) {
            Ok(observed) if observed == self.observed => {
                count(&figures.harmless);
                Ok(())
            }
            Ok(observed)
                if name.ends_with(".log")
                    && self.with_fewer.iter().rev().take(groups_lost_max).any(|fewer| *fewer == observed) =>
            {
                count(&figures.harmless);
                count(&figures.log_end);
                Ok(())
            }
            Ok(_) => Err("another answer, and nobody is told".to_owned()),
            Err(error) if error.contains(name) => {
                count(&figures.refused_by_queries);
                expect_found()
            }
            Err(error) => Err(format!("a query fails and does not name the file: {error}")),
        }
    }
}

fn names_a_file(detail: &str) -> bool {
    ["MANIFEST", ".log", ".segment", ".ids"].iter().any(|part| detail.contains(part))
}

fn files_of(disk: &SimDisk) -> Files {
    disk.list().unwrap().into_iter().map(|(name, _)| (name.clone(), disk.read(&name).unwrap())).collect()
}

/// One way to damage one file.
enum Case {
    Flip { name: String, bit: usize },
    Cut { name: String, size: usize },
    Longer { name: String },
    Gone { name: String },
    Instead { name: String, other: String },
    Stale { name: String, bytes: Vec<u8> },
}

/// Damages the store in all ways, as far as the effort goes. The first finding ends it.
pub fn damage_everything(is_closed: bool, effort: Effort) -> Result<Figures, String> {
    let started = Instant::now();
    let small = Small::new(is_closed);
    let mut cases = Vec::new();
    for (name, bytes) in &small.files {
        cases.extend((0..bytes.len() * 8).map(|bit| Case::Flip { name: name.clone(), bit }));
        cases.extend((0..bytes.len()).map(|size| Case::Cut { name: name.clone(), size }));
    }
    Random::new(effort.seed).shuffle(&mut cases);
    // The few others are always tried: last in the list, which is gone through from its end.
    for name in small.files.keys() {
        cases.push(Case::Longer { name: name.clone() });
        cases.push(Case::Gone { name: name.clone() });
        for other in small.files.keys().filter(|other| *other != name) {
            cases.push(Case::Instead { name: name.clone(), other: other.clone() });
        }
    }
    let stale = small.stale.iter().cloned();
    cases.extend(stale.map(|(name, bytes)| Case::Stale { name, bytes }));

    let mut figures = Figures { bytes: small.files.values().map(Vec::len).sum(), ..Figures::default() };
    let left = AtomicUsize::new(cases.len());
    let finding = Mutex::new(None);
    let work = || {
        loop {
            let is_over =
                finding.lock().is_some() || effort.time_max.is_some_and(|most| started.elapsed() > most);
            let index = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
            let (false, Ok(index)) = (is_over, index) else { return };
            let case = &cases[index - 1];
            let tried = without_panic(|| try_case(&small, case, &figures));
            if let Err(error) = tried {
                *finding.lock() = Some(format!("{}: {error}", described(case)));
            }
        }
    };
    std::thread::scope(|scope| {
        let thread_count = std::thread::available_parallelism().map_or(1, usize::from);
        (0..thread_count).for_each(|_| drop(scope.spawn(work)));
    });
    if let Some(finding) = finding.into_inner() {
        return Err(finding);
    }
    figures.cases_left = left.into_inner();
    figures.seconds = started.elapsed().as_secs_f64();
    Ok(figures)
}

fn try_case(small: &Small, case: &Case, figures: &Figures) -> Result<(), String> {
    let changed = |name: &String, groups_lost_max, change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = small.files[name].clone();
        change(&mut bytes);
        small.try_with(name, Some(bytes), groups_lost_max, figures)
    };
    match case {
        Case::Flip { name, bit } => changed(name, 1, &|bytes| bytes[bit / 8] ^= 1 << (bit % 8)),
        Case::Cut { name, size } => changed(name, usize::MAX, &|bytes| bytes.truncate(*size)),
        Case::Longer { name } => changed(name, 0, &|bytes| bytes.push(0)),
        Case::Gone { name } => small.try_with(name, None, 0, figures),
        Case::Instead { name, other } => small.try_with(name, Some(small.files[other].clone()), 0, figures),
        Case::Stale { name, bytes } => small.try_with(name, Some(bytes.clone()), usize::MAX, figures),
    }
}

fn described(case: &Case) -> String {
    match case {
        Case::Flip { name, bit } => format!("bit {} of byte {} of {name} flipped", bit % 8, bit / 8),
        Case::Cut { name, size } => format!("{name} cut to {size} bytes"),
        Case::Longer { name } => format!("{name} with a byte more"),
        Case::Gone { name } => format!("{name} gone"),
        Case::Instead { name, other } => format!("{other} in the place of {name}"),
        Case::Stale { name, bytes } => format!("an older {name}, of {} bytes", bytes.len()),
    }
}
