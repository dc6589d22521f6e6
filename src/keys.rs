//! Keys: who may ask what of a store that is served.
//!
//! A key is a text that its holder sends with each request. The store keeps its SHA-256 and its scope, never the key:
//! it is told once, when it is made. Keys are documents of the store, so a new or revoked key is durable before the
//! answer, and is in backups like everything else.
//!
//! A hash without salt or stretching suffices, because keys are made here and have 160 random bits: nobody guesses
//! them from their hashes. What is compared is hashes, in constant time.

use std::fmt;

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::Store;
use crate::api::{Json, Problem, ProblemClass};
use crate::limits::KEY_NAME_LENGTH_MAX;
use crate::model::{DocumentKind, TimeMs};
use crate::store::Document;

/// Random bytes that a key is made of.
pub const KEY_RANDOM_SIZE: usize = ID_SIZE + SECRET_SIZE;
const ID_SIZE: usize = 5;
const SECRET_SIZE: usize = 20;
/// Letters and digits that cannot be taken for one another, five bits each.
const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";

/// What a key allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// Ingest, and nothing else. May be public in a browser.
    Write,
    /// Queries and looking around; changes nothing.
    Read,
    /// Everything.
    Admin,
}

impl Scope {
    pub const WORDS: [(&'static str, Scope); 3] =
        [("write", Scope::Write), ("read", Scope::Read), ("admin", Scope::Admin)];

    pub fn word(self) -> &'static str {
        match self {
            Scope::Write => "write",
            Scope::Read => "read",
            Scope::Admin => "admin",
        }
    }

    pub fn parse(word: &str) -> Option<Scope> {
        Scope::WORDS.into_iter().find(|(known, _)| *known == word).map(|(_, scope)| scope)
    }

    /// Whether a key of this scope may do what needs a scope.
    pub fn allows(self, needed: Scope) -> bool {
        self == needed || self == Scope::Admin
    }
}

/// What may be told of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyInfo {
    /// Part of the key, and no secret: the key is listed and revoked by it.
    pub id: String,
    /// What its maker called it; may be empty.
    pub name: String,
    pub scope: Scope,
    pub created: TimeMs,
}

impl KeyInfo {
    /// As the server tells it.
    pub fn to_json(&self) -> Json {
        let text = |text: &str| Json::String(text.to_owned());
        Json::Object(vec![
            ("id".to_owned(), text(&self.id)),
            ("name".to_owned(), text(&self.name)),
            ("scope".to_owned(), text(self.scope.word())),
            (
                "created".to_owned(),
                text(&crate::query::format_instant(self.created, &jiff::tz::TimeZone::UTC)),
            ),
        ])
    }
}

/// A key that was just made. The only time that its text is known.
pub struct NewKey {
    pub info: KeyInfo,
    pub text: String,
}

impl fmt::Debug for NewKey {
    /// Leaves the key out, so that no log ever has it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewKey").field("info", &self.info).finish_non_exhaustive()
    }
}

/// What the store keeps of a key.
struct Record {
    info: KeyInfo,
    hash: [u8; 32],
}

impl Record {
    fn to_text(&self) -> String {
        let hash: String = self.hash.iter().map(|byte| format!("{byte:02x}")).collect();
        let text = |text: &str| Json::String(text.to_owned());
        let fields = vec![
            ("name".to_owned(), text(&self.info.name)),
            ("scope".to_owned(), text(self.info.scope.word())),
            ("created".to_owned(), Json::Number(self.info.created.into())),
            ("sha256".to_owned(), Json::String(hash)),
        ];
        Json::Object(fields).to_string()
    }

