//! The status page for people: what `/status` says, as a table that renews itself. Pure.

use std::fmt::Write;

use crate::telemetry::Status;

const HEAD: &str = r#"<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta http-equiv="refresh" content="2">
<meta name="viewport" content="width=device-width">
<style>
body { font: 1rem/1.5 system-ui, sans-serif; margin: 2rem; }
td, th { padding: .2rem 1rem .2rem 0; text-align: left; vertical-align: top; overflow-wrap: anywhere; }
th { font-weight: 600; white-space: nowrap; }
</style>
"#;

const LINKS: &str = r#"<p><a href="status">status</a> <a href="metrics">metrics</a> <a href="readyz">readyz</a> <a href="livez">livez</a></p>
"#;

/// The page as HTML.
pub fn render(status: &Status) -> String {
    let mut page = HEAD.to_owned();
    let title = escape(&format!("binlog-relay {}: {}", status.name, status.state.label()));
    let _ = write!(page, "<title>{title}</title>\n<h1>{title}</h1>\n<table>\n");
    for (name, value) in rows(status) {
        let _ = writeln!(page, "<tr><th>{name}<td>{}", escape(&value));
    }
    page + "</table>\n" + LINKS
}

/// What is not known is left out.
fn rows(status: &Status) -> Vec<(&'static str, String)> {
    let mysql = &status.mysql;
    let server = [Some(&mysql.host), mysql.version.as_ref(), mysql.server_uuid.as_ref()];
    let server: Vec<&str> = server.into_iter().flatten().map(String::as_str).collect();
    let position = status.position.as_ref();
    let rows = [
        ("state since", Some(status.state_since.clone())),
        ("reason", status.reason.clone()),
        ("what to do", status.hint.clone()),
        ("MySQL", Some(server.join(", "))),
        ("position", position.map(|at| format!("{}:{}", at.binlog_filename, at.offset))),
        ("GTIDs before it", position.and_then(|at| at.gtid_set.clone())),
        ("lag", Some(format!("{:.1} s", status.lag.seconds))),
        ("bytes of binlog behind", status.lag.bytes.map(|bytes| bytes.to_string())),
        ("records relayed", Some(status.records.relayed.to_string())),
        ("rows skipped", Some(status.records.skipped.to_string())),
        ("rows that failed", Some(status.records.failed.to_string())),
        ("last error", status.last_error.clone()),
        ("checkpoint", status.checkpoint.as_ref().map(|json| json.get().to_owned())),
        ("version", Some(status.version.to_owned())),
    ];
    rows.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}

/// For text between tags (<https://html.spec.whatwg.org/multipage/parsing.html#data-state>).
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::metrics::ErrorKind;
    use crate::telemetry::{State, Telemetry};

    #[test]
    fn an_error_that_looks_like_html_is_text() {
        let telemetry = Telemetry::new("orders", "db:3306".to_owned());
        telemetry.note_error(ErrorKind::Row, "topic \"<script>&\" is illegal");
        telemetry.enter(State::Halted, None);
        let page = render(&telemetry.status());
        assert!(page.contains("<h1>binlog-relay orders: halted</h1>"), "{page}");
        assert!(page.contains("topic \"&lt;script&gt;&amp;\" is illegal"), "{page}");
        assert!(!page.contains("<th>reason"), "{page}");
    }
}
