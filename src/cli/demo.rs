//! `flywheel demo`: a product's history to play with.

use std::path::Path;
use std::time::Instant;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use super::growth_model;
use super::output::{self, thousands};
use super::serve::{backups_of, ready_line, store_options};
use crate::api::{Cell, Json, Problem, ProblemClass};
use crate::demo::{DemoPlan, DemoProfiles, GROWTH_MODEL, generate, profiles};
use crate::http::Server;
use crate::io::{Directory, Disk, publish};
use crate::memory::return_memory;
use crate::model::Entity;
use crate::settings::{ServerSettings, Settings};
use crate::store::Store;

#[derive(Debug, Args)]
pub(super) struct DemoArgs {
    /// How many events the history has, about.
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    events: u64,

    /// Chance begins here: the same seed gives the same history.
    #[arg(long, value_name = "SEED", default_value_t = 1)]
    seed: u64,

    /// Loads the history and does not serve it.
    #[arg(long)]
    load_only: bool,

    #[command(flatten)]
    pub settings: ServerSettings,
}

pub(super) fn run(args: DemoArgs, settings: &Settings) -> Result<(), Problem> {
    let data = settings.data.as_path();
    // A port in use is told before the work of loading, not after.
    let server = if args.load_only {
        None
    } else {
        Some(Server::bind_with(settings.clone())?.with_backups(backups_of(settings)))
    };
    let plan = DemoPlan { seed: args.seed, events: args.events };
    let store = Store::open_with(data, store_options(settings))?;
    load_once(&store, &plan, data)?;
    growth_model::keep(&store, settings)?;
    // What the load took is this thread's, which does nothing more than wait for the server.
    return_memory();
    let Some(server) = server else { return store.close() };
    let lines = ready_line(&server, data) + &lines_to_try(&server.url());
    server.run(store, || output::print(lines.as_bytes()))
}

/// Loads the history, unless it is there already.
fn load_once(store: &Store, plan: &DemoPlan, data: &Path) -> Result<(), Problem> {
    let io = |e: std::io::Error| {
        Problem::new(ProblemClass::Io, format!("cannot use the directory {}: {e}", data.display()))
    };
    let directory = Disk::open(data).map_err(io)?;
    match Mark::read(&directory)? {
        Some(mark) if mark.plan != *plan => {
            let DemoPlan { seed, events, .. } = mark.plan;
            let detail = format!("{} holds another demo: --seed {seed} --events {events}", data.display());
            return Err(Problem::new(ProblemClass::Conflict, detail)
                .hint("ask for that one, or name another directory with --data"));
        }
        Some(mark) if mark.is_loaded => return Ok(()),
        // Loading was interrupted. Every event has an id, so that doing it again adds nothing twice.
        Some(_) => {}
        None if is_empty(store)? => {}
        None => {
            let detail =
                format!("{} holds other data, which the demo would mix with its own", data.display());
            return Err(Problem::new(ProblemClass::Conflict, detail)
                .hint("name another directory with --data, or use flywheel serve"));
        }
    }
    Mark { plan: *plan, is_loaded: false }.write(&directory).map_err(io)?;
    load(store, plan)?;
    Mark { plan: *plan, is_loaded: true }.write(&directory).map_err(io)
}

fn load(store: &Store, plan: &DemoPlan) -> Result<(), Problem> {
    let begun = Instant::now();
    let style = ProgressStyle::with_template("loading the demo {wide_bar} {human_pos} of {human_len} events")
        .expect("the template is well formed");
    let progress = ProgressBar::new(plan.events).with_style(style);
    let mut count = 0;
    generate(plan, &mut |batch| {
        count += batch.len() as u64;
        store.ingest(batch)?;
        progress.set_position(count);
        Ok(())
    })?;
    progress.finish_and_clear();
    let DemoProfiles { users, accounts, identities } = profiles(plan);
    store.write_profiles(Entity::User, users)?;
    store.write_profiles(Entity::Account, accounts)?;
    store.merge_identities(identities)?;
    store.put_growth_model(&Json::parse(GROWTH_MODEL.as_bytes())?)?;
    store.seal()?;
    store.compact_where_due()?;
    let seconds = begun.elapsed().as_secs_f64();
    output::note(&format!("loaded a history of {} events in {seconds:.1} s\n", thousands(count)));
    Ok(())
}

