//! A server's list of binlogs, and its bytes before and after a position. Pure.

use std::sync::Arc;

use crate::coordinates::Coordinates;

/// The end of each file, oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Binlogs(Vec<Coordinates>);

/// From names and sizes in bytes. Leaves out files that are not named like binlogs.
impl<N: Into<Arc<str>>> FromIterator<(N, u64)> for Binlogs {
    fn from_iter<I: IntoIterator<Item = (N, u64)>>(files: I) -> Binlogs {
        let end = |(name, size_bytes)| Coordinates::new(name, size_bytes).ok();
        Binlogs(files.into_iter().filter_map(end).collect())
    }
}

impl Binlogs {
    /// Bytes from the position to the end of the last file: 0 for a position in a newer file than the list has, and all
    /// bytes for a purged one.
    pub fn bytes_after(&self, position: &Coordinates) -> u64 {
        let all: u64 = self.0.iter().map(|end| end.offset).sum();
        all.saturating_sub(self.bytes_before(position))
    }

    /// Bytes from the beginning of the first file to the position.
    pub fn bytes_before(&self, position: &Coordinates) -> u64 {
        let before = |end: &Coordinates| {
            if end.file() == position.file() {
                end.offset.min(position.offset)
            } else if end < position {
                end.offset
            } else {
                0
            }
        };
        self.0.iter().map(before).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn position(text: &str) -> Coordinates {
        text.parse().unwrap()
    }

    #[test]
    fn bytes_are_counted_over_files_and_by_number_not_by_text() {
        let binlogs: Binlogs =
            [("binlog.999998", 100), ("binlog.999999", 200), ("binlog.1000000", 300)]
                .into_iter()
                .collect();
        for (at, before, after) in [
            ("binlog.999998:4", 4, 596),
            ("binlog.999999:150", 250, 350),
            ("binlog.1000000:300", 600, 0),
            ("binlog.1000001:4", 600, 0),
            ("binlog.999997:50", 0, 600),
            ("binlog.1000000:999", 600, 0),
        ] {
            assert_eq!(binlogs.bytes_before(&position(at)), before, "{at}");
            assert_eq!(binlogs.bytes_after(&position(at)), after, "{at}");
        }
    }
}
