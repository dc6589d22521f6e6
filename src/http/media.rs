//! Which media types a request brings and wants.

use hyper::header::{ACCEPT, CONTENT_TYPE, HeaderMap};

use super::parameters::Parameters;
use crate::api::{Format, Problem, ProblemClass};
use crate::ingest::BodyForm;

/// The encoding that a result is wanted in: `?format=`, else what `Accept` likes best, else JSON.
pub(super) fn wanted_format(parameters: &Parameters, headers: &HeaderMap) -> Result<Format, Problem> {
    if let Some(format) = parameters.word("format", &Format::WORDS)? {
        return Ok(format);
    }
    let values = headers.get_all(ACCEPT).iter().map(|value| value.to_str().unwrap_or_default());
    let ranges: Vec<&str> = values.flat_map(|value| value.split(',')).map(str::trim).collect();
    if ranges.iter().all(|range| range.is_empty()) {
        return Ok(Format::Json);
    }
    // Of equals the earlier in this list is taken, so JSON before the others.
    let formats = [Format::Json, Format::Ndjson, Format::Csv, Format::Arrow];
    let best = formats
        .into_iter()
        .map(|format| (quality(format, &ranges), format))
        .reduce(|best, next| if next.0 > best.0 { next } else { best });
    match best {
        Some((quality, format)) if quality > 0 => Ok(format),
        _ => {
            let wanted = ranges.join(", ");
            Err(Problem::new(ProblemClass::NotAcceptable, format!("results are not told as {wanted}"))
                .hint("accept application/json, application/x-ndjson, text/csv or application/vnd.apache.arrow.stream"))
        }
    }
}

/// How much the ranges of an `Accept` header like the format, in thousandths. The most specific range decides
/// (RFC 9110, 12.5.1).
fn quality(format: Format, ranges: &[&str]) -> u32 {
    let names: &[&str] = match format {
        Format::Json => &["application/json"],
        Format::Ndjson => &["application/x-ndjson", "application/ndjson"],
        Format::Csv => &["text/csv"],
        Format::Arrow => &["application/vnd.apache.arrow.stream"],
    };
    let group = names[0].split('/').next().expect("split gives a part");
    let matches = ranges.iter().filter_map(|range| {
        let mut parts = range.split(';').map(str::trim);
        let name = parts.next()?.to_ascii_lowercase();
        let specificity = match name.as_str() {
            "*/*" => 1,
            other if other.strip_suffix("/*") == Some(group) => 2,
            other if names.contains(&other) => 3,
            _ => return None,
        };
        let weight = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
        let weight = weight.map_or(Some(1.0), |text| text.parse::<f64>().ok()).unwrap_or(0.0);
        Some((specificity, (weight.clamp(0.0, 1.0) * 1_000.0) as u32))
    });
    matches.max().map_or(0, |(_, weight)| weight)
}

/// How a body of items is laid out, by its `Content-Type`.
///
/// A body without one is JSON, and so is one that `curl --data` calls a form.
pub(super) fn body_form(headers: &HeaderMap) -> Result<BodyForm, Problem> {
    let Some(value) = headers.get(CONTENT_TYPE) else { return Ok(BodyForm::Json) };
    let text = value.to_str().unwrap_or_default().to_ascii_lowercase();
    let mut parts = text.split(';').map(str::trim);
    let name = parts.next().unwrap_or_default();
    let charset = parts.find_map(|part| part.strip_prefix("charset=")).map(|set| set.trim_matches('"'));
    if charset.is_some_and(|set| set != "utf-8" && set != "us-ascii") {
        return Err(unsupported(&text).hint("send it in UTF-8"));
    }
    match name {
        "application/x-ndjson" | "application/ndjson" | "application/jsonl" | "application/x-jsonlines" => {
            Ok(BodyForm::Ndjson)
        }
        "" | "application/json" | "text/json" | "text/plain" | "application/x-www-form-urlencoded" => {
            Ok(BodyForm::Json)
        }
        _ => Err(unsupported(&text).hint("send application/json or application/x-ndjson")),
    }
}

/// As [`body_form`], for a body that is one JSON text.
pub(super) fn require_json(headers: &HeaderMap) -> Result<(), Problem> {
    match body_form(headers)? {
        BodyForm::Json => Ok(()),
        BodyForm::Ndjson => Err(unsupported("application/x-ndjson").hint("send application/json")),
    }
}

fn unsupported(media_type: &str) -> Problem {
    Problem::new(ProblemClass::UnsupportedMediaType, format!("a body of the type {media_type:?} is not read"))
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    fn wanted(accept: Option<&'static str>, query: Option<&str>) -> Result<Format, u16> {
        let mut headers = HeaderMap::new();
        if let Some(accept) = accept {
            headers.insert(ACCEPT, HeaderValue::from_static(accept));
        }
        let parameters = Parameters::parse(query, &["format"]).unwrap();
        wanted_format(&parameters, &headers).map_err(|problem| problem.status())
    }

    #[test]
    fn accept_chooses_and_format_wins() {
        assert_eq!(wanted(None, None), Ok(Format::Json));
        assert_eq!(wanted(Some("*/*"), None), Ok(Format::Json));
        assert_eq!(wanted(Some("text/csv"), None), Ok(Format::Csv));
        assert_eq!(wanted(Some("text/*"), None), Ok(Format::Csv));
        assert_eq!(wanted(Some("application/vnd.apache.arrow.stream"), None), Ok(Format::Arrow));
        assert_eq!(wanted(None, Some("format=arrow")), Ok(Format::Arrow));
        assert_eq!(wanted(Some("application/x-ndjson"), None), Ok(Format::Ndjson));
        assert_eq!(wanted(Some("text/csv; q=0.5, application/*;q=0.4"), None), Ok(Format::Csv));
        assert_eq!(wanted(Some("application/json;q=0, */*"), None), Ok(Format::Ndjson));
        assert_eq!(wanted(Some("text/html, image/png;q=0.9, */*;q=0.8"), None), Ok(Format::Json));
        assert_eq!(wanted(Some("text/csv"), Some("format=ndjson")), Ok(Format::Ndjson));
    }

    #[test]
    fn what_cannot_be_told_is_refused() {
        assert_eq!(wanted(Some("application/vnd.apache.arrow.file"), None), Err(406));
        assert_eq!(wanted(Some("application/json;q=0"), None), Err(406));
        assert_eq!(wanted(None, Some("format=xml")), Err(400));
    }

    #[test]
    fn a_body_is_json_unless_it_says_otherwise() {
        let form = |content_type: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
            body_form(&headers).map_err(|problem| problem.status())
        };
        assert_eq!(body_form(&HeaderMap::new()), Ok(BodyForm::Json));
        assert_eq!(form("application/json; charset=UTF-8"), Ok(BodyForm::Json));
        assert_eq!(form("application/x-ndjson"), Ok(BodyForm::Ndjson));
        assert_eq!(form("application/json; charset=latin1"), Err(415));
        assert_eq!(form("text/csv"), Err(415));
    }
}
