//! Proves a segment sound, beyond its checksums: that what it says of itself holds of its rows.
//!
//! Reading relies on less, so that it stays fast and total. This finds what was wrong before it was written.

use super::reader::Activity;
use super::{Column, Damage, Group, RowKind, Segment, activity_key};
use crate::format::{DecodeError, IntColumn};
use crate::limits::{TIME_MAX_MS, TIME_MIN_MS};
use crate::model::DAY_MS;

/// What ordinals and numbers in a segment must stay below.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    pub user_count: u32,
    pub account_count: u32,
    pub next_arrival: u64,
}

/// Activity keys of the rows that were read.
#[derive(Default)]
struct Active {
    users: Vec<u64>,
    accounts: Vec<u64>,
}

impl Segment {
    /// Reads everything, and checks all that must hold of it.
    pub fn prove(&self, bounds: Bounds) -> Result<(), Damage> {
        self.verify()?;
        for property in 0..self.properties().count() as u32 {
            if let Some(values) = self.values(property)? {
                let values = values.values().map_err(|error| self.wrap(error))?;
                self.require(values.is_sorted_by(|a, b| a < b), "values are not in order")?;
            }
        }
        if let Some(anchors) = self.anchors()? {
            let (users, starts) = (all(&anchors.users().into()), all(&anchors.starts().into()));
            let is_ordered = users
                .windows(2)
                .zip(starts.windows(2))
                .all(|(users, starts)| (users[0], starts[0]) < (users[1], starts[1]));
            self.require(is_ordered, "anchors are not in order of user and time")?;
        }
        let mut active = Active::default();
        for group in self.groups() {
            self.prove_group(group, bounds, &mut active)?;
        }
        self.prove_activity(active.users, self.activity()?)?;
        if self.knows_account_days() {
            self.prove_activity(active.accounts, self.account_activity()?)?;
        }
        self.check_mapped()
    }

    fn prove_activity(&self, mut active: Vec<u64>, activity: Option<Activity<'_>>) -> Result<(), Damage> {
        active.sort_unstable();
        active.dedup();
        match activity {
            Some(activity) => {
                self.require(all(&activity.keys()) == active, "the activity is not that of the rows")
            }
            None => self.require(active.is_empty(), "there are events and no activity"),
        }
    }

    fn require(&self, holds: bool, what: &'static str) -> Result<(), Damage> {
        match holds {
            true => Ok(()),
            false => Err(self.wrap(DecodeError::Malformed { structure: "segment", what })),
        }
    }

    fn prove_group(&self, group: Group<'_>, bounds: Bounds, active: &mut Active) -> Result<(), Damage> {
        let meta = group.meta();
        let owner_count = match self.kind() {
            RowKind::Events | RowKind::UserProfiles => bounds.user_count,
            RowKind::AccountProfiles => bounds.account_count,
        };
        if let Some((anchors, places)) = group.anchors_of_rows()? {
            let is_known = all(&places.into()).iter().all(|place| *place < anchors.users().len() as u64);
            self.require(is_known, "a row has an anchor that is not there")?;
        }
        let users = all(&group.users()?);
        let times = all(&group.times()?);
        let is_ordered = users
            .windows(2)
            .zip(times.windows(2))
            .all(|(users, times)| users[0] < users[1] || (users[0] == users[1] && times[0] <= times[1]));
        self.require(is_ordered, "rows are not in order of user and time")?;
        let ends = (users.first().copied(), users.last().copied());
        let told = (Some(u64::from(meta.user_min)), Some(u64::from(meta.user_max)));
        self.require(ends == told, "the least or the largest user is not as told")?;
        self.require(meta.user_max < owner_count, "a row belongs to nobody")?;
        let span = (times.iter().min().copied(), times.iter().max().copied());
        let told = (Some(0), Some(meta.time_max.wrapping_sub(meta.time_min) as u64));
        self.require(span == told, "the first or the last time is not as told")?;
        if let Some(accounts) = group.accounts()? {
            self.prove_exceptions(&accounts)?;
            let is_known = all(&accounts).iter().all(|account| *account <= u64::from(bounds.account_count));
            self.require(is_known, "an event is of an account that is not there")?;
        }
        if let Some(ids) = group.ids()? {
            for row in 0..group.row_count() {
                let id = ids.get(row).map_err(|error| self.wrap(error))?;
                self.require(std::str::from_utf8(id).is_ok(), "an event's id is not UTF-8")?;
            }
        }
        if let Some(arrivals) = group.arrivals()? {
            let is_past = all(&arrivals).iter().all(|arrival| *arrival < bounds.next_arrival);
            self.require(is_past, "a row has a number of arrival that was not given yet")?;
        }
        for property in group.column_properties() {
            self.prove_column(group, property)?;
        }
        if self.kind() == RowKind::Events {
            let is_in_range = TIME_MIN_MS <= meta.time_min && meta.time_max <= TIME_MAX_MS;
            self.require(is_in_range, "a time is out of range")?;
            let day = |time: &u64| meta.time_min.wrapping_add(*time as i64).div_euclid(DAY_MS) as i32;
            let keys = users.iter().zip(&times).map(|(user, time)| activity_key(*user as u32, day(time)));
            active.users.extend(keys);
            let accounts = group.accounts()?.map(|accounts| all(&accounts)).unwrap_or_default();
            let known = accounts.iter().zip(&times).filter(|(account, _)| **account > 0);
            active.accounts.extend(known.map(|(account, time)| activity_key(*account as u32 - 1, day(time))));
        }
        Ok(())
    }

    /// Rows that differ from the table by user must ascend, and be rows.
    fn prove_exceptions(&self, codes: &IntColumn<'_>) -> Result<(), Damage> {
        let rows = codes.exceptions().map(|rows| all(&rows.into())).unwrap_or_default();
        self.require(rows.is_sorted_by(|a, b| a < b), "exceptions are not in order")?;
        let is_row = rows.last().is_none_or(|last| *last < codes.len() as u64);
        self.require(is_row, "an exception is of a row that is not there")
    }

    fn prove_column(&self, group: Group<'_>, property: u32) -> Result<(), Damage> {
        let column = group.column(property)?.expect("the group has it");
        match column {
            Column::Codes { codes, .. } => {
                self.prove_exceptions(&codes)?;
                let value_count = self.values(property)?.map_or(0, |values| values.len()) as u64;
                self.require(all(&codes).iter().all(|code| *code <= value_count), "a code has no value")
            }
            Column::Numbers { mantissa_min, mantissa_max, mantissas, presence, .. } => {
                let span = mantissa_max.wrapping_sub(mantissa_min) as u64;
                self.require(mantissa_min <= mantissa_max, "the least number is not the least")?;
                let is_inside = all(&mantissas).iter().all(|mantissa| *mantissa <= span);
                self.require(is_inside, "a number is larger than told")?;
                let presence = presence.map(|presence| all(&presence)).unwrap_or_default();
                self.require(presence.iter().all(|is_there| *is_there <= 1), "a flag is neither 0 nor 1")
            }
        }
    }
}

fn all(column: &IntColumn<'_>) -> Vec<u64> {
    let mut all = Vec::with_capacity(column.len());
    column.for_each_block(0..column.len(), |block| all.extend_from_slice(block));
    all
}
