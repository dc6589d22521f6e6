//! Files of events, as people have them, arrive whole, and what is wrong in them is told.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "tests write the files that users bring"
)]

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use clap::Parser;
use flywheeldb::api::{Json, Problem};
use flywheeldb::cli::import::{ImportArgs, ImportSummary, import};
use flywheeldb::ingest::{
    BodyForm, InputFile, Mapping, OnError, RowOptions, RowReader, TimeReader, parse_events,
};
use flywheeldb::model::Event;
use jiff::tz::TimeZone;
use proptest::prelude::*;

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    import: ImportArgs,
}

/// A server that takes events and keeps them; it is busy for the first `busy_count` requests.
struct Server {
    url: String,
    bodies: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Server {
    fn start(busy_count: usize) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let bodies = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&bodies);
        std::thread::spawn(move || {
            let mut busy_left = busy_count;
            for stream in listener.incoming() {
                let mut stream = BufReader::new(stream.unwrap());
                while let Some(body) = read_request(&mut stream) {
                    let answer = if busy_left > 0 {
                        busy_left -= 1;
                        "HTTP/1.1 429 Too Many Requests\r\nretry-after: 0\r\ncontent-length: 0\r\n\r\n"
                            .to_owned()
                    } else {
                        let count = body.iter().filter(|byte| **byte == b'\n').count();
                        kept.lock().unwrap().push(body);
                        let answer = format!(r#"{{"accepted":{count},"duplicates":0,"rejected":[]}}"#);
                        format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{answer}", answer.len())
                    };
                    stream.get_mut().write_all(answer.as_bytes()).unwrap();
                }
            }
        });
        Server { url, bodies }
    }

    fn events(&self) -> Vec<Event> {
        let body = self.bodies.lock().unwrap().concat();
        let parsed = parse_events(&body, BodyForm::Ndjson, OnError::Reject, 0).unwrap();
        parsed.batch.iter().map(|event| event.to_event()).collect()
    }
}

/// The body of the next request on the connection.
fn read_request(stream: &mut impl BufRead) -> Option<Vec<u8>> {
    let mut size = 0;
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).ok().filter(|read| *read > 0)?;
        let line = line.trim_end().to_ascii_lowercase();
        if let Some(value) = line.strip_prefix("content-length:") {
            size = value.trim().parse().unwrap();
        } else if line.is_empty() {
            let mut body = vec![0; size];
            stream.read_exact(&mut body).ok()?;
            return Some(body);
        }
    }
}

/// One import into a fresh server.
struct Imported {
    result: Result<(), Problem>,
    summary: ImportSummary,
    events: Vec<Event>,
    directory: tempfile::TempDir,
}

impl Imported {
    /// Imports a file of this name and content.
    fn of(name: &str, content: impl AsRef<[u8]>, options: &[&str]) -> Imported {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(name);
        fs::write(&path, content).unwrap();
        Imported::from_path(&path, options, directory)
    }

    fn from_path(path: &Path, options: &[&str], directory: tempfile::TempDir) -> Imported {
        let server = Server::start(1);
        let fixed = ["import", path.to_str().unwrap(), "--url", &server.url];
        let args = Cli::parse_from(fixed.iter().chain(options)).import;
        let mut summary = ImportSummary::default();
        let result = import(&args, Path::new("unused"), &mut summary);
        Imported { result, summary, events: server.events(), directory }
    }

    fn rejects(&self) -> Vec<Json> {
        let path = self.summary.rejects.first();
        let text = path.map_or(String::new(), |path| fs::read_to_string(path).unwrap());
        text.lines().map(|line| Json::parse(line.as_bytes()).unwrap()).collect()
    }

    /// Events as `name user time property=value …`.
    fn told(&self) -> Vec<String> {
        self.result.as_ref().unwrap();
        self.events.iter().map(tell).collect()
    }
}

fn tell(event: &Event) -> String {
    let mut told = format!("{} {} {}", event.event, event.user, event.time);
    event.account.iter().for_each(|account| told.push_str(&format!(" account={account}")));
    event.properties.iter().for_each(|(name, value)| told.push_str(&format!(" {name}={value}")));
    told
}

