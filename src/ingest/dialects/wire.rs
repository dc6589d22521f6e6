//! Frees a body of what it is wrapped in, by what it looks like and not by what its headers say.
//!
//! Browsers send gzip as `text/plain` without a word about it, older SDKs base64 in a form, and some of them base64
//! whose `+` a form decoder turns into blanks.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use crate::api::Problem;
use crate::ingest::decode::{decode_body, decode_zlib};
use crate::limits::FORM_FIELD_COUNT_MAX;

/// A form in a compressed body, base64 in the form, compressed bytes in that: as deep as any SDK goes, and one more.
const WRAPPING_DEPTH_MAX: usize = 5;

/// A body without its wrapping.
#[derive(Debug, Default)]
pub(super) struct Unwrapped<'a> {
    /// What is left, to be parsed; nothing of an empty body.
    pub payload: Cow<'a, [u8]>,
    /// The other fields of the forms around it.
    pub fields: Vec<(String, String)>,
}

/// Who is told how many bytes a body, and what is made of it, becomes before it does, and may refuse.
pub type Grow<'a> = &'a mut dyn FnMut(usize) -> Result<(), Problem>;

/// Undoes compression, forms and base64 until JSON is left, of at most `size_max` bytes. In forms it is a field of one of
/// the names `data`.
pub(super) fn unwrap<'b>(
    body: &'b [u8],
    data: &[&str],
    size_max: usize,
    grow: Grow<'_>,
) -> Result<Unwrapped<'b>, Problem> {
    let mut fields = Vec::new();
    let mut payload = Cow::Borrowed(body);
    for _ in 0..WRAPPING_DEPTH_MAX {
        // What it is unwrapped from stays as long as what comes out is being made.
        let wrapped_size = if let Cow::Owned(bytes) = &payload { bytes.len() } else { 0 };
        let mut grow = |size: usize| grow(wrapped_size + size);
        let grow: Grow<'_> = &mut grow;
        let start = payload.trim_ascii_start();
        let is_json =
            matches!(start.first(), None | Some(b'{' | b'[' | b'"')) || start.starts_with(b"\xEF\xBB\xBF");
        payload = if is_json {
            return Ok(Unwrapped { payload, fields });
        } else if payload.starts_with(&[0x1f, 0x8b]) {
            Cow::Owned(decode_body(Some("gzip"), &payload, size_max, grow)?.into_owned())
        } else if payload.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
            Cow::Owned(decode_body(Some("zstd"), &payload, size_max, grow)?.into_owned())
        } else if is_zlib(&payload) {
            Cow::Owned(decode_zlib(&payload, size_max, grow)?)
        } else if let Some(text) = std::str::from_utf8(&payload).ok().filter(|text| is_form(text, data)) {
            if memchr::memchr_iter(b'&', text.as_bytes()).count() >= FORM_FIELD_COUNT_MAX {
                let detail = format!("the form has more than {FORM_FIELD_COUNT_MAX} fields");
                return Err(Problem::invalid(detail));
            }
            grow(text.len())?;
            let mut content = String::new();
            for (name, value) in parse_form(text) {
                if data.contains(&name.as_str()) { content = value } else { fields.push((name, value)) }
            }
            Cow::Owned(content.into_bytes())
        } else {
            grow(payload.len())?;
            Cow::Owned(decode_base64(&payload).ok_or_else(not_understood)?)
        };
    }
    Err(not_understood())
}

fn not_understood() -> Problem {
    Problem::invalid("the body is no JSON, nor JSON in a form, in base64 or compressed")
        .hint("gzip, zlib and zstd are known by their first bytes")
}

/// The two bytes that zlib begins with are a multiple of 31 (RFC 1950).
fn is_zlib(bytes: &[u8]) -> bool {
    matches!(bytes, [0x78, flags, ..] if (0x7800 + u16::from(*flags)) % 31 == 0)
}

fn is_form(text: &str, data: &[&str]) -> bool {
    text.split('&').any(|pair| pair.split_once('=').is_some_and(|(name, _)| data.contains(&name)))
}

/// Splits `a=1&b=2`, in order. What is no escape, or no UTF-8 once it is undone, stays or becomes U+FFFD.
pub(super) fn parse_form(text: &str) -> Vec<(String, String)> {
    let pairs = text.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (percent_decode(name, true), percent_decode(value, true))
        })
        .collect()
}

