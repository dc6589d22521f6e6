//! The addresses of keys.

use hyper::StatusCode;
use serde_json::json;

use super::handlers::{Call, now};
use super::media::require_json;
use super::respond::{self, Reply};
use crate::Store;
use crate::api::{Json, Problem, ProblemClass, nearest};
use crate::keys::{KEY_RANDOM_SIZE, KeyInfo, Scope};

/// Random bytes for a key, from the system.
pub fn fresh_random() -> Result<[u8; KEY_RANDOM_SIZE], Problem> {
    let mut random = [0; KEY_RANDOM_SIZE];
    getrandom::fill(&mut random)
        .map_err(|e| Problem::new(ProblemClass::Io, format!("the system has no random bytes: {e}")))?;
    Ok(random)
}

impl Call<'_> {
    pub(super) async fn list_keys(&mut self) -> Result<Reply, Problem> {
        let keys = self.app.bridge.store().list_keys()?;
        let keys = Json::Array(keys.iter().map(KeyInfo::to_json).collect());
        Ok(respond::json(StatusCode::OK, &Json::Object(vec![("keys".to_owned(), keys)])))
    }

    pub(super) async fn create_key(&mut self) -> Result<Reply, Problem> {
        require_json(&self.parts.headers)?;
        let received = self.body().await?;
        let asks_for_keys = self.app.doorkeeper.asks_for_keys(self.app.bridge.store());
        let create = move |store: &Store| {
            let (scope, name) = received.tree(|body, room| wanted_key(&Json::parse_within(body, room)?))?;
            if !asks_for_keys && scope != Scope::Admin {
                let problem = Problem::new(
                    ProblemClass::Conflict,
                    "the first key is one of scope admin: from it on the server asks for keys, and would let nobody \
                     make the next",
                );
                return Err(problem.at("/scope").hint("make that one first, or use flywheel keys create"));
            }
            store.create_key(scope, &name, now(), &fresh_random()?)
        };
        let key = self.app.bridge.write(create).await?;
        let mut told = key.info.to_json();
        if let Json::Object(fields) = &mut told {
            fields.push(("key".to_owned(), Json::String(key.text)));
        }
        Ok(respond::json(StatusCode::CREATED, &told))
    }

    pub(super) async fn revoke_key(&mut self) -> Result<Reply, Problem> {
        let id = self.segment();
        self.app.bridge.write(move |store| store.revoke_key(&id)).await?;
        Ok(respond::json(StatusCode::OK, &json!({"revoked": true})))
    }
}

/// The scope and the name in the body of a request for a key.
fn wanted_key(body: &Json) -> Result<(Scope, String), Problem> {
    let mut fields = body.root().object()?;
    let scope = fields.required("scope")?;
    let word = scope.string()?;
    let scope = Scope::parse(word).ok_or_else(|| {
        let words = Scope::WORDS.map(|(word, _)| word);
        let problem = Problem::invalid(format!("there is no scope {word:?}")).at("/scope");
        match nearest(word, words) {
            Some(known) => problem.hint(format!("did you mean {known:?}?")),
            None => problem.hint(format!("it can be {}", words.join(", "))),
        }
    })?;
    let name = match fields.optional("name") {
        Some(name) => name.string()?.to_owned(),
        None => String::new(),
    };
    fields.finish()?;
    Ok((scope, name))
}
