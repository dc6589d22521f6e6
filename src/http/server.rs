//! Accepts connections and serves them, until it is told to stop.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant};

use hyper::body::{Body, Incoming};
use hyper::header::{EXPECT, HeaderMap, HeaderName, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_rustls::TlsAcceptor;

use super::access::{Doorkeeper, needed};
use super::arrivals::Arrivals;
use super::body::{self, BodyRoom};
use super::bridge::{Bridge, BridgeSize, bug};
use super::connections::{Connections, Place};
use super::dialects::{endpoint_label, endpoint_of};
use super::farewell::{Farewells, farewell};
use super::handlers::App;
use super::metrics::Metrics;
use super::respond::{self, Refusal, Reply};
use super::routes::Routes;
use super::sharing::share;
use super::stream::{Activity, MovingStream, Patience};
use super::validator::Validator;
use super::{process, tls};
use crate::api::{Problem, ProblemClass};
use crate::io::map_program;
use crate::limits::REQUEST_HEAD_SIZE_MAX;
use crate::memory::{IDLE_TIME, return_memory};
use crate::query::return_memory_of_queries;
use crate::settings::Settings;
use crate::store::{Store, StoreBounds};

/// Pause after the system refused a connection, for want of files or memory: trying at once would only spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// What hyper may hold of a head, which `framing` bounds before: some more, so that it is not hyper that refuses it.
const HYPER_HEAD_SIZE_MAX: usize = 2 * REQUEST_HEAD_SIZE_MAX;
/// The header by which a request is found in logs.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Characters of an id that a client gives its request.
const REQUEST_ID_LENGTH_MAX: usize = 128;

/// A server that has its address and does not serve yet.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    settings: Settings,
    backups: PathBuf,
}

impl Server {
    /// Takes the address, with the settings of every server. Port 0 takes a free one.
    pub fn bind(listen: SocketAddr) -> Result<Server, Problem> {
        Server::bind_with(Settings { listen, ..Settings::default() })
    }

    /// Takes the address that the settings say.
    pub fn bind_with(settings: Settings) -> Result<Server, Problem> {
        let listen = settings.listen;
        let io = |e: io::Error| {
            let problem = Problem::new(ProblemClass::Io, format!("cannot listen on {listen}: {e}"));
            match e.kind() {
                io::ErrorKind::AddrInUse => Problem::new(
                    ProblemClass::Conflict,
                    format!("port {} is in use by another program", listen.port()),
                )
                .hint("choose another with --listen, or 0 for any that is free"),
                _ => problem,
            }
        };
        let listener = TcpListener::bind(listen).map_err(io)?;
        listener.set_nonblocking(true).map_err(io)?;
        let address = listener.local_addr().map_err(io)?;
        Ok(Server { listener, address, settings, backups: PathBuf::from("flywheel-backups") })
    }

    /// Puts backups that are asked for below this directory.
    pub fn with_backups(self, backups: PathBuf) -> Server {
        Server { backups, ..self }
    }

