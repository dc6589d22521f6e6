//! How programs and people talk to the store over HTTP/1.1.
//!
//! A request goes through these files in this order: `server` accepts its connection, `stream` sees that it
//! keeps moving, `origin` that no web page is behind it, `routes` finds what it asks for, `handlers` do that,
//! with `parameters`, `media` and `body` to read it, `bridge` to cross from async to the blocking store,
//! `validator` to spare an asker the answer it has, and `respond` to answer. Every error is a [`Problem`](crate::api::Problem) on its way out, a panic as well.
//!
//! `openapi` describes all of it, `console` is the page for people, `arrivals` what it shows of events as they come.
//!
//! `client` is the other side: what the command line asks a server with.
//!
//! Async begins and ends here. Nothing in this room waits for a disk or computes on an async worker.

mod arrivals;
mod body;
mod bridge;
mod client;
mod console;
mod documents;
mod handlers;
mod media;
mod openapi;
mod origin;
mod parameters;
mod respond;
mod routes;
mod server;
mod stream;
mod validator;

pub use client::Client;
pub use handlers::QUERY_KINDS;
pub use server::Server;
