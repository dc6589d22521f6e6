//! Who invited whom, over all users: what a virality has to know before it looks at any of them.
//!
//! An accept event is one of the user who was invited, and names the inviter, who may be anyone. So signups and accepts
//! are read once beforehand, and kept by user.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::{Analysis, BreakdownPlan, Partial, Scan, Selection, Task, key_time, key_user};
use crate::api::Problem;
use crate::model::{TimeMs, Value};

/// The events of invitations, bound to a snapshot.
#[derive(Debug)]
pub struct InvitationEvents {
    pub signups: Selection,
    pub accepts: Selection,
    /// The property of accepts that names the inviter.
    pub inviter: BreakdownPlan,
    /// By code of that property.
    named: Vec<Named>,
    /// All that is seen.
    pub history: Range<TimeMs>,
}

/// Whom a value of the property names.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Named {
    /// `None` for ids that nobody has.
    ordinal: Option<u32>,
    /// The place of the name among all that are named: equal for two ids of one user. [`NOBODY`] if the value is no id.
    rank: u32,
}

const NOBODY: u32 = u32::MAX;

impl InvitationEvents {
    pub fn new(
        signups: Selection,
        accepts: Selection,
        inviter: BreakdownPlan,
        scan: &Scan<'_>,
    ) -> InvitationEvents {
        let snapshot = scan.snapshot();
        let id_of = |value: &Value| match value {
            Value::String(id) => Some(id.clone()),
            // Ids of digits alone may have become numbers on their way here.
            Value::Number(number) => Some(number.to_string()),
            Value::Bool(_) | Value::List(_) => None,
        };
        let names: Vec<Option<(String, Option<u32>)>> = inviter
            .labels()
            .iter()
            .map(|value| {
                let id = id_of(value)?;
                let ordinal = snapshot.find(scan.entity(), &id);
                let name = ordinal.and_then(|ordinal| snapshot.name(scan.entity(), ordinal));
                Some((name.unwrap_or(id), ordinal))
            })
            .collect();
        let mut sorted: Vec<&String> = names.iter().flatten().map(|(name, _)| name).collect();
        sorted.sort_unstable();
        sorted.dedup();
        let named = names.iter().map(|name| match name {
            Some((name, ordinal)) => {
                let rank = sorted.binary_search(&name).expect("every name is among the sorted");
                Named { ordinal: *ordinal, rank: rank as u32 }
            }
            None => Named { ordinal: None, rank: NOBODY },
        });
        let named = named.collect();
        InvitationEvents { signups, accepts, inviter, named, history: scan.history() }
    }
}

/// An accept event that names somebody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Accept {
    invited: u32,
    time: TimeMs,
    /// Of tied accepts the smallest name counts.
    rank: u32,
    /// [`NOBODY`] for an id that nobody has.
    inviter: u32,
}

/// First signups and accepts, in no order.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct InvitationsPartial {
    signups: Vec<(u32, TimeMs)>,
    accepts: Vec<Accept>,
}

impl Partial for InvitationsPartial {
    fn merge(&mut self, other: InvitationsPartial) {
        self.signups.extend(other.signups);
        self.accepts.extend(other.accepts);
    }
}

impl Analysis for InvitationEvents {
    type Partial = InvitationsPartial;
    type Output = Invitations;

    fn empty(&self) -> InvitationsPartial {
        InvitationsPartial::default()
    }

    fn observe(&self, task: &Task<'_>, partial: &mut InvitationsPartial) -> Result<(), Problem> {
        let ordinal = |key: u64| task.user_base() + u32::from(key_user(key));
        let signups = task.rows(&self.signups, self.history.clone(), false)?;
        let firsts = signups.keys.chunk_by(|a, b| key_user(*a) == key_user(*b));
        partial.signups.extend(firsts.map(|of_user| (ordinal(of_user[0]), key_time(of_user[0]))));
        let rows = task.rows(&self.accepts, self.history.clone(), true)?;
        let codes = task.breakdown_codes(&self.inviter, &rows)?;
        for (row, key) in rows.keys.iter().enumerate() {
            // A list of several names nobody.
            let [code] = codes.of(row) else { continue };
            let Some(named) = self.named.get(*code as usize).filter(|named| named.rank != NOBODY) else {
                continue;
            };
            partial.accepts.push(Accept {
                invited: ordinal(*key),
                time: key_time(*key),
                rank: named.rank,
                inviter: named.ordinal.unwrap_or(NOBODY),
            });
        }
        Ok(())
    }

    fn finish(&self, partial: InvitationsPartial) -> Result<Invitations, Problem> {
        let InvitationsPartial { mut signups, mut accepts } = partial;
        signups.sort_unstable();
        accepts.sort_unstable();
        let mut accepted: Vec<(u32, TimeMs)> =
            accepts.iter().map(|accept| (accept.inviter, accept.time)).collect();
        accepted.sort_unstable();
        accepts.dedup_by_key(|accept| accept.invited);
        let inviters = accepts.into_iter().map(|accept| (accept.invited, accept.inviter)).collect();
        Ok(Invitations { signups, inviters, accepted })
    }
}

/// Who signed up when, who was invited by whom, and when that was accepted.
#[derive(Debug)]
pub struct Invitations {
    /// The first signup of each user, by ordinal.
    signups: Vec<(u32, TimeMs)>,
    /// Who invited each user that names somebody, by the ordinal of the invited.
    inviters: Vec<(u32, u32)>,
    /// The time of each accept, by the ordinal of the inviter it names, then time.
    accepted: Vec<(u32, TimeMs)>,
}

