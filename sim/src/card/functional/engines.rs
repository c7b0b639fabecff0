//! The engines of the functional card: what cores share, and what the hardware does with it.

use std::collections::VecDeque;

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use sluice_engines::Seen;
use sluice_hal::{
    BufId, Mail, Micros, MoveDone, MoveJob, MoveSource, MoveTarget, PmAddr, Rx, RxFlags, TxJob,
    layout,
};
use sluice_wire::crc32c;

use super::CLOCKS_PER_MICRO;
use super::memory::PacketMemory;
use super::registers::Registers;
use super::storage::Storage;
use super::trace::Trace;
use crate::card::{Ethernet, TimeSource};
use crate::fabric::{BusError, Clock, MAX_PAYLOAD, Port, Tlp};

/// Queue depths of the hardware (docs/card.md, section 3).
pub const RX_DEPTH: usize = 256;
pub const JOB_DEPTH: usize = 16;
/// Descriptors waiting from which on acknowledgments are merged.
const RX_MERGE: usize = 8;
pub const MAIL_DEPTH: usize = 16;
/// CRC contexts per core.
const CRC_CONTEXTS: usize = 512;

/// What the tile of one core holds.
#[derive(Default)]
pub struct Tile {
    pub rx: VecDeque<Rx>,
    pub tx: VecDeque<TxJob>,
    pub tx_done: u32,
    pub moves: VecDeque<MoveJob>,
    pub moves_done: VecDeque<MoveDone>,
    pub mail: VecDeque<Mail>,
    crc: Vec<u32>,
    pub page_accesses: u64,
    pub frame_loads: u64,
}

/// A move from host memory under way: the pieces that came, in order.
#[derive(Default)]
struct HostRead {
    core: usize,
    first_tag: u32,
    pieces: Vec<Option<Result<Vec<u8>, BusError>>>,
}

/// Everything the cores share.
pub struct Shared {
    pub pm: PacketMemory,
    pub tiles: Vec<Tile>,
    small: VecDeque<u16>,
    large: VecDeque<u16>,
    pub registers: Registers,
    pub writes: VecDeque<Tlp>,
    host_read: Option<HostRead>,
    next_tag: u32,
    pub rng: ChaCha8Rng,
    clock: Clock,
    time: TimeSource,
    micros: u64,
    pub storage: Storage,
    trace: Trace,
}

impl Shared {
    pub fn new(cores: u8, seed: u64) -> Self {
        let mut shared = Self {
            pm: PacketMemory::own(),
            tiles: Vec::new(),
            small: VecDeque::new(),
            large: VecDeque::new(),
            registers: Registers::new(cores),
            writes: VecDeque::new(),
            host_read: None,
            next_tag: 0,
            rng: ChaCha8Rng::seed_from_u64(seed),
            clock: 0,
            time: TimeSource::Clocks,
            micros: 0,
            storage: Storage::blank(seed),
            trace: Trace::new(),
        };
        shared.reset();
        shared
    }

    /// What a reset of the cores does: queues empty, buffers back in their pools.
    pub fn reset(&mut self) {
        let cores = self.registers.cores();
        self.tiles = (0..cores)
            .map(|_| Tile {
                crc: vec![0; CRC_CONTEXTS],
                ..Tile::default()
            })
            .collect();
        self.small = (0..layout::RX_SMALL_COUNT as u16).collect();
        self.large = (layout::RX_SMALL_COUNT as u16..layout::RX_BUFS as u16).collect();
        self.writes.clear();
        self.host_read = None;
        self.trace.reset();
    }

    /// After a register was written. While the engines are held in reset the trace is, too.
    pub fn look_at_trace(&mut self) {
        if self.registers.running() {
            self.trace.look(&self.registers);
        } else {
            self.trace.reset();
        }
    }

    pub fn cores(&self) -> u8 {
        self.registers.cores()
    }

    /// Clocks so far.
    pub fn clock(&self) -> Clock {
        self.clock
    }

