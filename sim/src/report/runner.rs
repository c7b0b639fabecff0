//! Runs the steps of a scenario one after the other, with a live line while each runs, and keeps what came of them.

use std::fmt::Display;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::{Artifact, Meter, Report, Step};

/// What a step found besides its success.
#[derive(Clone, Debug, Default)]
pub struct Checked {
    /// Bytes that were read back and compared.
    pub verified_bytes: u64,
    /// A remark for the table.
    pub note: String,
}

impl Checked {
    /// Bytes compared, no remark.
    pub fn bytes(verified_bytes: u64) -> Self {
        Self {
            verified_bytes,
            note: String::new(),
        }
    }

    /// A remark, no bytes.
    pub fn note(note: impl Into<String>) -> Self {
        Self {
            verified_bytes: 0,
            note: note.into(),
        }
    }
}

/// Fills a [`Report`].
pub struct Runner {
    meter: Arc<Meter>,
    report: Report,
    start: Instant,
    first_clock: u64,
    failed: bool,
    quiet: bool,
}

impl Runner {
    /// For a run on `card` (`rtl`, `functional`) with `host` (`vm`, `model`) over `transport` (`tcp`, `rdma`, `both`).
    pub fn new(
        card: &str,
        host: &str,
        transport: &str,
        cores: u32,
        seed: u64,
        meter: Arc<Meter>,
    ) -> Self {
        let report = Report {
            ok: false,
            card: card.into(),
            host: host.into(),
            transport: transport.into(),
            loss_percent: 0.0,
            cores,
            seed,
            verified_bytes: 0,
            ios: 0,
            clocks: 0,
            khz: 0.0,
            seconds: 0.0,
            steps: Vec::new(),
            files: Vec::new(),
        };
        let first_clock = meter.clocks();
        Self {
            meter,
            report,
            start: Instant::now(),
            first_clock,
            failed: false,
            quiet: false,
        }
    }

    /// The link loses so many frames in a hundred.
    pub fn with_loss(mut self, percent: f64) -> Self {
        self.report.loss_percent = percent;
        self
    }

    /// Prints nothing while it runs (tests).
    pub fn quiet(mut self) -> Self {
        self.quiet = true;
        self
    }

    /// Runs one step, unless an earlier one failed; whether it succeeded.
    pub fn step<E: Display>(
        &mut self,
        name: &str,
        work: impl FnOnce() -> Result<Checked, E>,
    ) -> bool {
        self.step_value(name, || work().map(|checked| ((), checked)))
            .is_some()
    }

    /// As [`Runner::step`], for a step that makes something.
    pub fn step_value<T, E: Display>(
        &mut self,
        name: &str,
        work: impl FnOnce() -> Result<(T, Checked), E>,
    ) -> Option<T> {
        if self.failed {
            return None;
        }
        let (clocks, ios, start) = (self.meter.clocks(), self.meter.ios(), Instant::now());
        let live = (!self.quiet).then(|| Live::start(name, &self.meter));
        let result = work();
        drop(live);
        let (value, ok, checked) = match result {
            Ok((value, checked)) => (Some(value), true, checked),
            Err(error) => (None, false, Checked::note(error.to_string())),
        };
        self.failed = !ok;
        let step = Step {
            name: name.into(),
            ok,
            seconds: start.elapsed().as_secs_f64(),
            clocks: self.meter.clocks() - clocks,
            ios: self.meter.ios() - ios,
            verified_bytes: checked.verified_bytes,
            note: checked.note,
        };
        if !self.quiet {
            let mark = if ok { "ok" } else { "FAILED" };
            eprintln!(
                "  {mark:6} {name} ({:.1} s) {}",
                step.seconds,
                step.note.lines().next().unwrap_or_default()
            );
        }
        self.report.steps.push(step);
        value
    }

    /// Names a file that the run leaves behind.
    pub fn file(&mut self, kind: &str, path: impl Into<PathBuf>) {
        self.report.files.push(Artifact {
            kind: kind.into(),
            path: path.into(),
        });
    }

