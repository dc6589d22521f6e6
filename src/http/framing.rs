//! Where requests begin and end in the bytes of a connection, and whether that is beyond doubt.
//!
//! Requests are smuggled where two readers of the same bytes differ on where a body ends. hyper decides such cases as
//! the standard allows; a proxy in front may decide otherwise. Here they are not decided but refused, before hyper sees
//! them: a length beside a transfer encoding, a length or an encoding given twice, an encoding other than `chunked`, a
//! number that is not plain digits, a line that ends without its carriage return or is folded, two hosts or none.
//!
//! The reader is fed all bytes that come in and keeps those of the head that is under way, which is bounded.

use crate::api::{Problem, ProblemClass};
use crate::limits::{HEADER_COUNT_MAX, REQUEST_HEAD_SIZE_MAX};

/// Digits of a length, or of the size of a chunk: enough for any that is let in.
const DIGIT_COUNT_MAX: usize = 15;
/// Bytes of the line before a chunk, its extensions included, and of all lines after the last.
const CHUNK_LINE_SIZE_MAX: usize = 4 << 10;

/// Follows the requests of one connection.
#[derive(Debug, Default)]
pub(crate) struct Framing {
    state: State,
    /// The bytes of the head so far, or of the line around a chunk.
    head: Vec<u8>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Head,
    /// So many bytes of a body are left.
    Body(u64),
    /// The line with the size of the next chunk.
    ChunkLine,
    /// So many bytes of a chunk are left, the line end behind it included.
    Chunk(u64),
    /// Lines behind the last chunk.
    Trailer,
}

impl Framing {
    /// Whether a head is under way: some of it is there, and not all.
    pub fn is_in_head(&self) -> bool {
        self.state == State::Head && !self.head.is_empty()
    }

    /// Takes the next bytes. After an error the connection is to be closed.
    pub fn feed(&mut self, mut bytes: &[u8]) -> Result<(), Problem> {
        while let Some(&byte) = bytes.first() {
            match self.state {
                State::Body(left) | State::Chunk(left) => {
                    let taken = left.min(bytes.len() as u64);
                    bytes = &bytes[taken as usize..];
                    self.state = match (self.state, left - taken) {
                        (State::Body(_), 0) => State::Head,
                        (State::Body(_), left) => State::Body(left),
                        (_, 0) => State::ChunkLine,
                        (_, left) => State::Chunk(left),
                    };
                }
                State::Head | State::ChunkLine | State::Trailer => {
                    bytes = &bytes[1..];
                    self.take(byte)?;
                }
            }
        }
        Ok(())
    }

    fn take(&mut self, byte: u8) -> Result<(), Problem> {
        if self.state == State::Head && self.head.is_empty() {
            match byte {
                // Empty lines before a request are skipped (RFC 9112, 2.2).
                b'\r' | b'\n' => return Ok(()),
                _ if !is_token(byte) => {
                    return Err(
                        wrong("the bytes are no HTTP request").hint("is TLS spoken to a server without it?")
                    );
                }
                _ => {}
            }
        }
        let before = self.head.last().copied();
        if (byte == b'\n') != (before == Some(b'\r')) {
            return Err(wrong("a line does not end with a carriage return and a line feed"));
        }
        if byte == 0 {
            return Err(wrong("there is a zero byte in the head"));
        }
        self.head.push(byte);
        let size_max = if self.state == State::Head { REQUEST_HEAD_SIZE_MAX } else { CHUNK_LINE_SIZE_MAX };
        if self.head.len() > size_max {
            return Err(match self.state {
                State::Head => {
                    too_large(format!("the request's line and headers take more than {} KiB", size_max >> 10))
                }
                _ => wrong("the lines around a chunk are too long"),
            });
        }
        if byte != b'\n' {
            return Ok(());
        }
        match self.state {
            State::Head if self.head.ends_with(b"\r\n\r\n") => {
                self.state = body_after(&self.head[..self.head.len() - 4])?;
                self.head.clear();
            }
            State::ChunkLine => {
                let size = chunk_size(&self.head[..self.head.len() - 2])?;
                self.head.clear();
                self.state = match size {
                    0 => State::Trailer,
                    size => State::Chunk(size + 2),
                };
            }
            State::Trailer if self.head == b"\r\n" || self.head.ends_with(b"\r\n\r\n") => {
                self.head.clear();
                self.state = State::Head;
            }
            _ => {}
        }
        Ok(())
    }
}

