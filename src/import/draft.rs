//! A configuration that is being written: sections of keys, each with the comment that says where it comes from.

use std::fmt::Write;

/// A configuration file, and what could not become a part of it.
#[derive(Debug, Default)]
pub struct Draft {
    text: String,
    /// Options that are not taken over, with what to do.
    left: Vec<String>,
    decisions: usize,
}

/// Marks a line that a person must look at before the first start.
const TODO: &str = "TODO: ";

impl Draft {
    pub fn section(&mut self, header: &str) {
        self.line("");
        self.line(header);
    }

    /// `from`: the option that the value comes from.
    pub fn key(&mut self, from: &str, key: &str, value: &str) {
        self.comment(from);
        self.line(&format!("{key} = {value}"));
    }

    /// As [`Draft::key`], for a text.
    pub fn text(&mut self, from: &str, key: &str, value: &str) {
        self.key(from, key, &quoted(value));
    }

    /// A key that is not in force.
    pub fn idle(&mut self, from: &str, key: &str, value: &str) {
        self.comment(from);
        self.line(&format!("#{key} = {value}"));
    }

    pub fn comment(&mut self, comment: &str) {
        self.line(&format!("# {}", one_line(comment)));
    }

    /// What a person must decide, at this place of the file.
    pub fn todo(&mut self, comment: &str) {
        self.decisions += 1;
        self.comment(&format!("{TODO}{comment}"));
    }

    /// An option that is not taken over, and needs a decision.
    pub fn leave_todo(&mut self, option: &str, what: &str) {
        self.decisions += 1;
        self.left.push(format!("{TODO}{}: {what}", one_line(option)));
    }

    /// An option that is not taken over, because nothing needs it.
    pub fn leave(&mut self, option: &str, what: &str) {
        self.left.push(format!("{}: {what}", one_line(option)));
    }

    /// Adds the keys of another draft. What that one left is not named again.
    pub fn append_keys(&mut self, other: Draft) {
        self.text.push_str(&other.text);
    }

    fn line(&mut self, line: &str) {
        writeln!(self.text, "{line}").expect("a string takes all that is written");
    }

    /// The file.
    pub fn finish(mut self, title: &str) -> String {
        let left = std::mem::take(&mut self.left);
        if !left.is_empty() {
            self.line("");
            self.comment("Not taken over, one by one:");
            left.iter().for_each(|line| self.comment(line));
        }
        let decisions = match self.decisions {
            0 => "Nothing is left to decide. Then run binlog-relay check with it.".to_owned(),
            count => {
                format!(
                    "{count} lines with TODO need a decision before the first start. Then run binlog-relay check with it."
                )
            }
        };
        format!("# {}\n# {decisions}\n{}", one_line(title), self.text)
    }
}

fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// A string of TOML: literal where that is easier to read. `${` stands for itself.
pub fn quoted(text: &str) -> String {
    quoted_raw(&text.replace("${", "$${"))
}

/// As [`quoted`], where `${NAME}` is for the environment.
pub fn quoted_raw(text: &str) -> String {
    let is_plain = !text.contains(|c: char| c.is_control() || c == '\'');
    if is_plain && text.contains(['"', '\\']) {
        return format!("'{text}'");
    }
    let mut out = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => {
                write!(out, "\\u{:04X}", u32::from(c)).expect("a string takes all")
            }
            c => out.push(c),
        }
    }
    out + "\""
}

/// The name of a relay, from another program's.
pub fn relay_name(text: &str) -> String {
    let legal = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' };
    let name: String = text.chars().map(legal).take(crate::checkpoint::NAME_LENGTH_MAX).collect();
    if name.is_empty() { "relay".to_owned() } else { name }
}

/// A value may be printed: it is short and no secret by its name or its looks.
pub fn shown(name: &str, value: &str) -> String {
    let name = name.to_ascii_lowercase();
    let is_secret = ["pass", "pwd", "secret", "token", "credential", "jaas", "auth", "key"]
        .iter()
        .any(|word| name.contains(word));
    if is_secret
        || value.len() > 80
        || value.contains('@')
        || value.to_ascii_lowercase().contains("password")
    {
        name_only()
    } else {
        format!(" = {}", one_line(value.trim()))
    }
}

fn name_only() -> String {
    String::new()
}
