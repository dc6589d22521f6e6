//! Walks the paths of each user: the events of a session or window in time order, as ordinals of names.
//!
//! Names are numbered in their order, so that events of one time go by name when they go by number. All events of a
//! user are looked at, since those that are not kept still hold a session together.

use std::ops::Range;

use hashbrown::HashMap;

use super::selection::BoundGroup;
use super::{Binder, Rows, Selection, Task, key_user};
use crate::api::{Filter, PathAnchor, PathCut, PathsQuery, Problem};
use crate::model::TimeMs;
use crate::segment::RowKind;

/// A query for paths, bound to a snapshot.
#[derive(Debug)]
pub struct PathWalk {
    /// By number: the names of events, ascending.
    names: Vec<String>,
    groups: Vec<NamedGroup>,
    range: Range<TimeMs>,
    anchor: Anchor,
    cut: Cut,
    keeps_repeats: bool,
    /// Moves that are told of a path.
    step_count: usize,
}

/// The rows of one event name in one segment.
#[derive(Debug)]
struct NamedGroup {
    name: u32,
    every: Selection,
    kept: Marked,
    excluded: Marked,
    anchor: Marked,
}

/// Which rows of a group are meant.
#[derive(Debug)]
enum Marked {
    None,
    Every,
    Some(Selection),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Anchor {
    None,
    Start,
    End,
}

/// In milliseconds.
#[derive(Clone, Copy, Debug)]
enum Cut {
    Gap(u64),
    Window(u64),
}

/// An event of a user of the task.
#[derive(Clone, Copy, Debug)]
struct Entry {
    key: u64,
    name: u32,
    is_kept: bool,
    is_anchor: bool,
}

/// One event of a path, or several in a row that are alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathNode {
    pub name: u32,
    /// When the first of them was, by user and time.
    pub key: u64,
}

/// One move of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Move {
    pub edge: EdgeKey,
    /// Milliseconds from source to target. `None` if the path ends.
    pub duration: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct EdgeKey {
    /// Counted from 0: from the start, or back from the end.
    pub step: u32,
    pub source: u32,
    /// [`END`] if the path ends there.
    pub target: u32,
}

/// The target of a path that ends.
pub const END: u32 = u32::MAX;
pub const END_NAME: &str = "$end";

impl PathWalk {
    /// `filter` is the query's `where`.
    pub fn bind(
        query: &PathsQuery,
        binder: &mut Binder<'_>,
        filter: Option<&Filter>,
    ) -> Result<PathWalk, Problem> {
        let (scope, scan) = (binder.scope(), binder.scan());
        let (anchor, selector) = match &query.anchor {
            PathAnchor::None => (Anchor::None, None),
            PathAnchor::Start(selector) => (Anchor::Start, Some(selector)),
            PathAnchor::End(selector) => (Anchor::End, Some(selector)),
        };
        let cut = match query.cut {
            PathCut::Gap(gap) => Cut::Gap(gap.as_ms() as u64),
            PathCut::Window(window) => Cut::Window(window.as_ms() as u64),
        };
        let mut kept = by_group(binder.selection(&query.events, filter)?);
        let mut bind_few = |selector| -> Result<ByGroup, Problem> {
            let selection = Option::map(selector, |selector| binder.selection(selector, None)).transpose()?;
            Ok(selection.map(by_group).unwrap_or_default())
        };
        let mut excluded = bind_few(query.exclude.as_ref())?;
        let mut anchors = bind_few(selector)?;

        let segments = || scan.segments(RowKind::Events);
        let mut names: Vec<&str> =
            segments().flat_map(|(_, live)| live.segment.groups().map(|group| group.name())).collect();
        names.sort_unstable();
        names.dedup();
        let mut groups = Vec::new();
        for (segment, live) in segments() {
            for group in live.segment.groups() {
                let place = (segment, group.index() as u32);
                let (kept, excluded) = (take(&mut kept, place), take(&mut excluded, place));
                let is_kept = !matches!(kept, Marked::None) && !matches!(excluded, Marked::Every);
                // Events that are not there do not matter to a window.
                if is_kept || matches!(cut, Cut::Gap(_)) {
                    let name = names.binary_search(&group.name()).expect("the name was collected above");
                    let every = BoundGroup { segment: place.0, group: place.1, filter: None };
                    groups.push(NamedGroup {
                        name: name as u32,
                        every: Selection::of_group(every),
                        kept: if is_kept { kept } else { Marked::None },
                        excluded: if is_kept { excluded } else { Marked::None },
                        anchor: if is_kept { take(&mut anchors, place) } else { Marked::None },
                    });
                }
            }
        }
        Ok(PathWalk {
            names: names.into_iter().map(str::to_owned).collect(),
            groups,
            range: scope.seen(scope.range.clone()),
            anchor,
            cut,
            keeps_repeats: query.repeats,
            step_count: query.steps,
        })
    }

