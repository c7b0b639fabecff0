//! A spinner with the step's name on a terminal; plain lines where there is none (CI).

use std::time::{Duration, Instant};

use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};

/// Runs `work` under a spinner and says how long it took.
pub fn step<T>(name: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let bar = ProgressBar::new_spinner();
    let style =
        ProgressStyle::with_template("{spinner} {msg} [{elapsed}]").expect("fixed template");
    bar.set_style(style);
    bar.set_message(name.to_string());
    bar.enable_steady_tick(Duration::from_millis(120));
    let start = Instant::now();
    let result = work();
    bar.finish_and_clear();
    let mark = if result.is_ok() { "ok" } else { "FAILED" };
    eprintln!("  {mark:6} {name} ({:.1} s)", start.elapsed().as_secs_f64());
    result
}
