//! Cells of a virality as sets of users.

use super::cell_name::{SlotName, read_bucket};
use super::split::slots_of;
use super::{Task, TaskSet, Virality};
use crate::api::{Fields, Problem};

/// A cell of a virality: who is what in an interval, or of which generation.
#[derive(Clone, Debug)]
pub struct ViralityCell {
    which: Which,
    slot: Vec<SlotName>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Which {
    Generation(usize),
    Interval { bucket: usize, state: State },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    New,
    Invited,
    Organic,
    Active,
    Inviter,
}

impl Virality {
    /// Reads the name of a cell: `time` and `state` (the name of a column of users), or of a tree `generation`; and the
    /// value of each breakdown.
    pub fn cell(&self, fields: &mut Fields<'_>) -> Result<ViralityCell, Problem> {
        let which = if self.is_tree() {
            Which::Generation(fields.required("generation")?.integer(0..=i64::from(u32::MAX))? as usize)
        } else {
            let buckets = 0..self.calendar.bucket_count();
            let bucket = read_bucket(&fields.required("time")?, &self.calendar, buckets, self.as_of)?;
            let state = fields.required("state")?.word(&[
                ("new_users", State::New),
                ("invited_users", State::Invited),
                ("organic_users", State::Organic),
                ("active_users", State::Active),
                ("inviters", State::Inviter),
            ])?;
            Which::Interval { bucket, state }
        };
        Ok(ViralityCell { which, slot: SlotName::read_all(fields, self.visits.breakdown_count())? })
    }

    /// The users of a cell: as many as it tells.
    pub fn members(&self, task: &Task<'_>, cell: &ViralityCell) -> Result<TaskSet, Problem> {
        let mut members = TaskSet::new();
        let Some(meant) = self.visits.split().slot_named(&cell.slot) else { return Ok(members) };
        let (bucket, state) = match cell.which {
            Which::Generation(generation) => {
                let (foundings, slots) = self.foundings(task)?;
                for founding in foundings {
                    let ordinal = task.user_base() + u32::from(founding.user);
                    if slots_of(slots.as_ref(), founding.row).contains(&meant)
                        && self.generation_of(ordinal) == generation
                    {
                        members.insert(founding.user);
                    }
                }
                return Ok(members);
            }
            Which::Interval { bucket, state } => (bucket, state),
        };
        match state {
            State::Active => self.each_active(task, |slot, user, at| {
                if (slot, at) == (meant, bucket) {
                    members.insert(user);
                }
                Ok(())
            })?,
            State::Inviter if self.window().is_none() => self.each_invite(task, |slot, user, at, _| {
                if (slot, at) == (meant, bucket) {
                    members.insert(user);
                }
                Ok(())
            })?,
            State::New | State::Invited | State::Organic | State::Inviter => {
                let (foundings, slots) = self.foundings(task)?;
                let invited = self.invited(task)?;
                let sent = match self.window() {
                    Some(window) => self.invites_after_signup(task, &foundings, window)?,
                    None => vec![0; foundings.len()],
                };
                for (founding, sent) in foundings.iter().zip(sent) {
                    let is_meant = match state {
                        State::Invited => invited.contains(founding.user),
                        State::Organic => !invited.contains(founding.user),
                        State::Inviter => sent > 0,
                        State::New | State::Active => true,
                    };
                    let is_here = founding.cohort as usize == bucket
                        && slots_of(slots.as_ref(), founding.row).contains(&meant);
                    if is_meant && is_here {
                        members.insert(founding.user);
                    }
                }
            }
        }
        Ok(members)
    }
}
