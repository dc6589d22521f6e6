//! Many events in few allocations: what a parser fills, what the log stores, what the head takes in.

use std::ops::Range;

use hashbrown::HashTable;

use super::{Event, Number, TimeMs, Value};
use crate::limits::{ENTITY_ID_SIZE_MAX, EVENT_ID_SIZE_MAX, EVENT_NAME_SIZE_MAX, PROPERTY_NAME_SIZE_MAX};

/// A place in the batch's text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Span {
    start: u32,
    size: u32,
}

/// Where a text lies in its batch. Texts at one place are the same; readers of columns let many rows share one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TextPlace(Span);

/// Events in order of arrival.
///
/// Event and property names are kept once per batch and numbered in order of first use; ids and string
/// values lie in one text. Values of properties are never null, lists never nested.
#[derive(Clone, Debug, Default)]
pub struct EventBatch {
    text: String,
    names: Vec<Span>,
    names_by_text: HashTable<u32>,
    rows: Vec<Row>,
    cells: Vec<(u32, Cell)>,
    list_elements: Vec<Cell>,
}

#[derive(Clone, Debug)]
struct Row {
    event: u32,
    user: Span,
    account: Option<Span>,
    id: Option<Span>,
    time: TimeMs,
    cells_start: u32,
    cells_end: u32,
}

#[derive(Clone, Copy, Debug)]
enum Cell {
    Bool(bool),
    /// A number whose mantissa fits: nearly all of them.
    Number {
        mantissa: i64,
        exponent: i16,
    },
    /// Any other number, as text.
    WideNumber(Span),
    Text(Span),
    List {
        start: u32,
        end: u32,
    },
}

/// Why an event cannot be part of a batch. The caller that knows the place adds it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    #[error("{field} is empty")]
    Empty { field: &'static str },
    #[error("{field} has {size} bytes; at most {size_max} are allowed")]
    TooLong { field: &'static str, size: usize, size_max: usize },
    #[error("the batch holds more than 4 GiB")]
    BatchTooLarge,
}

/// How much a batch holds.
#[derive(Clone, Copy, Debug, Default)]
pub struct BatchRoom {
    row_count: usize,
    cell_count: usize,
    text_size: usize,
}

/// A name that a batch holds already, for events that share it.
#[derive(Clone, Copy, Debug)]
pub struct SharedName(u32);

/// An id that a batch holds already.
#[derive(Clone, Copy, Debug)]
pub struct SharedText(Span);

/// A value that a batch holds already.
#[derive(Clone, Copy, Debug)]
pub struct SharedValue(Cell);

/// An event of a batch.
#[derive(Clone, Copy)]
pub struct EventRef<'a> {
    batch: &'a EventBatch,
    row: &'a Row,
}

/// A property of an event of a batch.
#[derive(Clone, Copy)]
pub struct PropertyRef<'a> {
    batch: &'a EventBatch,
    name: u32,
    cell: &'a Cell,
}

