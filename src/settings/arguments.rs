//! Settings as flags and variables of the environment, made from their definitions.

use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Args, Command, FromArgMatches};

use super::{DEFINITIONS, Definition, Origin, Place};

/// What a command was given: the texts of settings by field, and where each comes from.
#[derive(Clone, Debug, Default)]
pub struct Given(Vec<(&'static str, String, Origin)>);

impl Given {
    pub(super) fn get(&self, field: &str) -> Option<(&str, &Origin)> {
        self.0.iter().find(|(known, ..)| *known == field).map(|(_, text, origin)| (text.as_str(), origin))
    }

    fn read(place: Place, matches: &ArgMatches) -> Given {
        let definitions = DEFINITIONS.iter().filter(|definition| definition.place == place);
        let given = definitions.filter_map(|definition| {
            let text = matches.get_one::<String>(definition.field)?;
            let origin = match matches.value_source(definition.field) {
                Some(ValueSource::EnvVariable) => Origin::Environment,
                _ => Origin::Flag,
            };
            Some((definition.field, text.clone(), origin))
        });
        Given(given.collect())
    }
}

impl FromIterator<(&'static str, String, Origin)> for Given {
    fn from_iter<I: IntoIterator<Item = (&'static str, String, Origin)>>(items: I) -> Given {
        Given(items.into_iter().collect())
    }
}

fn augment(command: Command, place: Place, heading: &'static str) -> Command {
    let definitions = DEFINITIONS.iter().filter(|definition| definition.place == place);
    command.args(definitions.map(|definition| argument(definition).help_heading(heading)))
}

fn argument(definition: &Definition) -> Arg {
    let default = definition.show(&super::Settings::default());
    let help = definition.help.trim();
    let help = if default.is_empty() { help.to_owned() } else { format!("{help} [default: {default}]") };
    let arg = Arg::new(definition.field)
        .long(definition.name())
        .value_name(definition.value_name)
        .env(definition.variable())
        .hide_env_values(true)
        .global(definition.place == Place::Global)
        .help(help);
    match definition.value_alone {
        // With an equals sign, so that what follows the flag alone is not taken for its value.
        Some(alone) => arg.num_args(0..=1).require_equals(true).default_missing_value(alone),
        None => arg,
    }
}

macro_rules! settings_of {
    ($(#[$doc:meta])* $name:ident, $place:ident, $heading:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Default)]
        pub struct $name(pub Given);

        impl FromArgMatches for $name {
            fn from_arg_matches(matches: &ArgMatches) -> Result<$name, clap::Error> {
                Ok($name(Given::read(Place::$place, matches)))
            }

            fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
                *self = $name::from_arg_matches(matches)?;
                Ok(())
            }
        }

        impl Args for $name {
            fn augment_args(command: Command) -> Command {
                augment(command, Place::$place, $heading)
            }

            fn augment_args_for_update(command: Command) -> Command {
                $name::augment_args(command)
            }
        }
    };
}

settings_of! {
    /// What every command takes.
    GlobalSettings, Global, "Global options"
}

settings_of! {
    /// What the commands take that drop what is too old.
    KeepingSettings, Keeping, "Expiry"
}

settings_of! {
    /// What the commands take that serve.
    ServerSettings, Server, "Settings of the server"
}
