//! The report of `check`: one line per requirement, as text for people or as one JSON document.

use std::fmt::Write;

use serde::Serialize;

use crate::error::Error;
use crate::finding::Finding;
use crate::sink::kafka::check::Findings;
use crate::telemetry::Causes;

/// The result of a requirement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    Ok,
    Warn,
    Fail,
}

impl Status {
    const fn as_str(self) -> &'static str {
        match self {
            Status::Ok => "ok",
            Status::Warn => "warn",
            Status::Fail => "FAIL",
        }
    }
}

/// One requirement. Its name stays the same in all versions. A requirement about tables or topics has a line for each.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Line {
    pub name: &'static str,
    pub status: Status,
    pub detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// All lines, in the order of the questions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    lines: Vec<Line>,
}

#[derive(Serialize)]
struct Document<'a> {
    ok: bool,
    requirements: &'a [Line],
}

impl Report {
    /// No line is a failure.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.lines.iter().all(|line| line.status != Status::Fail)
    }

    /// For people: a hint stands below each `warn` and `FAIL`.
    #[must_use]
    pub fn to_text(&self) -> String {
        let width = self.lines.iter().map(|line| line.name.len()).max().unwrap_or_default();
        let mut text = String::new();
        for Line { name, status, detail, hint } in &self.lines {
            let status = status.as_str();
            // Keep it on one line. Messages of servers may have several.
            let detail = detail.replace('\n', " ");
            writeln!(text, "{status:<4}  {name:<width$}  {detail}")
                .expect("a string takes all that is written");
            if let Some(hint) = hint {
                writeln!(text, "      hint: {hint}").expect("a string takes all that is written");
            }
        }
        text
    }

    /// For programs.
    #[must_use]
    pub fn to_json(&self) -> String {
        let document = Document { ok: self.is_ok(), requirements: &self.lines };
        serde_json::to_string(&document).expect("strings are always JSON")
    }

    /// Takes the result of a requirement. Returns `true` unless it failed.
    pub(super) fn take(&mut self, name: &'static str, found: Result<Finding, Error>) -> bool {
        match found {
            Ok(Finding::Holds(detail)) => self.push(name, Status::Ok, detail, None),
            Ok(Finding::Doubtful { detail, cure }) => {
                self.push(name, Status::Warn, detail, Some(cure));
            }
            Err(error) => {
                self.fail(name, &error);
                return false;
            }
        }
        true
    }

    /// Takes the findings of the Kafka end.
    pub(super) fn take_all(&mut self, findings: Findings) {
        for (name, found) in findings {
            self.take(name, found.map_err(Error::from));
        }
    }

    pub(super) fn holds(&mut self, name: &'static str, detail: String) {
        self.push(name, Status::Ok, detail, None);
    }

    /// In the same words as `run` uses.
    pub(super) fn fail(&mut self, name: &'static str, error: &Error) {
        self.push(name, Status::Fail, Causes(error).to_string(), error.hint());
    }

    pub(super) fn append(&mut self, mut later: Report) {
        self.lines.append(&mut later.lines);
    }

    fn push(&mut self, name: &'static str, status: Status, detail: String, hint: Option<String>) {
        self.lines.push(Line { name, status, detail, hint });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let mut report = Report::default();
        report.take("mysql.log_bin", Ok(Finding::Holds("log_bin=ON".to_owned())));
        let doubtful =
            Finding::Doubtful { detail: "gtid_mode=OFF".to_owned(), cure: "turn it on".to_owned() };
        report.take("mysql.gtid_mode", Ok(doubtful));
        report
    }

    #[test]
    fn people_read_a_line_a_requirement_with_the_cure_below() {
        assert!(report().is_ok());
        assert_eq!(
            report().to_text(),
            "ok    mysql.log_bin    log_bin=ON\n\
             warn  mysql.gtid_mode  gtid_mode=OFF\n\
             \x20     hint: turn it on\n"
        );
    }

    #[test]
    fn programs_read_one_document() {
        let mut report = report();
        report.fail("checkpoint.stored", &Error::OutboxChanged);
        assert!(!report.is_ok());
        let json: serde_json::Value = serde_json::from_str(&report.to_json()).unwrap();
        assert_eq!(json["ok"], false);
        let lines = json["requirements"].as_array().unwrap();
        let statuses: Vec<_> = lines.iter().map(|line| line["status"].as_str().unwrap()).collect();
        assert_eq!(statuses, ["ok", "warn", "fail"]);
        assert_eq!(lines[1]["hint"], "turn it on");
        assert_eq!(lines[0].get("hint"), None);
        assert_eq!(lines[2]["name"], "checkpoint.stored");
    }
}
