//! The users behind a cell of a segmentation.

use super::cell_name::SlotName;
use super::segmentation::{Folding, Segmentation, Series};
use super::split::slots_of;
use super::{Task, TaskSet, key_user};
use crate::api::{Fields, Measure, Problem, ProblemClass};

/// A cell of the table, named by its row.
#[derive(Clone, Debug)]
pub struct SegmentationCell {
    /// Index of the series.
    series: usize,
    /// Index of the stretch: 1 for the range that the asked one is compared with.
    stretch: usize,
    bucket: usize,
    /// By property of the breakdown.
    names: Vec<SlotName>,
}

impl Segmentation {
    /// Reads which cell is meant: `time`, unless there is one bucket; `series`, unless there is one; with a breakdown
    /// its values; with `compare`, 0 unless said which range.
    ///
    /// # Errors
    /// If there is no such cell, or it is no number of users.
    pub fn cell(&self, fields: &mut Fields<'_>) -> Result<SegmentationCell, Problem> {
        if self.formula.is_some() {
            let problem = fields.node().problem("a cell of a formula is no set of users");
            return Err(problem.hint("ask for a cell of one of its series, without the formula"));
        }
        let calendar = &self.stretches[0].calendar;
        let bucket = match fields.optional("time") {
            Some(node) => {
                let time = node.string()?;
                let found = (0..calendar.bucket_count()).find(|bucket| calendar.label(*bucket) == time);
                found.ok_or_else(|| {
                    node.problem(format!("no bucket of the query starts at {time:?}"))
                        .hint("give the time as the table tells it")
                })?
            }
            None if calendar.bucket_count() == 1 => 0,
            None => return fields.required("time").map(|_| unreachable!("it is missing")),
        };
        let series = match fields.optional("series") {
            Some(node) => {
                let name = node.string()?;
                let found = self.series.iter().position(|series| series.name == name);
                found.ok_or_else(|| node.problem(format!("the query has no series {name:?}")))?
            }
            None if self.series.len() == 1 => 0,
            None => return fields.required("series").map(|_| unreachable!("it is missing")),
        };
        let is_of_users = matches!(
            self.series[series].measure,
            Measure::Users | Measure::FirstTimeUsers | Measure::Events | Measure::PerUser
        );
        if !is_of_users {
            let problem = fields.node().problem("a cell of this measure is no set of users");
            return Err(problem.hint(
                "cells of users, first_time_users and events are; accounts with \"entity\": \"account\"",
            ));
        }
        let names = SlotName::read_all(fields, self.breakdowns.len())?;
        let stretch = match fields.optional("compare") {
            Some(node) => node.integer(0..=self.stretches.len() as i64 - 1)? as usize,
            None => 0,
        };
        Ok(SegmentationCell { series, stretch, bucket, names })
    }

    /// The users of a task that are in a cell. Values must be [folded](Segmentation::fold) already, and the
    /// segmentation [meant for it](Segmentation::for_members).
    pub fn members(&self, task: &Task<'_>, cell: &SegmentationCell) -> Result<TaskSet, Problem> {
        let series: &Series = &self.series[cell.series];
        let stretch = &self.stretches[cell.stretch];
        if cell.bucket >= stretch.calendar.bucket_count() {
            return Ok(TaskSet::new());
        }
        let window = stretch.window(cell.bucket, self.is_cumulative);
        let rows = self.rows(task, series, window, !self.breakdowns.is_empty())?;
        if self.breakdowns.is_empty() {
            return Ok(rows.keys.iter().map(|key| key_user(*key)).collect());
        }
        if series.folding != Folding::Decided {
            return Err(Problem::new(ProblemClass::Bug, "the values of a breakdown were not folded"));
        }
        let Some(wanted) = series.split.slot_named(&cell.names) else { return Ok(TaskSet::new()) };
        let slots = series.split.slots(self.codes(task, &rows)?);
        let of_cell = (0..rows.keys.len()).filter(|row| slots_of(slots.as_ref(), *row).contains(&wanted));
        Ok(of_cell.map(|row| key_user(rows.keys[row])).collect())
    }
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::super::bound::Bound;
    use super::super::{Binder, Scan};
    use super::*;
    use crate::Store;
    use crate::api::{Cell, Json, QueryRequest};
    use crate::model::{DAY_MS, Event, EventBatch};

