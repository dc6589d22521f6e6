//! The log, on stderr.

use tracing_subscriber::EnvFilter;

use crate::api::Problem;

/// Starts logging what `filter` asks for, else what the count of `-v` does, else `default_level`.
pub(super) fn start(filter: Option<&str>, verbose: u8, default_level: &str) -> Result<(), Problem> {
    let level = match verbose {
        0 => default_level,
        1 => "info",
        2 => "debug",
        _ => "trace",
    };
    let filter = filter.filter(|filter| !filter.is_empty()).unwrap_or(level);
    let parsed = EnvFilter::try_new(filter).map_err(|e| {
        Problem::invalid(format!("the log filter {filter:?} is not understood: {e}"))
            .hint("a level is error, warn, info, debug or trace")
    })?;
    tracing_subscriber::fmt().with_env_filter(parsed).with_writer(std::io::stderr).init();
    Ok(())
}
