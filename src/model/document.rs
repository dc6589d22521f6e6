//! What a product's people keep in the store beside its events, by name.

/// What a document is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DocumentKind {
    Cohort,
    Query,
    /// The one growth model, which has the same name in every store.
    GrowthModel,
    /// A key of the server, as its hash. Its name is the key's id.
    Key,
}

impl DocumentKind {
    /// The word for one of them.
    pub fn name(self) -> &'static str {
        match self {
            DocumentKind::Cohort => "cohort",
            DocumentKind::Query => "query",
            DocumentKind::GrowthModel => "growth model",
            DocumentKind::Key => "key",
        }
    }
}
