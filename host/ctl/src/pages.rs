//! Completion scripts and man pages, from the command line itself.

use std::io::{self, Write};
use std::path::Path;

use clap::Command;
use clap_complete::{Shell, generate};

use crate::cli;

/// A completion script.
///
/// # Errors
/// What the writer says.
pub fn completion(shell: Shell, out: &mut dyn Write) -> io::Result<()> {
    // `generate` panics when it cannot write.
    let mut script = Vec::new();
    generate(shell, &mut cli::command(), "sluicectl", &mut script);
    out.write_all(&script)
}

/// Writes `sluicectl.1`, and a page for every subcommand, into a folder; gives how many.
///
/// # Errors
/// What the file system says.
pub fn man(folder: &Path) -> io::Result<usize> {
    let mut root = cli::command().disable_help_subcommand(true);
    root.build();
    let mut pages = 0;
    page(&root, "sluicectl", folder, &mut pages)?;
    for command in root.get_subcommands() {
        let name = format!("sluicectl-{}", command.get_name());
        page(command, &name, folder, &mut pages)?;
    }
    Ok(pages)
}

fn page(command: &Command, name: &str, folder: &Path, pages: &mut usize) -> io::Result<()> {
    // The manual wants names that live long enough.
    let man = clap_mangen::Man::new(command.clone()).title(name.to_uppercase());
    let mut text = Vec::new();
    man.render(&mut text)?;
    std::fs::write(folder.join(format!("{name}.1")), text)?;
    *pages += 1;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn completion_scripts_know_the_methods() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let mut out = Vec::new();
            completion(shell, &mut out).expect("memory");
            let text = String::from_utf8(out).expect("text");
            assert!(text.contains("nvmf_create_subsystem"), "{shell}");
            assert!(text.contains("allow-any-host"), "{shell}");
        }
    }
}
