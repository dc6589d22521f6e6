//! Paths, told move by move: how many users go from which event to which, and how fast.
//!
//! A first look counts every edge and ranks them; those past the limit are told as one, whose users a second look
//! counts, since a user of several of them is one user.

use hashbrown::{HashMap, HashSet};
use serde::{Deserialize, Serialize};

use super::durations::Durations;
use super::path_walk::{END, END_NAME, EdgeKey};
use super::{Analysis, Partial, PathWalk, Task, TaskSet};
use crate::api::{Cell, ColumnType, Fields, Problem, Table};
use crate::limits::PATH_EDGE_COUNT_MAX;
use crate::model::SECOND_MS;

/// Source and target of the edges past the limit.
const OTHER_NAME: &str = "$other";

/// The query `paths`, bound to a snapshot.
#[derive(Debug)]
pub struct Paths {
    walk: PathWalk,
    limit: usize,
    ranked: RankedEdges,
}

/// The edges that have rows of their own, and what is left of each step.
#[derive(Debug, Default)]
pub struct RankedEdges {
    steps: Vec<RankedStep>,
    kept: HashSet<EdgeKey>,
}

#[derive(Debug)]
struct RankedStep {
    kept: Vec<RankedEdge>,
    /// The edges past the limit, if any.
    other: Option<OtherEdges>,
}

#[derive(Debug)]
struct RankedEdge {
    key: EdgeKey,
    users: u64,
    events: u64,
    median_ms: Option<u64>,
}

#[derive(Debug)]
struct OtherEdges {
    events: u64,
    median_ms: Option<u64>,
}

impl Paths {
    /// It tells nothing before the totals of a first look are [folded](Paths::fold) into it.
    pub fn new(walk: PathWalk, limit: usize) -> Paths {
        Paths { walk, limit, ranked: RankedEdges::default() }
    }

    /// The first look.
    pub fn totals(&self) -> PathTotals<'_> {
        PathTotals { paths: self }
    }

    /// Sets which edges have rows of their own.
    pub fn fold(&mut self, ranked: RankedEdges) {
        self.ranked = ranked;
    }

    /// Whether an edge is told in the row `$other` of its step.
    fn is_other(&self, edge: &EdgeKey) -> bool {
        let step = self.ranked.steps.get(edge.step as usize);
        step.is_some_and(|step| step.other.is_some()) && !self.ranked.kept.contains(edge)
    }

    fn names(&self, edge: &EdgeKey) -> (&str, &str) {
        (self.walk.name(edge.source), self.walk.name(edge.target))
    }

    /// Keeps of each step the edges with most users, then most events, then by name.
    fn rank(&self, edges: Vec<Edge>) -> RankedEdges {
        let mut by_step: Vec<Vec<Edge>> = Vec::new();
        by_step.resize_with(self.walk.step_count(), Vec::new);
        edges.into_iter().for_each(|edge| by_step[edge.key.step as usize].push(edge));
        let mut ranked = RankedEdges::default();
        for mut edges in by_step {
            edges.sort_unstable_by(|a, b| {
                let by_count = (b.users, b.events).cmp(&(a.users, a.events));
                by_count.then_with(|| self.names(&a.key).cmp(&self.names(&b.key)))
            });
            let past_limit = edges.split_off(edges.len().min(self.limit));
            let sum = past_limit.into_iter().reduce(|mut sum, edge| {
                sum.add(edge);
                sum
            });
            let other =
                sum.map(|mut sum| OtherEdges { events: sum.events, median_ms: sum.durations.median() });
            ranked.kept.extend(edges.iter().map(|edge| edge.key));
            let kept = edges.into_iter().map(|mut edge| RankedEdge {
                key: edge.key,
                users: edge.users,
                events: edge.events,
                median_ms: edge.durations.median(),
            });
            ranked.steps.push(RankedStep { kept: kept.collect(), other });
        }
        ranked
    }
}

/// Users of the row `$other`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PathsPartial {
    /// By step.
    others: Vec<OtherUsers>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct OtherUsers {
    users: u64,
    /// The ordinal of the last user that was counted.
    last: Option<u32>,
}

impl Partial for PathsPartial {
    fn merge(&mut self, other: PathsPartial) {
        self.others.iter_mut().zip(other.others).for_each(|(all, more)| all.users += more.users);
    }
}

impl Analysis for Paths {
    type Partial = PathsPartial;
    type Output = Table;

    fn empty(&self) -> PathsPartial {
        PathsPartial { others: vec![OtherUsers::default(); self.walk.step_count()] }
    }

