//! The receiving half of a connection: which stream bytes are header and which payload, and what they say.

use sluice_wire::nvme_tcp::{DIGEST_LEN, MAX_PDA, MIN_MAX_H2C_DATA, PduType, dgst, flags};
use zerocopy::IntoBytes;

use crate::{H2cData, Limits, Violation, blame};

/// Longest header kept: CapsuleCmd with its digest (76), rounded up. Of an ICReq only the front is.
const BUF_WORDS: usize = 20;
/// Bytes of an ICReq that say something; zeros fill it up to its 128.
const IC_REQ_FRONT: u8 = 16;
const COMMAND_HEADER: u8 = 72;
const DATA_HEADER: u8 = 24;

/// The part of a PDU's first word that is fixed for its type: PDU type, HDGSTF, HLEN.
const OPENING_MASK: u32 = 0x00ff_01ff;
const COMMAND_OPENING: u32 = PduType::CapsuleCmd as u32 | (COMMAND_HEADER as u32) << 16;
const DATA_OPENING: u32 = PduType::H2cData as u32 | (DATA_HEADER as u32) << 16;

/// What the session needs next from the stream.
#[derive(PartialEq, Eq, Debug)]
pub enum Want<'a> {
    /// The next bytes, as many as fit or are there. Report their number to [`Session::filled`].
    Header(&'a mut [u8]),
    /// The next `left` bytes are payload of the transfer announced last. Report bytes placed to [`Session::moved`].
    Data {
        /// Not 0.
        left: u32,
    },
    /// Nothing more: the session ended.
    Closed,
}

/// What became of the bytes given.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step<'a> {
    /// Nothing to tell yet.
    More,
    /// Something happened.
    Event(Event<'a>),
    /// The host broke the protocol; the session is closed. Answer with [`Session::terminate`].
    Fatal(Violation),
}

/// What the host sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event<'a> {
    /// ICReq: answer with [`Session::ic_resp`]. Digests and alignments are settled now.
    IcReq,
    /// A command. If `in_capsule` is not 0, that many bytes of [`Want::Data`] follow and then [`Event::DataDone`].
    Command {
        /// Submission queue entry: sixteen words as they lie in memory, little-endian.
        sqe: &'a [u32; 16],
        /// Bytes of in-capsule data, within the queue's limit.
        in_capsule: u32,
    },
    /// Data for an R2T; `len` bytes of [`Want::Data`] follow and then [`Event::DataDone`]. To be checked
    /// with [`crate::WriteTransfer::check`] before they are placed.
    H2cData(H2cData),
    /// The payload announced last is complete. With data digests in force, the one received.
    DataDone {
        /// To be compared with CRC32C over the payload.
        digest: Option<u32>,
    },
    /// The host gave up and says why; the session is closed.
    HostTerminated {
        /// Fatal Error Status.
        fes: u16,
        /// Fatal Error Information.
        fei: u32,
    },
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// It has ended, or not begun.
    Closed,
    /// The front of the ICReq.
    Setup,
    /// The zeros after it.
    SetupRest,
    /// Between PDUs; the last header is still held.
    Idle,
    Header,
    /// Between header and data.
    Padding,
    Data,
    DataDigest,
}

/// One connection. See the crate's documentation for the loop that drives it.
#[derive(Debug)]
pub struct Session {
    buf: [u32; BUF_WORDS],
    /// Payload bytes of this PDU still to come.
    left: u32,
    max_in_capsule: u32,
    in_capsule_io: u32,
    max_h2c_data: u32,
    host_max_r2t: u32,
    /// R2Ts whose last H2CData has not come.
    r2ts: u16,
    state: State,
    /// Bytes held in `buf`, and wanted there.
    have: u8,
    need: u8,
    /// Bytes to skip in [`State::SetupRest`] and [`State::Padding`].
    skip: u8,
    /// Digests in force, as [`flags`] (they have the same bits as [`dgst`]); before setup, those allowed.
    digests: u8,
    /// Header lengths, digest included.
    command_len: u8,
    data_len: u8,
    /// CPDA.
    cpda: u8,
    /// PDO of our C2HData, as HPDA asks.
    c2h_pdo: u8,
}
const _: () = assert!(size_of::<Session>() <= 128);
const _: () = assert!(flags::HDGST == dgst::HEADER && flags::DDGST == dgst::DATA);

impl Session {
    /// No connection: a closed session. All zeros, so that a table of them costs an image of the firmware nothing.
    pub const NONE: Self = Self {
        buf: [0; BUF_WORDS],
        left: 0,
        max_in_capsule: 0,
        in_capsule_io: 0,
        max_h2c_data: 0,
        host_max_r2t: 0,
        r2ts: 0,
        state: State::Closed,
        have: 0,
        need: 0,
        skip: 0,
        digests: 0,
        command_len: 0,
        data_len: 0,
        cpda: 0,
        c2h_pdo: 0,
    };

