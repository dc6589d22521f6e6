//! The history of a product that does not exist: something real enough to look around in, with known truths.
//!
//! A project tool for companies, over the twelve months that end with 2026-10-31. Companies find it, sign up,
//! invite colleagues, meet the limits of the free plan, buy, grow, shrink and leave. What was planted is in the
//! constants here and, counted, in the [`DemoSummary`]: creating a project in the first week is what makes users
//! stay; one way of inviting is viral and one is dead; one industry expands; a limit on exports makes accounts buy.
//!
//! The same plan gives the same events on every machine, so tests and pages can name numbers.

mod activity;
mod ledger;
mod market;
mod population;
mod random;
mod subscription;

use crate::api::Problem;
use crate::model::{EventBatch, IdentityMerge, ProfileWrite, Value};

use self::ledger::Ledger;
use self::ledger::channel_of;
pub use self::ledger::{
    DemoSummary, InviteCount, KEPT_FROM, KeptRevenue, LEADS_AT, LEADS_BUY_BEFORE, Leads, LimitOutcome,
    RETAINED_FROM_DAY, RETAINED_TO_DAY, Retained, SPREAD_WINDOW_MS, Spread, TOP_LEAD_EXPORT_COUNT,
};
pub use self::market::{
    ACTIVATION_WINDOW_MS, DEAD_CHANNEL, END, EXPANDING_INDUSTRY, FREE_EXPORT_LIMIT, START, VIRAL_CHANNEL,
};
use self::market::{COUNTRIES, INDUSTRIES, ORIGINS, PLANS, ROLES};
use self::population::{Population, populate};

/// Events that an account and its users leave behind on average, visitors included. Measured; it sets how many
/// accounts make up the events that are asked for.
const EVENTS_PER_ACCOUNT: u64 = 236;

/// The growth model of the product, as `PUT /v1/growth-model` takes it.
pub const GROWTH_MODEL: &str = r#"{"signup": "signup", "activate": {"event": "project_created", "within": "7d"},
 "value": "report_viewed", "invite": "invite_sent",
 "accept": {"event": "invite_accepted", "inviter": "inviter_id"},
 "subscription": {"event": {"any_of": ["plan_upgraded", "plan_downgraded", "subscription_cancelled"]},
                  "mrr": "mrr", "entity": "account", "currency": "currency"},
 "paid": "plan_upgraded", "feature": {"event": "feature_used", "property": "feature"},
 "limit": {"usage": {"event": "export_used", "per": "month"},
           "allowance": {"property": "export_limit", "on": "account"}}}"#;

/// Which history to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DemoPlan {
    /// Another seed is another history of the same market.
    pub seed: u64,
    /// About how many events; the [`DemoSummary`] tells exactly.
    pub events: u64,
}

impl Default for DemoPlan {
    fn default() -> DemoPlan {
        DemoPlan { seed: 1, events: 1_000_000 }
    }
}

impl DemoPlan {
    fn population(&self) -> Population {
        populate(self.seed, (self.events / EVENTS_PER_ACCOUNT).max(1) as usize)
    }
}

/// Hands the history to `sink`, day by day, in batches of some 20,000 events. Stops at the sink's first error.
pub fn generate(
    plan: &DemoPlan,
    sink: &mut dyn FnMut(EventBatch) -> Result<(), Problem>,
) -> Result<DemoSummary, Problem> {
    let population = plan.population();
    let mut ledger = Ledger::new(&population);
    activity::write_history(plan.seed, &population, &mut ledger, sink)?;
    Ok(ledger.finish(&population))
}

/// What is known about users and accounts beside their events, as it stands at the end of the history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DemoProfiles {
    /// `country`, `source`, `role` and, of those who were invited, the `channel`.
    pub users: Vec<ProfileWrite>,
    /// `name`, `industry`, `country`, `size` (employees), `plan`, `seats`, `export_limit` (a month) and
    /// `free_export_limit`, which it had before it bought.
    pub accounts: Vec<ProfileWrite>,
    /// The anonymous ids under which users visited before they signed up.
    pub identities: Vec<IdentityMerge>,
}

