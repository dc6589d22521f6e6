//! Which ids are one user.
//!
//! Every id has an ordinal; a user is the ordinal that its ids lead to. Rows are kept under users only, so that
//! queries pay nothing for identity. A union-find in which the caller chooses the root: the one with most rows, so that
//! the fewest are moved.

use hashbrown::HashMap;

/// Ordinals that belong to ordinals.
pub type Pairs = Vec<(u32, u32)>;

/// The merges of a store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identities {
    /// From an ordinal to one that it was merged into; roots are not here.
    parents: HashMap<u32, u32>,
    /// The ordinal whose id a user is called by, where it is not the user's own.
    names: HashMap<u32, u32>,
    /// All other ordinals of a user.
    members: HashMap<u32, Vec<u32>>,
}

impl Identities {
    /// The user that an ordinal belongs to.
    pub fn user(&self, ordinal: u32) -> u32 {
        // Every member points at its root directly: merging rewrites the smaller side.
        self.parents.get(&ordinal).copied().unwrap_or(ordinal)
    }

    /// The ordinal whose id names the user.
    pub fn name(&self, user: u32) -> u32 {
        self.names.get(&user).copied().unwrap_or(user)
    }

    /// The ordinals merged into a user, itself apart.
    pub fn members(&self, user: u32) -> &[u32] {
        self.members.get(&user).map_or(&[], Vec::as_slice)
    }

    /// Ordinals that are not users of their own any more.
    pub fn merged_count(&self) -> usize {
        self.parents.len()
    }

    /// Makes two users one. `root` is which of the two keeps its ordinal; the user is called as `into` was.
    pub fn merge(&mut self, from: u32, into: u32, root: u32) {
        debug_assert!(from != into && (root == from || root == into));
        let name = self.name(into);
        let other = if root == from { into } else { from };
        let mut moved = self.members.remove(&other).unwrap_or_default();
        moved.push(other);
        for member in &moved {
            self.parents.insert(*member, root);
        }
        self.members.entry(root).or_default().extend(moved);
        self.names.remove(&other);
        if name == root {
            self.names.remove(&root);
        } else {
            self.names.insert(root, name);
        }
    }

    /// Forgets a user with all its members.
    pub fn delete(&mut self, user: u32) {
        for member in self.members.remove(&user).unwrap_or_default() {
            self.parents.remove(&member);
        }
        self.names.remove(&user);
    }

    /// All merges as (member, user), by member; and all names as (user, name), by user.
    pub fn entries(&self) -> (Pairs, Pairs) {
        let sorted = |map: &HashMap<u32, u32>| {
            let mut entries: Vec<(u32, u32)> = map.iter().map(|(a, b)| (*a, *b)).collect();
            entries.sort_unstable();
            entries
        };
        (sorted(&self.parents), sorted(&self.names))
    }

    /// The merges that [`Identities::entries`] told.
    pub fn from_entries(parents: Pairs, names: Pairs) -> Identities {
        let mut members: HashMap<u32, Vec<u32>> = HashMap::new();
        for (member, user) in &parents {
            members.entry(*user).or_default().push(*member);
        }
        Identities { parents: parents.into_iter().collect(), names: names.into_iter().collect(), members }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_is_one_user_called_by_its_last_into() {
        let mut identities = Identities::default();
        identities.merge(1, 2, 1); // 1 → 2, rows stay at 1
        assert_eq!((identities.user(2), identities.name(1)), (1, 2));
        identities.merge(1, 3, 3); // 2 → 3
        assert_eq!([1, 2, 3].map(|ordinal| identities.user(ordinal)), [3; 3]);
        assert_eq!(identities.name(3), 3);
        let (parents, names) = identities.entries();
        let mut again = Identities::from_entries(parents, names);
        assert_eq!(again.entries(), identities.entries());
        again.delete(3);
        assert_eq!(again, Identities::default());
    }
}
