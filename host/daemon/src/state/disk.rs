//! The steps of replacing a file, one by one, so that tests can let each fail or be the last.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// What the state file is kept on.
pub trait Disk {
    /// The file's bytes; `None` if there is no file.
    ///
    /// # Errors
    /// Those of the file system, and a file of more than `max` bytes.
    fn read(&mut self, max: u64) -> io::Result<Option<Vec<u8>>>;

    /// Makes the new file, empty, with room for so many bytes.
    ///
    /// # Errors
    /// Those of the file system.
    fn reserve(&mut self, bytes: u64) -> io::Result<()>;

    /// Fills the new file; makes it first if it is not there.
    ///
    /// # Errors
    /// Those of the file system.
    fn write(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Makes the new file's bytes durable.
    ///
    /// # Errors
    /// Those of the file system.
    fn sync(&mut self) -> io::Result<()>;

    /// Renames the new file over the old one.
    ///
    /// # Errors
    /// Those of the file system.
    fn replace(&mut self) -> io::Result<()>;

    /// Makes the renaming durable.
    ///
    /// # Errors
    /// Those of the file system.
    fn sync_folder(&mut self) -> io::Result<()>;
}

/// Real files.
#[derive(Debug)]
pub struct Files {
    path: PathBuf,
    new: PathBuf,
    file: Option<File>,
}

impl Files {
    /// The file at `path`; the new one is beside it, with `.new` at its end.
    #[must_use]
    pub fn new(path: &Path) -> Self {
        let mut new = path.as_os_str().to_owned();
        new.push(".new");
        Self {
            path: path.into(),
            new: new.into(),
            file: None,
        }
    }

    fn file(&mut self) -> io::Result<&mut File> {
        if self.file.is_none() {
            let mut options = OpenOptions::new();
            // Names of hosts and serial numbers are nobody else's business.
            options.write(true).create(true).truncate(true).mode(0o600);
            self.file = Some(options.open(&self.new)?);
        }
        self.file.as_mut().ok_or(io::ErrorKind::NotFound.into())
    }
}

impl Disk for Files {
    fn read(&mut self, max: u64) -> io::Result<Option<Vec<u8>>> {
        let file = match File::open(&self.path) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e),
        };
        let mut bytes = Vec::new();
        file.take(max + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > max {
            return Err(io::Error::other(format!(
                "at most {max} bytes wanted, it has more"
            )));
        }
        Ok(Some(bytes))
    }

    fn reserve(&mut self, bytes: u64) -> io::Result<()> {
        let file = self.file()?;
        match rustix::fs::fallocate(&*file, rustix::fs::FallocateFlags::KEEP_SIZE, 0, bytes) {
            // Not every file system can; then a full disk is known only when the state is saved.
            Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => Ok(()),
            other => Ok(other?),
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file()?.write_all(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file()?.sync_all()
    }

    fn replace(&mut self) -> io::Result<()> {
        // A new save makes a new file, whatever comes of this one.
        self.file = None;
        std::fs::rename(&self.new, &self.path)
    }

    fn sync_folder(&mut self) -> io::Result<()> {
        let folder = self.path.parent().filter(|p| !p.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
    }
}
