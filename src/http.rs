//! HTTP for probes, Prometheus and people: `/livez`, `/readyz`, `/metrics`, `/status` and a page at `/`; and, where it
//! is configured, `POST /reload`.
//!
//! It runs on a thread of its own and reads [`Telemetry`], so requests never hold up the line. Its `watch` asks MySQL
//! for what only readers of HTTP need, and only while there are readers.

mod listening;
mod page;
mod reload;
mod watch;

use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use tokio::sync::oneshot;

pub use self::listening::{Bound, Error, UNIX, bind};
use self::listening::{Listener, unlink};
use self::watch::Looks;
use crate::binlog;
use crate::reload::Requests;
use crate::tasks;
use crate::telemetry::{Causes, Telemetry};

/// Content type of the text format
/// (<https://prometheus.io/docs/instrumenting/exposition_formats/#text-format-details>).
const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Where to listen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpOptions {
    /// `host:port`, or `unix:/path`.
    pub listen: String,
    /// `POST /reload` is answered. Only this machine reaches `listen` then.
    pub reload: bool,
}

/// The state that the handlers read.
#[derive(Clone)]
struct Shown {
    telemetry: Arc<Telemetry>,
    looks: Arc<Looks>,
    /// `None`: it is not configured.
    reload: Option<Requests>,
}

/// The thread that answers requests.
pub struct Http {
    /// Of a Unix socket.
    socket: Option<PathBuf>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Http {
    /// Starts the thread, which answers until [`Http::stop`] or the end of the process. `mysql` says how to reach the
    /// server now. `reload`: `None` where nobody may ask for it.
    ///
    /// # Errors
    /// The operating system has no thread for us.
    pub fn start(
        bound: Bound,
        telemetry: Arc<Telemetry>,
        mysql: impl Fn() -> binlog::MysqlOptions + Send + Sync + 'static,
        reload: Option<Requests>,
    ) -> std::io::Result<Http> {
        let (stop, stopped) = oneshot::channel();
        let socket = bound.socket().map(PathBuf::from);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let shown = Shown { telemetry, looks: Arc::default(), reload };
        let answer = async move {
            tokio::select! {
                ended = serve(bound.listener, shown.clone()) => {
                    if let Err(error) = ended {
                        tracing::error!("HTTP is not answered any more: {}", Causes(&error));
                    }
                }
                never = watch::watch(&shown.telemetry, &mysql, &shown.looks) => match never {},
                // A dropped sender counts as well.
                _ = stopped => {}
            }
        };
        let thread = tasks::spawn_thread("http", move || {
            runtime.block_on(answer);
            // A running DNS look-up must not hold up the end.
            runtime.shutdown_background();
        })?;
        Ok(Http { socket, stop: Some(stop), thread: Some(thread) })
    }

    /// Closes the address and joins the thread.
    pub fn stop(mut self) {
        drop(self.stop.take());
        self.socket.take().as_deref().map(unlink);
        if let Some(Err(_)) = self.thread.take().map(JoinHandle::join) {
            tracing::error!("the thread that answers HTTP panicked");
        }
    }
}

async fn serve(listener: Listener, shown: Shown) -> std::io::Result<()> {
    let router = axum::Router::new()
        .route("/", get(show_page))
        .route("/livez", get(show_liveness))
        .route("/readyz", get(show_readiness))
        .route("/metrics", get(show_metrics))
        .route("/status", get(show_status))
        .route("/reload", post(reload_config))
        .with_state(shown);
    match listener {
        Listener::Tcp(listener) => {
            axum::serve(tokio::net::TcpListener::from_std(listener)?, router).await
        }
        Listener::Unix(listener) => {
            axum::serve(tokio::net::UnixListener::from_std(listener)?, router).await
        }
    }
}

async fn show_liveness(State(shown): State<Shown>) -> Response {
    match shown.telemetry.stuck_for() {
        None => "ok\n".into_response(),
        Some(since) => {
            let reason = format!("the loop has not turned for {} s\n", since.as_secs());
            (StatusCode::SERVICE_UNAVAILABLE, reason).into_response()
        }
    }
}

async fn show_readiness(State(shown): State<Shown>) -> Response {
    match shown.telemetry.not_ready() {
        None => "ok\n".into_response(),
        Some(reason) => (StatusCode::SERVICE_UNAVAILABLE, reason + "\n").into_response(),
    }
}

async fn show_metrics(State(shown): State<Shown>) -> Response {
    shown.looks.refresh().await;
    match shown.telemetry.encode_metrics() {
        Ok(text) => ([(header::CONTENT_TYPE, METRICS_TYPE)], text).into_response(),
        Err(error) => {
            (StatusCode::INTERNAL_SERVER_ERROR, Causes(&error).to_string()).into_response()
        }
    }
}

async fn show_status(State(shown): State<Shown>) -> Response {
    shown.looks.refresh().await;
    match serde_json::to_string(&shown.telemetry.status()) {
        Ok(json) => ([(header::CONTENT_TYPE, "application/json")], json + "\n").into_response(),
        Err(error) => {
            (StatusCode::INTERNAL_SERVER_ERROR, Causes(&error).to_string()).into_response()
        }
    }
}

async fn reload_config(State(shown): State<Shown>, headers: HeaderMap) -> Response {
    reload::reload(shown.reload.as_ref(), &headers).await
}

async fn show_page(State(shown): State<Shown>) -> Html<String> {
    shown.looks.refresh().await;
    Html(page::render(&shown.telemetry.status()))
}
