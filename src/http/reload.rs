//! `POST /reload`: has the configuration read again, and says what became of it.
//!
//! Only this machine reaches it: the configuration allows it on a loopback address only. A browser on this machine
//! reaches it as well, and shows pages of anybody. So a request that a page could have made is refused: one with the
//! headers that browsers add, or with the name of another host, which DNS can point here.

use std::time::Duration;

use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::reload::{Answer, Refusal, Requests};

/// Who asks waits for this long, and is told then that the relay goes on with it.
const PATIENCE: Duration = Duration::from_secs(30);

/// Headers that browsers send, and programs do not.
const OF_BROWSERS: [&str; 3] = ["origin", "referer", "sec-fetch-site"];

/// `requests`: `None` where it is not configured.
pub async fn reload(requests: Option<&Requests>, headers: &HeaderMap) -> Response {
    let Some(requests) = requests else {
        let hint = "set reload = true under [http], or send SIGHUP instead";
        return refuse(StatusCode::FORBIDDEN, "reload over HTTP is not configured", Some(hint));
    };
    if let Some(problem) = find_page(headers) {
        let hint = "ask with a program, such as curl, by the address of [http] listen";
        return refuse(StatusCode::FORBIDDEN, &problem, Some(hint));
    }
    match tokio::time::timeout(PATIENCE, requests.ask("POST /reload")).await {
        Ok(Ok(answer)) => tell(answer),
        Ok(Err(_)) => refuse(StatusCode::SERVICE_UNAVAILABLE, "the relay is stopping", None),
        Err(_) => say(
            StatusCode::ACCEPTED,
            &json!({"result": "waiting", "reason": "the relay takes it over as soon as it can; the log says what it waits for"}),
        ),
    }
}

fn tell(answer: Answer) -> Response {
    match answer {
        Answer::Applied { changes } => {
            say(StatusCode::OK, &json!({"result": "applied", "changes": changes}))
        }
        Answer::Unchanged => say(StatusCode::OK, &json!({"result": "unchanged"})),
        Answer::Superseded => say(StatusCode::ACCEPTED, &json!({"result": "superseded"})),
        Answer::Refused { why, error, hint } => {
            let status = match why {
                Refusal::Invalid => StatusCode::BAD_REQUEST,
                Refusal::RestartOnly => StatusCode::CONFLICT,
            };
            refuse(status, &error, hint.as_deref())
        }
    }
}

fn refuse(status: StatusCode, error: &str, hint: Option<&str>) -> Response {
    say(status, &json!({"result": "refused", "error": error, "hint": hint}))
}

fn say(status: StatusCode, answer: &Value) -> Response {
    let body = format!("{answer}\n");
    (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}

/// What shows that a page in a browser may have made the request; `None` if nothing does.
fn find_page(headers: &HeaderMap) -> Option<String> {
    if let Some(name) = OF_BROWSERS.into_iter().find(|name| headers.contains_key(*name)) {
        return Some(format!("the request has the header {name}, as those of web pages have"));
    }
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    (!names_this_machine(host)).then(|| format!("the request is for the host {host:?}"))
}

/// `host`, `host:port`, or `[address]:port`.
fn names_this_machine(host: &str) -> bool {
    let name = match host.strip_prefix('[').and_then(|host| host.split_once(']')) {
        Some((address, _)) => address,
        None => host.split(':').next().unwrap_or_default(),
    };
    let is_loopback = |address: std::net::IpAddr| address.is_loopback();
    name.eq_ignore_ascii_case("localhost") || name.parse().is_ok_and(is_loopback)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|&(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn a_program_on_this_machine_may_ask() {
        for host in ["127.0.0.1:8080", "localhost:8080", "LOCALHOST", "[::1]:8080", "127.0.0.2"] {
            assert_eq!(find_page(&headers(&[("host", host)])), None, "{host}");
        }
    }

    #[test]
    fn a_web_page_may_not() {
        for pairs in [
            &[("host", "127.0.0.1:8080"), ("origin", "https://example.org")][..],
            &[("host", "127.0.0.1:8080"), ("origin", "null")],
            &[("host", "127.0.0.1:8080"), ("referer", "https://example.org/")],
            &[("host", "127.0.0.1:8080"), ("sec-fetch-site", "cross-site")],
            // Its name leads here since the page was loaded.
            &[("host", "rebound.example.org:8080")],
            &[("host", "127.0.0.1.example.org:8080")],
            &[("host", "")],
            &[],
        ] {
            assert!(find_page(&headers(pairs)).is_some(), "{pairs:?}");
        }
    }
}
