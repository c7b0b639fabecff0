//! What must not be lost when the process is killed: requests of the server that were taken from the socket and not answered yet,
//! and the identifiers that our own requests have had. It lies in a memory file that outlives the process.
//!
//! A request is written here before it leaves the socket, and struck out after its answer is in the socket. The next process does
//! what is not struck out again, in order. Doing it twice does no harm: the server does nothing that comes after a write before
//! that is answered, and an answer that nobody waits for is dropped.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::{Mutex, PoisonError};

use zerocopy::FromBytes;

use crate::frame::{MAX_WHOLE, Message};
use crate::memory::{AdoptError, SharedFile};
use crate::wire::{HEADER, Header};

/// "SLJ1": the layout of this file.
const MAGIC: u32 = 0x314A_4C53;
/// Requests that a server may have waiting.
pub const SLOTS: usize = 128;
/// Where the first begins, and bytes of each: state, running number, length, a word unused, the message.
const FIRST: u64 = 4096;
const SLOT: u64 = 16 + (HEADER as u64 + 64 + MAX_WHOLE as u64).next_multiple_of(16);
const LEN: u64 = (FIRST + SLOTS as u64 * SLOT).next_multiple_of(4096);
/// In the head: the identifier that comes next.
const NEXT_ID: u64 = 4;

/// A journal.
#[derive(Debug)]
pub struct Journal {
    file: SharedFile,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    taken: [bool; SLOTS],
    next_number: u32,
    next_id: u16,
}

/// A request that an earlier process has not answered.
#[derive(Debug)]
pub struct Unanswered {
    /// Its place, to be [struck out](Journal::strike_out).
    pub slot: usize,
    /// As it came, header first.
    pub bytes: Vec<u8>,
}

impl Unanswered {
    /// The request; [`Journal::unanswered`] gives whole ones only.
    #[must_use]
    pub fn message(&self) -> Option<Message> {
        let (header, payload) = Header::read_from_prefix(&self.bytes).ok()?;
        Some(Message {
            header,
            payload: payload.to_vec(),
            fds: Vec::new(),
        })
    }
}

impl Journal {
    /// A new one.
    ///
    /// # Errors
    /// The system's.
    pub fn create() -> io::Result<Self> {
        let file = SharedFile::create("sluice-journal", LEN)?;
        file.write(0, &MAGIC.to_le_bytes())?;
        Ok(Self::over(file, 0))
    }

    /// That of an earlier process.
    ///
    /// # Errors
    /// If it is none, or one of another version.
    pub fn adopt(fd: OwnedFd) -> io::Result<Self> {
        let file = SharedFile::adopt(fd).map_err(|error| match error {
            AdoptError::Io(error) => error,
            AdoptError::Kind => io::Error::other(error.to_string()),
        })?;
        let mut magic = [0; 4];
        file.read(0, &mut magic)?;
        if file.len() != LEN || u32::from_le_bytes(magic) != MAGIC {
            let (len, magic) = (file.len(), u32::from_le_bytes(magic));
            let text = format!(
                "a journal of {LEN} bytes that begins with {MAGIC:#x} wanted, one of {len} with {magic:#x} came"
            );
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        let mut id = [0; 4];
        file.read(NEXT_ID, &mut id)?;
        Ok(Self::over(file, u32::from_le_bytes(id) as u16))
    }

    fn over(file: SharedFile, next_id: u16) -> Self {
        let state = State {
            taken: [false; SLOTS],
            next_number: 0,
            next_id,
        };
        Self {
            file,
            state: Mutex::new(state),
        }
    }

    /// The descriptor, to be kept.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.file.fd()
    }

    /// An identifier for a request of ours. No earlier process has used it for a request whose answer may still come.
    ///
    /// # Errors
    /// The system's.
    pub fn next_id(&self) -> io::Result<u16> {
        let mut state = self.state();
        let id = state.next_id;
        state.next_id = id.wrapping_add(1);
        let next = u32::from(state.next_id).to_le_bytes();
        self.file.write(NEXT_ID, &next).map(|()| id)
    }

