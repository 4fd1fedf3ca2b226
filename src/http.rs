//! HTTP for probes, Prometheus and people: `/livez`, `/readyz`, `/metrics`, `/status` and a page at `/`.
//!
//! It runs on a thread of its own and reads [`Telemetry`], so requests never hold up the line. Its `watch` asks MySQL
//! for what only readers of HTTP need, and only while there are readers.

mod page;
mod watch;

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use tokio::sync::oneshot;

use self::watch::Looks;
use crate::binlog;
use crate::tasks;
use crate::telemetry::{Causes, Telemetry};

/// Content type of the text format
/// (<https://prometheus.io/docs/instrumenting/exposition_formats/#text-format-details>).
const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Where to listen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpOptions {
    /// `host:port`.
    pub listen: String,
}

/// The address cannot be bound.
#[derive(Debug, thiserror::Error)]
#[error("[http] listen = {listen:?}: the address cannot be bound")]
pub struct Error {
    listen: String,
    source: std::io::Error,
}

/// An address that is bound, before anything is answered on it.
pub struct Bound {
    listener: TcpListener,
    /// With the chosen port, if port 0 was configured.
    pub address: SocketAddr,
}

/// The state that the handlers read.
#[derive(Clone)]
struct Shown {
    telemetry: Arc<Telemetry>,
    looks: Arc<Looks>,
}

/// The thread that answers requests.
pub struct Http {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// Binds the address.
///
/// # Errors
/// It is in use, is not this machine's, or must not be bound.
pub fn bind(options: &HttpOptions) -> Result<Bound, Error> {
    let bound = TcpListener::bind(&options.listen).and_then(|listener| {
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        Ok(Bound { listener, address })
    });
    bound.map_err(|source| Error { listen: options.listen.clone(), source })
}

impl Http {
    /// Starts the thread, which answers until [`Http::stop`] or the end of the process.
    ///
    /// # Errors
    /// The operating system has no thread for us.
    pub fn start(
        bound: Bound,
        telemetry: Arc<Telemetry>,
        mysql: binlog::MysqlOptions,
    ) -> std::io::Result<Http> {
        let (stop, stopped) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let shown = Shown { telemetry, looks: Arc::default() };
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
        Ok(Http { stop: Some(stop), thread: Some(thread) })
    }

    /// Closes the address and joins the thread.
    pub fn stop(mut self) {
        drop(self.stop.take());
        if let Some(Err(_)) = self.thread.take().map(JoinHandle::join) {
            tracing::error!("the thread that answers HTTP panicked");
        }
    }
}

async fn serve(listener: TcpListener, shown: Shown) -> std::io::Result<()> {
    let router = axum::Router::new()
        .route("/", get(show_page))
        .route("/livez", get(show_liveness))
        .route("/readyz", get(show_readiness))
        .route("/metrics", get(show_metrics))
        .route("/status", get(show_status))
        .with_state(shown);
    axum::serve(tokio::net::TcpListener::from_std(listener)?, router).await
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

async fn show_page(State(shown): State<Shown>) -> Html<String> {
    shown.looks.refresh().await;
    Html(page::render(&shown.telemetry.status()))
}
