//! Stored cohorts and queries: checked when they are stored, looked up by name, run with overrides.

use serde::{Deserialize, Serialize};

use super::answer::now;
use super::bound::Bound;
use super::cohort::CohortPlan;
use super::growth_model::counted;
use super::{Analysis, Binder, Partial, Scan, Task};
use crate::Store;
use crate::api::{Answer, Json, Problem, ProblemClass, QueryKind, QueryRequest, nearest};
use crate::limits::{DOCUMENT_NAME_SIZE_MAX, DOCUMENT_SIZE_MAX, STATIC_COHORT_USER_COUNT_MAX};
use crate::model::{DocumentKind, Entity};
use crate::store::{Document, Snapshot};

/// What the address of a stored query may end with to say the format, so that no name does.
pub const FORMAT_ENDINGS: [&str; 4] = [".arrow", ".csv", ".json", ".ndjson"];

impl Store {
    /// Stores a cohort: the definition, or with `"static": true` the members that it has now. `body` is the cohort with
    /// or without that field, or `{"cohort": …, "static": …}`. Returns whether it took the place of another.
    pub fn put_cohort(&self, name: &str, body: &Json) -> Result<bool, Problem> {
        check_name(name)?;
        let new = NewCohort::parse(body)?;
        let request = Json::Object(vec![
            ("kind".to_owned(), Json::String("cohort".to_owned())),
            ("cohort".to_owned(), new.definition.clone()),
        ]);
        let placed = |problem: Problem| new.placed(problem);
        let request = QueryRequest::parse(&request).map_err(placed)?;
        let QueryKind::Cohort(query) = &request.kind else { unreachable!("the request is one of a cohort") };
        let scope = request.common.resolve(now())?;
        let history = scope.history();
        if !new.is_static {
            let text = text_of(&new.definition)?;
            self.read(|snapshot| {
                let scan = Scan::new(snapshot, request.common.entity, history);
                Binder::for_definition(&scan, &scope, name).cohort(&query.cohort).map_err(placed)
            })?;
            return self.put_text(DocumentKind::Cohort, name, text);
        }
        let ordinals = self.read(|snapshot| {
            let scan = Scan::new(snapshot, request.common.entity, history);
            let plan = Binder::new(&scan, &scope).cohort(&query.cohort).map_err(placed)?;
            scan.run(&Members { plan })
        })?;
        if ordinals.len() as u64 > STATIC_COHORT_USER_COUNT_MAX {
            let detail = format!(
                "the cohort has {} members; a static one has at most {STATIC_COHORT_USER_COUNT_MAX}",
                ordinals.len()
            );
            return Err(Problem::invalid(detail).at("/static").hint("store the definition instead"));
        }
        self.put_members(name, ordinals.into_iter().collect())
    }

    /// What is stored as a cohort: `name`, `static`, and either `cohort`, the definition, or `users`, how many of its
    /// members there still are.
    pub fn get_cohort(&self, name: &str) -> Result<Json, Problem> {
        let snapshot = self.snapshot();
        let found = snapshot.documents.get(DocumentKind::Cohort, name);
        let document = found.ok_or_else(|| no_such(&snapshot, DocumentKind::Cohort, name))?;
        told_cohort(&snapshot, name, document)
    }

    /// All stored cohorts in order of their names, under `cohorts`.
    pub fn list_cohorts(&self) -> Result<Json, Problem> {
        let snapshot = self.snapshot();
        let cohorts = snapshot.documents.of_kind(DocumentKind::Cohort);
        let told = cohorts.map(|(name, document)| told_cohort(&snapshot, name, document));
        Ok(Json::Object(vec![("cohorts".to_owned(), Json::Array(told.collect::<Result<_, _>>()?))]))
    }

    /// Forgets a stored cohort. What names it is an error from then on.
    pub fn delete_cohort(&self, name: &str) -> Result<(), Problem> {
        self.delete(DocumentKind::Cohort, name)
    }

    /// Stores a query body that carries its `"kind"`. Returns whether it took the place of another.
    pub fn put_query(&self, name: &str, body: &Json) -> Result<bool, Problem> {
        check_name(name)?;
        let request = QueryRequest::parse(body)?;
        let text = text_of(body)?;
        let scope = request.common.resolve(now())?;
        let snapshot = self.snapshot();
        let entity = counted(&request, &snapshot, request.common.entity)?;
        let scan = Scan::new(&snapshot, entity, scope.history());
        Bound::new(&request, &mut Binder::new(&scan, &scope))?;
        self.put_text(DocumentKind::Query, name, text)
    }

