//! Where tests leave their captures: `cargo xtask test` names a folder in `SLUICE_PCAP_DIR` and has tshark judge all that is
//! in it at the end. What a test captures bad on purpose it deletes.

use std::{
    env,
    fs::File,
    io,
    path::{Path, PathBuf},
};

use super::tshark::PADDED;

/// A new file for a test's capture: in the folder that `SLUICE_PCAP_DIR` names, else in `otherwise`. No other test is given
/// the same one, in this process or another.
///
/// # Errors
/// Those of the file system.
pub fn new_file(name: &str, otherwise: &Path) -> io::Result<PathBuf> {
    new_file_in(
        env::var_os("SLUICE_PCAP_DIR").map(PathBuf::from).as_deref(),
        name,
        otherwise,
    )
}

/// Whether captures are kept for a later judge.
#[must_use]
pub fn are_kept() -> bool {
    env::var_os("SLUICE_PCAP_DIR").is_some()
}

/// Marks a capture of connections with padding, so that later judges know.
///
/// # Errors
/// Those of the file system.
pub fn mark_padded(path: &Path) -> io::Result<PathBuf> {
    let mut name = path.file_stem().unwrap_or_default().to_owned();
    name.push(PADDED);
    let marked = path.with_file_name(name);
    std::fs::rename(path, &marked)?;
    Ok(marked)
}

fn new_file_in(kept: Option<&Path>, name: &str, otherwise: &Path) -> io::Result<PathBuf> {
    let Some(dir) = kept else {
        return Ok(otherwise.join(format!("{name}.pcap")));
    };
    std::fs::create_dir_all(dir)?;
    let process = std::process::id();
    for number in 0u32.. {
        let path = dir.join(format!("{name}-{process}-{number}.pcap"));
        match File::create_new(&path) {
            Ok(_reserved) => return Ok(path),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    unreachable!("a folder does not hold that many files")
}

#[cfg(test)]
mod tests {
    use super::super::tshark::is_padded;
    use super::*;

    #[test]
    fn kept_captures_of_one_name_are_files_of_their_own() {
        let dir = env::temp_dir().join(format!("sluice-kept-{}", std::process::id()));
        let new = || new_file_in(Some(&dir), "same", Path::new("elsewhere")).expect("a file");
        let (one, two) = (new(), new());
        assert_ne!(one, two);
        assert!(one.starts_with(&dir) && one.is_file() && two.is_file());
        let marked = mark_padded(&one).expect("renamed");
        assert!(marked.is_file() && !one.exists());
        assert!(is_padded(&marked) && !is_padded(&two));
        std::fs::remove_dir_all(&dir).expect("removed");
    }

    #[test]
    fn a_capture_without_a_frame_is_not_in_order() {
        let name = format!("sluice-empty-{}.pcap", std::process::id());
        let path = env::temp_dir().join(name);
        crate::pcap::Writer::create(&path)
            .and_then(|mut writer| writer.flush())
            .expect("written");
        let verdict = crate::pcap::check_kept(&path);
        assert!(
            matches!(verdict, Err(crate::pcap::CheckError::Empty { .. })),
            "{verdict:?}"
        );
        std::fs::remove_file(&path).expect("removed");
    }

    #[test]
    fn captures_that_nobody_keeps_overwrite_those_of_the_last_run() {
        let path = new_file_in(None, "name", Path::new("elsewhere")).expect("no file is made");
        assert_eq!(path, Path::new("elsewhere/name.pcap"));
    }
}
