//! How values of settings are written.

use std::net::{Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

/// A way to write a value. Types that are no values themselves: a size and a count are both numbers.
pub trait Kind {
    type Value;
    const VALUE_NAME: &'static str;
    /// What its flag means without a value, if it may stand so.
    const VALUE_ALONE: Option<&'static str> = None;

    /// Reads a value, or says what is wrong with the text. `bounds` count units, bytes or milliseconds.
    fn parse(text: &str, bounds: RangeInclusive<u64>) -> Result<Self::Value, String>;

    /// Writes it so that [`Kind::parse`] reads the same; empty if there is none.
    fn show(value: &Self::Value) -> String;
}

/// How to log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// A line for people.
    #[default]
    Text,
    /// An object a line, for programs.
    Json,
}

pub struct Folder;

impl Kind for Folder {
    type Value = PathBuf;
    const VALUE_NAME: &'static str = "DIR";

    fn parse(text: &str, _: RangeInclusive<u64>) -> Result<PathBuf, String> {
        if text.is_empty() { Err("expected a directory".to_owned()) } else { Ok(text.into()) }
    }

    fn show(value: &PathBuf) -> String {
        value.display().to_string()
    }
}

pub struct MaybeText;

impl Kind for MaybeText {
    type Value = Option<String>;
    const VALUE_NAME: &'static str = "FILTER";

    fn parse(text: &str, _: RangeInclusive<u64>) -> Result<Option<String>, String> {
        Ok((!text.is_empty()).then(|| text.to_owned()))
    }

    fn show(value: &Option<String>) -> String {
        value.clone().unwrap_or_default()
    }
}

pub struct MaybeFolder;

impl Kind for MaybeFolder {
    type Value = Option<PathBuf>;
    const VALUE_NAME: &'static str = "DIR";

    fn parse(text: &str, bounds: RangeInclusive<u64>) -> Result<Option<PathBuf>, String> {
        MaybeFile::parse(text, bounds)
    }

    fn show(value: &Option<PathBuf>) -> String {
        MaybeFile::show(value)
    }
}

/// Yes or no; yes where nothing is said but its name.
pub struct Flag;

impl Kind for Flag {
    type Value = bool;
    const VALUE_NAME: &'static str = "true|false";
    const VALUE_ALONE: Option<&'static str> = Some("true");

    fn parse(text: &str, _: RangeInclusive<u64>) -> Result<bool, String> {
        match text.to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" | "1" => Ok(true),
            "false" | "no" | "off" | "0" => Ok(false),
            _ => Err("expected true or false".to_owned()),
        }
    }

    fn show(value: &bool) -> String {
        value.to_string()
    }
}

/// An age of whole hours: `12h`, `365d`, `52w`.
pub struct MaybeAge;

const AGE_UNITS: [(&str, u64); 3] = [("w", 7 * 24), ("d", 24), ("h", 1)];

impl Kind for MaybeAge {
    type Value = Option<Duration>;
    const VALUE_NAME: &'static str = "AGE";

    fn parse(text: &str, _: RangeInclusive<u64>) -> Result<Option<Duration>, String> {
        if text.is_empty() {
            return Ok(None);
        }
        let hours = in_units(text, &AGE_UNITS).filter(|hours| (1..=u64::from(u32::MAX)).contains(hours));
        let wrong = || "expected an age of an hour or more, such as 12h, 365d or 52w".to_owned();
        hours.map(|hours| Some(Duration::from_secs(hours * 3600))).ok_or_else(wrong)
    }

    fn show(value: &Option<Duration>) -> String {
        // In days, which is how people say it.
        value.map_or_else(String::new, |age| with_unit(age.as_secs() / 3600, &AGE_UNITS[1..]))
    }
}

pub struct MaybeFile;

impl Kind for MaybeFile {
    type Value = Option<PathBuf>;
    const VALUE_NAME: &'static str = "FILE";

    fn parse(text: &str, _: RangeInclusive<u64>) -> Result<Option<PathBuf>, String> {
        Ok((!text.is_empty()).then(|| text.into()))
    }

    fn show(value: &Option<PathBuf>) -> String {
        value.as_ref().map_or_else(String::new, |path| path.display().to_string())
    }
}

