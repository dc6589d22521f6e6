//! The log, on stderr.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::api::Problem;
use crate::settings::LogFormat;

/// Starts logging what the count of `-v` asks for, else what `filter` does, else `default_level`.
pub(super) fn start(
    filter: Option<&str>,
    format: LogFormat,
    verbose: u8,
    default_level: &str,
) -> Result<(), Problem> {
    let filter = match verbose {
        0 => filter.filter(|filter| !filter.is_empty()).unwrap_or(default_level),
        1 => "info",
        2 => "debug",
        _ => "trace",
    };
    let parsed = EnvFilter::try_new(filter).map_err(|e| {
        Problem::invalid(format!("the log filter {filter:?} is not understood: {e}"))
            .hint("a level is error, warn, info, debug or trace")
    })?;
    let stderr = std::io::stderr;
    let is_terminal = stderr().is_terminal();
    let log = tracing_subscriber::fmt().with_env_filter(parsed).with_writer(stderr);
    match format {
        LogFormat::Text => log.with_ansi(is_terminal).init(),
        LogFormat::Json => log.json().flatten_event(true).init(),
    }
    Ok(())
}
