//! The `.test` files of a server's regression tests, and the plain SQL statements in them. The language around
//! them (variables, conditions, connections) is not understood: what is part of it is left out and counted.

use std::fs;
use std::path::{Path, PathBuf};

use rand::SeedableRng;
use rand::rngs::ChaCha8Rng;
use rand::seq::SliceRandom;

/// Words that begin a command of the runner. SQL statements that begin with one of them are lost with it.
const COMMANDS: &[&str] = &[
    "append_file",
    "assert",
    "cat_file",
    "change_user",
    "character_set",
    "chmod",
    "connect",
    "connection",
    "copy_file",
    "copy_files_wildcard",
    "dec",
    "die",
    "diff_files",
    "dirty_close",
    "disable_abort_on_error",
    "disable_connect_log",
    "disable_info",
    "disable_metadata",
    "disable_parsing",
    "disable_prepare_warnings",
    "disable_ps_protocol",
    "disable_query_log",
    "disable_reconnect",
    "disable_result_log",
    "disable_rpl_parse",
    "disable_session_track_info",
    "disable_testcase",
    "disable_view_protocol",
    "disable_warnings",
    "disconnect",
    "echo",
    "enable_abort_on_error",
    "enable_connect_log",
    "enable_info",
    "enable_metadata",
    "enable_parsing",
    "enable_prepare_warnings",
    "enable_ps_protocol",
    "enable_query_log",
    "enable_reconnect",
    "enable_result_log",
    "enable_rpl_parse",
    "enable_session_track_info",
    "enable_testcase",
    "enable_view_protocol",
    "enable_warnings",
    "end",
    "end_timer",
    "error",
    "eval",
    "evalp",
    "exec",
    "exec_in_background",
    "execw",
    "exit",
    "file_exists",
    "force-cpdir",
    "force-rmdir",
    "horizontal_results",
    "if",
    "inc",
    "let",
    "list_files",
    "list_files_append_file",
    "list_files_write_file",
    "lowercase_result",
    "mkdir",
    "move_file",
    "output",
    "perl",
    "ping",
    "query",
    "query_attributes",
    "query_get_value",
    "query_horizontal",
    "query_vertical",
    "real_sleep",
    "reap",
    "remove_file",
    "remove_files_wildcard",
    "replace_column",
    "replace_numeric_round",
    "replace_regex",
    "replace_result",
    "require",
    "reset_connection",
    "result_format",
    "rmdir",
    "save_master_pos",
    "send",
    "send_eval",
    "send_quit",
    "send_shutdown",
    "shutdown_server",
    "skip",
    "sleep",
    "sorted_result",
    "source",
    "start_timer",
    "sync_slave_with_master",
    "sync_with_master",
    "vertical_results",
    "wait_for_slave_to_stop",
    "while",
    "write_file",
];

/// What a file has.
#[derive(Debug, Default)]
pub struct Script {
    pub statements: Vec<Vec<u8>>,
    /// Lines and blocks of the runner's own language.
    pub commands: usize,
    /// Statements with variables in them.
    pub variables: usize,
}

/// All files below a folder, in an order that the seed decides.
pub fn shuffled(folder: &Path, seed: u64) -> Vec<PathBuf> {
    let mut files = Vec::new();
    collect(folder, &mut files);
    files.sort();
    files.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
    files
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    let entries =
        fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    for entry in entries {
        let path = entry.expect("read the folder").path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "test") {
            files.push(path);
        }
    }
}

/// Takes the statements out of a file's bytes, which are in any character set.
pub fn statements(file: &[u8]) -> Script {
    let mut script = Script::default();
    let mut delimiter = b";".to_vec();
    let mut rest = file;
    while !rest.is_empty() {
        let line = first_line(rest);
        let trimmed = line.trim_ascii();
        let is_line_command = trimmed.starts_with(b"#") || trimmed.starts_with(b"--");
        if trimmed.is_empty() || is_line_command || matches!(trimmed, b"}" | b"{") {
            script.commands += usize::from(trimmed.starts_with(b"--"));
            rest = &rest[line.len()..];
            continue;
        }
        let word = first_word(trimmed);
        if matches!(word.as_str(), "perl" | "write_file" | "append_file") {
            script.commands += 1;
            rest = after_block(rest);
            continue;
        }
        let (text, after) = up_to(rest, &delimiter);
        let text = text.trim_ascii();
        rest = after;
        if word == "delimiter" {
            script.commands += 1;
            delimiter = text["delimiter".len()..].trim_ascii().to_vec();
            if delimiter.is_empty() {
                delimiter = b";".to_vec();
            }
        } else if COMMANDS.contains(&word.as_str()) || trimmed.starts_with(b"}") {
            script.commands += 1;
            // The condition of a block ends with its line.
            if matches!(word.as_str(), "if" | "while") {
                rest = &rest_of(file, line)[line.len()..];
            }
        } else if text.contains(&b'$') {
            script.variables += 1;
        } else if !text.is_empty() {
            script.statements.push(text.to_vec());
        }
    }
    script
}

/// The file from this line of it on.
fn rest_of<'a>(file: &'a [u8], line: &[u8]) -> &'a [u8] {
    &file[line.as_ptr() as usize - file.as_ptr() as usize..]
}

fn first_line(rest: &[u8]) -> &[u8] {
    let end = rest.iter().position(|byte| *byte == b'\n').map_or(rest.len(), |at| at + 1);
    &rest[..end]
}

fn first_word(text: &[u8]) -> String {
    let is_word = |byte: &&u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    text.iter().take_while(is_word).map(|byte| char::from(byte.to_ascii_lowercase())).collect()
}

/// What follows a block that ends with a line `EOF`.
fn after_block(mut rest: &[u8]) -> &[u8] {
    while !rest.is_empty() {
        let line = first_line(rest);
        rest = &rest[line.len()..];
        if line.trim_ascii() == b"EOF" {
            break;
        }
    }
    rest
}

/// Splits at the delimiter outside quotes, as the runner does.
fn up_to<'a>(text: &'a [u8], delimiter: &[u8]) -> (&'a [u8], &'a [u8]) {
    let mut quote = None;
    let mut at = 0;
    while at < text.len() {
        let byte = text[at];
        match quote {
            None if text[at..].starts_with(delimiter) => {
                return (&text[..at], &text[at + delimiter.len()..]);
            }
            None if matches!(byte, b'\'' | b'"' | b'`') => quote = Some(byte),
            Some(_) if byte == b'\\' => at += 1,
            Some(open) if open == byte => quote = None,
            _ => {}
        }
        at += 1;
    }
    (text, &[])
}
