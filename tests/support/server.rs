//! A server of its own for a test, and a plain client that shows every byte.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread::JoinHandle;
use std::time::Duration;

use flywheeldb::Store;
use flywheeldb::api::Problem;
use flywheeldb::http::Server;
use flywheeldb::settings::Settings;
use serde_json::{Value, json};
use tokio::sync::oneshot;

/// A server of an empty store, which stops when dropped.
pub struct TestServer {
    pub address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<Result<(), Problem>>>,
    _directories: [tempfile::TempDir; 2],
}

impl TestServer {
    pub fn start() -> TestServer {
        TestServer::start_with(|_| ())
    }

    /// Starts with what `fill` puts into the store.
    pub fn start_with(fill: impl FnOnce(&Store)) -> TestServer {
        TestServer::start_as(Settings::default(), fill)
    }

    /// Starts with settings other than a server's own, but for the address.
    pub fn start_as(settings: Settings, fill: impl FnOnce(&Store)) -> TestServer {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        fill(&store);
        let listen = "127.0.0.1:0".parse().unwrap();
        let server = Server::bind_with(Settings { listen, ..settings }).unwrap();
        let backups = tempfile::tempdir().unwrap();
        let server = server.with_backups(backups.path().to_owned());
        let address = server.address();
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            server.run_until(store, async {
                let _ = stopped.await;
            })
        });
        TestServer { address, stop: Some(stop), thread: Some(thread), _directories: [directory, backups] }
    }

    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream
    }

    /// Sends one request on a connection of its own, and reads the answer.
    pub fn send(&self, method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let mut stream = self.connect();
        let mut head =
            format!("{method} {target} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n", self.address);
        for (name, value) in headers {
            head += &format!("{name}: {value}\r\n");
        }
        head += &format!("Content-Length: {}\r\n\r\n", body.len());
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(body).unwrap();
        Answer::read(&mut stream)
    }

    pub fn get(&self, target: &str) -> Answer {
        self.send("GET", target, &[], b"")
    }

    pub fn post(&self, target: &str, body: &str) -> Answer {
        self.send("POST", target, &[("Content-Type", "application/json")], body.as_bytes())
    }

    pub fn stop(mut self) -> Result<(), Problem> {
        self.stop.take().unwrap().send(()).unwrap();
        self.thread.take().unwrap().join().unwrap()
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap().unwrap();
        }
    }
}

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Answer {
    /// Reads one answer, which tells its length.
    pub fn read(stream: &mut impl Read) -> Answer {
        let mut bytes = Vec::new();
        let mut byte = [0];
        while !bytes.ends_with(b"\r\n\r\n") {
            assert_eq!(stream.read(&mut byte).unwrap(), 1, "the head breaks off: {bytes:?}");
            bytes.push(byte[0]);
        }
        let head = String::from_utf8(bytes).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let mut answer = Answer { status, head, body: Vec::new() };
        // An answer without content tells no length.
        let size = answer.header("content-length").map_or(0, |size| size.parse().unwrap());
        answer.body = vec![0; size];
        stream.read_exact(&mut answer.body).unwrap();
        answer
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    /// Checks that this is a problem of the status, and returns it.
    pub fn problem(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.header("content-type"), Some("application/problem+json"));
        let problem = self.json();
        assert_eq!(problem["status"], json!(status));
        problem
    }
}
