//! Reading a backlog's binlog and doing nothing with it: what the relay cannot be quicker than as long as it reads
//! by the same library. A process of its own.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Args;
use futures_util::StreamExt;
use mysql_async::{BinlogStream, BinlogStreamRequest, Conn, OptsBuilder};

use crate::backlog::Backlog;
use crate::numbers::Course;
use crate::produce::{Run, run_child};
use crate::site::Site;
use crate::usage::{cpu_seconds, resident_bytes_peak};
use harness::servers::{RELAY_PASSWORD, RELAY_USER};
use harness::sql::single_threaded_runtime;

const WITHIN: Duration = Duration::from_secs(300);
/// The clock is looked at once in so many events.
const EVENTS_PER_LOOK: u64 = 1_024;

#[derive(Args)]
pub struct ReadArguments {
    port: u16,
    file: String,
    offset: u64,
    bytes: u64,
}

/// Runs a child process to its end.
pub fn run(site: &Site, backlog: &Backlog) -> Result<Run> {
    let (start, end) = (&backlog.start, &backlog.end);
    ensure!(start.file == end.file, "the backlog is in more than one file");
    let program = std::env::current_exe().context("the path of this program")?;
    let mut command = Command::new(program);
    command.arg("read").arg(site.mysql.login().port.to_string()).arg(&start.file);
    command.arg(start.offset.to_string()).arg((end.offset - start.offset).to_string());
    run_child("binlog reader", &mut command)
}

/// What the child process does.
pub fn child(arguments: &ReadArguments) -> Result<()> {
    let begun = Instant::now();
    let course = single_threaded_runtime().block_on(async {
        let reading = read_to_the_end(arguments, begun);
        tokio::time::timeout(WITHIN, reading).await.context("the end is not reached")?
    })?;
    let pid = std::process::id();
    let (seconds, cpu_seconds_in_all) = (begun.elapsed().as_secs_f64(), cpu_seconds(pid)?);
    let found = Run {
        seconds,
        steady_per_second: course.steady_per_second(),
        cpu_seconds: cpu_seconds_in_all,
        cpu_seconds_in_all,
        resident_bytes_peak: resident_bytes_peak(pid)?,
    };
    println!("{}", serde_json::to_string(&found)?);
    Ok(())
}

async fn read_to_the_end(arguments: &ReadArguments, begun: Instant) -> Result<Course> {
    let mut stream = open(arguments).await?;
    let mut course = Course::default();
    let (mut events, mut offset) = (0_u64, arguments.offset);
    while let Some(event) = stream.next().await {
        let header = event.context("read an event")?.header();
        // Events that the server makes up have no place, and those of a compressed transaction its end.
        offset = offset.max(u64::from(header.log_pos()));
        events += 1;
        if events.is_multiple_of(EVENTS_PER_LOOK) {
            note(&mut course, begun, arguments, offset);
        }
    }
    note(&mut course, begun, arguments, offset);
    let read = offset - arguments.offset;
    ensure!(read == arguments.bytes, "{read} of {} bytes were read", arguments.bytes);
    stream.close().await.context("close the connection")?;
    Ok(course)
}

fn note(course: &mut Course, begun: Instant, arguments: &ReadArguments, offset: u64) {
    let fraction = (offset - arguments.offset) as f64 / arguments.bytes as f64;
    course.note(begun.elapsed().as_secs_f64(), fraction);
}

async fn open(arguments: &ReadArguments) -> Result<BinlogStream> {
    let options = OptsBuilder::default()
        .ip_or_hostname("127.0.0.1")
        .tcp_port(arguments.port)
        .user(Some(RELAY_USER))
        .pass(Some(RELAY_PASSWORD))
        .max_allowed_packet(Some(1 << 30))
        .prefer_socket(false);
    let connection = Conn::new(options).await.context("connect to MySQL")?;
    // No relay of the benchmark derives this one in practice; a clash would show as a lost connection.
    let server_id = 3_000_000_000 + rand::random::<u32>() % 1_000_000_000;
    let request = BinlogStreamRequest::new(server_id)
        .with_non_blocking()
        .with_filename(arguments.file.as_bytes())
        .with_pos(arguments.offset);
    connection.get_binlog_stream(request).await.context("ask for the binlog")
}