/// What follows a head, which comes without its empty line.
fn body_after(head: &[u8]) -> Result<State, Problem> {
    let mut lines = head.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let request_line = lines.next().unwrap_or_default();
    let is_newer = request_line.ends_with(b" HTTP/1.1");
    if !is_newer && !request_line.ends_with(b" HTTP/1.0") {
        return Err(wrong("the request's line does not end with HTTP/1.1 or HTTP/1.0"));
    }
    let (mut length, mut is_chunked, mut host_count) = (None, false, 0);
    for (index, line) in lines.enumerate() {
        if index >= HEADER_COUNT_MAX {
            return Err(too_large(format!("the request has more than {HEADER_COUNT_MAX} headers")));
        }
        let colon = line.iter().position(|byte| *byte == b':');
        let (name, value) = line.split_at(colon.ok_or_else(|| wrong("a header has no colon"))?);
        if name.is_empty() || !name.iter().all(|byte| is_token(*byte)) {
            return Err(wrong("a header's name is not a word, or has blanks around it"));
        }
        let value = value[1..].trim_ascii();
        if name.eq_ignore_ascii_case(b"host") {
            host_count += 1;
        } else if name.eq_ignore_ascii_case(b"content-length") {
            let said = plain_number(value).ok_or_else(|| wrong("Content-Length is not a plain number"))?;
            if length.replace(said).is_some() {
                return Err(wrong("there are two Content-Length headers"));
            }
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            if is_chunked || !value.eq_ignore_ascii_case(b"chunked") {
                return Err(wrong("Transfer-Encoding is something else than chunked, once"));
            }
            is_chunked = true;
        }
    }
    if host_count > 1 || (is_newer && host_count == 0) {
        return Err(wrong("a request has one Host header"));
    }
    match (length, is_chunked) {
        (Some(_), true) => Err(wrong("there are both Content-Length and Transfer-Encoding")),
        (None, true) if !is_newer => Err(wrong("HTTP/1.0 has no Transfer-Encoding")),
        (None, true) => Ok(State::ChunkLine),
        (None | Some(0), false) => Ok(State::Head),
        (Some(length), false) => Ok(State::Body(length)),
    }
}