/// Whether nobody ever did anything in the store.
fn is_empty(store: &Store) -> Result<bool, Problem> {
    let anybody = br#"{"kind": "cohort", "cohort": {"did": "*"}, "select": "count"}"#;
    let answer = store.query(&Json::parse(anybody).expect("the text is JSON"))?;
    let users = answer.table.column("users").and_then(|mut cells| cells.next().cloned());
    Ok(users == Some(Cell::UInt(0)))
}

/// The file that says which demo a directory holds.
#[derive(Debug, PartialEq, Eq)]
struct Mark {
    plan: DemoPlan,
    /// Whether all of it is there.
    is_loaded: bool,
}

impl Mark {
    const FILE: &str = "demo.json";

    /// The directory's mark, if it has one.
    fn read(directory: &dyn Directory) -> Result<Option<Mark>, Problem> {
        let bytes = match directory.read(Mark::FILE) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(Problem::new(ProblemClass::Io, format!("cannot read {}: {e}", Mark::FILE))),
        };
        let corrupt =
            |e: Problem| Problem::new(ProblemClass::Corrupt, format!("{}: {}", Mark::FILE, e.detail));
        let parse = || -> Result<Mark, Problem> {
            let json = Json::parse(&bytes)?;
            let mut fields = json.root().object()?;
            let seed = fields.required("seed")?.string()?.parse();
            let events = fields.required("events")?.string()?.parse();
            let is_loaded = fields.required("loaded")?.bool()?;
            fields.finish()?;
            let plan = seed.and_then(|seed| events.map(|events| DemoPlan { seed, events }));
            let plan = plan.map_err(|e| Problem::invalid(format!("a number is wrong: {e}")))?;
            Ok(Mark { plan, is_loaded })
        };
        parse().map(Some).map_err(corrupt)
    }

    fn write(&self, directory: &dyn Directory) -> std::io::Result<()> {
        let DemoPlan { seed, events, .. } = self.plan;
        // As strings, because a seed may have more digits than other readers' numbers.
        let text =
            format!("{{\"seed\": \"{seed}\", \"events\": \"{events}\", \"loaded\": {}}}\n", self.is_loaded);
        publish(directory, Mark::FILE, &[text.as_bytes()]).map(drop).map_err(|error| error.error)
    }
}

fn lines_to_try(server: &str) -> String {
    let url = format!("{server}/v1/query");
    format!(
        "\nThe console, to look around: {server}/\n\n\
         How many get from signing up to paying:\n\
         \x20 curl {url}/funnel -d '{{\"steps\": [\"signup\", \"project_created\", \"plan_upgraded\"], \
         \"window\": \"30d\"}}'\n\
         Who comes back, week by week:\n\
         \x20 curl '{url}/retention?format=csv' -d '{{\"birth\": \"signup\", \"interval\": \"week\", \
         \"periods\": 8, \"from\": \"2026-08-03\", \"to\": \"2026-10-26\"}}'\n\
         Weekly users:\n\
         \x20 curl {url}/segmentation -d '{{\"series\": [{{\"event\": \"*\", \"measure\": \"users\"}}], \
         \"interval\": \"week\", \"from\": \"2026-08-03\", \"to\": \"2026-10-26\"}}'\n\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_knows_its_demo() {
        let folder = tempfile::tempdir().unwrap();
        let directory = Disk::open(folder.path()).unwrap();
        assert_eq!(Mark::read(&directory).unwrap(), None);
        for is_loaded in [false, true] {
            let mark = Mark { plan: DemoPlan { seed: u64::MAX, events: 12 }, is_loaded };
            mark.write(&directory).unwrap();
            assert_eq!(Mark::read(&directory).unwrap(), Some(mark));
        }
    }

    #[test]
    fn the_lines_to_try_are_queries() {
        let lines = lines_to_try("http://127.0.0.1:7070");
        let bodies: Vec<&str> = lines.lines().filter_map(|line| line.split("-d '").nth(1)).collect();
        assert_eq!(bodies.len(), 3);
        for body in bodies {
            Json::parse(body.trim_end_matches('\'').as_bytes()).unwrap();
        }
    }
}
