//! Which addresses there are, and what each does.

use hyper::Method;

use super::access::KEY_PARAMETER;
use super::documents::Named;
use super::parameters::percent_decode;
use super::respond::Refusal;
use crate::api::{Problem, ProblemClass, nearest};
use crate::model::Entity;

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    WriteEvents,
    WriteProfiles(Entity),
    MergeIdentities,
    DeleteUser,
    ShowUser,
    ShowAccount,
    /// A query in the body.
    Query,
    /// A query in the parameter `q`.
    QueryInAddress,
    ShowSchema,
    ListDocuments(Named),
    PutDocument(Named),
    ShowCohort,
    /// The definition, or with a format at the end of the name the answer.
    ShowQuery,
    DeleteDocument(Named),
    RunQuery,
    /// A file of the console, or without a name its page.
    ShowConsole,
    ShowConsoleFile,
    ShowArrivals,
    Export,
    ShowOpenApi,
    PutGrowthModel,
    ShowGrowthModel,
    DeleteGrowthModel,
    ShowHealth,
    ShowReadiness,
    ShowMetrics,
    Seal,
    Compact,
    Backup,
    ListKeys,
    CreateKey,
    RevokeKey,
}

impl Action {
    /// Whether pages of any origin may ask for it, with a key of scope write.
    pub fn is_ingest(self) -> bool {
        matches!(self, Action::WriteEvents | Action::WriteProfiles(_) | Action::MergeIdentities)
    }
}

/// An address and a method. A GET is a HEAD too.
#[derive(Debug)]
pub(super) struct Route {
    pub path: &'static str,
    pub method: Method,
    /// Query parameters that it takes.
    pub parameters: &'static [&'static str],
    pub action: Action,
}

const fn route(
    method: Method,
    path: &'static str,
    parameters: &'static [&'static str],
    action: Action,
) -> Route {
    Route { path, method, parameters, action }
}

/// What a query in an address may say otherwise than it is stored, and what is said of its run.
const OVERRIDES: &[&str] = &[
    "from",
    "to",
    "as_of",
    "timezone",
    "week_start",
    "interval",
    "entity",
    "window",
    "periods",
    "select",
    "limit",
    "after",
    "timeout_ms",
];

/// All routes; those of one address are neighbours.
pub(super) static ROUTES: &[Route] = &[
    route(Method::POST, "/v1/events", &["on_error", KEY_PARAMETER], Action::WriteEvents),
    route(Method::POST, "/v1/users", &[KEY_PARAMETER], Action::WriteProfiles(Entity::User)),
    route(Method::POST, "/v1/accounts", &[KEY_PARAMETER], Action::WriteProfiles(Entity::Account)),
    route(Method::POST, "/v1/identities", &[KEY_PARAMETER], Action::MergeIdentities),
    route(Method::GET, "/v1/users/{user}", &["limit", "before"], Action::ShowUser),
    route(Method::DELETE, "/v1/users/{user}", &[], Action::DeleteUser),
    route(Method::GET, "/v1/accounts/{account}", &["limit", "before"], Action::ShowAccount),
    route(Method::POST, "/v1/query/{kind}", &["format", "timeout_ms"], Action::Query),
    route(Method::GET, "/v1/query/{kind}", &["q", "format", "timeout_ms"], Action::QueryInAddress),
    route(Method::GET, "/v1/schema", &[], Action::ShowSchema),
    route(Method::GET, "/v1/cohorts", &[], Action::ListDocuments(Named::Cohort)),
    route(Method::PUT, "/v1/cohorts/{name}", &[], Action::PutDocument(Named::Cohort)),
    route(Method::GET, "/v1/cohorts/{name}", &[], Action::ShowCohort),
    route(Method::DELETE, "/v1/cohorts/{name}", &[], Action::DeleteDocument(Named::Cohort)),
    route(Method::GET, "/v1/queries", &[], Action::ListDocuments(Named::Query)),
    route(Method::PUT, "/v1/queries/{name}", &[], Action::PutDocument(Named::Query)),
    route(Method::GET, "/v1/queries/{name}", OVERRIDES, Action::ShowQuery),
    route(Method::DELETE, "/v1/queries/{name}", &[], Action::DeleteDocument(Named::Query)),
    route(Method::POST, "/v1/queries/{name}/run", &["format", "timeout_ms"], Action::RunQuery),
    route(Method::PUT, "/v1/growth-model", &[], Action::PutGrowthModel),
    route(Method::GET, "/v1/growth-model", &[], Action::ShowGrowthModel),
    route(Method::DELETE, "/v1/growth-model", &[], Action::DeleteGrowthModel),
    route(Method::POST, "/v1/admin/seal", &[], Action::Seal),
    route(Method::POST, "/v1/admin/compact", &[], Action::Compact),
    route(Method::GET, "/v1/admin/keys", &[], Action::ListKeys),
    route(Method::POST, "/v1/admin/keys", &[], Action::CreateKey),
    route(Method::DELETE, "/v1/admin/keys/{id}", &[], Action::RevokeKey),
    route(Method::POST, "/v1/admin/backup", &[], Action::Backup),
    route(Method::GET, "/v1/arrivals", &["after", "limit"], Action::ShowArrivals),
    route(Method::GET, "/v1/export", &["part", "format", "events", "from", "to"], Action::Export),
    route(Method::GET, "/v1/openapi.json", &[], Action::ShowOpenApi),
    route(Method::GET, "/", &[], Action::ShowConsole),
    route(Method::GET, "/console/{file}", &[], Action::ShowConsoleFile),
    route(Method::GET, "/healthz", &[], Action::ShowHealth),
    route(Method::GET, "/readyz", &[], Action::ShowReadiness),
    route(Method::GET, "/metrics", &[], Action::ShowMetrics),
];

