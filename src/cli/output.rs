//! What commands print.

use std::io::{ErrorKind, Write};

use crate::api::{Problem, ProblemClass};

/// Writes to stdout. A reader who has gone, such as `head`, has all they want.
pub(super) fn print(bytes: &[u8]) -> Result<(), Problem> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Err(e) if e.kind() != ErrorKind::BrokenPipe => {
            Err(Problem::new(ProblemClass::Io, format!("cannot write to stdout: {e}")))
        }
        _ => Ok(()),
    }
}

/// Tells a problem on stderr, its place and its hint on lines of their own.
pub(super) fn tell(problem: &Problem) {
    let mut text = format!("flywheel: {}\n", problem.detail);
    if let Some(path) = problem.path.as_deref().filter(|path| !path.is_empty()) {
        text.push_str(&format!("  at {path}\n"));
    }
    if let Some(hint) = &problem.hint {
        text.push_str(&format!("  hint: {hint}\n"));
    }
    note(&text);
}

/// Writes to stderr. Whoever closed it does not want to know.
pub(super) fn note(text: &str) {
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}

/// A number with its thousands apart: `1,000,000`.
pub(super) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_apart() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(thousands), ["0", "999", "1,000", "1,234,567"]);
    }
}
