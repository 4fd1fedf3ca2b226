//! Eventuate's own programs, as published on Maven Central, first of all the clients that read what the
//! relay writes. `integration-tests/stock-clients/fetch` brings them.

use std::collections::HashMap;
use std::fmt;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};

use super::consumer::Isolation;
use super::ledger::Expected;
use super::process::Process;
use super::repository;
use super::scene::Scene;
use super::watchdog;

/// What the script exits with on a machine without JDK or Maven.
const ABSENT: i32 = 3;
/// What comes too often comes soon after.
const QUIET: Duration = Duration::from_secs(2);
/// How many differing messages a failure shows.
const SHOWN_AT_MOST: usize = 5;

/// Whether the named programs can be had on this machine, fetching them when they can. A download that
/// fails is a failure, not an absence.
pub fn has_programs(names: &[&str]) -> bool {
    let script = folder().join("fetch");
    let fetched = Command::new(script).args(names).output().expect("run stock-clients/fetch");
    let is_absent = fetched.status.code() == Some(ABSENT);
    let words = String::from_utf8_lossy(&fetched.stderr);
    assert!(is_absent || fetched.status.success(), "stock-clients/fetch {names:?}: {words}");
    !is_absent
}

/// A running client of Eventuate's, which prints what it receives.
pub struct StockClient {
    process: Process,
    lines: PathBuf,
}

impl StockClient {
    /// The message consumer of Eventuate Tram, subscribed to destinations.
    pub fn tram(scene: &Scene, isolation: Isolation, destinations: &[String]) -> StockClient {
        StockClient::start(scene, "tram", "TramClient", isolation, destinations)
    }

    /// The subscription of Eventuate Local, to these types of events of these types of entities.
    pub fn local(
        scene: &Scene,
        isolation: Isolation,
        event_type: &str,
        entity_types: &[String],
    ) -> StockClient {
        let mut what = vec![event_type.to_owned()];
        what.extend_from_slice(entity_types);
        StockClient::start(scene, "local", "LocalClient", isolation, &what)
    }

    /// The CloudEvents SDK, on these topics. Not Eventuate's, but brought and run as those are.
    pub fn cloud_events(scene: &Scene, topics: &[String]) -> StockClient {
        StockClient::start(
            scene,
            "cloudevents",
            "CloudEventReader",
            scene.delivery.isolation(),
            topics,
        )
    }

    fn start(
        scene: &Scene,
        name: &str,
        class: &str,
        isolation: Isolation,
        what: &[String],
    ) -> StockClient {
        let directory = watchdog::fresh_directory(name);
        let (lines, log) = (directory.join("received.jsonl"), directory.join("client.log"));
        let mut command = java(name);
        command.arg(format!("-Dorg.slf4j.simpleLogger.logFile={}", log.display()));
        command.arg(class).arg(scene.kafka.bootstrap()).arg(isolation.name());
        let subscriber_id = format!("{}-{name}-{}", scene.name, isolation.name());
        command.arg(subscriber_id).args(what);
        let process = Process::start(class, &mut command, lines.clone()).with_own_log(log);
        StockClient { process, lines }
    }

    /// Waits until this many messages have come and no more do, and returns all.
    pub fn wait_for(&mut self, count: usize, within: Duration) -> Vec<Json> {
        let deadline = Instant::now() + within;
        loop {
            let received = self.received();
            let is_over = Instant::now() > deadline || self.process.has_ended();
            if is_over || (received.len() >= count && self.is_quiet()) {
                return received;
            }
            thread::sleep(Duration::from_millis(50));
        }
    }

    fn is_quiet(&self) -> bool {
        let printed = fs::metadata(&self.lines).and_then(|lines| lines.modified());
        let since = printed.expect("the file of lines is there").elapsed();
        since.is_ok_and(|since| since > QUIET)
    }

    pub fn log_tail(&self) -> String {
        self.process.log_tail()
    }

    /// The whole lines that it has printed.
    fn received(&self) -> Vec<Json> {
        let text = fs::read_to_string(&self.lines).unwrap_or_default();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole
            .lines()
            .map(|line| {
                serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
            })
            .collect()
    }
}

/// What differs between the rows that were written and what a client received.
#[derive(Debug, Default)]
pub struct Reception {
    pub written: usize,
    pub received: usize,
    pub lost: usize,
    pub repeated: usize,
    pub reordered: usize,
    pub altered: usize,
    pub invented: usize,
    examples: Vec<String>,
}