    pub fn set_clock(&mut self, clock: Clock) {
        self.clock = clock;
        if self.time == TimeSource::Clocks {
            self.micros = clock / CLOCKS_PER_MICRO;
        }
    }

    pub fn set_time(&mut self, source: TimeSource) {
        self.time = source;
        if let TimeSource::Live { micros } = source {
            self.micros = self.micros.max(micros);
        }
    }

    pub fn now(&self) -> Micros {
        Micros(self.micros)
    }

    pub fn free_buffers(&self) -> (usize, usize) {
        (self.small.len(), self.large.len())
    }

    /// The microsecond clock follows the card's own.
    pub fn counts_clocks(&self) -> bool {
        self.time == TimeSource::Clocks
    }

    /// An engine or a core's queue holds something.
    pub fn is_busy(&self) -> bool {
        let tile = |t: &Tile| {
            !(t.rx.is_empty()
                && t.tx.is_empty()
                && t.moves.is_empty()
                && t.moves_done.is_empty()
                && t.mail.is_empty())
        };
        self.host_read.is_some()
            || !self.writes.is_empty()
            || self.trace.is_busy()
            || self.tiles.iter().any(tile)
    }

    pub fn random(&mut self) -> u32 {
        self.rng.next_u32()
    }

    pub fn pm_load(&self, at: usize, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.pm.read(at, &mut bytes);
        bytes
    }

    pub fn pm_store(&mut self, at: usize, data: &[u8]) {
        self.pm.write(at, data);
    }

    /// Gives a buffer back to its pool.
    pub fn free(&mut self, buf: BufId) {
        if u32::from(buf.0) < layout::RX_SMALL_COUNT {
            debug_assert!(!self.small.contains(&buf.0), "buffer {} freed twice", buf.0);
            self.small.push_back(buf.0);
        } else {
            debug_assert!(!self.large.contains(&buf.0), "buffer {} freed twice", buf.0);
            self.large.push_back(buf.0);
        }
    }

    /// Counts a core's own access to `len` bytes of packet memory by region, a word at a time as the tile's counters do.
    pub fn count_access(&mut self, core: usize, at: PmAddr, len: usize, load: bool) {
        let words = len.div_ceil(4) as u64;
        if at.0 >= layout::PAGES_BASE {
            self.tiles[core].page_accesses += words;
        } else if at.0 < layout::LOG_BASE && load {
            self.tiles[core].frame_loads += words;
        }
    }

    /// A register as the host reads it; the core window shows the selected core's counter.
    pub fn register(&self, offset: u32) -> u32 {
        use sluice_regs::bar0_regs::{CORE_SELECT_OFFSET, CORE_VALUE_OFFSET};
        if let Some(value) = self.trace.register(offset, self.clock) {
            return value;
        }
        if offset != CORE_VALUE_OFFSET {
            return self.registers.read(offset);
        }
        let select = self.registers.read(CORE_SELECT_OFFSET);
        let Some(tile) = self.tiles.get(select as usize & 0x1f) else {
            return 0;
        };
        match select >> 8 & 0xf {
            8 => tile.page_accesses as u32,
            9 => tile.frame_loads as u32,
            _ => 0,
        }
    }

    pub fn payload_accesses(&self) -> Vec<(u64, u64)> {
        self.tiles
            .iter()
            .map(|t| (t.page_accesses, t.frame_loads))
            .collect()
    }

    /// The rx engine: every frame that has arrived.
    pub fn receive(&mut self, now: Clock, ethernet: &mut Ethernet) {
        while ethernet.to_card.front().is_some_and(|(at, _)| *at <= now) {
            let Some((at, frame)) = ethernet.to_card.pop_front() else {
                break;
            };
            self.receive_frame(at, &frame);
        }
    }

