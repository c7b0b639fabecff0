//! Messages with their file descriptors on a stream socket. Nothing of a message is believed before it is bounded.

use std::collections::VecDeque;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use zerocopy::{FromBytes, FromZeros, IntoBytes};

use crate::version::{MAX_DATA, MAX_FDS};
use crate::wire::{HEADER, Header};

/// Largest message in bytes: the largest data with the largest fixed part in front.
pub const MAX_MESSAGE: usize = MAX_DATA as usize + HEADER + 64;
/// Bytes that wait for somebody who does not read, beyond which he is given up.
pub const MAX_BACKLOG: usize = 16 << 20;
/// Most data in a message that has to be in the socket whole or not at all: the kernel takes and gives up to 32 KiB of a stream
/// socket in one piece, so that a process killed at any moment leaves no half of a message behind.
pub const MAX_WHOLE: u32 = 16 << 10;
/// Read at once, so that memory is taken as data come and not as a header claims.
const CHUNK: usize = 64 << 10;

/// A message as it came.
#[derive(Debug)]
pub struct Message {
    /// Its header; the size is right.
    pub header: Header,
    /// What follows the header.
    pub payload: Vec<u8>,
    /// Descriptors that came along, at most [`MAX_FDS`].
    pub fds: Vec<OwnedFd>,
}

/// Why no more messages come. After any of these the stream is of no use.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The other side has closed the socket between two messages.
    #[error("the other side closed the connection")]
    Closed,
    /// In the middle of one.
    #[error("the connection ended within a message ({got} bytes of it came)")]
    Torn {
        /// Bytes of the message that came.
        got: usize,
    },
    /// A size that no message has.
    #[error("message of {size} bytes: {HEADER} to {MAX_MESSAGE} wanted")]
    Size {
        /// As the header says.
        size: u32,
    },
    /// More descriptors than agreed.
    #[error("more than {MAX_FDS} file descriptors with one message")]
    Descriptors,
    /// It sends and does not read.
    #[error("the other side does not read: {MAX_BACKLOG} bytes wait for it")]
    Backlog,
    /// The system's.
    #[error("the connection failed: {0}")]
    Io(#[from] io::Error),
}

/// What [`Receiver::peek`] saw.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Peeked {
    /// Nothing yet.
    Nothing,
    /// The beginning of a message.
    Part {
        /// Bytes of it that are there.
        got: usize,
    },
    /// All of one, header first.
    Whole(Vec<u8>),
}

/// Takes messages from a socket, piece by piece.
#[derive(Debug)]
pub struct Receiver {
    header: Header,
    /// Bytes of the message that are there, header included.
    got: usize,
    payload: Vec<u8>,
    fds: Vec<OwnedFd>,
}

impl Default for Receiver {
    fn default() -> Self {
        Self {
            header: Header::new_zeroed(),
            got: 0,
            payload: Vec::new(),
            fds: Vec::new(),
        }
    }
}

impl Receiver {
    /// Part of a message is there.
    #[must_use]
    pub fn is_partial(&self) -> bool {
        self.got > 0
    }

    /// The next message, which stays in the socket until [`Receiver::take`]. For sides that send no more than [`MAX_WHOLE`] bytes of
    /// data at once. Never waits.
    ///
    /// # Errors
    /// [`FrameError`].
    pub fn peek(socket: impl AsFd) -> Result<Peeked, FrameError> {
        let mut bytes = vec![0; HEADER + 64 + MAX_WHOLE as usize];
        let most = bytes.len();
        // Without room for descriptors: they stay with the message.
        let mut control = RecvAncillaryBuffer::default();
        let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        let got = loop {
            let mut into = [IoSliceMut::new(&mut bytes)];
            match recvmsg(socket.as_fd(), &mut into, &mut control, flags) {
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(Peeked::Nothing),
                Err(Errno::CONNRESET) => return Err(FrameError::Closed),
                Err(error) => return Err(io::Error::from(error).into()),
                Ok(result) => break result.bytes,
            }
        };
        if got == 0 {
            return Err(FrameError::Closed);
        }
        let Ok((header, _)) = Header::read_from_prefix(&bytes[..got]) else {
            return Ok(Peeked::Part { got });
        };
        let size = header.size.get() as usize;
        if !(HEADER..=most).contains(&size) {
            return Err(FrameError::Size {
                size: header.size.get(),
            });
        }
        if got < size {
            return Ok(Peeked::Part { got });
        }
        bytes.truncate(size);
        Ok(Peeked::Whole(bytes))
    }

