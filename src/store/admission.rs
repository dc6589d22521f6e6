//! Judges the parts of a change, one after the other: whether there is room for what each brings.
//!
//! What a part was given counts for those after it; a part that is refused has taken nothing.

use hashbrown::{HashMap, HashSet};

use super::bounds::{Bound, Bounds, News, Refused};
use super::commit::OverBound;
use super::effect::NewIds;
use crate::api::Problem;
use crate::model::{EventBatch, EventRef};
use crate::segment::RowKind;

/// What became of the parts of a change.
pub(super) struct Admitted {
    /// Of those for which there is room.
    pub news: News,
    /// In order.
    pub refused: Vec<Refused>,
}

/// How many ids of each kind a store knows.
#[derive(Clone, Copy, Debug)]
pub(super) struct KnownIds {
    pub users: u64,
    pub accounts: u64,
}

/// New things that a part of a change wants, and where it says so.
#[derive(Default)]
struct Wanted<'a> {
    event: Option<&'a str>,
    properties: Vec<&'a str>,
    /// By property.
    texts: Vec<(&'a str, u64)>,
    properties_path: &'static str,
    users: Vec<(u32, &'static str)>,
    account: Option<u32>,
}

impl Wanted<'_> {
    fn is_nothing(&self) -> bool {
        let Wanted { event, properties, texts, properties_path: _, users, account } = self;
        event.is_none() && properties.is_empty() && texts.is_empty() && users.is_empty() && account.is_none()
    }
}

/// The parts of a change, judged one after the other.
pub(super) struct Admission<'a> {
    bounds: &'a Bounds,
    kind: RowKind,
    known: KnownIds,
    /// By the number of a name in the batch: whether it is known as an event's, and as a property's.
    is_known: Vec<[bool; 2]>,
    wanted: Wanted<'a>,
    events: HashSet<&'a str>,
    properties: HashSet<&'a str>,
    texts: HashMap<&'a str, HashSet<u64>>,
    users: HashSet<u32>,
    accounts: HashSet<u32>,
}

impl<'a> Admission<'a> {
    pub fn new(bounds: &'a Bounds, kind: RowKind, batch: &'a EventBatch, known: KnownIds) -> Admission<'a> {
        let is_known = |name: &str| [bounds.events.contains(name), bounds.properties.contains(name)];
        Admission {
            bounds,
            kind,
            known,
            is_known: batch.names().map(is_known).collect(),
            wanted: Wanted::default(),
            events: HashSet::new(),
            properties: HashSet::new(),
            texts: HashMap::new(),
            users: HashSet::new(),
            accounts: HashSet::new(),
        }
    }

    /// Judges so many parts; `want` tells what each wants. Ends with the first that is refused if that refuses all.
    pub fn each(
        &mut self,
        count: usize,
        over: OverBound,
        mut want: impl FnMut(&mut Admission<'a>, usize),
    ) -> Admitted {
        let mut refused = Vec::new();
        for part in 0..count {
            want(self, part);
            if self.wanted.is_nothing() {
                continue; // nearly always
            }
            let wanted = std::mem::take(&mut self.wanted);
            match self.lack(&wanted) {
                None => self.give(wanted),
                Some((bound, problem)) => {
                    refused.push(Refused { part, bound, problem });
                    if over == OverBound::Refuse {
                        break;
                    }
                }
            }
        }
        let boxed = |names: &HashSet<&str>| names.iter().map(|name| Box::from(*name)).collect();
        let texts = self.texts.drain().map(|(property, hashes)| (self.kind, property.into(), hashes));
        let news =
            News { texts: texts.collect(), events: boxed(&self.events), properties: boxed(&self.properties) };
        Admitted { news, refused }
    }

    pub fn want_user(&mut self, new_ids: &NewIds, user: u32, path: &'static str) {
        let is_new = new_ids.users.is_fresh(user) && !self.users.contains(&user);
        if is_new && self.wanted.users.iter().all(|(wanted, _)| *wanted != user) {
            self.wanted.users.push((user, path));
        }
    }

    pub fn want_account(&mut self, new_ids: &NewIds, account: u32) {
        if new_ids.accounts.is_fresh(account) && !self.accounts.contains(&account) {
            self.wanted.account = Some(account);
        }
    }

    pub fn want_event(&mut self, event: EventRef<'a>) {
        if !self.is_known[event.event_index()][0] && !self.events.contains(event.event()) {
            self.wanted.event = Some(event.event());
        }
    }

    pub fn want_properties(&mut self, row: EventRef<'a>, path: &'static str) {
        self.wanted.properties_path = path;
        for property in row.properties() {
            if !self.is_known[property.name_index()][1] && !self.properties.contains(property.name()) {
                self.wanted.properties.push(property.name());
            }
            if let Some(texts) = &self.bounds.texts {
                let name = property.name();
                let (stored, brought) = (texts.of_property(self.kind, name), self.texts.get(name));
                texts.hashes_of(&property.value(), &mut |hash| {
                    if ![stored, brought].iter().flatten().any(|known| known.contains(&hash)) {
                        self.wanted.texts.push((name, hash));
                    }
                });
            }
        }
        // Names of profiles' rows may come twice in a write.
        self.wanted.properties.sort_unstable();
        self.wanted.properties.dedup();
        self.wanted.texts.sort_unstable();
        self.wanted.texts.dedup();
    }

    /// What there is no room for.
    fn lack(&self, wanted: &Wanted<'a>) -> Option<(Bound, Problem)> {
        let most = &self.bounds.most;
        let is_full = |known: usize, wanted: usize, most: usize| wanted > most.saturating_sub(known);
        let problem = |bound: Bound, most, what, path| Some((bound, bound.problem(most, what).at(path)));
        if let Some(event) = wanted.event
            && is_full(self.bounds.events.len() + self.events.len(), 1, most.event_names)
        {
            return problem(Bound::EventNames, most.event_names, event, "/event");
        }
        let names = self.bounds.properties.len() + self.properties.len();
        if let Some(property) = wanted.properties.get(most.property_names.saturating_sub(names)) {
            return problem(Bound::PropertyNames, most.property_names, property, wanted.properties_path);
        }
        let known = self.known.users as usize + self.users.len();
        if let Some((_, path)) = wanted.users.get(most.users.saturating_sub(known)) {
            return problem(Bound::Users, most.users, "", path);
        }
        let known = self.known.accounts as usize + self.accounts.len();
        if wanted.account.is_some() && is_full(known, 1, most.accounts) {
            return problem(Bound::Accounts, most.accounts, "", "/account");
        }
        let stored = |property| self.bounds.texts.as_ref()?.of_property(self.kind, property);
        for of_property in wanted.texts.chunk_by(|a, b| a.0 == b.0) {
            let property = of_property[0].0;
            let known = [stored(property), self.texts.get(property)];
            let known = known.into_iter().flatten().map(HashSet::len).sum();
            if is_full(known, of_property.len(), most.property_values) {
                return problem(
                    Bound::PropertyValues,
                    most.property_values,
                    property,
                    wanted.properties_path,
                );
            }
        }
        None
    }

    fn give(&mut self, wanted: Wanted<'a>) {
        self.events.extend(wanted.event);
        self.properties.extend(wanted.properties);
        self.users.extend(wanted.users.into_iter().map(|(user, _)| user));
        self.accounts.extend(wanted.account);
        for (property, hash) in wanted.texts {
            self.texts.entry(property).or_default().insert(hash);
        }
    }
}
