//! Accepts connections and serves them, until it is told to stop.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant};

use hyper::body::{Body, Incoming};
use hyper::header::EXPECT;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::arrivals::Arrivals;
use super::body::{self, BodyBudget};
use super::bridge::{Bridge, bug};
use super::handlers::App;
use super::respond::{self, Refusal, Reply};
use super::routes::Routes;
use super::stream::{Activity, MovingStream, Patience};
use super::validator::Validator;
use crate::api::{Problem, ProblemClass};
use crate::limits::{CONNECTION_COUNT_MAX, KEEP_ALIVE_TIME_MAX, REQUEST_HEAD_SIZE_MAX, STOP_TIME_MAX};
use crate::store::Store;

/// Pause after the system refused a connection, for want of files or memory: trying at once would only spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A server that has its address and does not serve yet.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
}

impl Server {
    /// Takes the address. Port 0 takes a free one.
    ///
    /// Fails for an address that other machines reach: that needs keys, which this release does not have.
    pub fn bind(listen: SocketAddr) -> Result<Server, Problem> {
        if !listen.ip().is_loopback() {
            let detail = format!(
                "listening on {listen} would let other machines in, and that needs keys, which are not available \
                 in this release"
            );
            return Err(Problem::new(ProblemClass::Forbidden, detail)
                .hint("listen on 127.0.0.1, and let a proxy or an SSH tunnel check who comes in"));
        }
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
        Ok(Server { listener, address })
    }

    /// The address taken, with its true port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves the store until the process is told to end (SIGTERM, SIGINT), then closes it.
    ///
    /// `ready` is called when requests sent from then on are answered.
    pub fn run(self, store: Store, ready: impl FnOnce() -> Result<(), Problem>) -> Result<(), Problem> {
        let runtime = runtime()?;
        let (terminate, interrupt) = {
            let _context = runtime.enter();
            (listen_for(SignalKind::terminate())?, listen_for(SignalKind::interrupt())?)
        };
        ready()?;
        self.serve(runtime, store, told_to_end(terminate, interrupt))
    }

    /// Serves the store until `stop` is ready, then closes it.
    pub fn run_until(self, store: Store, stop: impl Future<Output = ()> + Send) -> Result<(), Problem> {
        self.serve(runtime()?, store, stop)
    }

    fn serve(
        self,
        runtime: Runtime,
        store: Store,
        stop: impl Future<Output = ()> + Send,
    ) -> Result<(), Problem> {
        let store = Arc::new(store);
        let (bridge, read_threads) =
            Bridge::start(Arc::clone(&store)).map_err(|e| system("start the threads for queries", &e))?;
        let app = Arc::new(App {
            bridge,
            routes: Routes::new(),
            bodies: BodyBudget::default(),
            validator: Validator::new(),
            arrivals: Arc::new(Arrivals::default()),
            is_stopping: AtomicBool::new(false),
        });
        let listener = {
            let _context = runtime.enter();
            tokio::net::TcpListener::from_std(self.listener).map_err(|e| system("listen", &e))?
        };
        let stopping = runtime.block_on(accept(listener, app, stop));

        // What is still running may end on its own; after that the store is closed without it.
        let time_left = || STOP_TIME_MAX.saturating_sub(stopping.elapsed());
        runtime.shutdown_timeout(time_left());
        let ended = read_threads.wait(time_left());
        match Arc::try_unwrap(store) {
            Ok(store) => store.close(),
            Err(_) => {
                tracing::warn!(queries = !ended, "requests were still running when the server stopped");
                Ok(())
            }
        }
    }
}

/// Serves connections until `stop`, then finishes what is in flight. Returns when it was told to stop.
async fn accept(
    listener: tokio::net::TcpListener,
    app: Arc<App>,
    stop: impl Future<Output = ()> + Send,
) -> Instant {
    let connections = Arc::new(Semaphore::new(CONNECTION_COUNT_MAX));
    let graceful = GracefulShutdown::new();
    let mut stop = pin!(stop);
    loop {
        let next = async {
            let permit =
                Arc::clone(&connections).acquire_owned().await.expect("the semaphore is never closed");
            (listener.accept().await, permit)
        };
        let (accepted, permit) = tokio::select! {
            () = &mut stop => break,
            next = next => next,
        };
        match accepted {
            Ok((stream, _)) => {
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(%error, "cannot send small answers at once");
                }
                serve_connection(stream, Arc::clone(&app), &graceful, permit);
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    let stopping = Instant::now();
    drop(listener);
    app.is_stopping.store(true, Ordering::Relaxed);
    tracing::info!("stopping: finishing what is in flight");
    if tokio::time::timeout(STOP_TIME_MAX, graceful.shutdown()).await.is_err() {
        tracing::warn!("connections are closed with requests in flight");
    }
    stopping
}

fn serve_connection(
    stream: tokio::net::TcpStream,
    app: Arc<App>,
    graceful: &GracefulShutdown,
    permit: OwnedSemaphorePermit,
) {
    let activity = Activity::default();
    let stream = MovingStream::new(stream, activity.clone(), Patience::default());
    let service = service_fn(move |request| {
        let (app, answering) = (Arc::clone(&app), activity.begin());
        async move {
            let reply = answer(&app, request).await;
            drop(answering);
            Ok::<_, Infallible>(reply)
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(KEEP_ALIVE_TIME_MAX)
        .max_header_size(REQUEST_HEAD_SIZE_MAX)
        .serve_connection(TokioIo::new(stream), service);
    let connection = graceful.watch(connection);
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a connection ended early");
        }
        drop(permit);
    });
}

/// Answers a request, whatever happens.
async fn answer(app: &App, request: Request<Incoming>) -> Reply {
    let begun = Instant::now();
    let (parts, mut incoming) = request.into_parts();
    let reply = match without_panic(pin!(app.answer(&parts, &mut incoming))).await {
        Ok(reply) => reply,
        Err(refusal) => {
            let problem = &refusal.problem;
            if problem.status() >= 500 {
                tracing::error!(%problem, method = %parts.method, path = parts.uri.path(), "a request failed");
            }
            respond::refusal(&refusal)
        }
    };
    // A client that expects to be asked for the body has not sent it yet.
    if !incoming.is_end_stream() && !parts.headers.contains_key(EXPECT) {
        tokio::spawn(body::discard(incoming));
    }
    let (status, elapsed) = (Response::status(&reply).as_u16(), begun.elapsed());
    tracing::debug!(method = %parts.method, path = parts.uri.path(), status, ?elapsed, "answered");
    reply
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_machines_need_keys() {
        for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0"] {
            let problem = Server::bind(address.parse().unwrap()).unwrap_err();
            assert!(problem.detail.contains("keys, which are not available in this release"), "{problem}");
            assert_eq!(problem.exit_code(), 1);
        }
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
