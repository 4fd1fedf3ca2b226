//! On what, with what and of what was measured.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;

use anyhow::{Context, Result, ensure};

use crate::arguments::Tls;
use crate::site::Site;
use crate::table::Table;

pub fn table(site: &Site) -> Result<Table> {
    let mut table = Table::with_header(["", "of these figures"]);
    let mut sql = site.mysql.connect();
    let mysql: String = sql.value("SELECT VERSION()");
    let (_, librdkafka) = rdkafka::util::get_rdkafka_version();
    table.push(["processor", &processor()?]);
    table.push(["memory", &memory()?]);
    table.push(["kernel", fs::read_to_string("/proc/sys/kernel/osrelease")?.trim()]);
    table.push(["MySQL", &format!("{mysql}, connections {}", encryption(site.tls))]);
    table.push(["Kafka", &kafka_version()]);
    table.push(["librdkafka", &librdkafka]);
    table.push(["rustc", &said(Command::new("rustc").arg("--version"))?]);
    Ok(table)
}

/// The commit, marked where what is measured is not that commit alone.
pub fn commit() -> Result<String> {
    let git = |arguments: &[&str]| {
        said(Command::new("git").args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")))
    };
    let commit = git(&["rev-parse", "--short=12", "HEAD"])?;
    // Its own output does not count.
    let changes = git(&["status", "--porcelain", "--", ".", ":!docs/benchmarks.md"])?;
    Ok(if changes.is_empty() { commit } else { format!("{commit} + changes") })
}

fn encryption(tls: Tls) -> &'static str {
    match tls {
        Tls::Disabled => "not encrypted",
        Tls::Preferred => "encrypted",
    }
}

fn processor() -> Result<String> {
    let text = fs::read_to_string("/proc/cpuinfo").context("read /proc/cpuinfo")?;
    let model = text.lines().find_map(|line| line.strip_prefix("model name"));
    let model = model.map_or("unknown", |model| model.trim_start_matches([' ', '\t', ':']));
    Ok(format!("{} cores of {model}", thread::available_parallelism()?))
}

fn memory() -> Result<String> {
    let text = fs::read_to_string("/proc/meminfo").context("read /proc/meminfo")?;
    let total = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = total.and_then(|total| total.trim().strip_suffix(" kB")).context("no MemTotal")?;
    Ok(format!("{:.1} GiB", kib.trim().parse::<f64>()? / f64::from(1 << 20)))
}

/// As the broker's archive is named.
fn kafka_version() -> String {
    let servers = std::env::var("BINLOG_RELAY_SERVERS_DIR").unwrap_or_else(|_| {
        Path::new(env!("CARGO_MANIFEST_DIR")).join(".servers").display().to_string()
    });
    let entries = fs::read_dir(Path::new(&servers).join("kafka/lib")).into_iter().flatten();
    let names = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    let version = |name: String| {
        let version = name.strip_prefix("kafka-clients-")?.strip_suffix(".jar")?;
        Some(version.to_owned())
    };
    names.filter_map(version).next().unwrap_or_else(|| "unknown".to_owned())
}

fn said(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("run {command:?}"))?;
    ensure!(output.status.success(), "{command:?} failed");
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}
