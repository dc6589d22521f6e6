//! Who comes to the demo's product, and the turning points of their lives there.
//!
//! An account is lived through by itself, from the sign-up of its founder over the people it invites to what it
//! pays. The turning points are noted as [`Milestone`]s; what people do from day to day follows from them in
//! `activity`.

use super::market::*;
use super::random::Random;
use super::subscription::subscribe;
use crate::model::{DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS, TimeMs};

/// Users that one account may have.
const ACCOUNT_USER_COUNT_MAX: usize = 80;
/// Visitors who never sign up, for each account.
const VISITORS_PER_ACCOUNT: u32 = 7;

/// Everyone, and everything that happens to them but their daily work.
#[derive(Debug, Default)]
pub(super) struct Population {
    pub accounts: Vec<Account>,
    pub users: Vec<User>,
    /// Ids of browsers that visited the site, some of them by later users.
    pub visitors: Vec<String>,
    /// By time.
    pub milestones: Vec<Milestone>,
}

#[derive(Debug)]
pub(super) struct Account {
    pub id: String,
    pub name: String,
    /// Places in the tables of `market`.
    pub industry: usize,
    pub country: usize,
    pub company_size: usize,
    pub employees: u32,
    /// Its plan, seats and monthly price at the end of the history.
    pub plan: usize,
    pub seats: u32,
    pub mrr_cents: i64,
}

#[derive(Debug)]
pub(super) struct User {
    pub id: String,
    pub account: usize,
    pub country: usize,
    pub origin: usize,
    pub role: usize,
    /// The visitor that this user was before.
    pub visitor: Option<usize>,
    pub signup: TimeMs,
    /// When the user's first project was created.
    pub activated: Option<TimeMs>,
    /// The user does nothing from here on.
    pub end: TimeMs,
    /// Chance that the user works on a working day.
    pub diligence: f64,
    /// Exports in a month, on average.
    pub exports: f64,
    pub invited: Option<Invitation>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Invitation {
    pub inviter: usize,
    pub channel: usize,
}

impl User {
    /// Whether the first project came soon enough after the sign-up.
    pub fn activated_in_time(&self) -> bool {
        self.activated.is_some_and(|activated| activated - self.signup <= ACTIVATION_WINDOW_MS)
    }
}

/// Something that happens once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Milestone {
    pub time: TimeMs,
    /// A place in the visitors for [`Deed::Visit`], in the users for all else.
    pub who: usize,
    pub deed: Deed,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Deed {
    Visit {
        path: usize,
        origin: usize,
    },
    SignUp,
    CreateFirstProject {
        template: usize,
    },
    Invite {
        channel: usize,
    },
    Accept(Invitation),
    /// With the plan that the account has then.
    Export {
        format: usize,
        plan: usize,
    },
    HitLimit {
        allowance: u32,
    },
    Subscribe(Subscription),
}

/// What an account pays for from now on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Subscription {
    pub change: Change,
    pub plan: usize,
    pub seats: u32,
    pub mrr_cents: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Upgrade,
    Downgrade,
    Cancel,
}

/// Lives through the history of `account_count` accounts.
pub(super) fn populate(seed: u64, account_count: usize) -> Population {
    let mut population = Population::default();
    let mut random = Random::new(seed, 0);
    let mut founding_days: Vec<i64> = (0..account_count).map(|_| founding_day(&mut random)).collect();
    founding_days.sort_unstable();
    for (index, day) in founding_days.into_iter().enumerate() {
        // A stream of its own for each, so that one account's life does not hang on another's.
        let mut life = Life { random: Random::new(seed, 1 + index as u64), population: &mut population };
        life.found_account(day);
        for _ in 0..VISITORS_PER_ACCOUNT {
            life.pass_by();
        }
    }
    population.milestones.retain(|milestone| milestone.time < END);
    population.milestones.sort_by_key(|milestone| milestone.time);
    population
}

/// A day of the history, later ones likelier, because the product grows, and those of a weekend less likely.
fn founding_day(random: &mut Random) -> i64 {
    const GROWTH: f64 = 1.5;
    loop {
        let day = random.below(DAY_COUNT as u32) as i64;
        let weight = (1.0 + GROWTH * day as f64 / DAY_COUNT as f64) / (1.0 + GROWTH);
        let weight = if is_weekend(day) { weight * 0.35 } else { weight };
        if random.chance(weight) {
            return day;
        }
    }
}

