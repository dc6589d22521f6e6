//! `flywheel config`: which settings hold, and where each comes from.

use clap::{Args, ValueEnum};

use super::output;
use super::text_table::TextTable;
use crate::api::{Json, Problem};
use crate::settings::{DEFINITIONS, Definition, KeepingSettings, Origin, Resolved, ServerSettings};

#[derive(Debug, Args)]
pub(super) struct ConfigArgs {
    /// How to show it.
    #[arg(long, value_enum, default_value_t)]
    format: ConfigFormat,

    #[command(flatten)]
    pub settings: ServerSettings,

    #[command(flatten)]
    pub keeping: KeepingSettings,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum ConfigFormat {
    /// Aligned text.
    #[default]
    Table,
    /// A list of objects.
    Json,
    /// A file for --config that says the same.
    Toml,
}

pub(super) fn run(args: ConfigArgs, resolved: &Resolved) -> Result<(), Problem> {
    let rows = DEFINITIONS.iter().zip(&resolved.origins);
    let rows: Vec<(&Definition, String, &Origin)> =
        rows.map(|(definition, origin)| (definition, definition.show(&resolved.settings), origin)).collect();
    let text = match args.format {
        ConfigFormat::Table => {
            let cells = rows.iter().map(|(definition, value, origin)| {
                vec![definition.name(), value.clone(), told_origin(definition, origin)]
            });
            TextTable::of_texts(&["setting", "value", "from"], cells.collect()).render()
        }
        ConfigFormat::Json => {
            let objects = rows.iter().map(|(definition, value, origin)| {
                let text = |text: &str| Json::String(text.to_owned());
                Json::Object(vec![
                    ("setting".to_owned(), Json::String(definition.name())),
                    ("value".to_owned(), text(value)),
                    ("from".to_owned(), Json::String(told_origin(definition, origin))),
                    ("help".to_owned(), text(definition.help.trim())),
                ])
            });
            Json::Array(objects.collect()).to_string() + "\n"
        }
        ConfigFormat::Toml => {
            let lines = rows.iter().map(|(definition, value, _)| {
                let (help, name) = (definition.help.trim(), definition.name());
                let comment = if value.is_empty() { "# " } else { "" };
                format!("# {help}\n{comment}{name} = {}\n\n", Json::String(value.clone()))
            });
            lines.collect()
        }
    };
    output::print(text.as_bytes())
}

fn told_origin(definition: &Definition, origin: &Origin) -> String {
    match origin {
        Origin::Flag => format!("flag --{}", definition.name()),
        Origin::Environment => format!("environment {}", definition.variable()),
        Origin::File(path) => format!("file {}", path.display()),
        Origin::Default => "default".to_owned(),
    }
}