    /// A connection that has just been accepted. Limits outside the standard are pulled into it.
    #[must_use]
    pub const fn new(limits: &Limits) -> Self {
        let mut digests = 0;
        if limits.header_digest {
            digests |= dgst::HEADER;
        }
        if limits.data_digest {
            digests |= dgst::DATA;
        }
        let floor = limits.max_h2c_data < MIN_MAX_H2C_DATA;
        Self {
            max_in_capsule: limits.in_capsule_admin,
            in_capsule_io: limits.in_capsule_io,
            max_h2c_data: if floor {
                MIN_MAX_H2C_DATA
            } else {
                limits.max_h2c_data
            },
            state: State::Setup,
            need: IC_REQ_FRONT,
            digests,
            command_len: COMMAND_HEADER,
            data_len: DATA_HEADER,
            cpda: if limits.cpda > MAX_PDA {
                MAX_PDA
            } else {
                limits.cpda
            },
            c2h_pdo: DATA_HEADER,
            ..Self::NONE
        }
    }

    /// The connection has become an I/O queue: the in-capsule limit of I/O queues holds from the next PDU on.
    pub fn set_io_queue(&mut self) {
        self.max_in_capsule = self.in_capsule_io;
    }

    /// What to do with the next bytes of the stream.
    #[inline]
    pub fn want(&mut self) -> Want<'_> {
        match self.state {
            State::Idle => {
                // With no R2T outstanding a CapsuleCmd is due, and one read takes it whole. Whatever shorter PDU
                // comes then is the last of the connection, so reading beyond it does no harm.
                self.have = 0;
                self.need = if self.r2ts == 0 {
                    self.command_len
                } else {
                    self.data_len
                };
                self.state = State::Header;
            }
            State::Data => return Want::Data { left: self.left },
            State::Closed => return Want::Closed,
            State::SetupRest | State::Padding => {
                self.have = 0;
                self.need = self.skip.min((BUF_WORDS * 4) as u8);
            }
            State::Setup | State::Header | State::DataDigest => {}
        }
        let span = usize::from(self.have)..usize::from(self.need);
        Want::Header(self.buf.as_mut_bytes().get_mut(span).unwrap_or_default())
    }

    /// `n` bytes were put into what [`Want::Header`] gave. `crc` computes CRC32C of a header.
    #[inline]
    pub fn filled(&mut self, n: usize, crc: impl FnMut(&[u8]) -> u32) -> Step<'_> {
        let n = n.min(usize::from(self.need.saturating_sub(self.have))) as u8;
        self.have += n;
        if self.state != State::Header || self.have != self.need {
            return self.filled_slowly(n);
        }
        match self.buf[0].to_le() as u8 {
            CAPSULE_CMD if self.need == self.command_len => self.take_command(crc),
            CAPSULE_CMD => {
                self.need = self.command_len;
                Step::More
            }
            H2C_DATA => self.h2c_data(crc),
            _ => self.unusual(),
        }
    }

    /// `n` bytes of payload were placed.
    #[inline]
    pub fn moved(&mut self, n: u32) -> Step<'_> {
        self.left = self.left.saturating_sub(n);
        if self.left != 0 || self.state != State::Data {
            return Step::More;
        }
        if self.data_digest() {
            self.state = State::DataDigest;
            self.have = 0;
            self.need = DIGEST_LEN as u8;
            return Step::More;
        }
        self.state = State::Idle;
        Step::Event(Event::DataDone { digest: None })
    }

    /// The command that [`Event::Command`] told of, as long as neither [`Session::want`] nor [`Session::filled`] was called
    /// since: nobody need keep a copy.
    #[inline]
    #[must_use]
    pub fn command(&self) -> &[u32; 16] {
        self.buf[2..].first_chunk().unwrap_or(&[0; 16])
    }

    /// Bytes of in-capsule data that follow it.
    #[inline]
    #[must_use]
    pub fn in_capsule(&self) -> u32 {
        match self.state {
            State::Padding | State::Data => self.left,
            _ => 0,
        }
    }

    /// Ends the session from this side; [`Session::want`] says [`Want::Closed`] from now on.
    pub fn close(&mut self) {
        self.state = State::Closed;
    }

    /// Header digests are in force.
    #[inline]
    #[must_use]
    pub const fn header_digest(&self) -> bool {
        self.digests & flags::HDGST != 0
    }

    /// Data digests are in force.
    #[inline]
    #[must_use]
    pub const fn data_digest(&self) -> bool {
        self.digests & flags::DDGST != 0
    }

    /// Bytes that follow the data of a PDU: 4 with data digests, else 0.
    #[inline]
    #[must_use]
    pub const fn data_digest_len(&self) -> u32 {
        (self.digests & flags::DDGST) as u32 * 2
    }

    /// R2Ts the host takes per command, at least 1.
    #[must_use]
    pub const fn host_max_r2t(&self) -> u32 {
        self.host_max_r2t.saturating_add(1)
    }

    pub(crate) const fn digest_flags(&self) -> u8 {
        self.digests
    }

    pub(crate) const fn cpda(&self) -> u8 {
        self.cpda
    }

    pub(crate) const fn c2h_pdo(&self) -> u8 {
        self.c2h_pdo
    }

    pub(crate) const fn max_h2c_data(&self) -> u32 {
        self.max_h2c_data
    }

    /// What is held of the last header.
    pub(crate) fn held_header(&self) -> &[u8] {
        self.buf
            .as_bytes()
            .get(..usize::from(self.have))
            .unwrap_or_default()
    }

    /// An R2T is going out.
    #[inline]
    pub(crate) fn expect_data(&mut self) {
        self.r2ts = self.r2ts.saturating_add(1);
        if self.state == State::Header && self.have == 0 {
            self.state = State::Idle;
        }
    }

    #[inline]
    fn word(&self, at: usize) -> u32 {
        u32::from_le(self.buf[at])
    }

    #[inline]
    fn take_command(&mut self, crc: impl FnMut(&[u8]) -> u32) -> Step<'_> {
        let opening = self.word(0);
        if opening & OPENING_MASK != COMMAND_OPENING | self.digest_opening() {
            return self.fatal(blame::opening(opening, COMMAND_HEADER, self.digests));
        }
        if let Err(violation) = self.check_header_digest(18, crc) {
            return self.fatal(violation);
        }
        let mut in_capsule = 0;
        self.state = State::Idle;
        if self.word(1) != u32::from(self.command_len) {
            match self.locate(opening, self.command_len) {
                Ok(len) if len <= self.max_in_capsule => in_capsule = len,
                Ok(_) => return self.fatal(Violation::DataLimit),
                Err(violation) => return self.fatal(violation),
            }
        }
        match self.buf[2..].first_chunk() {
            Some(sqe) => Step::Event(Event::Command { sqe, in_capsule }),
            None => Step::More,
        }
    }

    #[inline]
    fn h2c_data(&mut self, crc: impl FnMut(&[u8]) -> u32) -> Step<'_> {
        let opening = self.word(0);
        if opening & OPENING_MASK != DATA_OPENING | self.digest_opening() {
            return self.fatal(blame::opening(opening, DATA_HEADER, self.digests));
        }
        if let Err(violation) = self.check_header_digest(6, crc) {
            return self.fatal(violation);
        }
        if self.r2ts == 0 || self.have != self.data_len {
            return self.fatal(Violation::UNKNOWN_TTAG);
        }
        let len = match self.locate(opening, self.data_len) {
            Ok(len) => len,
            Err(violation) => return self.fatal(violation),
        };
        // DATAL has to be what the PDU carries (CVE-2023-52454) and what was agreed to.
        if len != self.word(4) {
            return self.fatal(Violation::HeaderField(16));
        }
        if len > self.max_h2c_data {
            return self.fatal(Violation::DataLimit);
        }
        let last = opening & u32::from(flags::LAST) << 8 != 0;
        self.r2ts -= u16::from(last);
        let tags = self.word(2);
        Step::Event(Event::H2cData(H2cData {
            cid: tags as u16,
            ttag: (tags >> 16) as u16,
            offset: self.word(3),
            len,
            last,
        }))
    }

    /// Where the data of this PDU lie: sets up padding and data, returns the data's length (not 0).
    #[inline]
    fn locate(&mut self, opening: u32, header_len: u8) -> Result<u32, Violation> {
        if (opening >> 8) as u8 & flags::DDGST != self.digests & flags::DDGST {
            return Err(Violation::HeaderField(1));
        }
        let pdo = (opening >> 24) as u8;
        if pdo < header_len || (self.cpda != 0 && !pdo.is_multiple_of((self.cpda + 1) * 4)) {
            return Err(Violation::HeaderField(3));
        }
        let pdu_len = self.word(1);
        let data = pdu_len.wrapping_sub(u32::from(pdo) + self.data_digest_len());
        // More than the PDU itself: the subtraction wrapped.
        if data == 0 || data > pdu_len {
            return Err(Violation::HeaderField(4));
        }
        self.skip = pdo - header_len;
        self.state = if self.skip == 0 {
            State::Data
        } else {
            State::Padding
        };
        self.left = data;
        Ok(data)
    }

    #[inline]
    const fn digest_opening(&self) -> u32 {
        ((self.digests & flags::HDGST) as u32) << 8
    }

    /// Compares the header digest, if there is one, which follows `words` words of header.
    #[inline]
    fn check_header_digest(
        &self,
        words: usize,
        mut crc: impl FnMut(&[u8]) -> u32,
    ) -> Result<(), Violation> {
        if !self.header_digest() {
            return Ok(());
        }
        let (Some(header), Some(received)) = (self.buf.get(..words), self.buf.get(words)) else {
            return Ok(());
        };
        let received = u32::from_le(*received);
        if crc(header.as_bytes()) == received {
            Ok(())
        } else {
            Err(Violation::HeaderDigest(received))
        }
    }

    #[cold]
    fn fatal(&mut self, violation: Violation) -> Step<'_> {
        self.close();
        Step::Fatal(violation)
    }

    /// Everything but a whole header: setup, padding, digests, and headers in pieces.
    fn filled_slowly(&mut self, n: u8) -> Step<'_> {
        match self.state {
            State::Setup => self.setup(),
            State::SetupRest | State::Padding => {
                self.skip = self.skip.saturating_sub(n);
                if self.skip != 0 {
                    return Step::More;
                }
                if self.state == State::Padding {
                    self.state = State::Data;
                    return Step::More;
                }
                self.state = State::Idle;
                Step::Event(Event::IcReq)
            }
            State::Header => self.part_of_header(),
            State::DataDigest if self.have == self.need => {
                self.state = State::Idle;
                Step::Event(Event::DataDone {
                    digest: Some(self.word(0)),
                })
            }
            State::DataDigest | State::Idle | State::Data | State::Closed => Step::More,
        }
    }

    /// A bad common header is answered without waiting for the rest.
    fn part_of_header(&mut self) -> Step<'_> {
        if self.have < 8 {
            return Step::More;
        }
        let opening = self.word(0);
        let wanted = match opening as u8 {
            CAPSULE_CMD => COMMAND_HEADER,
            H2C_DATA if self.need != self.data_len => return self.fatal(Violation::UNKNOWN_TTAG),
            H2C_DATA => DATA_HEADER,
            _ => return self.unusual(),
        };
        match blame::opening_if_wrong(opening, wanted, self.digests) {
            Some(violation) => self.fatal(violation),
            None => Step::More,
        }
    }

    /// PDUs that are neither command nor data.
    #[cold]
    fn unusual(&mut self) -> Step<'_> {
        match PduType::from_code(self.word(0) as u8) {
            Some(PduType::H2cTermReq) if self.have < DATA_HEADER => {
                self.need = DATA_HEADER;
                Step::More
            }
            Some(PduType::H2cTermReq) => {
                self.close();
                match blame::term_req(self.word(0), self.word(1)) {
                    Some(violation) => Step::Fatal(violation),
                    None => Step::Event(Event::HostTerminated {
                        fes: self.word(2) as u16,
                        fei: self.word(2) >> 16 | self.word(3) << 16,
                    }),
                }
            }
            // In particular a second ICReq: it must not set anything up again (CVE-2026-89969).
            Some(PduType::IcReq | PduType::CapsuleCmd | PduType::H2cData) => {
                self.fatal(Violation::Sequence)
            }
            _ => self.fatal(Violation::HeaderField(0)),
        }
    }

    /// The front of the ICReq, whole or in part.
    #[cold]
    fn setup(&mut self) -> Step<'_> {
        if self.have < 8 {
            return Step::More;
        }
        if self.word(0) as u8 != PduType::IcReq as u8 {
            return self.unusual();
        }
        if let Some(violation) = blame::ic_req_opening(self.word(0), self.word(1)) {
            return self.fatal(violation);
        }
        if self.have < self.need {
            return Step::More;
        }
        let terms = self.word(2);
        let hpda = (terms >> 16) as u8;
        if terms as u16 != 0 {
            return self.fatal(Violation::Unsupported(8));
        }
        if hpda > MAX_PDA {
            return self.fatal(Violation::HeaderField(10));
        }
        self.digests &= (terms >> 24) as u8;
        let digest = (self.digests & flags::HDGST) * DIGEST_LEN as u8;
        self.command_len = COMMAND_HEADER + digest;
        self.data_len = DATA_HEADER + digest;
        self.c2h_pdo = self.data_len.next_multiple_of((hpda + 1) * 4);
        self.host_max_r2t = self.word(3);
        self.skip = 128 - IC_REQ_FRONT;
        self.state = State::SetupRest;
        Step::More
    }
}

const CAPSULE_CMD: u8 = PduType::CapsuleCmd as u8;
const H2C_DATA: u8 = PduType::H2cData as u8;

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