    /// Whether nothing has failed so far.
    pub fn ok(&self) -> bool {
        !self.failed
    }

    /// Totals; the report is good if at least one step ran and none failed.
    pub fn finish(mut self) -> Report {
        let report = &mut self.report;
        report.ok = !self.failed && !report.steps.is_empty();
        report.verified_bytes = report.steps.iter().map(|step| step.verified_bytes).sum();
        report.ios = report.steps.iter().map(|step| step.ios).sum();
        report.clocks = self.meter.clocks() - self.first_clock;
        report.seconds = self.start.elapsed().as_secs_f64();
        report.khz = report.clocks as f64 / report.seconds.max(1e-9) / 1000.0;
        self.report
    }
}

/// The line that moves while a step runs; on a terminal only.
struct Live {
    bar: ProgressBar,
    done: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Live {
    fn start(name: &str, meter: &Arc<Meter>) -> Self {
        let bar = ProgressBar::new_spinner();
        bar.set_style(
            ProgressStyle::with_template("{spinner} {msg} [{elapsed}]").expect("fixed template"),
        );
        let done = Arc::new(AtomicBool::new(false));
        let (bar_too, done_too, meter, name) =
            (bar.clone(), done.clone(), meter.clone(), name.to_string());
        let thread = thread::spawn(move || {
            let (mut clocks, mut at) = (meter.clocks(), Instant::now());
            bar_too.set_message(name.clone());
            while !done_too.load(Ordering::Relaxed) {
                thread::park_timeout(Duration::from_millis(250));
                let now = meter.clocks();
                let khz = (now - clocks) as f64 / at.elapsed().as_secs_f64().max(1e-9) / 1000.0;
                (clocks, at) = (now, Instant::now());
                bar_too.set_message(format!(
                    "{name}: {:.1} M clocks, {khz:.0} kHz, {} I/Os",
                    now as f64 / 1e6,
                    meter.ios()
                ));
                bar_too.tick();
            }
        });
        Self {
            bar,
            done,
            thread: Some(thread),
        }
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.done.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            let _ = thread.join();
        }
        self.bar.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runner(meter: &Arc<Meter>) -> Runner {
        Runner::new("functional", "model", "tcp", 1, 7, meter.clone()).quiet()
    }

    #[test]
    fn a_report_sums_up_what_its_steps_did() {
        let meter = Arc::new(Meter::default());
        let mut runner = runner(&meter);
        for round in 1..=3 {
            assert!(runner.step("work", || {
                meter.set_clocks(round * 100);
                meter.add_ios(5);
                Ok::<_, String>(Checked::bytes(10))
            }));
        }
        runner.file("pcap", "x.pcap");
        let report = runner.finish();
        assert!(report.ok);
        assert_eq!(
            (
                report.clocks,
                report.ios,
                report.verified_bytes,
                report.steps.len()
            ),
            (300, 15, 30, 3)
        );
        let json: serde_json::Value =
            serde_json::from_str(&serde_json::to_string(&report).expect("JSON")).expect("JSON");
        for key in [
            "ok",
            "card",
            "host",
            "transport",
            "verified_bytes",
            "ios",
            "clocks",
            "khz",
            "steps",
        ] {
            assert!(!json[key].is_null(), "{key}");
        }
        assert!(report.table().contains("x.pcap"));
    }

    #[test]
    fn nothing_runs_after_a_failure_and_the_report_says_why() {
        let meter = Arc::new(Meter::default());
        let mut runner = runner(&meter);
        assert!(!runner.step("breaks", || Err::<Checked, _>("the reason")));
        assert!(!runner.step("never", || -> Result<Checked, String> {
            panic!("must not run")
        }));
        let report = runner.finish();
        assert!(!report.ok && report.steps.len() == 1);
        assert!(report.table().contains("the reason"));
    }

    #[test]
    fn a_run_without_steps_is_no_success() {
        assert!(!runner(&Arc::new(Meter::default())).finish().ok);
    }
}
