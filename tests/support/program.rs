//! The built program, and nothing of our environment.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

pub fn flywheel(data: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_flywheel"));
    command.arg("--data").arg(data);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("FLYWHEEL_")) {
        command.env_remove(name);
    }
    command
}

/// What a command prints, which must go well.
pub fn output_of(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    String::from_utf8(output.stdout).unwrap()
}

/// What a command says of its failure, and what it warns of.
pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A running server, killed when dropped.
pub struct Server {
    pub child: Child,
    pub url: String,
}

impl Server {
    /// Serves a store at a free address.
    pub fn of(data: &Path, arguments: &[&str]) -> Server {
        let listening = ["serve", "--listen", "127.0.0.1:0", "--log", "error"];
        Server::start(flywheel(data).args(listening).args(arguments))
    }

    /// Starts a command that serves, and returns when it is ready.
    pub fn start(command: &mut Command) -> Server {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let url =
            line.split(' ').find(|word| word.starts_with("http")).expect("a line that says it is ready");
        Server { url: url.to_owned(), child }
    }

    pub fn address(&self) -> SocketAddr {
        self.url.split("://").nth(1).unwrap().parse().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
