//! Sends an export while the store is open: its rows as they are written, a piece after the other.
//!
//! An export is one snapshot, and takes as long as its asker takes it off our hands; it has a thread of its own, which steps
//! back for everybody else, and there are few. It ends when its asker goes. What goes wrong half way breaks the answer off, so
//! that nobody takes a part for the whole.

use std::io::{self, Write};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::Frame;
use tokio::sync::mpsc;

use super::handlers::{Call, time_parameter};
use super::respond::{self, Reply};
use crate::api::{Json, Problem};
use crate::export::{Destination, EventChoice, ExportFormat, PARTS, Part, export};

/// Bytes that are sent at once.
const PIECE_SIZE: usize = 256 << 10;
/// Pieces that wait for the asker.
const PIECE_COUNT: usize = 4;

/// The words for the formats of an export.
pub(super) const FORMATS: [(&str, ExportFormat); 3] =
    [("parquet", ExportFormat::Parquet), ("ndjson", ExportFormat::Ndjson), ("csv", ExportFormat::Csv)];

impl Call<'_> {
    /// Answers as soon as the export has begun.
    pub fn export(&self) -> Result<Reply, Problem> {
        let part = self.parameters.word("part", &PARTS)?.unwrap_or(Part::Events);
        let format = self.parameters.word("format", &FORMATS)?.unwrap_or(ExportFormat::Ndjson);
        let moment = |name| self.parameters.get(name).map(|text| time_parameter(name, text)).transpose();
        let events = self.parameters.get("events").map(event_names).transpose()?;
        let choice =
            EventChoice { events: events.unwrap_or_default(), from: moment("from")?, to: moment("to")? };
        let is_chosen = !choice.events.is_empty() || choice.from.is_some() || choice.to.is_some();
        if is_chosen && part != Part::Events {
            return Err(Problem::invalid("only events are chosen by name and time")
                .hint("leave out \"events\", \"from\" and \"to\", or ask for part=events"));
        }
        let (sender, pieces) = mpsc::channel(PIECE_COUNT);
        self.app.bridge.aside(move |store| {
            let writer = PieceWriter { piece: Vec::new(), pieces: sender.clone() };
            if let Err(problem) = export(store, part, &choice, format, Box::new(writer)) {
                // Nobody listens any more when the asker went.
                let is_heard = sender.blocking_send(Err(io::Error::other(problem.to_string()))).is_ok();
                if is_heard {
                    tracing::error!(%problem, "an export broke off");
                }
            }
            // The answer ends when nothing can send any more.
            sender
        })?;
        Ok(respond::pieces(format.content_type(), Pieces { from: pieces, is_whole: false }))
    }
}

fn event_names(text: &str) -> Result<Vec<String>, Problem> {
    let wrong = || {
        let problem = Problem::invalid("the query parameter \"events\" is no list of names");
        problem.hint("write it as JSON: events=[\"signup\"]")
    };
    let Json::Array(names) = Json::parse(text.as_bytes()).map_err(|_| wrong())? else { return Err(wrong()) };
    let name = |name| if let Json::String(name) = name { Ok(name) } else { Err(wrong()) };
    names.into_iter().map(name).collect()
}

/// The body of an answer that is still being made: pieces, and an empty one when it is whole.
#[derive(Debug)]
pub(super) struct Pieces {
    from: mpsc::Receiver<io::Result<Bytes>>,
    is_whole: bool,
}

impl Pieces {
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        loop {
            return match ready!(self.from.poll_recv(cx)) {
                Some(Ok(piece)) if piece.is_empty() => {
                    self.is_whole = true;
                    continue;
                }
                None if !self.is_whole => Poll::Ready(Some(Err(io::ErrorKind::UnexpectedEof.into()))),
                piece => Poll::Ready(piece.map(|piece| piece.map(Frame::data))),
            };
        }
    }
}

/// Gathers what an export writes into pieces. Waits where the asker is slow.
struct PieceWriter {
    piece: Vec<u8>,
    pieces: mpsc::Sender<io::Result<Bytes>>,
}

impl PieceWriter {
    fn send(&mut self) -> io::Result<()> {
        let piece = Bytes::from(std::mem::take(&mut self.piece));
        self.pieces.blocking_send(Ok(piece)).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

impl Write for PieceWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.piece.extend_from_slice(bytes);
        if self.piece.len() >= PIECE_SIZE {
            self.send()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Destination for PieceWriter {
    fn finish(mut self: Box<Self>) -> io::Result<()> {
        if !self.piece.is_empty() {
            self.send()?;
        }
        self.send()
    }
}
