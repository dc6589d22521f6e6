//! Cuts the power before and after every operation of the script, and looks at what comes back.

use std::collections::HashSet;
use std::collections::hash_map::DefaultHasher;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::disk_state::DiskState;
use super::ledger::{Expectations, Ledger, Observation, writing_calls};
use super::random::Random;
use super::sim_disk::{Operation, SimDisk};
use super::subject::{Open, Subject};
use super::workload::{CALLS, Call, last_call_index};

/// Disks that are tried of a cut after a store was opened.
const OPENED_OUTCOME_COUNT: usize = 60;

/// How much to try.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// When to stop; `None` is when all is tried.
    pub time_max: Option<Duration>,
    pub seed: u64,
}

impl Effort {
    /// A sample of so many seconds, or everything if `FLYWHEEL_CRASH` is `all`. The seed may be given by
    /// `FLYWHEEL_CRASH_SEED`.
    pub fn from_environment(seconds: u64) -> Effort {
        let is_exhaustive = std::env::var("FLYWHEEL_CRASH").is_ok_and(|effort| effort == "all");
        let seed =
            std::env::var("FLYWHEEL_CRASH_SEED").map_or(1, |seed| seed.parse().expect("a seed is a number"));
        Effort { time_max: (!is_exhaustive).then(|| Duration::from_secs(seconds)), seed }
    }

    pub fn exhaustive() -> Effort {
        Effort { time_max: None, seed: 1 }
    }
}

/// Runs the script once on a whole disk.
struct Recording {
    operations: Vec<Operation>,
    /// The disk before each operation, and after the last.
    history: Vec<DiskState>,
    /// For each call of the script, the operations that were made when it began and when it was acknowledged.
    spans: Vec<(usize, usize)>,
}

impl Recording {
    fn of<S: Subject>(open: Open<'_, S>) -> Recording {
        let disk = SimDisk::new();
        let mut spans = Vec::new();
        let mut subject = open(Arc::new(disk.clone())).expect("nothing fails on this disk");
        for call in &CALLS[..last_call_index()] {
            let start = disk.operation_count();
            if matches!(call, Call::Reopen) {
                subject.close().expect("nothing fails on this disk");
                subject = open(Arc::new(disk.clone())).expect("nothing fails on this disk");
            } else {
                subject.call(call).expect("nothing fails on this disk");
            }
            spans.push((start, disk.operation_count()));
        }
        subject.close().expect("nothing fails on this disk");
        Recording { operations: disk.log(), history: disk.history(), spans }
    }

    /// What was acknowledged when so many operations were made.
    fn ledger(&self, operation_count: usize) -> Ledger {
        let writes =
            || self.spans.iter().zip(CALLS.iter()).filter(|(_, call)| call.writes()).map(|(span, _)| span);
        Ledger {
            acknowledged: writes().filter(|(_, end)| *end <= operation_count).count(),
            in_doubt: writes().any(|(start, end)| *start < operation_count && operation_count < *end),
        }
    }

    /// The numbers of operations after which the disk, or what is acknowledged, is another than before.
    fn crash_points(&self) -> Vec<usize> {
        let changed = |count: &usize| {
            *count == 0
                || self.operations[count - 1].change.is_some()
                || self.spans.iter().any(|(_, end)| end == count)
        };
        (0..self.history.len()).filter(changed).collect()
    }

    fn describe(&self, operation_count: usize) -> String {
        let call =
            self.spans.iter().position(|(start, end)| *start <= operation_count && operation_count < *end);
        let call =
            call.map_or("between calls".to_owned(), |call| format!("call {call}, {}", CALLS[call].name()));
        let last = operation_count.checked_sub(1).map(|last| &self.operations[last]);
        let last = last.map_or("nothing".to_owned(), |last| format!("{:?} of {:?}", last.kind, last.name));
        format!("{operation_count} operations (the last: {last}; {call})")
    }
}

/// What was tried.
#[derive(Clone, Copy, Debug, Default)]
pub struct Figures {
    pub operations: usize,
    pub crash_points: usize,
    /// Disks from which the store was opened and checked.
    pub states: usize,
    /// Those of them that a cut during a recovery left.
    pub states_of_recovery: usize,
    /// Disks that a cut could leave and that were not tried for want of time.
    pub states_left: usize,
    pub seconds: f64,
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Figures { operations, crash_points, states, states_of_recovery, states_left, seconds } = self;
        write!(f, "{operations} operations, {crash_points} crash points, {states} states checked ")?;
        write!(f, "({states_of_recovery} of an interrupted recovery), {states_left} left, {seconds:.1} s")
    }
}

