//! Commands: checked, given pages, handed to an SSD or to the control core, and what comes back.

use sluice_hal::{Hal, Phase, PmAddr, layout};
use sluice_nvme_tcp::WriteTransfer;
use sluice_nvmf::io::{self, HostData, IoCommand, IoKind};
use sluice_ssd::{queue, status};
use sluice_wire::nvme::{DsmRange, Status};
use zerocopy::{FromZeros, IntoBytes};

use super::conn::{NONE, Role};
use super::request::{Kind, NO_SLOT, State};
use super::{COMPLETIONS_PER_PASS, DataCore, bits};
use crate::limits;
use crate::mail::{Relay, ToControl};

/// Fabrics command set (NVMe Base 2.1, section 6).
const FABRICS: u8 = 0x7f;
/// SGL descriptor type and subtype: data block by offset in the capsule; data by the transport.
const SGL_OFFSET: u8 = 0x01;
const SGL_TRANSPORT: u8 = 0x5a;
/// Most host data of a command that the control core executes, in bytes.
const RELAYED_FROM_HOST: u32 = layout::PAGE_SIZE;

/// Which way a command's data go, and how they come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Data {
    None,
    /// From the host, in the capsule.
    InCapsule(u32),
    /// From the host, when asked for; only commands for the control core come here with it.
    Solicited(u32),
    /// To the host.
    ToHost(u32),
}

impl DataCore {
    /// Takes the command that the session holds. False, with nothing changed, if there is no room for it now.
    #[inline]
    pub(super) fn command<H: Hal>(&mut self, conn: u16, hal: &mut H) -> bool {
        hal.phase(Phase::Controller);
        let entry = &self.conns[usize::from(conn)];
        let word0 = u32::from_le(self.sqe(conn)[0]);
        let in_capsule = if entry.qp.is_some() {
            self.message.in_capsule
        } else {
            entry.session.in_capsule()
        };
        let (opcode, cid) = (word0 as u8, (word0 >> 16) as u16);
        let taken = if opcode == FABRICS || entry.role == Role::Admin {
            self.relay(conn, cid, in_capsule, hal)
        } else if entry.role == Role::Fresh {
            self.refuse_early(conn, cid, in_capsule, hal)
        } else {
            self.io_command(conn, cid, in_capsule, hal)
        };
        hal.phase(Phase::Pdu);
        taken
    }

    /// The command at hand: the session of a TCP connection holds it, and of RDMA messages one is looked at at a time.
    #[inline]
    pub(super) fn sqe(&self, conn: u16) -> &[u32; 16] {
        let entry = &self.conns[usize::from(conn)];
        if entry.qp.is_some() {
            &self.message.sqe
        } else {
            entry.session.command()
        }
    }

    fn refuse_early<H: Hal>(&mut self, conn: u16, cid: u16, in_capsule: u32, hal: &mut H) -> bool {
        let Some(request) = self.new_request(conn, Kind::Flush, cid, hal) else {
            return false;
        };
        self.accepted(conn, request, in_capsule, true, hal);
        self.fail(request, Status::COMMAND_SEQUENCE.no_retry().code(), hal);
        true
    }

    #[inline]
    fn io_command<H: Hal>(&mut self, conn: u16, cid: u16, in_capsule: u32, hal: &mut H) -> bool {
        let entry = &self.conns[usize::from(conn)];
        let decoded = io::decode_words(
            self.sqe(conn),
            &self.namespaces,
            entry.subsystem,
            limits::TRANSFER,
            in_capsule,
        );
        if let Ok(command) = &decoded
            && command.data == HostData::FromHost
        {
            return self.solicited_command(conn, cid, command, in_capsule, hal);
        }
        let kind = decoded.as_ref().map_or(Kind::Flush, |c| kind_of(c.kind));
        let Some(request) = self.new_request(conn, kind, cid, hal) else {
            return false;
        };
        let data = match decoded {
            Ok(command) => {
                self.fill_in(request, &command);
                io_data(&command, in_capsule)
            }
            Err(status) => Err(status.code()),
        };
        match data {
            Ok(data) => self.take_data(conn, request, data, in_capsule, hal),
            Err(status) => {
                self.blame_namespace(conn, request);
                self.accepted(conn, request, in_capsule, true, hal);
                self.fail(request, status, hal);
            }
        }
        true
    }

