//! Paths: the events of a session or window in order, as moves or as a whole.

use std::collections::{BTreeMap, BTreeSet};

use flywheeldb::api::Json;
use flywheeldb::model::{Event, MINUTE_MS, Number, TimeMs};

use super::Refusal;
use super::calendar::duration;
use super::filter::Selector;
use super::measure::{cell, percentile};
use super::question::{Question, count, items};
use crate::support::reading;
use crate::support::tables::Row;

const KNOWN_FIELDS: [&str; 10] =
    ["start", "end", "steps", "limit", "events", "exclude", "session_gap", "window", "repeats", "whole"];

/// What is asked for.
struct Rules {
    start: Option<Selector>,
    end: Option<Selector>,
    steps: usize,
    limit: usize,
    events: Option<Vec<Selector>>,
    exclude: Vec<Selector>,
    session_gap: i64,
    window: Option<i64>,
    repeats: bool,
}

/// One path of one user: the names and the moments of its nodes.
struct Path {
    owner: String,
    nodes: Vec<(String, TimeMs)>,
}

/// What somebody did at a step: who, and how long it took.
struct Moved {
    owner: String,
    seconds: Option<Number>,
}

/// Source and target.
type Edge = (String, String);

pub fn answer(question: &Question) -> Result<Vec<Row>, Refusal> {
    question.check_fields(&KNOWN_FIELDS, &[])?;
    let rules = rules(question)?;
    let mut paths = Vec::new();
    for owner in question.everyone() {
        let events: Vec<&Event> = question
            .events
            .iter()
            .filter(|event| question.owner(event) == Some(&owner) && question.in_range(event.time))
            .collect();
        for events in rules.cut(question, events) {
            let nodes = rules.nodes(&events);
            if !nodes.is_empty() {
                paths.push(Path { owner: owner.clone(), nodes });
            }
        }
    }
    Ok(if question.flag("whole")? { whole(&rules, &paths) } else { moves(&rules, &paths) })
}

fn rules(question: &Question) -> Result<Rules, Refusal> {
    let selector = |name| question.field(name).map(|json| Selector::read(question, json)).transpose();
    let selectors = |name| -> Result<Option<Vec<Selector>>, Refusal> {
        let Some(list) = question.field(name) else { return Ok(None) };
        items(list)?.iter().map(|json| Selector::read(question, json)).collect::<Result<_, _>>().map(Some)
    };
    let number = |name| question.field(name).map(count).transpose();
    let length = |name| question.field(name).map(duration).transpose();
    Ok(Rules {
        start: selector("start")?,
        end: selector("end")?,
        steps: number("steps")?.unwrap_or(5),
        limit: number("limit")?.unwrap_or(10),
        events: selectors("events")?,
        exclude: selectors("exclude")?.unwrap_or_default(),
        session_gap: length("session_gap")?.unwrap_or(30 * MINUTE_MS),
        window: length("window")?,
        repeats: question.flag("repeats")?,
    })
}

impl Rules {
    fn keeps(&self, question: &Question, event: &Event) -> bool {
        let is_any = |list: &Vec<Selector>| list.iter().any(|selector| selector.takes(question, event));
        question.takes(event) && self.events.as_ref().is_none_or(is_any) && !is_any(&self.exclude)
    }

    /// The kept events of each path of a user, in order. Of events alike in time and name, one that matches comes
    /// first as a start and last as an end, so that a path has them all.
    fn cut<'a>(&self, question: &Question, mut events: Vec<&'a Event>) -> Vec<Vec<&'a Event>> {
        let is_start = |event: &Event| self.start.as_ref().is_some_and(|start| start.takes(question, event));
        let is_end = |event: &Event| self.end.as_ref().is_some_and(|end| end.takes(question, event));
        events.sort_by_key(|event| (event.time, event.event.clone(), !is_start(event), is_end(event)));
        let mut paths: Vec<Vec<&Event>> = Vec::new();
        match self.window {
            None => {
                let mut last: Option<TimeMs> = None;
                for event in events {
                    if last.is_none_or(|last| event.time - last > self.session_gap) {
                        paths.push(Vec::new());
                    }
                    last = Some(event.time);
                    if self.keeps(question, event) {
                        paths.last_mut().expect("the first event begins a path").push(event);
                    }
                }
            }
            Some(window) => {
                for event in events.into_iter().filter(|event| self.keeps(question, event)) {
                    match paths.last_mut() {
                        Some(path) if event.time - path[0].time <= window => path.push(event),
                        _ if self.start.is_some() && !is_start(event) => {}
                        _ => paths.push(vec![event]),
                    }
                }
            }
        }
        for path in &mut paths {
            if self.start.is_some() {
                let first = path.iter().position(|event| is_start(event)).unwrap_or(path.len());
                path.drain(..first);
            }
            if self.end.is_some() {
                let end = path.iter().rposition(|event| is_end(event)).map_or(0, |last| last + 1);
                path.truncate(end);
            }
        }
        paths
    }

    /// The nodes of a path that are told: the first ones, or with an end the last.
    fn nodes(&self, events: &[&Event]) -> Vec<(String, TimeMs)> {
        let mut nodes: Vec<(String, TimeMs)> = Vec::new();
        for event in events {
            let repeats = nodes.last().is_some_and(|(name, _)| *name == event.event);
            if self.repeats || !repeats {
                nodes.push((event.event.clone(), event.time));
            }
        }
        if self.end.is_some() {
            nodes.drain(..nodes.len().saturating_sub(self.steps + 1));
        } else {
            nodes.truncate(self.steps + 1);
        }
        nodes
    }
}

