//! Backups, restores and expiry, cut and failing at every operation.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use flywheeldb::Store;
use flywheeldb::api::{Problem, ProblemClass};
use flywheeldb::io::Directory;
use flywheeldb::model::TimeMs;
use flywheeldb::store::{Clock, StoreOptions, backup, check, restore};
use rustix::io::Errno;

use super::ledger::Observation;
use super::sim_disk::{Persistence, SimDisk};
use super::subject::{Subject, open_store};
use super::workload::{CALLS, Call, YEAR_START};

/// What was tried.
#[derive(Clone, Copy, Debug, Default)]
pub struct Figures {
    pub operations: usize,
    pub states: usize,
    pub failures: usize,
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Figures { operations, states, failures } = self;
        write!(f, "{operations} operations, {states} states after a cut, {failures} failing operations")
    }
}

/// What the clock shows.
const NOW: TimeMs = YEAR_START;

fn make(store: Store, disk: &SimDisk, calls: std::ops::Range<usize>) -> Store {
    let mut store = store;
    for call in &CALLS[calls] {
        if matches!(call, Call::Reopen) {
            Store::close(store).unwrap();
            store = open_store(Arc::new(disk.clone())).unwrap();
        } else {
            store.call(call).unwrap();
        }
    }
    store
}

/// Every disk that a cut may leave, at each of the operations from `first` on. `check` is told whether all of them
/// were made.
fn cut_everywhere(
    disk: &SimDisk,
    first: usize,
    outcome_count: usize,
    check: impl Fn(SimDisk, bool) -> Result<(), String>,
) -> usize {
    let history = disk.history();
    let mut states = 0;
    for (point, state) in history.iter().enumerate().skip(first) {
        for outcome in state.outcomes(outcome_count, point as u64) {
            let left = SimDisk::after_power_cut(state, &outcome);
            check(left, point + 1 == history.len())
                .unwrap_or_else(|error| panic!("after {point} operations, kept: {}: {error}", outcome.label));
            states += 1;
        }
    }
    states
}

/// The same disk, on which other things may happen.
fn copy_of(disk: &SimDisk) -> SimDisk {
    SimDisk::after_kill(&disk.state())
}

fn observed(disk: &SimDisk) -> Result<Observation, String> {
    let store =
        open_store(Arc::new(disk.clone())).map_err(|problem| format!("cannot be opened: {problem}"))?;
    Observation::of(&store)
}

/// What the store holds that is restored from the backup.
fn restored(backup: &SimDisk) -> Result<Observation, Problem> {
    let target = SimDisk::new();
    restore(backup, &target)?;
    assert!(check(&target).unwrap().is_sound(), "{:?}", check(&target).unwrap().findings);
    Ok(observed(&target).unwrap())
}

/// A store after half of the script, and after all of it, with a backup of each in one directory; the second one
/// begins after so many operations.
struct Life {
    source: SimDisk,
    target: SimDisk,
    second: usize,
    /// The target before the second backup.
    target_before: SimDisk,
    after_half: Observation,
    after_all: Observation,
}

fn life() -> Life {
    let (source, target) = (SimDisk::new(), SimDisk::new());
    let store = open_store(Arc::new(source.clone())).unwrap();
    let store = make(store, &source, 0..14);
    let after_half = Observation::of(&store).unwrap();
    backup(&source, &target, NOW).unwrap();
    let store = make(store, &source, 14..CALLS.len());
    let after_all = Observation::of(&store).unwrap();
    let target_before = copy_of(&target);
    let second = target.operation_count();
    backup(&source, &target, NOW).unwrap();
    Life { source: copy_of(&source), target, second, target_before, after_half, after_all }
}

pub fn cut_backups(outcome_count: usize) -> Figures {
    let life = life();
    // While the first is made there is none, or it is whole.
    let mut states = cut_everywhere(&life.target, 0, outcome_count, |left, _| match restored(&left) {
        Ok(found) if found == life.after_half || found == life.after_all => Ok(()),
        Ok(_) => Err("something else was restored".to_owned()),
        Err(problem) if [ProblemClass::NotFound, ProblemClass::Corrupt].contains(&problem.class) => {
            // It can be made again from there.
            backup(&life.source, &left, NOW).map_err(|problem| problem.to_string())?;
            let again = restored(&left).map_err(|problem| problem.to_string())?;
            (again == life.after_all).then_some(()).ok_or("the backup made again is another".to_owned())
        }
        Err(problem) => Err(problem.to_string()),
    });
    states += cut_everywhere(&life.target, life.second, outcome_count, |left, is_acknowledged| {
        let found = restored(&left).map_err(|problem| problem.to_string())?;
        if found != life.after_all && (is_acknowledged || found != life.after_half) {
            return Err("neither the one backup nor the other".to_owned());
        }
        assert!(check(&left).unwrap().is_sound(), "{:?}", check(&left).unwrap().findings);
        Ok(())
    });
    let mut failures = 0;
    let operation_count = life.target.operation_count() - life.second;
    for operation in 0..operation_count {
        for (errno, persistence) in [(Errno::IO, Persistence::Once), (Errno::NOSPC, Persistence::Sticky)] {
            let target = copy_of(&life.target_before);
            target.fail(operation, errno, persistence);
            let made = backup(&life.source, &target, NOW);
            target.heal();
            let found = restored(&target).unwrap();
            let is_second = found == life.after_all;
            assert!(
                is_second || (made.is_err() && found == life.after_half),
                "operation {operation}: {made:?}"
            );
            backup(&life.source, &target, NOW).unwrap();
            assert!(restored(&target).unwrap() == life.after_all, "operation {operation}, again");
            failures += 1;
        }
    }
    // And reading fails, anywhere.
    for operation in 0.. {
        let (source, target) = (copy_of(&life.source), copy_of(&life.target_before));
        source.fail(operation, Errno::IO, Persistence::Once);
        let made = backup(&source, &target, NOW);
        let found = restored(&target).unwrap();
        assert!(
            found == life.after_all || (made.is_err() && found == life.after_half),
            "reading {operation}"
        );
        failures += 1;
        if operation >= source.operation_count() {
            break;
        }
    }
    Figures { operations: life.target.operation_count(), states, failures }
}

