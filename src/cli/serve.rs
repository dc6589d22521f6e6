//! `flywheel serve`: the server.

use std::net::SocketAddr;
use std::path::Path;

use clap::Args;

use super::arguments::{LISTEN_DEFAULT, listen_address};
use super::output;
use crate::api::Problem;
use crate::http::Server;
use crate::store::Store;

#[derive(Debug, Args)]
pub(super) struct ServeArgs {
    /// The address to listen on: one of this machine alone, as there are no keys yet. Port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS", env = "FLYWHEEL_LISTEN", default_value = LISTEN_DEFAULT,
        value_parser = listen_address)]
    listen: SocketAddr,
}

pub(super) fn run(args: ServeArgs, data: &Path) -> Result<(), Problem> {
    let server = Server::bind(args.listen)?;
    let store = Store::open(data)?;
    let line = ready_line(server.address(), data);
    server.run(store, || output::print(line.as_bytes()))
}

/// The one line that programs wait for.
pub(super) fn ready_line(address: SocketAddr, data: &Path) -> String {
    format!("flywheel is ready on http://{address} (data in {})\n", data.display())
}
