//! One account: profile, who acted for it, and events, newest first.

use std::ops::Range;

use roaring::RoaringBitmap;

use super::timeline::{event_json, instant, profile_json};
use crate::Store;
use crate::api::{Json, Problem};
use crate::limits::ACCOUNT_USER_COUNT_TOLD;
use crate::model::{Entity, TimeMs};
use crate::segment::{Damage, Group, RowKind};
use crate::store::{LiveSegment, Snapshot, UserRows, profile_cells};

impl Store {
    /// The body of `GET /v1/accounts/{account}`: the newest `limit` events before `before` (epoch milliseconds),
    /// whoever sent them. Events of the page's last moment come whole, even if that makes it longer.
    ///
    /// `None` if the account has neither an event nor a profile. Reads the accounts of all events.
    pub fn account(
        &self,
        account: &str,
        limit: usize,
        before: Option<TimeMs>,
    ) -> Result<Option<Json>, Problem> {
        self.read(|snapshot| told_account(snapshot, account, limit, before))
    }
}

fn told_account(
    snapshot: &Snapshot<'_>,
    account: &str,
    limit: usize,
    before: Option<TimeMs>,
) -> Result<Option<Json>, Problem> {
    let Some(ordinal) = snapshot.find(Entity::Account, account) else { return Ok(None) };
    let cells = profile_cells(snapshot.segments.iter(), RowKind::AccountProfiles, ordinal)?;
    let mut found = Found::new(limit, before, snapshot.expired_before);
    for live in &snapshot.segments {
        if live.segment.kind() == RowKind::Events {
            live.segment.groups().try_for_each(|group| found.add(live, group, ordinal))?;
        }
    }
    if found.event_count == 0 && cells.is_empty() {
        return Ok(None);
    }
    let mut users: Vec<String> =
        found.users.iter().filter_map(|user| snapshot.name(Entity::User, user)).collect();
    users.sort_unstable();
    let user_count = users.len();
    users.truncate(ACCOUNT_USER_COUNT_TOLD);
    let text = Json::String;
    let count = |count: u64| Json::Number((count as i64).into());
    let moment = |time: Option<TimeMs>| time.map_or(Json::Null, |time| text(instant(time)));
    let seen = found.seen.clone();
    Ok(Some(Json::Object(vec![
        ("account".to_owned(), text(account.to_owned())),
        ("profile".to_owned(), profile_json(&cells)),
        ("user_count".to_owned(), count(user_count as u64)),
        ("users".to_owned(), Json::Array(users.into_iter().map(text).collect())),
        ("event_count".to_owned(), count(found.event_count)),
        ("first_seen".to_owned(), moment(seen.as_ref().map(|seen| seen.start))),
        ("last_seen".to_owned(), moment(seen.map(|seen| seen.end))),
        ("events".to_owned(), Json::Array(found.told_events(snapshot)?)),
    ])))
}

/// Where an event is.
#[derive(Clone, Copy, Debug)]
struct Place<'a> {
    time: TimeMs,
    user: u32,
    group: Group<'a>,
    row: usize,
}

/// What was found of an account so far.
#[derive(Debug)]
struct Found<'a> {
    limit: usize,
    before: Option<TimeMs>,
    /// Earlier events are not seen.
    expired_before: TimeMs,
    event_count: u64,
    users: RoaringBitmap,
    /// The times of the first and the last event.
    seen: Option<Range<TimeMs>>,
    /// The newest before `before`, in no order, and some that are not.
    newest: Vec<Place<'a>>,
}

impl<'a> Found<'a> {
    /// Events held beyond twice the page before those past its end are dropped.
    const SLACK: usize = 4096;

    fn new(limit: usize, before: Option<TimeMs>, expired_before: TimeMs) -> Found<'a> {
        let (users, newest) = (RoaringBitmap::new(), Vec::new());
        Found { limit, before, expired_before, event_count: 0, users, seen: None, newest }
    }

    /// Adds the account's events of one name in one segment.
    fn add(&mut self, live: &LiveSegment, group: Group<'a>, account: u32) -> Result<(), Damage> {
        let Some(accounts) = group.accounts()? else { return Ok(()) };
        let wanted = u64::from(account) + 1;
        let mut rows: Vec<usize> = Vec::new();
        let mut at = 0;
        accounts.for_each_block(0..group.row_count(), |block| {
            let hits = block.iter().enumerate().filter(|(_, account)| **account == wanted);
            rows.extend(hits.map(|(index, _)| at + index));
            at += block.len();
        });
        if rows.is_empty() {
            return Ok(());
        }
        let (users, times) = (group.users()?, group.times()?);
        for row in rows {
            let user = users.get(row) as u32;
            if live.dead.contains(user) {
                continue;
            }
            let time = group.meta().time_min.wrapping_add(times.get(row) as i64);
            if time < self.expired_before {
                continue;
            }
            self.event_count += 1;
            self.users.insert(user);
            let seen = self.seen.get_or_insert(time..time);
            *seen = seen.start.min(time)..seen.end.max(time);
            if self.before.is_none_or(|before| time < before) {
                self.newest.push(Place { time, user, group, row });
                if self.newest.len() >= 2 * self.limit + Found::SLACK {
                    self.drop_surplus();
                }
            }
        }
        Ok(())
    }

    /// Drops what is past the page. Events of its last moment stay whole: a page ends between moments, so that
    /// the next one misses none.
    fn drop_surplus(&mut self) {
        if self.newest.len() <= self.limit {
            return;
        }
        let Some(last) = self.limit.checked_sub(1) else { return self.newest.clear() };
        let (_, last, _) = self.newest.select_nth_unstable_by_key(last, |place| -place.time);
        let last = last.time;
        self.newest.retain(|place| place.time >= last);
    }

    /// The page, newest first; events of one moment by name, then user, then id.
    fn told_events(mut self, snapshot: &Snapshot<'_>) -> Result<Vec<Json>, Problem> {
        self.drop_surplus();
        let mut events = Vec::with_capacity(self.newest.len());
        for place in self.newest {
            let rows = UserRows { group: place.group, rows: place.row..place.row + 1 };
            let user = snapshot.name(Entity::User, place.user).unwrap_or_default();
            events.extend(rows.read()?.into_iter().map(|row| (place.group.name(), user.clone(), row)));
        }
        events.sort_by(|(name_a, user_a, row_a), (name_b, user_b, row_b)| {
            let newest_first = row_b.time.cmp(&row_a.time);
            newest_first.then_with(|| (name_a, user_a, &row_a.id).cmp(&(name_b, user_b, &row_b.id)))
        });
        let told = events
            .into_iter()
            .map(|(name, user, row)| event_json(row.time, name.to_owned(), ("user", Some(user)), row));
        Ok(told.collect())
    }
}
