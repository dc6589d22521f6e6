//! Lets every operation of the script fail, once or from then on, and looks at what the store makes of it.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use flywheeldb::Store;
use flywheeldb::api::ProblemClass;
use flywheeldb::model::EventBatch;
use flywheeldb::store::StoreBounds;
use rustix::io::Errno;

use super::ledger::{Expectations, Ledger, Observation, writing_calls};
use super::power_cuts::{Check, Effort, without_panic};
use super::random::Random;
use super::sim_disk::{OperationKind, Persistence, SimDisk};
use super::subject::{Open, Subject, open_store};
use super::workload::{CALLS, Call, YEAR_START, last_call_index};

/// What was tried.
#[derive(Clone, Copy, Debug, Default)]
pub struct Figures {
    pub operations: usize,
    /// Runs of the script with a failing operation.
    pub runs: usize,
    pub runs_left: usize,
    pub seconds: f64,
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Figures { operations, runs, runs_left, seconds } = self;
        write!(f, "{operations} operations, {runs} runs with one failing, {runs_left} left, {seconds:.1} s")
    }
}

#[derive(Clone, Copy, Debug)]
struct Failure {
    operation: usize,
    errno: Errno,
    persistence: Persistence,
}

/// Lets each operation fail in each way that it can, as far as the effort goes. The first finding ends it.
pub fn fail_everywhere<S: Subject>(open: Open<'_, S>, effort: Effort) -> Result<Figures, String> {
    let started = Instant::now();
    let expectations = Expectations::new(open);
    let undisturbed = SimDisk::new();
    let ledger = run(open, &expectations, &undisturbed)?;
    check_after_failure(open, &expectations, &undisturbed, ledger, effort.seed)?;
    if ledger.acknowledged != writing_calls().len() {
        return Err(format!("a call fails without a cause: {ledger:?}"));
    }
    let operations = undisturbed.log();
    let mut failures = Vec::new();
    for (operation, entry) in operations.iter().enumerate() {
        for &errno in errors_of(entry.kind) {
            for persistence in [Persistence::Once, Persistence::Sticky] {
                failures.push(Failure { operation, errno, persistence });
            }
        }
    }
    Random::new(effort.seed).shuffle(&mut failures);

    let mut runs = 0;
    for failure in &failures {
        if effort.time_max.is_some_and(|most| started.elapsed() > most) {
            break;
        }
        let entry = &operations[failure.operation];
        let disk = SimDisk::new();
        disk.fail(failure.operation, failure.errno, failure.persistence);
        let outcome = without_panic(|| {
            let ledger = run(open, &expectations, &disk)?;
            check_after_failure(open, &expectations, &disk, ledger, effort.seed)
        });
        outcome.map_err(|error| format!("{failure:?}, {:?} of {:?}: {error}", entry.kind, entry.name))?;
        runs += 1;
    }
    Ok(Figures {
        operations: operations.len(),
        runs,
        runs_left: failures.len() - runs,
        seconds: started.elapsed().as_secs_f64(),
    })
}

/// The errors that a system gives for such an operation.
fn errors_of(kind: OperationKind) -> &'static [Errno] {
    match kind {
        OperationKind::Append => &[Errno::NOSPC, Errno::IO, Errno::INTR],
        OperationKind::Sync | OperationKind::SyncDirectory => &[Errno::IO, Errno::NOSPC],
        OperationKind::Create => &[Errno::NOSPC, Errno::MFILE],
        OperationKind::Read | OperationKind::Map => &[Errno::IO, Errno::MFILE],
        OperationKind::Rename => &[Errno::IO, Errno::NOSPC],
        OperationKind::Remove | OperationKind::List | OperationKind::Lock => &[Errno::IO],
    }
}

