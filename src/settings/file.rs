//! A file of settings: TOML, a setting a line.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::DEFINITIONS;
use crate::api::{Problem, ProblemClass, nearest};
use crate::io::read_outside;

/// Bytes of a file of settings: far more than all settings with a comment each.
const SIZE_MAX: u64 = 1 << 20;

/// What a file says.
#[derive(Clone, Debug, Default)]
pub struct FileSettings {
    pub(super) path: PathBuf,
    by_name: BTreeMap<String, String>,
}

impl FileSettings {
    /// Reads the file, if one is named.
    pub fn read(path: Option<&Path>) -> Result<FileSettings, Problem> {
        let Some(path) = path else { return Ok(FileSettings::default()) };
        let mut text = String::new();
        let read = read_outside(path).and_then(|file| file.take(SIZE_MAX).read_to_string(&mut text));
        read.map_err(|error| {
            Problem::new(ProblemClass::Io, format!("cannot read the settings in {}: {error}", path.display()))
        })?;
        FileSettings::parse(&text, path)
    }

    pub(super) fn parse(text: &str, path: impl Into<PathBuf>) -> Result<FileSettings, Problem> {
        let path = path.into();
        let wrong = |what: String| Problem::invalid(format!("{}: {what}", path.display()));
        let table: toml::Table = text.parse().map_err(|error: toml::de::Error| wrong(error.to_string()))?;
        let names: Vec<String> = DEFINITIONS.iter().map(|definition| definition.name()).collect();
        let mut by_name = BTreeMap::new();
        for (name, value) in table {
            if !names.contains(&name) {
                let problem = wrong(format!("there is no setting {name:?}"));
                return Err(match nearest(&name, names.iter().map(String::as_str)) {
                    Some(known) => problem.hint(format!("did you mean {known:?}?")),
                    None => problem.hint("flywheel config lists them"),
                });
            }
            let text = text_of(&value).ok_or_else(|| {
                wrong(format!("{name:?} is neither text, number, truth nor a list of texts"))
            })?;
            by_name.insert(name, text);
        }
        Ok(FileSettings { path, by_name })
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.by_name.get(name).map(String::as_str)
    }
}

/// A value as the flag would have it.
fn text_of(value: &toml::Value) -> Option<String> {
    match value {
        toml::Value::String(text) => Some(text.clone()),
        toml::Value::Integer(number) => Some(number.to_string()),
        toml::Value::Boolean(truth) => Some(truth.to_string()),
        toml::Value::Array(items) => {
            let items: Option<Vec<&str>> = items.iter().map(toml::Value::as_str).collect();
            Some(items?.join(","))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_by_names_and_unknown_ones_are_told_the_nearest() {
        let text = "listen = \"127.0.0.1:0\"\ncors-origin = [\"https://a\", \"https://b\"]\nmax-writes = 7\n";
        let file = FileSettings::parse(text, "f.toml").unwrap();
        assert_eq!(file.get("cors-origin"), Some("https://a,https://b"));
        assert_eq!((file.get("max-writes"), file.get("listen")), (Some("7"), Some("127.0.0.1:0")));
        let problem = FileSettings::parse("lisen = \"x\"", "f.toml").unwrap_err();
        assert_eq!(problem.hint.as_deref(), Some("did you mean \"listen\"?"));
        assert!(FileSettings::parse("listen = [1]", "f.toml").is_err());
        assert!(FileSettings::parse("listen = ", "f.toml").unwrap_err().detail.starts_with("f.toml: "));
        let missing = FileSettings::read(Some(Path::new("no/such.toml"))).unwrap_err();
        assert!(missing.detail.contains("no/such.toml"));
    }
}