/// Where a document of JSON is: the text itself, which begins with `{`, or the name of a file.
pub struct Document;

impl Kind for Document {
    type Value = Option<String>;
    const VALUE_NAME: &'static str = "FILE|JSON";

    fn parse(text: &str, bounds: RangeInclusive<u64>) -> Result<Option<String>, String> {
        MaybeText::parse(text, bounds)
    }

    fn show(value: &Option<String>) -> String {
        MaybeText::show(value)
    }
}

pub struct Choice;

impl Kind for Choice {
    type Value = LogFormat;
    const VALUE_NAME: &'static str = "text|json";

    fn parse(text: &str, _: RangeInclusive<u64>) -> Result<LogFormat, String> {
        match text {
            "text" => Ok(LogFormat::Text),
            "json" => Ok(LogFormat::Json),
            _ => Err("expected text or json".to_owned()),
        }
    }

    fn show(value: &LogFormat) -> String {
        match value {
            LogFormat::Text => "text".to_owned(),
            LogFormat::Json => "json".to_owned(),
        }
    }
}

/// An address with its port. The machine itself may be called by its name.
pub struct Address;

impl Kind for Address {
    type Value = SocketAddr;
    const VALUE_NAME: &'static str = "ADDRESS";

    fn parse(text: &str, _: RangeInclusive<u64>) -> Result<SocketAddr, String> {
        if let Some(port) = text.strip_prefix("localhost:").and_then(|port| port.parse().ok()) {
            return Ok((Ipv4Addr::LOCALHOST, port).into());
        }
        text.parse().map_err(|_| "expected an address and a port, such as 127.0.0.1:7070".to_owned())
    }

    fn show(value: &SocketAddr) -> String {
        value.to_string()
    }
}

/// Several words, with commas between them.
pub struct Words;

impl Kind for Words {
    type Value = Vec<String>;
    const VALUE_NAME: &'static str = "ORIGIN,…";

    fn parse(text: &str, _: RangeInclusive<u64>) -> Result<Vec<String>, String> {
        let words: Vec<String> =
            text.split(',').map(str::trim).filter(|word| !word.is_empty()).map(str::to_owned).collect();
        for origin in &words {
            let authority = origin.split_once("://").map(|(_, authority)| authority);
            if authority.is_none_or(|authority| authority.is_empty() || authority.contains('/')) {
                return Err(format!("{origin:?} is no origin: expected one such as https://app.example.com"));
            }
        }
        Ok(words)
    }

    fn show(value: &Vec<String>) -> String {
        value.join(",")
    }
}

pub struct Count;

impl Kind for Count {
    type Value = usize;
    const VALUE_NAME: &'static str = "N";

    fn parse(text: &str, bounds: RangeInclusive<u64>) -> Result<usize, String> {
        let count = text.parse().ok().filter(|count| bounds.contains(count));
        let (least, most) = bounds.into_inner();
        let count = count.ok_or_else(|| format!("expected a whole number from {least} to {most}"))?;
        usize::try_from(count).map_err(|_| "the number is too large for this machine".to_owned())
    }

    fn show(value: &usize) -> String {
        value.to_string()
    }
}

/// Bytes: `512`, `64KiB`, `32MiB`, `1GiB`.
pub struct Size;

const SIZE_UNITS: [(&str, u64); 4] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("", 1)];

impl Kind for Size {
    type Value = usize;
    const VALUE_NAME: &'static str = "SIZE";

    fn parse(text: &str, bounds: RangeInclusive<u64>) -> Result<usize, String> {
        let size = in_units(text, &SIZE_UNITS).filter(|size| bounds.contains(size));
        let (least, most) = bounds.into_inner();
        let [least, most] = [least, most].map(|bound| with_unit(bound, &SIZE_UNITS));
        let size = size.ok_or_else(|| format!("expected a size such as 32MiB, from {least} to {most}"))?;
        usize::try_from(size).map_err(|_| "the size is too large for this machine".to_owned())
    }

    fn show(value: &usize) -> String {
        with_unit(*value as u64, &SIZE_UNITS)
    }
}

/// A time: `250ms`, `10s`, `5m`, `1h`.
pub struct Span;