    fn observe(&self, task: &Task<'_>, partial: &mut PathsPartial) -> Result<(), Problem> {
        if self.ranked.steps.iter().all(|step| step.other.is_none()) {
            return Ok(());
        }
        self.walk.visit(task, &mut |user, nodes| {
            let ordinal = task.user_base() + u32::from(user);
            self.walk.visit_moves(nodes, &mut |one| {
                let counted = &mut partial.others[one.edge.step as usize];
                if counted.last != Some(ordinal) && self.is_other(&one.edge) {
                    counted.users += 1;
                    counted.last = Some(ordinal);
                }
            });
            Ok(())
        })
    }

    fn finish(&self, partial: PathsPartial) -> Result<Table, Problem> {
        let mut table = Table::new([
            ("step", ColumnType::UInt32),
            ("source", ColumnType::String),
            ("target", ColumnType::String),
            ("users", ColumnType::UInt64),
            ("events", ColumnType::UInt64),
            ("median_seconds", ColumnType::Float64),
        ]);
        let seconds = |ms: Option<u64>| ms.map_or(Cell::Null, |ms| Cell::Float(ms as f64 / SECOND_MS as f64));
        for (index, (step, counted)) in self.ranked.steps.iter().zip(partial.others).enumerate() {
            let kept = step.kept.iter().map(|e| (self.names(&e.key), e.users, e.events, e.median_ms));
            let other = step
                .other
                .iter()
                .map(|other| ((OTHER_NAME, OTHER_NAME), counted.users, other.events, other.median_ms));
            let mut rows: Vec<_> = kept.chain(other).collect();
            rows.sort_unstable_by_key(|(names, ..)| *names);
            for ((source, target), users, events, median_ms) in rows {
                table.push([
                    Cell::UInt(index as u64 + 1),
                    Cell::Text(source.to_owned()),
                    Cell::Text(target.to_owned()),
                    Cell::UInt(users),
                    Cell::UInt(events),
                    seconds(median_ms),
                ]);
            }
        }
        Ok(table)
    }
}

/// The first look: every edge.
#[derive(Debug)]
pub struct PathTotals<'a> {
    paths: &'a Paths,
}

/// Every edge that somebody went, with its counts.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct PathTotalsPartial {
    edges: Vec<Edge>,
    /// By edge: its place in `edges`. Made anew when it is needed after a partial was read.
    #[serde(skip)]
    places: HashMap<EdgeKey, u32>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Edge {
    key: EdgeKey,
    users: u64,
    events: u64,
    /// The ordinal of the last user that was counted.
    last_user: u32,
    durations: Durations,
}

impl Edge {
    fn add(&mut self, other: Edge) {
        self.users += other.users;
        self.events += other.events;
        self.durations.merge(other.durations);
    }
}

impl PathTotalsPartial {
    fn index(&mut self) {
        if self.places.len() != self.edges.len() {
            self.places = self.edges.iter().map(|edge| edge.key).zip(0..).collect();
        }
    }

    fn count(&mut self, user: u32, edge: EdgeKey, duration: Option<u64>) {
        let edges = &mut self.edges;
        let place = *self.places.entry(edge).or_insert_with(|| {
            // Nobody has been counted: the last user is another one.
            let last_user = !user;
            edges.push(Edge { key: edge, users: 0, events: 0, last_user, durations: Durations::default() });
            edges.len() as u32 - 1
        });
        let edge = &mut edges[place as usize];
        edge.users += u64::from(edge.last_user != user);
        edge.last_user = user;
        edge.events += 1;
        if let Some(ms) = duration {
            edge.durations.push(ms);
        }
    }

    fn check_count(&self) -> Result<(), Problem> {
        if self.edges.len() <= PATH_EDGE_COUNT_MAX {
            return Ok(());
        }
        Err(Problem::invalid(format!("the paths have more than {PATH_EDGE_COUNT_MAX} different moves"))
            .hint("name the events to keep with \"events\", or ask for fewer \"steps\""))
    }
}

impl Partial for PathTotalsPartial {
    fn merge(&mut self, other: PathTotalsPartial) {
        self.index();
        for edge in other.edges {
            match self.places.get(&edge.key) {
                Some(place) => self.edges[*place as usize].add(edge),
                None => {
                    self.places.insert(edge.key, self.edges.len() as u32);
                    self.edges.push(edge);
                }
            }
        }
    }
}

impl Analysis for PathTotals<'_> {
    type Partial = PathTotalsPartial;
    type Output = RankedEdges;

    fn empty(&self) -> PathTotalsPartial {
        PathTotalsPartial::default()
    }

    fn observe(&self, task: &Task<'_>, partial: &mut PathTotalsPartial) -> Result<(), Problem> {
        partial.index();
        let walk = &self.paths.walk;
        walk.visit(task, &mut |user, nodes| {
            let ordinal = task.user_base() + u32::from(user);
            walk.visit_moves(nodes, &mut |one| partial.count(ordinal, one.edge, one.duration));
            partial.check_count()
        })
    }

    fn finish(&self, partial: PathTotalsPartial) -> Result<RankedEdges, Problem> {
        partial.check_count()?;
        Ok(self.paths.rank(partial.edges))
    }
}