const DAY: &str = "1709251200000";
const NATIVE: &str = r#"{"event":"signup","user":"ada","time":"2024-03-01","properties":{"plan":"free"}}
{"event":"signup","user":"bo","time":"2024-03-01"}
"#;

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn native_lines_arrive_however_they_are_packed() {
    let expected = [format!("signup ada {DAY} plan=\"free\""), format!("signup bo {DAY}")];
    let zstd = zstd::encode_all(NATIVE.as_bytes(), 3).unwrap();
    let contents =
        [("a.ndjson", NATIVE.into()), ("b", NATIVE.into()), ("c.gz", gzip(NATIVE.as_bytes())), ("d", zstd)];
    for (name, content) in contents {
        let imported = Imported::of(name, content, &[]);
        assert_eq!(imported.told(), expected, "{name}");
        assert_eq!((imported.summary.accepted, imported.summary.rejected), (2, 0));
        assert!(imported.summary.rejects.is_empty());
    }
}

#[test]
fn a_table_becomes_events_with_typed_properties() {
    let csv = "\u{feff}event,user,time,amount,zip,trial,note,empty\r\n\
        purchase,ada,2024-03-01,12.50,00123,true,\"two\nlines, one cell\",\r\n";
    let told = Imported::of("a.csv", csv, &[]).told();
    assert_eq!(
        told,
        [format!("purchase ada {DAY} amount=12.5 zip=\"00123\" trial=true note=\"two\\nlines, one cell\"")]
    );
    let told =
        Imported::of("a.csv", csv, &["--strings", "amount", "--map", "sum=amount", "--only-mapped"]).told();
    assert_eq!(told, [format!("purchase ada {DAY} sum=\"12.50\"")]);
}

#[test]
fn columns_between_runs_of_blanks_are_numbered_without_a_header() {
    let text =
        " 00001 19970101  1   11.77\r\n 00002 19970112  1   12.00\r\n\r\n 00002 19970112  5   77.00\r\n";
    let options = ["--no-header", "--map", "user=1,time=2,cds=3,amount=4,event=:purchase"];
    let expected = [
        "purchase 00001 852076800000 cds=1 amount=11.77",
        "purchase 00002 853027200000 cds=1 amount=12",
        "purchase 00002 853027200000 cds=5 amount=77",
    ];
    assert_eq!(Imported::of("orders.txt", text, &options).told(), expected);
}

#[test]
fn local_times_and_epoch_seconds_are_read_when_said_so() {
    let csv = "event;user;time\npurchase;ada;2024-03-01 01:00:00.000\n";
    assert_eq!(
        Imported::of("a.csv", csv, &["--timezone", "Europe/Berlin"]).told(),
        [format!("purchase ada {DAY}")]
    );
    let csv = "event;user;time\npurchase;ada;1709251200\n";
    assert_eq!(Imported::of("a.csv", csv, &["--time-unit", "s"]).told(), [format!("purchase ada {DAY}")]);
    let imported = Imported::of("a.csv", csv, &[]);
    assert_eq!((imported.events.len(), imported.summary.rejected), (0, 1));
    let lines = r#"{"event":"purchase","user":"ada","time":1709251200,"properties":{"n":1}}"#;
    assert_eq!(Imported::of("a", lines, &["--time-unit", "s"]).told(), [format!("purchase ada {DAY} n=1")]);
}

#[test]
fn objects_of_another_product_are_mapped_field_by_field() {
    let lines = r#"{"event":"Sign up","properties":{"time":1709251200,"distinct_id":"ada","$insert_id":"i1","plan":"free"}}
{"event":"Sign up","properties":{"time":1709251200,"distinct_id":42,"company":{"id":"acme","size":7}}}"#;
    let map = "user=properties.distinct_id,time=properties.time,id=properties.$insert_id,account=properties.company.id";
    let imported = Imported::of("export.json", lines, &["--time-unit", "s", "--map", map]);
    let expected =
        [format!("Sign up ada {DAY} plan=\"free\""), format!("Sign up 42 {DAY} account=acme company.size=7")];
    assert_eq!(imported.told(), expected);
    assert_eq!(imported.events[0].id.as_deref(), Some("i1"));
}

