//! Who may do what, what clients may not do to the server, and how it shares itself.
#![allow(clippy::disallowed_methods, reason = "tests write what operators bring")]

mod attacks;
mod bodies;
mod bounds;
mod fairness;
mod keys;
mod operating;
mod overload;
#[path = "../support/program.rs"]
#[allow(dead_code, reason = "each test binary uses its part")]
mod program;
#[path = "../support/server.rs"]
#[allow(dead_code, reason = "each test binary uses its part")]
mod server;
mod tls;