/// Whether day `day` of the history, from 0, is a Saturday or Sunday.
pub(super) fn is_weekend(day: i64) -> bool {
    // 2025-11-01 is a Saturday.
    day.rem_euclid(7) < 2
}

/// A moment of day `day` at which people in `country` work, in UTC; never on another day of UTC.
pub(super) fn working_time(random: &mut Random, day: i64, country: usize) -> TimeMs {
    let local_hour = random.weighted(HOUR_WEIGHTS.into_iter()) as i64;
    let hour = (local_hour - COUNTRIES[country].hours_east).rem_euclid(24);
    START + day * DAY_MS + hour * HOUR_MS + random.between(0, HOUR_MS)
}

/// The next working moment of `country` at least `delay` after `time`.
pub(super) fn later_at_work(random: &mut Random, time: TimeMs, delay: i64, country: usize) -> TimeMs {
    let earliest = time + delay.max(MINUTE_MS);
    if delay < 8 * HOUR_MS {
        return earliest;
    }
    let mut day = (earliest - START) / DAY_MS;
    if is_weekend(day) && !random.chance(WEEKEND_SHARE) {
        day += 2;
    }
    working_time(random, day, country).max(earliest)
}

/// One account's random numbers, and where its life is written down.
pub(super) struct Life<'a> {
    pub random: Random,
    pub population: &'a mut Population,
}

