//! The relay with its failpoints: the same program, which tests end or stop at a place that has a name.
//!
//! `FAILPOINTS="records-acknowledged=kill"` says what happens where. Several are separated by semicolons. An action:
//!
//! - `kill`: SIGKILL to the whole process, at that place, with nothing unwound
//! - `stop`: SIGSTOP to the whole process, at that place
//! - `hold FILE`: this thread waits until there is such a file; the others go on
//! - any other of crate `fail`
//!
//! `kill@2`, `stop@2` and `hold@2 FILE` are done when the place is reached for the second time.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rustix::process::{Signal, getpid, kill_process};

#[path = "../src/main.rs"]
mod relay;

/// How often a held thread looks for its file.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);

fn main() -> ExitCode {
    let points = std::env::var("FAILPOINTS").unwrap_or_default();
    for point in points.split(';').filter(|point| !point.is_empty()) {
        let (name, action) = point.split_once('=').expect("FAILPOINTS has NAME=ACTION");
        arm(name, action).unwrap_or_else(|error| panic!("FAILPOINTS: {point}: {error}"));
    }
    relay::main()
}

fn arm(name: &str, action: &str) -> Result<(), String> {
    let (what, argument) = action.split_once(' ').unwrap_or((action, ""));
    let (what, turn) = what.split_once('@').unwrap_or((what, "1"));
    let act: Box<dyn Fn() + Send + Sync> = match what {
        "kill" => Box::new(|| send_self(Signal::KILL)),
        "stop" => Box::new(|| send_self(Signal::STOP)),
        "hold" => {
            let file = PathBuf::from(argument);
            Box::new(move || {
                while !file.exists() {
                    std::thread::sleep(LOOK_INTERVAL);
                }
            })
        }
        _ => return fail::cfg(name, action),
    };
    let turn: usize = turn.parse().map_err(|error| format!("{turn:?}: {error}"))?;
    let (words, turns) = (format!("failpoint {name}: {what}"), AtomicUsize::new(0));
    fail::cfg_callback(name, move || {
        if turns.fetch_add(1, Ordering::Relaxed) + 1 == turn {
            eprintln!("{words}");
            act();
        }
    })
}

fn send_self(signal: Signal) {
    kill_process(getpid(), signal).expect("a process may signal itself");
}
