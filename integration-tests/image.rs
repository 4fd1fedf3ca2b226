//! The image's build gets only some files of the repository, and cargo must be content with them.

use std::fs;
use std::path::Path;
use std::process::Command;

#[test]
fn cargo_reads_the_workspace_from_the_files_that_the_image_is_built_from() {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR"));
    let context = tempfile::tempdir().expect("make a folder");
    for path in build_context(repository) {
        copy(&repository.join(&path), &context.path().join(&path));
    }
    // Asked for a program that is not there, cargo reads all manifests and compiles nothing.
    let output = Command::new("cargo")
        .args(["build", "--release", "--locked", "--offline", "--bin", "nothing"])
        .current_dir(&context)
        .output()
        .expect("cargo runs");
    let answer = String::from_utf8_lossy(&output.stderr);
    assert!(answer.contains("no bin target named `nothing`"), "{answer}");
}

/// What .dockerignore excepts from being ignored.
fn build_context(repository: &Path) -> Vec<String> {
    let rules = fs::read_to_string(repository.join(".dockerignore")).expect("it is a text");
    rules.lines().filter_map(|line| line.strip_prefix('!')).map(str::to_owned).collect()
}

fn copy(from: &Path, to: &Path) {
    if !from.is_dir() {
        fs::create_dir_all(to.parent().expect("a file lies in a folder")).expect("make a folder");
        fs::copy(from, to).expect("copy a file");
        return;
    }
    for entry in fs::read_dir(from).expect("read a folder").flatten() {
        copy(&entry.path(), &to.join(entry.file_name()));
    }
}