/// What brought a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    /// Nobody, or somebody who came later.
    Organic,
    /// Somebody who never signed up.
    Stranger,
    User(u32),
}

impl Invitations {
    pub fn signup_of(&self, user: u32) -> Option<TimeMs> {
        find(&self.signups, user)
    }

    /// How many accepts in a range of time name a user.
    pub fn accepted_from(&self, inviter: u32, range: Range<TimeMs>) -> u64 {
        let before = |time: TimeMs| self.accepted.partition_point(|accept| *accept < (inviter, time));
        before(range.end).saturating_sub(before(range.start)) as u64
    }

    /// The time from the inviter's signup to that of the user it brought.
    pub fn cycle_ms(&self, user: u32) -> Option<u64> {
        match self.origin(user) {
            Origin::User(inviter) => {
                let cycle = self.signup_of(user)? - self.signup_of(inviter)?;
                Some(cycle as u64)
            }
            Origin::Organic | Origin::Stranger => None,
        }
    }

    /// What brought a user who signed up. Nobody invites itself, or whoever came before.
    fn origin(&self, user: u32) -> Origin {
        match find(&self.inviters, user) {
            Some(inviter) if inviter == user => Origin::Organic,
            Some(inviter) => match (self.signup_of(inviter), self.signup_of(user)) {
                (Some(before), Some(after)) if before <= after => Origin::User(inviter),
                (Some(_), _) => Origin::Organic,
                (None, _) => Origin::Stranger,
            },
            None => Origin::Organic,
        }
    }

    /// The generation of each user who signed up, by ordinal: 0 for who was invited by nobody, else one more than the
    /// inviter's. Those who signed up at one instant and invited each other in a circle are of generation 0.
    pub fn generations(&self) -> Vec<(u32, u32)> {
        const UNKNOWN: u32 = u32::MAX;
        const OPEN: u32 = u32::MAX - 1;
        let mut generations = vec![UNKNOWN; self.signups.len()];
        let place = |user: u32| {
            self.signups.binary_search_by_key(&user, |(known, _)| *known).expect("inviters signed up")
        };
        let mut chain: Vec<usize> = Vec::new();
        for start in 0..self.signups.len() {
            let mut at = start;
            let mut next = loop {
                match generations[at] {
                    UNKNOWN => {}
                    OPEN => {
                        // The chain came back to one of its own: from there on it is a circle.
                        let first = chain.iter().position(|known| *known == at).expect("it is open");
                        chain.drain(first..).for_each(|of_circle| generations[of_circle] = 0);
                        break 1;
                    }
                    known => break known + 1,
                }
                generations[at] = OPEN;
                chain.push(at);
                match self.origin(self.signups[at].0) {
                    Origin::Organic => break 0,
                    Origin::Stranger => break 1,
                    Origin::User(inviter) => at = place(inviter),
                }
            };
            while let Some(invited) = chain.pop() {
                generations[invited] = next;
                next += 1;
            }
        }
        self.signups.iter().map(|(user, _)| *user).zip(generations).collect()
    }
}

/// The value of a key in a list in order of keys.
fn find<T: Copy>(list: &[(u32, T)], key: u32) -> Option<T> {
    let index = list.binary_search_by_key(&key, |(known, _)| *known).ok()?;
    Some(list[index].1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn invitations(signups: &[(u32, TimeMs)], inviters: &[(u32, u32)]) -> Invitations {
        Invitations { signups: signups.to_vec(), inviters: inviters.to_vec(), accepted: Vec::new() }
    }

    #[test]
    fn generations_follow_the_inviters() {
        let signups = [(1, 10), (2, 20), (3, 30), (4, 40), (5, 5)];
        // 4 was invited by a stranger, 5 by somebody who came later.
        let found = invitations(&signups, &[(2, 1), (3, 2), (4, 77), (5, 3)]);
        assert_eq!(found.generations(), [(1, 0), (2, 1), (3, 2), (4, 1), (5, 0)]);
        assert_eq!(found.cycle_ms(3), Some(10));
        assert_eq!([found.cycle_ms(1), found.cycle_ms(4), found.cycle_ms(5)], [None; 3]);
    }

    #[test]
    fn circles_of_one_instant_begin_with_themselves() {
        let signups = [(1, 7), (2, 7), (3, 7), (4, 8), (5, 7)];
        let found = invitations(&signups, &[(1, 2), (2, 3), (3, 1), (4, 2), (5, 5)]);
        assert_eq!(found.generations(), [(1, 0), (2, 0), (3, 0), (4, 1), (5, 0)]);
        assert_eq!((found.cycle_ms(1), found.cycle_ms(5)), (Some(0), None));
        let led_to = invitations(&[(1, 7), (2, 7), (3, 7)], &[(1, 2), (2, 3), (3, 2)]);
        assert_eq!(led_to.generations(), [(1, 1), (2, 0), (3, 0)]);
    }

    #[test]
    fn accepts_count_for_the_one_they_name() {
        let mut found = invitations(&[], &[]);
        found.accepted = vec![(1, 5), (1, 9), (2, 1), (2, 5)];
        assert_eq!(found.accepted_from(1, 5..9), 1);
        assert_eq!(found.accepted_from(1, 5..10), 2);
        assert_eq!(found.accepted_from(2, 0..1), 0);
        assert_eq!(found.accepted_from(3, 0..10), 0);
    }
}
