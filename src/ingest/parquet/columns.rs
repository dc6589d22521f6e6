//! The columns of some rows, taken together as events.

use arrow_array::{Array, ArrayRef, RecordBatch, StructArray};
use arrow_buffer::NullBuffer;
use arrow_schema::{DataType, Fields};

use super::cells::{Cells, Heads, Times};
use crate::ingest::fault::Fault;
use crate::ingest::mapping::HeadField;
use crate::ingest::rows::{Filling, RowIds};
use crate::ingest::table::{Cell, Plan, push_object, typed};
use crate::limits::{ENTITY_ID_SIZE_MAX, EVENT_ID_SIZE_MAX, EVENT_NAME_SIZE_MAX, PROPERTY_COUNT_MAX};
use crate::model::{BatchError, EventBatch, SharedName, SharedText, TimeMs};

/// What stands before the fields of a structure named `properties`, which keep their names without it.
const PROPERTIES_PREFIX: &str = "properties.";

/// A column that holds values, by its dotted name and its way through structures.
#[derive(Debug)]
pub(super) struct Leaf {
    pub name: String,
    pub path: Vec<usize>,
}

/// The leaf columns of a schema. Lists and maps are leaves.
pub(super) fn leaves(fields: &Fields) -> Vec<Leaf> {
    fn walk(fields: &Fields, prefix: &str, path: &mut Vec<usize>, found: &mut Vec<Leaf>) {
        for (index, field) in fields.iter().enumerate() {
            let name = format!("{prefix}{}", field.name());
            path.push(index);
            match field.data_type() {
                DataType::Struct(inner) => walk(inner, &format!("{name}."), path, found),
                _ => found.push(Leaf { name, path: path.clone() }),
            }
            path.pop();
        }
    }
    let mut found = Vec::new();
    walk(fields, "", &mut Vec::new(), &mut found);
    found
}

/// The array of a leaf, with a null wherever a structure around it is null. Found by names, because a projection
/// leaves columns out.
pub(super) fn leaf_array(batch: &RecordBatch, name: &str) -> Option<ArrayRef> {
    fn find(fields: &Fields, columns: &[ArrayRef], name: &str) -> Option<(ArrayRef, Option<NullBuffer>)> {
        for (field, column) in fields.iter().zip(columns) {
            if let Some(inner) = column.as_any().downcast_ref::<StructArray>() {
                let Some(rest) =
                    name.strip_prefix(field.name().as_str()).and_then(|rest| rest.strip_prefix('.'))
                else {
                    continue;
                };
                if let Some((found, nulls)) = find(inner.fields(), inner.columns(), rest) {
                    return Some((found, NullBuffer::union(nulls.as_ref(), inner.nulls())));
                }
            } else if field.name() == name {
                return Some((column.clone(), None));
            }
        }
        None
    }
    let (found, around) = find(batch.schema_ref().fields(), batch.columns(), name)?;
    if around.is_none() {
        return Some(found);
    }
    let nulls = NullBuffer::union(around.as_ref(), found.nulls());
    let data = found.into_data().into_builder().nulls(nulls);
    Some(arrow_array::make_array(data.build().expect("only nulls were added")))
}

/// Decoded rows, with each column ready to be read.
pub(super) struct Columns<'a> {
    plan: &'a Plan,
    row_count: usize,
    heads: [Head<'a>; HeadField::ALL.len()],
    properties: Vec<Property<'a>>,
}

/// Where a field of the events comes from.
enum Head<'a> {
    Missing,
    Constant(&'a str),
    Column(ArrayRef),
}

struct Property<'a> {
    name: &'a str,
    source: Head<'a>,
    is_text: bool,
    may_be_object: bool,
}

/// What a batch shares between the rows that are taken into it.
struct Shared<'a> {
    events: Heads<'a, SharedName>,
    users: Heads<'a, SharedText>,
    ids: Heads<'a, SharedText>,
    accounts: Heads<'a, SharedText>,
    times: Times<'a>,
    properties: Vec<(SharedName, Cells<'a>)>,
    /// Columns whose texts are objects of properties.
    objects: Vec<Cells<'a>>,
}

impl<'a> Columns<'a> {
    pub fn new(plan: &'a Plan, batch: &RecordBatch) -> Columns<'a> {
        let source = |cell: Option<&'a Cell>| match cell {
            None => Head::Missing,
            Some(Cell::Constant(text)) => Head::Constant(text),
            Some(Cell::Column(index)) => Head::Column(
                leaf_array(batch, &plan.columns[*index]).expect("the projection has what the plan reads"),
            ),
        };
        let heads = HeadField::ALL.map(|field| source(plan.heads[field as usize].as_ref()));
        let properties = plan.properties.iter().map(|property| Property {
            name: property
                .name
                .strip_prefix(PROPERTIES_PREFIX)
                .filter(|n| !n.is_empty())
                .unwrap_or(&property.name),
            source: source(Some(&property.cell)),
            is_text: property.is_text,
            may_be_object: property.may_be_object,
        });
        Columns { plan, row_count: batch.num_rows(), heads, properties: properties.collect() }
    }