/// The size of a chunk: hexadecimal digits, then nothing or an extension.
fn chunk_size(line: &[u8]) -> Result<u64, Problem> {
    let digits = line.split(|byte| *byte == b';').next().unwrap_or_default();
    let text = std::str::from_utf8(digits).ok().filter(|text| {
        (1..=DIGIT_COUNT_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
    });
    let size = text.and_then(|text| u64::from_str_radix(text, 16).ok());
    size.ok_or_else(|| wrong("the size of a chunk is not a hexadecimal number"))
}

fn plain_number(text: &[u8]) -> Option<u64> {
    let is_plain = (1..=DIGIT_COUNT_MAX).contains(&text.len()) && text.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(text).ok().filter(|_| is_plain)?.parse().ok()
}

/// Whether a byte may stand in a method or in a header's name (RFC 9110, 5.6.2).
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

fn wrong(detail: &str) -> Problem {
    Problem::invalid(detail)
}

fn too_large(detail: String) -> Problem {
    Problem::new(ProblemClass::HeadTooLarge, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds the text in one piece and byte by byte, and checks that it makes no difference.
    fn feed(text: &str) -> Result<(State, bool), u16> {
        let fed = |pieces: &mut dyn Iterator<Item = &[u8]>| {
            let mut framing = Framing::default();
            let mut pieces = pieces;
            let fed = Iterator::try_for_each(&mut pieces, |piece| framing.feed(piece));
            fed.map(|()| (framing.state, framing.is_in_head())).map_err(|problem| problem.status())
        };
        let whole = fed(&mut std::iter::once(text.as_bytes()));
        assert_eq!(fed(&mut text.as_bytes().chunks(1)), whole, "{text:?}");
        whole
    }

    const BETWEEN: Result<(State, bool), u16> = Ok((State::Head, false));

    #[test]
    fn requests_are_followed_to_their_ends() {
        let get = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        assert_eq!(feed(get), BETWEEN);
        assert_eq!(feed(&format!("\r\n{get}{get}")), BETWEEN);
        assert_eq!(feed("GET / HTTP/1.0\r\n\r\n"), BETWEEN);
        assert_eq!(feed(&get[..20]), Ok((State::Head, true)));
        let post = "POST /v1/events HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\n";
        assert_eq!(feed(&format!("{post}he")), Ok((State::Body(3), false)));
        assert_eq!(feed(&format!("{post}\r\n\r\n\0{get}{post}12345")), BETWEEN);
        let chunked = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n";
        assert_eq!(feed(&format!("{chunked}5;a=b\r\nhello\r\nA\r\n0123456789\r\n0\r\n\r\n{get}")), BETWEEN);
        assert_eq!(feed(&format!("{chunked}0\r\nX-Sum: 1\r\n\r\n{get}")), BETWEEN);
    }

    #[test]
    fn what_two_readers_may_understand_differently_is_refused() {
        let with = |headers: &str| feed(&format!("POST / HTTP/1.1\r\nHost: a\r\n{headers}\r\n\r\n"));
        for headers in [
            "Content-Length: 5\r\nTransfer-Encoding: chunked",
            "Transfer-Encoding: chunked\r\nContent-Length: 5",
            "Content-Length: 5\r\nContent-Length: 5",
            "Content-Length: 5\r\ncontent-length: 6",
            "Content-Length: 5, 5",
            "Content-Length: +5",
            "Content-Length: -1",
            "Content-Length: 0x5",
            "Content-Length:",
            "Content-Length: 99999999999999999999",
            "Content-Length : 5",
            "Transfer-Encoding: gzip, chunked",
            "Transfer-Encoding: identity",
            "Transfer-Encoding: xchunked",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
            "Transfer-Encoding:\r\n chunked",
            "X: a\r\n b: c",
            "X: a\nTransfer-Encoding: chunked",
            "X: a\rTransfer-Encoding: chunked",
            "nothing",
            ": a",
            "Host: b",
        ] {
            assert_eq!(with(headers), Err(400), "{headers}");
        }
        assert_eq!(feed("GET / HTTP/1.1\r\n\r\n"), Err(400), "no host");
        assert_eq!(feed("GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"), Err(400));
        assert_eq!(feed("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), Err(400));
        assert_eq!(feed("\u{16}\u{3}\u{1}"), Err(400));
        let chunked = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
        for body in ["x\r\n", "\r\n", "-1\r\n", "0x5\r\n", "5 \r\n", "5\nhello", "1000000000000000\r\n"] {
            assert_eq!(feed(&format!("{chunked}{body}")), Err(400), "{body:?}");
        }
    }

    #[test]
    fn heads_are_bounded() {
        let long = "x".repeat(REQUEST_HEAD_SIZE_MAX);
        assert_eq!(feed(&format!("GET /{long}")), Err(431));
        let many = "A: b\r\n".repeat(HEADER_COUNT_MAX);
        assert_eq!(feed(&format!("GET / HTTP/1.1\r\nHost: a\r\n{many}\r\n")), Err(431));
        let chunked = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert_eq!(feed(&format!("{chunked}5;{}", "x".repeat(CHUNK_LINE_SIZE_MAX))), Err(400));
        assert_eq!(feed(&format!("{chunked}0\r\n{}", "A: b\r\n".repeat(CHUNK_LINE_SIZE_MAX))), Err(400));
    }
}