    fn receive_frame(&mut self, at: Clock, frame: &[u8]) {
        self.registers.counters.rx_frames += 1;
        self.registers.counters.rx_bytes += frame.len() as u64;
        let own = self.registers.mac();
        let judged = sluice_engines::receive(frame, own, BufId(0), self.micros as u32);
        let seen = Seen::Received(judged.as_ref().map(|_| ()).map_err(|e| *e));
        self.trace.frame(frame, seen, at, &self.registers);
        let mut rx = match judged {
            Ok(rx) => rx,
            Err(reason) => return self.registers.counters.drop(reason),
        };
        let core = self.core_of(&rx);
        if core >= self.tiles.len() || self.tiles[core].rx.len() >= RX_DEPTH {
            return self.registers.counters.rx_queue_full += 1;
        }
        let fits_small = frame.len() as u32 + layout::RX_OFFSET <= layout::RX_SMALL_SIZE;
        let buf = if fits_small {
            self.small.pop_front().or_else(|| self.large.pop_front())
        } else {
            self.large.pop_front()
        };
        let Some(buf) = buf else {
            return self.registers.counters.rx_no_buffer += 1;
        };
        match &mut rx {
            Rx::Frame(desc) => desc.buf = BufId(buf),
            Rx::Roce(packet) => packet.buf = BufId(buf),
        }
        let at = rx.frame().addr.0 as usize;
        self.pm_store(at, frame);
        self.deliver(core, rx);
    }

    /// Steering: TCP by the table, RoCE by queue pair number, the rest to core 0.
    fn core_of(&self, rx: &Rx) -> usize {
        match rx {
            Rx::Frame(desc) if desc.flags.has(RxFlags::TCP) => {
                usize::from(self.registers.steer(desc.flow_hash))
            }
            Rx::Frame(_) => 0,
            Rx::Roce(packet) => {
                let core = usize::from(packet.core());
                if core < self.tiles.len() { core } else { 0 }
            }
        }
    }

    /// Queues a descriptor. The hardware holds the newest one back if it may be replaced; here it is in the queue already.
    fn deliver(&mut self, core: usize, rx: Rx) {
        let queue = &mut self.tiles[core].rx;
        let behind = queue.len() > RX_MERGE;
        match (queue.back_mut(), &rx) {
            (Some(Rx::Frame(last)), Rx::Frame(desc))
                if behind && sluice_engines::merges(last, desc) =>
            {
                let replaced = std::mem::replace(last, *desc).buf;
                self.free(replaced);
            }
            _ => queue.push_back(rx),
        }
    }

    /// tx, mover and the posted writes of this pass.
    pub fn run_engines(&mut self, now: Clock, pcie: &mut Port, ethernet: &mut Ethernet) {
        self.move_all(now, pcie);
        for vector in std::mem::take(&mut self.registers.unmasked) {
            if let Some((addr, data)) = self.registers.message(vector) {
                self.writes.push_back(Tlp::Write {
                    addr,
                    data: data.to_le_bytes().to_vec(),
                });
            }
        }
        while let Some(tlp) = self.writes.pop_front() {
            pcie.send(now, tlp);
        }
        for core in 0..self.tiles.len() {
            while let Some(job) = self.tiles[core].tx.pop_front() {
                for mut frame in sluice_engines::transmit(&job, &self.pm) {
                    self.trace.frame(&frame, Seen::Sent, now, &self.registers);
                    // The MAC pads to the Ethernet minimum (IEEE 802.3, clause 4).
                    frame.resize(frame.len().max(60), 0);
                    self.registers.counters.tx_frames += 1;
                    self.registers.counters.tx_bytes += frame.len() as u64;
                    ethernet.from_card.push_back((now, frame));
                }
                self.tiles[core].tx_done = self.tiles[core].tx_done.wrapping_add(1);
            }
        }
        self.trace.run(now, pcie, &self.registers);
    }

