//! Who can make attempts at a funnel, and what they did: users, their sessions, or the values they held.

use std::ops::Range;

use super::funnel_attempts::attempts;
use super::funnel_hold::HeldProperty;
use super::funnel_rules::{Ground, Hit, Moments, Rules, Told, UNBOUNDED_MS};
use super::funnel_told::told;
use super::funnel_values::{Chooser, Values};
use super::funnel_walk::Walk;
use super::{Calendar, Rows, Selection, Task, funnel_any, funnel_latest, key_time, key_user};
use crate::api::{Attribution, FunnelCount, Problem};
use crate::model::TimeMs;

/// What is looked at one user at a time.
#[derive(Debug)]
pub(super) struct Units {
    pub rules: Rules,
    pub is_any_order: bool,
    pub count: FunnelCount,
    /// What matches steps, and a bit for each step that it matches.
    pub matching: Vec<(Selection, u64)>,
    /// By exclusion, what of a strict order counts as one: the events that it means.
    pub exclusions: Vec<Vec<Selection>>,
    /// All events of a user, where sessions are cut.
    pub every_event: Option<Selection>,
    pub hold: Vec<HeldProperty>,
    /// Where first, and where later events lie; and all events that can exclude.
    pub starts: Range<TimeMs>,
    pub followers: Range<TimeMs>,
    pub watched: Range<TimeMs>,
    /// Buckets that are funnels of their own.
    pub buckets: Option<Calendar>,
    pub attribution: Attribution,
}

/// What became of a unit: an attempt, and the values it counts under.
#[derive(Debug)]
pub(super) struct UnitOutcome {
    pub user: u16,
    /// Of two outcomes of one unit, which may count under one value once, the second is not the first.
    pub is_first: bool,
    pub told: Told,
    /// `None`: in no row.
    pub values: Option<Values>,
}

/// Gives the values of rows, by place; none without a breakdown.
type ValuesOfRows<'a> = dyn Fn(&Rows) -> Result<Option<Vec<Values>>, Problem> + 'a;

/// A row that was read: its key, its identity, and the steps and exclusions that it was read for.
type Found = (u64, (u32, u32, u32), u64, u64);

/// The relevant events of a task.
struct Field {
    /// By user, then in order.
    hits: Vec<(u16, Hit)>,
    rows: Rows,
    /// By place and held property.
    held: Vec<Vec<Option<u32>>>,
}

impl Units {
    /// What became of all units of a task. `values` gives those of rows, by place; absent without a breakdown.
    pub fn outcomes(&self, task: &Task<'_>, values: &ValuesOfRows<'_>) -> Result<Vec<UnitOutcome>, Problem> {
        let field = self.read(task)?;
        let values = values(&field.rows)?;
        let value_of =
            |hit: &Hit| values.as_ref().map_or_else(Values::new, |v| v[hit.place as usize].clone());
        let cuts = match (&self.every_event, self.count) {
            (Some(every_event), FunnelCount::Sessions { gap }) => {
                Some((task.rows(every_event, self.watched.clone(), false)?.keys, gap.as_ms()))
            }
            _ => None,
        };
        let mut walk = Walk::new(&self.rules);
        let mut outcomes = Vec::new();
        for of_user in field.hits.chunk_by(|(a, _), (b, _)| a == b) {
            let user = of_user[0].0;
            let hits: Vec<Hit> = of_user.iter().map(|(_, hit)| *hit).collect();
            let mut look = |parts: &[Vec<Hit>], open_until: TimeMs| {
                self.look(&mut walk, user, parts, open_until, &value_of, &mut outcomes);
            };
            match &cuts {
                None => match self.count {
                    FunnelCount::Held => {
                        for part in self.parts(&hits, &field) {
                            look(&[part], UNBOUNDED_MS);
                        }
                    }
                    _ => look(&self.parts(&hits, &field), UNBOUNDED_MS),
                },
                Some((keys, gap)) => {
                    let start = keys.partition_point(|key| key_user(*key) < user);
                    let own = keys[start..].iter().take_while(|key| key_user(**key) == user);
                    let times: Vec<TimeMs> = own.map(|key| key_time(*key)).collect();
                    for session in times.chunk_by(|a, b| b - a <= *gap) {
                        let (first, last) = (session[0], session[session.len() - 1]);
                        let start = hits.partition_point(|hit| hit.time < first);
                        let end = hits.partition_point(|hit| hit.time <= last);
                        if start < end {
                            look(&self.parts(&hits[start..end], &field), last + gap);
                        }
                    }
                }
            }
        }
        Ok(outcomes)
    }