const SPAN_UNITS: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

impl Kind for Span {
    type Value = Duration;
    const VALUE_NAME: &'static str = "TIME";

    fn parse(text: &str, bounds: RangeInclusive<u64>) -> Result<Duration, String> {
        let ms = in_units(text, &SPAN_UNITS).filter(|ms| bounds.contains(ms));
        let (least, most) = bounds.into_inner();
        let [least, most] = [least, most].map(|bound| with_unit(bound, &SPAN_UNITS));
        let ms = ms.ok_or_else(|| format!("expected a time such as 10s, from {least} to {most}"))?;
        Ok(Duration::from_millis(ms))
    }

    fn show(value: &Duration) -> String {
        with_unit(value.as_millis() as u64, &SPAN_UNITS)
    }
}

fn in_units(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits_end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(digits_end);
    let (_, factor) = units.iter().find(|(known, _)| *known == unit.trim_start())?;
    digits.parse::<u64>().ok()?.checked_mul(*factor)
}

/// In the largest unit of which it is a whole number.
fn with_unit(number: u64, units: &[(&str, u64)]) -> String {
    let fits = |factor: u64| number.is_multiple_of(factor) && (number > 0 || factor == 1);
    let (unit, factor) = units.iter().find(|(_, factor)| fits(*factor)).expect("the last unit always fits");
    format!("{}{unit}", number / factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: RangeInclusive<u64> = 0..=u64::MAX;

    #[test]
    fn an_age_has_a_unit() {
        for (text, hours) in [("365d", 365 * 24), ("12h", 12), ("2w", 336)] {
            assert_eq!(MaybeAge::parse(text, ALL), Ok(Some(Duration::from_secs(hours * 3600))), "{text}");
        }
        assert_eq!(MaybeAge::parse("", ALL), Ok(None));
        assert_eq!(MaybeAge::show(&Some(Duration::from_secs(36 * 3600))), "36h");
        assert_eq!(MaybeAge::show(&Some(Duration::from_secs(14 * 86_400))), "14d");
        for text in ["365", "d", "0d", "-1d", "1.5d", "1y", "99999999999d"] {
            assert!(MaybeAge::parse(text, ALL).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_and_times_have_units() {
        for (text, size) in
            [("0", 0), ("1536", 1536), ("64KiB", 64 << 10), ("32 MiB", 32 << 20), ("3GiB", 3 << 30)]
        {
            assert_eq!(Size::parse(text, ALL), Ok(size), "{text}");
        }
        for (text, ms) in [("250ms", 250), ("10s", 10_000), ("5m", 300_000), ("1h", 3_600_000)] {
            assert_eq!(Span::parse(text, ALL), Ok(Duration::from_millis(ms)), "{text}");
            assert_eq!(Span::show(&Duration::from_millis(ms)), text);
        }
        for text in ["", "-1", "1.5MiB", "1MB", "MiB", "99999999999999999999", "18446744073709551615GiB"] {
            assert!(Size::parse(text, ALL).is_err(), "{text}");
        }
        assert!(Span::parse("10", ALL).is_err(), "a time needs its unit");
        assert_eq!([0, 1000, 1024, 3 << 19].map(|size| Size::show(&size)), ["0", "1000", "1KiB", "1536KiB"]);
    }

    #[test]
    fn an_address_has_a_port() {
        let address = |text: &str| Address::parse(text, ALL);
        assert_eq!(address("localhost:0"), Ok("127.0.0.1:0".parse().unwrap()));
        assert_eq!(address("[::1]:80"), Ok("[::1]:80".parse().unwrap()));
        for text in ["127.0.0.1", "7070", ":7070", "localhost", "localhost:x", "a.example:80"] {
            assert!(address(text).is_err(), "{text}");
        }
    }

    #[test]
    fn origins_are_no_addresses_of_pages() {
        let words = |text: &str| Words::parse(text, ALL);
        assert_eq!(words("https://a.example, http://b:1").unwrap(), ["https://a.example", "http://b:1"]);
        assert_eq!(words("").unwrap(), Vec::<String>::new());
        for text in ["a.example", "https://a.example/", "https://", "*"] {
            assert!(words(text).is_err(), "{text}");
        }
    }
}