    /// The address taken, with its true port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The address as clients write it.
    pub fn url(&self) -> String {
        let scheme = if self.settings.tls_cert.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// Serves the store until the process is told to end (SIGTERM, SIGINT), then closes it.
    ///
    /// `ready` is called when requests sent from then on are answered. Fails if other machines reach the address and
    /// the store has no keys.
    pub fn run(self, store: Store, ready: impl FnOnce() -> Result<(), Problem>) -> Result<(), Problem> {
        let runtime = runtime()?;
        let (terminate, interrupt) = {
            let _context = runtime.enter();
            (listen_for(SignalKind::terminate())?, listen_for(SignalKind::interrupt())?)
        };
        runtime.spawn_blocking(map_program);
        self.serve(runtime, store, ready, told_to_end(terminate, interrupt))
    }

    /// Serves the store until `stop` is ready, then closes it.
    pub fn run_until(self, store: Store, stop: impl Future<Output = ()> + Send) -> Result<(), Problem> {
        self.serve(runtime()?, store, || Ok(()), stop)
    }

    /// Fails if other machines reach the address and nothing would keep them out.
    fn check_keys(&self, store: &Store) -> Result<(), Problem> {
        let address = self.address;
        if address.ip().is_loopback() || store.has_keys() {
            return Ok(());
        }
        let detail = format!("listening on {address} would let other machines in, and the store has no keys");
        Err(Problem::new(ProblemClass::Forbidden, detail).hint(
            "make one first: flywheel keys create --scope admin; or listen on 127.0.0.1, which needs none",
        ))
    }

    fn serve(
        self,
        runtime: Runtime,
        store: Store,
        ready: impl FnOnce() -> Result<(), Problem>,
        stop: impl Future<Output = ()> + Send,
    ) -> Result<(), Problem> {
        self.check_keys(&store)?;
        let Server { listener, address, settings, backups } = self;
        let tls = match (&settings.tls_cert, &settings.tls_key) {
            (Some(certificates), Some(key)) => Some(tls::acceptor(certificates, key)?),
            _ => None,
        };
        store.bound(store_bounds(&settings))?;
        let stop_time_max = settings.stop_timeout;
        let store = Arc::new(store);
        let size = BridgeSize {
            slow_count_max: settings.max_slow_queries,
            waiting_count_max: settings.max_waiting_queries,
            write_count_max: settings.max_writes,
            waiting_write_count_max: settings.max_waiting_writes,
        };
        let (bridge, read_threads) = Bridge::start(Arc::clone(&store), size)
            .map_err(|e| system("start the threads for queries", &e))?;
        let connection_count_max = process::connection_count_max().min(settings.max_connections);
        if connection_count_max < settings.max_connections {
            let wanted = settings.max_connections;
            tracing::warn!(
                connection_count_max,
                wanted,
                "the system lets too few files be open for all connections"
            );
        }
        let app = Arc::new(App {
            bridge,
            routes: Routes::new(),
            bodies: BodyRoom::new(&settings),
            validator: Validator::new(),
            dialects: Arc::default(),
            arrivals: Arc::new(Arrivals::default()),
            doorkeeper: Arc::new(Doorkeeper::new(
                &store,
                !address.ip().is_loopback(),
                settings.cors_origin.clone(),
            )),
            connections: Connections::new(connection_count_max, settings.max_connections_per_address),
            metrics: Metrics::default(),
            settings,
            is_stopping: AtomicBool::new(false),
            backups,
        });
        let listener = {
            let _context = runtime.enter();
            tokio::net::TcpListener::from_std(listener).map_err(|e| system("listen", &e))?
        };
        ready()?;
        let stopping = runtime.block_on(accept(listener, tls, app, stop));

        // What is still running may end on its own; after that the store is closed without it.
        let time_left = || stop_time_max.saturating_sub(stopping.elapsed());
        runtime.shutdown_timeout(time_left());
        let ended = read_threads.wait(time_left().max(LAST_WAIT));
        match Arc::try_unwrap(store) {
            Ok(store) => store.close(),
            Err(_) => {
                tracing::warn!(queries = !ended, "requests were still running when the server stopped");
                Ok(())
            }
        }
    }
}

/// Time for queries to see that nobody waits for them any more.
const LAST_WAIT: Duration = Duration::from_secs(1);

/// Serves connections until `stop`, then finishes what is in flight. Returns when it was told to stop.
async fn accept(
    listener: tokio::net::TcpListener,
    tls: Option<TlsAcceptor>,
    app: Arc<App>,
    stop: impl Future<Output = ()> + Send,
) -> Instant {
    let graceful = GracefulShutdown::new();
    let farewells = Farewells::default();
    let mut stop = pin!(stop);
    tokio::spawn(return_memory_when_idle(Arc::clone(&app)));
    loop {
        let accepted = tokio::select! {
            () = &mut stop => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(%error, "cannot send small answers at once");
                }
                let (app, farewells) = (Arc::clone(&app), farewells.clone());
                take_in(stream, peer.ip(), tls.clone(), app, &graceful, farewells);
            }
            Err(error) if is_of_one_connection(&error) => {
                tracing::debug!(%error, "a connection ended before it began");
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept connections; trying again");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    let stopping = Instant::now();
    drop(listener);
    app.is_stopping.store(true, Ordering::Relaxed);
    tracing::info!("stopping: finishing what is in flight");
    if tokio::time::timeout(app.settings.stop_timeout, graceful.shutdown()).await.is_err() {
        tracing::warn!("connections are closed with requests in flight");
    }
    stopping
}

/// Gives free memory back to the system once nothing was asked and nothing changed for a while. The threads of the bridge do
/// it themselves.
async fn return_memory_when_idle(app: Arc<App>) {
    let (mut before, mut returned) = (None, None);
    loop {
        tokio::time::sleep(IDLE_TIME).await;
        let answered = app.metrics.answered_while_idle();
        let now = answered.map(|answered| (answered, app.bridge.store().snapshot().number));
        if now.is_some() && now == before && now != returned {
            return_memory_of_queries();
            // Whatever became of it, there is nothing more to be done about it.
            let _ = tokio::task::spawn_blocking(return_memory).await;
            returned = now;
        }
        before = now;
    }
}

/// Whether accepting failed because of the one connection, and the next may be taken at once.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

/// Gives a connection its place and serves it, or tells it that there is none.
fn take_in(
    stream: TcpStream,
    peer: IpAddr,
    tls: Option<TlsAcceptor>,
    app: Arc<App>,
    graceful: &GracefulShutdown,
    farewells: Farewells,
) {
    let activity = Activity::default();
    let place = match app.connections.admit(peer, activity.clone()) {
        Ok(place) => place,
        Err(problem) => {
            app.metrics.refused(&problem);
            // A client that expects TLS would not understand.
            if tls.is_none() {
                farewell(stream, &problem, &farewells);
            }
            return;
        }
    };
    let patience = Patience { head: app.settings.head_timeout, answer: app.settings.answer_timeout };
    let watcher = graceful.watcher();
    tokio::spawn(async move {
        match tls {
            None => {
                let stream = MovingStream::new(stream, activity.clone(), patience, farewells);
                serve_connection(stream, app, activity, place, watcher).await;
            }
            Some(tls) => {
                let leave = Arc::clone(&place.leave);
                let greeting = tokio::time::timeout(patience.head, tls.accept(stream));
                let greeted = tokio::select! {
                    greeted = greeting => greeted,
                    () = leave.notified() => return,
                };
                match greeted {
                    Ok(Ok(stream)) => {
                        let stream = MovingStream::new(stream, activity.clone(), patience, farewells);
                        serve_connection(stream, app, activity, place, watcher).await;
                    }
                    Ok(Err(error)) => tracing::debug!(%error, "a client could not agree on TLS"),
                    Err(_) => tracing::debug!("a client began TLS and did not go on"),
                }
            }
        }
    });
}

async fn serve_connection<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(
    stream: MovingStream<S>,
    app: Arc<App>,
    activity: Activity,
    place: Place,
    watcher: Watcher,
) {
    let keep_alive = app.settings.keep_alive;
    let of_service = activity.clone();
    let service = service_fn(move |request| {
        let (app, answering) = (Arc::clone(&app), of_service.begin());
        async move {
            let reply = answer(&app, request).await;
            drop(answering);
            Ok::<_, Infallible>(reply)
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(keep_alive)
        .max_header_size(HYPER_HEAD_SIZE_MAX)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(watcher.watch(connection));
    loop {
        tokio::select! {
            ended = &mut connection => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "a connection ended early");
                }
                return;
            }
            // A request that came in at the last moment is answered.
            () = place.leave.notified() => if !activity.is_answering() { return },
        }
    }
}

/// Answers a request, whatever happens.
async fn answer(app: &App, request: Request<Incoming>) -> Reply {
    let begun = Instant::now();
    let _in_flight = app.metrics.begin();
    let (parts, mut incoming) = request.into_parts();
    let id = request_id(&parts.headers);
    let route = app.routes.find(&parts.method, parts.uri.path()).ok().map(|found| found.route);
    let label = endpoint_of(&parts).map(endpoint_label).or(route.map(|route| route.path));
    let preflight = app.answer_preflight(&parts);
    let is_preflight = preflight.is_some();
    let answered = match preflight {
        Some(reply) => Ok(reply),
        None => without_panic(pin!(app.answer(&parts, &mut incoming))).await,
    };
    let mut reply = answered.unwrap_or_else(|refusal| {
        let problem = &refusal.problem;
        app.metrics.refused(problem);
        let (id, path) = (id.to_str().unwrap_or_default(), parts.uri.path());
        match problem.class {
            // Under a load that is too much, or on a full disk, there would be a line for each request: metrics count
            // them, and `/readyz` says why.
            ProblemClass::Unavailable | ProblemClass::ReadOnly => {}
            _ if problem.status() >= 500 => {
                tracing::error!(%problem, method = %parts.method, path, id, "a request failed");
            }
            _ => {}
        }
        respond::refusal(&refusal)
    });
    if let Some(route) = route.filter(|_| !is_preflight) {
        let origin = app.shared_with(route.action, needed(route.action), &parts.headers);
        if let Some(origin) = origin {
            share(reply.headers_mut(), origin);
        }
    }
    // A client that expects to be asked for the body has not sent it yet.
    if !incoming.is_end_stream() && !parts.headers.contains_key(EXPECT) {
        tokio::spawn(body::discard(incoming));
    }
    let (status, elapsed) = (Response::status(&reply).as_u16(), begun.elapsed());
    app.metrics.answered(&parts.method, label.unwrap_or_default(), status);
    let told_id = id.to_str().unwrap_or_default();
    // The path alone: a key may be among the parameters.
    tracing::debug!(method = %parts.method, path = parts.uri.path(), status, ?elapsed, id = told_id, "answered");
    reply.headers_mut().insert(REQUEST_ID, id);
    reply
}

/// The id of a request: its client's if that can stand in a log, else a new one.
fn request_id(headers: &HeaderMap) -> HeaderValue {
    let is_plain = |value: &&HeaderValue| {
        (1..=REQUEST_ID_LENGTH_MAX).contains(&value.len())
            && value.as_bytes().iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:".contains(byte))
    };
    if let Some(id) = headers.get(REQUEST_ID).filter(is_plain) {
        return id.clone();
    }
    let mut random = [0_u8; 8];
    // Without random bytes ids are alike, which is no reason not to answer.
    let _ = getrandom::fill(&mut random);
    let id = format!("{:016x}", u64::from_le_bytes(random));
    HeaderValue::from_str(&id).expect("hexadecimal digits are visible ASCII")
}

/// Turns a panic of the future into a refusal.
async fn without_panic(
    mut answer: Pin<&mut (impl Future<Output = Result<Reply, Refusal>> + Send)>,
) -> Result<Reply, Refusal> {
    std::future::poll_fn(|cx| {
        // After a panic the future is never polled again, so nobody sees it half done.
        match catch_unwind(AssertUnwindSafe(|| answer.as_mut().poll(cx))) {
            Ok(polled) => polled,
            Err(panic) => Poll::Ready(Err(bug(panic.as_ref()).into())),
        }
    })
    .await
}

fn runtime() -> Result<Runtime, Problem> {
    let runtime = tokio::runtime::Builder::new_multi_thread().thread_name("http").enable_all().build();
    runtime.map_err(|e| system("start the server's threads", &e))
}

fn listen_for(kind: SignalKind) -> Result<Signal, Problem> {
    signal(kind).map_err(|e| system("listen for signals", &e))
}

async fn told_to_end(mut terminate: Signal, mut interrupt: Signal) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

fn system(what: &str, error: &io::Error) -> Problem {
    Problem::new(ProblemClass::Io, format!("cannot {what}: {error}"))
}

/// How much of what stays for good the store takes.
fn store_bounds(settings: &Settings) -> StoreBounds {
    StoreBounds {
        event_names: settings.max_event_names,
        property_names: settings.max_property_names,
        property_values: settings.max_property_values,
        users: settings.max_users,
        accounts: settings.max_accounts,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_machines_need_keys() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let stop = || async {};
        let bind = || Server::bind("0.0.0.0:0".parse().unwrap()).unwrap();
        let problem = bind().run_until(store, stop()).unwrap_err();
        assert!(problem.detail.contains("has no keys") && problem.hint.unwrap().contains("keys create"));
        let store = Store::open(folder.path()).unwrap();
        store.create_key(crate::keys::Scope::Admin, "", 0, &[7; crate::keys::KEY_RANDOM_SIZE]).unwrap();
        bind().run_until(store, stop()).unwrap();
    }

    #[test]
    fn a_request_has_its_clients_id_if_that_is_harmless() {
        let id = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(REQUEST_ID, HeaderValue::from_static(text));
            request_id(&headers)
        };
        assert_eq!(id("a-1:B.c_2"), "a-1:B.c_2");
        for strange in ["", "a b", "a\tb", "a\"b", "x=1,y"] {
            assert_eq!(id(strange).len(), 16, "{strange}");
        }
        assert_ne!(request_id(&HeaderMap::new()), request_id(&HeaderMap::new()));
    }

    #[test]
    fn a_port_in_use_is_one_clear_line() {
        let first = Server::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let problem = Server::bind(first.address()).unwrap_err();
        let port = first.address().port();
        assert_eq!(problem.detail, format!("port {port} is in use by another program"));
    }

    #[tokio::test]
    async fn a_panic_is_a_problem() {
        let refusal = without_panic(pin!(async { panic!("half way") })).await.unwrap_err();
        assert_eq!(refusal.problem.status(), 500);
    }
}