    /// What was not answered, in the order in which it came. To be asked once, by who has adopted it.
    ///
    /// # Errors
    /// The system's.
    pub fn unanswered(&self) -> io::Result<Vec<Unanswered>> {
        let mut state = self.state();
        let mut found = Vec::new();
        for slot in 0..SLOTS {
            let mut head = [0; 12];
            self.file.read(at(slot), &mut head)?;
            let [used, number, len] = [0, 4, 8]
                .map(|i| u32::from_le_bytes([head[i], head[i + 1], head[i + 2], head[i + 3]]));
            let len = len as usize;
            if used == 0 || !(HEADER..=SLOT as usize - 16).contains(&len) {
                continue;
            }
            let mut bytes = vec![0; len];
            self.file.read(at(slot) + 16, &mut bytes)?;
            state.taken[slot] = true;
            found.push((number, Unanswered { slot, bytes }));
        }
        let Some(any) = found.first().map(|(number, _)| *number) else {
            return Ok(Vec::new());
        };
        // Numbers wrap; those that are there at a time are near each other.
        found.sort_by_key(|(number, _)| number.wrapping_sub(any) as i32);
        state.next_number = found.last().map_or(0, |(n, _)| n.wrapping_add(1));
        Ok(found.into_iter().map(|(_, request)| request).collect())
    }

    /// Writes a request down, before it is taken from the socket; `None` if there is no place left.
    ///
    /// # Errors
    /// The system's.
    pub fn enter(&self, bytes: &[u8]) -> io::Result<Option<usize>> {
        let mut state = self.state();
        let Some(slot) = state.taken.iter().position(|taken| !taken) else {
            return Ok(None);
        };
        let number = state.next_number;
        self.file.write(at(slot) + 16, bytes)?;
        self.file.write(at(slot) + 4, &number.to_le_bytes())?;
        let len = (bytes.len() as u32).to_le_bytes();
        self.file.write(at(slot) + 8, &len)?;
        // From here on it counts.
        self.file.write(at(slot), &1u32.to_le_bytes())?;
        state.taken[slot] = true;
        state.next_number = number.wrapping_add(1);
        Ok(Some(slot))
    }

    /// The request in this place is answered.
    ///
    /// # Errors
    /// The system's.
    pub fn strike_out(&self, slot: usize) -> io::Result<()> {
        let mut state = self.state();
        self.file.write(at(slot), &0u32.to_le_bytes())?;
        state.taken[slot] = false;
        Ok(())
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn at(slot: usize) -> u64 {
    FIRST + slot as u64 * SLOT
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::message;

    fn next(journal: &Journal) -> Journal {
        let fd = journal.fd().try_clone_to_owned().expect("a descriptor");
        Journal::adopt(fd).expect("a journal")
    }

    #[test]
    fn what_was_not_answered_is_there_in_its_order_for_the_next_process() {
        let first = Journal::create().expect("memory");
        let request = |id: u16| message(id, 12, 0, &[&[id as u8; 40]]);
        let mut slots = Vec::new();
        // Beyond the number of places, so that they are used again.
        for id in 0..300 {
            slots.push(first.enter(&request(id)).expect("memory").expect("a place"));
            if slots.len() > 5 {
                first.strike_out(slots.remove(0)).expect("memory");
            }
        }
        let second = next(&first);
        let left = second.unanswered().expect("memory");
        let ids: Vec<_> = left
            .iter()
            .map(|u| u.message().expect("whole").header.id.get())
            .collect();
        assert_eq!(ids, [295, 296, 297, 298, 299]);
        assert_eq!(left[4].bytes, request(299));
        second.strike_out(left[0].slot).expect("memory");
        second
            .enter(&request(300))
            .expect("memory")
            .expect("a place");
        let third = next(&second).unanswered().expect("memory");
        assert_eq!(third.len(), 5);
        assert_eq!(third[4].bytes, request(300));
    }

    #[test]
    fn there_are_so_many_places_and_no_more() {
        let journal = Journal::create().expect("memory");
        let request = message(1, 11, 0, &[&[0; MAX_WHOLE as usize + 16]]);
        for _ in 0..SLOTS {
            assert!(journal.enter(&request).expect("memory").is_some());
        }
        assert_eq!(journal.enter(&request).expect("memory"), None);
        assert_eq!(next(&journal).unanswered().expect("memory").len(), SLOTS);
    }

    #[test]
    fn identifiers_go_on_where_the_process_before_was() {
        let first = Journal::create().expect("memory");
        let ids: Vec<_> = (0..3).map(|_| first.next_id().expect("memory")).collect();
        assert_eq!(ids, [0, 1, 2]);
        assert_eq!(next(&first).next_id().expect("memory"), 3);
    }

    #[test]
    fn another_file_is_no_journal() {
        let file = SharedFile::create("other", 8192).expect("memory");
        let fd = file.fd().try_clone_to_owned().expect("a descriptor");
        let error = Journal::adopt(fd).expect_err("too short").to_string();
        assert!(error.contains("8192"), "{error}");
    }
}
