//! The list of failures in docs/failures.md is true of the tests that it names.

use std::fs;
use std::path::Path;

#[test]
fn every_test_that_the_list_of_failures_names_is_there() {
    let page = include_str!("../docs/failures.md");
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let quoted = page.split('`').skip(1).step_by(2);
    let named: Vec<_> = quoted.filter_map(|text| text.split_once("::")).collect();
    assert!(named.len() > 100, "{}", named.len());
    for (file, name) in named.into_iter().filter(|named| *named != ("file", "name")) {
        let is_path = file.starts_with("src/") || file.starts_with("crates/");
        let path = if is_path {
            root.join(file)
        } else {
            root.join("integration-tests").join(file).with_extension("rs")
        };
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{file}: {error}"));
        assert!(text.contains(&format!("fn {name}(")), "{file} has no test {name}");
    }
}
