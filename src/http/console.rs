//! The console: one page for people, part of the program. Its sources are in `src/console`, and are served as they are.
//!
//! What is served never changes while the process lives, so each file has a tag, and is compressed once, when it is
//! first asked for. The page may load nothing from elsewhere and run nothing that is not a file of it
//! (`Content-Security-Policy`), so that a value of an event can never become code.

use std::io::Write;
use std::sync::OnceLock;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use hyper::header::{ACCEPT_ENCODING, HeaderMap, IF_NONE_MATCH};
use xxhash_rust::xxh3::xxh3_64;

use super::respond::{self, Reply};
use super::validator::is_held;
use crate::api::{Problem, ProblemClass};

/// A file of the page, as it was when the program was built.
struct Source {
    name: &'static str,
    bytes: &'static [u8],
}

macro_rules! sources {
    ($($name:literal),* $(,)?) => {
        &[$(Source { name: $name, bytes: include_bytes!(concat!("../console/", $name)) }),*]
    };
}

/// The first is the page itself.
static SOURCES: &[Source] = sources![
    "index.html",
    "icon.svg",
    "base.css",
    "charts.css",
    "api.js",
    "build.js",
    "charts.js",
    "dom.js",
    "explore.js",
    "format.js",
    "main.js",
    "members.js",
    "page-data.js",
    "page-home.js",
    "page-live.js",
    "page-model.js",
    "page-people.js",
    "picker.js",
    "range.js",
    "sankey.js",
    "schema.js",
    "table.js",
    "view-funnel.js",
    "view-growth.js",
    "view-habits.js",
    "view-paths.js",
    "view-retention.js",
    "view-trends.js",
];

/// A file as it is sent.
pub(super) struct Asset {
    name: &'static str,
    pub content_type: &'static str,
    pub tag: String,
    plain: &'static [u8],
    compressed: Bytes,
}

fn assets() -> &'static [Asset] {
    static ASSETS: OnceLock<Vec<Asset>> = OnceLock::new();
    ASSETS.get_or_init(|| SOURCES.iter().map(Asset::new).collect())
}

impl Asset {
    fn new(source: &Source) -> Asset {
        let Source { name, bytes } = *source;
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        let compressed = encoder.write_all(bytes).and_then(|()| encoder.finish());
        let compressed = Bytes::from(compressed.expect("memory takes all that is written"));
        let content_type = match name.rsplit('.').next() {
            Some("html") => "text/html; charset=utf-8",
            Some("css") => "text/css; charset=utf-8",
            Some("svg") => "image/svg+xml",
            _ => "text/javascript; charset=utf-8",
        };
        Asset { name, content_type, tag: format!("W/\"{:016x}\"", xxh3_64(bytes)), plain: bytes, compressed }
    }
}

/// Answers with a file of the page; without a name with the page itself.
pub(super) fn show(name: Option<&str>, headers: &HeaderMap) -> Result<Reply, Problem> {
    let found = assets().iter().find(|asset| asset.name == name.unwrap_or("index.html"));
    let asset = found.ok_or_else(|| {
        let name = name.unwrap_or_default();
        Problem::new(ProblemClass::NotFound, format!("the console has no file {name:?}"))
    })?;
    let held = headers.get_all(IF_NONE_MATCH).iter();
    let held: Vec<String> = held.filter_map(|tags| tags.to_str().ok()).map(str::to_owned).collect();
    if is_held(&asset.tag, &held) {
        return Ok(respond::held_asset(asset));
    }
    Ok(match takes_gzip(headers) {
        true => respond::asset(asset, asset.compressed.clone(), true),
        false => respond::asset(asset, Bytes::from_static(asset.plain), false),
    })
}

fn takes_gzip(headers: &HeaderMap) -> bool {
    let values = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|coding| {
        let mut parts = coding.split(';').map(str::trim);
        let is_gzip = parts.next().is_some_and(|name| name.eq_ignore_ascii_case("gzip"));
        let is_refused = parts.any(|part| matches!(part, "q=0" | "q=0.0" | "q=0.00" | "q=0.000"));
        is_gzip && !is_refused
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use hyper::header::{CONTENT_ENCODING, CONTENT_SECURITY_POLICY, ETAG, HeaderValue};

    use super::*;

    fn headers(name: hyper::header::HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_str(value).unwrap())])
    }

    /// docs/operations.md, "The console".
    #[test]
    fn the_page_is_small() {
        let size: usize = assets().iter().map(|asset| asset.compressed.len()).sum();
        assert!(size < 100 * 1024, "{size} bytes compressed");
    }

    #[test]
    fn every_file_that_the_page_names_is_part_of_it_and_no_other() {
        let mut named = BTreeSet::from(["index.html"]);
        for source in SOURCES {
            let text = std::str::from_utf8(source.bytes).unwrap();
            let is_name = |part: &&str| {
                let name = part.strip_prefix("./").or_else(|| part.strip_prefix("console/"));
                name.is_some_and(|name| name.contains('.') && !name.contains([' ', '/', '$']))
            };
            named.extend(text.split('"').filter(is_name).map(|part| part.rsplit('/').next().unwrap()));
        }
        assert_eq!(named, SOURCES.iter().map(|source| source.name).collect::<BTreeSet<_>>());
    }

    #[test]
    fn nothing_in_it_parses_html_or_runs_text() {
        for source in SOURCES {
            let text = std::str::from_utf8(source.bytes).unwrap();
            for word in [
                "innerHTML",
                "outerHTML",
                "insertAdjacentHTML",
                "document.write",
                "eval(",
                "new Function",
                "srcdoc",
            ] {
                assert!(!text.contains(word), "{} has {word}", source.name);
            }
        }
    }

    #[test]
    fn a_file_is_sent_once_and_compressed_for_who_takes_it() {
        let plain = show(None, &HeaderMap::new()).unwrap();
        assert!(plain.headers().get(CONTENT_ENCODING).is_none());
        let policy = plain.headers()[CONTENT_SECURITY_POLICY].to_str().unwrap();
        assert!(policy.starts_with("default-src 'self'"), "{policy}");
        let compressed = show(Some("main.js"), &headers(ACCEPT_ENCODING, "br, gzip;q=0.8")).unwrap();
        assert_eq!(compressed.headers()[CONTENT_ENCODING], "gzip");
        assert!(!takes_gzip(&headers(ACCEPT_ENCODING, "br, gzip;q=0")));
        let tag = plain.headers()[ETAG].to_str().unwrap();
        assert_eq!(show(None, &headers(IF_NONE_MATCH, tag)).unwrap().status(), 304);
        assert_eq!(show(Some("../Cargo.toml"), &HeaderMap::new()).unwrap_err().status(), 404);
    }
}
