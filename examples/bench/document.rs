//! docs/benchmarks.md: each part's tables stand between two comments and are replaced there; the words around them
//! are written by people.

use std::fmt::Write;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::machine;
use crate::report::{Section, World, targets};
use crate::site::Site;

const END: &str = "<!-- end -->";

pub struct Document {
    path: PathBuf,
    text: String,
}

impl Document {
    pub fn open() -> Result<Document> {
        let path = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/benchmarks.md"));
        let text = fs::read_to_string(&path).context("read docs/benchmarks.md")?;
        Ok(Document { path, text })
    }

    /// Replaces a part's tables, and those of the machine. Those behind a link have a place of their own.
    ///
    /// # Errors
    /// The document has no place for the part, or cannot be written.
    pub fn write_part(&mut self, part: &str, site: &Site, sections: &[Section]) -> Result<()> {
        self.replace("machine", &machine::table(site)?.to_string())?;
        let head = format!("{}, commit {}\n", today(site), machine::commit()?);
        for (world, mark) in
            [(World::Loopback, part.to_owned()), (World::Link, format!("{part}-link"))]
        {
            let of_world: Vec<&Section> =
                sections.iter().filter(|section| section.world == world).collect();
            if of_world.is_empty() {
                continue;
            }
            let mut text = head.clone();
            if let Some(table) = targets(of_world.iter().copied()) {
                write!(text, "\n{table}").expect("writing to a string");
            }
            for section in of_world {
                write!(text, "\n{section}").expect("writing to a string");
            }
            self.replace(&mark, &text)?;
        }
        fs::write(&self.path, &self.text).context("write docs/benchmarks.md")
    }

    fn replace(&mut self, part: &str, with: &str) -> Result<()> {
        let mark = format!("<!-- bench: {part} -->\n");
        let at = self.text.find(&mark).with_context(|| format!("there is no {mark}"))?;
        let begin = at + mark.len();
        let length = self.text[begin..].find(END).with_context(|| format!("no end of {mark}"))?;
        self.text.replace_range(begin..begin + length, &format!("\n{with}\n"));
        Ok(())
    }
}

fn today(site: &Site) -> String {
    site.mysql.connect().value("SELECT CAST(UTC_DATE() AS CHAR)")
}