/// Cuts at all crash points, in all ways, as far as the effort goes: first the usual losses everywhere, then
/// the others in random order. The first finding ends it.
pub fn cut_everywhere<S: Subject + Sync>(open: Open<'_, S>, effort: Effort) -> Result<Figures, String> {
    let started = Instant::now();
    let recording = Recording::of(open);
    let expectations = Expectations::new(open);
    let points = recording.crash_points();
    let mut cuts = Vec::new();
    for &point in &points {
        let outcome_count = recording.history[point].outcomes(usize::MAX, effort.seed).len();
        cuts.push((Loss::Process, point));
        cuts.extend((0..outcome_count).map(|index| (Loss::Power(index), point)));
    }
    let mut random = Random::new(effort.seed);
    random.shuffle(&mut cuts);
    cuts.sort_by_key(|(loss, _)| !loss.is_usual());

    let seen = Mutex::new(HashSet::new());
    let next = AtomicUsize::new(0);
    let is_over = AtomicBool::new(false);
    let (states, states_of_recovery) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let finding = Mutex::new(None);
    let work = || {
        while let Some(&(loss, point)) = cuts.get(next.load(Ordering::Relaxed)) {
            if is_over.load(Ordering::Relaxed) || effort.time_max.is_some_and(|most| started.elapsed() > most)
            {
                return;
            }
            next.fetch_add(1, Ordering::Relaxed);
            let ledger = recording.ledger(point);
            let (what, disk) = loss.apply(&recording.history[point], effort.seed);
            let fingerprint = fingerprint(&disk, loss, ledger);
            if !seen.lock().insert(fingerprint) {
                continue;
            }
            let check = Check { open, expectations: &expectations, ledger };
            let is_thorough =
                effort.time_max.is_none() || fingerprint.is_multiple_of(THOROUGH_CHECK_INTERVAL);
            let checked = without_panic(|| match is_thorough {
                true => check.recovery(&disk, effort.seed ^ fingerprint),
                false => check.open_and_explain(&disk, ledger).map(|_| 0),
            });
            states.fetch_add(1, Ordering::Relaxed);
            match checked {
                Ok(count) => {
                    states_of_recovery.fetch_add(count, Ordering::Relaxed);
                }
                Err(error) => {
                    let place = recording.describe(point);
                    *finding.lock() = Some(format!("after {place}, kept: {what}: {error} ({ledger:?})"));
                    is_over.store(true, Ordering::Relaxed);
                }
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
    Ok(Figures {
        operations: recording.operations.len(),
        crash_points: points.len(),
        states: states.into_inner() + states_of_recovery.load(Ordering::Relaxed),
        states_of_recovery: states_of_recovery.into_inner(),
        states_left: cuts.len().saturating_sub(next.into_inner()),
        seconds: started.elapsed().as_secs_f64(),
    })
}

/// Kills the process after every so many operations of the script, opens what it left, and cuts the power: what the
/// opening did because of names that it saw must not outlive those names. Returns how many disks were opened.
pub fn kill_open_cut<S: Subject>(open: Open<'_, S>, every: usize, seed: u64) -> Result<usize, String> {
    let recording = Recording::of(open);
    let mut states = 0;
    for (point, state) in recording.history.iter().enumerate().step_by(every) {
        let place = || recording.describe(point);
        let disk = SimDisk::after_kill(state);
        drop(open(Arc::new(disk.clone())).map_err(|problem| format!("killed after {}: {problem}", place()))?);
        let opened = disk.state();
        for outcome in opened.outcomes(OPENED_OUTCOME_COUNT, seed) {
            states += 1;
            let left = Arc::new(SimDisk::after_power_cut(&opened, &outcome));
            drop(open(left).map_err(|problem| {
                format!("killed after {}, opened, cut, kept: {}: {problem}", place(), outcome.label)
            })?);
        }
    }
    Ok(states)
}

#[derive(Clone, Copy, Debug)]
enum Loss {
    /// Only the process dies.
    Process,
    /// The power is cut, with the outcome of this number.
    Power(usize),
}

impl Loss {
    fn is_usual(self) -> bool {
        match self {
            Loss::Process => true,
            Loss::Power(index) => index < 4,
        }
    }

    fn apply(self, state: &DiskState, seed: u64) -> (String, SimDisk) {
        match self {
            Loss::Process => ("everything, as after a kill".to_owned(), SimDisk::after_kill(state)),
            Loss::Power(index) => {
                let outcome = state.outcomes(usize::MAX, seed).swap_remove(index);
                let disk = SimDisk::after_power_cut(state, &outcome);
                (outcome.label, disk)
            }
        }
    }
}

/// A panic becomes a finding, so that it is told with its place.
pub fn without_panic<T>(check: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    std::panic::catch_unwind(AssertUnwindSafe(check))
        .unwrap_or_else(|_| Err("panicked, see above".to_owned()))
}

/// Tells disks apart for which the check could end differently.
fn fingerprint(disk: &SimDisk, loss: Loss, ledger: Ledger) -> u64 {
    let mut hasher = DefaultHasher::new();
    matches!(loss, Loss::Process).hash(&mut hasher);
    ledger.hash(&mut hasher);
    let state = disk.state();
    for (name, _) in state.list() {
        let file = state.find(&name).expect("it is listed");
        (name, state.bytes(file)).hash(&mut hasher);
    }
    hasher.finish()
}

/// In a sample, one state in so many is also worked on and cut again, which takes ten times as long.
const THOROUGH_CHECK_INTERVAL: u64 = 4;

/// Cuts during each recovery that are tried, and the ways to lose what it wrote.
const RECOVERY_CUT_COUNT: usize = 2;
const RECOVERY_OUTCOME_COUNT: usize = 2;

/// What must hold on a disk after a crash.
pub struct Check<'a, S> {
    pub open: Open<'a, S>,
    pub expectations: &'a Expectations<'a, S>,
    pub ledger: Ledger,
}

impl<S: Subject> Check<'_, S> {
    /// Opens the disk, finds what must be there, works on, and cuts again during and after the recovery.
    ///
    /// Returns how many states of an interrupted recovery were checked.
    pub fn recovery(&self, disk: &SimDisk, seed: u64) -> Result<usize, String> {
        let before = disk.operation_count();
        let (subject, survived) = self.open_and_explain(disk, self.ledger)?;
        let after = disk.operation_count();
        let decided = Ledger { acknowledged: survived, in_doubt: false };

        let opened = disk.state();
        let nothing_unsynced = &opened.outcomes(1, seed)[0];
        self.open_and_explain(&SimDisk::after_power_cut(&opened, nothing_unsynced), decided)
            .map_err(|error| format!("what was served was not safe: {error}"))?;

        self.work_on(subject, disk, survived, seed)?;

        let history = disk.history();
        let mut random = Random::new(seed);
        let mut states_of_recovery = 0;
        for _ in 0..RECOVERY_CUT_COUNT.min(after - before) {
            let point = before + 1 + random.below(after - before);
            let state = &history[point];
            let mut outcomes = state.outcomes(usize::MAX, seed);
            random.shuffle(&mut outcomes);
            for outcome in outcomes.iter().take(RECOVERY_OUTCOME_COUNT) {
                self.open_and_explain(&SimDisk::after_power_cut(state, outcome), self.ledger).map_err(
                    |error| {
                        let count = point - before;
                        format!(
                            "cut again after {count} operations of the recovery, kept: {}: {error}",
                            outcome.label
                        )
                    },
                )?;
                states_of_recovery += 1;
            }
        }
        Ok(states_of_recovery)
    }

    /// Opens the disk and finds what must be there. Returns the number of calls that survived, too.
    pub fn open_and_explain(&self, disk: &SimDisk, ledger: Ledger) -> Result<(S, usize), String> {
        let subject =
            (self.open)(Arc::new(disk.clone())).map_err(|problem| format!("cannot be opened: {problem}"))?;
        let survived = self.expectations.explain(&Observation::of(&subject)?, ledger, false)?;
        Ok((subject, survived))
    }

    /// Repeats the call in doubt, makes one more, and finds both after the next cut.
    fn work_on(&self, subject: S, disk: &SimDisk, survived: usize, seed: u64) -> Result<(), String> {
        let mut survived = survived;
        if self.ledger.in_doubt {
            let call = writing_calls()[self.ledger.acknowledged];
            if survived == self.ledger.acknowledged || call.can_be_repeated() {
                subject.call(call).map_err(|problem| format!("the call in doubt fails again: {problem}"))?;
                survived = self.ledger.acknowledged + 1;
            }
        }
        let last_call = &CALLS[last_call_index()];
        subject.call(last_call).map_err(|problem| format!("no more calls are taken: {problem}"))?;
        let ledger = Ledger { acknowledged: survived, in_doubt: false };
        self.expectations
            .explain(&Observation::of(&subject)?, ledger, true)
            .map_err(|error| format!("after more calls: {error}"))?;
        let state = disk.state();
        let nothing_unsynced = &state.outcomes(1, seed)[0];
        let disk = SimDisk::after_power_cut(&state, nothing_unsynced);
        drop(subject);
        let subject =
            (self.open)(Arc::new(disk)).map_err(|problem| format!("cannot be opened again: {problem}"))?;
        self.expectations
            .explain(&Observation::of(&subject)?, ledger, true)
            .map_err(|error| format!("after more calls and one more cut: {error}"))?;
        Ok(())
    }
}
