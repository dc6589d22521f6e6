//! What was planted in the demo's history, counted as it was written: what queries must find again.

mod accounts;
mod invitations;

use std::collections::BTreeMap;

use self::accounts::{AccountBook, AccountTruths};
pub use self::accounts::{
    KEPT_FROM, KeptRevenue, LEADS_AT, LEADS_BUY_BEFORE, Leads, LimitOutcome, TOP_LEAD_EXPORT_COUNT,
};
use self::invitations::InvitationBook;
pub(super) use self::invitations::channel_of;
pub use self::invitations::{InviteCount, SPREAD_WINDOW_MS, Spread};
use super::market::{COUNTRIES, END};
use super::population::{Invitation, Population, Subscription, User};
use crate::model::{DAY_MS, Number, TimeMs};

/// A user is retained who does something in these days after the sign-up, the end outside.
pub const RETAINED_FROM_DAY: i64 = 28;
pub const RETAINED_TO_DAY: i64 = 35;

/// The truth about a generated history.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DemoSummary {
    pub users: u64,
    pub accounts: u64,
    /// Anonymous ids, of which some became users.
    pub visitors: u64,
    pub events: u64,
    pub events_by_name: BTreeMap<&'static str, u64>,
    pub invites_by_channel: BTreeMap<&'static str, InviteCount>,
    /// By the channel that users were invited by; `None` are those whom nobody invited.
    pub spread_by_channel: BTreeMap<Option<&'static str>, Spread>,
    /// Users who created a project within [`ACTIVATION_WINDOW_MS`](super::ACTIVATION_WINDOW_MS) of their sign-up.
    pub activated: Retained,
    /// All other users.
    pub not_activated: Retained,
    /// Accounts that pay at the end, and what they pay a month, by currency.
    pub customers: u64,
    pub mrr_by_currency: BTreeMap<&'static str, Number>,
    /// What became of the revenue of accounts that paid at [`KEPT_FROM`], by industry and currency.
    pub kept_revenue: BTreeMap<(&'static str, &'static str), KeptRevenue>,
    /// Of each month of the history.
    pub free_limit_by_month: Vec<LimitOutcome>,
    /// Accounts that have not bought at [`LEADS_AT`], and exported [`TOP_LEAD_EXPORT_COUNT`] times or more.
    pub top_leads: Leads,
    /// The other accounts that have not bought by then.
    pub other_leads: Leads,
}

/// Some users, and how many of them stayed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retained {
    pub users: u64,
    /// Those whose days [`RETAINED_FROM_DAY`] to [`RETAINED_TO_DAY`] are over at the end of the history.
    pub decided: u64,
    /// Those of the decided who did something in these days.
    pub retained: u64,
}

impl Retained {
    /// The share of the decided who stayed, 0 if there are none.
    pub fn rate(self) -> f64 {
        if self.decided == 0 { 0.0 } else { self.retained as f64 / self.decided as f64 }
    }
}

/// The summary while the history is being written.
#[derive(Debug)]
pub(super) struct Ledger {
    summary: DemoSummary,
    /// Of each user.
    is_retained: Vec<bool>,
    invitations: InvitationBook,
    accounts: AccountBook,
}

impl Ledger {
    pub fn new(population: &Population) -> Ledger {
        let mut summary = DemoSummary {
            users: population.users.len() as u64,
            accounts: population.accounts.len() as u64,
            visitors: population.visitors.len() as u64,
            ..DemoSummary::default()
        };
        let mut cents_by_currency: BTreeMap<&'static str, i64> = BTreeMap::new();
        for account in population.accounts.iter().filter(|account| account.mrr_cents > 0) {
            summary.customers += 1;
            *cents_by_currency.entry(COUNTRIES[account.country].currency).or_default() += account.mrr_cents;
        }
        let mrr = |cents: i64| Number::new(i128::from(cents), -2).expect("the demo's revenue is small");
        summary.mrr_by_currency =
            cents_by_currency.into_iter().map(|(currency, cents)| (currency, mrr(cents))).collect();
        Ledger {
            summary,
            is_retained: vec![false; population.users.len()],
            invitations: InvitationBook::default(),
            accounts: AccountBook::new(population),
        }
    }

    pub fn event(&mut self, name: &'static str) {
        self.summary.events += 1;
        *self.summary.events_by_name.entry(name).or_default() += 1;
    }

    pub fn seen(&mut self, index: usize, user: &User, time: TimeMs) {
        let days = RETAINED_FROM_DAY * DAY_MS..RETAINED_TO_DAY * DAY_MS;
        self.is_retained[index] |= days.contains(&(time - user.signup));
    }

    pub fn invited(&mut self, inviter: &User, channel: usize, time: TimeMs) {
        self.invitations.sent(inviter, channel, time);
    }

    pub fn accepted(&mut self, population: &Population, who: usize, invitation: Invitation, time: TimeMs) {
        let (invited, inviter) = (&population.users[who], &population.users[invitation.inviter]);
        self.invitations.accepted(invited, inviter, invitation, time);
    }

    pub fn exported(&mut self, account: usize, plan: usize, time: TimeMs) {
        self.accounts.exported(account, plan, time);
    }

    pub fn subscribed(&mut self, account: usize, subscription: &Subscription, time: TimeMs) {
        self.accounts.subscribed(account, subscription, time);
    }

    pub fn finish(mut self, population: &Population) -> DemoSummary {
        for (user, is_retained) in population.users.iter().zip(self.is_retained) {
            let side = match user.activated_in_time() {
                true => &mut self.summary.activated,
                false => &mut self.summary.not_activated,
            };
            let is_decided = user.signup + RETAINED_TO_DAY * DAY_MS <= END;
            side.users += 1;
            side.decided += u64::from(is_decided);
            side.retained += u64::from(is_decided && is_retained);
        }
        let summary = &mut self.summary;
        (summary.invites_by_channel, summary.spread_by_channel) = self.invitations.finish(population);
        let AccountTruths { free_limit_by_month, top_leads, other_leads, kept } =
            self.accounts.finish(population);
        summary.free_limit_by_month = free_limit_by_month;
        (summary.top_leads, summary.other_leads) = (top_leads, other_leads);
        summary.kept_revenue = kept;
        self.summary
    }
}

/// The median by nearest rank, as queries tell it.
fn median_ms(mut all: Vec<i64>) -> Option<i64> {
    all.sort_unstable();
    all.get(all.len().div_ceil(2).checked_sub(1)?).copied()
}
