//! A store of objects that speaks as much of S3 as an import and an export need: whole and ranged reads, uploads in parts,
//! lists. It believes every signature.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// What it holds, by the path of its address: `/BUCKET/KEY`.
#[derive(Default)]
struct Objects {
    whole: BTreeMap<String, Vec<u8>>,
    /// The parts of uploads that are not complete, by the path and their number.
    parts: BTreeMap<(String, u32), Vec<u8>>,
    /// The most bytes that one answer had.
    answer_size_max: usize,
}

/// A running store, for as long as the process lives.
#[derive(Clone)]
pub struct Bucket {
    pub url: String,
    objects: Arc<Mutex<Objects>>,
}

/// An answer: status, further headers, body.
type Answer = (u16, Vec<(&'static str, String)>, Vec<u8>);

impl Bucket {
    pub fn start() -> Bucket {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let bucket = Bucket { url, objects: Arc::default() };
        let served = bucket.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let served = served.clone();
                std::thread::spawn(move || served.serve(stream.unwrap()));
            }
        });
        bucket
    }

    /// The object at `/BUCKET/KEY`, if it is there.
    pub fn get(&self, path: &str) -> Option<Vec<u8>> {
        self.objects.lock().unwrap().whole.get(path).cloned()
    }

    pub fn put(&self, path: &str, bytes: Vec<u8>) {
        self.objects.lock().unwrap().whole.insert(path.to_owned(), bytes);
    }

    /// Parts of uploads that were neither completed nor given up.
    pub fn part_count(&self) -> usize {
        self.objects.lock().unwrap().parts.len()
    }

    pub fn answer_size_max(&self) -> usize {
        self.objects.lock().unwrap().answer_size_max
    }

    fn serve(&self, stream: TcpStream) {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        loop {
            let mut first = String::new();
            if reader.read_line(&mut first).unwrap_or(0) == 0 {
                return;
            }
            let mut headers = BTreeMap::new();
            loop {
                let mut line = String::new();
                reader.read_line(&mut line).unwrap();
                let Some((name, value)) = line.trim_end().split_once(": ") else { break };
                headers.insert(name.to_lowercase(), value.to_owned());
            }
            let size = headers.get("content-length").map_or(0, |size| size.parse().unwrap());
            let mut body = vec![0; size];
            reader.read_exact(&mut body).unwrap();
            let mut words = first.split(' ');
            let (method, target) = (words.next().unwrap(), words.next().unwrap());
            let (status, further, answer) = self.answer(method, target, headers.get("range"), body);
            let mut head = format!("HTTP/1.1 {status} Told\r\nETag: \"e\"\r\n");
            // A HEAD tells the size of what it does not send.
            if !further.iter().any(|(name, _)| *name == "Content-Length") {
                head += &format!("Content-Length: {}\r\n", answer.len());
            }
            for (name, value) in further {
                head += &format!("{name}: {value}\r\n");
            }
            (&stream).write_all((head + "\r\n").as_bytes()).unwrap();
            (&stream).write_all(&answer).unwrap();
        }
    }

    fn answer(&self, method: &str, target: &str, range: Option<&String>, body: Vec<u8>) -> Answer {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let field = |name: &str| {
            let pairs = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
            pairs.into_iter().find(|(known, _)| *known == name).map(|(_, value)| value.to_owned())
        };
        let mut objects = self.objects.lock().unwrap();
        match (method, field("uploadId")) {
            ("POST", None) => (
                200,
                vec![],
                b"<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>"
                    .to_vec(),
            ),
            ("PUT", Some(_)) => {
                let number = field("partNumber").unwrap().parse().unwrap();
                objects.parts.insert((path.to_owned(), number), body);
                (200, vec![], vec![])
            }
            ("POST", Some(_)) => {
                let parts = objects.parts.iter().filter(|((at, _), _)| at == path);
                let whole = parts.flat_map(|(_, bytes)| bytes.clone()).collect();
                objects.whole.insert(path.to_owned(), whole);
                objects.parts.retain(|(at, _), _| at != path);
                let told = "<CompleteMultipartUploadResult><ETag>e</ETag></CompleteMultipartUploadResult>";
                (200, vec![], told.as_bytes().to_vec())
            }
            ("DELETE", Some(_)) => {
                objects.parts.retain(|(at, _), _| at != path);
                (204, vec![], vec![])
            }
            ("GET", None) if field("list-type").is_some() => {
                let prefix = field("prefix").unwrap_or_default().replace("%2F", "/");
                let start = format!("{}/{prefix}", path.trim_end_matches('/'));
                let found = objects.whole.iter().filter(|(at, _)| at.starts_with(&start));
                let told = found.map(|(at, bytes)| {
                    let key = at.splitn(3, '/').nth(2).unwrap();
                    format!(
                        "<Contents><Key>{key}</Key><LastModified>2026-11-01T00:00:00.000Z</LastModified>\
                         <ETag>e</ETag><Size>{}</Size></Contents>",
                        bytes.len()
                    )
                });
                let told: String = told.collect();
                let told =
                    format!("<ListBucketResult><IsTruncated>false</IsTruncated>{told}</ListBucketResult>");
                (200, vec![], told.into_bytes())
            }
            ("GET" | "HEAD", None) => {
                let Some(bytes) = objects.whole.get(path) else { return (404, vec![], vec![]) };
                let size = bytes.len();
                let modified = ("Last-Modified", "Sun, 01 Nov 2026 00:00:00 GMT".to_owned());
                if method == "HEAD" {
                    return (200, vec![modified, ("Content-Length", size.to_string())], vec![]);
                }
                let asked = range.and_then(|range| range.strip_prefix("bytes=")?.split_once('-'));
                let (first, last) = asked.map_or((0, size - 1), |(first, last)| {
                    (first.parse().unwrap(), last.parse::<usize>().unwrap().min(size - 1))
                });
                let told = bytes[first..=last].to_vec();
                objects.answer_size_max = objects.answer_size_max.max(told.len());
                (206, vec![modified, ("Content-Range", format!("bytes {first}-{last}/{size}"))], told)
            }
            _ => (400, vec![], vec![]),
        }
    }
}
