//! Lives of a store read from bytes, with failing operations, kills and power cuts anywhere, beside a model of it.
//!
//! What a fuzzer's bytes mean: each says what is done next, and the bytes behind it how. Whenever the store is opened
//! again it must have what the model has: all that was acknowledged, and of the one change of which nobody was told
//! what became, all or nothing. The target is `fuzz/fuzz_targets/store.rs`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use flywheeldb::Store;
use flywheeldb::api::ProblemClass;
use flywheeldb::model::{Entity, Event, IdentityMerge, ProfileWrite};
use flywheeldb::store::check;
use rustix::io::Errno;

use super::sim_disk::{Persistence, SimDisk};
use super::subject::{Subject, open_store};
use super::workload::{Call, Marks, MarksByUser};

const USERS: [&str; 7] = ["ada", "bo", "cy", "dee", "anon-1", "anon-2", "anon-3"];
const EVENTS: [&str; 4] = ["signup", "project_created", "page_viewed", "purchase"];
/// Different events that there are: few, so that they come again.
const EVENT_COUNT: u8 = 60;
/// Ways to lose what was not synced from which a cut chooses.
const OUTCOME_COUNT: usize = 64;
/// Things done in one life.
const STEP_COUNT_MAX: usize = 60;

/// What was lived through.
#[derive(Debug, Default)]
pub struct Figures {
    pub lives: usize,
    pub calls: usize,
    pub failures: usize,
    pub crashes: usize,
    /// Crashes while the store was being opened after one.
    pub crashes_of_recovery: usize,
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Figures { lives, calls, failures, crashes, crashes_of_recovery } = self;
        write!(f, "{lives} lives, {calls} calls, {failures} of them failed, {crashes} crashes, ")?;
        write!(f, "{crashes_of_recovery} more while opening; 0 lost, 0 twice, 0 made up")
    }
}

/// Who did what, the plain way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Model {
    /// The user of each event that is there, by its mark.
    events: BTreeMap<String, String>,
    /// Whose part an id became.
    merged: BTreeMap<String, String>,
    /// Marks of events that went with their users: sent again, they are duplicates.
    buried: BTreeSet<String>,
}

impl Model {
    fn called(&self, user: &str) -> String {
        let mut name = user;
        while let Some(into) = self.merged.get(name) {
            name = into;
        }
        name.to_owned()
    }

    fn apply(&mut self, call: &Call) {
        match call {
            Call::Ingest(batch) => {
                for event in batch {
                    let mark = event.properties[0].1.as_str().expect("marks are strings").to_owned();
                    if !self.buried.contains(&mark) && !self.events.contains_key(&mark) {
                        self.events.insert(mark, self.called(&event.user));
                    }
                }
            }
            Call::MergeIdentities(pairs) => {
                for IdentityMerge { from, into } in pairs {
                    let (from, into) = (self.called(from), self.called(into));
                    if from != into {
                        let moved = self.events.values_mut().filter(|user| **user == from);
                        moved.for_each(|user| user.clone_from(&into));
                        self.merged.insert(from, into);
                    }
                }
            }
            Call::DeleteUser(user) => {
                let gone = self.called(user);
                let marks = self.events.extract_if(.., |_, user| *user == gone);
                self.buried.extend(marks.map(|(mark, _)| mark));
                let parts: Vec<String> =
                    self.merged.keys().filter(|id| self.called(id) == gone).cloned().collect();
                parts.iter().for_each(|id| drop(self.merged.remove(id)));
            }
            _ => {}
        }
    }

    fn after(&self, call: &Call) -> Model {
        let mut after = self.clone();
        after.apply(call);
        after
    }

    fn marks_by_user(&self) -> MarksByUser {
        let mut marks = MarksByUser::new();
        for (mark, user) in &self.events {
            marks.entry(user.clone()).or_default().push(mark.clone());
        }
        marks.values_mut().for_each(|marks| marks.sort());
        marks
    }
}

/// The bytes that are left.
struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn next(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    /// A number below `end`; 0 where no bytes are left.
    fn below(&mut self, end: usize) -> usize {
        usize::from(self.next().unwrap_or(0)) % end
    }

    fn event(&mut self) -> Event {
        let number = self.next().unwrap_or(0) % EVENT_COUNT;
        let (user, name) =
            (USERS[usize::from(number) % USERS.len()], EVENTS[usize::from(number) % EVENTS.len()]);
        Marks(u32::from(number)).did(user, name, i64::from(number) * 3 - 60)
    }

    fn user(&mut self) -> &'static str {
        USERS[self.below(USERS.len())]
    }
}

/// A store, its disk, and what it must have.
struct Life<'a> {
    disk: SimDisk,
    store: Option<Store>,
    /// One, but where a change in doubt is none that can be seen yet: two ids without events became one user, or not.
    models: Vec<Model>,
    /// A change that failed so that nobody knows whether it is on the disk.
    in_doubt: Option<Call>,
    figures: &'a mut Figures,
}

