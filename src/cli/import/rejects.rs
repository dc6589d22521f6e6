//! The file of the rows that are no events.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::api::{Problem, ProblemClass};
use crate::ingest::RejectedRow;
use crate::io::{OutsideWriter, beside_outside, write_outside};

/// Writes rejected rows as NDJSON, to a file that is made with the first of them.
pub(super) struct Rejects {
    path: PathBuf,
    /// Whether each row is told with the file that it comes from.
    names_files: bool,
    file: Option<OutsideWriter>,
}

impl Rejects {
    pub fn new(path: PathBuf, names_files: bool) -> Rejects {
        Rejects { path, names_files, file: None }
    }

    /// Where the rejects of an input go if the user does not say.
    pub fn path_beside(input: &Path) -> PathBuf {
        let beside = if input == Path::new("-") { "stdin".into() } else { beside_outside(input) };
        let mut path = beside.into_os_string();
        path.push(".rejects.ndjson");
        path.into()
    }

    pub fn write(&mut self, input: &str, row: &RejectedRow) -> Result<(), Problem> {
        #[derive(Serialize)]
        struct Line<'a> {
            #[serde(skip_serializing_if = "Option::is_none")]
            file: Option<&'a str>,
            line: u64,
            reason: &'a str,
            path: &'a str,
            input: &'a str,
        }
        let RejectedRow { line, reason, path, input: text } = row;
        let file = self.names_files.then_some(input);
        let line = Line { file, line: *line, reason, path, input: text };
        let mut line = serde_json::to_vec(&line).expect("strings and numbers are JSON");
        line.push(b'\n');
        if self.file.is_none() {
            let file = write_outside(&self.path).map_err(|error| self.failed(error))?;
            self.file = Some(file);
        }
        let file = self.file.as_mut().expect("it was made above");
        file.write_all(&line).map_err(|error| self.failed(error))
    }

    /// Ends the file, and returns its path, if there were rejects.
    pub fn finish(mut self) -> Result<Option<PathBuf>, Problem> {
        let Some(file) = self.file.take() else { return Ok(None) };
        file.finish().map_err(|error| self.failed(error))?;
        Ok(Some(self.path))
    }

    fn failed(&self, error: io::Error) -> Problem {
        let path = self.path.display();
        Problem::new(ProblemClass::Io, format!("cannot write the rejected rows to {path}: {error}"))
            .hint("choose another file with --rejects")
    }
}
