//! The growth model of a store: checked when it is stored, and the parts of it that a query does not have itself.

use hashbrown::HashSet;

use super::answer::now;
use super::saved::{definition_of, text_of};
use super::{Binder, Scan};
use crate::Store;
use crate::api::{
    Common, EventName, GROWTH_PARTS, GrowthModel, Json, Problem, ProblemClass, QueryKind, QueryRequest,
    Selector, nearest_few,
};
use crate::model::{DocumentKind, Entity};
use crate::segment::RowKind;
use crate::store::Snapshot;

/// There is one growth model.
const NAME: &str = "growth-model";

/// Names that are told where an event is unknown.
const NEAREST_NAME_COUNT: usize = 3;

impl Store {
    /// Stores the growth model: an object of parts. Returns whether it took the place of another, and what it may have
    /// meant otherwise: an event that nobody has done yet is no error, as a model may be written before it comes.
    pub fn put_growth_model(&self, body: &Json) -> Result<(bool, Vec<Json>), Problem> {
        let warnings = self.check_growth_model(body)?;
        Ok((self.put_text(DocumentKind::GrowthModel, NAME, text_of(body)?)?, warnings))
    }

    /// Stores the growth model unless it is the one that is there: then nothing changes, and results keep their tags.
    /// Returns what it may have meant otherwise.
    pub fn keep_growth_model(&self, body: &Json) -> Result<Vec<Json>, Problem> {
        if stored(&self.snapshot())?.as_ref() == Some(body) {
            return self.check_growth_model(body);
        }
        self.put_growth_model(body).map(|(_, warnings)| warnings)
    }

    /// Whether a growth model can be stored, and a warning for each of its events that nobody has done yet.
    fn check_growth_model(&self, body: &Json) -> Result<Vec<Json>, Problem> {
        let model = GrowthModel::parse(body)?;
        let snapshot = self.snapshot();
        let scope = Common::default().resolve(now())?;
        let scan = Scan::new(&snapshot, Common::default().entity, scope.history());
        let mut binder = Binder::new(&scan, &scope);
        let mut warnings = Vec::new();
        for (path, selector) in model.selectors() {
            binder.selection(selector, None).map_err(|problem| match problem.path {
                Some(_) => problem,
                None => problem.at(path),
            })?;
            warnings.extend(unknown_events(&snapshot, path, selector));
        }
        Ok(warnings)
    }

    /// The growth model, as it was stored.
    pub fn get_growth_model(&self) -> Result<Json, Problem> {
        stored(&self.snapshot())?.ok_or_else(no_model)
    }

    /// Forgets the growth model. What queries do not say themselves is an error from then on.
    pub fn delete_growth_model(&self) -> Result<(), Problem> {
        match self.remove_document(DocumentKind::GrowthModel, NAME)? {
            true => Ok(()),
            false => Err(no_model()),
        }
    }
}

/// The growth model of a snapshot: of no parts if none is stored.
pub(super) fn stored_model(snapshot: &Snapshot<'_>) -> Result<GrowthModel, Problem> {
    stored(snapshot)?.map_or(Ok(GrowthModel::default()), |json| GrowthModel::parse(&json))
}

/// Who is counted by a request: whom it says, or the part of the growth model that it is about, else `unless_said`.
pub(super) fn counted(
    request: &QueryRequest,
    snapshot: &Snapshot<'_>,
    unless_said: Entity,
) -> Result<Entity, Problem> {
    let common = &request.common;
    let of_part = match &request.kind {
        _ if common.has_entity => return Ok(common.entity),
        QueryKind::Revenue(query) => query.model.clone().or(&stored_model(snapshot)?).subscription()?.entity,
        QueryKind::UsageLimits(query) => query.model.clone().or(&stored_model(snapshot)?).limit()?.on,
        _ => None,
    };
    Ok(of_part.unwrap_or(unless_said))
}

fn stored(snapshot: &Snapshot<'_>) -> Result<Option<Json>, Problem> {
    snapshot.documents.get(DocumentKind::GrowthModel, NAME).map(definition_of).transpose()
}

fn no_model() -> Problem {
    Problem::new(ProblemClass::NotFound, "there is no growth model")
        .hint(format!("PUT /v1/growth-model stores one, of the parts {}", GROWTH_PARTS.join(", ")))
}

