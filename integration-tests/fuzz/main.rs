//! The fuzz targets on their seeds, without a fuzzer and without a nightly compiler: on each seed as it is, with one byte
//! changed, and cut off. `make fuzz` searches for longer. It needs an allocator that counts, hence a binary of its own.

#[path = "../../fuzz/targets/relay.rs"]
mod relay;
#[path = "../../fuzz/targets/mod.rs"]
mod targets;

use std::panic::{AssertUnwindSafe, catch_unwind};

use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};
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

/// Random changes of each target's seeds; `FUZZ_ROUNDS` tries more of them, `FUZZ_SEED` others.
const ROUNDS: u64 = 2_000;

fn from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|number| number.parse().expect("a number"))
}

/// Changes, repeats or removes some bytes.
fn mutate(input: &mut Vec<u8>, random: &mut ChaCha8Rng) {
    for _ in 0..random.random_range(1..=6) {
        let at = random.random_range(0..=input.len());
        let end = (at + random.random_range(1..=8)).min(input.len());
        match random.random_range(0..4) {
            0 => input.insert(at, random.random()),
            1 => drop(input.drain(at..end)),
            2 => input.extend_from_within(at..end),
            _ => input[at..end].fill_with(|| random.random()),
        }
    }
}

#[test]
fn no_random_change_of_a_seed_is_a_finding() {
    let mut random = ChaCha8Rng::seed_from_u64(from_environment("FUZZ_SEED").unwrap_or(7));
    for target in targets::ALL.iter().chain(relay::ALL) {
        let seeds = (target.seeds)();
        for _ in 0..from_environment("FUZZ_ROUNDS").unwrap_or(ROUNDS) {
            let mut input = seeds[random.random_range(0..seeds.len())].clone();
            mutate(&mut input, &mut random);
            let checked = catch_unwind(AssertUnwindSafe(|| target.check(&input)));
            assert!(checked.is_ok(), "{}: {input:02x?}", target.name);
        }
    }
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
