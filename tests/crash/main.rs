//! No acknowledged write is lost, doubled or made up, wherever the power is cut and whatever operation fails.
//!
//! A script of calls (`workload.rs`) runs on a store whose disk is simulated (`sim_disk.rs`). Then the power
//! is cut after every operation, in every way that the disk's weak promises allow (`disk_state.rs`), and the
//! store opened from what is left must answer like one that was given the surviving calls directly
//! (`power_cuts.rs`, `ledger.rs`). And every operation fails (`failing_operations.rs`). That these tests catch
//! mistakes is shown on a tiny store that makes them (`call_log.rs`).
//!
//! By default a sample of some seconds is tried, always the same for a seed as far as it gets;
//! `FLYWHEEL_CRASH=all` tries everything, `FLYWHEEL_CRASH_SEED` chooses another sample.

mod barriers;
mod call_log;
mod copies;
mod damage;
mod disk_promises;
mod disk_state;
mod failing_operations;
mod ledger;
mod model;
mod power_cuts;
mod random;
mod sim_disk;
mod subject;
mod workload;

use barriers::{Barrier, open_without};
use call_log::{CallLog, Mistake};
use damage::damage_everything;
use failing_operations::{fail_at_the_bounds, fail_everywhere};
use power_cuts::{Effort, cut_everywhere, kill_open_cut};
use subject::open_store;

#[test]
fn acknowledged_writes_survive_every_power_cut() {
    let effort = Effort::from_environment(24);
    let figures =
        cut_everywhere(&open_store, effort).unwrap_or_else(|finding| panic!("{effort:?}: {finding}"));
    println!("power cuts: {figures}, {effort:?}");
}

#[test]
fn acknowledged_writes_survive_every_failing_operation() {
    let effort = Effort::from_environment(12);
    let figures =
        fail_everywhere(&open_store, effort).unwrap_or_else(|finding| panic!("{effort:?}: {finding}"));
    println!("failing operations: {figures}, {effort:?}");
}

#[test]
fn a_write_that_fails_takes_no_room_from_the_next() {
    println!("{} operations", fail_at_the_bounds());
}

#[test]
fn what_opening_does_after_a_kill_is_safe() {
    let effort = Effort::from_environment(1);
    let every = if effort.time_max.is_some() { 9 } else { 1 };
    let states = kill_open_cut(&open_store, every, effort.seed).unwrap_or_else(|finding| panic!("{finding}"));
    println!("killed, opened and cut: {states} states");
}

/// Whether by the power cut or by an operation that fails.
#[test]
fn every_barrier_that_is_left_out_is_missed() {
    for without in Barrier::ALL {
        let open = |directory| open_without(without, directory);
        let effort = Effort::from_environment(60);
        let cuts = match without {
            Barrier::FailedSync => Ok(()), // only a sync that fails tells
            Barrier::OpenSync => kill_open_cut(&open, 1, effort.seed).map(drop),
            _ => cut_everywhere(&open, effort).map(drop),
        };
        let finding = match cuts {
            Err(finding) => finding,
            Ok(()) => fail_everywhere(&open, effort).expect_err(&format!("{without:?} is missed")),
        };
        println!("{without:?}: {finding}");
    }
}

/// How many of the outcomes of a cut are tried at each operation.
fn outcome_count() -> usize {
    if Effort::from_environment(1).time_max.is_some() { 8 } else { usize::MAX }
}

#[test]
fn backups_survive_every_power_cut_and_every_failing_operation() {
    println!("backups: {}", copies::cut_backups(outcome_count()));
}

#[test]
fn restores_survive_every_power_cut_and_every_failing_operation() {
    println!("restores: {}", copies::cut_restores(outcome_count()));
}

#[test]
fn expiry_survives_every_power_cut() {
    println!("expiry: {}", copies::cut_expiry(outcome_count()));
}

#[test]
fn no_damage_to_a_closed_store_is_silent() {
    let effort = Effort::from_environment(10);
    let figures = damage_everything(true, effort).unwrap_or_else(|finding| panic!("{effort:?}: {finding}"));
    println!("damage to a closed store: {figures}");
}

#[test]
fn no_damage_to_a_store_that_was_killed_is_silent() {
    let effort = Effort::from_environment(10);
    let figures = damage_everything(false, effort).unwrap_or_else(|finding| panic!("{effort:?}: {finding}"));
    println!("damage to a store that was killed: {figures}");
}

#[allow(clippy::disallowed_methods, reason = "the seeds are in the source tree")]
/// The seeds of the fuzzer's target `store`, and lives made up by chance.
#[test]
fn any_life_with_any_crashes_is_that_of_the_model() {
    let seeds = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/store");
    let mut figures = model::Figures::default();
    for seed in std::fs::read_dir(seeds).expect("there are seeds") {
        model::live(&std::fs::read(seed.unwrap().path()).unwrap(), &mut figures);
    }
    let effort = Effort::from_environment(10);
    let (begun, mut random) = (std::time::Instant::now(), random::Random::new(effort.seed));
    // Everything: as many as a night has.
    let count_max = if effort.time_max.is_some() { usize::MAX } else { 100_000 };
    for _ in 0..count_max {
        if effort.time_max.is_some_and(|most| begun.elapsed() > most) {
            break;
        }
        let bytes: Vec<u8> = (0..20 + random.below(180)).map(|_| random.next() as u8).collect();
        let lived =
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| model::live(&bytes, &mut figures)));
        lived.unwrap_or_else(|_| panic!("{effort:?}: {bytes:?}"));
    }
    println!("lives: {figures}, {effort:?}");
}

#[test]
fn a_correct_store_passes() {
    let open = |directory| CallLog::open(directory, None);
    let figures = cut_everywhere(&open, Effort::exhaustive()).unwrap();
    assert_eq!(figures.states_left, 0);
    println!("power cuts of the tiny store: {figures}");
    let figures = fail_everywhere(&open, Effort::exhaustive()).unwrap();
    assert_eq!(figures.runs_left, 0);
    println!("failing operations of the tiny store: {figures}");
}

#[test]
fn every_mistake_is_caught() {
    for mistake in Mistake::ALL {
        let open = |directory| CallLog::open(directory, Some(mistake));
        let cuts = cut_everywhere(&open, Effort::exhaustive());
        let finding = match cuts {
            Err(finding) => finding,
            Ok(_) => {
                fail_everywhere(&open, Effort::exhaustive()).expect_err(&format!("{mistake:?} is caught"))
            }
        };
        println!("{mistake:?}: {finding}");
    }
}
