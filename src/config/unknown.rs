//! Keys of the file that are not known, or not in this version, and what was probably meant.

use super::error::Error;
use super::keys::{Absent::Later, KEYS, Key, OUTBOX, is_list, join};
use super::tree::{Table, Value};
use crate::nearest::nearest;

fn is_section(path: &str) -> bool {
    KEYS.iter().any(|key| {
        key.section == path
            || key.section.strip_prefix(path).is_some_and(|rest| rest.starts_with('.'))
    })
}

/// The keys that are not known or not known yet.
pub(super) fn find_all(root: &Table) -> Vec<Error> {
    let mut unknown = Vec::new();
    collect_unknown("", "", root, &mut unknown);
    unknown
}

/// `section` is the path in the table of keys, `shown` the same with the indexes of lists.
fn collect_unknown(section: &str, shown: &str, table: &Table, unknown: &mut Vec<Error>) {
    for (name, node) in table {
        let (path, shown) = (join(section, name), join(shown, name));
        let place = || node.place.clone();
        match KEYS.iter().find(|key| key.path() == path) {
            Some(Key { absent: Later, .. }) => {
                unknown.push(Error::NotInThisVersion { place: place(), what: shown });
                continue;
            }
            Some(_) if path != OUTBOX => continue,
            None if !is_section(&path) => {
                let nearest = nearest_key(section, name);
                unknown.push(Error::UnknownKey { place: place(), key: shown, nearest });
                continue;
            }
            _ => {}
        }
        match (&node.value, is_list(&path)) {
            (Value::Table(table), false) => collect_unknown(&path, &shown, table, unknown),
            (Value::List(items), true) => {
                for (index, item) in items.iter().enumerate() {
                    if let Value::Table(table) = &item.value {
                        collect_unknown(&path, &format!("{shown}.{index}"), table, unknown);
                    }
                }
            }
            // Not a section where one is due: the reader says so.
            _ => {}
        }
    }
}

/// Keys of the same section come first; else any key or section, as it is to be written.
fn nearest_key(section: &str, name: &str) -> Option<String> {
    let present = || KEYS.iter().filter(|key| key.absent != Later);
    let siblings = present().filter(|key| key.section == section).map(|key| key.name);
    if let Some(sibling) = nearest(name, siblings) {
        return Some(join(section, sibling));
    }
    if let Some(name) = nearest(name, present().map(|key| key.name)) {
        return present().find(|key| key.name == name).map(Key::path);
    }
    nearest(name, present().map(|key| key.section)).map(|section| format!("[{section}]"))
}