    fn parse(id: &str, document: &Document) -> Result<Record, Problem> {
        let damaged =
            || Problem::new(ProblemClass::Corrupt, format!("what is stored of key {id} is damaged"));
        let Document::Text(text) = document else { return Err(damaged()) };
        let parse = || -> Option<Record> {
            let json = Json::parse(text.as_bytes()).ok()?;
            let text = |name| match json.get(name) {
                Some(Json::String(text)) => Some(text.as_str()),
                _ => None,
            };
            let created = match json.get("created") {
                Some(Json::Number(number)) => number.to_string().parse().ok()?,
                _ => return None,
            };
            let info = KeyInfo {
                id: id.to_owned(),
                name: text("name")?.to_owned(),
                scope: Scope::parse(text("scope")?)?,
                created,
            };
            Some(Record { info, hash: hash_of_hex(text("sha256")?)? })
        };
        parse().ok_or_else(damaged)
    }
}

fn hash_of_hex(hex: &str) -> Option<[u8; 32]> {
    let mut hash = [0; 32];
    if hex.len() != 2 * hash.len() || !hex.is_ascii() {
        return None;
    }
    for (index, byte) in hash.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&hex[2 * index..2 * index + 2], 16).ok()?;
    }
    Some(hash)
}

fn hash(key: &str) -> [u8; 32] {
    Sha256::digest(key.as_bytes()).into()
}

/// Writes bytes in [`ALPHABET`], first bit first. Their number is a multiple of five.
fn letters(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 8 / 5);
    for group in bytes.chunks_exact(5) {
        let bits = group.iter().fold(0_u64, |bits, byte| bits << 8 | u64::from(*byte));
        text.extend((0..8).rev().map(|place| char::from(ALPHABET[(bits >> (5 * place)) as usize % 32])));
    }
    text
}

/// Whether a text has the form of a key of ours, valid or not.
pub(crate) fn is_key(text: &str) -> bool {
    id_in(text).is_some()
}

/// The id in the text of a key: `fw_<scope>_<id>_<secret>`.
fn id_in(key: &str) -> Option<&str> {
    let mut parts = key.strip_prefix("fw_")?.splitn(3, '_');
    let (_scope, id, _secret) = (parts.next()?, parts.next()?, parts.next()?);
    Some(id)
}

impl Store {
    /// Makes a key, durably. `random` must be from a source that nobody can guess.
    pub fn create_key(
        &self,
        scope: Scope,
        name: &str,
        created: TimeMs,
        random: &[u8; KEY_RANDOM_SIZE],
    ) -> Result<NewKey, Problem> {
        if name.chars().count() > KEY_NAME_LENGTH_MAX || name.chars().any(char::is_control) {
            let detail = format!(
                "what a key is called has at most {KEY_NAME_LENGTH_MAX} characters, and no control characters"
            );
            return Err(Problem::invalid(detail).at("/name"));
        }
        let (id, secret) = random.split_at(ID_SIZE);
        let id = letters(id);
        let text = format!("fw_{}_{id}_{}", scope.word(), letters(secret));
        if self.documents().get(DocumentKind::Key, &id).is_some() {
            let problem = Problem::new(ProblemClass::Conflict, "chance gave this key the id of another");
            return Err(problem.hint("make it again"));
        }
        let info = KeyInfo { id, name: name.to_owned(), scope, created };
        let record = Record { hash: hash(&text), info };
        self.put_text(DocumentKind::Key, &record.info.id, record.to_text())?;
        Ok(NewKey { info: record.info, text })
    }

    /// All keys there are, in order of their ids.
    pub fn list_keys(&self) -> Result<Vec<KeyInfo>, Problem> {
        let documents = self.documents();
        let keys = documents.of_kind(DocumentKind::Key);
        keys.map(|(id, document)| Record::parse(id, document).map(|record| record.info)).collect()
    }

    /// Takes a key away, durably. From then on it opens nothing.
    pub fn revoke_key(&self, id: &str) -> Result<(), Problem> {
        match self.remove_document(DocumentKind::Key, id)? {
            true => Ok(()),
            false => Err(Problem::new(ProblemClass::NotFound, format!("there is no key {id:?}"))
                .hint("flywheel keys list, or GET /v1/admin/keys, tells which there are")),
        }
    }

