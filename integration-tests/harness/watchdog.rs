//! Nothing that a test run starts outlives it. Every server and relay is named to one small shell
//! process whose input is a pipe from us; when that pipe closes, because we ended, panicked or were
//! killed with -9, it kills what is still named and removes the run's directory.

use std::fs;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Mutex, OnceLock};

/// Reads `guard PID` and `release PID` lines. It ignores the terminal's signals: a Ctrl-C ends us,
/// and that closes the pipe.
const SCRIPT: &str = r#"
trap '' INT TERM HUP
pids=" "
while read -r verb pid; do
    case $verb in
        guard) pids="$pids$pid " ;;
        release) pids=$(printf '%s' "$pids" | sed "s/ $pid / /") ;;
    esac
done
[ "$pids" = " " ] || kill -9 $pids
[ -n "$BINLOG_RELAY_TEST_KEEP" ] && exit
rm -rf "$1" || { sleep 1; rm -rf "$1"; }
"#;

struct Watchdog {
    directory: PathBuf,
    /// It ends after us, so nobody waits for it.
    _shell: Child,
    input: Mutex<ChildStdin>,
}

/// The directory of this run: data of servers, configuration files and logs. It is removed at the
/// end unless `BINLOG_RELAY_TEST_KEEP` is set.
pub fn run_directory() -> &'static Path {
    &watchdog().directory
}

/// A fresh directory inside the run's, its name beginning with `label`.
pub fn fresh_directory(label: &str) -> PathBuf {
    tempfile::Builder::new()
        .prefix(&format!("{label}-"))
        .tempdir_in(run_directory())
        .expect("create a directory in the run's directory")
        .keep()
}

/// Has the process killed when this one ends.
pub fn guard(pid: u32) {
    tell("guard", pid);
}

/// Takes `guard` back; to be called before the process is waited for, as its id may be another's then.
pub fn release(pid: u32) {
    tell("release", pid);
}

fn tell(verb: &str, pid: u32) {
    let mut input = watchdog().input.lock().expect("no thread panics while it holds the pipe");
    writeln!(input, "{verb} {pid}").expect("the watchdog reads until we end");
}

fn watchdog() -> &'static Watchdog {
    static WATCHDOG: OnceLock<Watchdog> = OnceLock::new();
    WATCHDOG.get_or_init(|| {
        let directory = tempfile::Builder::new()
            .prefix("binlog-relay-run-")
            .tempdir()
            .expect("create the run's directory")
            .keep();
        fs::create_dir_all(&directory).expect("the run's directory exists");
        let mut shell = Command::new("sh")
            .args(["-c", SCRIPT, "watchdog"])
            .arg(&directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .expect("start the watchdog shell");
        let input = shell.stdin.take().expect("the watchdog's input is a pipe");
        Watchdog { directory, _shell: shell, input: Mutex::new(input) }
    })
}