/// A value of a batch, borrowed.
#[derive(Clone, Debug)]
pub enum CellRef<'a> {
    Bool(bool),
    Number(Number),
    Text(&'a str),
    List(Vec<CellRef<'a>>),
}

impl EventBatch {
    pub fn new() -> EventBatch {
        EventBatch::default()
    }

    /// An empty batch with room for as much as another holds: batches of one file are alike, and growing step by step
    /// copies them several times.
    pub fn with_room(room: BatchRoom) -> EventBatch {
        EventBatch {
            rows: Vec::with_capacity(room.row_count),
            cells: Vec::with_capacity(room.cell_count),
            text: String::with_capacity(room.text_size),
            ..EventBatch::default()
        }
    }

    /// The room that the batch takes.
    pub fn room(&self) -> BatchRoom {
        BatchRoom { row_count: self.rows.len(), cell_count: self.cells.len(), text_size: self.text.len() }
    }

    pub fn len(&self) -> usize {
        self.rows.len()
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Bytes held, roughly: what an ingest budget counts.
    pub fn size(&self) -> usize {
        self.text.len()
            + self.rows.len() * size_of::<Row>()
            + self.cells.len() * size_of::<(u32, Cell)>()
            + self.list_elements.len() * size_of::<Cell>()
    }

    /// Starts an event. Its properties follow by [`EventBatch::push_property`]; the next `push_event` ends it.
    ///
    /// Nothing is added when an error is returned.
    pub fn push_event(
        &mut self,
        event: &str,
        user: &str,
        time: TimeMs,
        id: Option<&str>,
        account: Option<&str>,
    ) -> Result<(), BatchError> {
        check_size("event", event, EVENT_NAME_SIZE_MAX)?;
        check_size("user", user, ENTITY_ID_SIZE_MAX)?;
        if let Some(account) = account {
            check_size("account", account, ENTITY_ID_SIZE_MAX)?;
        }
        if let Some(id) = id {
            check_size("id", id, EVENT_ID_SIZE_MAX)?;
        }
        if self.text.len() + self.cells.len() + self.list_elements.len() > (u32::MAX / 2) as usize {
            return Err(BatchError::BatchTooLarge);
        }
        let event = self.name_index(event);
        let user = self.push_text(user);
        let account = account.map(|text| self.push_text(text));
        let id = id.map(|text| self.push_text(text));
        let cells = self.cells.len() as u32;
        self.rows.push(Row { event, user, account, id, time, cells_start: cells, cells_end: cells });
        Ok(())
    }

    /// Adds a property to the last event. A name given twice keeps its last value.
    ///
    /// # Panics
    /// If no event was pushed.
    pub fn push_property(&mut self, name: &str, value: &Value) -> Result<(), BatchError> {
        self.push_property_ref(name, &CellRef::from(value))
    }

    /// Adds a property, as [`EventBatch::push_property`] does, without an owned value: for parsers.
    ///
    /// # Panics
    /// If no event was pushed.
    pub fn push_property_ref(&mut self, name: &str, value: &CellRef<'_>) -> Result<(), BatchError> {
        check_size("a property's name", name, PROPERTY_NAME_SIZE_MAX)?;
        let cell = self.cell(value);
        let name = self.name_index(name);
        let row = self.rows.last_mut().expect("push_event comes first");
        let earlier = &mut self.cells[row.cells_start as usize..];
        match earlier.iter_mut().find(|(known, _)| *known == name) {
            Some((_, slot)) => *slot = cell,
            None => {
                self.cells.push((name, cell));
                row.cells_end += 1;
            }
        }
        Ok(())
    }

    /// Keeps a name for [`EventBatch::push_shared`] and [`EventBatch::push_shared_value`]. What is shared belongs to this
    /// batch alone.
    pub fn share_name(&mut self, name: &str) -> SharedName {
        SharedName(self.name_index(name))
    }

    /// Keeps an id for [`EventBatch::push_shared`]. The caller has checked its size.
    pub fn share_text(&mut self, text: &str) -> SharedText {
        SharedText(self.push_text(text))
    }

    /// Keeps a value for [`EventBatch::push_shared_value`].
    pub fn share_value(&mut self, value: &CellRef<'_>) -> SharedValue {
        SharedValue(self.cell(value))
    }

    /// Starts an event as [`EventBatch::push_event`] does, of parts that the batch holds: for readers of columns, in
    /// which many rows share them. The caller has checked the sizes of names and ids.
    pub fn push_shared(
        &mut self,
        event: SharedName,
        user: SharedText,
        time: TimeMs,
        id: Option<SharedText>,
        account: Option<SharedText>,
    ) -> Result<(), BatchError> {
        if self.text.len() + self.cells.len() + self.list_elements.len() > (u32::MAX / 2) as usize {
            return Err(BatchError::BatchTooLarge);
        }
        let cells = self.cells.len() as u32;
        let (id, account) = (id.map(|id| id.0), account.map(|account| account.0));
        self.rows.push(Row {
            event: event.0,
            user: user.0,
            account,
            id,
            time,
            cells_start: cells,
            cells_end: cells,
        });
        Ok(())
    }

    /// Adds a property that the last event does not have yet.
    ///
    /// # Panics
    /// If no event was pushed.
    pub fn push_shared_value(&mut self, name: SharedName, value: SharedValue) {
        let row = self.rows.last_mut().expect("an event comes first");
        debug_assert!(self.cells[row.cells_start as usize..].iter().all(|(known, _)| *known != name.0));
        self.cells.push((name.0, value.0));
        row.cells_end += 1;
    }

    /// Takes the last event back, for a parser that finds it broken half way.
    pub fn pop_event(&mut self) {
        if let Some(row) = self.rows.pop() {
            self.cells.truncate(row.cells_start as usize);
        }
    }

    /// Adds an owned event.
    pub fn push(&mut self, event: &Event) -> Result<(), BatchError> {
        self.push_event(
            &event.event,
            &event.user,
            event.time,
            event.id.as_deref(),
            event.account.as_deref(),
        )?;
        for (name, value) in &event.properties {
            if let Err(error) = self.push_property(name, value) {
                self.pop_event();
                return Err(error);
            }
        }
        Ok(())
    }

    /// Adds an event of another batch.
    pub fn push_from(&mut self, event: EventRef<'_>) {
        self.push_event(event.event(), event.user(), event.time(), event.id(), event.account())
            .expect("it was valid in its own batch");
        for property in event.properties() {
            self.push_property_ref(property.name(), &property.value())
                .expect("it was valid in its own batch");
        }
    }

    pub fn iter(&self) -> impl ExactSizeIterator<Item = EventRef<'_>> {
        self.rows.iter().map(|row| EventRef { batch: self, row })
    }

    /// The event at a place in order of arrival.
    ///
    /// # Panics
    /// If there is no such place.
    pub fn get(&self, index: usize) -> EventRef<'_> {
        EventRef { batch: self, row: &self.rows[index] }
    }

    /// The distinct event and property names, in order of first use: what [`EventRef::event_index`] and
    /// [`PropertyRef::name_index`] count.
    pub fn names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.names.iter().map(|span| self.text(*span))
    }

    fn cell(&mut self, value: &CellRef<'_>) -> Cell {
        match value {
            CellRef::Bool(truth) => Cell::Bool(*truth),
            CellRef::Text(text) => Cell::Text(self.push_text(text)),
            CellRef::Number(number) => match i64::try_from(number.mantissa()) {
                Ok(mantissa) => Cell::Number { mantissa, exponent: number.exponent() as i16 },
                Err(_) => Cell::WideNumber(self.push_text(&number.to_string())),
            },
            CellRef::List(elements) => {
                let cells: Vec<Cell> = elements.iter().map(|element| self.cell(element)).collect();
                let start = self.list_elements.len() as u32;
                self.list_elements.extend(cells);
                Cell::List { start, end: self.list_elements.len() as u32 }
            }
        }
    }

    fn push_text(&mut self, text: &str) -> Span {
        let start = self.text.len() as u32;
        self.text.push_str(text);
        Span { start, size: text.len() as u32 }
    }

    fn text(&self, span: Span) -> &str {
        let range: Range<usize> = span.start as usize..(span.start + span.size) as usize;
        &self.text[range]
    }

    fn name_index(&mut self, name: &str) -> u32 {
        let hash = name_hash(name);
        let known = self.names_by_text.find(hash, |&index| self.text(self.names[index as usize]) == name);
        if let Some(&index) = known {
            return index;
        }
        let index = self.names.len() as u32;
        let span = self.push_text(name);
        self.names.push(span);
        let (names, text) = (&self.names, &self.text);
        self.names_by_text.insert_unique(hash, index, |&other| {
            let span = names[other as usize];
            name_hash(&text[span.start as usize..(span.start + span.size) as usize])
        });
        index
    }

    fn value<'a>(&'a self, cell: &'a Cell) -> CellRef<'a> {
        match *cell {
            Cell::Bool(truth) => CellRef::Bool(truth),
            Cell::Text(span) => CellRef::Text(self.text(span)),
            Cell::Number { mantissa, exponent } => CellRef::Number(Number::canonical(mantissa, exponent)),
            Cell::WideNumber(span) => {
                CellRef::Number(Number::parse(self.text(span)).expect("it was written from a number"))
            }
            Cell::List { start, end } => {
                let elements = &self.list_elements[start as usize..end as usize];
                CellRef::List(elements.iter().map(|element| self.value(element)).collect())
            }
        }
    }
}

