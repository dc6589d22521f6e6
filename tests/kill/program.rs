//! The built program as a server, and a connection to it.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::built::flywheel;

/// A running server. It is killed when dropped.
pub struct Server {
    child: Child,
    address: SocketAddr,
}

impl Server {
    fn spawn(data: &Path) -> Child {
        let mut command = flywheel(data);
        // However busy the machine is: it is not time that is tested here.
        command.args(["serve", "--listen", "127.0.0.1:0", "--log", "error", "--query-timeout", "1h"]);
        command.stdout(Stdio::piped()).spawn().unwrap()
    }

    /// Starts a server, and returns when it is ready.
    pub fn start(data: &Path) -> Server {
        Server::start_timed(data).0
    }

    /// As [`Server::start`], with how long it took.
    pub fn start_timed(data: &Path) -> (Server, Duration) {
        let begun = Instant::now();
        let mut child = Server::spawn(data);
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let Some(rest) = line.strip_prefix("flywheel is ready on http://") else {
            panic!("the server did not start: {line:?}, {:?}", child.wait());
        };
        let address = rest.split(' ').next().unwrap().parse().unwrap();
        (Server { child, address }, begun.elapsed())
    }

    pub fn kill_while_starting(data: &Path, after: Duration) {
        let mut child = Server::spawn(data);
        std::thread::sleep(after);
        child.kill().unwrap();
        child.wait().unwrap();
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn connect(&self) -> Connection {
        Connection::open(self.address).unwrap()
    }

    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Stops the server as its owner would.
    pub fn stop(mut self) {
        let told = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().unwrap();
        assert!(told.success());
        assert_eq!(self.child.wait().unwrap().code(), Some(0));
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A connection that requests follow one another on.
pub struct Connection {
    stream: BufReader<TcpStream>,
}

/// A whole answer.
#[derive(Debug)]
pub struct Answer {
    status: u16,
    body: String,
}

impl Answer {
    /// The JSON of an answer that must be a good one.
    pub fn expect_success(&self) -> Value {
        assert_eq!(self.status, 200, "{}", self.body);
        serde_json::from_str(&self.body).unwrap()
    }
}

impl Connection {
    pub fn open(address: SocketAddr) -> io::Result<Connection> {
        let stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(Duration::from_secs(3600)))?;
        stream.set_nodelay(true)?;
        Ok(Connection { stream: BufReader::new(stream) })
    }

    /// Sends a request and reads its whole answer. An error is a connection that broke.
    pub fn post(&mut self, path: &str, body: &str) -> io::Result<Answer> {
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        self.stream.get_mut().write_all((head + body).as_bytes())?;
        let broken = || io::Error::from(io::ErrorKind::UnexpectedEof);
        let (mut status, mut size) = (None, None);
        loop {
            let mut line = String::new();
            if self.stream.read_line(&mut line)? == 0 {
                return Err(broken());
            }
            let line = line.trim_end().to_ascii_lowercase();
            if let Some(rest) = line.strip_prefix("http/1.1 ") {
                status = rest.get(..3).and_then(|status| status.parse().ok());
            } else if let Some(length) = line.strip_prefix("content-length: ") {
                size = length.parse().ok();
            } else if line.is_empty() {
                break;
            }
        }
        let mut body = vec![0; size.ok_or_else(broken)?];
        self.stream.read_exact(&mut body)?;
        Ok(Answer {
            status: status.ok_or_else(broken)?,
            body: String::from_utf8(body).expect("answers are text"),
        })
    }

    /// The rows of a query's result.
    pub fn query(&mut self, kind: &str, body: &Value) -> Vec<Value> {
        let answer = self.post(&format!("/v1/query/{kind}"), &body.to_string()).unwrap();
        let Value::Array(rows) = answer.expect_success()["data"].take() else { panic!("no rows") };
        rows
    }

    /// All events, or those of one writer.
    pub fn count_events(&mut self, writer: Option<usize>) -> u64 {
        let mut body = json!({"series": [{"event": "*"}], "interval": "total"});
        if let Some(writer) = writer {
            body["where"] = json!({"property": "writer", "op": "eq", "value": writer});
        }
        self.query("segmentation", &body)[0]["value"].as_u64().unwrap()
    }
}
