//! How people and programs talk to the store: over a socket, by the program, in files, and in the words of other products.

#[path = "../support/mod.rs"]
mod support;

mod cli;
mod exchange;
mod http;
mod openapi;
