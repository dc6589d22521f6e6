//! What holds of every route there is: tested from the router itself, so that no new route is forgotten.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use hyper::Method;
use tokio::sync::oneshot;

use super::access::{Access, needed};
use super::routes::{ROUTES, Route};
use super::server::Server;
use crate::Store;
use crate::keys::{KEY_RANDOM_SIZE, Scope};

/// Sends a request without a body, and returns the status and the text of its answer.
fn ask(address: SocketAddr, route: &Route, key: Option<&str>) -> (u16, String) {
    let path = route.path.replace("{kind}", "funnel").replace(['{', '}'], "");
    let authorization = key.map_or(String::new(), |key| format!("Authorization: Bearer {key}\r\n"));
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let method = &route.method;
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: a.example\r\n{authorization}Content-Length: 0\r\n\
         Connection: close\r\n\r\n"
    )
    .unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    (text[9..12].parse().unwrap(), text)
}

#[test]
fn a_key_opens_the_routes_of_its_scope_and_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let [write, read, admin, revoked] = [Scope::Write, Scope::Read, Scope::Admin, Scope::Admin];
    let key = |scope, seed| store.create_key(scope, "", 0, &[seed; KEY_RANDOM_SIZE]).unwrap();
    let (write, read, admin, revoked) = (key(write, 1), key(read, 2), key(admin, 3), key(revoked, 4));
    store.revoke_key(&revoked.info.id).unwrap();
    let server = Server::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = server.address();
    let (stop, stopped) = oneshot::channel::<()>();
    let thread = std::thread::spawn(move || {
        server.run_until(store, async {
            let _ = stopped.await;
        })
    });
    for route in ROUTES {
        let told = format!("{} {}", route.method, route.path);
        let none = ask(address, route, None);
        let Access::Key(scope) = needed(route.action) else {
            assert!(![401, 403].contains(&none.0), "{told}: {}", none.1);
            continue;
        };
        assert_eq!(none.0, 401, "{told}");
        assert!(none.1.to_lowercase().contains("www-authenticate: bearer"), "{told}");
        for wrong in ["x", &revoked.text, &admin.text[..20], &write.text.replace("write", "admin")] {
            assert_eq!(ask(address, route, Some(wrong)).0, 401, "{told}");
        }
        for key in [&write, &read, &admin] {
            let (status, text) = ask(address, route, Some(&key.text));
            let has = key.info.scope;
            match has.allows(scope) {
                true => assert!(![401, 403].contains(&status), "{told} by {has:?}: {text}"),
                false => assert_eq!(status, 403, "{told} by {has:?}"),
            }
            assert!(!text.contains(&key.text) || route.path == "/v1/admin/keys", "{told} tells the key");
        }
    }
    drop(stop);
    thread.join().unwrap().unwrap();
}

/// What a scope may be needed for, said a second time, by address and method.
#[test]
fn what_routes_need_is_what_the_contract_says() {
    for route in ROUTES {
        let told = format!("{} {}", route.method, route.path);
        let access = needed(route.action);
        let is_ingest = route.method == Method::POST
            && ["/v1/events", "/v1/users", "/v1/accounts", "/v1/identities"].contains(&route.path);
        assert_eq!(access == Access::Key(Scope::Write), is_ingest, "{told}: write keys are for ingest");
        assert_eq!(route.action.is_ingest(), is_ingest, "{told}: pages of elsewhere may write");
        if route.path.starts_with("/v1/admin/") {
            assert_eq!(access, Access::Key(Scope::Admin), "{told}");
        }
        if access == Access::Key(Scope::Read) {
            let is_question = route.method == Method::GET
                || route.path.starts_with("/v1/query/")
                || route.path.ends_with("/run");
            assert!(is_question, "{told}: read keys change nothing");
        }
        if access == Access::Open {
            let is_description = route.path == "/v1/openapi.json";
            assert!(
                !route.path.starts_with("/v1/") || is_description,
                "{told}: open routes tell nothing of the store"
            );
        }
    }
}
