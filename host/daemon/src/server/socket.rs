//! The socket: one daemon has it, whoever may use it is in its group, and one left behind by a crash is in nobody's way.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, Gid, flock};

/// Owner and group may use it.
const MODE: u32 = 0o660;

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Another daemon has it.
    #[error("another sluiced{pid} serves {}; stop it first (systemctl stop sluiced), or give this one a socket and a state of its own", path.display())]
    Running {
        /// The socket.
        path: PathBuf,
        /// ` (pid N)`, if known.
        pid: String,
    },
    /// Something that is no socket has its name.
    #[error("{} is there and no socket; move it away, or choose another path for the socket", path.display())]
    Occupied {
        /// The path.
        path: PathBuf,
    },
    /// There is no such group.
    #[error("there is no group {name:?} for {}; create it (groupadd --system {name}), or set socket_group to another", path.display())]
    NoGroup {
        /// The socket.
        path: PathBuf,
        /// The group.
        name: String,
    },
    /// The system said no.
    #[error("{}: {doing}: {error}", path.display())]
    Io {
        /// Socket or lock.
        path: PathBuf,
        /// At what.
        doing: &'static str,
        /// Why.
        error: io::Error,
    },
}

/// Whose the socket is, besides the daemon's user.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Group {
    /// The daemon's own.
    Own,
    /// This one.
    Named(String),
}

/// A socket that is listened on; its file goes when it is dropped.
#[derive(Debug)]
pub struct Socket {
    listener: UnixListener,
    path: PathBuf,
    /// Held as long as the socket is.
    _lock: File,
}

impl Socket {
    /// Listens at `path`. What a daemon that is no more left there is replaced.
    ///
    /// # Errors
    /// [`BindError`].
    pub fn bind(path: &Path, group: &Group) -> Result<Self, BindError> {
        let io = |doing| {
            move |error| BindError::Io {
                path: path.into(),
                doing,
                error,
            }
        };
        let lock = lock(path)?;
        match std::fs::symlink_metadata(path) {
            Ok(there) if !std::os::unix::fs::FileTypeExt::is_socket(&there.file_type()) => {
                return Err(BindError::Occupied { path: path.into() });
            }
            _ => {}
        }
        let gid = match group {
            Group::Own => None,
            Group::Named(name) => Some(group_number(name).ok_or_else(|| BindError::NoGroup {
                path: path.into(),
                name: name.clone(),
            })?),
        };
        // Under another name until it has its permissions, so that nobody is let in before.
        let unready = beside(path, ".new");
        let _ = std::fs::remove_file(&unready);
        let listener = UnixListener::bind(&unready).map_err(io("listening"))?;
        listener.set_nonblocking(true).map_err(io("listening"))?;
        if let Some(gid) = gid {
            rustix::fs::chown(&unready, None, Some(Gid::from_raw(gid)))
                .map_err(|e| io("giving it to its group")(e.into()))?;
        }
        std::fs::set_permissions(&unready, Permissions::from_mode(MODE))
            .map_err(io("setting its permissions"))?;
        std::fs::rename(&unready, path).map_err(io("putting it in its place"))?;
        Ok(Self {
            listener,
            path: path.into(),
            _lock: lock,
        })
    }

    pub(super) fn listener(&self) -> &UnixListener {
        &self.listener
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Takes the lock that goes with a path, for as long as the file is held: `PATH.lock`.
///
/// # Errors
/// [`BindError::Running`] if another process has it.
pub fn lock(path: &Path) -> Result<File, BindError> {
    let name = beside(path, ".lock");
    let io = |error| BindError::Io {
        path: name.clone(),
        doing: "locking",
        error,
    };
    let mut options = OpenOptions::new();
    options
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600);
    let mut file = options.open(&name).map_err(io)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let mut text = String::new();
            let _ = file.take(32).read_to_string(&mut text);
            let pid = text
                .trim()
                .parse::<u32>()
                .map_or(String::new(), |pid| format!(" (pid {pid})"));
            return Err(BindError::Running {
                path: path.into(),
                pid,
            });
        }
        Err(error) => return Err(io(error.into())),
    }
    file.set_len(0).map_err(io)?;
    writeln!(file, "{}", std::process::id()).map_err(io)?;
    Ok(file)
}

fn beside(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    name.into()
}

/// Number of a group, by number or by name in the machine's own list.
fn group_number(name: &str) -> Option<u32> {
    if let Ok(number) = name.parse() {
        return Some(number);
    }
    let list = std::fs::read_to_string("/etc/group").ok()?;
    list.lines().find_map(|line| {
        let mut fields = line.split(':');
        let found = fields.next() == Some(name);
        found.then(|| fields.nth(1)?.parse().ok()).flatten()
    })
}
