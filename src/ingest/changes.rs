//! Reads files of profiles and of identities: lines as the API takes them, or tables.

use std::io::Read;

use super::event::EventLimits;
use super::events::BodyForm;
use super::files::{InputFile, InputFormat};
use super::lines::{Block, Lines};
use super::profiles::{parse_identities, parse_profiles, unset_empty_lists};
use super::rows::{Chunk, RejectedRow, RowOptions, RowReader, shown};
use crate::api::{Problem, ProblemClass};
use crate::limits::EVENT_SIZE_MAX;
use crate::model::{Entity, IdentityMerge, ProfileWrite};

/// What is said in a file beside events.
#[derive(Debug, Default)]
pub struct Said {
    pub merges: Vec<IdentityMerge>,
    pub users: Vec<ProfileWrite>,
    pub accounts: Vec<ProfileWrite>,
}

impl Said {
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Things that are said.
    pub fn len(&self) -> usize {
        self.merges.len() + self.users.len() + self.accounts.len()
    }
}

/// What the rows of such a file are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    Profiles(Entity),
    Identities,
}

impl ChangeKind {
    /// The targets of a mapping that make a row of a table one, given those that the user asks for: an owner is the
    /// event's user, and of a pair of ids the second is its account.
    pub fn targets(self, asked: &[String]) -> Vec<String> {
        let roles: &[(&str, &str)] = match self {
            ChangeKind::Profiles(Entity::User) => &[("user", "user")],
            ChangeKind::Profiles(Entity::Account) => &[("account", "user")],
            ChangeKind::Identities => &[("from", "user"), ("into", "account")],
        };
        let mut targets: Vec<String> = vec!["event=:row".to_owned(), "time=:1970-01-01".to_owned()];
        for (name, role) in roles {
            let source = asked.iter().find_map(|target| target.strip_prefix(name)?.strip_prefix('='));
            targets.push(format!("{role}={}", source.unwrap_or(name)));
        }
        let is_role = |target: &&String| {
            let name = target.split('=').next().unwrap_or_default().trim();
            roles.iter().any(|(known, _)| *known == name)
        };
        targets.extend(asked.iter().filter(|target| !is_role(target)).cloned());
        targets
    }
}

/// Reads one file of changes.
pub struct ChangeReader {
    kind: ChangeKind,
    rows: ChangeRows,
    chunk_row_count: usize,
    name: String,
}

enum ChangeRows {
    Lines(Lines<Box<dyn Read + Send>>),
    /// Rows that were read as events by the targets of [`ChangeKind::targets`].
    Table(Box<RowReader>),
}

impl ChangeReader {
    /// Gets ready to read `file`; the options' mapping has the targets of `kind`.
    pub fn new(
        kind: ChangeKind,
        file: InputFile,
        format: InputFormat,
        options: RowOptions,
    ) -> Result<ChangeReader, Problem> {
        let (name, chunk_row_count) = (file.name.clone(), options.chunk_event_count);
        let rows = match format {
            InputFormat::Ndjson => ChangeRows::Lines(Lines::new(file.into_text())),
            InputFormat::Csv | InputFormat::Parquet => {
                ChangeRows::Table(Box::new(RowReader::new(file, format, options)?))
            }
        };
        Ok(ChangeReader { kind, rows, chunk_row_count, name })
    }

    /// The next changes, or none after the last.
    pub fn next_chunk(&mut self) -> Result<Option<Chunk>, Problem> {
        match &mut self.rows {
            ChangeRows::Lines(lines) => {
                let mut chunk = Chunk { line: lines.line_count(), ..Chunk::default() };
                while chunk.said.len() + chunk.rejected.len() < self.chunk_row_count {
                    let number = lines.line_count() + 1;
                    let block = lines.block().map_err(|error| {
                        let detail = format!("{} cannot be read on: {error}", self.name);
                        Problem::new(ProblemClass::Io, format!("{detail}, after line {}", number - 1))
                    })?;
                    let read = match block {
                        None => break,
                        Some(Block::Overlong(start)) => {
                            let detail = format!("the line has more than {EVENT_SIZE_MAX} bytes");
                            let read = Err((Problem::invalid(detail), shown(start)));
                            lines.take_overlong();
                            read
                        }
                        Some(Block::Lines(block)) => {
                            let size = memchr::memchr(b'\n', block).map_or(block.len(), |feed| feed + 1);
                            let text = block[..size].trim_ascii();
                            let read = match text.is_empty() {
                                true => Ok(()),
                                false => add(self.kind, text, &mut chunk.said).map_err(|e| (e, shown(text))),
                            };
                            lines.take(size, 1);
                            read
                        }
                    };
                    if let Err((problem, input)) = read {
                        let path = problem.path.clone().unwrap_or_default();
                        let reason = Problem { path: None, ..problem }.to_string();
                        chunk.rejected.push(RejectedRow { line: number, reason, path, input });
                    }
                    chunk.line = number;
                }
                let is_empty = chunk.said.is_empty() && chunk.rejected.is_empty();
                Ok((!is_empty).then_some(chunk))
            }
            ChangeRows::Table(rows) => {
                let Some(mut chunk) = rows.next_chunk()? else { return Ok(None) };
                let batch = std::mem::take(&mut chunk.batch);
                for row in batch.iter() {
                    let id = row.user().to_owned();
                    let write = || {
                        let set = row.properties().map(|p| (p.name().to_owned(), p.value().to_value()));
                        let mut write =
                            ProfileWrite { id: id.clone(), set: set.collect(), ..ProfileWrite::default() };
                        unset_empty_lists(&mut write.set, &mut write.unset);
                        write
                    };
                    match self.kind {
                        ChangeKind::Profiles(Entity::User) => chunk.said.users.push(write()),
                        ChangeKind::Profiles(Entity::Account) => chunk.said.accounts.push(write()),
                        ChangeKind::Identities => {
                            let into = row.account().unwrap_or_default().to_owned();
                            chunk.said.merges.push(IdentityMerge { from: id, into });
                        }
                    }
                }
                Ok(Some(chunk))
            }
        }
    }
}

/// Reads a line.
fn add(kind: ChangeKind, text: &[u8], said: &mut Said) -> Result<(), Problem> {
    match kind {
        ChangeKind::Profiles(entity) => {
            let writes = parse_profiles(text, BodyForm::Json, entity, EventLimits::default())?;
            let place = if entity == Entity::User { &mut said.users } else { &mut said.accounts };
            place.extend(writes);
        }
        ChangeKind::Identities => {
            said.merges.extend(parse_identities(text, BodyForm::Json, EventLimits::default())?)
        }
    }
    Ok(())
}
