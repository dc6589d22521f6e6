//! What must be found after a crash: the answers of a store that was given the surviving calls directly.
//!
//! Calls are made one after the other, so the survivors are the acknowledged ones, and perhaps the one that was
//! under way. The marks and keys are expected from the plain model of `workload.rs`, so that a store that is wrong
//! in the same way before and after a crash is found too.

use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};

use super::sim_disk::SimDisk;
use super::subject::{Open, Subject};
use super::workload::{CALLS, Call, MarksByUser, last_call_index, marks_after, open_keys_after};

/// What was acknowledged before a crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ledger {
    /// Writing calls that were acknowledged: the first so many of the script.
    pub acknowledged: usize,
    /// Whether the next one was under way.
    pub in_doubt: bool,
}

/// Everything that a check looks at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observation {
    marks_by_user: MarksByUser,
    open_keys: BTreeSet<u8>,
    answers: Vec<String>,
}

impl Observation {
    pub fn of<S: Subject>(subject: &S) -> Result<Observation, String> {
        let marks_by_user = subject.marks_by_user().map_err(|problem| format!("no timelines: {problem}"))?;
        let open_keys = subject.open_keys().map_err(|problem| format!("no keys: {problem}"))?;
        let answers = subject.answers().map_err(|problem| format!("no answers: {problem}"))?;
        Ok(Observation { marks_by_user, open_keys, answers })
    }

    /// The first thing in which this differs from what was expected.
    fn difference(&self, expected: &Observation) -> String {
        let users = expected.marks_by_user.keys().chain(self.marks_by_user.keys());
        for user in users {
            let (expected, found) = (expected.marks_by_user.get(user), self.marks_by_user.get(user));
            if expected != found {
                return format!("the events of {user} are {found:?}, expected {expected:?}");
            }
        }
        if expected.open_keys != self.open_keys {
            return format!(
                "it is opened by the keys {:?}, expected {:?}",
                self.open_keys, expected.open_keys
            );
        }
        for (found, expected) in self.answers.iter().zip(&expected.answers) {
            if expected != found {
                return format!("the answer to {found}\n  expected {expected}");
            }
        }
        "nothing".to_owned()
    }
}

/// What each prefix of the script's writing calls must lead to.
pub struct Expectations<'a, S> {
    open: Open<'a, S>,
    /// By number of writing calls, without and with the call that is made after recovery.
    observations: Vec<[OnceLock<Observation>; 2]>,
}

impl<'a, S: Subject> Expectations<'a, S> {
    pub fn new(open: Open<'a, S>) -> Expectations<'a, S> {
        let count = writing_calls().len() + 1;
        Expectations { open, observations: (0..count).map(|_| Default::default()).collect() }
    }

    /// The survivors among the calls of the ledger that account for what was observed, by their number.
    ///
    /// `has_last_call` says that the call after recovery was made and acknowledged too.
    pub fn explain(
        &self,
        observed: &Observation,
        ledger: Ledger,
        has_last_call: bool,
    ) -> Result<usize, String> {
        let acknowledged = self.of(ledger.acknowledged, has_last_call);
        if observed == acknowledged {
            return Ok(ledger.acknowledged);
        }
        if ledger.in_doubt && observed == self.of(ledger.acknowledged + 1, has_last_call) {
            return Ok(ledger.acknowledged + 1);
        }
        Err(observed.difference(acknowledged))
    }

    fn of(&self, count: usize, has_last_call: bool) -> &Observation {
        self.observations[count][usize::from(has_last_call)].get_or_init(|| {
            let mut calls = writing_calls()[..count].to_vec();
            calls.extend(has_last_call.then(|| &CALLS[last_call_index()]));
            let subject = (self.open)(Arc::new(SimDisk::new())).expect("an empty disk can be opened");
            for call in &calls {
                subject.call(call).expect("nothing fails on this disk");
            }
            let observed = Observation::of(&subject).expect("nothing fails on this disk");
            let marks_by_user = marks_after(calls.iter().copied());
            let open_keys = open_keys_after(calls.iter().copied());
            let expected = Observation { marks_by_user, open_keys, answers: observed.answers.clone() };
            assert_eq!(observed, expected, "without any crash, after {count} calls");
            expected
        })
    }
}

/// The calls of the script that change what queries answer, in order.
pub fn writing_calls() -> Vec<&'static Call> {
    CALLS[..last_call_index()].iter().filter(|call| call.writes()).collect()
}