/// A warning for each event of a selector that no event of the store has the name of.
fn unknown_events(snapshot: &Snapshot<'_>, path: &str, selector: &Selector) -> Vec<Json> {
    let segments = snapshot.segments.iter().filter(|live| live.segment.kind() == RowKind::Events);
    let known: HashSet<&str> = segments
        .flat_map(|live| live.segment.groups().map(|group| group.name()).collect::<Vec<_>>())
        .collect();
    let text = |text: String| Json::String(text);
    let mut warnings = Vec::new();
    for part in &selector.any_of {
        let EventName::Named(name) = &part.event else { continue };
        if known.contains(name.as_str()) {
            continue;
        }
        let near = nearest_few(name, known.iter().copied(), NEAREST_NAME_COUNT);
        let mut fields = vec![
            ("path".to_owned(), text(path.to_owned())),
            ("detail".to_owned(), text(format!("no event is named {name:?} so far"))),
        ];
        if !near.is_empty() {
            let names: Vec<String> = near.iter().map(|name| format!("{name:?}")).collect();
            fields.push(("hint".to_owned(), text(format!("did you mean {}?", names.join(" or ")))));
        }
        fields.push((
            "nearest".to_owned(),
            Json::Array(near.into_iter().map(|name| text(name.to_owned())).collect()),
        ));
        warnings.push(Json::Object(fields));
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::EventBatch;
    use crate::store::StoreOptions;

    fn json(text: &str) -> Json {
        Json::parse(text.as_bytes()).unwrap()
    }

    fn open(directory: &tempfile::TempDir) -> Store {
        Store::open_with(
            &directory.path().join("store"),
            StoreOptions { background: false, ..StoreOptions::default() },
        )
        .unwrap()
    }

    #[test]
    fn a_model_is_there_after_a_restart_and_until_it_is_deleted() {
        let directory = tempfile::tempdir().unwrap();
        let store = open(&directory);
        assert_eq!(store.get_growth_model().unwrap_err().status(), 404);
        let model = json(r#"{"signup": "signup", "paid": {"event": "pay"}}"#);
        let before = store.snapshot().number;
        assert!(!store.put_growth_model(&model).unwrap().0);
        assert!(store.snapshot().number > before, "results that depend on it have another tag");
        let before = store.snapshot().number;
        assert_eq!(store.keep_growth_model(&model).unwrap().len(), 2, "nobody has done its events");
        assert_eq!(store.snapshot().number, before, "it is there already");
        drop(store);
        let store = open(&directory);
        assert_eq!(store.get_growth_model().unwrap(), model);
        store.seal().unwrap();
        drop(store);
        let store = open(&directory);
        assert!(store.put_growth_model(&model).unwrap().0);
        store.delete_growth_model().unwrap();
        assert_eq!(store.delete_growth_model().unwrap_err().status(), 404);
    }

    #[test]
    fn an_event_that_nobody_did_is_a_warning_with_the_nearest_names() {
        let directory = tempfile::tempdir().unwrap();
        let store = open(&directory);
        let mut batch = EventBatch::new();
        for event in ["signup", "sign_in", "purchase"] {
            batch.push_event(event, "ada", 1_704_067_200_000, None, None).unwrap();
        }
        store.ingest(batch).unwrap();
        let model = r#"{"signup": "sign_up", "paid": {"event": {"any_of": ["purchase", "zzzzzzzz"]}}}"#;
        let (_, warnings) = store.put_growth_model(&json(model)).unwrap();
        let warnings: Vec<String> = warnings.iter().map(Json::to_string).collect();
        assert_eq!(
            warnings,
            [
                r#"{"path":"/signup","detail":"no event is named \"sign_up\" so far","hint":"did you mean \"signup\" or \"sign_in\"?","nearest":["signup","sign_in"]}"#,
                r#"{"path":"/paid","detail":"no event is named \"zzzzzzzz\" so far","nearest":[]}"#,
            ]
        );
    }

    #[test]
    fn a_model_that_names_a_missing_cohort_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let store = open(&directory);
        let model = json(r#"{"signup": {"event": "signup", "where": {"cohort": "staff"}}}"#);
        let mut batch = EventBatch::new();
        batch.push_event("signup", "ada", 1_704_067_200_000, None, None).unwrap();
        store.ingest(batch).unwrap();
        assert_eq!(store.put_growth_model(&model).unwrap_err().path.as_deref(), Some("/signup/where/cohort"));
    }
}
