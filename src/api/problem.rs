//! What went wrong, in the shape of RFC 9457, whoever asked and through whichever door.

use std::fmt;

use serde::Serialize;

/// The class of a problem. One match turns it into an HTTP status, one into an exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProblemClass {
    /// The request is wrong in form or meaning.
    Invalid,
    Unauthorized,
    Forbidden,
    NotFound,
    MethodNotAllowed,
    /// None of the encodings asked for can be told.
    NotAcceptable,
    /// The thing asked to be made is there already, or in use.
    Conflict,
    /// Larger than the server takes in.
    TooLarge,
    /// The request's line and headers are larger than the server takes in.
    HeadTooLarge,
    /// A body in an encoding or of a type that the server does not read.
    UnsupportedMediaType,
    /// The client did not send its request in time.
    TooSlow,
    /// The client may try again later.
    Busy,
    /// The server does not take requests: it is stopping, or there is no room for the connection.
    Unavailable,
    /// The query ran into its deadline.
    Timeout,
    /// Stored bytes are damaged.
    Corrupt,
    /// The disk or the system failed.
    Io,
    /// Nothing of the request was stored, because the store takes no more writes.
    ReadOnly,
    /// We are wrong.
    Bug,
}

impl ProblemClass {
    /// The class in one word, for programs.
    pub fn code(self) -> &'static str {
        match self {
            ProblemClass::Invalid => "invalid",
            ProblemClass::Unauthorized => "unauthorized",
            ProblemClass::Forbidden => "forbidden",
            ProblemClass::NotFound => "not_found",
            ProblemClass::MethodNotAllowed => "method_not_allowed",
            ProblemClass::NotAcceptable => "not_acceptable",
            ProblemClass::Conflict => "conflict",
            ProblemClass::TooLarge => "too_large",
            ProblemClass::HeadTooLarge => "head_too_large",
            ProblemClass::UnsupportedMediaType => "unsupported_media_type",
            ProblemClass::TooSlow => "too_slow",
            ProblemClass::Busy => "busy",
            ProblemClass::Unavailable => "unavailable",
            ProblemClass::Timeout => "timeout",
            ProblemClass::Corrupt => "damaged",
            ProblemClass::Io => "storage_failed",
            ProblemClass::ReadOnly => "read_only",
            ProblemClass::Bug => "bug",
        }
    }
}

/// An error for the asker: what is wrong, where in the request, and what would help.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub class: ProblemClass,
    /// One sentence for this occurrence.
    pub detail: String,
    /// A JSON pointer into the request's body.
    pub path: Option<String>,
    /// What would help.
    pub hint: Option<String>,
}

impl Problem {
    pub fn new(class: ProblemClass, detail: impl Into<String>) -> Problem {
        Problem { class, detail: detail.into(), path: None, hint: None }
    }

    pub fn invalid(detail: impl Into<String>) -> Problem {
        Problem::new(ProblemClass::Invalid, detail)
    }

    pub fn at(mut self, path: impl Into<String>) -> Problem {
        self.path = Some(path.into());
        self
    }

    pub fn hint(mut self, hint: impl Into<String>) -> Problem {
        self.hint = Some(hint.into());
        self
    }

    /// The HTTP status of the class.
    pub fn status(&self) -> u16 {
        match self.class {
            ProblemClass::Invalid => 400,
            ProblemClass::Unauthorized => 401,
            ProblemClass::Forbidden => 403,
            ProblemClass::NotFound => 404,
            ProblemClass::MethodNotAllowed => 405,
            ProblemClass::NotAcceptable => 406,
            ProblemClass::TooSlow => 408,
            ProblemClass::Conflict => 409,
            ProblemClass::TooLarge => 413,
            ProblemClass::UnsupportedMediaType => 415,
            ProblemClass::Busy => 429,
            ProblemClass::HeadTooLarge => 431,
            ProblemClass::Corrupt | ProblemClass::Io | ProblemClass::Bug => 500,
            ProblemClass::ReadOnly | ProblemClass::Unavailable => 503,
            ProblemClass::Timeout => 504,
        }
    }