/// A row of the table as a set of users.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathCell {
    /// `None`: nobody went it, since there is no such event.
    Edge(Option<EdgeKey>),
    /// The edges of a step, counted from 0, that are told as one.
    Other { step: u32 },
}

impl Paths {
    /// Reads the cell of a row from its `step`, `source` and `target`.
    pub fn cell(&self, fields: &mut Fields<'_>) -> Result<PathCell, Problem> {
        let step = fields.required("step")?.integer(1..=self.walk.step_count() as i64)? as u32 - 1;
        let (source, target) = (fields.required("source")?, fields.required("target")?);
        let (source, target) = (source.string()?, target.string()?);
        if (source, target) == (OTHER_NAME, OTHER_NAME) {
            return Ok(PathCell::Other { step });
        }
        let target = if target == END_NAME { Some(END) } else { self.walk.number(target) };
        let ends = self.walk.number(source).zip(target);
        Ok(PathCell::Edge(ends.map(|(source, target)| EdgeKey { step, source, target })))
    }

    /// The users of a task that are counted in a cell. For the cell `$other` the totals must have been
    /// [folded](Paths::fold) in.
    pub fn members(&self, task: &Task<'_>, cell: &PathCell) -> Result<TaskSet, Problem> {
        let mut members = TaskSet::new();
        if *cell == PathCell::Edge(None) {
            return Ok(members);
        }
        self.walk.visit(task, &mut |user, nodes| {
            self.walk.visit_moves(nodes, &mut |one| {
                let is_meant = match cell {
                    PathCell::Edge(edge) => *edge == Some(one.edge),
                    PathCell::Other { step } => one.edge.step == *step && self.is_other(&one.edge),
                };
                if is_meant {
                    members.insert(user);
                }
            });
            Ok(())
        })?;
        Ok(members)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::{Binder, Scan, WholePaths};
    use super::*;
    use crate::Store;
    use crate::api::{Json, QueryKind, QueryRequest};
    use crate::model::{Event, EventBatch, MINUTE_MS, Value};

    /// A history in which users meet at few events, in sessions of different lengths.
    fn store(directory: &std::path::Path) -> Store {
        let store = Store::open(&directory.join("store")).unwrap();
        let mut batch = EventBatch::new();
        for index in 0..400_i64 {
            let user = format!("u{}", index % 23);
            let time = index / 23 * 20 * MINUTE_MS + index * index % 7 * 9 * MINUTE_MS;
            let event = ["a", "b", "c", "d"][((index * index / 3 + index / 5) % 4) as usize].to_owned();
            let properties = vec![("odd".to_owned(), Value::Bool(index % 2 == 1))];
            batch.push(&Event { event, user, time, id: None, account: None, properties }).unwrap();
        }
        store.ingest(batch).unwrap();
        store
    }

    /// Asks for paths, and for each row of the table how many users its cell has.
    fn sizes(store: &Store, rest: &str) -> Vec<(u64, u64)> {
        let body = format!(r#"{{"kind": "paths", "as_of": "1970-02-01" {rest}}}"#);
        let request = QueryRequest::parse(&Json::parse(body.as_bytes()).unwrap()).unwrap();
        let QueryKind::Paths(query) = &request.kind else { panic!("paths") };
        let scope = request.common.resolve(0).unwrap();
        let snapshot = store.snapshot();
        let scan = Scan::new(&snapshot, request.common.entity, scope.history());
        let walk = PathWalk::bind(query, &mut Binder::new(&scan, &scope), None).unwrap();
        let task = Task::new(&scan, 0);
        let mut sizes = Vec::new();
        let mut compare = |table: Table, members: &dyn Fn(&mut Fields<'_>) -> TaskSet| {
            for row in table.rows() {
                let text = |cell: &Cell| match cell {
                    Cell::Text(text) => format!("{text:?}"),
                    Cell::UInt(count) => count.to_string(),
                    Cell::List(list) => format!("{list:?}"),
                    other => panic!("{other:?} names no row"),
                };
                let names = table.columns().iter().zip(row).take_while(|(column, _)| column.name != "users");
                let named = names.map(|(column, cell)| format!("{:?}: {}", column.name, text(cell)));
                let cell = format!("{{{}}}", named.collect::<Vec<_>>().join(", "));
                let users = table.columns().iter().position(|column| column.name == "users").unwrap();
                let Cell::UInt(users) = row[users] else { panic!("users are counted") };
                let cell = Json::parse(cell.as_bytes()).unwrap();
                let mut fields = cell.root().object().unwrap();
                sizes.push((users, members(&mut fields).len() as u64));
                fields.finish().unwrap();
            }
        };
        if query.whole {
            let paths = WholePaths::new(walk, query.limit);
            compare(scan.run(&paths).unwrap(), &|fields| {
                paths.members(&task, &paths.cell(fields).unwrap()).unwrap()
            });
        } else {
            let mut paths = Paths::new(walk, query.limit);
            let totals = scan.run(&paths.totals()).unwrap();
            paths.fold(totals);
            compare(scan.run(&paths).unwrap(), &|fields| {
                paths.members(&task, &paths.cell(fields).unwrap()).unwrap()
            });
        }
        sizes
    }

    #[test]
    fn a_cell_has_as_many_users_as_it_says() {
        let directory = tempfile::TempDir::new().unwrap();
        let store = store(directory.path());
        let odd = r#"{"event": "*", "where": {"property": "odd", "op": "eq", "value": true}}"#;
        for rest in [
            String::new(),
            r#", "limit": 2, "steps": 3"#.to_owned(),
            r#", "end": "c", "limit": 1"#.to_owned(),
            format!(r#", "start": "a", "window": "2h", "limit": 3, "exclude": [{odd}]"#),
            r#", "whole": true, "repeats": true, "limit": 40"#.to_owned(),
            format!(r#", "whole": true, "start": {odd}, "steps": 2"#),
        ] {
            let sizes = sizes(&store, &rest);
            assert!(sizes.iter().all(|(users, members)| users == members), "{rest}: {sizes:?}");
            let different: BTreeSet<u64> = sizes.iter().map(|(users, _)| *users).collect();
            assert!(different.len() > 2, "{rest}: {sizes:?} tell little");
        }
    }

    #[test]
    fn a_cell_names_its_step_and_both_ends() {
        let directory = tempfile::TempDir::new().unwrap();
        let store = store(directory.path());
        let request =
            QueryRequest::parse(&Json::parse(br#"{"kind": "paths", "steps": 2}"#).unwrap()).unwrap();
        let QueryKind::Paths(query) = &request.kind else { panic!("paths") };
        let scope = request.common.resolve(0).unwrap();
        let snapshot = store.snapshot();
        let scan = Scan::new(&snapshot, request.common.entity, scope.history());
        let walk = PathWalk::bind(query, &mut Binder::new(&scan, &scope), None).unwrap();
        let paths = Paths::new(walk, query.limit);
        let cell =
            |text: &str| paths.cell(&mut Json::parse(text.as_bytes()).unwrap().root().object().unwrap());
        assert_eq!(cell(r#"{"step": 1, "source": "a", "target": "nothing"}"#).unwrap(), PathCell::Edge(None));
        let other = cell(r#"{"step": 2, "source": "$other", "target": "$other"}"#).unwrap();
        assert_eq!(other, PathCell::Other { step: 1 });
        assert_eq!(cell(r#"{"step": 3, "source": "a", "target": "b"}"#).unwrap_err().path.unwrap(), "/step");
        let problem = cell(r#"{"step": 1, "source": "a"}"#).unwrap_err();
        assert_eq!(problem.detail, "the field \"target\" is missing");
    }

    #[test]
    fn partials_merge_in_any_order_and_survive_being_written() {
        let edge = |source, target| EdgeKey { step: 0, source, target };
        let partial = |moves: &[(u32, EdgeKey, Option<u64>)]| {
            let mut partial = PathTotalsPartial::default();
            moves.iter().for_each(|(user, edge, duration)| partial.count(*user, *edge, *duration));
            partial
        };
        let told = |partial: PathTotalsPartial| {
            let mut told: Vec<_> = partial.edges.into_iter().collect();
            told.sort_unstable_by_key(|edge| (edge.key.source, edge.key.target));
            told.into_iter()
                .map(|mut edge| (edge.key, edge.users, edge.events, edge.durations.median()))
                .collect::<Vec<_>>()
        };
        let parts = [
            partial(&[(0, edge(0, 1), Some(5)), (0, edge(0, 1), Some(9)), (1, edge(0, 1), Some(7))]),
            partial(&[(5, edge(0, 1), Some(1)), (5, edge(1, END), None)]),
        ];
        let sum = |order: [usize; 2]| {
            let mut all = PathTotalsPartial::default();
            for index in order {
                let written = serde_json::to_string(&parts[index]).unwrap();
                all.merge(serde_json::from_str(&written).unwrap());
            }
            told(all)
        };
        assert_eq!(sum([0, 1]), sum([1, 0]));
        assert_eq!(sum([0, 1]), [(edge(0, 1), 3, 4, Some(5)), (edge(1, END), 1, 1, None)]);
    }
}
