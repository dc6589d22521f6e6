//! Guesses what separates the columns of a table, from its first lines.

use crate::api::Problem;

/// What separates the columns of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delimiter {
    /// One byte; columns may be quoted.
    Byte(u8),
    /// Any number of blanks, also at the start of the line; nothing is quoted.
    Blanks,
}

/// Lines that the guess looks at.
const LINE_COUNT_MAX: usize = 100;

impl Delimiter {
    /// Reads a delimiter as a user writes it: one character, `tab` or `blanks`.
    pub fn parse(text: &str) -> Result<Delimiter, Problem> {
        match text {
            "tab" | "\\t" => Ok(Delimiter::Byte(b'\t')),
            "blanks" | "blank" | " " => Ok(Delimiter::Blanks),
            _ => match text.as_bytes() {
                [byte] if byte.is_ascii() && !matches!(byte, b'"' | b'\n' | b'\r') => {
                    Ok(Delimiter::Byte(*byte))
                }
                _ => Err(Problem::invalid(format!("the delimiter {text:?} is not one character"))
                    .hint("give one character, \"tab\" or \"blanks\"")),
            },
        }
    }

    /// The delimiter that cuts the most lines into as many columns as the first, two at least; of those that cut
    /// alike, the one that makes more columns. A comma if none does.
    ///
    /// `start` is the beginning of the text; its last line may be cut unless it `is_whole`.
    pub(crate) fn guess(start: &[u8], is_whole: bool) -> Delimiter {
        let lines_end =
            if is_whole { start.len() } else { memchr::memrchr(b'\n', start).unwrap_or(start.len()) };
        let text = &start[..lines_end];
        let candidates =
            [b',', b';', b'\t', b'|'].map(Delimiter::Byte).into_iter().chain([Delimiter::Blanks]);
        let scored = candidates.rev().filter_map(|delimiter| {
            let counts = delimiter.column_counts(text);
            let columns = *counts.first().filter(|columns| **columns > 1)?;
            let alike = counts.iter().filter(|count| **count == columns).count();
            // Blanks are also what separates the words inside of columns.
            let share = alike * 1000 / counts.len();
            Some(((share, delimiter != Delimiter::Blanks, columns), delimiter))
        });
        scored.max_by_key(|(score, _)| *score).map_or(Delimiter::Byte(b','), |(_, delimiter)| delimiter)
    }

    /// How many columns each of the first lines has.
    fn column_counts(self, text: &[u8]) -> Vec<usize> {
        match self {
            Delimiter::Byte(byte) => {
                let mut reader = csv::ReaderBuilder::new();
                let reader = reader.delimiter(byte).has_headers(false).flexible(true).from_reader(text);
                let records = reader.into_byte_records().take(LINE_COUNT_MAX);
                records.map_while(Result::ok).map(|record| record.len()).collect()
            }
            Delimiter::Blanks => {
                let lines = text.split(|byte| *byte == b'\n').map(blank_separated).map(Iterator::count);
                lines.filter(|count| *count > 0).take(LINE_COUNT_MAX).collect()
            }
        }
    }
}

/// The columns of a line that blanks separate.
pub(crate) fn blank_separated(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(u8::is_ascii_whitespace).filter(|column| !column.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_delimiter_is_guessed_from_the_lines() {
        let guess = |text: &str| Delimiter::guess(text.as_bytes(), true);
        assert_eq!(guess("a,b,c\n1,2,3\n"), Delimiter::Byte(b','));
        assert_eq!(guess("a;b\n1,5;2,5\n"), Delimiter::Byte(b';'));
        assert_eq!(guess("time\tuser name\n2024-01-01 10:00:00\tx, y\n"), Delimiter::Byte(b'\t'));
        assert_eq!(guess("a|b\nx y|z\n"), Delimiter::Byte(b'|'));
        assert_eq!(guess(" 00001 19970101  1   11.77\r\n 00002 19970112  5   77.00\r\n"), Delimiter::Blanks);
        assert_eq!(
            guess("time,user\n2024-01-01 10:00:00,ada\n2024-01-01 10:00:00,bo\n"),
            Delimiter::Byte(b',')
        );
        assert_eq!(guess("user\nada\n"), Delimiter::Byte(b','));
        assert_eq!(guess("a,b\n\"x\ny, z\",2\n\"x\ny, z\",2\n"), Delimiter::Byte(b','));
    }

    #[test]
    fn a_cut_last_line_does_not_count() {
        let start = b"a,b;c;d\n1,2;3;4\n1,2";
        assert_eq!(Delimiter::guess(start, true), Delimiter::Byte(b','));
        assert_eq!(Delimiter::guess(start, false), Delimiter::Byte(b';'));
    }

    #[test]
    fn a_delimiter_is_one_character_or_its_name() {
        assert_eq!(Delimiter::parse("tab").unwrap(), Delimiter::Byte(b'\t'));
        assert_eq!(Delimiter::parse("^").unwrap(), Delimiter::Byte(b'^'));
        assert_eq!(Delimiter::parse("||").unwrap_err().exit_code(), 2);
    }
}
