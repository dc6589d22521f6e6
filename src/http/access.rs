//! Who may do what: the scope that each action needs, and where a request carries its key.
//!
//! Keys are looked up anew for each request, so a revoked one opens nothing from the next request on, on whatever
//! connection it comes. The key is looked at before any of the body is read or decoded. Whoever has no valid key is
//! told 401 and nothing else; whoever has one of another scope is told 403, whether there is what they ask for or not.
//!
//! Without keys the server is for its own machine alone: pages may send what happens, as with a public write key, and
//! `origin` keeps them out of all else.

use std::sync::atomic::{AtomicBool, Ordering};

use hyper::header::{AUTHORIZATION, HeaderMap};
use hyper::http::request::Parts;

use super::origin;
use super::parameters::find_raw;
use super::routes::Action;
use crate::Store;
use crate::api::{Problem, ProblemClass};
use crate::keys::Scope;

/// The parameter in which a page may send its write key: `navigator.sendBeacon` sets no headers.
pub(super) const KEY_PARAMETER: &str = "key";

/// What an action needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// Nothing: it tells what anybody may know.
    Open,
    /// A key of this scope, or of scope admin.
    Key(Scope),
}

/// What an action needs. Without a wildcard, so that nobody adds an action and forgets who may ask for it.
pub(super) fn needed(action: Action) -> Access {
    match action {
        // The page and the description say nothing of what is stored.
        Action::ShowHealth
        | Action::ShowReadiness
        | Action::ShowConsole
        | Action::ShowConsoleFile
        | Action::ShowOpenApi => Access::Open,
        Action::WriteEvents | Action::WriteProfiles(_) | Action::MergeIdentities => Access::Key(Scope::Write),
        Action::ShowUser
        | Action::ShowAccount
        | Action::Query
        | Action::QueryInAddress
        | Action::ShowSchema
        | Action::ShowCohort
        | Action::ShowQuery
        | Action::RunQuery
        | Action::ListDocuments(_)
        | Action::ShowGrowthModel
        | Action::ShowArrivals
        | Action::Export
        | Action::ShowMetrics => Access::Key(Scope::Read),
        Action::DeleteUser
        | Action::PutDocument(_)
        | Action::DeleteDocument(_)
        | Action::PutGrowthModel
        | Action::DeleteGrowthModel
        | Action::Seal
        | Action::Compact
        | Action::Backup
        | Action::ListKeys
        | Action::CreateKey
        | Action::RevokeKey => Access::Key(Scope::Admin),
    }
}

/// Lets requests in.
#[derive(Debug)]
pub(super) struct Doorkeeper {
    /// Origins whose pages may ask queries, and without keys whatever they like.
    origins: Vec<String>,
    /// Whether keys are asked for. Once they are, they are until the process ends: revoking the last key must not open
    /// the store to everybody.
    is_asking: AtomicBool,
}

impl Doorkeeper {
    /// Asks for keys from the start if the store has any, or if `is_asking`: other machines reach the server.
    pub fn new(store: &Store, is_asking: bool, origins: Vec<String>) -> Doorkeeper {
        Doorkeeper { origins, is_asking: AtomicBool::new(is_asking || store.has_keys()) }
    }

    /// Whether keys are asked for.
    pub fn asks_for_keys(&self, store: &Store) -> bool {
        if self.is_asking.load(Ordering::Relaxed) {
            return true;
        }
        let has_keys = store.has_keys();
        if has_keys {
            self.is_asking.store(true, Ordering::Relaxed);
        }
        has_keys
    }

    pub fn is_listed(&self, origin: &str) -> bool {
        self.origins.iter().any(|known| known == origin)
    }

    /// Lets a request pass, or says why not.
    pub fn admit(&self, store: &Store, access: Access, parts: &Parts) -> Result<(), Problem> {
        if !self.asks_for_keys(store) {
            return match access {
                Access::Open | Access::Key(Scope::Write) => origin::check_host(&parts.headers),
                Access::Key(_) => origin::check(&parts.headers, &|origin| self.is_listed(origin)),
            };
        }
        match access {
            Access::Open => Ok(()),
            Access::Key(Scope::Write) => {
                let parameter = find_raw(parts.uri.query(), KEY_PARAMETER)?;
                self.admit_writer(store, &parts.headers, parameter.as_deref())
            }
            Access::Key(scope) => check(store, bearer(&parts.headers), scope),
        }
    }

    /// Lets a request to write pass whose client puts the key where its own protocol says: `carried` has what was
    /// found there, in the order in which it counts. A bearer's key and the user of Basic authorization count too.
    ///
    /// For the dialects of other products' clients, whose actions are [`Access::Open`] to the router and call this
    /// first. Where the key is in the body, the body has to be read for it; that is bounded as every body is.
    pub fn admit_writer<'a>(
        &self,
        store: &Store,
        headers: &HeaderMap,
        carried: impl IntoIterator<Item = &'a str>,
    ) -> Result<(), Problem> {
        if !self.asks_for_keys(store) {
            return origin::check_host(headers);
        }
        let basic = basic_user(headers);
        let known = bearer(headers).into_iter().chain(basic.as_deref());
        let candidates = known.map(str::to_owned).chain(carried.into_iter().map(str::to_owned));
        let mut outcome = check(store, None, Scope::Write);
        for key in candidates.filter(|key| !key.is_empty()) {
            outcome = check(store, Some(&key), Scope::Write);
            if outcome.is_ok() {
                break;
            }
        }
        outcome
    }
}

