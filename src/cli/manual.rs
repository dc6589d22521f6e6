//! `flywheel completions` and `flywheel man`: what shells and readers want to know, made of the definition of the arguments.

use clap::{Args, Command, CommandFactory};
use clap_mangen::Man;

use super::{Cli, output};
use crate::api::{Problem, ProblemClass, nearest};

const PROGRAM: &str = "flywheel";

#[derive(Debug, Args)]
pub(super) struct CompletionsArgs {
    /// The shell that the script is for.
    shell: clap_complete::Shell,
}

#[derive(Debug, Args)]
pub(super) struct ManArgs {
    /// The command that the page is about; without one, the program.
    command: Option<String>,
}

pub(super) fn completions(args: CompletionsArgs) -> Result<(), Problem> {
    output::print(&script(args.shell))
}

fn script(shell: clap_complete::Shell) -> Vec<u8> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), PROGRAM, &mut script);
    script
}

pub(super) fn man(args: ManArgs) -> Result<(), Problem> {
    output::print(&page(args.command.as_deref())?)
}

/// The manual page of a command in roff.
fn page(name: Option<&str>) -> Result<Vec<u8>, Problem> {
    // Built, so that a command has the global options too.
    let mut program = Cli::command();
    program.build();
    let command = match name {
        None => program,
        Some(name) => of_command(&program, name)?,
    };
    let mut page = Vec::new();
    Man::new(command).render(&mut page).expect("memory takes all that is written");
    Ok(page)
}

fn of_command(program: &Command, name: &str) -> Result<Command, Problem> {
    let found = program.find_subcommand(name).ok_or_else(|| {
        let problem = Problem::new(ProblemClass::Invalid, format!("there is no command {name:?}"));
        let known = program.get_subcommands().map(Command::get_name);
        match nearest(name, known) {
            Some(known) => problem.hint(format!("did you mean {known:?}?")),
            None => problem.hint("flywheel help lists the commands"),
        }
    })?;
    // A page is named as `man` is asked for it: flywheel-serve.
    Ok(found.clone().name(format!("{PROGRAM}-{name}")).bin_name(format!("{PROGRAM} {name}")))
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;

    use super::*;

    fn commands() -> Vec<String> {
        Cli::command().get_subcommands().map(|command| command.get_name().to_owned()).collect()
    }

    #[test]
    fn every_shell_completes_every_command() {
        for shell in clap_complete::Shell::value_variants() {
            let script = String::from_utf8(script(*shell)).unwrap();
            for command in commands() {
                assert!(script.contains(&command), "{shell} does not know {command}");
            }
        }
    }

    #[test]
    fn every_command_has_a_page() {
        let program = String::from_utf8(page(None).unwrap()).unwrap();
        for command in commands() {
            assert!(program.contains(&command.replace('-', "\\-")), "{command}");
            let page = String::from_utf8(page(Some(&command)).unwrap()).unwrap();
            assert!(page.contains(".TH") && page.contains(&format!("flywheel {command}")), "{page}");
            assert!(page.contains("\\-\\-data"), "{command} takes the global options");
        }
        let problem = page(Some("srve")).unwrap_err();
        assert_eq!((problem.exit_code(), problem.hint.as_deref()), (2, Some("did you mean \"serve\"?")));
    }
}