pub fn cut_restores(outcome_count: usize) -> Figures {
    let life = life();
    let target = SimDisk::new();
    restore(&life.target, &target).unwrap();
    let states = cut_everywhere(&target, 0, outcome_count, |left, is_acknowledged| {
        let names: Vec<String> = left.list().unwrap().into_iter().map(|(name, _)| name).collect();
        if !names.iter().any(|name| name == "MANIFEST") {
            if is_acknowledged {
                return Err("the store is gone".to_owned());
            }
            if names.iter().any(|name| name == "RESTORING") {
                let problem = open_store(Arc::new(copy_of(&left))).unwrap_err();
                assert!(problem.detail.contains("did not end"), "{problem}");
            }
            restore(&life.target, &left).map_err(|problem| format!("not again: {problem}"))?;
        }
        (observed(&left)? == life.after_all).then_some(()).ok_or("another store".to_owned())
    });
    let mut failures = 0;
    for operation in 0..target.operation_count() {
        for (errno, persistence) in [(Errno::IO, Persistence::Once), (Errno::NOSPC, Persistence::Sticky)] {
            let disk = SimDisk::new();
            disk.fail(operation, errno, persistence);
            let made = restore(&life.target, &disk);
            disk.heal();
            if made.is_err() && !disk.list().unwrap().iter().any(|(name, _)| name == "MANIFEST") {
                restore(&life.target, &disk).unwrap();
            }
            assert!(observed(&disk).unwrap() == life.after_all, "operation {operation}");
            failures += 1;
        }
    }
    Figures { operations: target.operation_count(), states, failures }
}

/// A clock that stands still.
#[derive(Debug)]
struct StoppedClock(TimeMs);

impl Clock for StoppedClock {
    fn now(&self) -> TimeMs {
        self.0
    }

    fn uptime(&self) -> Duration {
        Duration::ZERO
    }
}

const DAY: TimeMs = 86_400_000;
/// The script's events lie from fifty days before the start of the year to eighty after it. All but the last month
/// goes.
const KEPT: TimeMs = 30 * DAY;
const EXPIRES_AT: TimeMs = YEAR_START + 84 * DAY;

fn open_expiring(disk: &SimDisk) -> Result<Store, Problem> {
    let options = StoreOptions {
        background: false,
        expire_after: Some(Duration::from_millis(KEPT as u64)),
        clock: Arc::new(StoppedClock(EXPIRES_AT)),
        ..StoreOptions::default()
    };
    Store::open_on(Arc::new(disk.clone()), options)
}

/// Expiry at every operation: whoever opens the store so sees exactly what has not expired, and whoever opens it
/// otherwise sees all of what has, or nothing.
pub fn cut_expiry(outcome_count: usize) -> Figures {
    let disk = SimDisk::new();
    let store = open_store(Arc::new(disk.clone())).unwrap();
    let store = make(store, &disk, 0..CALLS.len());
    let everything = Observation::of(&store).unwrap();
    drop(store);
    let first = disk.operation_count();
    let store = open_expiring(&disk).unwrap();
    let kept = Observation::of(&store).unwrap();
    assert!(kept != everything);
    store.seal().unwrap();
    store.expire().unwrap();
    assert!(Observation::of(&store).unwrap() == kept, "what goes was not seen any more");
    let sizes = |disk: &SimDisk| disk.list().unwrap().iter().map(|(_, size)| size).sum::<u64>();
    let size = sizes(&disk);
    store.compact().unwrap();
    drop(store);
    assert!(sizes(&disk) <= size && check(&disk).unwrap().is_sound());
    let states = cut_everywhere(&disk, first, outcome_count, |left, _| {
        let expiring = open_expiring(&copy_of(&left)).map_err(|problem| problem.to_string())?;
        if Observation::of(&expiring)? != kept {
            return Err("what has not expired is not what is seen".to_owned());
        }
        drop(expiring);
        let found = observed(&left)?;
        (found == kept || found == everything)
            .then_some(())
            .ok_or("a part of what has expired is seen".to_owned())
    });
    Figures { operations: disk.operation_count() - first, states, failures: 0 }
}
