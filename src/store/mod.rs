//! Which segments are live, and what is new. (Being built: see docs/architecture.md.)

use std::path::Path;
use std::sync::Arc;

use crate::api::{Answer, Json, Problem};
use crate::io::Directory;
use crate::model::{Entity, EventBatch, IdentityMerge, ProfileWrite};

/// An open store: the one owner of its directory.
#[derive(Debug)]
pub struct Store {}

/// How a store works.
#[derive(Clone, Debug)]
pub struct StoreOptions {
    /// Whether sealing and compaction happen on threads of their own. If not, they happen only when called.
    pub background: bool,
}

impl Default for StoreOptions {
    fn default() -> StoreOptions {
        StoreOptions { background: true }
    }
}

/// What became of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Receipt {
    pub accepted: u64,
    /// Events that were there already, or twice in the batch.
    pub duplicates: u64,
}

impl Store {
    /// Opens the store at `path`, and makes an empty one if there is none.
    pub fn open(_path: &Path) -> Result<Store, Problem> {
        Ok(Store {})
    }

    /// Opens the store in `directory`, and makes an empty one if there is none.
    pub fn open_on(_directory: Arc<dyn Directory>, _options: StoreOptions) -> Result<Store, Problem> {
        Ok(Store {})
    }

    /// Stores the batch, all or nothing. Returns after it is durable; every later query sees it.
    pub fn ingest(&self, _batch: EventBatch) -> Result<Receipt, Problem> {
        Ok(Receipt::default())
    }

    /// Applies changes to profiles, all or nothing and durably.
    pub fn write_profiles(&self, _entity: Entity, _writes: Vec<ProfileWrite>) -> Result<(), Problem> {
        Ok(())
    }

    /// Makes pairs of ids one user each, retroactively and durably.
    pub fn merge_identities(&self, _merges: Vec<IdentityMerge>) -> Result<(), Problem> {
        Ok(())
    }

    /// Deletes a user with all ids merged into it. Returns whether there was one.
    pub fn delete_user(&self, _user: &str) -> Result<bool, Problem> {
        Ok(false)
    }

    /// Answers a query body that carries its `"kind"`.
    pub fn query(&self, _query: &Json) -> Result<Answer, Problem> {
        Err(Problem::invalid("no kinds yet"))
    }

    /// The body of `GET /v1/schema`: events and their properties.
    pub fn schema(&self) -> Result<serde_json::Value, Problem> {
        Ok(serde_json::Value::Null)
    }

    /// The body of `GET /v1/users/{user}`: the newest `limit` events before `before` (epoch milliseconds).
    pub fn user(
        &self,
        _user: &str,
        _limit: usize,
        _before: Option<i64>,
    ) -> Result<Option<serde_json::Value>, Problem> {
        Ok(None)
    }

    /// Moves everything in memory into segments on disk.
    pub fn seal(&self) -> Result<(), Problem> {
        Ok(())
    }

    /// Merges segments until there is nothing left to merge, and drops the bytes of what was deleted.
    pub fn compact(&self) -> Result<(), Problem> {
        Ok(())
    }

    /// Stops background work and closes cleanly. Dropping the store does the same, without telling of errors.
    pub fn close(self) -> Result<(), Problem> {
        Ok(())
    }
}
