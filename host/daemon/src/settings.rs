//! The daemon's own configuration: which card, which files, which sockets. What the card serves is in the state file, and
//! comes from `initial` once, when there is no state file yet.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::logger;
use crate::server::Group;

/// Where the daemon looks for its settings unless it is told otherwise.
pub const DEFAULT: &str = "/etc/sluice/sluiced.toml";

/// The settings. Every key may be left out but `card`.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The card: PCI address such as `0000:01:00.0`, or `vfio-user:/path.sock`.
    pub card: String,
    /// The card's boot program starts the firmware that is in its flash. If there is none, or with `false`, the daemon loads it
    /// from the folder `firmware`; without that folder it takes it to be in the cores' memories.
    #[serde(default = "yes")]
    pub boot_from_flash: bool,
    /// Folder with the ELF files of the firmware that the card runs: for its log, and to load it.
    pub firmware: Option<PathBuf>,
    /// Card and SSDs go on when the daemon ends, and the next one takes them over, if systemd keeps their descriptors meanwhile.
    #[serde(default = "yes")]
    pub keep_running: bool,
    /// The state file.
    #[serde(default = "state")]
    pub state: PathBuf,
    /// What to set up when there is no state file: ports, SSDs, subsystems, as in docs/running.md.
    pub initial: Option<PathBuf>,
    /// The socket for JSON-RPC.
    #[serde(default = "socket")]
    pub socket: PathBuf,
    /// Group that may use it, besides the daemon's user.
    pub socket_group: Option<String>,
    /// Where metrics are served; an empty string: nowhere.
    #[serde(default = "metrics")]
    pub metrics: String,
    /// `ERROR`, `WARNING`, `NOTICE`, `INFO` or `DEBUG`.
    #[serde(default = "level")]
    pub log_level: String,
}

/// Settings that cannot be used.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{}: {problem}", path.display())]
pub struct SettingsError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong.
    pub problem: String,
}

impl Settings {
    /// Reads a file.
    ///
    /// # Errors
    /// [`SettingsError`].
    pub fn load(path: &Path) -> Result<Self, SettingsError> {
        let failed = |problem: String| SettingsError {
            path: path.into(),
            problem,
        };
        let text = std::fs::read_to_string(path).map_err(|e| {
            failed(format!(
                "cannot be read: {e}; the package has an example, sluiced.toml"
            ))
        })?;
        let settings: Self =
            toml::from_str(&text).map_err(|e| failed(e.to_string().trim().into()))?;
        settings.check().map_err(failed)?;
        Ok(settings)
    }

    /// Where metrics are served, if anywhere.
    #[must_use]
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.metrics.parse().ok()
    }

    /// Whose the socket is.
    #[must_use]
    pub fn group(&self) -> Group {
        self.socket_group.clone().map_or(Group::Own, Group::Named)
    }

    fn check(&self) -> Result<(), String> {
        if !self.metrics.is_empty() && self.metrics_address().is_none() {
            return Err(format!(
                "metrics: an address and port such as 127.0.0.1:9741 wanted, or an empty string for none, {:?} came",
                self.metrics
            ));
        }
        if !logger::set_level(&self.log_level) {
            return Err(format!(
                "log_level: one of {} wanted, {:?} came",
                logger::level_names(),
                self.log_level
            ));
        }
        Ok(())
    }
}

fn yes() -> bool {
    true
}

fn state() -> PathBuf {
    "/var/lib/sluice/state.json".into()
}

fn socket() -> PathBuf {
    sluice_rpc::DEFAULT_SOCKET.into()
}

fn metrics() -> String {
    "127.0.0.1:9741".into()
}

fn level() -> String {
    "NOTICE".into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_is_read_and_mistakes_are_told_with_what_is_wanted() {
        let example: Settings =
            toml::from_str(include_str!("../dist/sluiced.toml")).expect("the example");
        assert_eq!(example.check(), Ok(()));
        for (text, want) in [
            ("", "missing field `card`"),
            ("card = 5", "expected a string"),
            ("card = \"a\"\ncolour = 1", "unknown field `colour`"),
        ] {
            let error = toml::from_str::<Settings>(text)
                .expect_err("refused")
                .to_string();
            assert!(error.contains(want), "{error}");
        }
        for (text, want) in [
            ("metrics = \"here\"", "127.0.0.1:9741 wanted"),
            ("log_level = \"LOUD\"", "ERROR, WARNING"),
        ] {
            let settings: Settings =
                toml::from_str(&format!("card = \"a\"\n{text}")).expect("types are right");
            let error = settings.check().expect_err("refused");
            assert!(error.contains(want), "{error}");
        }
    }

    #[test]
    fn the_example_of_what_to_serve_is_a_configuration() {
        use sluice_driver::config::{Config, Format, Source};
        let text = include_str!("../dist/sluice.toml").to_string();
        let source = Source {
            file: "sluice.toml".into(),
            format: Format::Toml,
            text,
        };
        Config::parse(source).unwrap_or_else(|e| panic!("{e}"));
    }
}
