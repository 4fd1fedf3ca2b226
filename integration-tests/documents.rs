//! The documents hold together: each link leads to a file and a heading that are there, and the README stays
//! short enough to decide by.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

/// What somebody reads who decides in five minutes.
const README_WORDS_MAX: usize = 1_200;

/// Folders with documents, beside the root itself.
const FOLDERS: [&str; 7] =
    ["docs", "docker", "deploy", "servers", "integration-tests", "benches", "src"];

#[test]
fn every_link_between_documents_leads_to_a_file_and_a_heading() {
    let documents = documents();
    let links: usize = documents.iter().map(|(_, text)| links_of(text).len()).sum();
    assert!(links > 50, "{links} links are too few to be all of them");
    let broken: Vec<_> =
        documents.iter().flat_map(|(path, text)| broken_links(path, text)).collect();
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn every_file_that_a_document_names_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let missing: Vec<_> = documents()
        .iter()
        .flat_map(|(path, text)| {
            let named = files_named_in(text).into_iter();
            let missing = named.filter(|name| !root.join(name).exists());
            missing.map(|name| format!("{}: {name}", path.display())).collect::<Vec<_>>()
        })
        .collect();
    assert!(missing.is_empty(), "{missing:#?}");
}

#[test]
fn every_make_target_that_a_document_names_is_there() {
    let makefile = include_str!("../Makefile");
    for (path, text) in documents() {
        let quoted = text.lines().flat_map(|line| line.split('`').skip(1).step_by(2));
        let indented = text.lines().filter_map(|line| line.strip_prefix("    "));
        for command in quoted.chain(indented) {
            let Some(rest) = command.strip_prefix("make ") else { continue };
            let is_part = |c: char| c.is_ascii_lowercase() || c == '-';
            let target = rest.split(|c| !is_part(c)).next().unwrap_or_default();
            let is_there = makefile.lines().any(|line| line.starts_with(&format!("{target}:")));
            assert!(is_there, "{}: make {target}", path.display());
        }
    }
}

#[test]
fn the_readme_takes_five_minutes() {
    let words = include_str!("../README.md").split_whitespace().count();
    assert!(words <= README_WORDS_MAX, "README.md has {words} words");
}

#[test]
fn every_table_has_as_many_cells_in_each_row_as_in_its_head() {
    for (path, text) in documents() {
        let mut head = None;
        for (index, line) in without_code_blocks(&text).lines().enumerate() {
            if !line.trim_start().starts_with('|') {
                head = None;
                continue;
            }
            let cells = cells_of(line);
            let due = *head.get_or_insert(cells);
            assert_eq!(cells, due, "{}:{}: {line}", path.display(), index + 1);
        }
    }
}

#[test]
fn a_heading_has_the_anchor_that_the_page_gives_it() {
    let text = "# A `b`: what's C_d?\n## Twice\n## Twice\n```\n# no heading\n```\n";
    assert_eq!(anchors_of(text), ["a-b-whats-c_d", "twice", "twice-1"]);
    assert_eq!(links_of("[a `]` b](x.md#y) `[no](link.md)` ![p](p.png)"), ["x.md#y", "p.png"]);
}

/// Path and text of each.
fn documents() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths = files_of(root);
    let mut folders: Vec<PathBuf> = FOLDERS.iter().map(|folder| root.join(folder)).collect();
    // The workspace's other packages, where there are some.
    folders.extend([root.join("crates"), root.join("examples")].into_iter().filter(|f| f.is_dir()));
    while let Some(folder) = folders.pop() {
        paths.extend(files_of(&folder));
        let entries = fs::read_dir(&folder).expect("a folder of the repository").flatten();
        folders.extend(entries.map(|entry| entry.path()).filter(|path| path.is_dir()));
    }
    let is_document = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "md");
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).expect("a document is text");
        (path, text)
    };
    paths.into_iter().filter(is_document).map(read).collect()
}

fn files_of(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("a folder of the repository").flatten();
    entries.map(|entry| entry.path()).filter(|path| path.is_file()).collect()
}

fn broken_links(path: &Path, text: &str) -> Vec<String> {
    let is_local = |link: &&String| !link.contains("://");
    let mut anchors: HashMap<PathBuf, Vec<String>> = HashMap::new();
    let mut leads_nowhere = |link: &String| {
        let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
        let target = match file {
            "" => path.to_owned(),
            file => path.parent().expect("a file is in a folder").join(file),
        };
        if anchor.is_empty() {
            return !target.exists();
        }
        let anchors = anchors.entry(target).or_insert_with_key(|target| {
            fs::read_to_string(target).map(|text| anchors_of(&text)).unwrap_or_default()
        });
        !anchors.iter().any(|known| known == anchor)
    };
    let links = links_of(text);
    let broken = links.iter().filter(is_local).filter(|link| leads_nowhere(link));
    broken.map(|link| format!("{}: {link}", path.display())).collect()
}

/// Files and folders of the repository that stand between backticks; `*` and NAME stand for several.
fn files_named_in(text: &str) -> Vec<String> {
    let folders = [
        "src/",
        "crates/",
        "integration-tests/",
        "benches/",
        "examples/",
        "docker/",
        "deploy/",
        "docs/",
    ];
    let text = without_code_blocks(text);
    let quoted = text.lines().flat_map(|line| line.split('`').skip(1).step_by(2));
    let is_file = |name: &&str| {
        folders.iter().any(|folder| name.starts_with(folder))
            && !["::", "*", "NAME", " ", "…"].iter().any(|part| name.contains(part))
    };
    quoted.filter(is_file).map(str::to_owned).collect()
}

/// Where the links of a text lead, code aside.
fn links_of(text: &str) -> Vec<String> {
    let text = without_code_blocks(text);
    let targets = text.lines().flat_map(|line| {
        let line = without_code(line);
        let pieces: Vec<_> = line.split("](").skip(1).map(str::to_owned).collect();
        pieces.into_iter().filter_map(|piece| piece.split_once(')').map(|(to, _)| to.to_owned()))
    });
    targets.collect()
}

/// As GitHub names them: lower case, hyphens for spaces, no punctuation; the second of a name is `name-1`.
fn anchors_of(text: &str) -> Vec<String> {
    let mut anchors: Vec<String> = Vec::new();
    let mut seen: HashMap<String, usize> = HashMap::new();
    for line in without_code_blocks(text).lines().filter(|line| line.starts_with('#')) {
        let heading = line.trim_start_matches('#').trim().to_lowercase();
        let is_kept = |c: &char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
        let name: String = heading.chars().filter(is_kept).collect::<String>().replace(' ', "-");
        let times = seen.entry(name.clone()).or_default();
        anchors.push(match *times {
            0 => name,
            again => format!("{name}-{again}"),
        });
        *times += 1;
    }
    anchors
}

/// The same lines, those of fenced code emptied.
fn without_code_blocks(text: &str) -> String {
    let mut is_code = false;
    let kept = text.lines().map(|line| {
        let is_fence = line.trim_start().starts_with("```");
        is_code ^= is_fence;
        if is_code || is_fence { "" } else { line }
    });
    kept.collect::<Vec<_>>().join("\n")
}

/// A line without what stands between backticks.
fn without_code(line: &str) -> String {
    line.split('`').step_by(2).collect()
}

/// Cells of a table's row: a bar behind a backslash, or in code, separates none.
fn cells_of(line: &str) -> usize {
    without_code(line.trim()).replace("\\|", "").matches('|').count() - 1
}
