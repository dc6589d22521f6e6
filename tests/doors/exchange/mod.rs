//! What comes in from elsewhere and goes out again: the SDKs of other products, their exports, files, and our exports.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "tests write the files that users bring"
)]

mod exported;
mod foreign;
#[cfg(feature = "object-store")]
mod object_stores;
mod parquet_files;
mod recorded;

use std::path::{Path, PathBuf};

use clap::Parser;
use flywheeldb::Store;
use flywheeldb::api::{Json, Problem};
use flywheeldb::cli::import::{ImportArgs, ImportSummary, import};
use tempfile::TempDir;

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    import: ImportArgs,
}

/// A store that files were imported to.
struct Imported {
    store: Store,
    summary: ImportSummary,
    outcome: Result<(), Problem>,
    directory: TempDir,
}

impl Imported {
    /// Runs an import of `paths` with further arguments.
    fn of(paths: &[&Path], options: &[&str]) -> Imported {
        let directory = tempfile::tempdir().unwrap();
        let (data, rejects) = (directory.path().join("data"), directory.path().join("rejects"));
        let paths = paths.iter().map(|path| path.to_str().unwrap().to_owned());
        let mut words =
            vec!["import".to_owned(), "--rejects".to_owned(), rejects.to_str().unwrap().to_owned()];
        words.extend(options.iter().map(|word| (*word).to_owned()).chain(paths));
        let args = Cli::try_parse_from(words).unwrap().import;
        let mut summary = ImportSummary::default();
        let outcome = import(&args, &data, &mut summary);
        let store = Store::open(&data).unwrap();
        Imported { store, summary, outcome, directory }
    }

    fn rejects(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("rejects")).unwrap_or_default()
    }

    /// A user as `GET /v1/users/{user}` tells.
    fn user(&self, user: &str) -> serde_json::Value {
        told(self.store.user(user, 1_000, None))
    }

    fn account(&self, account: &str) -> serde_json::Value {
        told(self.store.account(account, 1_000, None))
    }
}

fn told(found: Result<Option<Json>, Problem>) -> serde_json::Value {
    found.unwrap().map_or(serde_json::Value::Null, |json| serde_json::to_value(json).unwrap())
}

/// Writes a file for a test to import.
fn file(directory: &TempDir, name: &str, content: &[u8]) -> PathBuf {
    let path = directory.path().join(name);
    std::fs::write(&path, content).unwrap();
    path
}