    /// Notes whose error the refusal of the command at hand is.
    #[cold]
    fn blame_namespace(&mut self, conn: u16, request: u16) {
        let subsystem = self.conns[usize::from(conn)].subsystem;
        let nsid = u32::from_le(self.sqe(conn)[1]);
        if let Some((place, _)) = self.namespaces.find(subsystem, nsid) {
            self.requests.all[usize::from(request)].place = place;
        }
    }

    #[inline]
    fn fill_in(&mut self, request: u16, command: &IoCommand) {
        let r = &mut self.requests.all[usize::from(request)];
        r.ssd = command.ssd;
        r.place = command.place;
        r.ssd_nsid = command.ssd_nsid;
        r.slba = command.slba;
        r.nsid = command.nsid as u8;
        r.blocks_z = command.blocks.wrapping_sub(1) as u16;
        r.control = command.control;
        r.deallocate = command.deallocate;
    }

    /// A command whose data the host is to be asked for: now, or when it is its turn. False if it has to wait in the stream.
    fn solicited_command<H: Hal>(
        &mut self,
        conn: u16,
        cid: u16,
        command: &IoCommand,
        in_capsule: u32,
        hal: &mut H,
    ) -> bool {
        let entry = &mut self.conns[usize::from(conn)];
        if entry.qp.is_some() {
            // Nothing that is asked for lies behind the command, so it may wait where it is.
            if !self.solicit(conn, cid, command, hal) {
                return false;
            }
        } else if !entry.backlog.is_empty() || !self.solicit(conn, cid, command, hal) {
            let entry = &mut self.conns[usize::from(conn)];
            // More than its queue has entries is the host's mistake and not the others' trouble.
            if entry.backlog.len >= entry.entries
                || !self.backlog.push(
                    &mut entry.backlog,
                    entry.session.command(),
                    self.found_at,
                    hal,
                )
            {
                return false;
            }
            self.stats.waits += 1;
            self.backlogged.push(conn);
        }
        self.accepted(conn, NONE, in_capsule, true, hal);
        true
    }

    /// Gets a command a request and pages and asks the host for its data. False, with nothing changed, if it has to wait.
    #[inline]
    fn solicit<H: Hal>(&mut self, conn: u16, cid: u16, command: &IoCommand, hal: &mut H) -> bool {
        let pages = command.bytes.div_ceil(layout::PAGE_SIZE);
        if !self.may_solicit(conn, pages) || !self.may_send(conn, 1) {
            return false;
        }
        let Some(run) = self.pages.alloc(pages) else {
            return false;
        };
        let Some(request) = self.take_request(conn, kind_of(command.kind), cid, hal) else {
            self.pages.free(run);
            return false;
        };
        self.fill_in(request, command);
        let r = &mut self.requests.all[usize::from(request)];
        r.bytes = command.bytes;
        r.run = Some(run);
        r.from_host = true;
        r.transfer = WriteTransfer::new(cid, command.bytes);
        self.conns[usize::from(conn)].pages += pages as u16;
        self.ask_for_data(request, hal);
        true
    }

    /// Gives the connections with a backlog their turns, a command each, as long as there is something to give.
    pub(super) fn serve_backlogs<H: Hal>(&mut self, hal: &mut H) {
        let mut passed_over = 0;
        while passed_over < self.backlogged.len() {
            let Some(conn) = self.backlogged.pop() else {
                return;
            };
            if self.serve_backlog(conn, hal) {
                passed_over = 0;
            } else {
                passed_over += 1;
            }
            if !self.conns[usize::from(conn)].backlog.is_empty() {
                self.backlogged.push(conn);
            }
        }
    }