fn moves(rules: &Rules, paths: &[Path]) -> Vec<Row> {
    let mut by_step: BTreeMap<usize, BTreeMap<Edge, Vec<Moved>>> = BTreeMap::new();
    for Path { owner, nodes } in paths {
        let mut add = |step: usize, edge: Edge, seconds: Option<Number>| {
            let moved = Moved { owner: owner.clone(), seconds };
            by_step.entry(step).or_default().entry(edge).or_default().push(moved);
        };
        for target in 1..nodes.len() {
            let ((from, left), (to, came)) = (&nodes[target - 1], &nodes[target]);
            let seconds = Number::new(i128::from(came - left), -3).expect("seconds fit");
            let step = if rules.end.is_some() { nodes.len() - target } else { target };
            add(step, (from.clone(), to.clone()), Some(seconds));
        }
        if rules.end.is_none() && nodes.len() <= rules.steps {
            let (last, _) = &nodes[nodes.len() - 1];
            add(nodes.len(), (last.clone(), "$end".to_owned()), None);
        }
    }
    let mut rows = Vec::new();
    for (step, edges) in by_step {
        let mut ranked: Vec<&Edge> = edges.keys().collect();
        ranked.sort_by_key(|edge| std::cmp::Reverse((user_count(&edges[*edge]), edges[*edge].len())));
        let kept: BTreeSet<Edge> = ranked.into_iter().take(rules.limit).cloned().collect();
        let mut told: BTreeMap<Edge, Vec<Moved>> = BTreeMap::new();
        for (edge, moved) in edges {
            let other = ("$other".to_owned(), "$other".to_owned());
            told.entry(if kept.contains(&edge) { edge } else { other }).or_default().extend(moved);
        }
        for ((source, target), moved) in told {
            let seconds = moved.iter().filter_map(|moved| moved.seconds).collect();
            rows.push(vec![
                ("step".to_owned(), reading::count(step)),
                ("source".to_owned(), Json::String(source)),
                ("target".to_owned(), Json::String(target)),
                ("users".to_owned(), reading::count(user_count(&moved))),
                ("events".to_owned(), reading::count(moved.len())),
                ("median_seconds".to_owned(), cell(percentile(50, seconds))),
            ]);
        }
    }
    rows
}

fn user_count(moved: &[Moved]) -> usize {
    moved.iter().map(|moved| &moved.owner).collect::<BTreeSet<_>>().len()
}

fn whole(rules: &Rules, paths: &[Path]) -> Vec<Row> {
    let mut owners: BTreeMap<Vec<String>, Vec<&str>> = BTreeMap::new();
    for Path { owner, nodes } in paths {
        let names = nodes.iter().map(|(name, _)| name.clone()).collect();
        owners.entry(names).or_default().push(owner);
    }
    let count = |owners: &Vec<&str>| (owners.iter().collect::<BTreeSet<_>>().len(), owners.len());
    let mut told: Vec<(Vec<String>, Vec<&str>)> = owners.into_iter().collect();
    told.sort_by_key(|(_, owners)| std::cmp::Reverse(count(owners)));
    let row = |(names, owners): (Vec<String>, Vec<&str>)| {
        let (users, events) = count(&owners);
        vec![
            ("path".to_owned(), Json::Array(names.into_iter().map(Json::String).collect())),
            ("users".to_owned(), reading::count(users)),
            ("events".to_owned(), reading::count(events)),
        ]
    };
    told.into_iter().take(rules.limit).map(row).collect()
}
