//! What an account of the demo pays: limits that make it buy, and what it does with what it bought.

use std::ops::Range;

use super::market::*;
use super::population::{Change, Deed, Life, Subscription, User, later_at_work};
use crate::model::{DAY_MS, HOUR_MS, MINUTE_MS, TimeMs};

/// Chance that an account that cannot export any more buys a larger plan.
const UPGRADE_AT_LIMIT: f64 = 0.5;
/// Chance in a month that a team on the free plan buys without having met the limit.
const UPGRADE_UNASKED: f64 = 0.05;
/// An account pays on for so long after its last user stopped coming.
const IDLE_BEFORE_CANCEL_MS: i64 = 21 * DAY_MS;

/// What an account has bought, and what it is about to buy.
struct Buyer {
    account: usize,
    users: Range<usize>,
    plan: usize,
    seats: u32,
    pending: Option<(TimeMs, usize)>,
}

/// Lives through the account's months: what it exports, and what it pays. `account_end` is when it goes away.
pub(super) fn subscribe(life: &mut Life<'_>, account: usize, users: Range<usize>, account_end: TimeMs) {
    let last_seen = life.population.users[users.clone()].iter().map(|user| user.end).max();
    let last_seen = last_seen.expect("an account has its founder");
    let gone = account_end.min(last_seen + IDLE_BEFORE_CANCEL_MS);
    let mut buyer = Buyer { account, users, plan: FREE, seats: 1, pending: None };
    let mut month_start = START;
    for day_count in MONTH_DAY_COUNTS {
        let month = month_start..month_start + day_count * DAY_MS;
        month_start = month.end;
        if month.end <= life.population.users[buyer.users.start].signup {
            continue;
        }
        if month.start >= gone {
            break;
        }
        buyer.export(life, month.clone(), gone);
        let reviewed = month.end - life.random.between(HOUR_MS, 3 * DAY_MS);
        buyer.review(life, reviewed, gone);
    }
    if buyer.plan != FREE && gone < END {
        buyer.change(life, gone, Change::Cancel, FREE, 1);
    }
    let (plan, seats, mrr_cents) = (buyer.plan, buyer.seats, buyer.mrr_cents());
    let account = &mut life.population.accounts[account];
    (account.plan, account.seats, account.mrr_cents) = (plan, seats, mrr_cents);
}

impl Buyer {
    fn mrr_cents(&self) -> i64 {
        PLANS[self.plan].seat_price_cents * i64::from(self.seats)
    }

    /// The exports of one month, up to what the plan allows; the one that is too many may make the account buy.
    fn export(&mut self, life: &mut Life<'_>, month: Range<TimeMs>, gone: TimeMs) {
        let mut attempts: Vec<(TimeMs, usize)> = Vec::new();
        for index in self.users.clone() {
            let User { activated: Some(activated), end, exports, country, .. } = life.population.users[index]
            else {
                continue;
            };
            let (start, end) = (activated.max(month.start), end.min(month.end).min(gone));
            if start >= end {
                continue;
            }
            let share = (end - start) as f64 / (30 * DAY_MS) as f64;
            for _ in 0..life.random.count(exports * share) {
                let after = life.random.between(0, end - start);
                let time = later_at_work(&mut life.random, start + after, 8 * HOUR_MS, country);
                if time < end {
                    attempts.push((time, index));
                }
            }
        }
        attempts.sort_unstable();
        let mut used = 0;
        for (time, user) in attempts {
            self.buy_pending(life, time);
            let allowance = PLANS[self.plan].export_limit;
            if used < allowance {
                used += 1;
                let format = life.random.below(EXPORT_FORMATS.len() as u32) as usize;
                life.note(time, user, Deed::Export { format, plan: self.plan });
                continue;
            }
            life.note(time, user, Deed::HitLimit { allowance });
            let larger = self.plan + 1;
            if self.pending.is_none() && larger < PLANS.len() && life.random.chance(UPGRADE_AT_LIMIT) {
                let after = life.random.between(10 * MINUTE_MS, 3 * DAY_MS);
                self.pending = Some((time + after, larger)).filter(|(time, _)| *time < gone);
            }
        }
        self.buy_pending(life, month.end);
    }

    fn buy_pending(&mut self, life: &mut Life<'_>, now: TimeMs) {
        if let Some((time, plan)) = self.pending.filter(|(time, _)| *time <= now) {
            self.pending = None;
            let seats = self.user_count(life, time).max(self.seats);
            self.change(life, time, Change::Upgrade, plan, seats);
        }
    }

    /// What the account decides at the end of a month.
    fn review(&mut self, life: &mut Life<'_>, time: TimeMs, gone: TimeMs) {
        let founded = life.population.users[self.users.start].signup;
        if time >= gone || time <= founded || self.pending.is_some() {
            return;
        }
        let industry = &INDUSTRIES[life.population.accounts[self.account].industry];
        let decision = life.random.unit();
        if self.plan == FREE {
            let user_count = self.user_count(life, time);
            if user_count >= 3 && decision < UPGRADE_UNASKED {
                self.change(life, time, Change::Upgrade, TEAM, user_count);
            }
        } else if decision < industry.expansion {
            let seats = self.seats + 1 + self.seats * life.random.between(15, 50) as u32 / 100;
            let plan = if seats >= 15 { BUSINESS } else { self.plan };
            self.change(life, time, Change::Upgrade, plan, seats);
        } else if decision < industry.expansion + industry.contraction && self.seats > 1 {
            let seats = self.seats - 1 - (self.seats - 1) * life.random.between(0, 40) as u32 / 100;
            self.change(life, time, Change::Downgrade, self.plan, seats);
        }
    }

    fn change(&mut self, life: &mut Life<'_>, time: TimeMs, change: Change, plan: usize, seats: u32) {
        if time >= END {
            return;
        }
        (self.plan, self.seats) = (plan, seats);
        let who = self.actor(life, time);
        let subscription = Subscription { change, plan, seats, mrr_cents: self.mrr_cents() };
        life.note(time, who, Deed::Subscribe(subscription));
    }

    /// Who acts for the account: one who is there at the time, else the one who was there last.
    fn actor(&self, life: &Life<'_>, time: TimeMs) -> usize {
        let users = &life.population.users;
        let present = |index: &usize| users[*index].signup <= time && time < users[*index].end;
        let last = self.users.clone().filter(|index| users[*index].signup <= time);
        let last = last.max_by_key(|index| users[*index].end).unwrap_or(self.users.start);
        self.users.clone().find(present).unwrap_or(last)
    }

    /// The users who have signed up and are still there.
    fn user_count(&self, life: &Life<'_>, time: TimeMs) -> u32 {
        let users = &life.population.users[self.users.clone()];
        let present = users.iter().filter(|user| user.signup <= time && time < user.end).count();
        present.max(1) as u32
    }
}