    /// Takes the message of this many bytes that was [peeked](Self::peek) at, with its descriptors, in one go.
    ///
    /// # Errors
    /// [`FrameError`].
    pub fn take(socket: impl AsFd, size: usize) -> Result<Message, FrameError> {
        let mut bytes = vec![0; size];
        let mut receiver = Self::default();
        let got = receiver.receive(socket.as_fd(), &mut bytes)?.unwrap_or(0);
        let (true, Ok((header, payload))) = (got == size, Header::read_from_prefix(&bytes)) else {
            return Err(FrameError::Torn { got });
        };
        Ok(Message {
            header,
            payload: payload.to_vec(),
            fds: receiver.fds,
        })
    }

    /// The next message, if all of it is there. Never waits.
    ///
    /// # Errors
    /// [`FrameError`].
    pub fn poll(&mut self, socket: impl AsFd) -> Result<Option<Message>, FrameError> {
        let socket = socket.as_fd();
        while self.got < HEADER {
            let got = self.got;
            let mut header = self.header;
            let Some(n) = self.receive(socket, &mut header.as_mut_bytes()[got..])? else {
                return Ok(None);
            };
            self.header = header;
            self.got += n;
        }
        let size = self.header.size.get();
        if !(HEADER..=MAX_MESSAGE).contains(&(size as usize)) {
            return Err(FrameError::Size { size });
        }
        while self.got < size as usize {
            let have = self.payload.len();
            let want = (size as usize - self.got).min(CHUNK);
            let mut payload = std::mem::take(&mut self.payload);
            payload.resize(have + want, 0);
            let received = self.receive(socket, &mut payload[have..]);
            payload.truncate(have + received.as_ref().map_or(0, |n| n.unwrap_or(0)));
            self.payload = payload;
            match received? {
                Some(n) => self.got += n,
                None => return Ok(None),
            }
        }
        let done = std::mem::take(self);
        Ok(Some(Message {
            header: done.header,
            payload: done.payload,
            fds: done.fds,
        }))
    }

    /// `None` if nothing is there.
    fn receive(
        &mut self,
        socket: BorrowedFd<'_>,
        into: &mut [u8],
    ) -> Result<Option<usize>, FrameError> {
        // Room for one more than allowed, so that too many are seen and not silently dropped.
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS + 1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
        let result = loop {
            match recvmsg(socket, &mut [IoSliceMut::new(into)], &mut control, flags) {
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(None),
                Err(Errno::CONNRESET) if self.got == 0 => return Err(FrameError::Closed),
                Err(error) => return Err(io::Error::from(error).into()),
                Ok(result) => break result,
            }
        };
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(fds) = message {
                self.fds.extend(fds);
            }
        }
        if self.fds.len() > MAX_FDS || result.flags.contains(ReturnFlags::CTRUNC) {
            return Err(FrameError::Descriptors);
        }
        match (result.bytes, self.got) {
            (0, 0) => Err(FrameError::Closed),
            (0, got) => Err(FrameError::Torn { got }),
            (n, _) => Ok(Some(n)),
        }
    }
}

/// Sends messages, keeping what the socket does not take at once.
#[derive(Debug, Default)]
pub struct Sender {
    queue: VecDeque<(Vec<u8>, Vec<OwnedFd>)>,
    /// Bytes of the first that are sent.
    sent: usize,
    bytes: usize,
}

impl Sender {
    /// Queues a message, with at most [`MAX_FDS`] descriptors.
    pub fn push(&mut self, message: Vec<u8>, fds: Vec<OwnedFd>) {
        debug_assert!(message.len() >= HEADER && fds.len() <= MAX_FDS);
        self.bytes += message.len();
        self.queue.push_back((message, fds));
    }

