//! What an operator may set, each thing said once.
//!
//! The table below is the only definition of a setting: its field, its flag (`--max-body-size`), its variable in the
//! environment (`FLYWHEEL_MAX_BODY_SIZE`), its key in a file of settings (`max-body-size`), its default, its bounds and
//! its help are all made from one line of it. The flag wins over the environment, that over the file, and the file over
//! the default; `flywheel config` shows what holds and where it comes from.

mod arguments;
mod file;
mod kinds;

use std::net::{Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;

use crate::api::Problem;
use crate::ingest::EventLimits;
use crate::limits;

pub use arguments::{Given, GlobalSettings, KeepingSettings, ServerSettings};
pub use file::FileSettings;
pub use kinds::LogFormat;
use kinds::{
    Address, Choice, Count, Document, Flag, Folder, Kind, MaybeAge, MaybeFile, MaybeFolder, MaybeText, Size,
    Span, Words,
};

/// Which commands take a setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Every command.
    Global,
    /// Those that serve.
    Server,
    /// Those that drop what is too old.
    Keeping,
}

/// One setting.
pub struct Definition {
    field: &'static str,
    pub place: Place,
    pub help: &'static str,
    /// What stands for a value in the help of its flag.
    pub value_name: &'static str,
    /// What its flag means without a value, if it may stand so.
    pub value_alone: Option<&'static str>,
    parse: fn(&mut Settings, &str) -> Result<(), String>,
    show: fn(&Settings) -> String,
}

impl Definition {
    /// What it is called as a flag and in a file.
    pub fn name(&self) -> String {
        self.field.replace('_', "-")
    }

    /// What it is called in the environment.
    pub fn variable(&self) -> String {
        format!("FLYWHEEL_{}", self.field.to_uppercase())
    }

    /// Its value, as it would be written.
    pub fn show(&self, settings: &Settings) -> String {
        (self.show)(settings)
    }
}

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    Flag,
    Environment,
    File(PathBuf),
    Default,
}