    /// Begins the first command of a backlog. False if it has to wait on.
    fn serve_backlog<H: Hal>(&mut self, conn: u16, hal: &mut H) -> bool {
        let entry = &self.conns[usize::from(conn)];
        // One page is the least there is to ask for.
        if entry.backlog.is_empty() || !self.may_solicit(conn, 1) {
            return false;
        }
        hal.phase(Phase::Controller);
        let (sqe, found_at, next) = self.backlog.first(&entry.backlog, hal);
        self.found_at = found_at;
        // The namespace may have changed since the command was first looked at.
        let decoded =
            io::decode_words(&sqe, &self.namespaces, entry.subsystem, limits::TRANSFER, 0);
        let cid = (u32::from_le(sqe[0]) >> 16) as u16;
        let begun = match decoded {
            Ok(command) => self.solicit(conn, cid, &command, hal),
            Err(status) => {
                let request = self.new_request(conn, Kind::Flush, cid, hal);
                if let Some(request) = request {
                    self.fail(request, status.code(), hal);
                }
                request.is_some()
            }
        };
        if begun {
            let entry = &mut self.conns[usize::from(conn)];
            self.backlog.drop_first(&mut entry.backlog, next, hal);
        }
        begun
    }

    /// What every accepted command does to its queue.
    #[inline]
    pub(super) fn accepted<H: Hal>(
        &mut self,
        conn: u16,
        request: u16,
        in_capsule: u32,
        discard: bool,
        hal: &mut H,
    ) {
        let entry = &mut self.conns[usize::from(conn)];
        entry.advance_head();
        if in_capsule > 0 {
            entry.target = if discard { NONE } else { request };
            entry.offset = 0;
            entry.pdu_starts = true;
        }
        if entry.entries > 0 {
            // Traffic-based keep alive: the control core looks at these words.
            let word =
                u32::from(self.core.0 - 1) * layout::ASSOCIATIONS + u32::from(entry.association);
            hal.pm_write32(
                PmAddr(layout::ACTIVITY_BASE + 4 * word),
                self.now.0 as u32 | 1,
            );
        }
    }

    #[inline]
    fn take_data<H: Hal>(
        &mut self,
        conn: u16,
        request: u16,
        data: Data,
        in_capsule: u32,
        hal: &mut H,
    ) {
        self.accepted(
            conn,
            request,
            in_capsule,
            !matches!(data, Data::InCapsule(_)),
            hal,
        );
        let r = &mut self.requests.all[usize::from(request)];
        match data {
            Data::None => return self.dispatch(request, hal),
            Data::InCapsule(bytes) => {
                r.bytes = bytes;
                r.from_host = true;
                r.transfer = WriteTransfer::new(r.cid, 0);
                // Without pages now the stream waits for them when it comes to the data.
                let _ = self.take_pages(request, bytes);
                return;
            }
            Data::Solicited(bytes) => {
                r.bytes = bytes;
                r.from_host = true;
                r.transfer = WriteTransfer::new(r.cid, bytes);
            }
            Data::ToHost(bytes) => r.bytes = bytes,
        }
        self.begin(request, hal);
    }

    /// Gets a request its pages, then asks the host for its data or hands it on.
    #[inline]
    pub(super) fn begin<H: Hal>(&mut self, request: u16, hal: &mut H) {
        let r = &self.requests.all[usize::from(request)];
        let (conn, bytes, from_host) = (r.conn, r.bytes, r.from_host);
        if from_host && !self.may_send(conn, 1) || !self.take_pages(request, bytes) {
            return self.wait(request, State::NeedsPages);
        }
        if from_host {
            self.ask_for_data(request, hal)
        } else {
            self.dispatch(request, hal)
        }
    }

    /// A command for the control core.
    fn relay<H: Hal>(&mut self, conn: u16, cid: u16, in_capsule: u32, hal: &mut H) -> bool {
        let slot = self.relay_slots.trailing_ones();
        if slot >= layout::RELAY_SLOTS || self.outbox.len() + 8 > self.outbox.capacity() {
            return false;
        }
        let data = relayed_data(self.sqe(conn), in_capsule);
        let Some(request) = self.new_request(conn, Kind::Relayed, cid, hal) else {
            return false;
        };
        match data {
            Ok(data) => {
                self.relay_slots |= 1 << slot;
                self.requests.all[usize::from(request)].relay = slot as u8;
                hal.pm_write(self.relay_slot(slot as u8), self.sqe(conn).as_bytes());
                self.take_data(conn, request, data, in_capsule, hal);
            }
            Err(status) => {
                self.accepted(conn, request, in_capsule, true, hal);
                self.requests.all[usize::from(request)].kind = Kind::Flush;
                self.fail(request, status, hal);
            }
        }
        true
    }

