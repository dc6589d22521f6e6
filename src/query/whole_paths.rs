//! Paths, told as a whole: the ones that most users went.

use hashbrown::HashMap;
use serde::{Deserialize, Serialize};

use super::path_walk::PathNode;
use super::{Analysis, Partial, PathWalk, Task, TaskSet};
use crate::api::{Cell, ColumnType, Fields, Problem, Table};
use crate::limits::PATH_WHOLE_COUNT_MAX;

/// The query `paths` with `"whole": true`, bound to a snapshot.
#[derive(Debug)]
pub struct WholePaths {
    walk: PathWalk,
    /// Paths that are told.
    limit: usize,
}

/// A row of the table as a set of users: those who went this path. `None`: nobody, since there is no such event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WholePathCell {
    path: Option<Vec<u32>>,
}

impl WholePaths {
    pub fn new(walk: PathWalk, limit: usize) -> WholePaths {
        WholePaths { walk, limit }
    }

    fn names(&self, path: &[u32]) -> Vec<&str> {
        path.iter().map(|number| self.walk.name(*number)).collect()
    }

    /// Reads the cell of a row from its `path`.
    pub fn cell(&self, fields: &mut Fields<'_>) -> Result<WholePathCell, Problem> {
        let names = fields.required("path")?.strings()?;
        Ok(WholePathCell { path: names.iter().map(|name| self.walk.number(name)).collect() })
    }

    /// The users of a task that are counted in a cell.
    pub fn members(&self, task: &Task<'_>, cell: &WholePathCell) -> Result<TaskSet, Problem> {
        let mut members = TaskSet::new();
        let Some(path) = &cell.path else { return Ok(members) };
        self.walk.visit(task, &mut |user, nodes| {
            if nodes.iter().map(|node| node.name).eq(path.iter().copied()) {
                members.insert(user);
            }
            Ok(())
        })?;
        Ok(members)
    }
}

/// Every path that somebody went, with its counts.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct WholePathsPartial {
    counts: Vec<PathCount>,
    /// By the numbers of a path's events: its place in `counts`. Made anew when it is needed after a partial was
    /// read.
    #[serde(skip)]
    places: HashMap<Box<[u32]>, u32>,
    /// The path that is being looked up.
    #[serde(skip)]
    path: Vec<u32>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct PathCount {
    path: Box<[u32]>,
    users: u64,
    events: u64,
    /// The ordinal of the last user that was counted.
    last_user: u32,
}

impl WholePathsPartial {
    fn index(&mut self) {
        if self.places.len() != self.counts.len() {
            self.places = self.counts.iter().map(|count| count.path.clone()).zip(0..).collect();
        }
    }

    fn count(&mut self, user: u32, nodes: &[PathNode]) -> Result<(), Problem> {
        self.path.clear();
        self.path.extend(nodes.iter().map(|node| node.name));
        if let Some(place) = self.places.get(self.path.as_slice()) {
            let count = &mut self.counts[*place as usize];
            count.users += u64::from(count.last_user != user);
            count.events += 1;
            count.last_user = user;
            return Ok(());
        }
        let path: Box<[u32]> = self.path.as_slice().into();
        self.places.insert(path.clone(), self.counts.len() as u32);
        self.counts.push(PathCount { path, users: 1, events: 1, last_user: user });
        self.check_count()
    }

    fn check_count(&self) -> Result<(), Problem> {
        if self.counts.len() <= PATH_WHOLE_COUNT_MAX {
            return Ok(());
        }
        Err(Problem::invalid(format!("there are more than {PATH_WHOLE_COUNT_MAX} different paths"))
            .at("/whole")
            .hint("name the events to keep with \"events\", or ask for fewer \"steps\""))
    }
}

impl Partial for WholePathsPartial {
    fn merge(&mut self, other: WholePathsPartial) {
        self.index();
        for count in other.counts {
            match self.places.get(&count.path) {
                Some(place) => {
                    let own = &mut self.counts[*place as usize];
                    own.users += count.users;
                    own.events += count.events;
                }
                None => {
                    self.places.insert(count.path.clone(), self.counts.len() as u32);
                    self.counts.push(count);
                }
            }
        }
    }
}

impl Analysis for WholePaths {
    type Partial = WholePathsPartial;
    type Output = Table;

    fn empty(&self) -> WholePathsPartial {
        WholePathsPartial::default()
    }

    fn observe(&self, task: &Task<'_>, partial: &mut WholePathsPartial) -> Result<(), Problem> {
        partial.index();
        self.walk.visit(task, &mut |user, nodes| partial.count(task.user_base() + u32::from(user), nodes))
    }

    fn finish(&self, partial: WholePathsPartial) -> Result<Table, Problem> {
        partial.check_count()?;
        let mut counts = partial.counts;
        counts.sort_unstable_by(|a, b| {
            // Names are numbered in their order.
            (b.users, b.events).cmp(&(a.users, a.events)).then_with(|| a.path.cmp(&b.path))
        });
        let mut table = Table::new([
            ("path", ColumnType::StringList),
            ("users", ColumnType::UInt64),
            ("events", ColumnType::UInt64),
        ]);
        for count in counts.iter().take(self.limit) {
            let names = self.names(&count.path).into_iter().map(str::to_owned).collect();
            table.push([Cell::List(names), Cell::UInt(count.users), Cell::UInt(count.events)]);
        }
        Ok(table)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partials_merge_in_any_order_and_survive_being_written() {
        let partial = |paths: &[(u32, &[u32])]| {
            let mut partial = WholePathsPartial::default();
            for (user, names) in paths {
                let nodes: Vec<PathNode> =
                    names.iter().map(|name| PathNode { name: *name, key: 0 }).collect();
                partial.count(*user, &nodes).unwrap();
            }
            partial
        };
        let told = |mut partial: WholePathsPartial| {
            partial.counts.sort_unstable_by(|a, b| a.path.cmp(&b.path));
            partial
                .counts
                .iter()
                .map(|count| (count.path.to_vec(), count.users, count.events))
                .collect::<Vec<_>>()
        };
        let parts = [partial(&[(0, &[1, 2]), (0, &[1, 2]), (1, &[1])]), partial(&[(7, &[1, 2]), (8, &[3])])];
        let sum = |order: [usize; 2]| {
            let mut all = WholePathsPartial::default();
            for index in order {
                let written = serde_json::to_string(&parts[index]).unwrap();
                all.merge(serde_json::from_str(&written).unwrap());
            }
            told(all)
        };
        assert_eq!(sum([0, 1]), sum([1, 0]));
        assert_eq!(sum([0, 1]), [(vec![1], 1, 1), (vec![1, 2], 2, 3), (vec![3], 1, 1)]);
    }
}