    /// Takes rows from `start` on until the chunk is full, and returns the first that was not taken. The row at `start`
    /// is the line `first_line`.
    pub fn take(
        &self,
        start: usize,
        first_line: u64,
        filling: &mut Filling,
        row_ids: &mut Option<RowIds>,
    ) -> usize {
        let mut shared = self.share(&mut filling.chunk.batch);
        let mut row = start;
        while row < self.row_count && !filling.is_full() {
            let line = first_line + (row - start) as u64;
            let id = row_ids.as_mut().map(|ids| ids.id(line));
            if let Err(fault) = self.push(row, id, &mut shared, &mut filling.chunk.batch) {
                filling.reject(line, &fault, self.shown(row).as_bytes());
            }
            row += 1;
        }
        row
    }

    fn share<'s>(&'s self, batch: &mut EventBatch) -> Shared<'s> {
        let head = |field: HeadField| &self.heads[field as usize];
        fn texts<'s, T>(source: &'s Head<'_>, field: &'static str, size_max: usize) -> Heads<'s, T> {
            match source {
                Head::Missing => Heads::missing(field, size_max),
                Head::Constant(text) => Heads::constant(text, field, size_max),
                Head::Column(array) => Heads::of(array, field, size_max),
            }
        }
        let times = match head(HeadField::Time) {
            Head::Missing => Times::constant("", &self.plan.times),
            Head::Constant(text) => Times::constant(text, &self.plan.times),
            Head::Column(array) => Times::of(array, &self.plan.times),
        };
        let (mut properties, mut objects) = (Vec::new(), Vec::new());
        for (index, property) in self.properties.iter().enumerate() {
            // A field of a structure `properties` and a column may have one name: the first one holds.
            if self.properties[..index].iter().any(|earlier| earlier.name == property.name) {
                continue;
            }
            let cells = match &property.source {
                Head::Missing => continue,
                Head::Constant(text) => Cells::constant(typed(text, property.is_text)),
                Head::Column(array) => Cells::of(array, property.is_text),
            };
            match property.may_be_object {
                true => objects.push(cells),
                false => properties.push((batch.share_name(property.name), cells)),
            }
        }
        Shared {
            events: texts(head(HeadField::Event), "event", EVENT_NAME_SIZE_MAX),
            users: texts(head(HeadField::User), "user", ENTITY_ID_SIZE_MAX),
            ids: texts(head(HeadField::Id), "id", EVENT_ID_SIZE_MAX),
            accounts: texts(head(HeadField::Account), "account", ENTITY_ID_SIZE_MAX),
            times,
            properties,
            objects,
        }
    }

    /// Adds a row to `batch` as an event, or changes nothing in it. `id` is for rows that have none.
    fn push(
        &self,
        row: usize,
        id: Option<&str>,
        shared: &mut Shared<'_>,
        batch: &mut EventBatch,
    ) -> Result<(), Fault> {
        let name = |batch: &mut EventBatch, text: &str| batch.share_name(text);
        let text = |batch: &mut EventBatch, text: &str| batch.share_text(text);
        let missing = |field: &str| Fault::new(format!("{field} is empty")).at(field);
        let event = shared.events.get(row, batch, name)?.ok_or_else(|| missing("event"))?;
        let user = shared.users.get(row, batch, text)?.ok_or_else(|| missing("user"))?;
        let time: TimeMs = shared.times.get(row).map_err(|fault| fault.at("time"))?;
        let own_id = shared.ids.get(row, batch, text)?;
        let id = own_id.or_else(|| id.map(|id| batch.share_text(id)));
        let account = shared.accounts.get(row, batch, text)?;
        let too_large = |error: BatchError| Fault::new(error.to_string());
        batch.push_shared(event, user, time, id, account).map_err(too_large)?;
        let mut pushed = Ok(());
        for (name, cells) in &mut shared.properties {
            match cells.get(row, batch) {
                Ok(Some(value)) => batch.push_shared_value(*name, value),
                Ok(None) => {}
                Err(fault) => pushed = pushed.and(Err(fault.under("properties"))),
            }
        }
        // Last, because their names may be those of columns.
        for cells in &mut shared.objects {
            let object = cells.text(row);
            pushed = match object.as_deref() {
                Some(text) if text.starts_with('{') => pushed.and(push_object(text, batch)),
                Some(text) => pushed.and_then(|()| {
                    let Some(value) = typed(text, false) else { return Ok(()) };
                    batch.push_property_ref("properties", &value).map_err(too_large)
                }),
                None => pushed,
            };
        }
        if pushed.is_err() {
            batch.pop_event();
        }
        debug_assert!(self.properties.len() <= PROPERTY_COUNT_MAX);
        pushed
    }

    /// The fields of a row that are texts, as JSON, for those who look for it in the file.
    fn shown(&self, row: usize) -> String {
        let mut fields = Vec::new();
        for (field, head) in HeadField::ALL.iter().zip(&self.heads) {
            if let Head::Column(array) = head {
                let cells = Cells::of(array, true);
                let text = cells.text(row).map_or("null".to_owned(), |text| {
                    serde_json::to_string(&*text).expect("a string is JSON")
                });
                fields.push(format!("\"{}\":{text}", field.name()));
            }
        }
        format!("{{{}}}", fields.join(","))
    }
}