/// Finds routes by address.
#[derive(Debug)]
pub(super) struct Routes {
    by_path: matchit::Router<Vec<&'static Route>>,
}

/// A route, and the segment of the address that it leaves open.
#[derive(Debug)]
pub(super) struct Found {
    pub route: &'static Route,
    pub segment: Option<String>,
}

impl Routes {
    pub fn new() -> Routes {
        let mut by_path = matchit::Router::new();
        let mut rest = ROUTES;
        while let Some(first) = rest.first() {
            let count = rest.iter().take_while(|route| route.path == first.path).count();
            let (routes, after) = rest.split_at(count);
            by_path
                .insert(first.path, routes.iter().collect())
                .expect("addresses are distinct and well formed");
            rest = after;
        }
        Routes { by_path }
    }

    /// Finds what a request asks for, or says what it may have meant.
    pub fn find(&self, method: &Method, path: &str) -> Result<Found, Refusal> {
        let Ok(found) = self.by_path.at(path) else { return Err(no_such_path(path).into()) };
        let wanted = if method == Method::HEAD { &Method::GET } else { method };
        let Some(route) = found.value.iter().find(|route| route.method == *wanted) else {
            return Err(no_such_method(method, path, found.value));
        };
        let segment = found.params.iter().next().map(|(_, text)| percent_decode(text)).transpose()?;
        Ok(Found { route, segment })
    }
}

fn no_such_path(path: &str) -> Problem {
    let problem = Problem::new(ProblemClass::NotFound, format!("there is nothing at {path}"));
    if path.trim_end_matches('/') == "/v1/query" {
        return problem.hint("the kind is part of the address, as in /v1/query/funnel");
    }
    match nearest(path, ROUTES.iter().map(|route| route.path).filter(|known| *known != "/")) {
        Some(known) => problem.hint(format!("did you mean {known}?")),
        None => {
            problem.hint("addresses start with /v1/events, /v1/query/, /v1/users, /v1/accounts or /v1/schema")
        }
    }
}

fn no_such_method(method: &Method, path: &str, routes: &[&'static Route]) -> Refusal {
    let mut allowed: Vec<&str> = routes.iter().map(|route| route.method.as_str()).collect();
    if allowed.contains(&"GET") {
        allowed.push("HEAD");
    }
    let allow = allowed.join(", ");
    let detail = format!("{path} does not take {method}");
    let problem = Problem::new(ProblemClass::MethodNotAllowed, detail).hint(format!("it takes {allow}"));
    Refusal { problem, allow: Some(allow) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_lead_to_their_actions() {
        let routes = Routes::new();
        let find = |method, path| routes.find(&method, path).unwrap();
        assert_eq!(find(Method::POST, "/v1/events").route.action, Action::WriteEvents);
        assert_eq!(find(Method::GET, "/").route.action, Action::ShowConsole);
        assert_eq!(find(Method::HEAD, "/healthz").route.action, Action::ShowHealth);
        let found = find(Method::DELETE, "/v1/users/a%2Fb%20c");
        assert_eq!((found.route.action, found.segment.as_deref()), (Action::DeleteUser, Some("a/b c")));
    }

    #[test]
    fn a_wrong_address_is_told_the_nearest() {
        let routes = Routes::new();
        let refusal = routes.find(&Method::POST, "/v1/event").unwrap_err();
        assert_eq!(refusal.problem.status(), 404);
        assert_eq!(refusal.problem.hint.as_deref(), Some("did you mean /v1/events?"));
        assert_eq!(routes.find(&Method::GET, "/index").unwrap_err().problem.status(), 404);
        assert_eq!(routes.find(&Method::GET, "/v1/users/").unwrap_err().problem.status(), 404);
    }

    #[test]
    fn a_wrong_method_is_told_the_right_ones() {
        let refusal = Routes::new().find(&Method::PUT, "/v1/users/ada").unwrap_err();
        assert_eq!(refusal.problem.status(), 405);
        assert_eq!(refusal.allow.as_deref(), Some("GET, DELETE, HEAD"));
    }
}