impl Life<'_> {
    fn call(&mut self, call: Call) {
        let Some(store) = &self.store else { return };
        self.figures.calls += 1;
        match store.call(&call) {
            Ok(()) if call.writes() => {
                self.models.iter_mut().for_each(|model| model.apply(&call));
                // It was written behind, or to another log: what was in doubt would be seen by now.
                self.in_doubt = None;
            }
            Ok(()) => {}
            Err(problem) => {
                self.figures.failures += 1;
                if call.writes() && problem.class != ProblemClass::ReadOnly {
                    self.in_doubt = Some(call);
                }
            }
        }
    }

    /// Finds what there must be in the open store.
    fn look(&mut self) {
        let Some(store) = &self.store else { return };
        let found = store.marks_by_user().expect("nothing that reads fails");
        let expected: Vec<MarksByUser> = self.models.iter().map(Model::marks_by_user).collect();
        self.models.retain(|model| model.marks_by_user() == found);
        self.models.dedup();
        assert!(!self.models.is_empty(), "there is {found:?}, expected {expected:?}");
    }

    /// Opens the store on its disk. Fails only if an operation does.
    fn open(&mut self) -> bool {
        let opened = open_store(Arc::new(self.disk.clone()));
        match opened {
            Ok(store) => {
                if let Some(call) = self.in_doubt.take() {
                    let done: Vec<Model> = self.models.iter().map(|model| model.after(&call)).collect();
                    self.models.extend(done);
                }
                self.store = Some(store);
                self.look();
                true
            }
            Err(_) => false,
        }
    }

    /// Ends the process where it is, and chooses what is left of the disk.
    fn crash(&mut self, bytes: &mut Bytes<'_>) {
        self.figures.crashes += 1;
        self.store = None;
        let state = self.disk.state();
        self.disk = match bytes.next() {
            None | Some(0) => SimDisk::after_kill(&state),
            Some(choice) => {
                let outcomes = state.outcomes(OUTCOME_COUNT, u64::from(choice));
                SimDisk::after_power_cut(&state, &outcomes[usize::from(choice) % outcomes.len()])
            }
        };
    }

    /// Opens the store after a crash, perhaps with another one on the way.
    fn recover(&mut self, bytes: &mut Bytes<'_>) {
        let operation = bytes.below(64);
        if operation > 0 {
            self.disk.crash_at(self.disk.operation_count() + operation);
            if !self.open() {
                self.figures.crashes_of_recovery += 1;
            }
            self.crash(bytes);
        }
        assert!(self.open(), "it cannot be opened");
    }
}

/// Lives what the bytes say. Panics where the store is not what it must be.
pub fn live(bytes: &[u8], figures: &mut Figures) {
    figures.lives += 1;
    let mut bytes = Bytes(bytes);
    let mut life =
        Life { disk: SimDisk::new(), store: None, models: vec![Model::default()], in_doubt: None, figures };
    assert!(life.open(), "an empty disk cannot be opened");
    for _ in 0..STEP_COUNT_MAX {
        let Some(step) = bytes.next() else { break };
        match step % 16 {
            0..=5 => {
                let count = 1 + bytes.below(6);
                life.call(Call::Ingest((0..count).map(|_| bytes.event()).collect()));
            }
            6 | 7 => {
                let pair = IdentityMerge { from: bytes.user().to_owned(), into: bytes.user().to_owned() };
                life.call(Call::MergeIdentities(vec![pair]));
            }
            8 => life.call(Call::DeleteUser(bytes.user())),
            9 => {
                let set = vec![("plan".to_owned(), ["free", "pro"][bytes.below(2)].into())];
                let write = ProfileWrite { id: bytes.user().to_owned(), set, ..ProfileWrite::default() };
                life.call(Call::WriteProfiles(Entity::User, vec![write]));
            }
            10 => life.call(Call::Seal),
            11 => life.call(Call::Compact),
            12 => {
                if let Some(store) = life.store.take() {
                    let _ = store.close(); // its failure takes nothing back
                    life.disk.heal();
                    assert!(life.open(), "it cannot be opened again");
                }
            }
            13 => {
                let errno = [Errno::IO, Errno::NOSPC][bytes.below(2)];
                let persistence = [Persistence::Once, Persistence::Sticky][bytes.below(2)];
                life.disk.fail(life.disk.operation_count() + bytes.below(16), errno, persistence);
            }
            14 => life.disk.heal(),
            _ => {
                // During the next calls, or now.
                let operation = bytes.below(48);
                if operation > 0 {
                    life.disk.crash_at(life.disk.operation_count() + operation);
                    let count = 1 + bytes.below(6);
                    life.call(Call::Ingest((0..count).map(|_| bytes.event()).collect()));
                    life.call(
                        [Call::Seal, Call::Compact, Call::DeleteUser(bytes.user())][bytes.below(3)].clone(),
                    );
                }
                life.crash(&mut bytes);
                life.recover(&mut bytes);
            }
        }
        if !life.disk.fails_reads() {
            life.look();
        }
    }
    life.disk.heal();
    life.store = None;
    life.disk = SimDisk::after_kill(&life.disk.state());
    assert!(life.open(), "it cannot be opened at the end");
    if let Some(store) = life.store.take() {
        store.close().expect("nothing fails any more");
    }
    let report = check(&life.disk).expect("it can be read");
    assert!(report.is_sound(), "{report:?}");
}
