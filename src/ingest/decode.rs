//! Undoes the `Content-Encoding` of a body, within bounds.

use std::borrow::Cow;
use std::io::{self, Read};

use flate2::bufread::GzDecoder;

use crate::api::{Problem, ProblemClass};
use crate::limits::{GZIP_MEMBER_COUNT_MAX, ZSTD_WINDOW_LOG_MAX};

/// Returns the body as it was before it was compressed.
///
/// Knows `identity`, `gzip` and `zstd`. Fails if the encoding is another, if the bytes are broken or end early,
/// and as soon as more than `size_max` bytes come out. `grow` is told how many bytes there will be before they are
/// there, and may refuse.
pub fn decode_body<'a>(
    encoding: Option<&str>,
    body: &'a [u8],
    size_max: usize,
    grow: &mut dyn FnMut(usize) -> Result<(), Problem>,
) -> Result<Cow<'a, [u8]>, Problem> {
    let encoding = encoding.unwrap_or_default().trim();
    match encoding.to_ascii_lowercase().as_str() {
        "" | "identity" if body.len() > size_max => Err(too_large(size_max)),
        "" | "identity" => Ok(Cow::Borrowed(body)),
        "gzip" | "x-gzip" => read_bounded("gzip", Members::new(body), size_max, grow).map(Cow::Owned),
        "zstd" => {
            let decoder = zstd::Decoder::with_buffer(body).and_then(|mut decoder| {
                decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
                Ok(decoder)
            });
            let decoder = decoder.map_err(|e| Problem::new(ProblemClass::Io, format!("zstd: {e}")))?;
            read_bounded("zstd", decoder, size_max, grow).map(Cow::Owned)
        }
        _ => {
            let shown: String = encoding.chars().take(64).collect();
            let detail = format!("the content encoding {shown:?} is not known");
            Err(Problem::new(ProblemClass::UnsupportedMediaType, detail)
                .hint("send gzip or zstd, one of them, or no encoding"))
        }
    }
}

/// Undoes zlib's compression, which HTTP calls `deflate` and only SDKs send; bounds as for [`decode_body`].
pub(super) fn decode_zlib(
    body: &[u8],
    size_max: usize,
    grow: &mut dyn FnMut(usize) -> Result<(), Problem>,
) -> Result<Vec<u8>, Problem> {
    read_bounded("zlib", flate2::read::ZlibDecoder::new(body), size_max, grow)
}

/// Reads the members of a gzip body one after the other, as one.
///
/// Each costs a decoder made anew, and twenty bytes suffice for an empty one: a body of nothing but those would keep a
/// thread busy for a quarter of a minute.
struct Members<'a> {
    decoder: GzDecoder<&'a [u8]>,
    count: usize,
}

impl<'a> Members<'a> {
    fn new(body: &'a [u8]) -> Members<'a> {
        Members { decoder: GzDecoder::new(body), count: 1 }
    }
}

impl Read for Members<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let count = self.decoder.read(buffer)?;
            let rest: &[u8] = self.decoder.get_ref();
            if count > 0 || buffer.is_empty() || rest.is_empty() {
                return Ok(count);
            }
            self.count += 1;
            if self.count > GZIP_MEMBER_COUNT_MAX {
                return Err(io::Error::other(format!("it has more than {GZIP_MEMBER_COUNT_MAX} members")));
            }
            self.decoder = GzDecoder::new(rest);
        }
    }
}

/// Bytes that are decoded at a time.
const PIECE_SIZE: usize = 256 << 10;

fn read_bounded(
    encoding: &str,
    mut decoder: impl Read,
    size_max: usize,
    grow: &mut dyn FnMut(usize) -> Result<(), Problem>,
) -> Result<Vec<u8>, Problem> {
    let mut decoded = Vec::new();
    loop {
        grow(decoded.len() + PIECE_SIZE)?;
        let piece = decoder.by_ref().take(PIECE_SIZE as u64).read_to_end(&mut decoded);
        let piece = piece.map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => Problem::invalid(format!(
                "the {encoding} body is cut short: it ends inside the compressed data, after {} decoded bytes",
                decoded.len()
            )),
            _ => Problem::invalid(format!("the body is not valid {encoding}: {error}")),
        })?;
        if decoded.len() > size_max {
            return Err(too_large(size_max));
        }
        if piece < PIECE_SIZE {
            return Ok(decoded);
        }
    }
}

