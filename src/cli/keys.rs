//! `flywheel keys`: makes, lists and revokes keys, in the store's directory or through its server.

use std::path::Path;

use clap::{Args, Subcommand, ValueEnum};

use super::text_table::TextTable;
use super::{output, with_store};
use crate::api::{Json, Problem, ProblemClass};
use crate::http::{Client, fresh_random, now};
use crate::keys::{KeyInfo, Scope};
use crate::store::Store;

#[derive(Debug, Args)]
pub(super) struct KeysArgs {
    #[command(subcommand)]
    command: KeysCommand,

    /// Asks a running server, such as http://127.0.0.1:7070, instead of opening the store.
    #[arg(long, global = true, value_name = "URL", env = "FLYWHEEL_URL")]
    url: Option<String>,

    /// A key of the server of scope admin, where it asks for one.
    #[arg(long, global = true, value_name = "KEY", env = "FLYWHEEL_KEY", hide_env_values = true)]
    key: Option<String>,
}

#[derive(Debug, Subcommand)]
enum KeysCommand {
    /// Makes a key and prints it, this once.
    Create {
        /// What it allows.
        #[arg(long, value_enum)]
        scope: ScopeWord,
        /// What to call it.
        #[arg(long, default_value = "")]
        name: String,
    },
    /// Lists the keys: never their texts, which nobody keeps.
    List {
        /// How to show them.
        #[arg(long, value_enum, default_value_t)]
        format: KeysFormat,
    },
    /// Revokes a key: it opens nothing any more, from now on.
    Revoke {
        /// The id of the key, as listed.
        #[arg(value_name = "ID")]
        id: String,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ScopeWord {
    /// Ingest only. May be public in a browser.
    Write,
    /// Queries and looking around.
    Read,
    /// Everything.
    Admin,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum KeysFormat {
    #[default]
    Table,
    Json,
}

pub(super) fn run(args: KeysArgs, data: &Path) -> Result<(), Problem> {
    let client = args.url.map(|url| Client::new(&url, args.key.as_deref())).transpose()?;
    match args.command {
        KeysCommand::Create { scope, name } => create(client, data, scope.into(), &name),
        KeysCommand::List { format } => list(client, data, format),
        KeysCommand::Revoke { id } => match client {
            Some(client) => client.delete(&["admin", "keys", &id]).map(|_| ()),
            None => with_keys_of(data, |store| store.revoke_key(&id)),
        },
    }
}

fn create(client: Option<Client>, data: &Path, scope: Scope, name: &str) -> Result<(), Problem> {
    let key = match client {
        Some(client) => {
            let text = |text: &str| Json::String(text.to_owned());
            let body = Json::Object(vec![("scope".into(), text(scope.word())), ("name".into(), text(name))]);
            let told = client.post("/v1/admin/keys", "application/json", body.to_string())?;
            match Json::parse(&told)?.get("key") {
                Some(Json::String(key)) => key.clone(),
                _ => return Err(Problem::new(ProblemClass::Io, "the server's answer has no key in it")),
            }
        }
        None => {
            // The first thing that a new installation does may be to make its keys.
            let store = Store::open(data).map_err(in_use)?;
            let key = store.create_key(scope, name, now(), &fresh_random()?)?;
            store.close()?;
            key.text
        }
    };
    output::note(&format!("This {} key is shown once and kept by nobody but you:\n", scope.word()));
    output::print(format!("{key}\n").as_bytes())
}

fn list(client: Option<Client>, data: &Path, format: KeysFormat) -> Result<(), Problem> {
    let told = match client {
        Some(client) => Json::parse(&client.get("/v1/admin/keys")?)?,
        None => with_keys_of(data, |store| Ok(told(&store.list_keys()?)))?,
    };
    match format {
        KeysFormat::Json => output::print(format!("{told}\n").as_bytes()),
        KeysFormat::Table => {
            let columns = ["id", "scope", "name", "created"];
            let rows = match told.get("keys") {
                Some(Json::Array(keys)) => keys.as_slice(),
                _ => &[],
            };
            let cell = |key: &Json, name| match key.get(name) {
                Some(Json::String(text)) => text.clone(),
                _ => String::new(),
            };
            let rows = rows.iter().map(|key| columns.iter().map(|name| cell(key, name)).collect()).collect();
            output::print(TextTable::of_texts(&columns, rows).render().as_bytes())
        }
    }
}

/// The body of `GET /v1/admin/keys`.
fn told(keys: &[KeyInfo]) -> Json {
    Json::Object(vec![("keys".to_owned(), Json::Array(keys.iter().map(KeyInfo::to_json).collect()))])
}

fn with_keys_of<T>(data: &Path, work: impl FnOnce(&Store) -> Result<T, Problem>) -> Result<T, Problem> {
    with_store(data, work).map_err(in_use)
}

fn in_use(problem: Problem) -> Problem {
    match problem.class {
        ProblemClass::Conflict => problem.hint("if a server has the store open, go through it with --url"),
        _ => problem,
    }
}

impl From<ScopeWord> for Scope {
    fn from(word: ScopeWord) -> Scope {
        match word {
            ScopeWord::Write => Scope::Write,
            ScopeWord::Read => Scope::Read,
            ScopeWord::Admin => Scope::Admin,
        }
    }
}