    /// What is stored as a query: `name` and `query`.
    pub fn get_query(&self, name: &str) -> Result<Json, Problem> {
        Ok(told_query(name, self.stored_query(name)?))
    }

    /// All stored queries in order of their names, under `queries`.
    pub fn list_queries(&self) -> Result<Json, Problem> {
        let snapshot = self.snapshot();
        let queries = snapshot.documents.of_kind(DocumentKind::Query);
        let told = queries.map(|(name, document)| Ok(told_query(name, definition_of(document)?)));
        Ok(Json::Object(vec![("queries".to_owned(), Json::Array(told.collect::<Result<_, Problem>>()?))]))
    }

    /// Forgets a stored query.
    pub fn delete_query(&self, name: &str) -> Result<(), Problem> {
        self.delete(DocumentKind::Query, name)
    }

    /// The body of a stored query, with the fields of `overrides` in the place of its own.
    pub fn query_body(&self, name: &str, overrides: &Json) -> Result<Json, Problem> {
        with_overrides(self.stored_query(name)?, overrides)
    }

    /// Answers a stored query, with the fields of `overrides` in the place of its own.
    pub fn run_query(&self, name: &str, overrides: &Json) -> Result<Answer, Problem> {
        self.query(&self.query_body(name, overrides)?)
    }

    fn stored_query(&self, name: &str) -> Result<Json, Problem> {
        let snapshot = self.snapshot();
        let found = snapshot.documents.get(DocumentKind::Query, name);
        definition_of(found.ok_or_else(|| no_such(&snapshot, DocumentKind::Query, name))?)
    }

    fn delete(&self, kind: DocumentKind, name: &str) -> Result<(), Problem> {
        match self.remove_document(kind, name)? {
            true => Ok(()),
            false => Err(no_such(&self.snapshot(), kind, name)),
        }
    }
}

/// What is asked to be stored as a cohort.
struct NewCohort {
    definition: Json,
    is_static: bool,
    /// Whether the body is the cohort itself, instead of an object that has it.
    is_bare: bool,
}

impl NewCohort {
    fn parse(body: &Json) -> Result<NewCohort, Problem> {
        let mut fields = body.root().object()?;
        let is_static = fields.optional("static").map_or(Ok(false), |flag| flag.bool())?;
        if let Some(cohort) = fields.optional("cohort") {
            let definition = cohort.json().clone();
            fields.finish()?;
            return Ok(NewCohort { definition, is_static, is_bare: false });
        }
        let mut definition = body.clone();
        if let Json::Object(fields) = &mut definition {
            fields.retain(|(name, _)| name != "static");
        }
        Ok(NewCohort { definition, is_static, is_bare: true })
    }

    /// A problem of the definition at its place in the body.
    fn placed(&self, problem: Problem) -> Problem {
        match problem.path.as_deref().and_then(|path| path.strip_prefix("/cohort")) {
            Some(inner) if self.is_bare => Problem { path: Some(inner.to_owned()), ..problem },
            _ => problem,
        }
    }
}

/// The ordinals of a cohort's members.
#[derive(Debug)]
struct Members {
    plan: CohortPlan,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct MembersPartial {
    ordinals: Vec<u32>,
}

impl Partial for MembersPartial {
    fn merge(&mut self, other: MembersPartial) {
        self.ordinals.extend(other.ordinals);
    }
}

impl Analysis for Members {
    type Partial = MembersPartial;
    type Output = Vec<u32>;

    fn empty(&self) -> MembersPartial {
        MembersPartial::default()
    }

    fn observe(&self, task: &Task<'_>, partial: &mut MembersPartial) -> Result<(), Problem> {
        let members = self.plan.members(task)?;
        partial.ordinals.extend(members.iter().map(|user| task.user_base() + u32::from(user)));
        Ok(())
    }

    fn finish(&self, partial: MembersPartial) -> Result<Vec<u32>, Problem> {
        Ok(partial.ordinals)
    }
}

/// A name goes into addresses as it is, and does not look like one with a format.
fn check_name(name: &str) -> Result<(), Problem> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || ['_', '-', '.'].contains(&c);
    let problem = Problem::invalid(format!("{name:?} cannot be a name"));
    if !(1..=DOCUMENT_NAME_SIZE_MAX).contains(&name.len()) || !name.chars().all(is_plain) {
        return Err(problem.hint(format!(
            "a name has 1 to {DOCUMENT_NAME_SIZE_MAX} letters of ASCII, digits, \"_\", \"-\" and \".\""
        )));
    }
    match FORMAT_ENDINGS.iter().find(|ending| name.ends_with(*ending)) {
        Some(ending) => Err(problem.hint(format!("{ending} at the end of an address is a format"))),
        None => Ok(()),
    }
}