fn name_hash(name: &str) -> u64 {
    xxhash_rust::xxh3::xxh3_64(name.as_bytes())
}

fn check_size(field: &'static str, text: &str, size_max: usize) -> Result<(), BatchError> {
    match text.len() {
        0 => Err(BatchError::Empty { field }),
        size if size > size_max => Err(BatchError::TooLong { field, size, size_max }),
        _ => Ok(()),
    }
}

impl<'a> EventRef<'a> {
    /// The event's name, as a place in [`EventBatch::names`].
    pub fn event_index(self) -> usize {
        self.row.event as usize
    }

    pub fn event(self) -> &'a str {
        self.batch.text(self.batch.names[self.row.event as usize])
    }

    pub fn user(self) -> &'a str {
        self.batch.text(self.row.user)
    }

    pub fn user_place(self) -> TextPlace {
        TextPlace(self.row.user)
    }

    pub fn time(self) -> TimeMs {
        self.row.time
    }

    pub fn id(self) -> Option<&'a str> {
        self.row.id.map(|span| self.batch.text(span))
    }

    pub fn account(self) -> Option<&'a str> {
        self.row.account.map(|span| self.batch.text(span))
    }

    pub fn account_place(self) -> Option<TextPlace> {
        self.row.account.map(TextPlace)
    }

    pub fn properties(self) -> impl ExactSizeIterator<Item = PropertyRef<'a>> {
        let cells = &self.batch.cells[self.row.cells_start as usize..self.row.cells_end as usize];
        let batch = self.batch;
        cells.iter().map(move |(name, cell)| PropertyRef { batch, name: *name, cell })
    }

    pub fn to_event(self) -> Event {
        Event {
            event: self.event().to_owned(),
            user: self.user().to_owned(),
            time: self.time(),
            id: self.id().map(str::to_owned),
            account: self.account().map(str::to_owned),
            properties: self.properties().map(|p| (p.name().to_owned(), p.value().to_value())).collect(),
        }
    }
}

