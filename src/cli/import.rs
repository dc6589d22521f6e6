//! `flywheel import`: events from files.

use std::path::{Path, PathBuf};

use clap::Args;

use crate::api::Problem;

#[derive(Debug, Args)]
pub struct ImportArgs {
    /// The files.
    files: Vec<PathBuf>,
}

pub fn run(args: ImportArgs, data: &Path) -> Result<(), Problem> {
    Err(Problem::invalid(format!("cannot import {:?} into {}", args.files, data.display())))
}