    /// The exit code of the class: 1 failed, 2 wrong usage, 3 damaged store.
    pub fn exit_code(&self) -> u8 {
        match self.class {
            ProblemClass::Invalid => 2,
            ProblemClass::Corrupt => 3,
            _ => 1,
        }
    }

    fn title(&self) -> &'static str {
        match self.class {
            ProblemClass::Invalid => "The request is not valid",
            ProblemClass::Unauthorized => "A key is needed",
            ProblemClass::Forbidden => "The key does not allow this",
            ProblemClass::NotFound => "Not found",
            ProblemClass::MethodNotAllowed => "Method not allowed",
            ProblemClass::NotAcceptable => "Not acceptable",
            ProblemClass::Conflict => "In conflict with what is there",
            ProblemClass::TooLarge => "Too large",
            ProblemClass::HeadTooLarge => "The head of the request is too large",
            ProblemClass::UnsupportedMediaType => "Unsupported media type",
            ProblemClass::TooSlow => "The request took too long to arrive",
            ProblemClass::Busy => "Try again later",
            ProblemClass::Unavailable => "The server takes no requests now",
            ProblemClass::Timeout => "The query took too long",
            ProblemClass::Corrupt => "Stored data is damaged",
            ProblemClass::Io => "The storage failed",
            ProblemClass::ReadOnly => "The store takes no writes",
            ProblemClass::Bug => "Internal error",
        }
    }

    /// The body of an `application/problem+json` answer.
    pub fn to_json(&self) -> String {
        #[derive(Serialize)]
        struct Body<'a> {
            r#type: &'static str,
            title: &'static str,
            status: u16,
            code: &'static str,
            detail: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            path: Option<&'a str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            hint: Option<&'a str>,
        }
        let body = Body {
            r#type: "about:blank",
            title: self.title(),
            status: self.status(),
            code: self.class.code(),
            detail: &self.detail,
            path: self.path.as_deref(),
            hint: self.hint.as_deref(),
        };
        serde_json::to_string(&body).expect("strings and numbers are JSON")
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)?;
        if let Some(path) = self.path.as_deref().filter(|path| !path.is_empty()) {
            write!(f, " (at {path})")?;
        }
        if let Some(hint) = &self.hint {
            write!(f, "; {hint}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problem {}

/// Returns the candidate nearest to `word`, if one is near enough to be what was meant.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    near(word, candidates).min().map(|(_, candidate)| candidate)
}

/// Returns the `count` candidates nearest to `word`, nearest first, of those that are near enough to be what was meant.
pub fn nearest_few<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
    count: usize,
) -> Vec<&'a str> {
    let mut near: Vec<(usize, &str)> = near(word, candidates).collect();
    near.sort_unstable();
    near.into_iter().take(count).map(|(_, candidate)| candidate).collect()
}

/// The candidates that are near enough to be what was meant, and how far each is.
fn near<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> impl Iterator<Item = (usize, &'a str)> {
    let word_lower = word.to_lowercase();
    let word_length = word.len();
    candidates
        .into_iter()
        .map(move |candidate| (edit_distance(&word_lower, &candidate.to_lowercase()), candidate))
        .filter(move |(distance, candidate)| *distance <= 1 + candidate.len().max(word_length) / 3)
}

/// The least number of insertions, deletions, replacements and swaps of neighbours between two words (optimal
/// string alignment).
fn edit_distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().take(64).collect(), b.chars().take(64).collect());
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            rows[i][j] = if i == 0 || j == 0 {
                i + j
            } else {
                let replaced = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
                let mut least = replaced.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
                if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                    least = least.min(rows[i - 2][j - 2] + 1);
                }
                least
            };
        }
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_finger_finds_the_word_meant() {
        assert_eq!(nearest("windw", ["window", "within", "where"]), Some("window"));
        assert_eq!(nearest("Funnle", ["funnel", "paths"]), Some("funnel"));
        assert_eq!(nearest("zzz", ["window", "within"]), None);
    }
}