impl<'a> PropertyRef<'a> {
    /// The property's name, as a place in [`EventBatch::names`].
    pub fn name_index(self) -> usize {
        self.name as usize
    }

    pub fn name(self) -> &'a str {
        self.batch.text(self.batch.names[self.name as usize])
    }

    pub fn value(self) -> CellRef<'a> {
        self.batch.value(self.cell)
    }

    /// Where the value lies, if it is a text.
    pub fn text_place(self) -> Option<TextPlace> {
        if let Cell::Text(span) = self.cell { Some(TextPlace(*span)) } else { None }
    }
}

/// Numbers of texts that were looked up, by where they lie: of so many that were looked up last.
#[derive(Clone, Debug)]
pub struct TextMemo {
    slots: Vec<(u32, TextPlace, u32)>,
    slot_bits: u32,
}

impl TextMemo {
    /// A memory of `2 ^ slot_bits` texts, which takes its room with the first.
    pub fn new(slot_bits: u32) -> TextMemo {
        TextMemo { slots: Vec::new(), slot_bits }
    }

    /// The number of a text of a batch, if it is known still.
    pub fn get(&self, batch: u32, place: TextPlace) -> Option<u32> {
        let (of, at, number) = self.slots.get(self.slot(place))?;
        // An empty slot has the place of an empty text: that is never known.
        (*of == batch && *at == place && place != TextPlace::default()).then_some(*number)
    }

    pub fn put(&mut self, batch: u32, place: TextPlace, number: u32) {
        self.slots.resize(1 << self.slot_bits, Default::default());
        let slot = self.slot(place);
        self.slots[slot] = (batch, place, number);
    }

    /// Fibonacci hashing (Knuth, TAOCP 3, 6.4): texts begin at any distance from one another.
    fn slot(&self, place: TextPlace) -> usize {
        (place.0.start.wrapping_mul(0x9E37_79B9) >> (u32::BITS - self.slot_bits)) as usize
    }
}

impl CellRef<'_> {
    pub fn to_value(&self) -> Value {
        match self {
            CellRef::Bool(truth) => Value::Bool(*truth),
            CellRef::Number(number) => Value::Number(*number),
            CellRef::Text(text) => Value::String((*text).to_owned()),
            CellRef::List(elements) => Value::List(elements.iter().map(CellRef::to_value).collect()),
        }
    }
}

impl<'a> From<&'a Value> for CellRef<'a> {
    fn from(value: &'a Value) -> CellRef<'a> {
        match value {
            Value::Bool(truth) => CellRef::Bool(*truth),
            Value::Number(number) => CellRef::Number(*number),
            Value::String(text) => CellRef::Text(text),
            Value::List(elements) => CellRef::List(elements.iter().map(CellRef::from).collect()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn purchase() -> Event {
        Event {
            event: "purchase".into(),
            user: "ada".into(),
            time: 1_700_000_000_000,
            id: Some("e1".into()),
            account: None,
            properties: vec![
                ("amount".into(), Value::Number(Number::parse("12.50").unwrap())),
                ("huge".into(), Value::Number(Number::parse("18446744073709551616").unwrap())),
                ("tags".into(), Value::List(vec!["a".into(), 3.into(), true.into()])),
            ],
        }
    }

    #[test]
    fn an_event_comes_out_as_it_went_in() {
        let mut batch = EventBatch::new();
        batch.push(&purchase()).unwrap();
        batch.push(&purchase()).unwrap();
        assert!(batch.iter().all(|event| event.to_event() == purchase()));
        assert_eq!(batch.names().collect::<Vec<_>>(), ["purchase", "amount", "huge", "tags"]);
    }

    #[test]
    fn the_last_value_of_a_repeated_name_holds() {
        let mut batch = EventBatch::new();
        batch.push_event("e", "u", 0, None, None).unwrap();
        batch.push_property("p", &1.into()).unwrap();
        batch.push_property("p", &2.into()).unwrap();
        assert_eq!(batch.iter().next().unwrap().to_event().properties, [("p".to_owned(), 2.into())]);
    }

    #[test]
    fn a_broken_event_leaves_nothing_behind() {
        let mut batch = EventBatch::new();
        let mut event = purchase();
        event.properties.push((String::new(), 1.into()));
        assert_eq!(batch.push(&event), Err(BatchError::Empty { field: "a property's name" }));
        assert!(batch.is_empty());
        assert!(batch.push_event("e", "", 0, None, None).is_err());
        assert!(batch.push_event(&"e".repeat(201), "u", 0, None, None).is_err());
    }
}
