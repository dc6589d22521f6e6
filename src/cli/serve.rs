//! `flywheel serve`: the server.

use std::path::Path;

use clap::Args;

use super::output;
use crate::api::Problem;
use crate::http::Server;
use crate::settings::{ServerSettings, Settings};
use crate::store::Store;

#[derive(Debug, Args)]
pub(super) struct ServeArgs {
    #[command(flatten)]
    pub settings: ServerSettings,
}

pub(super) fn run(settings: &Settings) -> Result<(), Problem> {
    let server = Server::bind_with(settings.clone())?;
    let store = Store::open(&settings.data)?;
    let line = ready_line(&server, &settings.data);
    server.run(store, || output::print(line.as_bytes()))
}

/// The one line that programs wait for.
pub(super) fn ready_line(server: &Server, data: &Path) -> String {
    format!("flywheel is ready on {} (data in {})\n", server.url(), data.display())
}
