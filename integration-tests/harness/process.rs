//! A child process that writes its log to a file, is killed with us, and can be signalled, paused
//! and waited for with a deadline. What goes wrong is reported with the tail of that log.

use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::watchdog;

/// How much of a log a panic message shows.
const LOG_TAIL_BYTES: usize = 4_000;

pub struct Process {
    what: String,
    child: Child,
    log: PathBuf,
    /// A further file the program writes its log to.
    own_log: Option<PathBuf>,
    exit_code: Option<i32>,
    signal: Option<i32>,
    ended: bool,
}

impl Process {
    /// Starts the command with standard error, and standard output, appended to `log`.
    pub fn start(what: &str, command: &mut Command, log: PathBuf) -> Process {
        let file = File::options()
            .create(true)
            .append(true)
            .open(&log)
            .unwrap_or_else(|error| panic!("open {}: {error}", log.display()));
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone().expect("a file handle can be cloned"))
            .stderr(file)
            .spawn()
            .unwrap_or_else(|error| panic!("start {what} ({command:?}): {error}"));
        watchdog::guard(child.id());
        let (what, own_log) = (what.to_owned(), None);
        Process { what, child, log, own_log, exit_code: None, signal: None, ended: false }
    }

    /// Names a file that the program itself writes its log to.
    pub fn with_own_log(mut self, path: PathBuf) -> Process {
        self.own_log = Some(path);
        self
    }

    pub fn kill(&mut self) {
        if !self.ended {
            watchdog::release(self.child.id());
            // It may have ended on its own in the meantime; then there is nothing to kill.
            let _ = self.child.kill();
            self.reap();
        }
    }

    /// Sends a signal by its name: TERM, INT, STOP, CONT.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill")
            .arg(format!("-{name}"))
            .arg(self.child.id().to_string())
            .status()
            .expect("run kill");
        assert!(
            sent.success(),
            "{} took no SIG{name}: it has ended\n{}",
            self.what,
            self.log_tail()
        );
    }

    /// Lets no file of the running process grow past `bytes`: to it, the disk is full.
    pub fn limit_file_size(&self, bytes: u64) {
        let limited = Command::new("prlimit")
            .arg(format!("--pid={}", self.child.id()))
            .arg(format!("--fsize={bytes}"))
            .status()
            .expect("run prlimit, of util-linux");
        assert!(limited.success(), "{} takes no limit\n{}", self.what, self.log_tail());
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for the end and returns the exit code; `None` says a signal ended it.
    pub fn wait_for_exit(&mut self, within: Duration) -> Option<i32> {
        let deadline = Instant::now() + within;
        while !self.has_ended() {
            assert!(
                Instant::now() < deadline,
                "{} has not ended within {within:?}\n{}",
                self.what,
                self.log_tail()
            );
            thread::sleep(Duration::from_millis(5));
        }
        self.exit_code
    }

    /// The signal that ended it, if one did.
    pub fn signal_of_end(&self) -> Option<i32> {
        self.signal
    }

    pub fn has_ended(&mut self) -> bool {
        if !self.ended
            && let Some(status) = self.child.try_wait().expect("a child can be waited for")
        {
            watchdog::release(self.child.id());
            (self.exit_code, self.signal) = (status.code(), status.signal());
            self.ended = true;
        }
        self.ended
    }

    pub fn log(&self) -> String {
        let mut log = fs::read(&self.log).unwrap_or_default();
        if let Some(path) = &self.own_log {
            log.extend(fs::read(path).unwrap_or_default());
        }
        String::from_utf8_lossy(&log).into_owned()
    }

    pub fn log_tail(&self) -> String {
        let log = self.log();
        let mut start = log.len().saturating_sub(LOG_TAIL_BYTES);
        while !log.is_char_boundary(start) {
            start += 1;
        }
        format!("--- {} says:\n{}\n---", self.what, &log[start..])
    }

    fn reap(&mut self) {
        let status = self.child.wait().expect("a child can be waited for");
        (self.exit_code, self.signal) = (status.code(), status.signal());
        self.ended = true;
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}