    pub fn step_count(&self) -> usize {
        self.step_count
    }

    /// What an event's number, or `END`, is called.
    pub fn name(&self, number: u32) -> &str {
        self.names.get(number as usize).map_or(END_NAME, String::as_str)
    }

    /// The number of an event's name, if there is such an event.
    pub fn number(&self, name: &str) -> Option<u32> {
        self.names.binary_search_by(|known| known.as_str().cmp(name)).ok().map(|number| number as u32)
    }

    /// Calls `f` with each path of each user of the task, users ascending. A path has at least one node and at most
    /// one more than the moves that are told: its first ones, or with `end` its last.
    pub fn visit(
        &self,
        task: &Task<'_>,
        f: &mut impl FnMut(u16, &[PathNode]) -> Result<(), Problem>,
    ) -> Result<(), Problem> {
        let entries = self.entries(task)?;
        let _charge = task.scan().meter().charge(size_of_val(entries.as_slice()) as u64)?;
        let mut nodes = Vec::with_capacity(self.step_count + 1);
        for of_user in entries.chunk_by(|a, b| key_user(a.key) == key_user(b.key)) {
            let user = key_user(of_user[0].key);
            let mut tell = |path: &[Entry]| {
                self.find_nodes(path, &mut nodes);
                let first = nodes.len().saturating_sub(self.step_count + 1);
                if nodes.is_empty() { Ok(()) } else { f(user, &nodes[first..]) }
            };
            match self.cut {
                Cut::Gap(gap) => {
                    for session in of_user.chunk_by(|a, b| b.key - a.key <= gap) {
                        tell(self.anchored(session))?;
                    }
                }
                Cut::Window(window) => {
                    let mut rest = of_user;
                    while !rest.is_empty() {
                        let from_start =
                            if self.anchor == Anchor::Start { self.anchored(rest) } else { rest };
                        let Some(first) = from_start.first() else { break };
                        let end = from_start.partition_point(|entry| entry.key - first.key <= window);
                        let (path, later) = from_start.split_at(end);
                        tell(self.anchored(path))?;
                        rest = later;
                    }
                }
            }
        }
        Ok(())
    }

    /// Calls `f` with each move of a path.
    pub fn visit_moves(&self, nodes: &[PathNode], f: &mut impl FnMut(Move)) {
        for (index, pair) in nodes.windows(2).enumerate() {
            let step = if self.anchor == Anchor::End { nodes.len() - 2 - index } else { index };
            let edge = EdgeKey { step: step as u32, source: pair[0].name, target: pair[1].name };
            f(Move { edge, duration: Some(pair[1].key - pair[0].key) });
        }
        if self.anchor != Anchor::End && nodes.len() <= self.step_count {
            let last = nodes[nodes.len() - 1];
            let edge = EdgeKey { step: nodes.len() as u32 - 1, source: last.name, target: END };
            f(Move { edge, duration: None });
        }
    }

    /// The events of a task by user, time and name. With a window only those that are kept.
    fn entries(&self, task: &Task<'_>) -> Result<Vec<Entry>, Problem> {
        let mut entries: Vec<Entry> = Vec::new();
        for group in &self.groups {
            let has_parts = [&group.kept, &group.excluded, &group.anchor]
                .into_iter()
                .any(|marked| matches!(marked, Marked::Some(_)));
            let rows = task.rows(&group.every, self.range.clone(), has_parts)?;
            let (is_kept, is_anchor) =
                (matches!(group.kept, Marked::Every), matches!(group.anchor, Marked::Every));
            let first = entries.len();
            entries.extend(rows.keys.iter().map(|key| Entry {
                key: *key,
                name: group.name,
                is_kept,
                is_anchor,
            }));
            let own = &mut entries[first..];
            self.mark(task, &rows, &group.kept, |index| own[index].is_kept = true)?;
            self.mark(task, &rows, &group.excluded, |index| own[index].is_kept = false)?;
            self.mark(task, &rows, &group.anchor, |index| own[index].is_anchor = true)?;
            own.iter_mut().for_each(|entry| entry.is_anchor &= entry.is_kept);
        }
        if let Cut::Window(_) = self.cut {
            entries.retain(|entry| entry.is_kept);
        }
        // A stable sort finds the runs that the groups are, and merges them.
        entries.sort_by_key(|entry| (entry.key, entry.name));
        Ok(entries)
    }