    /// Whether there is any key.
    pub fn has_keys(&self) -> bool {
        self.documents().of_kind(DocumentKind::Key).next().is_some()
    }

    /// The key that this is the text of; `None` if there is none.
    ///
    /// How long it takes says nothing of how much of the text is right.
    pub fn find_key(&self, text: &str) -> Result<Option<KeyInfo>, Problem> {
        let Some(id) = id_in(text) else { return Ok(None) };
        let documents = self.documents();
        let Some(document) = documents.get(DocumentKind::Key, id) else { return Ok(None) };
        let record = Record::parse(id, document)?;
        let is_same: bool = record.hash.ct_eq(&hash(text)).into();
        Ok(is_same.then_some(record.info))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn random(seed: u8) -> [u8; KEY_RANDOM_SIZE] {
        std::array::from_fn(|index| seed.wrapping_mul(31).wrapping_add(index as u8 * 7))
    }

    #[test]
    fn a_key_is_found_by_its_whole_text_and_by_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        assert!(!store.has_keys());
        let key = store.create_key(Scope::Write, "web", 1_700_000_000_000, &random(1)).unwrap();
        assert_eq!(store.find_key(&key.text).unwrap(), Some(key.info.clone()));
        assert_eq!(key.text.len(), "fw_write_".len() + 8 + 1 + 32);
        for at in 0..key.text.len() {
            let mut other = key.text.clone().into_bytes();
            other[at] = if other[at] == b'a' { b'b' } else { b'a' };
            assert_eq!(store.find_key(&String::from_utf8(other).unwrap()).unwrap(), None, "at {at}");
            assert_eq!(store.find_key(&key.text[..at]).unwrap(), None, "cut at {at}");
        }
        // Nobody makes more of a key by saying so in it.
        assert_eq!(store.find_key(&key.text.replace("write", "admin")).unwrap(), None);
    }

    #[test]
    fn keys_outlive_the_process_and_revoked_ones_stay_revoked() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let keys: Vec<NewKey> = Scope::WORDS
            .into_iter()
            .zip(1..)
            .map(|((name, scope), seed)| store.create_key(scope, name, 0, &random(seed)).unwrap())
            .collect();
        store.revoke_key(&keys[0].info.id).unwrap();
        assert_eq!(store.find_key(&keys[0].text).unwrap(), None, "at once");
        drop(store); // without sealing: from the log
        let store = Store::open(folder.path()).unwrap();
        assert_eq!(store.list_keys().unwrap().len(), 2);
        store.close().unwrap(); // sealing: from the manifest
        let store = Store::open(folder.path()).unwrap();
        let found: Vec<Option<Scope>> =
            keys.iter().map(|key| store.find_key(&key.text).unwrap().map(|info| info.scope)).collect();
        assert_eq!(found, [None, Some(Scope::Read), Some(Scope::Admin)]);
        assert_eq!(store.revoke_key(&keys[0].info.id).unwrap_err().status(), 404);
    }

    #[test]
    fn no_file_of_the_store_has_the_key() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let key = store.create_key(Scope::Admin, "", 0, &random(9)).unwrap();
        let secret = key.text.rsplit('_').next().unwrap().to_owned();
        assert!(!format!("{key:?}").contains(&secret));
        for is_sealed in [false, true] {
            if is_sealed {
                store.seal().unwrap();
            }
            let directory = crate::io::Disk::open(folder.path()).unwrap();
            for (name, _) in crate::io::Directory::list(&directory).unwrap() {
                let bytes = crate::io::Directory::read(&directory, &name).unwrap();
                assert!(memchr::memmem::find(&bytes, secret.as_bytes()).is_none(), "{name}");
            }
        }
    }

    #[test]
    fn a_scope_allows_its_own_and_admin_all() {
        for (_, scope) in Scope::WORDS {
            for (_, needed) in Scope::WORDS {
                assert_eq!(scope.allows(needed), scope == needed || scope == Scope::Admin);
            }
        }
    }
}