#[test]
fn bad_rows_are_left_out_and_told_with_line_reason_and_place() {
    let lines = format!("{NATIVE}\n{{\"event\":\"x\",\"user\":7}}\nnot json\n{NATIVE}");
    let imported = Imported::of("a.ndjson", lines, &[]);
    assert_eq!(imported.told().len(), 4);
    assert_eq!(imported.summary.rejected, 2);
    let rejects = imported.rejects();
    assert_eq!(
        rejects[0].to_string(),
        r#"{"line":4,"reason":"expected user to be a string, found the number 7; send ids as strings","path":"/user","input":"{\"event\":\"x\",\"user\":7}"}"#
    );
    assert_eq!(rejects[1].get("line").unwrap().to_string(), "5");
    assert!(imported.summary.rejects[0].ends_with("a.ndjson.rejects.ndjson"));

    let imported =
        Imported::of("a.csv", "event,user,time\ne,u,2024-03-01\ne,u\ne,,2024-03-01\ne,u,soon\n", &[]);
    let places: Vec<String> = imported
        .rejects()
        .iter()
        .map(|row| format!("{}{}", row.get("line").unwrap(), row.get("path").unwrap()))
        .collect();
    assert_eq!(places, ["3\"\"", "4\"/user\"", "5\"/time\""]);
    assert_eq!(imported.rejects()[1].get("input").unwrap().to_string(), "\"e,,2024-03-01\"");
}

#[test]
fn strict_stops_at_the_first_bad_row_after_the_good_ones_before_it() {
    let lines = format!("{NATIVE}oops\n{NATIVE}");
    let imported = Imported::of("a.ndjson", lines, &["--strict"]);
    let problem = imported.result.unwrap_err();
    assert!(problem.detail.contains("line 3: not valid JSON"), "{problem}");
    assert_eq!((imported.events.len(), problem.exit_code()), (2, 1));
}

#[test]
fn a_file_cut_short_says_after_which_line_and_keeps_what_came_before() {
    // Digits of a generator, so that the text does not compress to nothing.
    let mut state = 1_u64;
    let lines: String = (0..5_000)
        .map(|index| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            format!("{{\"event\":\"e{state}\",\"user\":\"u{index}\",\"time\":\"2024-03-01\"}}\n")
        })
        .collect();
    let whole = gzip(lines.as_bytes());
    for cut in [whole.len() / 2, 1_000] {
        let imported = Imported::of("a.ndjson.gz", &whole[..cut], &[]);
        let problem = imported.result.unwrap_err();
        let count = imported.events.len();
        assert!(count > 0 && count < 5_000);
        assert!(
            problem.detail.contains(&format!("after line {count}; everything before it is stored")),
            "{problem}"
        );
        assert!(problem.detail.contains("cut short"), "{problem}");
    }
}

#[test]
fn a_table_cut_short_keeps_its_whole_rows() {
    let mut csv = String::from("event,user,time\n");
    (0..40_000_u64)
        .for_each(|n| csv.push_str(&format!("e{},u{n},2024-03-01\n", n.wrapping_mul(n * 7_919) % 9_973)));
    let whole = gzip(csv.as_bytes());
    let imported = Imported::of("a.csv.gz", &whole[..whole.len() * 2 / 3], &[]);
    let problem = imported.result.unwrap_err();
    let count = imported.events.len();
    assert!(count > 10_000 && count < 40_000);
    assert_eq!(imported.summary.rejected, 0);
    assert!(problem.detail.contains(&format!("after line {}; everything", count + 1)), "{count} {problem}");
}

#[test]
fn several_files_share_one_file_of_rejects_if_asked_to() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    fs::write(path("a.ndjson"), format!("{NATIVE}oops\n")).unwrap();
    fs::write(path("b.csv"), "event,user,time\ne,u,never\ne,u,2024-03-01\n").unwrap();
    let server = Server::start(0);
    let (a, b, rejects) = (path("a.ndjson"), path("b.csv"), path("bad"));
    let args = Cli::parse_from(["import", &a, &b, "--rejects", &rejects, "--url", &server.url]).import;
    let mut summary = ImportSummary::default();
    import(&args, Path::new("unused"), &mut summary).unwrap();
    assert_eq!((summary.accepted, summary.rejected, summary.rejects.len()), (3, 2, 1));
    let told = fs::read_to_string(rejects).unwrap();
    let files: Vec<Json> = told.lines().map(|line| Json::parse(line.as_bytes()).unwrap()).collect();
    assert_eq!(files[1].get("file"), Some(&Json::String(b)));
}

