//! Hands out the lines of a stream in blocks, in bounded memory whatever the stream holds.

use std::io::{self, Read};

use crate::limits::EVENT_SIZE_MAX;

/// Bytes read ahead. Twice the longest event, so that a line that fills the buffer is surely too long.
const BUFFER_SIZE: usize = 2 * EVENT_SIZE_MAX;

/// The lines of a stream, numbered from 1.
pub(crate) struct Lines<R> {
    source: R,
    buffer: Vec<u8>,
    /// The bytes of `buffer` that nobody has taken yet are `start..end`; `start..lines_end` are whole lines.
    start: usize,
    lines_end: usize,
    end: usize,
    /// Lines that were taken.
    line_count: u64,
    at_end: bool,
    /// The rest of the current line belongs to one that was too long.
    skips_line: bool,
}

/// What comes next in the stream.
pub(crate) enum Block<'a> {
    /// Whole lines, at least one, each with its line feed except perhaps the last of the stream.
    Lines(&'a [u8]),
    /// The start of a line that is too long for an event.
    Overlong(&'a [u8]),
}

impl<R: Read> Lines<R> {
    pub fn new(source: R) -> Lines<R> {
        let buffer = vec![0; BUFFER_SIZE];
        let (start, lines_end, end) = (0, 0, 0);
        Lines { source, buffer, start, lines_end, end, line_count: 0, at_end: false, skips_line: false }
    }

    /// Lines that were taken so far.
    pub fn line_count(&self) -> u64 {
        self.line_count
    }

    /// The next lines, or none at the end of the stream. The same ones again until they are taken.
    ///
    /// After an error the part of a line that was read before it is not handed out.
    pub fn block(&mut self) -> io::Result<Option<Block<'_>>> {
        while self.start == self.lines_end {
            if self.end - self.start == BUFFER_SIZE {
                return Ok(Some(Block::Overlong(&self.buffer[self.start..self.end])));
            }
            if self.at_end {
                return Ok(None);
            }
            self.read_more()?;
        }
        Ok(Some(Block::Lines(&self.buffer[self.start..self.lines_end])))
    }

    /// Takes lines from the front of the block, of so many bytes.
    pub fn take(&mut self, size: usize, line_count: u64) {
        self.start += size;
        debug_assert!(self.start <= self.lines_end);
        self.line_count += line_count;
    }

    /// Takes the line that is too long.
    pub fn take_overlong(&mut self) {
        (self.start, self.lines_end, self.end) = (0, 0, 0);
        self.line_count += 1;
        self.skips_line = true;
    }

    fn read_more(&mut self) -> io::Result<()> {
        self.buffer.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        let read = loop {
            match self.source.read(&mut self.buffer[self.end..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read?,
            }
        };
        let fresh = self.end..self.end + read;
        self.end = fresh.end;
        self.at_end = read == 0;
        if self.skips_line {
            match memchr::memchr(b'\n', &self.buffer[fresh.clone()]) {
                Some(at) => {
                    self.start = fresh.start + at + 1;
                    self.skips_line = false;
                }
                None => self.end = 0,
            }
        }
        let last_feed = memchr::memrchr(b'\n', &self.buffer[self.start..self.end]);
        self.lines_end = match last_feed {
            _ if self.at_end => self.end,
            Some(at) => self.start + at + 1,
            None => self.start,
        };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A stream that comes in pieces of `size` bytes.
    struct Pieces<'a>(&'a [u8], usize);

    impl Read for Pieces<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let size = self.1.min(self.0.len()).min(buffer.len());
            buffer[..size].copy_from_slice(&self.0[..size]);
            self.0 = &self.0[size..];
            Ok(size)
        }
    }

    fn lines_of(text: &[u8], piece: usize) -> Vec<(u64, String)> {
        let mut lines = Lines::new(Pieces(text, piece));
        let mut found = Vec::new();
        loop {
            let number = lines.line_count() + 1;
            match lines.block().unwrap() {
                None => return found,
                Some(Block::Overlong(_)) => {
                    found.push((number, "overlong".to_owned()));
                    lines.take_overlong();
                }
                Some(Block::Lines(block)) => {
                    let size = memchr::memchr(b'\n', block).map_or(block.len(), |at| at + 1);
                    found.push((number, String::from_utf8_lossy(&block[..size]).trim_end().to_owned()));
                    lines.take(size, 1);
                }
            }
        }
    }

    #[test]
    fn lines_are_the_same_however_the_stream_comes() {
        for piece in [1, 2, 3, 100] {
            let found = lines_of(b"one\r\n\ntwo\nthree", piece);
            let expected = [(1, "one"), (2, ""), (3, "two"), (4, "three")];
            assert!(found.iter().map(|(number, line)| (*number, line.as_str())).eq(expected), "{found:?}");
        }
        assert_eq!(lines_of(b"", 10), []);
        assert_eq!(lines_of(b"\n", 10).len(), 1);
    }

    #[test]
    fn a_line_without_an_end_takes_no_more_memory_than_the_buffer() {
        let mut text = b"a\n".to_vec();
        text.extend(vec![b'x'; 3 * BUFFER_SIZE]);
        text.extend(b"\nb\n");
        let found = lines_of(&text, 1 << 16);
        let expected = [(1, "a"), (2, "overlong"), (3, "b")];
        assert!(found.iter().map(|(number, line)| (*number, line.as_str())).eq(expected));
    }
}
