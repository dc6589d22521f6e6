//! What the demo's users do from day to day, day by day, written as events.

use super::ledger::Ledger;
use super::market::*;
use super::population::{Change, Deed, Milestone, Population, User, is_weekend, working_time};
use super::random::{Random, mixed};
use crate::api::Problem;
use crate::model::{CellRef, DAY_MS, EventBatch, MINUTE_MS, Number, SECOND_MS, TimeMs};

/// Events in a batch, at least, but for the last.
const BATCH_EVENT_COUNT: usize = 20_000;
/// The stream of random numbers for daily work; accounts count up from 1.
const ACTIVITY_STREAM: u64 = u64::MAX;

/// Something done in the course of a day's work.
#[derive(Clone, Copy, Debug)]
enum Work {
    ViewPage { path: usize },
    UseFeature { feature: usize },
    ViewReport { report: usize },
    CreateProject { template: usize },
}

#[derive(Clone, Copy, Debug)]
enum Action {
    Milestone(Deed),
    Work { work: Work, platform: usize },
}

/// Writes everything that `population` does, in order of days and, within a day, of time.
pub(super) fn write_history(
    seed: u64,
    population: &Population,
    ledger: &mut Ledger,
    sink: &mut dyn FnMut(EventBatch) -> Result<(), Problem>,
) -> Result<(), Problem> {
    let mut random = Random::new(seed, ACTIVITY_STREAM);
    let mut writer = Writer { population, ledger, batch: EventBatch::new(), next_id: mixed(seed) };
    let mut milestones = population.milestones.iter().peekable();
    let mut by_signup: Vec<usize> = (0..population.users.len()).collect();
    by_signup.sort_by_key(|&user| population.users[user].signup);
    let mut newcomers = by_signup.into_iter().peekable();
    let mut present: Vec<usize> = Vec::new();
    let mut actions: Vec<(TimeMs, usize, Action)> = Vec::new();

    for day in 0..DAY_COUNT {
        let (start, end) = (START + day * DAY_MS, START + (day + 1) * DAY_MS);
        while let Some(Milestone { time, who, deed }) = milestones.next_if(|milestone| milestone.time < end) {
            actions.push((*time, *who, Action::Milestone(*deed)));
        }
        while let Some(user) = newcomers.next_if(|&user| population.users[user].signup < end) {
            present.push(user);
        }
        present.retain(|&user| population.users[user].end > start);
        let share = if is_weekend(day) { WEEKEND_SHARE } else { 1.0 };
        for &index in &present {
            let user = &population.users[index];
            let is_first_day = user.signup >= start;
            if is_first_day || random.chance(user.diligence * share) {
                let begin = match is_first_day {
                    true => user.signup + random.between(5 * SECOND_MS, 3 * MINUTE_MS),
                    false => working_time(&mut random, day, user.country),
                };
                work(&mut random, user, begin..end.min(user.end), |time, action| {
                    actions.push((time, index, action));
                });
            }
        }
        actions.sort_by_key(|(time, _, _)| *time);
        for (time, who, action) in actions.drain(..) {
            writer.write(time, who, action);
        }
        if writer.batch.len() >= BATCH_EVENT_COUNT {
            sink(std::mem::take(&mut writer.batch))?;
        }
    }
    if writer.batch.is_empty() { Ok(()) } else { sink(writer.batch) }
}

/// One session of a user's work.
fn work(
    random: &mut Random,
    user: &User,
    session: std::ops::Range<TimeMs>,
    mut act: impl FnMut(TimeMs, Action),
) {
    let platform = random.weighted([0.6, 0.25, 0.15].into_iter());
    let pick = |random: &mut Random, count: usize| random.below(count as u32) as usize;
    let mut time = session.start;
    for _ in 0..2 + random.below(7) {
        if !session.contains(&time) {
            break;
        }
        let has_project = user.activated.is_some_and(|activated| activated <= time);
        let dice = random.below(100);
        let work = match dice {
            0..28 => Work::ViewPage { path: pick(random, APP_PATHS.len()) },
            28..31 if has_project => Work::CreateProject { template: pick(random, TEMPLATES.len()) },
            31..45 if has_project => Work::ViewReport { report: pick(random, REPORTS.len()) },
            _ if has_project => Work::UseFeature { feature: pick(random, FEATURES.len()) },
            28..60 => Work::ViewPage { path: pick(random, APP_PATHS.len()) },
            _ => Work::UseFeature { feature: pick(random, 3) },
        };
        act(time, Action::Work { work, platform });
        time += random.between(4 * SECOND_MS, 6 * MINUTE_MS);
    }
}

/// Turns actions into events of a batch, and counts them.
struct Writer<'a> {
    population: &'a Population,
    ledger: &'a mut Ledger,
    batch: EventBatch,
    /// Event ids are consecutive numbers from a start that the seed chooses.
    next_id: u64,
}