    fn relay_slot(&self, slot: u8) -> PmAddr {
        let index = u32::from(self.core.0 - 1) * layout::RELAY_SLOTS + u32::from(slot);
        PmAddr(layout::RELAY_BASE + index * layout::RELAY_SIZE)
    }

    /// Everything the command needs is here: off it goes.
    #[inline]
    pub(super) fn dispatch<H: Hal>(&mut self, request: u16, hal: &mut H) {
        let r = &self.requests.all[usize::from(request)];
        if self.conns[usize::from(r.conn)].dead {
            return self.finish(request, hal);
        }
        if r.kind == Kind::Relayed {
            return self.relay_now(request, hal);
        }
        hal.phase(Phase::Ssd);
        let (ssd, token) = (r.ssd, u32::from(request));
        let blocks = |opcode, run| {
            queue::Request::blocks(
                opcode, r.ssd_nsid, r.slba, r.blocks_z, r.control, run, token,
            )
        };
        let command = match r.kind {
            Kind::Read => blocks(0x02, r.run),
            Kind::Write => blocks(0x01, r.run),
            Kind::Compare => blocks(0x05, r.run),
            Kind::WriteZeroes => blocks(0x08, None),
            Kind::DatasetManagement => match self.translate_ranges(request, hal) {
                Ok(command) => command,
                Err(status) => return self.fail(request, status, hal),
            },
            Kind::Flush | Kind::Relayed | Kind::Session => queue::Request::flush(r.ssd_nsid, token),
        };
        let Some(pair) = self.ssds.get_mut(usize::from(ssd)) else {
            return self.fail(request, status::SSD_LOST.code(), hal);
        };
        match pair.submit(hal, self.now, &command) {
            Ok(()) => self.requests.all[usize::from(request)].state = State::OnSsd,
            Err(queue::Refusal::Full) => self.wait(request, State::NeedsQueue),
            Err(queue::Refusal::Detached) => self.fail(request, status::SSD_LOST.code(), hal),
        }
    }

    fn relay_now<H: Hal>(&mut self, request: u16, hal: &mut H) {
        let r = &mut self.requests.all[usize::from(request)];
        r.state = State::OnControl;
        let from_host = r.from_host;
        let bytes = r.bytes;
        let data = r.run.map_or(0, |run| run.addr().0);
        let (conn, relay) = (r.conn, r.relay);
        let mail = ToControl::Command(Relay {
            key: self.key(conn),
            request,
            sqe: self.relay_slot(relay).0,
            data,
            data_in: if from_host { bytes } else { 0 },
            room: if from_host { 0 } else { bytes },
        });
        self.send_control(mail, hal);
    }

    /// Rewrites the ranges of a Dataset Management command from the namespace's blocks to the SSD's, in place.
    fn translate_ranges<H: Hal>(
        &mut self,
        request: u16,
        hal: &mut H,
    ) -> Result<queue::Request, u16> {
        let r = self.requests.all[usize::from(request)];
        let subsystem = self.conns[usize::from(r.conn)].subsystem;
        let Some(run) = r.run else {
            return Err(Status::SGL_LENGTH.no_retry().code());
        };
        let command = IoCommand {
            kind: IoKind::Dsm,
            place: r.place,
            ssd: r.ssd,
            control: 0,
            nsid: r.nsid.into(),
            ssd_nsid: r.ssd_nsid,
            slba: 0,
            blocks: u32::from(r.blocks_z) + 1,
            bytes: r.bytes,
            data: HostData::None,
            deallocate: r.deallocate,
        };
        for index in 0..command.blocks {
            let at = run.addr().plus(index * size_of::<DsmRange>() as u32);
            let mut range = DsmRange::new_zeroed();
            hal.pm_read(at, range.as_mut_bytes());
            let there = io::dsm_range(&self.namespaces, subsystem, &command, &range)
                .map_err(Status::code)?;
            hal.pm_write(at, there.as_bytes());
        }
        // Attribute Deallocate (AD) is bit 2 of CDW11; the other attributes are hints.
        let attributes = u32::from(r.deallocate) << 2;
        Ok(queue::Request::dataset_management(
            r.ssd_nsid,
            r.blocks_z as u8,
            attributes,
            run,
            u32::from(request),
        ))
    }