    fn move_all(&mut self, now: Clock, pcie: &mut Port) {
        for core in 0..self.tiles.len() {
            while let Some(job) = self.tiles[core].moves.front().copied() {
                let data = match job.source {
                    MoveSource::Pm(pieces, n) => Ok(pieces[..usize::from(n)]
                        .iter()
                        .flat_map(|p| self.pm_load(p.addr.0 as usize, p.len as usize))
                        .collect()),
                    MoveSource::Host(addr, len) => match self.host_move(core, addr, len, now, pcie)
                    {
                        Some(result) => result,
                        None => break,
                    },
                };
                self.tiles[core].moves.pop_front();
                let done = self.finish_move(core, &job, data);
                self.tiles[core].moves_done.push_back(done);
            }
        }
    }

    /// Starts, or looks after, the one read from host memory that can be under way; its data when it is complete.
    fn host_move(
        &mut self,
        core: usize,
        addr: u64,
        len: u32,
        now: Clock,
        pcie: &mut Port,
    ) -> Option<Result<Vec<u8>, BusError>> {
        match &self.host_read {
            Some(read) if read.core != core || read.pieces.iter().any(Option::is_none) => None,
            Some(_) => {
                let read = self.host_read.take()?;
                let mut bytes = Vec::new();
                for piece in read.pieces.into_iter().flatten() {
                    match piece {
                        Ok(data) => bytes.extend(data),
                        Err(error) => return Some(Err(error)),
                    }
                }
                Some(Ok(bytes))
            }
            None => {
                let mut read = HostRead {
                    core,
                    first_tag: self.next_tag,
                    pieces: Vec::new(),
                };
                let mut at = addr;
                while at < addr + u64::from(len) {
                    let room = MAX_PAYLOAD as u64 - at % MAX_PAYLOAD as u64;
                    let n = room.min(addr + u64::from(len) - at);
                    pcie.send(
                        now,
                        Tlp::Read {
                            addr: at,
                            len: n as u32,
                            tag: self.next_tag,
                        },
                    );
                    self.next_tag = self.next_tag.wrapping_add(1);
                    read.pieces.push(None);
                    at += n;
                }
                self.host_read = Some(read);
                None
            }
        }
    }

    /// Data that a read from host memory brought.
    pub fn host_data(&mut self, tag: u32, data: Result<Vec<u8>, BusError>) {
        if self.trace.answer(tag, &data) {
            return;
        }
        let Some(read) = &mut self.host_read else {
            return;
        };
        let piece = tag.wrapping_sub(read.first_tag) as usize;
        if let Some(piece) = read.pieces.get_mut(piece) {
            *piece = Some(data);
        }
    }

