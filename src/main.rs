//! The `flywheel` program: see `flywheel --help`.

use std::process::ExitCode;

fn main() -> ExitCode {
    flywheeldb::cli::main()
}