/// The profiles of the users and accounts that [`generate`] makes for the same plan.
pub fn profiles(plan: &DemoPlan) -> DemoProfiles {
    let Population { accounts, users, visitors, .. } = plan.population();
    let write = |id: &str, set: Vec<(&str, Value)>| ProfileWrite {
        id: id.to_owned(),
        set: set.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
        ..ProfileWrite::default()
    };
    let whole = |number: u32| Value::from(i64::from(number));
    let identities = users.iter().filter_map(|user| {
        let visitor = user.visitor?;
        Some(IdentityMerge { from: visitors[visitor].clone(), into: user.id.clone() })
    });
    DemoProfiles {
        identities: identities.collect(),
        users: users
            .iter()
            .map(|user| {
                let country = COUNTRIES[user.country].name.into();
                let source = ORIGINS[user.origin].name.into();
                let mut set =
                    vec![("country", country), ("source", source), ("role", ROLES[user.role].into())];
                set.extend(channel_of(user).map(|channel| ("channel", channel.into())));
                write(&user.id, set)
            })
            .collect(),
        accounts: accounts
            .iter()
            .map(|account| {
                let set = vec![
                    ("name", account.name.as_str().into()),
                    ("industry", INDUSTRIES[account.industry].name.into()),
                    ("country", COUNTRIES[account.country].name.into()),
                    ("size", whole(account.employees)),
                    ("plan", PLANS[account.plan].name.into()),
                    ("seats", whole(account.seats)),
                    ("export_limit", whole(PLANS[account.plan].export_limit)),
                    ("free_export_limit", whole(FREE_EXPORT_LIMIT)),
                ];
                write(&account.id, set)
            })
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, HashMap, HashSet};

    use super::*;
    use crate::ingest::write_event;
    use crate::model::{DAY_MS, Event, TimeMs};

    const PLAN: DemoPlan = DemoPlan { seed: 1, events: 200_000 };

    fn history(plan: &DemoPlan) -> (Vec<Event>, DemoSummary) {
        let mut events = Vec::new();
        let mut sink = |batch: EventBatch| {
            events.extend(batch.iter().map(|event| event.to_event()));
            Ok(())
        };
        let summary = generate(plan, &mut sink).unwrap();
        (events, summary)
    }

    fn property<'a>(event: &'a Event, name: &str) -> Option<&'a Value> {
        event.properties.iter().find(|(known, _)| known == name).map(|(_, value)| value)
    }

    #[test]
    fn the_same_seed_gives_the_same_bytes() {
        let bytes = |seed: u64| {
            let mut bytes = Vec::new();
            let mut sink = |batch: EventBatch| {
                batch.iter().for_each(|event| write_event(&mut bytes, event));
                Ok(())
            };
            let plan = DemoPlan { seed, events: 20_000 };
            let summary = generate(&plan, &mut sink).unwrap();
            (bytes, summary, profiles(&plan))
        };
        assert!(bytes(1) == bytes(1));
        assert!(bytes(1).0 != bytes(2).0);
    }

    #[test]
    fn about_as_many_events_as_asked_lie_in_the_year_in_order_of_days() {
        let (events, summary) = history(&PLAN);
        assert_eq!(summary.events, events.len() as u64);
        assert!((150_000..250_000).contains(&summary.events), "{}", summary.events);
        assert!(events.iter().all(|event| (START..END).contains(&event.time)));
        assert!(events.is_sorted_by_key(|event| (event.time - START) / DAY_MS));
        let ids: HashSet<&str> = events.iter().map(|event| event.id.as_deref().unwrap()).collect();
        assert_eq!(ids.len(), events.len());
    }

    #[test]
    fn the_summary_tells_what_the_events_say() {
        let (events, summary) = history(&PLAN);
        let mut by_name: BTreeMap<&str, u64> = BTreeMap::new();
        events.iter().for_each(|event| *by_name.entry(&event.event).or_default() += 1);
        assert!(by_name.into_iter().eq(summary.events_by_name.iter().map(|(name, count)| (*name, *count))));
        let ids = |wanted: bool| -> HashSet<&str> {
            let users = events.iter().filter(|event| event.account.is_some() == wanted);
            users.map(|event| event.user.as_str()).collect()
        };
        assert_eq!((ids(true).len() as u64, ids(false).len() as u64), (summary.users, summary.visitors));
        let accounts: HashSet<_> = events.iter().filter_map(|event| event.account.as_deref()).collect();
        assert_eq!(accounts.len() as u64, summary.accounts);
        for (channel, count) in &summary.invites_by_channel {
            let told = |name: &str| {
                let of_name = events.iter().filter(|event| event.event == name);
                of_name.filter(|event| property(event, "channel") == Some(&(*channel).into())).count() as u64
            };
            assert_eq!((told("invite_sent"), told("invite_accepted")), (count.sent, count.accepted));
        }
    }

    #[test]
    fn who_creates_a_project_in_the_first_week_stays() {
        let (events, summary) = history(&PLAN);
        let mut signups: HashMap<&str, TimeMs> = HashMap::new();
        let (mut activated, mut retained) = (HashSet::new(), HashSet::new());
        for event in &events {
            if event.event == "signup" {
                signups.insert(&event.user, event.time);
            }
        }
        for event in &events {
            let Some(signup) = signups.get(event.user.as_str()) else { continue };
            assert!(event.time >= *signup);
            if event.event == "project_created" && event.time - signup <= ACTIVATION_WINDOW_MS {
                activated.insert(event.user.as_str());
            }
            if (RETAINED_FROM_DAY * DAY_MS..RETAINED_TO_DAY * DAY_MS).contains(&(event.time - signup)) {
                retained.insert(event.user.as_str());
            }
        }
        let mut sides = [Retained::default(); 2];
        for (user, signup) in signups {
            let side = &mut sides[usize::from(activated.contains(user))];
            let is_decided = signup + RETAINED_TO_DAY * DAY_MS <= END;
            side.users += 1;
            side.decided += u64::from(is_decided);
            side.retained += u64::from(is_decided && retained.contains(user));
        }
        assert_eq!([summary.not_activated, summary.activated], sides);
        assert!(summary.activated.rate() > 0.7, "{:?}", summary.activated);
        assert!(summary.not_activated.rate() < 0.2, "{:?}", summary.not_activated);
    }

    #[test]
    fn one_channel_is_viral_and_one_is_dead() {
        let (_, summary) = history(&PLAN);
        let rate = |channel: &str| {
            let count = summary.invites_by_channel[channel];
            count.accepted as f64 / count.sent as f64
        };
        assert!(rate(VIRAL_CHANNEL) > 0.5);
        assert!(rate(DEAD_CHANNEL) < 0.05);
        assert!((0.15..0.45).contains(&rate("email")));
    }

    #[test]
    fn limits_make_accounts_buy_and_one_industry_buys_on() {
        let plan = DemoPlan::default();
        let (events, summary) = history(&plan);
        let DemoProfiles { accounts, .. } = profiles(&plan);
        let industry_of: HashMap<&str, &Value> =
            accounts.iter().map(|write| (write.id.as_str(), &write.set[1].1)).collect();
        let mut events: Vec<&Event> = events.iter().filter(|event| event.account.is_some()).collect();
        events.sort_by_key(|event| event.time);

        let (mut limited, mut bought_after_limit, mut bought) = (HashSet::new(), 0, HashSet::new());
        let quarter_before = END - 92 * DAY_MS;
        let (mut before, mut now): (HashMap<&str, f64>, HashMap<&str, f64>) = Default::default();
        for event in &events {
            let account = event.account.as_deref().unwrap();
            match event.event.as_str() {
                "limit_hit" => drop(limited.insert(account)),
                "plan_upgraded" if bought.insert(account) => {
                    bought_after_limit += usize::from(limited.contains(account));
                }
                _ => {}
            }
            if let Some(mrr) = property(event, "mrr") {
                let mrr = mrr.as_number().unwrap().to_f64();
                now.insert(account, mrr);
                if event.time < quarter_before {
                    before.insert(account, mrr);
                }
            }
        }
        assert!(bought_after_limit * 10 > bought.len() * 8, "{bought_after_limit} of {}", bought.len());
        assert_eq!(now.values().filter(|mrr| **mrr > 0.0).count() as u64, summary.customers);
        let total: f64 = summary.mrr_by_currency.values().map(|mrr| mrr.to_f64()).sum();
        assert!((now.values().sum::<f64>() - total).abs() < 0.01);
        // What those who paid a quarter ago pay now.
        let kept = |is_expanding: bool| {
            let side = before.iter().filter(|(account, _)| {
                (industry_of[**account] == &EXPANDING_INDUSTRY.into()) == is_expanding
            });
            let (was, is) = side.fold((0.0, 0.0), |(was, is), (account, mrr)| (was + mrr, is + now[account]));
            is / was
        };
        assert!(kept(true) > 1.15, "{}", kept(true));
        assert!(kept(false) < 1.0, "{}", kept(false));
    }

    #[test]
    fn profiles_belong_to_those_who_are_in_the_events() {
        let (events, summary) = history(&PLAN);
        let DemoProfiles { users, accounts, identities } = profiles(&PLAN);
        assert_eq!((users.len() as u64, accounts.len() as u64), (summary.users, summary.accounts));
        let seen: HashSet<&str> = events.iter().map(|event| event.user.as_str()).collect();
        assert!(users.iter().all(|write| seen.contains(write.id.as_str())));
        assert!(
            identities
                .iter()
                .all(|pair| seen.contains(pair.from.as_str()) && seen.contains(pair.into.as_str()))
        );
        assert_eq!(identities.len(), accounts.len());
    }

    #[test]
    fn the_first_error_of_the_sink_stops_the_history() {
        let mut batches = 0;
        let stopped = generate(&PLAN, &mut |_| {
            batches += 1;
            Err(Problem::invalid("enough"))
        });
        assert_eq!((stopped.unwrap_err().detail.as_str(), batches), ("enough", 1));
    }
}
