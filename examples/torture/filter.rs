//! Statements that would end the run and not test the relay: they stop the server, lock it, or take away what the
//! run itself needs. Each is counted under its reason.

/// Why a statement is left out.
pub type Reason = &'static str;

/// The reason to leave a statement out, if there is one.
pub fn reason(statement: &[u8]) -> Option<Reason> {
    let text = String::from_utf8_lossy(statement).to_lowercase();
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let has = |word: &str| text.contains(word);
    let begins = |word: &str| text.starts_with(word);
    let any = |words: &[&str]| words.iter().any(|word| has(word));
    match () {
        () if any(&["shutdown", "restart", "kill "]) => Some("ends the server or a session"),
        () if begins("set") && any(&["global", "persist"]) => Some("sets what other sessions have"),
        () if begins("set") && any(&["sql_log_bin", "gtid_next"]) => Some("changes what is logged"),
        () if any(&["read lock", "lock instance", "for export", "lock tables", "lock table "]) => {
            Some("locks tables of the run")
        }
        () if any(&[
            "slave",
            "replica",
            "change master",
            "change replication",
            "group_replication",
        ]) =>
        {
            Some("is about replication")
        }
        () if begins("reset") || begins("purge") || begins("change ") => Some("deletes binlogs"),
        () if any(&["soname", "install ", "alter instance", "clone ", "resource group"]) => {
            Some("changes the server")
        }
        () if any(&["mysql.", "`mysql`", "use mysql", "database mysql", "sys.", "use sys"]) => {
            Some("touches system tables")
        }
        () if any(&["database if exists sys", "drop schema", "torture", "keeper", "relay"]) => {
            Some("touches what the run needs")
        }
        () if any(&[
            "set password",
            "alter user",
            "drop user",
            "rename user",
            "revoke",
            "drop role",
        ]) && any(&["root", "current_user", "user()", "password"]) =>
        {
            Some("changes the accounts of the run")
        }
        () if any(&["sleep(", "benchmark(", "get_lock(", "wait_for_executed"]) => Some("waits"),
        () if any(&["debug", "dbug"]) => Some("needs a debug build"),
        () => None,
    }
}