    /// Thirty events of five users, one coming after the other, on six days, of four values and none.
    fn store(directory: &TempDir) -> Store {
        let mut batch = EventBatch::new();
        for number in 0..30_i64 {
            let value = ["de", "at", "fr", "de", "it"][(number * number % 5) as usize];
            let event = Event {
                event: "a".to_owned(),
                user: format!("u{}", number / 7),
                time: number * DAY_MS / 5,
                id: None,
                account: (number % 4 > 0).then(|| format!("x{}", number % 3)),
                properties: if number % 6 > 0 { vec![("c".to_owned(), value.into())] } else { Vec::new() },
            };
            batch.push(&event).unwrap();
        }
        let store = Store::open(&directory.path().join("store")).unwrap();
        store.ingest(batch).unwrap();
        store
    }

    /// Asks each cell of the table of a query for its members.
    fn check(store: &Store, rest: &str) {
        let body = format!(r#"{{"kind": "segmentation", "from": "1970-01-02", "to": "1970-01-07", {rest}}}"#);
        let request = QueryRequest::parse(&Json::parse(body.as_bytes()).unwrap()).unwrap();
        let scope = request.common.resolve(20 * DAY_MS).unwrap();
        let snapshot = store.snapshot();
        let scan = Scan::new(&snapshot, request.common.entity, scope.history());
        let mut bound = Bound::new(&request, &mut Binder::new(&scan, &scope)).unwrap();
        bound.prepare_cells(&scan).unwrap();
        let Bound::Segmentation(segmentation) = &bound else { panic!("a segmentation") };
        let table = scan.run(segmentation).unwrap();
        assert!(table.row_count() > 0, "{body}");
        for row in table.rows() {
            let mut named: Vec<(String, Json)> = Vec::new();
            for (column, cell) in table.columns().iter().zip(row) {
                let json = match cell {
                    Cell::Text(text) => Json::String(text.clone()),
                    Cell::Value(value) => Json::parse(value.to_string().as_bytes()).unwrap(),
                    Cell::UInt(number) => Json::Number((*number as i64).into()),
                    _ => Json::Null,
                };
                named.push((column.name.clone(), json));
            }
            let (_, value) = named.pop().unwrap();
            let named = Json::Object(named);
            let mut fields = named.root().object().unwrap();
            let cell = segmentation.cell(&mut fields).unwrap();
            fields.finish().unwrap();
            let tasks = (0..scan.task_count()).map(|index| Task::new(&scan, index));
            let members: usize = tasks.map(|task| segmentation.members(&task, &cell).unwrap().len()).sum();
            assert_eq!(Json::Number((members as i64).into()), value, "{body} {named}");
        }
    }

    #[test]
    fn a_cell_has_as_many_members_as_it_tells() {
        let directory = TempDir::new().unwrap();
        let store = store(&directory);
        let users = r#""series": [{"event": "a", "measure": "users"}]"#;
        let firsts = r#""series": [{"event": "a", "measure": "first_time_users"}]"#;
        let breakdown = r#""breakdown": {"property": "c", "limit": 2}"#;
        check(&store, users);
        check(&store, &format!(r#"{users}, "rolling": "3d""#));
        check(&store, &format!(r#"{users}, "cumulative": true, {breakdown}"#));
        check(&store, &format!(r#"{users}, "interval": "total", {breakdown}"#));
        check(&store, &format!(r#"{users}, "compare": "-2d", {breakdown}"#));
        check(&store, &format!(r#"{users}, "entity": "account", {breakdown}"#));
        check(&store, &format!(r#"{firsts}, {breakdown}"#));
        check(&store, &format!(r#"{firsts}, "compare": "-1d", "cumulative": true"#));
        let accounts =
            r#""series": [{"event": "a", "measure": "accounts"}, {"event": "a", "measure": "users"}]"#;
        check(&store, &format!(r#"{accounts}, "entity": "account""#));
    }
}
