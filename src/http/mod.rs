//! How programs and people talk to the store over HTTP/1.1.
//!
//! A request goes through these files in this order: `server` accepts its connection, for which `connections` has
//! a place, `tls` may decrypt it, `stream` sees that it keeps moving and `framing` that nobody can be in doubt where it
//! ends, `routes` finds what it asks for, `access` that it may, with `origin` and `sharing` for web pages, `handlers` do
//! it, with `parameters`, `media` and `body` to read it, `bridge` to cross from async to the blocking store, `queries`
//! to share the cores, `validator` to spare an asker the answer it has, and `respond` to answer. Every error is a
//! [`Problem`](crate::api::Problem) on its way out, a panic as well; `farewell` tells those that have no request.
//! `metrics`, `process` and `readiness` tell operators how it goes.
//!
//! `dialects` answers the SDKs of other products at their own addresses.
//! `openapi` describes all of it, `console` is the page for people, `arrivals` what it shows of events as they come.
//!
//! `client` is the other side: what the command line asks a server with.
//!
//! Async begins and ends here. Nothing in this room waits for a disk or computes on an async worker.

mod access;
mod arrivals;
mod body;
mod bridge;
mod client;
mod connections;
mod console;
mod dialects;
mod documents;
mod export;
mod farewell;
mod framing;
mod handlers;
mod keys;
mod media;
mod metrics;
mod openapi;
mod origin;
mod parameters;
mod process;
mod queries;
mod readiness;
mod respond;
#[cfg(test)]
mod route_laws;
mod routes;
mod server;
mod sharing;
mod stream;
mod tls;
mod validator;

pub use client::Client;
pub(crate) use client::connector;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use framing::Framing;
pub use handlers::{QUERY_KINDS, now};
pub use keys::fresh_random;
pub(crate) use parameters::percent_encode;
pub use server::Server;
