//! What a process took of the machine, as Linux counts it
//! (<https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html> and proc_pid_status.5).

use std::fs;

use anyhow::{Context, Result, bail};

/// Linux tells programs 100 ticks a second, whatever its own clock does.
const TICKS_PER_SECOND: f64 = 100.0;

/// Processor seconds of all threads so far, user and system, to 10 ms.
pub fn cpu_seconds(pid: u32) -> Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).context("read a process's times")?;
    // Names may have spaces and parentheses in them.
    let (_, after_name) = stat.rsplit_once(')').context("a name in parentheses")?;
    let fields = after_name.split_whitespace().skip(11).take(2);
    let ticks: Result<Vec<u64>, _> = fields.map(str::parse).collect();
    Ok(ticks.context("numbers of ticks")?.iter().sum::<u64>() as f64 / TICKS_PER_SECOND)
}

/// Processor seconds of the whole machine so far, but for those in which it had nothing to do or waited for a
/// disk (<https://man7.org/linux/man-pages/man5/proc_stat.5.html>).
pub fn machine_cpu_seconds() -> Result<f64> {
    let stat = fs::read_to_string("/proc/stat").context("read the machine's times")?;
    let line = stat.lines().next().context("the sum of all cores")?;
    let fields: Result<Vec<u64>, _> = line.split_whitespace().skip(1).map(str::parse).collect();
    let fields = fields.context("numbers of ticks")?;
    let [user, nice, system, _idle, _iowait, irq, softirq, ..] = fields[..] else {
        bail!("/proc/stat has fewer times");
    };
    Ok((user + nice + system + irq + softirq) as f64 / TICKS_PER_SECOND)
}

/// The most memory that was ever resident, in bytes.
pub fn resident_bytes_peak(pid: u32) -> Result<u64> {
    status_bytes(pid, "VmHWM:")
}

/// The memory that is resident now, in bytes.
pub fn resident_bytes(pid: u32) -> Result<u64> {
    status_bytes(pid, "VmRSS:")
}

fn status_bytes(pid: u32, field: &str) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).context("read its memory")?;
    let value = status.lines().find_map(|line| line.strip_prefix(field));
    let kib = value.and_then(|value| value.trim().strip_suffix(" kB")).context("no such field")?;
    Ok(kib.trim().parse::<u64>().context("a number of KiB")? * 1024)
}