    pub(super) fn take_completions<H: Hal>(&mut self, hal: &mut H) -> bool {
        let mut any = false;
        for ssd in bits(self.attached) {
            for _ in 0..COMPLETIONS_PER_PASS {
                let Some(done) = self.ssds[ssd].poll(hal) else {
                    break;
                };
                any = true;
                self.relieved = true;
                hal.phase(Phase::Ssd);
                self.completed(done.token as u16, status::for_host(done.status).code(), hal);
            }
        }
        any
    }

    #[inline]
    pub(super) fn completed<H: Hal>(&mut self, request: u16, status: u16, hal: &mut H) {
        let Some(r) = self
            .requests
            .get(request)
            .filter(|r| r.state == State::OnSsd)
        else {
            return;
        };
        r.status = status;
        self.answer(request, hal);
    }

    /// Tells the control core of SSDs that have been silent for too long.
    pub(super) fn watch_ssds<H: Hal>(&mut self, hal: &mut H) {
        let now = self.now;
        for ssd in bits(self.attached) {
            if self.ssds[ssd].overdue(now) {
                self.stats.ssd_timeouts += 1;
                self.send_control(ToControl::SsdTimeout { ssd: ssd as u8 }, hal);
            }
        }
    }

    /// Frees the relay slot of a request that the control core has answered, or will not see.
    #[inline]
    pub(super) fn relay_over(&mut self, request: u16) {
        let request = &mut self.requests.all[usize::from(request)];
        let slot = core::mem::replace(&mut request.relay, NO_SLOT);
        if slot != NO_SLOT {
            self.relay_slots &= !(1 << slot);
        }
    }
}

fn kind_of(kind: IoKind) -> Kind {
    match kind {
        IoKind::Read => Kind::Read,
        IoKind::Write => Kind::Write,
        IoKind::Compare => Kind::Compare,
        IoKind::Flush => Kind::Flush,
        IoKind::WriteZeroes => Kind::WriteZeroes,
        IoKind::Dsm => Kind::DatasetManagement,
    }
}

/// Where an I/O command's data are. In-capsule data must be the capsule's, all of them: nobody sends anything else.
#[inline]
fn io_data(command: &IoCommand, in_capsule: u32) -> Result<Data, u16> {
    match command.data {
        HostData::None => Ok(Data::None),
        HostData::ToHost => Ok(Data::ToHost(command.bytes)),
        HostData::FromHost => Ok(Data::Solicited(command.bytes)),
        HostData::InCapsule(0) if in_capsule == command.bytes => Ok(Data::InCapsule(in_capsule)),
        HostData::InCapsule(_) => Err(Status::SGL_OFFSET.no_retry().code()),
    }
}

/// Data transfer of a command by its opcode or Fabrics command type (NVMe Base 2.1, sections 3.1.3.4 and 6): 00b none,
/// 01b host to controller, 10b controller to host.
pub(super) fn direction(sqe: &[u32; 16]) -> u8 {
    let (opcode, fctype) = (u32::from_le(sqe[0]) as u8, u32::from_le(sqe[1]) as u8);
    (if opcode == FABRICS { fctype } else { opcode }) & 3
}

/// The same for a command of the control core's.
fn relayed_data(sqe: &[u32; 16], in_capsule: u32) -> Result<Data, u16> {
    let (len, kind) = (u32::from_le(sqe[8]), (u32::from_le(sqe[9]) >> 24) as u8);
    match (direction(sqe), kind) {
        (1, SGL_OFFSET) if in_capsule > 0 && len == in_capsule && len <= RELAYED_FROM_HOST => {
            Ok(Data::InCapsule(len))
        }
        (1, SGL_TRANSPORT) if in_capsule == 0 && len <= RELAYED_FROM_HOST => Ok(if len == 0 {
            Data::None
        } else {
            Data::Solicited(len)
        }),
        (2, SGL_TRANSPORT) if in_capsule == 0 => Ok(if len == 0 {
            Data::None
        } else {
            Data::ToHost(len.min(limits::TRANSFER))
        }),
        (0 | 3, _) if in_capsule == 0 => Ok(Data::None),
        (1, SGL_OFFSET | SGL_TRANSPORT) | (2, SGL_TRANSPORT) => {
            Err(Status::SGL_LENGTH.no_retry().code())
        }
        _ => Err(Status::SGL_TYPE.no_retry().code()),
    }
}