    /// Something waits.
    #[must_use]
    pub fn is_pending(&self) -> bool {
        !self.queue.is_empty()
    }

    /// Sends what the socket takes; true if that was all. Never waits.
    ///
    /// # Errors
    /// [`FrameError`].
    pub fn flush(&mut self, socket: impl AsFd) -> Result<bool, FrameError> {
        let socket = socket.as_fd();
        while let Some((message, fds)) = self.queue.front() {
            let borrowed: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            // They go with the message's first byte.
            if self.sent == 0 && !borrowed.is_empty() {
                control.push(SendAncillaryMessage::ScmRights(&borrowed));
            }
            let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
            let rest = [IoSlice::new(&message[self.sent..])];
            match sendmsg(socket, &rest, &mut control, flags) {
                Ok(n) => self.sent += n,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) if self.bytes > MAX_BACKLOG => return Err(FrameError::Backlog),
                Err(Errno::AGAIN) => return Ok(false),
                Err(Errno::PIPE | Errno::CONNRESET) => return Err(FrameError::Closed),
                Err(error) => return Err(io::Error::from(error).into()),
            }
            if self.sent == message.len() {
                self.bytes -= message.len();
                self.sent = 0;
                self.queue.pop_front();
            }
        }
        Ok(true)
    }
}

/// Reads a structure from the start of a payload; the rest.
///
/// # Errors
/// Bytes wanted and come, if it is too short.
pub fn take<T: FromBytes>(payload: &[u8]) -> Result<(T, &[u8]), Short> {
    T::read_from_prefix(payload).map_err(|_| Short {
        want: size_of::<T>(),
        got: payload.len(),
    })
}

/// A payload that is too short for what it should be.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("payload of {got} bytes: at least {want} wanted")]
pub struct Short {
    /// Wanted.
    pub want: usize,
    /// Came.
    pub got: usize,
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use proptest::prelude::*;

    use super::*;
    use crate::wire::{Command, message};

    fn received(
        receiver: &mut Receiver,
        socket: &UnixStream,
    ) -> Result<Option<Message>, FrameError> {
        receiver.poll(socket)
    }

    #[test]
    fn messages_arrive_whole_and_each_with_its_own_descriptors() {
        let (a, b) = UnixStream::pair().expect("a pair");
        let (mut sender, mut receiver) = (Sender::default(), Receiver::default());
        let dup = |n| {
            (0..n)
                .map(|_| a.as_fd().try_clone_to_owned().expect("a descriptor"))
                .collect::<Vec<_>>()
        };
        for (id, len, fds) in [(1u16, 0, 0), (2, 100_000, 3), (3, 7, MAX_FDS), (4, 0, 0)] {
            sender.push(
                message(id, Command::SetIrqs as u16, 0, &[&vec![id as u8; len]]),
                dup(fds),
            );
        }
        let mut seen = Vec::new();
        while seen.len() < 4 {
            sender.flush(&a).expect("is read");
            if let Some(m) = received(&mut receiver, &b).expect("good") {
                assert!(
                    m.payload
                        .iter()
                        .all(|byte| u16::from(*byte) == m.header.id.get())
                );
                seen.push((m.header.id.get(), m.payload.len(), m.fds.len()));
            }
        }
        assert_eq!(
            seen,
            [(1, 0, 0), (2, 100_000, 3), (3, 7, MAX_FDS), (4, 0, 0)]
        );
        assert!(received(&mut receiver, &b).expect("open").is_none());
        drop(a);
        assert!(matches!(
            received(&mut receiver, &b),
            Err(FrameError::Closed)
        ));
    }

    #[test]
    fn sizes_that_no_message_has_are_refused_before_anything_is_read() {
        for size in [0, 15, MAX_MESSAGE as u32 + 1, u32::MAX] {
            let (a, b) = UnixStream::pair().expect("a pair");
            let mut bytes = message(1, 1, 0, &[]);
            bytes[4..8].copy_from_slice(&size.to_le_bytes());
            rustix::io::write(&a, &bytes).expect("sends");
            let got = received(&mut Receiver::default(), &b);
            assert!(matches!(got, Err(FrameError::Size { size: s }) if s == size));
        }
    }