fn too_large(size_max: usize) -> Problem {
    let detail = format!("the body has more than {size_max} bytes when decoded");
    Problem::new(ProblemClass::TooLarge, detail).hint("send it in several requests")
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::limits::BODY_DECODED_SIZE_MAX;

    fn decode_body<'a>(encoding: Option<&str>, body: &'a [u8]) -> Result<Cow<'a, [u8]>, Problem> {
        super::decode_body(encoding, body, BODY_DECODED_SIZE_MAX, &mut |_| Ok(()))
    }

    #[test]
    fn memory_is_asked_for_before_it_is_used() {
        let body = zstd::encode_all(io::repeat(0).take(10 << 20), 1).unwrap();
        let mut asked = 0;
        let mut grow = |size| {
            asked = size;
            match size <= 1 << 20 {
                true => Ok(()),
                false => Err(Problem::new(ProblemClass::Busy, "full")),
            }
        };
        let problem = super::decode_body(Some("zstd"), &body, 64 << 20, &mut grow).unwrap_err();
        assert_eq!((problem.class, asked), (ProblemClass::Busy, (1 << 20) + PIECE_SIZE));
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn each_known_encoding_comes_out_as_it_went_in() {
        let body = b"[{\"event\": \"signup\"}]".repeat(100);
        assert!(matches!(decode_body(None, &body), Ok(Cow::Borrowed(_))));
        assert_eq!(*decode_body(Some("identity"), &body).unwrap(), body);
        assert_eq!(*decode_body(Some("GZIP"), &gzip(&body)).unwrap(), body);
        assert_eq!(*decode_body(Some("zstd"), &zstd::encode_all(&body[..], 3).unwrap()).unwrap(), body);
    }

    #[test]
    fn a_body_in_several_gzip_members_is_one_body() {
        let members = [gzip(b"one "), gzip(b"two")].concat();
        assert_eq!(*decode_body(Some("gzip"), &members).unwrap(), *b"one two");
        let with_empty_ones = [gzip(b"one "), gzip(b""), gzip(b""), gzip(b"two")].concat();
        assert_eq!(*decode_body(Some("gzip"), &with_empty_ones).unwrap(), *b"one two");
        let problem = decode_body(Some("gzip"), &gzip(b"").repeat(GZIP_MEMBER_COUNT_MAX + 1)).unwrap_err();
        assert!(problem.detail.contains("members"), "{}", problem.detail);
        let garbage = [gzip(b"one "), b"two".to_vec()].concat();
        assert_eq!(decode_body(Some("gzip"), &garbage).unwrap_err().class, ProblemClass::Invalid);
    }

    #[test]
    fn other_and_stacked_encodings_are_refused() {
        for encoding in ["br", "gzip, zstd", "gzip, gzip", "deflate", "nonsense"] {
            let problem = decode_body(Some(encoding), b"x").unwrap_err();
            assert_eq!(problem.class, ProblemClass::UnsupportedMediaType, "{encoding}");
        }
    }

    #[test]
    fn a_body_cut_short_says_so() {
        let body = b"some text that is long enough to be worth cutting ".repeat(50);
        let whole = gzip(&body);
        for end in [1, 9, 12, whole.len() / 2, whole.len() - 1] {
            let problem = decode_body(Some("gzip"), &whole[..end]).unwrap_err();
            assert_eq!(problem.class, ProblemClass::Invalid);
            assert!(problem.detail.contains("cut short"), "{end}: {}", problem.detail);
        }
        let whole = zstd::encode_all(&body[..], 3).unwrap();
        let problem = decode_body(Some("zstd"), &whole[..whole.len() - 3]).unwrap_err();
        assert!(problem.detail.contains("cut short"), "{}", problem.detail);
    }

    #[test]
    fn bytes_that_are_not_what_they_say_are_an_error() {
        assert!(decode_body(Some("gzip"), b"plain text").unwrap_err().detail.contains("not valid gzip"));
        assert!(decode_body(Some("zstd"), b"plain text").unwrap_err().detail.contains("not valid zstd"));
    }

    #[test]
    fn a_bomb_is_refused_when_it_has_grown_too_large() {
        let zeros = zstd::encode_all(io::repeat(0).take(BODY_DECODED_SIZE_MAX as u64 + 1), 1).unwrap();
        assert_eq!(decode_body(Some("zstd"), &zeros).unwrap_err().class, ProblemClass::TooLarge);
    }
}
