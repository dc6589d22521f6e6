//! `flywheel serve`: the server.

use std::path::{Path, PathBuf};

use clap::Args;

use super::{growth_model, output};
use crate::api::Problem;
use crate::http::Server;
use crate::settings::{KeepingSettings, ServerSettings, Settings};
use crate::store::{Store, StoreOptions};

#[derive(Debug, Args)]
pub(super) struct ServeArgs {
    #[command(flatten)]
    pub settings: ServerSettings,

    #[command(flatten)]
    pub keeping: KeepingSettings,
}

/// `flywheel compact`: what it takes beside what every command does.
#[derive(Debug, Args)]
pub(super) struct CompactArgs {
    #[command(flatten)]
    pub keeping: KeepingSettings,
}

/// How the settings want a store opened.
pub(super) fn store_options(settings: &Settings) -> StoreOptions {
    StoreOptions {
        degraded: settings.degraded,
        expire_after: settings.expire_after,
        trust_clock: settings.trust_clock,
        disk_reserve: settings.disk_reserve as u64,
        small_segments: settings.small_segments,
        ..StoreOptions::default()
    }
}

/// Where the settings put backups: `flywheel-data.backups` next to `flywheel-data` unless they say.
pub(super) fn backups_of(settings: &Settings) -> PathBuf {
    settings.backups.clone().unwrap_or_else(|| backups_beside(&settings.data))
}

fn backups_beside(data: &Path) -> PathBuf {
    let data = std::path::absolute(data).unwrap_or_else(|_| data.to_owned());
    let mut name = data.file_name().unwrap_or_default().to_owned();
    name.push(".backups");
    data.with_file_name(name)
}

pub(super) fn run(settings: &Settings) -> Result<(), Problem> {
    let data = settings.data.as_path();
    let server = Server::bind_with(settings.clone())?.with_backups(backups_of(settings));
    let store = Store::open_with(data, store_options(settings))?;
    if !settings.degraded {
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
    fn backups_are_beside_the_store_and_not_in_it() {
        assert_eq!(backups_beside(Path::new("/srv/data")), Path::new("/srv/data.backups"));
        assert!(backups_beside(Path::new("data/")).ends_with("data.backups"));
    }
}
