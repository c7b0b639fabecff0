//! The log of the servers, on standard error.

use std::time::Instant;

/// Variable that sets how much is said: error, warn, info (as without it), debug or trace.
const LEVEL: &str = "SLUICE_LOG";

struct Logger(Instant);

impl log::Log for Logger {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        let seconds = self.0.elapsed().as_secs_f32();
        eprintln!("{seconds:9.3} {:5} {}", record.level(), record.args());
    }

    fn flush(&self) {}
}

/// From here on what is logged is printed.
pub fn start() -> anyhow::Result<()> {
    let level = match std::env::var(LEVEL) {
        Ok(text) => text.parse().map_err(|_| {
            anyhow::anyhow!("{LEVEL}: wanted off, error, warn, info, debug or trace, got `{text}`")
        })?,
        Err(_) => log::LevelFilter::Info,
    };
    log::set_boxed_logger(Box::new(Logger(Instant::now())))?;
    log::set_max_level(level);
    Ok(())
}
