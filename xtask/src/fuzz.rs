//! Coverage-guided fuzzing with libFuzzer on the stable compiler: coverage comes from LLVM's own pass, no address
//! sanitizer is needed because the fuzzed crates hold no unsafe code.

use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};

use crate::setup::{self, Need};
use crate::{paths, process, progress};

/// What cargo-fuzz passes too, except the sanitizer.
const FLAGS: &str = "--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
     -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
     -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1";
pub const HOST: &str = "x86_64-unknown-linux-gnu";

/// How long, and how repeatable.
pub enum Effort {
    /// So many seconds in all, with a new seed each time.
    Seconds(u64),
    /// So many inputs for each target, always the same.
    Runs(u64),
}

/// Names of the fuzz targets: the programs of the fuzz crate.
pub fn targets() -> Result<Vec<String>> {
    let dir = paths::root().join("fuzz/src/bin");
    let entries =
        std::fs::read_dir(&dir).with_context(|| format!("cannot read {}", dir.display()))?;
    let stems = entries.flatten().filter_map(|entry| {
        entry
            .path()
            .file_stem()
            .map(|s| s.to_string_lossy().into_owned())
    });
    let mut names: Vec<String> = stems.collect();
    names.sort();
    Ok(names)
}

/// Fuzzes `only` or every target; how many were fuzzed.
pub fn run(effort: &Effort, only: Option<&str>) -> Result<u32> {
    let all = targets()?;
    let chosen: Vec<&String> = all
        .iter()
        .filter(|name| only.is_none_or(|only| only == *name))
        .collect();
    ensure!(
        !chosen.is_empty(),
        "there is no fuzz target `{}`; there are: {}",
        only.unwrap_or(""),
        all.join(", ")
    );
    setup::ensure(&[Need::Fuzzer])?;
    let programs = build()?;
    let mut findings = Vec::new();
    for name in &chosen {
        let share = match effort {
            Effort::Seconds(seconds) => vec![format!(
                "-max_total_time={}",
                (seconds / chosen.len() as u64).max(1)
            )],
            Effort::Runs(runs) => vec![
                format!("-runs={runs}"),
                "-seed=1".into(),
                "-max_total_time=60".into(),
            ],
        };
        if let Err(error) = progress::step(&format!("fuzz {name}"), || {
            fuzz_one(&programs, name, &share)
        }) {
            eprintln!("{error:#}");
            findings.push((*name).clone());
        }
    }
    if !findings.is_empty() {
        bail!("findings in: {}", findings.join(", "));
    }
    Ok(chosen.len() as u32)
}

fn build() -> Result<PathBuf> {
    let target_dir = paths::target("fuzz");
    let mut cargo = process::command("cargo");
    cargo
        .args([
            "build",
            "--release",
            "--locked",
            "--quiet",
            "--target",
            HOST,
            "--target-dir",
        ])
        .arg(&target_dir);
    cargo
        .current_dir(paths::root().join("fuzz"))
        .env("RUSTFLAGS", FLAGS)
        .env_remove("CARGO_ENCODED_RUSTFLAGS");
    progress::step("build the fuzz targets", || process::capture(&mut cargo))?;
    Ok(target_dir.join(HOST).join("release"))
}

fn fuzz_one(programs: &std::path::Path, name: &str, share: &[String]) -> Result<()> {
    let fixed = share.iter().any(|argument| argument.starts_with("-seed"));
    let corpus = paths::target(if fixed { "fuzz/fixed" } else { "fuzz/corpus" }).join(name);
    let findings = paths::target("fuzz/findings").join(name);
    let seeds = paths::root().join("fuzz/corpus").join(name);
    for dir in [&corpus, &findings] {
        std::fs::create_dir_all(dir)?;
    }
    let mut fuzzer = process::command(programs.join(name));
    fuzzer.args(share).args([
        "-print_final_stats=1",
        "-max_len=4096",
        "-timeout=20",
        "-rss_limit_mb=2048",
    ]);
    fuzzer.arg(format!("-artifact_prefix={}/", findings.display()));
    // What it finds on the way goes to the first folder. A repeatable run must not depend on what earlier ones found.
    if fixed {
        std::fs::remove_dir_all(&corpus)?;
        std::fs::create_dir_all(&corpus)?;
    }
    fuzzer.arg(&corpus);
    if seeds.is_dir() {
        fuzzer.arg(&seeds);
    }
    process::capture(&mut fuzzer).with_context(|| {
        format!(
            "{name}: a finding, its input is in {}",
            paths::shown(&findings)
        )
    })?;
    Ok(())
}