macro_rules! settings {
    ($($(#[doc = $help:literal])+ $field:ident: $kind:ty = $default:expr, $place:ident $(, $bounds:expr)?;)+) => {
        /// The settings of one run of the program.
        #[derive(Clone, Debug)]
        pub struct Settings {
            $($(#[doc = $help])+ pub $field: <$kind as Kind>::Value,)+
        }

        impl Default for Settings {
            fn default() -> Settings {
                Settings { $($field: $default,)+ }
            }
        }

        /// All settings, in the order in which they are told.
        pub static DEFINITIONS: &[Definition] = &[$(Definition {
            field: stringify!($field),
            place: Place::$place,
            help: concat!($($help),+),
            value_name: <$kind as Kind>::VALUE_NAME,
            value_alone: <$kind as Kind>::VALUE_ALONE,
            parse: |settings, text| {
                settings.$field = <$kind as Kind>::parse(text, bounds!($($bounds)?))?;
                Ok(())
            },
            show: |settings| <$kind as Kind>::show(&settings.$field),
        },)+];
    };
}

macro_rules! bounds {
    () => {
        0..=u64::MAX
    };
    ($bounds:expr) => {
        $bounds
    };
}

/// Bounds of sizes: from a kibibyte to what 32 bits count.
const SIZES: RangeInclusive<u64> = 1 << 10..=u32::MAX as u64;
/// Bounds of times: from a tenth of a second to an hour.
const TIMES: RangeInclusive<u64> = 100..=3_600_000;

settings! {
    /// The directory of the store.
    data: Folder = PathBuf::from("./flywheel-data"), Global;
    /// What to log to stderr: error, warn, info, debug, trace, or a filter such as warn,flywheeldb=debug. Unless told, serve logs info and the others warn.
    log: MaybeText = None, Global;
    /// How to log: text for people, json for programs.
    log_format: Choice = LogFormat::Text, Global;
    /// The growth model, which serve, demo and query store if another is there: a file as for PUT /v1/growth-model, or the model itself.
    growth_model: Document = None, Global;
    /// The address to listen on. Port 0 takes a free one. Other addresses than this machine's own need keys.
    listen: Address = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 7070), Server;
    /// The certificate chain to serve TLS with, as PEM.
    tls_cert: MaybeFile = None, Server;
    /// The private key of the certificate, as PEM.
    tls_key: MaybeFile = None, Server;
    /// Origins whose web pages may ask queries, such as `https://app.example.com`; pages of any may write with a key.
    cors_origin: Words = Vec::new(), Server;
    /// Serves what is left of a damaged store, to read only, and says so in every answer.
    degraded: Flag = false, Server;
    /// The directory below which POST /v1/admin/backup puts backups, by name; next to the store's unless told.
    backups: MaybeFolder = None, Server;
    /// Lets events go that are older than this, such as 365d: from queries at that moment, from the files soon after.
    expire_after: MaybeAge = None, Keeping;
    /// Writes segments in the fewest bytes, which queries take longer to read.
    small_segments: Flag = false, Keeping;
    /// Believes the clock, although it is far ahead of when the store was last written.
    trust_clock: Flag = false, Keeping;

    /// Connections open at once. Past it, those that wait for a request the longest are closed for new ones.
    max_connections: Count = limits::CONNECTION_COUNT_MAX, Server, 1..=1_000_000;
    /// Connections open at once from one address, this machine's own apart.
    max_connections_per_address: Count = limits::CONNECTION_PER_ADDRESS_COUNT_MAX, Server, 1..=1_000_000;
    /// Time for a request's line and headers to arrive.
    head_timeout: Span = limits::REQUEST_HEAD_TIME_MAX, Server, TIMES;
    /// Time that a body may stand still on its way in.
    body_timeout: Span = limits::BODY_IDLE_TIME_MAX, Server, TIMES;
    /// Bytes a second that a body has to arrive with, after its first seconds.
    min_body_rate: Size = limits::BODY_RATE_MIN, Server, 0..=1 << 30;
    /// Time that an answer may stand still on its way out.
    answer_timeout: Span = limits::ANSWER_IDLE_TIME_MAX, Server, TIMES;
    /// Time that a connection may wait for its next request.
    keep_alive: Span = limits::KEEP_ALIVE_TIME_MAX, Server, TIMES;
    /// Time that requests under way are given when the server stops.
    stop_timeout: Span = limits::STOP_TIME_MAX, Server, TIMES;

    /// Bytes of a request's body as sent.
    max_body_size: Size = limits::BODY_SIZE_MAX, Server, SIZES;
    /// Bytes of a request's body after decompression.
    max_decoded_size: Size = limits::BODY_DECODED_SIZE_MAX, Server, SIZES;
    /// Bytes of memory that bodies may take together, as sent, decoded, and once more for what is made of them.
    body_memory: Size = limits::BODY_MEMORY_MAX, Server, SIZES;
    /// Requests parsed and stored at once. Further ones wait.
    max_writes: Count = limits::WRITE_IN_FLIGHT_COUNT_MAX, Server, 1..=1_000;
    /// Requests that wait to be parsed and stored. Past it they are told to come again.
    max_waiting_writes: Count = limits::WRITE_WAITING_COUNT_MAX, Server, 1..=100_000;
    /// Bytes of the disk that writes leave free, at most a twentieth of it. Past it they are refused, and deletion, expiry and compaction go on.
    disk_reserve: Size = limits::DISK_RESERVE_SIZE as usize, Server, 0..=1 << 40;

    /// Events of one request.
    max_batch_events: Count = limits::BATCH_EVENT_COUNT_MAX, Server, 1..=limits::BATCH_EVENT_COUNT_MAX as u64;
    /// Bytes of one event, as JSON.
    max_event_size: Size = limits::EVENT_SIZE_MAX, Server, 1 << 10..=limits::EVENT_SIZE_MAX as u64;
    /// Properties of one event, after nested objects are flattened.
    max_event_properties: Count = limits::PROPERTY_COUNT_MAX, Server, 1..=limits::PROPERTY_COUNT_MAX as u64;
    /// Bytes of one string value.
    max_value_size: Size = limits::STRING_VALUE_SIZE_MAX, Server, 64..=limits::STRING_VALUE_SIZE_MAX as u64;

    /// Time that a query may take, its wait for a thread included.
    query_timeout: Span = limits::QUERY_TIME_MAX, Server, TIMES;
    /// Bytes of rows and partial results that one query may hold.
    query_memory: Size = limits::QUERY_MEMORY_MAX as usize, Server, 1 << 20..=1 << 40;
    /// Time after which a query makes way for quicker ones.
    quick_query_time: Span = limits::QUICK_QUERY_TIME, Server, 1..=3_600_000;
    /// Queries that run at once after they made way.
    max_slow_queries: Count = limits::SLOW_QUERY_COUNT_MAX, Server, 1..=64;
    /// Queries that wait for a thread. Past it they are told to come again.
    max_waiting_queries: Count = limits::QUERY_WAITING_COUNT_MAX, Server, 1..=100_000;

    /// Names of events that one store may have.
    max_event_names: Count = limits::EVENT_NAME_COUNT_MAX, Server, 1..=10_000_000;
    /// Names of properties, of events and profiles, that one store may have.
    max_property_names: Count = limits::PROPERTY_NAME_COUNT_MAX, Server, 1..=10_000_000;
    /// Distinct texts that one property may have, those in lists counted; 0 for as many as there are.
    max_property_values: Count = limits::PROPERTY_VALUE_COUNT_MAX, Server, 0..=1_000_000_000;
    /// Ids of users that one store may know, those merged into others counted.
    max_users: Count = limits::ENTITY_COUNT_MAX, Server, 1..=limits::ENTITY_COUNT_MAX as u64;
    /// Ids of accounts that one store may know.
    max_accounts: Count = limits::ENTITY_COUNT_MAX, Server, 1..=limits::ENTITY_COUNT_MAX as u64;
}

impl Settings {
    /// How large events may be.
    pub fn event_limits(&self) -> EventLimits {
        EventLimits {
            batch_event_count_max: self.max_batch_events,
            event_size_max: self.max_event_size,
            property_count_max: self.max_event_properties,
            value_size_max: self.max_value_size,
        }
    }

    /// Sets one of them from a text, which came from `origin`.
    fn set(&mut self, definition: &Definition, text: &str, origin: &Origin) -> Result<(), Problem> {
        (definition.parse)(self, text).map_err(|reason| {
            let source = match origin {
                Origin::Flag => format!("--{}", definition.name()),
                Origin::Environment => definition.variable(),
                Origin::File(path) => format!("{} in {}", definition.name(), path.display()),
                Origin::Default => definition.name(),
            };
            Problem::invalid(format!("{source} is {text:?}: {reason}"))
        })
    }

    /// Checks what no setting knows of another.
    fn check(&self) -> Result<(), Problem> {
        if self.tls_cert.is_some() != self.tls_key.is_some() {
            return Err(Problem::invalid("TLS needs both a certificate and its key")
                .hint("give --tls-cert and --tls-key, or neither"));
        }
        let largest = self.max_body_size.saturating_add(self.max_decoded_size.saturating_mul(2));
        let largest = largest.saturating_add(2 * limits::BODY_MEMORY_STEP);
        if self.body_memory < largest {
            let detail = format!(
                "body-memory is {}, and the largest body that is let in takes {}",
                Size::show(&self.body_memory),
                Size::show(&largest)
            );
            return Err(Problem::invalid(detail).hint("allow more memory, or smaller bodies"));
        }
        Ok(())
    }
}

/// What holds, and where each value comes from, in the order of [`DEFINITIONS`].
#[derive(Clone, Debug)]
pub struct Resolved {
    pub settings: Settings,
    pub origins: Vec<Origin>,
}

/// Works out what holds: what was given to the command, else what the file says, else the defaults.
pub fn resolve(given: &[&Given], file: &FileSettings) -> Result<Resolved, Problem> {
    let mut settings = Settings::default();
    let mut origins = Vec::with_capacity(DEFINITIONS.len());
    for definition in DEFINITIONS {
        let said = given.iter().find_map(|given| given.get(definition.field));
        let origin = match (said, file.get(&definition.name())) {
            (Some((text, origin)), _) => {
                settings.set(definition, text, origin)?;
                origin.clone()
            }
            (None, Some(text)) => {
                let origin = Origin::File(file.path.clone());
                settings.set(definition, text, &origin)?;
                origin
            }
            (None, None) => Origin::Default,
        };
        origins.push(origin);
    }
    settings.check()?;
    Ok(Resolved { settings, origins })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn every_default_is_written_as_it_is_read() {
        let defaults = Settings::default();
        for definition in DEFINITIONS {
            let text = definition.show(&defaults);
            let mut settings = Settings::default();
            settings.set(definition, &text, &Origin::Default).unwrap();
            assert_eq!(definition.show(&settings), text, "{}", definition.name());
        }
        defaults.check().unwrap();
    }

    #[test]
    fn the_flag_wins_over_the_environment_and_that_over_the_file() {
        let file =
            FileSettings::parse("max-body-size = \"1MiB\"\nmax-writes = 3\nkeep-alive = \"5s\"", "f.toml");
        let given = Given::from_iter([
            ("max_body_size", "3MiB".to_owned(), Origin::Flag),
            ("max_writes", "4".to_owned(), Origin::Environment),
        ]);
        let resolved = resolve(&[&given], &file.unwrap()).unwrap();
        let settings = &resolved.settings;
        assert_eq!((settings.max_body_size, settings.max_writes), (3 << 20, 4));
        assert_eq!(settings.keep_alive, Duration::from_secs(5));
        let origin = |name: &str| {
            let index = DEFINITIONS.iter().position(|definition| definition.field == name).unwrap();
            resolved.origins[index].clone()
        };
        assert_eq!(origin("max_body_size"), Origin::Flag);
        assert_eq!(origin("max_writes"), Origin::Environment);
        assert_eq!(origin("keep_alive"), Origin::File("f.toml".into()));
        assert_eq!(origin("listen"), Origin::Default);
    }

    #[test]
    fn a_wrong_value_is_told_with_its_source() {
        let wrong = |text: &str| {
            let file = FileSettings::parse(text, "f.toml").unwrap();
            resolve(&[], &file).unwrap_err().detail
        };
        assert!(wrong("max-body-size = \"1 parsec\"").starts_with("max-body-size in f.toml is \"1 parsec\""));
        assert!(wrong("max-writes = 0").contains("from 1 to 1000"));
        assert!(wrong("tls-cert = \"a.pem\"").contains("both"));
        assert!(wrong("body-memory = \"1MiB\"").contains("body-memory is 1MiB"));
    }

    #[test]
    fn the_page_for_operators_has_every_setting_and_its_default() {
        let page = include_str!("../../docs/operations.md");
        let defaults = Settings::default();
        for definition in DEFINITIONS {
            let shown = definition.show(&defaults);
            let row = page.lines().find(|line| line.starts_with(&format!("| `--{}", definition.name())));
            let row = row.unwrap_or_else(|| panic!("--{} is not in docs/operations.md", definition.name()));
            assert!(row.contains(&definition.variable()), "{row}");
            assert!(shown.is_empty() || row.contains(&format!("`{shown}`")), "{row} lacks {shown}");
        }
    }
}