    #[test]
    fn a_message_that_was_peeked_at_is_still_there_and_is_taken_whole_with_its_descriptors() {
        let (a, b) = UnixStream::pair().expect("a pair");
        assert_eq!(Receiver::peek(&b).expect("open"), Peeked::Nothing);
        let bytes = message(7, 9, 0, &[&[5; MAX_WHOLE as usize]]);
        rustix::io::write(&a, &bytes[..20]).expect("sends");
        let part = Peeked::Part { got: 20 };
        assert_eq!(Receiver::peek(&b).expect("open"), part);
        rustix::io::write(&a, &bytes[20..]).expect("sends");
        let mut sender = Sender::default();
        let more = message(8, 9, 0, &[&[6; 3]]);
        sender.push(
            more.clone(),
            vec![a.as_fd().try_clone_to_owned().expect("one")],
        );
        assert!(sender.flush(&a).expect("there is room"));
        for _ in 0..2 {
            assert_eq!(
                Receiver::peek(&b).expect("open"),
                Peeked::Whole(bytes.clone())
            );
        }
        let first = Receiver::take(&b, bytes.len()).expect("all of it is there");
        assert_eq!((first.header.id.get(), first.fds.len()), (7, 0));
        assert_eq!(Receiver::peek(&b).expect("open"), Peeked::Whole(more));
        let second = Receiver::take(&b, HEADER + 3).expect("all of it is there");
        assert_eq!((&second.payload[..], second.fds.len()), (&[6; 3][..], 1));
        // The descriptor that came is another of the same end.
        drop((a, second.fds));
        assert!(matches!(Receiver::peek(&b), Err(FrameError::Closed)));
    }

    #[test]
    fn an_end_within_a_message_is_told_from_an_end_between_two() {
        let bytes = message(1, 9, 0, &[&[0; 16]]);
        for cut in 1..bytes.len() {
            let (a, b) = UnixStream::pair().expect("a pair");
            rustix::io::write(&a, &bytes[..cut]).expect("sends");
            let mut receiver = Receiver::default();
            assert!(received(&mut receiver, &b).expect("not yet").is_none());
            drop(a);
            let got = received(&mut receiver, &b);
            assert!(
                matches!(got, Err(FrameError::Torn { got }) if got == cut),
                "{got:?}"
            );
        }
    }

    #[test]
    fn too_many_descriptors_end_the_connection() {
        let (a, b) = UnixStream::pair().expect("a pair");
        let many = [a.as_fd(); MAX_FDS + 1];
        for count in [MAX_FDS + 1, 60] {
            let many: Vec<_> = many.iter().cycle().take(count).copied().collect();
            let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(60))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            assert!(control.push(SendAncillaryMessage::ScmRights(&many)));
            let bytes = message(1, 8, 0, &[]);
            sendmsg(
                &a,
                &[IoSlice::new(&bytes)],
                &mut control,
                SendFlags::empty(),
            )
            .expect("sends");
            let got = received(&mut Receiver::default(), &b);
            assert!(matches!(got, Err(FrameError::Descriptors)), "{got:?}");
            while rustix::net::recv(&b, &mut [0; 64], RecvFlags::DONTWAIT).is_ok() {}
        }
    }

    #[test]
    fn who_does_not_read_is_given_up() {
        let (a, _b) = UnixStream::pair().expect("a pair");
        let mut sender = Sender::default();
        let error = (0..100).find_map(|id| {
            sender.push(message(id, 9, 0, &[&vec![0; 1 << 20]]), Vec::new());
            sender.flush(&a).err()
        });
        assert!(matches!(error, Some(FrameError::Backlog)));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn any_bytes_give_messages_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let (a, b) = UnixStream::pair().expect("a pair");
            rustix::io::write(&a, &bytes).expect("fits");
            drop(a);
            let mut receiver = Receiver::default();
            let mut read = 0;
            while let Ok(Some(message)) = received(&mut receiver, &b) {
                read += HEADER + message.payload.len();
            }
            prop_assert!(read <= bytes.len());
        }
    }
}