/// Undoes escapes; in forms a `+` is a blank.
pub(super) fn percent_decode(text: &str, plus_is_blank: bool) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        let digits = after.get(..2).filter(|digits| digits.iter().all(u8::is_ascii_hexdigit));
        match digits.and_then(|digits| std::str::from_utf8(digits).ok()) {
            Some(digits) if byte == b'%' => {
                bytes.push(u8::from_str_radix(digits, 16).expect("two hexadecimal digits"));
                rest = &after[2..];
            }
            _ if byte == b'+' && plus_is_blank => bytes.push(b' '),
            _ => bytes.push(byte),
        }
    }
    String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

/// Decodes base64 in either alphabet, padded or not, with blanks where a form decoder put them for `+`.
pub(super) fn decode_base64(text: &[u8]) -> Option<Vec<u8>> {
    const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true);
    const ENGINE: GeneralPurpose = GeneralPurpose::new(&base64::alphabet::STANDARD, LENIENT);
    let normal = |byte: &u8| match byte {
        b'-' | b' ' => b'+',
        b'_' => b'/',
        other => *other,
    };
    let text: Vec<u8> = text.trim_ascii().iter().map(normal).collect();
    ENGINE.decode(text).ok().filter(|bytes| !bytes.is_empty())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use base64::prelude::*;
    use proptest::prelude::*;

    use super::*;

    fn unwrap(body: &[u8]) -> Result<Unwrapped<'_>, Problem> {
        super::unwrap(body, &["data"], 1 << 20, &mut |_| Ok(()))
    }

    fn unwrapped(body: &[u8]) -> String {
        String::from_utf8(unwrap(body).unwrap().payload.into_owned()).unwrap()
    }

    #[test]
    fn what_grows_past_its_bounds_is_refused() {
        let bomb = zstd::encode_all(&vec![b' '; (1 << 20) + 1][..], 3).unwrap();
        assert_eq!(unwrap(&bomb).unwrap_err().status(), 413);
        let no_room = |_| Err(Problem::new(crate::api::ProblemClass::Busy, "full"));
        assert_eq!(super::unwrap(&bomb, &["data"], 1 << 30, &mut { no_room }).unwrap_err().status(), 429);
    }

    const EVENT: &str = r#"{"event":"a?>~ü"}"#;

    #[test]
    fn every_wrapping_of_an_event_is_the_event() {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(EVENT.as_bytes()).unwrap();
        let gzip = gzip.finish().unwrap();
        let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
        zlib.write_all(EVENT.as_bytes()).unwrap();
        let zlib = zlib.finish().unwrap();
        let zstd = zstd::encode_all(EVENT.as_bytes(), 3).unwrap();
        let base64 = BASE64_STANDARD.encode(EVENT);
        let escaped = base64.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D");
        let bodies: [&[u8]; 9] = [
            EVENT.as_bytes(),
            &gzip,
            &zlib,
            &zstd,
            base64.as_bytes(),
            &BASE64_URL_SAFE_NO_PAD.encode(EVENT).into_bytes(),
            &format!("data={base64}").into_bytes(),
            &format!("ip=1&data={escaped}&verbose=1").into_bytes(),
            &format!("data={}", BASE64_STANDARD.encode(&gzip)).into_bytes(),
        ];
        for body in bodies {
            assert_eq!(unwrapped(body), EVENT, "{}", String::from_utf8_lossy(body));
        }
        let form = b"data=%7B%22a%22%3A+1%7D&verbose=1&ip=0";
        assert_eq!(unwrapped(form), r#"{"a": 1}"#);
        assert_eq!(unwrap(form).unwrap().fields, [("verbose".into(), "1".into()), ("ip".into(), "0".into())]);
    }

    #[test]
    fn an_empty_body_is_nothing_and_noise_is_a_problem() {
        assert_eq!(unwrapped(b""), "");
        assert!(unwrap(b"hello, world!").is_err());
        let wrapped =
            (0..9).fold(EVENT.to_owned(), |text, _| format!("data={}", BASE64_STANDARD.encode(text)));
        assert!(unwrap(wrapped.as_bytes()).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_crash_it(body in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = unwrap(&body);
        }
    }
}