#[test]
fn ids_from_lines_are_the_same_each_time_and_not_the_same_for_other_files() {
    let ids = |name: &str, content: &str| -> Vec<Option<String>> {
        let imported = Imported::of(name, content, &["--id-from-line"]);
        imported.events.into_iter().map(|event| event.id).collect()
    };
    let first = ids("a.ndjson", NATIVE);
    assert_eq!(first, ids("renamed.ndjson", NATIVE));
    assert_ne!(first[0], first[1]);
    assert_ne!(first, ids("a.ndjson", &NATIVE.replace("ada", "eve")));
    // An event stamped with the time of the import would be another event the next time.
    let imported = Imported::of("b.ndjson", r#"{"event":"e","user":"u"}"#, &["--id-from-line"]);
    assert_eq!(imported.summary.rejected, 1);
}

#[test]
fn a_mapping_that_does_not_fit_is_a_wrong_usage_that_says_what_would() {
    let csv = "customer,when,amount\nada,2024-03-01,1\n";
    let wrong = |options: &[&str]| Imported::of("a.csv", csv, options).result.unwrap_err();
    let problem = wrong(&["--map", "user=custmer"]);
    assert_eq!((problem.exit_code(), problem.hint.as_deref()), (2, Some("did you mean \"customer\"?")));
    let problem = wrong(&["--map", "user=customer,time=when"]);
    assert!(problem.detail.contains("no column gives the event's \"event\""), "{problem}");
    assert!(problem.hint.unwrap().contains("event=:NAME"));
    assert_eq!(wrong(&["--timezone", "Mars/Base"]).exit_code(), 2);
    assert_eq!(wrong(&["--delimiter", "ab"]).exit_code(), 2);
}

#[test]
fn many_rows_come_in_order_and_in_bounded_requests() {
    let mut csv = String::from("event,user,time,n\n");
    (0..25_000).for_each(|n| csv.push_str(&format!("e,u{},2024-03-01,{n}\n", n % 7)));
    let imported = Imported::of("a.csv", csv, &[]);
    assert_eq!(imported.summary.accepted, 25_000);
    assert!(imported.events.iter().enumerate().all(|(n, event)| event.properties[0].1 == (n as i64).into()));
}

#[test]
fn a_quote_left_open_does_not_eat_the_file_into_memory() {
    let mut csv = String::from("event,user,time\ne,u,2024-03-01\ne,\"u,2024-03-01\n");
    (0..200_000).for_each(|_| csv.push_str("e,u,2024-03-01\n"));
    let imported = Imported::of("a.csv", csv, &[]);
    let problem = imported.result.unwrap_err();
    assert!(problem.detail.contains("is a quote left open?"), "{problem}");
    assert_eq!(imported.events.len(), 1);
}

#[test]
fn files_that_are_something_else_are_refused_by_name() {
    assert!(Imported::of("a.json", "[{}]", &[]).result.unwrap_err().hint.unwrap().contains("jq"));
    assert!(Imported::of("a", "PAR1....", &[]).result.unwrap_err().detail.contains("Parquet"));
    let directory = tempfile::tempdir().unwrap();
    let missing: PathBuf = directory.path().join("missing.csv");
    let imported = Imported::from_path(&missing, &[], directory);
    assert!(imported.result.unwrap_err().detail.contains("missing.csv"));
    assert!(imported.directory.path().exists());
}

proptest! {
    #[test]
    fn no_file_crashes_the_reader(
        bytes in prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..300),
            "([a-c0-9\"{}:,;\\t\\r\\n |.-]|event|user|time|2024-03-01){0,120}".prop_map(String::into_bytes),
        ],
        mapped: bool,
        has_header: bool,
        id_from_line: bool,
    ) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("input");
        fs::write(&path, &bytes).unwrap();
        let Ok(file) = InputFile::open(&path) else { return Ok(()) };
        let targets = if mapped { vec!["event=:e".to_owned(), "user=1".to_owned(), "time=2".to_owned()] } else { vec![] };
        let mapping = Mapping::new(&targets, TimeReader { zone: TimeZone::UTC, unit: None }).unwrap();
        let options = RowOptions {
            mapping,
            has_header,
            delimiter: None,
            id_from_line,
            now: 0,
            chunk_event_count: 3,
            ends_chunk_at_reject: false,
        };
        let Ok(format) = file.format() else { return Ok(()) };
        let Ok(mut reader) = RowReader::new(file, format, options) else { return Ok(()) };
        let mut line = 0;
        while let Ok(Some(chunk)) = reader.next_chunk() {
            prop_assert!(chunk.batch.len() <= 3);
            prop_assert!(chunk.line >= line);
            line = chunk.line;
        }
    }
}

#[test]
fn an_empty_file_is_no_events() {
    for name in ["a.csv", "a.ndjson", "a"] {
        let imported = Imported::of(name, "", &[]);
        assert!(imported.told().is_empty());
    }
}
