//! The market of the demo's product: what there is to choose from, and what was planted in it.

use crate::model::{DAY_MS, TimeMs};

/// 2025-11-01T00:00:00Z, the start of the history.
pub const START: TimeMs = 1_761_955_200_000;
/// 2026-11-01T00:00:00Z: the history's last day is 2026-10-31.
pub const END: TimeMs = START + DAY_COUNT * DAY_MS;
pub(super) const DAY_COUNT: i64 = 365;
/// Days of the history's months, November to October.
pub(super) const MONTH_DAY_COUNTS: [i64; 12] = [30, 31, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31];

/// Users who create a project this soon after their sign-up stay; hardly any of the others do.
pub const ACTIVATION_WINDOW_MS: i64 = 7 * DAY_MS;
/// The invitations that are accepted most, and whose invitees invite most.
pub const VIRAL_CHANNEL: &str = "slack";
/// The invitations that next to nobody accepts.
pub const DEAD_CHANNEL: &str = "sms";
/// The industry whose accounts grow after they have bought.
pub const EXPANDING_INDUSTRY: &str = "healthcare";

/// Exports that an account on the free plan may make in a calendar month. Wanting more makes it buy.
pub const FREE_EXPORT_LIMIT: u32 = 5;

/// A way to invite someone.
pub(super) struct Channel {
    pub name: &'static str,
    pub share: f64,
    /// Share of the invitations that are accepted.
    pub accepted: f64,
    /// How many more invitations those send who came this way.
    pub spread: f64,
}

pub(super) const CHANNELS: [Channel; 4] = [
    Channel { name: "email", share: 0.45, accepted: 0.26, spread: 1.0 },
    Channel { name: "link", share: 0.24, accepted: 0.34, spread: 1.0 },
    Channel { name: VIRAL_CHANNEL, share: 0.16, accepted: 0.72, spread: 1.6 },
    Channel { name: DEAD_CHANNEL, share: 0.15, accepted: 0.012, spread: 1.0 },
];

/// Where users come from.
pub(super) struct Origin {
    pub name: &'static str,
    pub share: f64,
    /// Share of them who activate in time.
    pub activated: f64,
}

/// Sources of those who found the product themselves, then that of those who were invited.
pub(super) const ORIGINS: [Origin; 6] = [
    Origin { name: "organic", share: 0.36, activated: 0.48 },
    Origin { name: "search_ads", share: 0.24, activated: 0.38 },
    Origin { name: "social_ads", share: 0.18, activated: 0.16 },
    Origin { name: "partner", share: 0.10, activated: 0.62 },
    Origin { name: "newsletter", share: 0.12, activated: 0.44 },
    Origin { name: INVITED, share: 0.0, activated: 0.66 },
];
const INVITED: &str = "invite";
pub(super) const INVITED_ORIGIN: usize = ORIGINS.len() - 1;

pub(super) struct Country {
    pub name: &'static str,
    pub share: f64,
    /// Hours that clocks there are ahead of UTC.
    pub hours_east: i64,
    pub currency: &'static str,
}

pub(super) const COUNTRIES: [Country; 8] = [
    Country { name: "US", share: 0.34, hours_east: -6, currency: "USD" },
    Country { name: "DE", share: 0.16, hours_east: 1, currency: "EUR" },
    Country { name: "GB", share: 0.12, hours_east: 0, currency: "GBP" },
    Country { name: "FR", share: 0.10, hours_east: 1, currency: "EUR" },
    Country { name: "IN", share: 0.10, hours_east: 5, currency: "USD" },
    Country { name: "BR", share: 0.08, hours_east: -3, currency: "USD" },
    Country { name: "NL", share: 0.06, hours_east: 1, currency: "EUR" },
    Country { name: "JP", share: 0.04, hours_east: 9, currency: "USD" },
];

pub(super) struct Industry {
    pub name: &'static str,
    pub share: f64,
    /// Months until an account of it goes away, on average.
    pub months: f64,
    /// Chance in a month that an account that pays buys more.
    pub expansion: f64,
    /// Chance in a month that it buys less.
    pub contraction: f64,
}

