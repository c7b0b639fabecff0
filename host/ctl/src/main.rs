//! See the library; what is here is the process: its arguments, its output, its exit code.
#![forbid(unsafe_code)]

use std::io::{self, Write};
use std::process::ExitCode;

use sluice_ctl::{cli, run};

fn main() -> ExitCode {
    let matches = cli::command().get_matches();
    let mut out = io::stdout().lock();
    match run::run(&matches, &mut out).and_then(|()| out.flush().map_err(run::Failure::from)) {
        Ok(()) => ExitCode::SUCCESS,
        // `sluicectl … | head` is no failure.
        Err(run::Failure::Output(e)) if e.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("sluicectl: {failure}");
            ExitCode::from(failure.exit_code())
        }
    }
}
