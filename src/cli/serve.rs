//! `flywheel serve`: the server.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;

use super::{growth_model, output};
use crate::api::Problem;
use crate::http::Server;
use crate::settings::{ServerSettings, Settings};
use crate::store::{Store, StoreOptions};

#[derive(Debug, Args)]
pub(super) struct ServeArgs {
    #[command(flatten)]
    pub settings: ServerSettings,

    /// Serves what is left of a damaged store, to read only, and says so in every answer.
    #[arg(long, env = "FLYWHEEL_DEGRADED")]
    degraded: bool,

    /// The directory below which POST /v1/admin/backup puts backups, by name; next to the store's unless told.
    #[arg(long, value_name = "DIR", env = "FLYWHEEL_BACKUPS")]
    backups: Option<PathBuf>,

    #[command(flatten)]
    expiry: ExpiryArgs,
}

/// Which events are too old to be kept.
#[derive(Debug, Args)]
pub(super) struct ExpiryArgs {
    /// Lets events go that are older than this, such as 365d: from queries at that moment, from the files soon after.
    #[arg(long, value_name = "AGE", env = "FLYWHEEL_EXPIRE_AFTER", value_parser = age)]
    expire_after: Option<Duration>,

    /// Believes the clock, although it is far ahead of when the store was last written.
    #[arg(long)]
    trust_clock: bool,
}

impl ExpiryArgs {
    pub(super) fn options(&self) -> StoreOptions {
        let (expire_after, trust_clock) = (self.expire_after, self.trust_clock);
        StoreOptions { expire_after, trust_clock, ..StoreOptions::default() }
    }
}

/// Parses an age: a number of hours, days or weeks.
fn age(text: &str) -> Result<Duration, String> {
    let wrong = || "expected an age of an hour or more, such as 12h, 365d or 52w".to_owned();
    let unit = text.chars().last().ok_or_else(wrong)?;
    let hours = match unit {
        'h' => 1,
        'd' => 24,
        'w' => 7 * 24,
        _ => return Err(wrong()),
    };
    let count =
        text.strip_suffix(unit).and_then(|count| count.parse::<u32>().ok()).filter(|count| *count > 0);
    Ok(Duration::from_secs(u64::from(count.ok_or_else(wrong)?) * hours * 3600))
}

/// Where backups go unless told: `flywheel-data.backups` next to `flywheel-data`.
pub(super) fn backups_beside(data: &Path) -> PathBuf {
    let data = std::path::absolute(data).unwrap_or_else(|_| data.to_owned());
    let mut name = data.file_name().unwrap_or_default().to_owned();
    name.push(".backups");
    data.with_file_name(name)
}

pub(super) fn run(args: ServeArgs, settings: &Settings) -> Result<(), Problem> {
    let data = settings.data.as_path();
    let backups = args.backups.unwrap_or_else(|| backups_beside(data));
    let server = Server::bind_with(settings.clone())?.with_backups(backups);
    let options = StoreOptions { degraded: args.degraded, ..args.expiry.options() };
    let store = Store::open_with(data, options)?;
    if !args.degraded {
        growth_model::keep(&store, settings)?;
    }
    let line = ready_line(&server, data);
    server.run(store, || output::print(line.as_bytes()))
}

/// The one line that programs wait for.
pub(super) fn ready_line(server: &Server, data: &Path) -> String {
    format!("flywheel is ready on {} (data in {})\n", server.url(), data.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_has_a_unit() {
        assert_eq!(age("365d"), Ok(Duration::from_secs(365 * 86_400)));
        assert_eq!([age("12h"), age("2w")].map(|age| age.unwrap().as_secs() / 3600), [12, 336]);
        for text in ["", "365", "d", "0d", "-1d", "1.5d", "1y", "99999999999d"] {
            assert!(age(text).is_err(), "{text}");
        }
    }

    #[test]
    fn backups_are_beside_the_store_and_not_in_it() {
        assert_eq!(backups_beside(Path::new("/srv/data")), Path::new("/srv/data.backups"));
        assert!(backups_beside(Path::new("data/")).ends_with("data.backups"));
    }
}
