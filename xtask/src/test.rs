//! `cargo xtask test`: every stage runs, whatever became of the ones before it; the last line says it all.

mod count;
mod stages;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use comfy_table::{Cell, CellAlignment, Color, Table, presets};

/// What became of a stage.
pub enum Outcome {
    /// It holds; so many tests, at least 1 (a check without tests counts as one).
    Passed(u32),
    /// Some tests failed.
    Failed {
        /// Tests that passed.
        passed: u32,
        /// Tests that failed, at least 1.
        failed: u32,
        /// What to look at.
        why: String,
    },
    /// A part of the project that the stage needs does not exist yet. Neither passed nor failed.
    Absent(String),
}

/// One part of the test run.
struct Stage {
    name: &'static str,
    /// Only with `--long`.
    long: bool,
    run: fn(long: bool) -> Result<Outcome>,
}

/// In order: the cheap ones first.
const STAGES: &[Stage] = &[
    Stage {
        name: "lint: formatting",
        long: false,
        run: stages::formatting,
    },
    Stage {
        name: "generated files are fresh",
        long: false,
        run: stages::generated,
    },
    Stage {
        name: "lint: RTL (verilator -Wall)",
        long: false,
        run: stages::rtl_lint,
    },
    Stage {
        name: "firmware images for RV32",
        long: false,
        run: stages::firmware,
    },
    Stage {
        name: "lint: clippy",
        long: false,
        run: stages::clippy,
    },
    Stage {
        name: "lint: clippy of the firmware images",
        long: false,
        run: stages::clippy_image,
    },
    Stage {
        name: "unit, property and model tests",
        long: false,
        run: stages::workspace_tests,
    },
    Stage {
        name: "demo: functional card, in-process host",
        long: false,
        run: stages::demo_functional_model,
    },
    Stage {
        name: "demo: functional card, in-process host, 1 % loss",
        long: false,
        run: stages::demo_functional_model_loss,
    },
    Stage {
        name: "demo: RTL card, in-process host",
        long: true,
        run: stages::demo_rtl_model,
    },
    Stage {
        name: "demo: RTL card, in-process host, 1 % loss",
        long: false,
        run: stages::demo_rtl_model_loss,
    },
    Stage {
        name: "demo: functional card, Linux VM",
        long: false,
        run: stages::demo_functional_vm,
    },
    Stage {
        name: "demo: functional card, Linux VM, 1 % loss",
        long: false,
        run: stages::demo_functional_vm_loss,
    },
    Stage {
        name: "demo: RTL card, Linux VM, short",
        long: false,
        run: stages::demo_rtl_vm_short,
    },
    Stage {
        name: "demo: RTL card, Linux VM, whole",
        long: true,
        run: stages::demo_rtl_vm,
    },
    Stage {
        name: "demo: RTL card, Linux VM, 1 % loss",
        long: true,
        run: stages::demo_rtl_vm_loss,
    },
    Stage {
        name: "SSD in a guest: Linux's own nvme driver",
        long: true,
        run: stages::ssd_in_guest,
    },
    Stage {
        name: "sluiced in a server VM: the kernel's VFIO, QEMU's SSD",
        long: false,
        run: stages::host_driver,
    },
    Stage {
        name: "VM scenario against Linux's own target",
        long: true,
        run: stages::vm_selftest,
    },
    Stage {
        name: "tshark accepts every capture",
        long: false,
        run: stages::captures,
    },
    Stage {
        name: "every ICRC is right, says scapy",
        long: false,
        run: stages::icrcs,
    },
    Stage {
        name: "fuzzing from the fixed corpus",
        long: false,
        run: stages::fuzz,
    },
];

/// Runs the stages, or those whose name contains `only`.
pub fn run(long: bool, only: Option<&str>) -> Result<ExitCode> {
    let chosen: Vec<&Stage> = match only {
        Some(text) => STAGES
            .iter()
            .filter(|stage| stage.name.contains(text))
            .collect(),
        None => STAGES.iter().filter(|stage| long || !stage.long).collect(),
    };
    let names: Vec<&str> = STAGES.iter().map(|stage| stage.name).collect();
    ensure!(
        !chosen.is_empty(),
        "no stage's name contains `{}`; stages:\n  {}",
        only.unwrap_or(""),
        names.join("\n  ")
    );
    if only.is_none() {
        // Captures of earlier runs would be judged again.
        let _ = std::fs::remove_dir_all(stages::out_dir());
    }
    let mut rows = Vec::new();
    for stage in chosen {
        eprintln!("== {}", stage.name);
        let start = Instant::now();
        let outcome = (stage.run)(long).unwrap_or_else(|error| Outcome::Failed {
            passed: 0,
            failed: 1,
            why: format!("{error:#}"),
        });
        if let Outcome::Failed { why, .. } = &outcome {
            eprintln!("{why}");
        }
        rows.push((stage.name, outcome, start.elapsed()));
    }
    Ok(conclude(&rows))
}

fn conclude(rows: &[(&str, Outcome, Duration)]) -> ExitCode {
    let (mut passed, mut failed) = (0, 0);
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED);
    table.set_header(["stage", "", "tests", "time", "remark"]);
    for (name, outcome, time) in rows {
        let (mark, color, tests, remark) = match outcome {
            Outcome::Passed(count) => {
                passed += count;
                ("ok", Color::Green, count.to_string(), String::new())
            }
            Outcome::Failed {
                passed: good,
                failed: bad,
                why,
            } => {
                passed += good;
                failed += bad;
                (
                    "FAILED",
                    Color::Red,
                    format!("{good} good, {bad} bad"),
                    first_line(why),
                )
            }
            Outcome::Absent(why) => ("absent", Color::Yellow, String::new(), first_line(why)),
        };
        table.add_row([
            Cell::new(name),
            Cell::new(mark).fg(color),
            Cell::new(tests).set_alignment(CellAlignment::Right),
            Cell::new(format!("{:.0} s", time.as_secs_f64())).set_alignment(CellAlignment::Right),
            Cell::new(remark),
        ]);
    }
    println!("{table}");
    println!("{passed} passed, {failed} failed");
    if failed == 0 && passed > 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn first_line(text: &str) -> String {
    text.lines()
        .next()
        .unwrap_or_default()
        .chars()
        .take(90)
        .collect()
}
