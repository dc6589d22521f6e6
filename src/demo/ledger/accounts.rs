//! What accounts used and paid: who met the free plan's limit, who was about to buy, and whose revenue grew.

use std::collections::BTreeMap;

use super::median_ms;
use crate::demo::market::{COUNTRIES, END, FREE, FREE_EXPORT_LIMIT, INDUSTRIES, MONTH_DAY_COUNTS, START};
use crate::demo::population::{Account, Change, Population, Subscription};
use crate::model::{DAY_MS, TimeMs};

/// 2026-08-01T00:00:00Z: accounts that have not bought by then are leads.
pub const LEADS_AT: TimeMs = 1_785_542_400_000;
/// 2026-10-01T00:00:00Z: what they buy until then counts.
pub const LEADS_BUY_BEFORE: TimeMs = 1_790_812_800_000;
/// A lead is a top one that exported so often in the 30 days up to [`LEADS_AT`].
pub const TOP_LEAD_EXPORT_COUNT: u64 = 4;
const LEAD_WINDOW_MS: i64 = 30 * DAY_MS;

/// 2026-05-01T00:00:00Z: what accounts paid then is compared with what they pay at the end.
pub const KEPT_FROM: TimeMs = 1_777_593_600_000;

/// Accounts that used the free plan's exports up in a month, and those that bought at any time after that.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LimitOutcome {
    pub reached: u64,
    pub upgraded: u64,
    /// From the last free export to buying: the median by nearest rank, `None` if nobody bought.
    pub median_ms: Option<i64>,
}

/// Leads, and how many of them bought between [`LEADS_AT`] and [`LEADS_BUY_BEFORE`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Leads {
    pub accounts: u64,
    pub bought: u64,
}

impl Leads {
    /// The share that bought, 0 if there are none.
    pub fn rate(self) -> f64 {
        if self.accounts == 0 { 0.0 } else { self.bought as f64 / self.accounts as f64 }
    }
}

/// What the accounts that paid at [`KEPT_FROM`] paid then and pay at the end, in hundredths of a currency a month.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeptRevenue {
    pub then_cents: i64,
    pub now_cents: i64,
}

/// What was counted of accounts.
#[derive(Debug, Default)]
pub(super) struct AccountTruths {
    pub free_limit_by_month: Vec<LimitOutcome>,
    pub top_leads: Leads,
    pub other_leads: Leads,
    pub kept: BTreeMap<(&'static str, &'static str), KeptRevenue>,
}

/// All accounts while the history is being written. Events come in order of time.
#[derive(Debug)]
pub(super) struct AccountBook(Vec<Page>);

/// What one account did.
#[derive(Clone, Debug, Default)]
struct Page {
    /// Moments of exports on the free plan, by ascending time, as all here.
    free_exports: Vec<TimeMs>,
    lead_export_count: u64,
    upgrades: Vec<TimeMs>,
    /// From each moment on, so many hundredths a month.
    rates: Vec<(TimeMs, i64)>,
}

impl Page {
    /// What is paid just before a moment.
    fn rate_before(&self, moment: TimeMs) -> i64 {
        let count = self.rates.partition_point(|(from, _)| *from < moment);
        count.checked_sub(1).map_or(0, |last| self.rates[last].1)
    }
}

impl AccountBook {
    pub fn new(population: &Population) -> AccountBook {
        AccountBook(vec![Page::default(); population.accounts.len()])
    }

    pub fn exported(&mut self, account: usize, plan: usize, time: TimeMs) {
        let page = &mut self.0[account];
        if plan == FREE {
            page.free_exports.push(time);
        }
        page.lead_export_count += u64::from(LEADS_AT - LEAD_WINDOW_MS < time && time <= LEADS_AT);
    }

    pub fn subscribed(&mut self, account: usize, subscription: &Subscription, time: TimeMs) {
        let page = &mut self.0[account];
        if subscription.change == Change::Upgrade {
            page.upgrades.push(time);
        }
        page.rates.push((time, subscription.mrr_cents));
    }

    pub fn finish(self, population: &Population) -> AccountTruths {
        let mut truths = AccountTruths::default();
        let mut month_start = START;
        for day_count in MONTH_DAY_COUNTS {
            let month_end = month_start + day_count * DAY_MS;
            truths.free_limit_by_month.push(self.free_limit(month_start..month_end));
            month_start = month_end;
        }
        let mut founded: Vec<TimeMs> = vec![TimeMs::MAX; population.accounts.len()];
        for user in &population.users {
            founded[user.account] = founded[user.account].min(user.signup);
        }
        for ((page, account), founded) in self.0.iter().zip(&population.accounts).zip(founded) {
            if founded <= LEADS_AT && page.upgrades.iter().all(|time| *time > LEADS_AT) {
                let is_top = page.lead_export_count >= TOP_LEAD_EXPORT_COUNT;
                let leads = if is_top { &mut truths.top_leads } else { &mut truths.other_leads };
                leads.accounts += 1;
                leads.bought += u64::from(page.upgrades.iter().any(|time| *time < LEADS_BUY_BEFORE));
            }
            let then_cents = page.rate_before(KEPT_FROM);
            if then_cents > 0 {
                let kept = truths.kept.entry(segment_of(account)).or_default();
                kept.then_cents += then_cents;
                kept.now_cents += page.rate_before(END);
            }
        }
        truths
    }

    fn free_limit(&self, month: std::ops::Range<TimeMs>) -> LimitOutcome {
        let mut outcome = LimitOutcome::default();
        let mut waits_ms = Vec::new();
        for page in &self.0 {
            let first = page.free_exports.partition_point(|time| *time < month.start);
            let last = page.free_exports.get(first + FREE_EXPORT_LIMIT as usize - 1);
            let Some(reached) = last.filter(|time| **time < month.end) else { continue };
            outcome.reached += 1;
            let upgraded = page.upgrades.iter().find(|time| *time > reached);
            waits_ms.extend(upgraded.map(|upgraded| upgraded - reached));
        }
        outcome.upgraded = waits_ms.len() as u64;
        outcome.median_ms = median_ms(waits_ms);
        outcome
    }
}

/// The industry and the currency of an account.
fn segment_of(account: &Account) -> (&'static str, &'static str) {
    (INDUSTRIES[account.industry].name, COUNTRIES[account.country].currency)
}