    /// Reads the events that match a step or an exclusion.
    fn read(&self, task: &Task<'_>) -> Result<Field, Problem> {
        let mut all: Vec<Found> = Vec::new();
        let mut add = |rows: Rows, steps: u64, ends: u64| {
            let named = rows.keys.iter().zip(&rows.refs).map(|(key, row)| {
                // The first step lies in the range; an event behind it may match others.
                let is_start = self.is_any_order || self.starts.contains(&key_time(*key));
                let steps = if is_start { steps } else { steps & !1 };
                (*key, (row.segment, row.group, row.row), steps, ends)
            });
            all.extend(named);
        };
        for (selection, steps) in &self.matching {
            let is_first = *steps == 1 && !self.is_any_order;
            let range = if is_first { &self.starts } else { &self.followers };
            add(task.rows(selection, range.clone(), true)?, *steps, 0);
        }
        for (index, selections) in self.exclusions.iter().enumerate() {
            for selection in selections {
                add(task.rows(selection, self.watched.clone(), true)?, 0, 1 << index);
            }
        }
        all.sort_unstable();
        all.dedup_by(|next, kept| {
            let is_same = (next.0, next.1) == (kept.0, kept.1);
            if is_same {
                kept.2 |= next.2;
                kept.3 |= next.3;
            }
            is_same
        });
        let mut field =
            Field { hits: Vec::with_capacity(all.len()), rows: Rows::default(), held: Vec::new() };
        for (place, (key, (segment, group, row), steps, ends)) in all.into_iter().enumerate() {
            let hit = Hit { time: key_time(key), steps, ends, place: place as u32 };
            field.hits.push((key_user(key), hit));
            field.rows.keys.push(key);
            field.rows.refs.push(super::RowRef { segment, group, row });
        }
        field.hits.sort_unstable();
        for property in &self.hold {
            field.held.push(property.ids(task, &field.rows)?);
        }
        Ok(field)
    }

    /// The events that attempts are looked for among: those of each held value, and what could end their attempts.
    fn parts(&self, hits: &[Hit], field: &Field) -> Vec<Vec<Hit>> {
        if self.hold.is_empty() {
            return vec![hits.to_vec()];
        }
        let held_of = |hit: &Hit| -> Vec<Option<u32>> {
            field.held.iter().map(|of_property| of_property[hit.place as usize]).collect()
        };
        let mut whole: Vec<(Vec<Option<u32>>, Hit)> = Vec::new();
        let mut lacking: Vec<(Vec<Option<u32>>, Hit)> = Vec::new();
        for hit in hits {
            let held = held_of(hit);
            let is_whole = held.iter().all(Option::is_some);
            if is_whole {
                whole.push((held, *hit));
            } else if hit.ends != 0 {
                lacking.push((held, Hit { steps: 0, ..*hit }));
            }
        }
        whole.sort_unstable();
        let part = |alike: &[(Vec<Option<u32>>, Hit)]| -> Vec<Hit> {
            let mut part: Vec<Hit> = alike.iter().map(|(_, hit)| *hit).collect();
            let concerns = |(held, _): &&(Vec<Option<u32>>, Hit)| {
                held.iter().zip(&alike[0].0).all(|(value, of_part)| value.is_none() || value == of_part)
            };
            let before = part.len();
            part.extend(lacking.iter().filter(concerns).map(|(_, hit)| *hit));
            if part.len() > before {
                part.sort_unstable();
            }
            part
        };
        whole.chunk_by(|(a, _), (b, _)| a == b).map(part).collect()
    }