impl Writer<'_> {
    fn write(&mut self, time: TimeMs, who: usize, action: Action) {
        let population = self.population;
        let country = || COUNTRIES[population.users[who].country].name;
        match action {
            Action::Milestone(Deed::Visit { path, origin }) => {
                let properties = [("path", text(SITE_PATHS[path])), ("source", text(ORIGINS[origin].name))];
                self.push("page_viewed", &population.visitors[who], None, time, &properties);
            }
            Action::Milestone(Deed::SignUp) => {
                let source = text(ORIGINS[population.users[who].origin].name);
                self.user_event("signup", who, time, &[("source", source), ("country", text(country()))]);
            }
            Action::Milestone(Deed::CreateFirstProject { template })
            | Action::Work { work: Work::CreateProject { template }, .. } => {
                self.user_event("project_created", who, time, &[("template", text(TEMPLATES[template]))]);
            }
            Action::Milestone(Deed::Invite { channel }) => {
                self.ledger.invited(&population.users[who], channel, time);
                self.user_event("invite_sent", who, time, &[("channel", text(CHANNELS[channel].name))]);
            }
            Action::Milestone(Deed::Accept(invitation)) => {
                self.ledger.accepted(population, who, invitation, time);
                let inviter = &population.users[invitation.inviter].id;
                let channel = CHANNELS[invitation.channel].name;
                let properties = [("inviter_id", text(inviter)), ("channel", text(channel))];
                self.user_event("invite_accepted", who, time, &properties);
            }
            Action::Milestone(Deed::Export { format, plan }) => {
                self.ledger.exported(population.users[who].account, plan, time);
                let properties = [("format", text(EXPORT_FORMATS[format])), ("plan", text(PLANS[plan].name))];
                self.user_event("export_used", who, time, &properties);
            }
            Action::Milestone(Deed::HitLimit { allowance }) => {
                let properties = [("limit", text("exports")), ("allowance", whole(allowance))];
                self.user_event("limit_hit", who, time, &properties);
            }
            Action::Milestone(Deed::Subscribe(subscription)) => {
                self.ledger.subscribed(population.users[who].account, &subscription, time);
                let event = match subscription.change {
                    Change::Upgrade => "plan_upgraded",
                    Change::Downgrade => "plan_downgraded",
                    Change::Cancel => "subscription_cancelled",
                };
                let mrr = Number::new(i128::from(subscription.mrr_cents), -2).expect("prices are small");
                let account = &population.accounts[population.users[who].account];
                let properties = [
                    ("plan", text(PLANS[subscription.plan].name)),
                    ("seats", whole(subscription.seats)),
                    ("mrr", CellRef::Number(mrr)),
                    ("currency", text(COUNTRIES[account.country].currency)),
                ];
                self.user_event(event, who, time, &properties);
            }
            Action::Work { work: Work::ViewPage { path }, platform } => {
                let properties = [("path", text(APP_PATHS[path])), ("platform", text(PLATFORMS[platform]))];
                self.user_event("page_viewed", who, time, &properties);
            }
            Action::Work { work: Work::UseFeature { feature }, platform } => {
                let properties = [
                    ("feature", text(FEATURES[feature])),
                    ("platform", text(PLATFORMS[platform])),
                    ("country", text(country())),
                ];
                self.user_event("feature_used", who, time, &properties);
            }
            Action::Work { work: Work::ViewReport { report }, platform } => {
                let properties = [("report", text(REPORTS[report])), ("platform", text(PLATFORMS[platform]))];
                self.user_event("report_viewed", who, time, &properties);
            }
        }
    }

    fn user_event(
        &mut self,
        event: &'static str,
        who: usize,
        time: TimeMs,
        properties: &[(&str, CellRef<'_>)],
    ) {
        let user = &self.population.users[who];
        self.ledger.seen(who, user, time);
        let account = &self.population.accounts[user.account].id;
        self.push(event, &user.id, Some(account), time, properties);
    }

    fn push(
        &mut self,
        event: &'static str,
        user: &str,
        account: Option<&str>,
        time: TimeMs,
        properties: &[(&str, CellRef<'_>)],
    ) {
        self.ledger.event(event);
        let id = hexadecimal(self.next_id);
        self.next_id = self.next_id.wrapping_add(1);
        let id = std::str::from_utf8(&id).expect("digits are ASCII");
        self.batch.push_event(event, user, time, Some(id), account).expect("the demo's names are short");
        for (name, value) in properties {
            self.batch.push_property_ref(name, value).expect("the demo's names are short");
        }
    }
}

fn text(text: &str) -> CellRef<'_> {
    CellRef::Text(text)
}

fn whole(number: u32) -> CellRef<'static> {
    CellRef::Number(Number::from(i64::from(number)))
}

/// The 16 digits of a number. Written by hand: formatting would take longer than all else about an event.
fn hexadecimal(number: u64) -> [u8; 16] {
    let mut digits = [0; 16];
    for (place, digit) in digits.iter_mut().rev().enumerate() {
        *digit = b"0123456789abcdef"[(number >> (4 * place)) as usize & 15];
    }
    digits
}
