//! The last words of a relay that ended: one line `error: …`, one line `hint: …` where there is something to
//! do. Tests pin them as they are; `…` stands for any text.

use std::process::Output;

/// What is wrong with the end of a run; `None` when it exits with `code`, saying just this. No `hint` is "".
pub fn differ(
    ended_with: Option<i32>,
    log: &str,
    code: i32,
    error: &str,
    hint: &str,
) -> Option<String> {
    let lines: Vec<&str> = log.lines().collect();
    let is_hint = |line: &&str| line.starts_with("hint: ");
    let (told_hint, before) = match lines.split_last() {
        Some((last, before)) if is_hint(last) => (&last["hint: ".len()..], before),
        _ => ("", lines.as_slice()),
    };
    let told = before.last().and_then(|line| line.strip_prefix("error: ")).unwrap_or_default();
    let is_once = lines.iter().filter(|line| line.starts_with("error: ")).count() == 1;
    let is_right =
        ended_with == Some(code) && is_once && fits(error, told) && fits(hint, told_hint);
    if is_right {
        assert_in_runbook(log);
    }
    (!is_right).then(|| {
        format!(
            "wanted exit {code}\n  error: {error}\n  hint: {hint}\nended with {ended_with:?}\n  error: {told}\n  \
             hint: {told_hint}\n"
        )
    })
}

/// Fails unless the runbook has an entry with the words of this log's `error:` line.
pub fn assert_in_runbook(log: &str) {
    let error = log.lines().rev().find_map(|line| line.strip_prefix("error: "));
    let error = error.expect("an error line");
    let has_entry = runbook_words().any(|words| fits(&format!("…{words}…"), error));
    assert!(has_entry, "the runbook of docs/operating.md does not have: {error}");
}

/// The first column of every table of the runbook: the texts between backticks, `…` for what varies.
fn runbook_words() -> impl Iterator<Item = &'static str> {
    let page = include_str!("../../docs/operating.md");
    let (_, runbook) = page.split_once("\n## Runbook\n").expect("the page has a runbook");
    let rows = runbook.lines().filter_map(|line| line.strip_prefix("| `"));
    let words =
        rows.filter_map(|row| row.split_once(" | ")).flat_map(|(words, _)| words.split('`'));
    // What stands between two texts is no text: ", " or a word.
    words.filter(|words| words.len() > 6)
}

/// The same for a command that answers.
pub fn output_differs(output: &Output, code: i32, error: &str, hint: &str) -> Option<String> {
    let log = String::from_utf8_lossy(&output.stderr);
    differ(output.status.code(), &log, code, error, hint)
}

/// Fails with all that differed.
pub fn assert_none(differences: impl IntoIterator<Item = String>) {
    let differences: Vec<_> = differences.into_iter().collect();
    assert!(differences.is_empty(), "\n{}", differences.join("\n"));
}

/// Whether a text is the pattern, with any text for each `…`.
fn fits(pattern: &str, text: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('…') else {
        return pattern == text;
    };
    let Some(text) = text.strip_prefix(first) else {
        return false;
    };
    text.char_indices().map(|(at, _)| at).chain([text.len()]).any(|at| fits(rest, &text[at..]))
}
