//! One state of the store, for as long as a query needs it.

use std::sync::Arc;

use super::dictionary::Dictionary;
use super::documents::Documents;
use super::health::MissingFile;
use super::identity::Identities;
use super::view::{LiveSegment, View, add_run, sorted_runs};
use super::{Inner, Store};
use crate::model::{Entity, TimeMs};
use crate::segment::Form;

/// Everything up to one change (`one-snapshot-per-query`).
#[derive(Clone, Debug)]
pub struct Snapshot<'a> {
    /// The number of the last change in it.
    pub number: u64,
    /// On disk and in memory.
    pub segments: Vec<LiveSegment>,
    /// Stored cohorts and queries.
    pub documents: Arc<Documents>,
    /// Events before this moment are expired, and not seen.
    pub expired_before: TimeMs,
    /// Segments that are left out, because they are damaged.
    pub missing: Arc<[MissingFile]>,
    identities: Arc<Identities>,
    users: &'a Dictionary,
    accounts: &'a Dictionary,
}

impl Snapshot<'_> {
    fn dictionary(&self, entity: Entity) -> &Dictionary {
        match entity {
            Entity::User => self.users,
            Entity::Account => self.accounts,
        }
    }

    /// One more than the largest ordinal.
    pub fn ordinal_count(&self, entity: Entity) -> u32 {
        self.dictionary(entity).len()
    }

    /// Ids that lead to different users.
    pub fn user_count(&self) -> u64 {
        let gone = self.users.deleted_count() + self.identities.merged_count() as u64;
        u64::from(self.users.len()).saturating_sub(gone)
    }

    /// The user or account that an id leads to.
    pub fn find(&self, entity: Entity, id: &str) -> Option<u32> {
        let ordinal = self.dictionary(entity).find(id)?;
        Some(match entity {
            Entity::User => self.identities.user(ordinal),
            Entity::Account => ordinal,
        })
    }

    /// The user that an ordinal belongs to by now. If it was deleted, nobody has rows under what is told.
    pub fn user(&self, ordinal: u32) -> u32 {
        self.identities.user(ordinal)
    }

    /// What a user or account is called.
    pub fn name(&self, entity: Entity, ordinal: u32) -> Option<String> {
        match entity {
            Entity::User => self.users.id(self.identities.name(ordinal)),
            Entity::Account => self.accounts.id(ordinal),
        }
    }

    /// Users that have more than one id, in order of ordinals.
    pub fn merged_users(&self) -> Vec<u32> {
        let (parents, _) = self.identities.entries();
        let mut users: Vec<u32> = parents.into_iter().map(|(_, user)| user).collect();
        users.sort_unstable();
        users.dedup();
        users
    }

    /// All ids of a user, in order.
    pub fn ids_of_user(&self, user: u32) -> Vec<String> {
        let all = self.identities.members(user).iter().chain([&user]);
        let mut ids: Vec<String> = all.filter_map(|ordinal| self.users.id(*ordinal)).collect();
        ids.sort_unstable();
        ids
    }
}

impl Inner {
    /// See [`Store::snapshot`].
    pub(super) fn snapshot(&self) -> Snapshot<'_> {
        let expired_before = self.expired_before();
        {
            let view = self.view.read();
            if view.tail.is_empty() {
                return self.snapshot_of(&view, view.number, expired_before);
            }
        }
        let _sorting = self.sorting.lock();
        let number = self.sort_tail(Form::Quick);
        self.snapshot_of(&self.view.read(), number, expired_before)
    }

    fn snapshot_of(&self, view: &View, number: u64, expired_before: TimeMs) -> Snapshot<'_> {
        // Bytes may have gone since that moment was looked at.
        let expired_before = expired_before.max(view.expired_before);
        Snapshot {
            number,
            segments: view.live().cloned().collect(),
            documents: Arc::clone(&view.documents),
            expired_before,
            missing: Arc::clone(&self.missing),
            identities: Arc::clone(&view.identities),
            users: &self.users,
            accounts: &self.accounts,
        }
    }

    /// Turns the tail into runs of a form, or of a quicker one where there are runs already, and returns the last change
    /// that is in runs then. The caller holds `sorting`.
    pub(super) fn sort_tail(&self, form: Form) -> u64 {
        let (tail, number, mut runs) = {
            let view = self.view.read();
            (view.tail.clone(), view.number, view.runs.to_vec())
        };
        if tail.is_empty() {
            return number;
        }
        for run in sorted_runs(&tail, form) {
            add_run(&mut runs, run);
        }
        let mut view = self.view.write();
        view.tail.drain(..tail.len());
        view.runs = Arc::new(runs);
        view.sorted_number = number;
        number
    }
}

/// Whom an id belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The ordinal of the user.
    pub user: u32,
    /// Whether the user has no other id.
    pub is_single: bool,
}

impl Store {
    /// Whom an id belongs to by now; `None` if it is not known. Cheaper than a snapshot: nothing is sorted for it.
    pub fn identity(&self, id: &str) -> Option<Identity> {
        let ordinal = self.inner.users.find(id)?;
        let view = self.inner.view.read();
        let user = view.identities.user(ordinal);
        Some(Identity { user, is_single: view.identities.members(user).is_empty() })
    }

    /// What is stored by name, as of now. Cheap: nothing is read or sorted for it.
    pub fn documents(&self) -> Arc<Documents> {
        Arc::clone(&self.inner.view.read().documents)
    }

    /// Bytes that changes in memory take, roughly.
    pub fn memory_size(&self) -> u64 {
        use std::sync::atomic::Ordering::Relaxed;
        self.inner.head_size.load(Relaxed) + self.inner.frozen_size.load(Relaxed)
    }
}