/// Makes the calls of the script, a failed one twice, until a write fails again, and returns what was
/// acknowledged.
///
/// Whatever fails, what the store answers must be right. It may leave questions open only where the system does
/// not let it read, and none once the cause is gone.
fn run<S: Subject>(
    open: Open<'_, S>,
    expectations: &Expectations<'_, S>,
    disk: &SimDisk,
) -> Result<Ledger, String> {
    let mut ledger = Ledger { acknowledged: 0, in_doubt: false };
    let Ok(mut subject) = open(Arc::new(disk.clone())) else { return Ok(ledger) };
    for call in &CALLS[..last_call_index()] {
        if matches!(call, Call::Reopen) {
            let _ = subject.close(); // its failure takes nothing back
            match open(Arc::new(disk.clone())) {
                Ok(reopened) => subject = reopened,
                Err(_) => return Ok(ledger),
            }
            continue;
        }
        let mut made = subject.call(call);
        if let Err(problem) = &made {
            ledger.in_doubt |= call.writes() && problem.class != ProblemClass::ReadOnly;
            if call.can_be_repeated() {
                made = subject.call(call);
            }
        }
        match made {
            Ok(()) if call.writes() => {
                ledger = Ledger { acknowledged: ledger.acknowledged + 1, in_doubt: false };
            }
            Ok(()) => {}
            Err(problem) if call.writes() => {
                ledger.in_doubt |= problem.class != ProblemClass::ReadOnly;
                break;
            }
            Err(_) => {
                explain_answers(&subject, expectations, ledger, disk)
                    .map_err(|error| format!("after a failed {}: {error}", call.name()))?;
            }
        }
    }
    explain_answers(&subject, expectations, ledger, disk)?;
    disk.heal();
    explain_answers(&subject, expectations, ledger, disk)
        .map_err(|error| format!("with the cause gone: {error}"))?;
    let _ = subject.close();
    Ok(ledger)
}

/// Lets each operation of a first write fail whose names and texts take all the room that a store has. Whoever was told
/// that it failed has taken none of it: the next write has other names and texts. Returns how many operations there are.
pub fn fail_at_the_bounds() -> usize {
    let bounds = StoreBounds { event_names: 1, property_values: 1, ..StoreBounds::default() };
    let write = |store: &Store, text: &str| {
        let mut batch = EventBatch::new();
        batch.push_event(text, "ada", YEAR_START, Some("id"), None).unwrap();
        batch.push_property("p", &text.into()).unwrap();
        store.ingest(batch)
    };
    for operation in 0.. {
        let disk = SimDisk::new();
        let store = open_store(Arc::new(disk.clone())).unwrap();
        store.bound(bounds).unwrap();
        let failing = disk.operation_count() + operation;
        disk.fail(failing, Errno::IO, Persistence::Once);
        let first = write(&store, "first");
        if disk.operation_count() <= failing {
            assert_eq!(first.unwrap().accepted, 1, "nothing failed");
            assert_eq!(write(&store, "second").unwrap_err().class, ProblemClass::Invalid);
            return operation;
        }
        let second = write(&store, "second");
        match first {
            Ok(_) => assert_eq!(second.unwrap_err().class, ProblemClass::Invalid, "operation {operation}"),
            Err(_) => assert_eq!(second.unwrap().accepted, 1, "operation {operation}"),
        }
    }
    unreachable!("a write has so many operations")
}

fn explain_answers<S: Subject>(
    subject: &S,
    expectations: &Expectations<'_, S>,
    ledger: Ledger,
    disk: &SimDisk,
) -> Result<(), String> {
    match Observation::of(subject) {
        Ok(observed) => expectations.explain(&observed, ledger, false).map(drop),
        Err(_) if disk.fails_reads() => Ok(()),
        Err(error) => Err(error),
    }
}

/// With the cause gone, opens what the failure left: as the next process finds it, and after a power cut.
fn check_after_failure<S: Subject>(
    open: Open<'_, S>,
    expectations: &Expectations<'_, S>,
    disk: &SimDisk,
    ledger: Ledger,
    seed: u64,
) -> Result<(), String> {
    let check = Check { open, expectations, ledger };
    let state = disk.state();
    check.recovery(&SimDisk::after_kill(&state), seed).map_err(|error| format!("reopened: {error}"))?;
    for outcome in state.outcomes(1, seed) {
        check
            .open_and_explain(&SimDisk::after_power_cut(&state, &outcome), ledger)
            .map_err(|error| format!("after a power cut, kept: {}: {error}", outcome.label))?;
    }
    Ok(())
}
