//! The growth model that the settings name: read, checked, and stored where another is there.

use std::io::Read;
use std::path::Path;

use crate::Store;
use crate::api::{Json, Problem, ProblemClass};
use crate::io::read_outside;
use crate::limits::BODY_SIZE_MAX;
use crate::settings::Settings;

/// Lets the store have the model of the settings, if they have one. Events of it that nobody has done so far are warned
/// of in the log.
pub(super) fn keep(store: &Store, settings: &Settings) -> Result<(), Problem> {
    let Some(document) = &settings.growth_model else { return Ok(()) };
    let text = if document.starts_with('{') { document.clone() } else { read(Path::new(document))? };
    let warnings = Json::parse(text.as_bytes()).and_then(|model| store.keep_growth_model(&model));
    let warnings = warnings.map_err(|problem| {
        let detail = format!("the growth model of the settings: {}", problem.detail);
        Problem { detail, ..problem }
    })?;
    for warning in warnings {
        tracing::warn!(%warning, "the growth model may mean another event");
    }
    Ok(())
}

fn read(path: &Path) -> Result<String, Problem> {
    let mut text = String::new();
    let read = read_outside(path).and_then(|file| file.take(BODY_SIZE_MAX as u64).read_to_string(&mut text));
    read.map_err(|error| {
        Problem::new(ProblemClass::Io, format!("cannot read the growth model {}: {error}", path.display()))
    })?;
    Ok(text)
}
