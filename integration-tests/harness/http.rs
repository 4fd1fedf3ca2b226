//! What the relay answers by HTTP: health, status as JSON, and metrics as a Prometheus parser reads them.

use std::thread;
use std::time::{Duration, Instant};

use prometheus_parse::{HistogramCount, Sample, Scrape, Value};

/// Long enough for a slow machine.
const WITHIN: Duration = Duration::from_secs(120);

pub struct Http {
    base: String,
    agent: ureq::Agent,
}

/// One answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub content_type: String,
    pub body: String,
}

/// The metrics as of one moment.
#[derive(Debug)]
pub struct Metrics {
    samples: Vec<Sample>,
    pub text: String,
}

impl Http {
    pub fn at(address: &str) -> Http {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(10)))
            .build();
        Http { base: format!("http://{address}"), agent: config.into() }
    }

    pub fn get(&self, path: &str) -> Answer {
        let mut answer = self
            .agent
            .get(format!("{}{path}", self.base))
            .call()
            .unwrap_or_else(|error| panic!("GET {path}: {error}"));
        let content_type = answer.headers().get("content-type").and_then(|is| is.to_str().ok());
        Answer {
            status: answer.status().as_u16(),
            content_type: content_type.unwrap_or_default().to_owned(),
            body: answer.body_mut().read_to_string().expect("a text"),
        }
    }

    /// POSTs nothing, with these headers.
    pub fn post(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        let mut request = self.agent.post(format!("{}{path}", self.base));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut answer =
            request.send_empty().unwrap_or_else(|error| panic!("POST {path}: {error}"));
        let content_type = answer.headers().get("content-type").and_then(|is| is.to_str().ok());
        Answer {
            status: answer.status().as_u16(),
            content_type: content_type.unwrap_or_default().to_owned(),
            body: answer.body_mut().read_to_string().expect("a text"),
        }
    }

    pub fn status(&self) -> serde_json::Value {
        serde_json::from_str(&self.get("/status").body).expect("the status is JSON")
    }

    pub fn metrics(&self) -> Metrics {
        let text = self.get("/metrics").body;
        let lines = text.lines().map(|line| Ok(line.to_owned()));
        let samples = Scrape::parse(lines).expect("the text format of Prometheus").samples;
        Metrics { samples, text }
    }

    /// Asks until the answer is as wanted.
    pub fn wait_until(&self, what: &str, is_wanted: impl Fn(&Http) -> bool) {
        let deadline = Instant::now() + WITHIN;
        while !is_wanted(self) {
            let status = self.status();
            assert!(Instant::now() < deadline, "{what} does not come: {status:#}");
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// As [`Http::wait_until_ready`], without a look at anything else.
    pub fn wait_until_ready_unseen(&self) {
        let deadline = Instant::now() + WITHIN;
        while self.get("/readyz").status != 200 {
            assert!(Instant::now() < deadline, "it does not get ready");
            thread::sleep(Duration::from_millis(50));
        }
    }

    pub fn wait_until_ready(&self) {
        self.wait_until("readiness", |http| http.get("/readyz").status == 200);
    }
}

impl Metrics {
    /// A counter or gauge by its name without the prefix, with these labels among its own.
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        match &self.sample(name, labels).value {
            Value::Counter(value) | Value::Gauge(value) | Value::Untyped(value) => *value,
            other => panic!("{name} is no single value: {other:?}"),
        }
    }

    pub fn has(&self, name: &str) -> bool {
        let name = format!("binlog_relay_{name}");
        self.samples.iter().any(|sample| sample.metric.starts_with(&name))
    }

    pub fn buckets(&self, name: &str) -> &[HistogramCount] {
        match &self.sample(name, &[]).value {
            Value::Histogram(buckets) => buckets,
            other => panic!("{name} is no histogram: {other:?}"),
        }
    }

    /// The values of one label, in order.
    pub fn label_values(&self, name: &str, label: &str) -> Vec<String> {
        let name = format!("binlog_relay_{name}");
        let samples = self.samples.iter().filter(|sample| sample.metric == name);
        let values = samples.filter_map(|sample| sample.labels.get(label));
        let mut values: Vec<_> = values.map(str::to_owned).collect();
        values.sort();
        values
    }

    fn sample(&self, name: &str, labels: &[(&str, &str)]) -> &Sample {
        let full = format!("binlog_relay_{name}");
        let is_it = |sample: &&Sample| {
            sample.metric == full
                && labels.iter().all(|(label, value)| sample.labels.get(label) == Some(value))
        };
        let found = self.samples.iter().find(is_it);
        found.unwrap_or_else(|| panic!("there is no {name} {labels:?}: {}", self.text))
    }
}