pub(super) const INDUSTRIES: [Industry; 6] = [
    Industry { name: "software", share: 0.30, months: 26.0, expansion: 0.03, contraction: 0.03 },
    Industry { name: "agency", share: 0.20, months: 18.0, expansion: 0.03, contraction: 0.05 },
    Industry { name: "education", share: 0.14, months: 30.0, expansion: 0.02, contraction: 0.02 },
    Industry { name: EXPANDING_INDUSTRY, share: 0.14, months: 60.0, expansion: 0.22, contraction: 0.01 },
    Industry { name: "retail", share: 0.12, months: 9.0, expansion: 0.02, contraction: 0.06 },
    Industry { name: "finance", share: 0.10, months: 30.0, expansion: 0.03, contraction: 0.02 },
];

/// Employees of a company, at most; how many accounts are of that size; how much more they invite.
pub(super) const COMPANY_SIZES: [(u32, f64, f64); 4] =
    [(10, 0.45, 0.7), (50, 0.32, 1.0), (250, 0.17, 1.5), (1_000, 0.06, 2.0)];

pub(super) struct Plan {
    pub name: &'static str,
    /// Hundredths of the currency for a seat in a month.
    pub seat_price_cents: i64,
    /// Exports an account may make in a calendar month.
    pub export_limit: u32,
}

pub(super) const PLANS: [Plan; 3] = [
    Plan { name: "free", seat_price_cents: 0, export_limit: FREE_EXPORT_LIMIT },
    Plan { name: "team", seat_price_cents: 1_190, export_limit: 40 },
    Plan { name: "business", seat_price_cents: 2_350, export_limit: 500 },
];
pub(super) const FREE: usize = 0;
pub(super) const TEAM: usize = 1;
pub(super) const BUSINESS: usize = 2;

pub(super) const ROLES: [&str; 5] = ["founder", "engineer", "designer", "manager", "marketer"];
pub(super) const PLATFORMS: [&str; 3] = ["web", "desktop", "mobile"];
pub(super) const TEMPLATES: [&str; 5] = ["blank", "kanban", "roadmap", "sprint", "campaign"];
pub(super) const EXPORT_FORMATS: [&str; 3] = ["csv", "pdf", "xlsx"];
pub(super) const REPORTS: [&str; 4] = ["burndown", "workload", "velocity", "portfolio"];
/// The first ones are what newcomers use.
pub(super) const FEATURES: [&str; 8] =
    ["board", "search", "comments", "timeline", "files", "automations", "goals", "integrations"];
pub(super) const APP_PATHS: [&str; 6] = ["/home", "/projects", "/board", "/inbox", "/settings", "/reports"];
pub(super) const SITE_PATHS: [&str; 6] = ["/", "/pricing", "/features", "/customers", "/docs", "/blog"];

/// Weights of the hours of a working day, from midnight: a morning, a dip at noon, an afternoon, an evening.
pub(super) const HOUR_WEIGHTS: [f64; 24] = [
    0.2, 0.1, 0.1, 0.1, 0.1, 0.2, 0.6, 1.8, 5.0, 9.0, 10.0, 9.0, 6.0, 7.0, 9.0, 9.0, 8.0, 6.0, 3.0, 2.0, 1.8,
    1.5, 1.0, 0.5,
];
/// What is done on a day of the weekend, as a share of what is done on a working day.
pub(super) const WEEKEND_SHARE: f64 = 0.14;

pub(super) const NAMES_FIRST: [&str; 20] = [
    "Amber", "Birch", "Cedar", "Coral", "Delta", "Ember", "Falcon", "Granite", "Harbor", "Indigo", "Juniper",
    "Larch", "Maple", "Nimbus", "Orchard", "Pebble", "Quartz", "River", "Summit", "Willow",
];
pub(super) const NAMES_LAST: [&str; 12] = [
    "Labs",
    "Works",
    "Studio",
    "Partners",
    "Systems",
    "Group",
    "Foundry",
    "Collective",
    "Health",
    "Logistics",
    "Media",
    "Supply",
];
