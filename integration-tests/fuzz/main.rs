//! The fuzz targets on their seeds, without a fuzzer and without a nightly compiler: on each seed as it is, with one byte
//! changed, and cut off. `make fuzz` searches for longer. It needs an allocator that counts, hence a binary of its own.

#[path = "../../fuzz/targets/relay.rs"]
mod relay;
#[path = "../../fuzz/targets/mod.rs"]
mod targets;

use targets::Target;

/// Positions of a seed that are changed. A longer seed is changed at positions of equal distance.
const POSITIONS_MAX: usize = 256;

/// What a byte becomes: each bit set and unset, and a length that is too long.
const CHANGES: [fn(u8) -> u8; 3] = [|byte| !byte, |byte| byte ^ 1, |_| 0xFE];

fn check(target: &Target) {
    let seeds = (target.seeds)();
    assert!(!seeds.is_empty(), "{} has no seed", target.name);
    target.check(&[]);
    for seed in &seeds {
        target.check(seed);
        for at in (0..seed.len()).step_by(seed.len().div_ceil(POSITIONS_MAX).max(1)) {
            target.check(&seed[..at]);
            let mut changed = seed.clone();
            for change in CHANGES {
                changed[at] = change(seed[at]);
                target.check(&changed);
            }
        }
    }
}

#[test]
fn no_seed_of_the_source_is_a_finding_changed_or_cut_off() {
    targets::ALL.iter().for_each(check);
}

#[test]
fn no_seed_of_the_relay_is_a_finding_changed_or_cut_off() {
    relay::ALL.iter().for_each(check);
}

#[test]
fn every_target_has_a_program_of_its_name() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/fuzz_targets");
    let entries = std::fs::read_dir(folder).expect("the programs are in the repository");
    let stem =
        |path: std::path::PathBuf| path.file_stem().expect("a name").to_string_lossy().into_owned();
    let mut programs: Vec<String> =
        entries.map(|entry| stem(entry.expect("a file").path())).collect();
    programs.sort();
    let mut names: Vec<&str> = targets::ALL.iter().chain(relay::ALL).map(|it| it.name).collect();
    names.sort_unstable();
    assert_eq!(programs, names);
}