pub(super) fn text_of(definition: &Json) -> Result<String, Problem> {
    let text = definition.to_string();
    if text.len() > DOCUMENT_SIZE_MAX {
        let detail =
            format!("the definition has {} bytes; at most {DOCUMENT_SIZE_MAX} are stored", text.len());
        return Err(Problem::invalid(detail).hint("a long list of users can be stored as a static cohort"));
    }
    Ok(text)
}

fn no_such(snapshot: &Snapshot<'_>, kind: DocumentKind, name: &str) -> Problem {
    let problem =
        Problem::new(ProblemClass::NotFound, format!("there is no stored {} {name:?}", kind.name()));
    match nearest(name, snapshot.documents.of_kind(kind).map(|(name, _)| name)) {
        Some(known) => problem.hint(format!("did you mean {known:?}?")),
        None => problem,
    }
}

/// The definition that a document holds: all but static cohorts do.
pub(super) fn definition_of(document: &Document) -> Result<Json, Problem> {
    match document {
        Document::Text(text) => Json::parse(text.as_bytes()),
        Document::Members(_) => Err(Problem::new(ProblemClass::Corrupt, "a stored query is a set of users")),
    }
}

fn told_cohort(snapshot: &Snapshot<'_>, name: &str, document: &Document) -> Result<Json, Problem> {
    let (field, value) = match document {
        Document::Text(_) => ("cohort", definition_of(document)?),
        Document::Members(ordinals) => {
            let mut users: Vec<u32> = ordinals.iter().map(|ordinal| snapshot.user(ordinal)).collect();
            users.sort_unstable();
            users.dedup();
            users.retain(|user| snapshot.name(Entity::User, *user).is_some());
            ("users", Json::Number((users.len() as i64).into()))
        }
    };
    let is_static = matches!(document, Document::Members(_));
    Ok(Json::Object(vec![
        ("name".to_owned(), Json::String(name.to_owned())),
        ("static".to_owned(), Json::Bool(is_static)),
        (field.to_owned(), value),
    ]))
}

fn told_query(name: &str, query: Json) -> Json {
    Json::Object(vec![("name".to_owned(), Json::String(name.to_owned())), ("query".to_owned(), query)])
}