    fn finish_move(
        &mut self,
        core: usize,
        job: &MoveJob,
        data: Result<Vec<u8>, BusError>,
    ) -> MoveDone {
        let Ok(data) = data else {
            return MoveDone {
                tag: job.tag,
                crc: 0,
                ok: false,
            };
        };
        let mut crc = 0;
        if job.flags.crc {
            let context = &mut self.tiles[core].crc[usize::from(job.crc_context) % CRC_CONTEXTS];
            crc = if job.flags.crc_init {
                crc32c::crc32c(&data)
            } else {
                crc32c::resume(*context, &data)
            };
            *context = crc;
        }
        match job.target {
            MoveTarget::Discard => {}
            MoveTarget::Pm(at) => self.pm_store(at.0 as usize, &data),
            MoveTarget::Host(addr) => {
                let mut at = 0;
                while at < data.len() {
                    let room = MAX_PAYLOAD - (addr as usize + at) % MAX_PAYLOAD;
                    let n = room.min(data.len() - at);
                    self.writes.push_back(Tlp::Write {
                        addr: addr + at as u64,
                        data: data[at..at + n].to_vec(),
                    });
                    at += n;
                }
            }
        }
        if let Some(at) = job.flags.crc_to {
            self.pm_store(at.0 as usize, &crc.to_le_bytes());
        }
        MoveDone {
            tag: job.tag,
            crc,
            ok: true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sluice_hal::{
        RxDesc,
        roce::{RoceJob, RoceMessage},
    };
    use sluice_regs::bar0_regs::{DROP_ICRC_OFFSET, DROP_ROCE_OFFSET};

    fn acknowledgment(buf: u16, ack: u32) -> Rx {
        let tuple = [0x0a00_000b_u32, 0x0a00_0002];
        Rx::Frame(RxDesc {
            buf: BufId(buf),
            frame_len: 60,
            flags: RxFlags(RxFlags::IPV4 | RxFlags::TCP | RxFlags::L4_OK),
            l3_offset: 14,
            l4_offset: 34,
            payload_offset: 54,
            payload_len: 0,
            vlan: 0,
            src_port: 49_152,
            dst_port: 4420,
            seq: 1,
            ack,
            tcp_flags: sluice_wire::tcp::ACK,
            window: 1000,
            ts_val: 0,
            ts_ecr: 0,
            flow_hash: 0x1234_5678,
            src_ip4: tuple[0],
            dst_ip4: tuple[1],
            time_us: 0,
        })
    }

    #[test]
    fn a_burst_of_acknowledgments_neither_fills_the_queue_nor_keeps_buffers() {
        let mut shared = Shared::new(2, 1);
        let (all, _) = shared.free_buffers();
        let put = |shared: &mut Shared, ack| {
            let buf = shared.small.pop_front().expect("a buffer");
            shared.deliver(1, acknowledgment(buf, ack));
        };
        for ack in 1..=1000 {
            put(&mut shared, ack * 2920);
        }
        assert_eq!(shared.tiles[1].rx.len(), RX_MERGE + 1);
        let newest = shared.tiles[1].rx.back().expect("delivered");
        assert!(matches!(newest, Rx::Frame(desc) if desc.ack == 2_920_000));
        assert_eq!(shared.free_buffers().0, all - RX_MERGE - 1);
        // Duplicates are news of their own.
        put(&mut shared, 2_920_000);
        put(&mut shared, 2_920_000);
        assert_eq!(shared.tiles[1].rx.len(), RX_MERGE + 3);
    }
    /// A SEND to `qpn`, made by the tx engine out of a template for the card itself.
    fn send_to(shared: &mut Shared, qpn: u32) -> Vec<u8> {
        let header = [
            [255, 255, 255, 255, 255, 255, 2, 0, 0, 0, 0, 1, 8, 0].as_slice(),
            &[
                0x45, 2, 0, 0, 0, 0, 0x40, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2,
            ],
            &[0xc0, 1, 0x12, 0xb7, 0, 0, 0, 0],
        ]
        .concat();
        let mut job = RoceJob::new(RoceMessage::Send, qpn, 7);
        job.template = PmAddr(layout::HEADERS_BASE + 2);
        shared.pm_store(job.template.0 as usize, &header);
        sluice_engines::transmit(&TxJob::Roce(job), &shared.pm).remove(0)
    }

    #[test]
    fn roce_goes_to_the_core_of_its_queue_pair_and_a_wrong_icrc_is_counted() {
        let mut shared = Shared::new(3, 1);
        let (small, _) = shared.free_buffers();
        for (qpn, core) in [(1, 0), (0x10_0005, 1), (0x2f_ffff, 2), (0x30_0000, 0)] {
            let frame = send_to(&mut shared, qpn);
            shared.receive_frame(0, &frame);
            let got = shared.tiles[core].rx.pop_back().expect("delivered");
            assert!(matches!(got, Rx::Roce(packet) if packet.dest_qp == qpn && packet.psn == 7));
            let at = got.frame().addr.0 as usize;
            assert_eq!(shared.pm_load(at, frame.len()), frame);
            shared.free(got.buf());
        }
        let mut frame = send_to(&mut shared, 1);
        *frame.last_mut().expect("bytes") ^= 1;
        shared.receive_frame(0, &frame);
        frame[42] = 0xff;
        shared.receive_frame(0, &frame);
        let counted = |at| shared.registers.read(at);
        assert_eq!(
            (counted(DROP_ICRC_OFFSET), counted(DROP_ROCE_OFFSET)),
            (1, 1)
        );
        assert_eq!(shared.free_buffers().0, small);
    }
}