    /// Calls `f` with the places, among the rows of a group, of those that a condition holds for.
    fn mark(
        &self,
        task: &Task<'_>,
        rows: &Rows,
        marked: &Marked,
        mut f: impl FnMut(usize),
    ) -> Result<(), Problem> {
        let Marked::Some(selection) = marked else { return Ok(()) };
        let meant = task.rows(selection, self.range.clone(), true)?;
        let mut places = rows.refs.iter().enumerate();
        for row in &meant.refs {
            let found = places.find(|(_, known)| *known == row);
            f(found.expect("the rows of a condition come in the order of all rows").0);
        }
        Ok(())
    }

    /// The part of a session or window that is a path: all of it, from its first match on, or up to its last. Events
    /// of the same name and time belong together.
    fn anchored<'e>(&self, entries: &'e [Entry]) -> &'e [Entry] {
        let place = |entry: &Entry| (entry.key, entry.name);
        match self.anchor {
            Anchor::None => entries,
            Anchor::Start => match entries.iter().find(|entry| entry.is_anchor) {
                Some(first) => &entries[entries.partition_point(|entry| place(entry) < place(first))..],
                None => &[],
            },
            Anchor::End => match entries.iter().rfind(|entry| entry.is_anchor) {
                Some(last) => &entries[..entries.partition_point(|entry| place(entry) <= place(last))],
                None => &[],
            },
        }
    }

    /// The nodes of a path, from its start no more than are told.
    fn find_nodes(&self, path: &[Entry], nodes: &mut Vec<PathNode>) {
        nodes.clear();
        for entry in path.iter().filter(|entry| entry.is_kept) {
            if self.keeps_repeats || nodes.last().is_none_or(|last| last.name != entry.name) {
                nodes.push(PathNode { name: entry.name, key: entry.key });
                if self.anchor != Anchor::End && nodes.len() > self.step_count {
                    return;
                }
            }
        }
    }
}

type ByGroup = HashMap<(u32, u32), BoundGroup>;

fn by_group(selection: Selection) -> ByGroup {
    selection.groups.into_iter().map(|bound| ((bound.segment, bound.group), bound)).collect()
}

fn take(by_group: &mut ByGroup, place: (u32, u32)) -> Marked {
    match by_group.remove(&place) {
        None => Marked::None,
        Some(BoundGroup { filter: None, .. }) => Marked::Every,
        Some(bound) => Marked::Some(Selection::of_group(bound)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::key;
    use super::*;

    fn walk(anchor: Anchor, step_count: usize) -> PathWalk {
        let names = ["a", "b", "c"].map(str::to_owned).to_vec();
        let (groups, range, cut) = (Vec::new(), 0..0, Cut::Gap(0));
        PathWalk { names, groups, range, anchor, cut, keeps_repeats: false, step_count }
    }

    fn nodes(names: &[u32]) -> Vec<PathNode> {
        names.iter().zip(0..).map(|(name, time)| PathNode { name: *name, key: key(3, 10 * time) }).collect()
    }

    fn moves(walk: &PathWalk, names: &[u32]) -> Vec<(u32, String, String, Option<u64>)> {
        let mut told = Vec::new();
        walk.visit_moves(&nodes(names), &mut |one| {
            let name = |number| walk.name(number).to_owned();
            told.push((one.edge.step, name(one.edge.source), name(one.edge.target), one.duration));
        });
        told
    }

    #[test]
    fn a_path_that_ends_early_moves_to_the_end() {
        let walk = walk(Anchor::Start, 2);
        let to = |step, source: &str, target: &str, ms| (step, source.to_owned(), target.to_owned(), ms);
        assert_eq!(moves(&walk, &[0]), [to(0, "a", "$end", None)]);
        assert_eq!(moves(&walk, &[0, 1]), [to(0, "a", "b", Some(10)), to(1, "b", "$end", None)]);
        assert_eq!(moves(&walk, &[0, 1, 2]), [to(0, "a", "b", Some(10)), to(1, "b", "c", Some(10))]);
    }

    #[test]
    fn steps_count_back_from_an_end() {
        let walk = walk(Anchor::End, 5);
        let to = |step, source: &str, target: &str| (step, source.to_owned(), target.to_owned(), Some(10));
        assert_eq!(moves(&walk, &[2, 1, 0]), [to(1, "c", "b"), to(0, "b", "a")]);
        assert_eq!(moves(&walk, &[0]), []);
    }

    #[test]
    fn an_anchor_takes_its_likes_of_the_same_moment_along() {
        let entry = |time, name, is_anchor| Entry { key: key(0, time), name, is_kept: true, is_anchor };
        let entries = [
            entry(1, 0, false),
            entry(2, 1, false),
            entry(2, 1, true),
            entry(2, 1, false),
            entry(2, 2, false),
        ];
        let told = |anchor| walk(anchor, 5).anchored(&entries).iter().map(|e| e.name).collect::<Vec<_>>();
        assert_eq!(told(Anchor::Start), [1, 1, 1, 2]);
        assert_eq!(told(Anchor::End), [0, 1, 1, 1]);
    }
}
