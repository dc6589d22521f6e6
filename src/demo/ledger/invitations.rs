//! Who invited whom, and how fast that spreads.

use std::collections::BTreeMap;

use super::median_ms;
use crate::demo::market::CHANNELS;
use crate::demo::population::{Invitation, Population, User};
use crate::model::{DAY_MS, TimeMs};

/// Invitations, and accepts that name their sender, count for a user's spread up to so long after its sign-up.
pub const SPREAD_WINDOW_MS: i64 = 30 * DAY_MS;

/// Invitations that went one way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InviteCount {
    pub sent: u64,
    pub accepted: u64,
}

/// How far the product spread from users who came one way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spread {
    pub users: u64,
    /// Invitations that they sent within [`SPREAD_WINDOW_MS`] of their sign-up.
    pub invites: u64,
    /// Accepts that name them within the same time.
    pub accepted: u64,
    /// From the sign-up of who invited them to their own: the median by nearest rank, `None` if nobody invited them.
    pub cycle_median_ms: Option<i64>,
}

/// Invitations while the history is being written.
#[derive(Debug, Default)]
pub(super) struct InvitationBook {
    by_channel: BTreeMap<&'static str, InviteCount>,
    spreads: BTreeMap<Option<&'static str>, Spread>,
    cycles_ms: BTreeMap<Option<&'static str>, Vec<i64>>,
}

/// The channel by which a user was invited, if anybody did.
pub(in crate::demo) fn channel_of(user: &User) -> Option<&'static str> {
    user.invited.map(|invitation| CHANNELS[invitation.channel].name)
}

impl InvitationBook {
    pub fn sent(&mut self, inviter: &User, channel: usize, time: TimeMs) {
        self.by_channel.entry(CHANNELS[channel].name).or_default().sent += 1;
        if time - inviter.signup <= SPREAD_WINDOW_MS {
            self.spreads.entry(channel_of(inviter)).or_default().invites += 1;
        }
    }

    pub fn accepted(&mut self, invited: &User, inviter: &User, by: Invitation, time: TimeMs) {
        self.by_channel.entry(CHANNELS[by.channel].name).or_default().accepted += 1;
        if time - inviter.signup <= SPREAD_WINDOW_MS {
            self.spreads.entry(channel_of(inviter)).or_default().accepted += 1;
        }
        self.cycles_ms.entry(channel_of(invited)).or_default().push(invited.signup - inviter.signup);
    }

    /// The invitations of each channel, and the spread from the users who came by each; `None` is by none.
    pub fn finish(
        mut self,
        population: &Population,
    ) -> (BTreeMap<&'static str, InviteCount>, BTreeMap<Option<&'static str>, Spread>) {
        for user in &population.users {
            self.spreads.entry(channel_of(user)).or_default().users += 1;
        }
        for (channel, spread) in &mut self.spreads {
            spread.cycle_median_ms = median_ms(self.cycles_ms.remove(channel).unwrap_or_default());
        }
        (self.by_channel, self.spreads)
    }
}