/// A query whose top-level fields are replaced by those that are given; null takes a field away.
fn with_overrides(query: Json, overrides: &Json) -> Result<Json, Problem> {
    let Json::Object(mut fields) = query else {
        return Err(Problem::new(ProblemClass::Corrupt, "a stored query is no object"));
    };
    for (name, node) in overrides.root().entries()? {
        let known = fields.iter().position(|(known, _)| known == name);
        match known {
            Some(at) if name == "kind" && fields[at].1 != *node.json() => {
                let problem = node.problem(format!("the stored query is of the kind {}", fields[at].1));
                return Err(problem.hint("store a query of the other kind under another name"));
            }
            Some(at) => fields[at].1 = node.json().clone(),
            None => fields.push((name.to_owned(), node.json().clone())),
        }
    }
    Ok(Json::Object(fields))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{EventBatch, IdentityMerge};
    use crate::store::StoreOptions;

    fn json(text: &str) -> Json {
        Json::parse(text.as_bytes()).unwrap()
    }

    struct Stored {
        store: Store,
        directory: tempfile::TempDir,
    }

    impl Stored {
        /// A store of users who did one thing each, at the start of 2024.
        fn with(events: &[(&str, &str)]) -> Stored {
            let directory = tempfile::tempdir().unwrap();
            let stored = Stored { store: open(&directory), directory };
            stored.did(events);
            stored
        }

        fn did(&self, events: &[(&str, &str)]) {
            let mut batch = EventBatch::new();
            for (user, event) in events {
                batch.push_event(event, user, 1_704_067_200_000, None, None).unwrap();
            }
            self.store.ingest(batch).unwrap();
        }

        fn members(&self, cohort: &str) -> Vec<String> {
            let query = format!(r#"{{"kind": "cohort", "cohort": {cohort}, "select": "members"}}"#);
            let answer = self.store.query(&json(&query)).unwrap();
            answer
                .table
                .rows()
                .map(|row| format!("{row:?}").replace(|c: char| !c.is_lowercase(), "").replace("ext", ""))
                .collect()
        }

        fn reopened(self) -> Stored {
            let Stored { store, directory } = self;
            drop(store);
            Stored { store: open(&directory), directory }
        }
    }

    fn open(directory: &tempfile::TempDir) -> Store {
        Store::open_with(
            &directory.path().join("store"),
            StoreOptions { background: false, ..StoreOptions::default() },
        )
        .unwrap()
    }

    #[test]
    fn a_definition_is_evaluated_at_each_use_and_a_static_cohort_is_not() {
        let stored = Stored::with(&[("ada", "buy"), ("bo", "view")]);
        assert!(!stored.store.put_cohort("buyers", &json(r#"{"did": "buy"}"#)).unwrap());
        assert!(!stored.store.put_cohort("first", &json(r#"{"cohort": "buyers", "static": true}"#)).unwrap());
        stored.did(&[("cy", "buy")]);
        assert_eq!(stored.members(r#""buyers""#), ["ada", "cy"]);
        assert_eq!(stored.members(r#"{"all": [{"cohort": "first"}]}"#), ["ada"]);
        let stored = stored.reopened();
        assert_eq!(stored.members(r#"{"not": "first"}"#), ["bo", "cy"]);
        stored.store.seal().unwrap();
        let stored = stored.reopened();
        assert_eq!(stored.members(r#""buyers""#), ["ada", "cy"]);
        assert_eq!(stored.members(r#""first""#), ["ada"]);
        assert!(stored.store.put_cohort("first", &json(r#"{"did": "view"}"#)).unwrap());
        stored.store.delete_cohort("buyers").unwrap();
        assert_eq!(stored.members(r#""first""#), ["bo"]);
        let stored = stored.reopened();
        assert_eq!(
            stored.store.get_cohort("first").unwrap().to_string(),
            r#"{"name":"first","static":false,"cohort":{"did":"view"}}"#
        );
        assert_eq!(
            stored.store.list_cohorts().unwrap().get("cohorts").unwrap().root().array().unwrap().len(),
            1
        );
    }

    #[test]
    fn a_static_cohort_follows_merges_and_deletions() {
        let stored =
            Stored::with(&[("ada", "buy"), ("bo", "buy"), ("cy", "view"), ("cy", "view"), ("dee", "buy")]);
        stored.store.put_cohort("first", &json(r#"{"did": "buy", "static": true}"#)).unwrap();
        stored.store.merge_identities(vec![IdentityMerge { from: "ada".into(), into: "cy".into() }]).unwrap();
        stored.store.delete_user("bo").unwrap();
        assert_eq!(stored.members(r#""first""#), ["cy", "dee"]);
        stored.did(&[("bo", "buy")]);
        assert_eq!(stored.members(r#""first""#), ["cy", "dee"], "who comes back is another");
        for _ in 0..2 {
            let told = stored.store.get_cohort("first").unwrap();
            assert_eq!(told.to_string(), r#"{"name":"first","static":true,"users":2}"#);
            stored.store.seal().unwrap();
            stored.store.compact().unwrap();
        }
        stored.store.delete_user("ada").unwrap();
        let stored = stored.reopened();
        assert_eq!(stored.members(r#""first""#), ["dee"]);
    }

    #[test]
    fn a_static_cohort_in_the_log_is_fixed_again_as_it_was() {
        let stored = Stored::with(&[("ada", "buy"), ("bo", "buy"), ("cy", "view")]);
        stored.store.merge_identities(vec![IdentityMerge { from: "ada".into(), into: "cy".into() }]).unwrap();
        stored.store.put_cohort("first", &json(r#"{"did": "buy", "static": true}"#)).unwrap();
        stored.store.delete_user("bo").unwrap();
        stored.did(&[("bo", "buy"), ("dee", "buy")]);
        let stored = stored.reopened();
        assert_eq!(stored.members(r#""first""#), ["cy"]);
    }

    #[test]
    fn stored_cohorts_that_lead_back_to_themselves_are_refused() {
        let stored = Stored::with(&[("ada", "buy")]);
        let put = |name: &str, body: &str| stored.store.put_cohort(name, &json(body));
        put("a", r#"{"did": "buy"}"#).unwrap();
        put("b", r#"{"any": ["a", {"did": "sell"}]}"#).unwrap();
        put("c", r#"{"did": {"event": "buy", "where": {"cohort": "b"}}}"#).unwrap();
        let problem = put("a", r#"{"not": {"cohort": "c"}}"#).unwrap_err();
        assert!(problem.detail.ends_with(r#""a" → "c" → "b" → "a""#), "{problem}");
        assert_eq!((problem.status(), problem.path.as_deref()), (400, Some("/not/cohort")));
        assert_eq!(stored.members(r#""c""#), ["ada"]);
        let problem = put("d", r#""d""#).unwrap_err();
        assert_eq!(problem.status(), 400);
        let problem = put("d", r#"{"any": ["d"]}"#).unwrap_err();
        assert_eq!(problem.path.as_deref(), Some("/any/0"));
        assert_eq!(put("e", r#"{"any": ["aa"]}"#).unwrap_err().hint.as_deref(), Some("did you mean \"a\"?"));
        stored.store.delete_cohort("a").unwrap();
        let query = json(r#"{"kind": "cohort", "cohort": "c"}"#);
        let problem = stored.store.query(&query).unwrap_err();
        assert_eq!(problem.path.as_deref(), Some("/cohort"));
        assert!(problem.detail.contains("in the stored cohort \"c\""), "{problem}");
    }

    #[test]
    fn a_chain_of_stored_cohorts_may_be_long_but_not_endless() {
        let stored = Stored::with(&[("ada", "buy")]);
        let deep = |inner: &str| format!("{}{inner}{}", r#"{"not":"#.repeat(60), "}".repeat(60));
        stored.store.put_cohort("c0", &json(&deep(r#"{"did": "buy"}"#))).unwrap();
        stored.store.put_cohort("c1", &json(&deep(r#""c0""#))).unwrap();
        assert_eq!(stored.members(r#""c1""#), ["ada"]);
        let problem = stored.store.put_cohort("c2", &json(&deep(r#""c1""#))).unwrap_err();
        assert!(problem.detail.contains("nested"), "{problem}");
    }

    #[test]
    fn a_few_definitions_cannot_lead_to_one_another_without_end() {
        let stored = Stored::with(&[("ada", "buy")]);
        stored.store.put_cohort("c0", &json(r#"{"did": "buy"}"#)).unwrap();
        let refused = (1..20).find_map(|level| {
            let cell =
                format!(r#"{{"result": {{"kind": "cohort", "query": {{"cohort": "c{}"}}}}}}"#, level - 1);
            let both = json(&format!(r#"{{"all": [{cell}, {cell}]}}"#));
            stored.store.put_cohort(&format!("c{level}"), &both).err()
        });
        let problem = refused.expect("doubling often enough is too much");
        assert!(problem.detail.contains("more than 20000"), "{problem}");
        assert_eq!(stored.members(r#""c5""#), ["ada"]);
    }

    #[test]
    fn a_stored_query_runs_with_overrides() {
        let stored = Stored::with(&[("ada", "buy"), ("bo", "view")]);
        let query = r#"{"kind":"cohort","cohort":{"did":"buy"},"select":"members","limit":1}"#;
        stored.store.put_query("buyers", &json(query)).unwrap();
        let rows =
            |overrides: &str| stored.store.run_query("buyers", &json(overrides)).map(|a| a.table.row_count());
        assert_eq!(rows("{}"), Ok(1));
        assert_eq!(rows(r#"{"cohort": {"did": "*"}, "limit": null}"#), Ok(2));
        assert_eq!(rows(r#"{"limi": 2}"#).unwrap_err().path.as_deref(), Some("/limi"));
        assert_eq!(rows(r#"{"kind": "funnel"}"#).unwrap_err().path.as_deref(), Some("/kind"));
        let stored = stored.reopened();
        assert_eq!(
            stored.store.get_query("buyers").unwrap().to_string(),
            format!(r#"{{"name":"buyers","query":{query}}}"#)
        );
        assert_eq!(
            stored.store.run_query("buyer", &json("{}")).unwrap_err().hint.as_deref(),
            Some("did you mean \"buyers\"?")
        );
        assert_eq!(
            stored.store.put_query("x", &json(r#"{"kind": "funnel"}"#)).unwrap_err().path.as_deref(),
            Some("")
        );
        let named = r#"{"kind": "cohort", "cohort": "nobody"}"#;
        assert_eq!(stored.store.put_query("x", &json(named)).unwrap_err().path.as_deref(), Some("/cohort"));
        stored.store.delete_query("buyers").unwrap();
        assert_eq!(stored.store.delete_query("buyers").unwrap_err().status(), 404);
    }

    #[test]
    fn names_go_into_addresses_as_they_are() {
        let stored = Stored::with(&[]);
        let long = "x".repeat(DOCUMENT_NAME_SIZE_MAX + 1);
        for name in ["", "a b", "a/b", "é", "weekly.csv", &long] {
            let problem = stored.store.put_cohort(name, &json(r#"{"did": "a"}"#)).unwrap_err();
            assert_eq!(problem.status(), 400, "{name}");
        }
        assert_eq!(stored.store.put_cohort("Weekly_2.0-beta", &json(r#"{"did": "a"}"#)), Ok(false));
    }
}
