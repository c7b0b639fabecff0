//! The state file on a disk that loses power at every step, and what is said of files that are none.

use std::cell::RefCell;
use std::rc::Rc;

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use sluice_driver::config::raw;

use super::*;

/// A disk with a cache: what was written and not made durable may be lost, whole or in part, when the power goes.
#[derive(Clone)]
struct Shaky(Rc<RefCell<Inner>>);

#[derive(Default)]
struct Inner {
    /// The file as a restart finds it.
    durable: Option<Vec<u8>>,
    /// The renamed file, its renaming not yet durable, and how much of it is.
    renamed: Option<(Vec<u8>, usize)>,
    new: Vec<u8>,
    /// Bytes of `new` that are durable.
    synced: usize,
    /// Steps until the power goes.
    left: Option<usize>,
    steps: usize,
}

impl Shaky {
    fn new() -> Self {
        Self(Rc::default())
    }

    fn step(&self) -> std::io::Result<()> {
        let mut inner = self.0.borrow_mut();
        inner.steps += 1;
        match &mut inner.left {
            Some(0) => Err(std::io::Error::other("no power")),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// The power comes back: what was not durable is there, or not, or in part.
    fn restart(&self, random: &mut ChaCha8Rng) {
        let mut inner = self.0.borrow_mut();
        if let Some((bytes, synced)) = inner.renamed.take()
            && random.next_u32().is_multiple_of(2)
        {
            let kept = synced + random.next_u32() as usize % (bytes.len() - synced + 1);
            inner.durable = Some(bytes[..kept].to_vec());
        }
        inner.new.clear();
        inner.synced = 0;
        inner.left = None;
    }
}

impl Disk for Shaky {
    fn read(&mut self, _: u64) -> std::io::Result<Option<Vec<u8>>> {
        Ok(self.0.borrow().durable.clone())
    }

    fn reserve(&mut self, _: u64) -> std::io::Result<()> {
        self.step()
    }

    fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.step()?;
        let mut inner = self.0.borrow_mut();
        inner.new = bytes.to_vec();
        inner.synced = 0;
        Ok(())
    }

    fn sync(&mut self) -> std::io::Result<()> {
        self.step()?;
        let mut inner = self.0.borrow_mut();
        inner.synced = inner.new.len();
        Ok(())
    }

    fn replace(&mut self) -> std::io::Result<()> {
        self.step()?;
        let mut inner = self.0.borrow_mut();
        inner.renamed = Some((inner.new.clone(), inner.synced));
        Ok(())
    }

    fn sync_folder(&mut self) -> std::io::Result<()> {
        self.step()?;
        let mut inner = self.0.borrow_mut();
        if let Some((bytes, synced)) = inner.renamed.take() {
            inner.durable = Some(bytes[..synced].to_vec());
        }
        Ok(())
    }
}

fn state(n: u64) -> State {
    let subsystem = raw::Subsystem {
        nqn: format!("nqn.2026-01.org.example:s{n}"),
        hosts: Some(Vec::new()),
        listeners: Some(Vec::new()),
        ..raw::Subsystem::default()
    };
    State {
        config: raw::File {
            ports: Some(Vec::new()),
            ssds: Some(Vec::new()),
            subsystems: vec![subsystem],
        },
        transports: vec!["TCP".into()],
    }
}

fn open(disk: &Shaky) -> (Store<Shaky>, Option<State>) {
    Store::on(disk.clone(), Path::new("state")).unwrap_or_else(|e| panic!("{e}"))
}

#[test]
fn power_lost_at_any_step_of_any_save_leaves_the_old_state_or_the_new() {
    for seed in 0..200 {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let disk = Shaky::new();
        let mut durable = None;
        for n in 0..20 {
            let (mut store, found) = open(&disk);
            assert_eq!(found, durable, "seed {seed}, save {n}");
            // Five steps: sometimes the power stays.
            disk.0.borrow_mut().left = Some(random.next_u32() as usize % 6);
            let next = state(n);
            let done = store.prepare(&next).and_then(|()| store.save(&next));
            disk.restart(&mut random);
            let (_, found) = open(&disk);
            match done {
                Ok(()) => assert_eq!(
                    found,
                    Some(next),
                    "seed {seed}: save {n} was said to be durable"
                ),
                Err(_) => assert!(
                    found == durable || found == Some(next),
                    "seed {seed}, save {n}"
                ),
            }
            durable = found;
        }
    }
}

#[test]
fn each_step_is_taken_and_in_its_order() {
    let disk = Shaky::new();
    let (mut store, _) = open(&disk);
    store.prepare(&state(1)).expect("room");
    store.save(&state(1)).expect("power");
    assert_eq!(disk.0.borrow().steps, 5);
    assert_eq!(store.generation(), 1);
    assert_eq!(open(&disk).0.generation(), 1);
}

#[test]
fn a_file_that_is_not_as_it_was_written_is_refused_with_what_to_do() {
    let good = text(&state(1), 7);
    let header = good.iter().position(|b| *b == b'\n').expect("a line");
    let edit = |from: &str, to: &str| {
        String::from_utf8(good.clone())
            .expect("text")
            .replacen(from, to, 1)
            .into_bytes()
    };
    let mut flipped = good.clone();
    flipped[header + 40] ^= 1;
    for (bytes, want) in [
        (Vec::new(), "no state of sluiced"),
        (b"[daemon]\nx = 1\n".to_vec(), "no state of sluiced"),
        (edit("sluice-state", "other"), "move it away"),
        (
            edit("\"version\":1", "\"version\":2"),
            "version 1 wanted, it has 2",
        ),
        (good[..good.len() - 1].to_vec(), "damaged"),
        (flipped, "CRC32C"),
    ] {
        let error = parse(Path::new("s"), &bytes)
            .expect_err("refused")
            .to_string();
        assert!(error.contains(want), "{error}");
    }
    let mut twice = state(1);
    twice
        .config
        .subsystems
        .push(twice.config.subsystems[0].clone());
    let error = parse(Path::new("s"), &text(&twice, 1))
        .expect_err("refused")
        .to_string();
    assert!(error.contains("subsystems[1].nqn"), "{error}");
}

#[test]
fn real_files_are_replaced_and_kept_from_others() {
    use std::os::unix::fs::PermissionsExt;
    let folder = std::env::temp_dir().join(format!("sluice-state-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let path = folder.join("state.json");
    let (mut store, found) = Store::open(&path).expect("nothing there");
    assert_eq!(found, None);
    for n in 0..3 {
        store.prepare(&state(n)).expect("room");
        store.save(&state(n)).expect("saved");
        let (again, found) = Store::open(&path).expect("good");
        assert_eq!((again.generation(), found), (n + 1, Some(state(n))));
    }
    let mode = std::fs::metadata(&path)
        .expect("there")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(!folder.join("state.json.new").exists());
    std::fs::remove_dir_all(&folder).expect("ours");
}
