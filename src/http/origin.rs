//! Keeps web pages away from a server without keys.
//!
//! The server listens on the loopback only, but a browser on the same machine reaches that too, and would
//! send a request on behalf of any page it shows. Two headers that pages cannot forge tell them apart: `Host`
//! is the page's own when it had its name resolve to the loopback, and `Origin` names the page that asks.

use std::net::IpAddr;

use hyper::header::{HOST, HeaderMap, HeaderName, ORIGIN};

use crate::api::{Problem, ProblemClass};

/// Lets the request pass if it is addressed to this machine.
pub(super) fn check_host(headers: &HeaderMap) -> Result<(), Problem> {
    let Some(host) = text(headers, HOST).filter(|host| !is_loopback(host)) else { return Ok(()) };
    let detail = format!("the request is addressed to {host:?}, and this server is only for its own machine");
    Err(Problem::new(ProblemClass::Forbidden, detail)
        .hint("address it as localhost or 127.0.0.1; serving others needs keys: flywheel keys create --scope admin makes the first"))
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name).map(|value| value.to_str().unwrap_or_default())
}

/// Lets the request pass if no foreign web page can be behind it, or only one of an origin that is listed.
pub(super) fn check(headers: &HeaderMap, is_listed: &dyn Fn(&str) -> bool) -> Result<(), Problem> {
    check_host(headers)?;
    let (host, origin) = (text(headers, HOST), text(headers, ORIGIN));
    let is_foreign = |origin: &str| {
        let is_own = host.is_some() && origin.split_once("://").map(|(_, authority)| authority) == host;
        !is_own && !is_listed(origin)
    };
    match origin.filter(|origin| is_foreign(origin)) {
        Some(origin) => Err(Problem::new(
            ProblemClass::Forbidden,
            format!("a web page of {origin:?} may not use this server"),
        )
        .hint("list its origin with --cors-origin, or make keys: flywheel keys create --scope admin")),
        None => Ok(()),
    }
}

/// Whether an authority such as `localhost:7070` or `[::1]` is the machine itself.
fn is_loopback(authority: &str) -> bool {
    let name = match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    let is_local_name =
        name.eq_ignore_ascii_case("localhost") || name.to_ascii_lowercase().ends_with(".localhost");
    is_local_name || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    fn passes(host: &'static str, origin: Option<&'static str>) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(HOST, HeaderValue::from_static(host));
        if let Some(origin) = origin {
            headers.insert(ORIGIN, HeaderValue::from_static(origin));
        }
        check(&headers, &|origin| origin == "https://listed.example").is_ok()
    }

    #[test]
    fn programs_of_this_machine_pass() {
        for host in ["localhost", "LOCALHOST:7070", "127.0.0.1:7070", "[::1]:7070", "[::1]", "app.localhost"]
        {
            assert!(passes(host, None), "{host}");
        }
        assert!(passes("localhost:7070", Some("http://localhost:7070")));
        assert!(check(&HeaderMap::new(), &|_| false).is_ok());
    }

    #[test]
    fn pages_of_elsewhere_do_not() {
        assert!(!passes("evil.example:7070", None));
        assert!(!passes("localhost.evil.example", None));
        assert!(!passes("127.0.0.1:7070", Some("https://evil.example")));
        assert!(!passes("127.0.0.1:7070", Some("http://localhost:3000")));
        assert!(!passes("127.0.0.1:7070", Some("null")));
        assert!(passes("127.0.0.1:7070", Some("https://listed.example")));
        assert!(!passes("evil.example", Some("https://listed.example")));
    }
}