fn check(store: &Store, key: Option<&str>, needed: Scope) -> Result<(), Problem> {
    let Some(key) = key else {
        return Err(Problem::new(ProblemClass::Unauthorized, "the request carries no key")
            .hint("send Authorization: Bearer KEY; flywheel keys create makes one"));
    };
    match store.find_key(key)? {
        Some(info) if info.scope.allows(needed) => Ok(()),
        Some(info) => {
            let (has, needed) = (info.scope.word(), needed.word());
            let detail = format!("the key is one of scope {has}, and this takes one of scope {needed}");
            Err(Problem::new(ProblemClass::Forbidden, detail))
        }
        None => Err(Problem::new(ProblemClass::Unauthorized, "the key is not valid")
            .hint("it may have been revoked; flywheel keys list tells which there are")),
    }
}

/// The key of `Authorization: Bearer KEY`.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, key) = headers.get(AUTHORIZATION)?.to_str().ok()?.trim().split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
}

/// The user of `Authorization: Basic`, which some clients put their key in.
fn basic_user(headers: &HeaderMap) -> Option<String> {
    let (scheme, encoded) = headers.get(AUTHORIZATION)?.to_str().ok()?.trim().split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = String::from_utf8(base64(encoded.trim())?).ok()?;
    Some(decoded.split(':').next().unwrap_or_default().to_owned())
}

/// Decodes base64 (RFC 4648, 4), with or without its padding.
fn base64(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3 + 2);
    let (mut bits, mut bit_count) = (0_u32, 0);
    for letter in text.trim_end_matches('=').bytes() {
        let value = match letter {
            b'A'..=b'Z' => letter - b'A',
            b'a'..=b'z' => letter - b'a' + 26,
            b'0'..=b'9' => letter - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        bit_count += 6;
        if bit_count >= 8 {
            bit_count -= 8;
            bytes.push((bits >> bit_count) as u8);
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use hyper::Request;
    use hyper::header::HeaderValue;

    use super::*;
    use crate::keys::{KEY_RANDOM_SIZE, NewKey};

    struct Door {
        keeper: Doorkeeper,
        store: Store,
        write: NewKey,
        read: NewKey,
        _folder: tempfile::TempDir,
    }

    fn door() -> Door {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let key = |scope, seed| store.create_key(scope, "", 0, &[seed; KEY_RANDOM_SIZE]).unwrap();
        let (write, read) = (key(Scope::Write, 1), key(Scope::Read, 2));
        Door { keeper: Doorkeeper::new(&store, false, Vec::new()), store, write, read, _folder: folder }
    }

    fn parts(target: &str, authorization: Option<&str>) -> Parts {
        let mut request = Request::builder().uri(target);
        if let Some(value) = authorization {
            request = request.header(AUTHORIZATION, HeaderValue::from_str(value).unwrap());
        }
        request.body(()).unwrap().into_parts().0
    }

    fn status(outcome: Result<(), Problem>) -> u16 {
        outcome.map_or_else(|problem| problem.status(), |()| 200)
    }

    #[test]
    fn a_key_is_read_where_it_may_be() {
        let Door { keeper, store, write, read, .. } = door();
        let admit = |scope, target: &str, authorization: Option<&str>| {
            status(keeper.admit(&store, Access::Key(scope), &parts(target, authorization)))
        };
        let in_address = format!("/v1/events?key={}", write.text);
        assert_eq!(admit(Scope::Write, &in_address, None), 200);
        assert_eq!(
            admit(Scope::Read, &in_address.replace(&write.text, &read.text), None),
            401,
            "for writing only"
        );
        assert_eq!(admit(Scope::Read, "/", Some(&format!("bearer  {}", read.text))), 200);
        assert_eq!(admit(Scope::Read, "/", Some(&format!("Bearer {}", write.text))), 403);
        for wrong in ["", "Bearer", "Bearer ", "Bearer fw_read_x_y", "Basic Og==", &read.text] {
            assert_eq!(admit(Scope::Read, "/", Some(wrong)), 401, "{wrong}");
        }
        assert_eq!(status(keeper.admit(&store, Access::Open, &parts("/", None))), 200);
    }

    #[test]
    fn the_keys_of_other_products_clients_are_found_where_they_put_them() {
        let Door { keeper, store, write, read, .. } = door();
        let admit = |authorization: Option<&str>, carried: &[&str]| {
            status(keeper.admit_writer(&store, &parts("/", authorization).headers, carried.iter().copied()))
        };
        assert_eq!(admit(None, &[&write.text]), 200);
        assert_eq!(admit(None, &["", "other", &write.text]), 200);
        assert_eq!((admit(None, &[]), admit(None, &["other"]), admit(None, &[&read.text])), (401, 401, 403));
        // "fw_write_bbbb…:" as curl -u would send it.
        let mut encoded = String::new();
        for group in format!("{}:", write.text).as_bytes().chunks(3) {
            let bits = (0..3).fold(0_u32, |bits, at| bits << 8 | u32::from(*group.get(at).unwrap_or(&0)));
            const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
            let letter = |place: u32| char::from(LETTERS[(bits >> (6 * place)) as usize % 64]);
            encoded.extend((0..=group.len() as u32).map(|place| letter(3 - place)));
        }
        assert_eq!(admit(Some(&format!("Basic {encoded}")), &[]), 200);
    }

    #[test]
    fn the_last_key_revoked_leaves_the_door_closed() {
        let Door { keeper, store, write, read, .. } = door();
        for key in [write, read] {
            store.revoke_key(&key.info.id).unwrap();
        }
        assert_eq!(status(keeper.admit(&store, Access::Key(Scope::Read), &parts("/", None))), 401);
    }
}