impl Reception {
    /// Compares what must have come, in the order of the binlog, with what came.
    pub fn judge(expected: &[Expected], received: &[Json]) -> Reception {
        let mut reception =
            Reception { written: expected.len(), received: received.len(), ..Reception::default() };
        let indices: HashMap<&str, usize> =
            expected.iter().enumerate().map(|(index, row)| (row.id.as_str(), index)).collect();
        let mut seen = vec![false; expected.len()];
        let mut newest_of_key: HashMap<(&str, &str), usize> = HashMap::new();
        for message in received {
            let id = message["id"].as_str().unwrap_or_default();
            let Some(&index) = indices.get(id) else {
                reception.invented += 1;
                reception.show(|| format!("invented: {message}"));
                continue;
            };
            let row = &expected[index];
            if std::mem::replace(&mut seen[index], true) {
                reception.repeated += 1;
                reception.show(|| format!("repeated: {id}"));
                continue;
            }
            let before = newest_of_key.insert((&row.topic, &row.key), index);
            if before.is_some_and(|before| before > index) {
                reception.reordered += 1;
                reception.show(|| format!("reordered: {id}"));
            }
            if *message != as_a_client_sees(&row.value) {
                reception.altered += 1;
                reception.show(|| format!("altered: {row:?} came as {message}"));
            }
        }
        for (row, _) in expected.iter().zip(seen).filter(|(_, seen)| !seen) {
            reception.lost += 1;
            reception.show(|| format!("lost: {} {}", row.topic, row.id));
        }
        reception
    }

    /// Everything came at least once, as it was written and in the order of its key, and there was
    /// something to compare.
    pub fn is_whole(&self) -> bool {
        let faults = [self.lost, self.reordered, self.altered, self.invented];
        self.written > 0 && faults.iter().all(|&count| count == 0)
    }

    /// The same, and nothing came twice.
    pub fn is_clean(&self) -> bool {
        self.is_whole() && self.repeated == 0
    }

    fn show(&mut self, example: impl FnOnce() -> String) {
        if self.examples.len() < SHOWN_AT_MOST {
            self.examples.push(example());
        }
    }
}

impl fmt::Display for Reception {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "written {} received {} lost {} repeated {} reordered {} altered {} invented {}",
            self.written,
            self.received,
            self.lost,
            self.repeated,
            self.reordered,
            self.altered,
            self.invented
        )?;
        self.examples.iter().try_for_each(|example| write!(formatter, "\n  {example}"))
    }
}

/// The fields that a client hands to its application, of the value of a record.
pub fn as_a_client_sees(value: &str) -> Json {
    let record: Json = serde_json::from_str(value).expect("a record's value is JSON");
    if let Some(headers) = record.get("headers") {
        return json!({ "id": headers["ID"], "headers": headers, "payload": record["payload"] });
    }
    let mut seen = json!({});
    for field in ["id", "entityType", "entityId", "eventType", "eventData", "metadata"] {
        if let Some(value) = record.get(field) {
            seen[field] = value.clone();
        }
    }
    seen
}

/// A JVM with the libraries and the main program of that name. It is short-lived, so it compiles
/// quickly rather than well, and its files go with the run's.
pub fn java(name: &str) -> Command {
    let tree = servers_directory().join("stock-clients").join(name);
    let class_path = format!("{0}/classes:{0}/lib/*", tree.display());
    let files = format!("-Djava.io.tmpdir={}", watchdog::run_directory().display());
    let mut command = Command::new("java");
    command.args([
        "-XX:TieredStopAtLevel=1",
        "-XX:+UseSerialGC",
        "-Xmx256m",
        &files,
        "-cp",
        &class_path,
    ]);
    command
}

/// Where the scripts put what they fetch.
pub fn servers_directory() -> PathBuf {
    std::env::var_os("BINLOG_RELAY_SERVERS_DIR")
        .map_or_else(|| repository().join(".servers"), PathBuf::from)
}

fn folder() -> PathBuf {
    repository().join("integration-tests/stock-clients")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value as Json, json};

    use super::super::ledger::Expected;
    use super::Reception;

    fn row(number: usize) -> Expected {
        Expected {
            id: format!("{number}-1"),
            topic: "customer".to_owned(),
            key: "7".to_owned(),
            value: format!(r#"{{"payload":"{number}","headers":{{"ID":"{number}-1"}}}}"#),
            counter: 1,
        }
    }

    fn message(number: usize) -> Json {
        let id = format!("{number}-1");
        json!({ "id": id, "headers": { "ID": id }, "payload": number.to_string() })
    }

    fn faults(received: &[Json]) -> [usize; 5] {
        let judged = Reception::judge(&[row(1), row(2)], received);
        assert_eq!(judged.is_clean(), received == [message(1), message(2)]);
        [judged.lost, judged.repeated, judged.reordered, judged.altered, judged.invented]
    }

    #[test]
    fn every_fault_of_a_reception_is_seen() {
        assert_eq!(faults(&[message(1), message(2)]), [0, 0, 0, 0, 0]);
        assert_eq!(faults(&[message(1)]), [1, 0, 0, 0, 0]);
        assert_eq!(faults(&[message(1), message(1), message(2)]), [0, 1, 0, 0, 0]);
        assert_eq!(faults(&[message(2), message(1)]), [0, 0, 1, 0, 0]);
        let mut altered = message(2);
        altered["payload"] = json!(2);
        assert_eq!(faults(&[message(1), altered]), [0, 0, 0, 1, 0]);
        assert_eq!(faults(&[message(1), message(2), message(3)]), [0, 0, 0, 0, 1]);
        assert!(!Reception::judge(&[], &[]).is_clean());
    }
}