impl Life<'_> {
    fn pick(&mut self, weights: impl Iterator<Item = f64> + Clone) -> usize {
        self.random.weighted(weights)
    }

    pub fn note(&mut self, time: TimeMs, who: usize, deed: Deed) {
        self.population.milestones.push(Milestone { time, who, deed });
    }

    fn found_account(&mut self, day: i64) {
        let country = self.pick(COUNTRIES.iter().map(|country| country.share));
        let origin = self.pick(ORIGINS.iter().map(|origin| origin.share));
        let industry = self.pick(INDUSTRIES.iter().map(|industry| industry.share));
        let company_size = self.pick(COMPANY_SIZES.iter().map(|(_, share, _)| *share));
        let employees_max = COMPANY_SIZES[company_size].0;
        let account = self.population.accounts.len();
        let first = NAMES_FIRST[self.random.below(NAMES_FIRST.len() as u32) as usize];
        let last = NAMES_LAST[self.random.below(NAMES_LAST.len() as u32) as usize];
        let employees = self.random.between(i64::from(employees_max / 5) + 1, i64::from(employees_max) + 1);
        self.population.accounts.push(Account {
            id: format!("acct-{account:05}"),
            name: format!("{first} {last}"),
            industry,
            country,
            company_size,
            employees: employees as u32,
            plan: FREE,
            seats: 1,
            mrr_cents: 0,
        });

        let signup = working_time(&mut self.random, day, country);
        let visitor = self.visit_before(signup, origin);
        let months = INDUSTRIES[industry].months;
        let account_end = signup + self.days(30.0 * months);
        let first_user = self.population.users.len();
        self.sign_up(account, origin, signup, account_end, Some(visitor), None);
        // Users are added while the list is walked: those who accept an invitation invite in turn.
        let mut next = first_user;
        while next < self.population.users.len() {
            self.invite(next, first_user, account_end);
            next += 1;
        }
        subscribe(self, account, first_user..next, account_end);
    }

    /// Some days, drawn around `mean`, in milliseconds.
    fn days(&mut self, mean: f64) -> i64 {
        (self.random.exponential(mean) * DAY_MS as f64) as i64
    }

    /// The visits of someone who signs up in the end. Returns the visitor.
    fn visit_before(&mut self, signup: TimeMs, origin: usize) -> usize {
        let visitor = self.new_visitor();
        for _ in 0..1 + self.random.count(1.6) {
            let time = signup - self.days(1.2) - self.random.between(20 * SECOND_MS, 10 * MINUTE_MS);
            self.visit(time.max(START), visitor, origin);
        }
        visitor
    }

    /// The visits of someone who never signs up.
    fn pass_by(&mut self) {
        let visitor = self.new_visitor();
        let origin = self.pick(ORIGINS.iter().map(|origin| origin.share));
        let country = self.pick(COUNTRIES.iter().map(|country| country.share));
        let day = founding_day(&mut self.random);
        let mut time = working_time(&mut self.random, day, country);
        for _ in 0..1 + self.random.count(0.7) {
            self.visit(time, visitor, origin);
            time += self.random.between(8 * SECOND_MS, 12 * MINUTE_MS);
        }
    }

    fn new_visitor(&mut self) -> usize {
        let visitors = &mut self.population.visitors;
        visitors.push(format!("anon-{:06x}", visitors.len()));
        visitors.len() - 1
    }

    fn visit(&mut self, time: TimeMs, visitor: usize, origin: usize) {
        let path = self.random.below(SITE_PATHS.len() as u32) as usize;
        self.note(time, visitor, Deed::Visit { path, origin });
    }

    fn sign_up(
        &mut self,
        account: usize,
        origin: usize,
        signup: TimeMs,
        account_end: TimeMs,
        visitor: Option<usize>,
        invited: Option<Invitation>,
    ) {
        let random = &mut self.random;
        let country = match random.chance(0.9) {
            true => self.population.accounts[account].country,
            false => random.weighted(COUNTRIES.iter().map(|country| country.share)),
        };
        let role = if invited.is_none() { 0 } else { 1 + random.below(ROLES.len() as u32 - 1) as usize };
        let in_time = random.chance(ORIGINS[origin].activated);
        let delay = if in_time {
            let delay = (random.exponential(1.3) * DAY_MS as f64) as i64;
            // The first project takes a working day or two, and is early or not at all.
            Some(delay.clamp(2 * MINUTE_MS, ACTIVATION_WINDOW_MS - 3 * DAY_MS))
        } else {
            random.chance(0.10).then(|| random.between(9 * DAY_MS, 45 * DAY_MS))
        };
        let activated = delay.map(|delay| later_at_work(random, signup, delay, country));
        // Who activates in time stays for months, who does so late for weeks, and most others for days.
        let stays_days = match delay {
            Some(_) if in_time => random.exponential(190.0),
            Some(_) => random.exponential(40.0),
            None if random.chance(0.12) => random.exponential(50.0),
            None => random.exponential(4.0),
        };
        let end = activated.unwrap_or(signup) + (stays_days * DAY_MS as f64) as i64 + HOUR_MS;
        let end = end.min(account_end).min(END);
        let activated = activated.filter(|activated| *activated < end);
        let exports = if activated.is_some() { 0.8 + random.exponential(2.0) } else { 0.0 };
        let diligence =
            if activated.is_some() { 0.15 + 0.5 * random.unit() } else { 0.15 + 0.25 * random.unit() };

        let user = self.population.users.len();
        self.population.users.push(User {
            id: format!("u-{user:06}"),
            account,
            country,
            origin,
            role,
            visitor,
            signup,
            activated,
            end,
            diligence,
            exports,
            invited,
        });
        self.note(signup, user, Deed::SignUp);
        if let Some(invitation) = invited {
            self.note(signup, user, Deed::Accept(invitation));
        }
        if let Some(activated) = activated {
            let template = self.random.below(TEMPLATES.len() as u32) as usize;
            self.note(activated, user, Deed::CreateFirstProject { template });
        }
    }

    /// The invitations that a user sends, and the sign-ups that come of them.
    fn invite(&mut self, inviter: usize, first_user: usize, account_end: TimeMs) {
        let User { account, country, signup, activated, end, invited, .. } = self.population.users[inviter];
        let mean = match (activated, invited) {
            (None, _) => 0.15,
            (Some(_), None) => 4.2,
            (Some(_), Some(invitation)) => 2.0 * CHANNELS[invitation.channel].spread,
        };
        let eagerness = COMPANY_SIZES[self.population.accounts[account].company_size].2;
        for _ in 0..self.random.count(mean * eagerness) {
            let delay = self.days(9.0);
            let sent = later_at_work(&mut self.random, activated.unwrap_or(signup), delay, country);
            let channel = self.pick(CHANNELS.iter().map(|channel| channel.share));
            if sent >= end {
                continue;
            }
            self.note(sent, inviter, Deed::Invite { channel });
            let delay = self.days(1.4);
            let accepted = later_at_work(&mut self.random, sent, delay, country);
            let is_full = self.population.users.len() - first_user == ACCOUNT_USER_COUNT_MAX;
            if self.random.chance(CHANNELS[channel].accepted) && accepted < account_end.min(END) && !is_full {
                let invitation = Some(Invitation { inviter, channel });
                self.sign_up(account, INVITED_ORIGIN, accepted, account_end, None, invitation);
            }
        }
    }
}