    /// Adds what became of one unit, whose events are in parts that share no attempt.
    fn look(
        &self,
        walk: &mut Walk<'_>,
        user: u16,
        parts: &[Vec<Hit>],
        open_until: TimeMs,
        value_of: &dyn Fn(&Hit) -> Values,
        outcomes: &mut Vec<UnitOutcome>,
    ) {
        let mut is_first = true;
        let mut add = |(told, values): (Told, Option<Values>)| {
            outcomes.push(UnitOutcome { user, is_first, told, values });
            // Attempts are units of their own.
            is_first = self.count == FunnelCount::Attempts;
        };
        let Some(buckets) = &self.buckets else {
            let grounds: Vec<Ground<'_>> = parts.iter().map(|hits| Ground { hits, open_until }).collect();
            self.funnel(walk, &grounds, &self.starts, value_of).into_iter().for_each(&mut add);
            return;
        };
        let can_start = |hit: &&Hit| {
            self.starts.contains(&hit.time)
                && if self.is_any_order { hit.steps != 0 } else { hit.steps & 1 == 1 }
        };
        let all = parts.iter().flatten().filter(can_start);
        let mut asked: Vec<usize> = all.filter_map(|hit| buckets.bucket_of(hit.time)).collect();
        asked.sort_unstable();
        asked.dedup();
        for bucket in asked {
            let starts =
                buckets.start(bucket).max(self.starts.start)..buckets.end(bucket).min(self.starts.end);
            // What lies beyond the window of the last start is not needed.
            let end = starts.end.saturating_add(self.rules.window);
            let ground = |hits: &'_ Vec<Hit>| {
                let first = hits.partition_point(|hit| hit.time < starts.start);
                first..hits.partition_point(|hit| hit.time <= end)
            };
            let grounds: Vec<Ground<'_>> =
                parts.iter().map(|hits| Ground { hits: &hits[ground(hits)], open_until }).collect();
            self.funnel(walk, &grounds, &starts, value_of).into_iter().for_each(&mut add);
        }
    }

    /// The told attempts of one unit with these starts.
    fn funnel(
        &self,
        walk: &mut Walk<'_>,
        grounds: &[Ground<'_>],
        starts: &Range<TimeMs>,
        value_of: &dyn Fn(&Hit) -> Values,
    ) -> Vec<(Told, Option<Values>)> {
        let chooser = |ground: &Ground<'_>, attempts: &[Told]| {
            let chooser = Chooser {
                rules: &self.rules,
                hits: ground.hits,
                attribution: self.attribution,
                values: value_of,
            };
            match (self.is_any_order, attempts) {
                (true, [told]) => vec![chooser.choose_in_any_order(told)],
                _ => chooser.choose(attempts),
            }
        };
        if let (FunnelCount::Attempts, [ground]) = (self.count, grounds) {
            let attempts = attempts(&self.rules, ground, starts);
            let values = chooser(ground, &attempts);
            return attempts.into_iter().zip(values).collect();
        }
        let mut best: Vec<(Told, &Ground<'_>)> = Vec::new();
        for ground in grounds.iter().filter(|ground| !ground.hits.is_empty()) {
            let moments = Moments::new(ground.hits);
            let found = match self.is_any_order {
                true => funnel_any::told(&self.rules, ground, &moments, starts),
                false if self.rules.is_latest_best(&moments) => {
                    funnel_latest::told(&self.rules, ground, &moments, starts)
                }
                false => {
                    walk.reach(ground, &moments, starts).map(|reach| told(&self.rules, &moments, &reach))
                }
            };
            let Some(found) = found else { continue };
            let is_in_progress = best.first().is_some_and(|(other, _)| {
                other.level == found.level && (other.is_in_progress || found.is_in_progress)
            });
            match best.first().map(|(other, _)| found.compare(other)) {
                None | Some(std::cmp::Ordering::Greater) => best = vec![(found, ground)],
                Some(std::cmp::Ordering::Equal) => best.push((found, ground)),
                Some(std::cmp::Ordering::Less) => {}
            }
            best[0].0.is_in_progress |= is_in_progress;
        }
        let Some((first, _)) = best.first() else { return Vec::new() };
        let first = first.clone();
        let mut values: Option<Values> = None;
        for (told, ground) in &best {
            if let Some(found) = chooser(ground, std::slice::from_ref(told)).pop().flatten() {
                super::funnel_values::smaller(&mut values, found);
            }
        }
        vec![(first, values)]
    }
}
