//! Connections begin: SYN and SYN-ACK, cookies under a SYN flood (RFC 4987), active and simultaneous open.

use super::{
    ConnId, Full, Tcp,
    conn::{CloseReason, Conn, FAST_MASK, Local, State, event, flag},
    cubic::Cubic,
    frame::{Fields, Origin},
    input::{Buffer, Segment},
    isn::{self, Offer, Tuple},
    seq::after,
    table::flow_hash,
};
use crate::{Config, Link};
use core::net::IpAddr;
use sluice_hal::{Micros, RxDesc, RxFlags};
use sluice_wire::tcp::{self, Options};

/// The segment size of a peer that names none (RFC 9293, section 3.7.1).
const DEFAULT_MSS: [u16; 2] = [536, 1220];
/// Smaller ones are answered as if they were this: a peer must not make us send a header per byte.
const LEAST_MSS: u16 = 88;
/// The tx engine's limit.
const MOST_MSS: u16 = 8960;
/// For how long after the last cookie one may come back, in microseconds.
const COOKIE_LIFE: u64 = 2 << 26;

impl<const CONNS: usize, const SEGS: usize, const CHUNKS: usize> Tcp<CONNS, SEGS, CHUNKS> {
    /// A segment of no connection (states CLOSED and LISTEN; RFC 9293, sections 3.10.7.1 and 3.10.7.2).
    #[cold]
    #[inline(never)]
    pub(super) fn unknown<L: Link>(&mut self, now: Micros, rx: &RxDesc, link: &mut L) -> Buffer {
        let sound = rx.flags.has(RxFlags::TCP | RxFlags::L4_OK);
        let Some(from) = self.origin(rx, link).filter(|_| sound) else {
            self.common.stats.drop_foreign += 1;
            return Buffer::Unused;
        };
        let seg = Segment::read(rx, link);
        if seg.has(tcp::RST) {
            return Buffer::Unused;
        }
        if self.listens(rx.dst_port) {
            if seg.flags & (tcp::SYN | tcp::ACK) == tcp::SYN {
                self.take_syn(&from, &seg, rx.flow_hash, now, link);
                return Buffer::Unused;
            }
            if seg.flags & (tcp::SYN | tcp::ACK) == tcp::ACK
                && let Some(c) = self.take_cookie(&from, &seg, rx.flow_hash, now, link)
            {
                return self.established_by_cookie(c, &seg, now);
            }
        }
        self.refuse(&from, &seg, link);
        Buffer::Unused
    }

    /// RST in answer to a segment that has no business here.
    fn refuse<L: Link>(&mut self, from: &Origin, seg: &Segment, link: &mut L) {
        let fields = if seg.has(tcp::ACK) {
            Fields {
                seq: seg.ack,
                flags: tcp::RST,
                ..Fields::default()
            }
        } else {
            let flags = tcp::RST | tcp::ACK;
            Fields {
                ack: seg.end(),
                flags,
                ..Fields::default()
            }
        };
        self.common.stats.resets_sent += 1;
        self.answer(from, fields, &Options::default(), link);
    }

    fn take_syn<L: Link>(
        &mut self,
        from: &Origin,
        seg: &Segment,
        hash: u32,
        now: Micros,
        link: &mut L,
    ) {
        // However many are allowed, most places are for those that are open.
        let most = usize::from(self.common.cfg.half_open).min((CONNS / 4).max(1));
        if usize::from(self.common.half_open) >= most {
            return self.send_cookie(from, seg, now, link);
        }
        let Some(c) = self.allocate() else {
            if self.common.half_open != 0 {
                // Whoever completes the handshake first gets a place.
                return self.send_cookie(from, seg, now, link);
            }
            self.common.stats.refused += 1;
            return self.refuse(from, seg, link);
        };
        let wants_ecn = seg.flags & (tcp::ECE | tcp::CWR) == tcp::ECE | tcp::CWR;
        let iss = isn::isn(self.common.cfg.secret, &from.tuple, now);
        self.begin(c, from, hash, iss, State::SynReceived, now);
        self.common.half_open += 1;
        let conn = &mut self.conns[c];
        conn.rcv_nxt = seg.seq.wrapping_add(1);
        conn.snd_wl1 = seg.seq;
        negotiate(conn, &self.common.cfg, &seg.options, u32::from(seg.window));
        if wants_ecn && self.common.cfg.ecn {
            conn.set(flag::ECN);
        }
        self.offer_first_window(c, now);
        self.write_template(c, from, link);
        self.conns[c].set(flag::SYN_DUE);
        self.common.dirty.push(c);
    }

    /// Sets up a place for a connection and enters it into the table.
    fn begin(&mut self, c: usize, to: &Origin, hash: u32, iss: u32, state: State, now: Micros) {
        let generation = self.conns[c].generation;
        self.conns[c] = Conn {
            generation,
            state,
            local: to.local,
            peer: to.tuple.peer,
            ports: to.tuple.ports,
            hash,
            snd_una: iss,
            snd_nxt: iss,
            snd_end: iss.wrapping_add(1),
            ts_offset: isn::timestamp_offset(self.common.cfg.secret, &to.tuple),
            last_rx: now.0 as u32,
            last_tx: now.0 as u32,
            ..Conn::NONE
        };
        self.common.table.insert(hash, c);
    }

    fn offer_first_window(&mut self, c: usize, now: Micros) {
        let window = self.common.cfg.recv_window.min(0xffff);
        let conn = &mut self.conns[c];
        conn.rcv_mss = DEFAULT_MSS[0];
        conn.last_ack = conn.rcv_nxt;
        // A SYN's window is not scaled.
        conn.rcv_adv = conn.rcv_nxt.wrapping_add(window);
        conn.ts_age = (now.0 >> 20) as u32;
    }

    /// Opens a connection to `peer` at `peer_port`, whose frames go to `mac` (see [`crate::Host::resolve`]). The frames that
    /// come back are steered by their flow hash: `local_port` decides which core they reach.
    /// [`super::Event::Opened`] or [`super::Event::Closed`] follows.
    ///
    /// # Errors
    /// [`Full`]: no place is left, the address family has no own address, or the same connection exists.
    pub fn connect<L: Link>(
        &mut self,
        now: Micros,
        peer: (IpAddr, u16),
        local_port: u16,
        mac: [u8; 6],
        link: &mut L,
    ) -> Result<ConnId, Full> {
        self.common.clock = now;
        let to = self.towards(peer, local_port, mac).ok_or(Full)?;
        let hash = tuple_hash(&to);
        let mut at = self.common.table.first(hash);
        while let Some(c) = at {
            if self.conns[c].ports == to.tuple.ports && self.conns[c].peer == to.tuple.peer {
                return Err(Full);
            }
            at = self.common.table.following(c);
        }
        let c = self.allocate().ok_or(Full)?;
        let iss = isn::isn(self.common.cfg.secret, &to.tuple, now);
        self.begin(c, &to, hash, iss, State::SynSent, now);
        let conn = &mut self.conns[c];
        // Offered; what the peer does not take is cleared when it answers.
        conn.set(flag::ACTIVE | flag::TS | flag::SACK | flag::WSCALE | flag::SYN_DUE);
        conn.rcv_shift = window_shift(&self.common.cfg);
        if self.common.cfg.ecn {
            conn.set(flag::ECN);
        }
        self.offer_first_window(c, now);
        self.write_template(c, &to, link);
        self.common.dirty.push(c);
        Ok(self.id(c))
    }

    fn towards(&self, peer: (IpAddr, u16), local_port: u16, mac: [u8; 6]) -> Option<Origin> {
        let ports = u32::from(peer.1) << 16 | u32::from(local_port);
        let (local, words, own) = match peer.0 {
            IpAddr::V4(ip) => {
                let own = (self.common.own_ip4 != 0).then_some([self.common.own_ip4, 0, 0, 0])?;
                (Local::V4, [ip.to_bits(), 0, 0, 0], own)
            }
            IpAddr::V6(ip) => {
                let link_local = ip.segments()[0] & 0xffc0 == 0xfe80;
                let local = if link_local { Local::V6Link } else { Local::V6 };
                let own = self.own_ip6(local);
                if own == [0; 16] {
                    return None;
                }
                (
                    local,
                    super::frame::words(&ip.octets()),
                    super::frame::words(&own),
                )
            }
        };
        let tci = (self.common.cfg.vlan != 0).then_some(self.common.cfg.vlan);
        Some(Origin {
            mac,
            tci,
            local,
            tuple: Tuple {
                peer: words,
                local: own,
                ports,
            },
        })
    }

    /// SYN-SENT (RFC 9293, section 3.10.7.3). The caller goes on with the rest of the segment if the connection stands.
    pub(super) fn answer_to_syn<L: Link>(
        &mut self,
        c: usize,
        now: Micros,
        seg: &Segment,
        link: &mut L,
    ) {
        let conn = &mut self.conns[c];
        let acks_syn = seg.has(tcp::ACK) && seg.ack == conn.snd_nxt && conn.snd_nxt != conn.snd_una;
        if seg.has(tcp::ACK) && !acks_syn {
            if !seg.has(tcp::RST) {
                let fields = Fields {
                    seq: seg.ack,
                    flags: tcp::RST,
                    ..Fields::default()
                };
                self.common.stats.resets_sent += 1;
                let none = sluice_hal::PmSlice::default();
                let _ = self.send_special(c, fields, &Options::default(), none, link);
            }
            return;
        }
        if seg.has(tcp::RST) {
            if acks_syn {
                self.die(c, CloseReason::Refused);
            }
            return;
        }
        if !seg.has(tcp::SYN) {
            return;
        }
        let ecn = seg.flags & (tcp::ECE | tcp::CWR) == tcp::ECE;
        if !(ecn && acks_syn) {
            conn.clear(flag::ECN);
        }
        conn.rcv_nxt = seg.seq.wrapping_add(1);
        conn.snd_wl1 = seg.seq;
        negotiate(conn, &self.common.cfg, &seg.options, u32::from(seg.window));
        self.offer_first_window(c, now);
        self.rewrite_template(c, link);
        if acks_syn {
            self.establish(c, seg.ack, now);
            self.common.stats.connected += 1;
            self.ack_now(c);
        } else {
            // Simultaneous open.
            self.conns[c].state = State::SynReceived;
            self.conns[c].set(flag::SYN_DUE);
            self.common.dirty.push(c);
        }
    }

    /// The options that the template holds may have changed.
    fn rewrite_template<L: Link>(&mut self, c: usize, link: &mut L) {
        let conn = &self.conns[c];
        let mut head = [0; 18];
        link.read(self.template(c), &mut head);
        let mac = [head[0], head[1], head[2], head[3], head[4], head[5]];
        let tci = (conn.l3 == 18).then_some(u16::from_be_bytes([head[14], head[15]]));
        let own = match conn.local {
            Local::V4 => [self.common.own_ip4, 0, 0, 0],
            local => super::frame::words(&self.own_ip6(local)),
        };
        let tuple = Tuple {
            peer: conn.peer,
            local: own,
            ports: conn.ports,
        };
        let to = Origin {
            mac,
            tci,
            local: conn.local,
            tuple,
        };
        self.write_template(c, &to, link);
    }

    /// SYN-RECEIVED and an ACK: false if it does not acknowledge our SYN.
    pub(super) fn complete_open<L: Link>(
        &mut self,
        c: usize,
        seg: &Segment,
        rx: &RxDesc,
        link: &mut L,
    ) -> bool {
        let conn = &self.conns[c];
        if seg.ack != conn.snd_nxt || conn.snd_nxt == conn.snd_una {
            if let Some(from) = self.origin(rx, link) {
                self.refuse(&from, seg, link);
            }
            return false;
        }
        if conn.has(flag::ACTIVE) {
            self.common.stats.connected += 1;
        } else {
            self.common.half_open -= 1;
            self.common.stats.accepted += 1;
        }
        self.establish(c, seg.ack, self.common.clock);
        let conn = &mut self.conns[c];
        conn.snd_wnd = u32::from(seg.window) << conn.snd_shift;
        conn.max_wnd = conn.max_wnd.max(conn.snd_wnd);
        conn.snd_wl1 = seg.seq;
        conn.snd_wl2 = seg.ack;
        if conn.has(flag::FIN_QUEUED) {
            conn.state = State::FinWait1;
            self.common.dirty.push(c);
        }
        true
    }

    fn establish(&mut self, c: usize, ack: u32, now: Micros) {
        let conn = &mut self.conns[c];
        conn.state = State::Established;
        if conn.has(flag::RTT_TIMING) {
            conn.rtt.sample((now.0 as u32).wrapping_sub(conn.rtt_at));
        }
        conn.snd_una = ack;
        conn.snd_nxt = ack;
        conn.snd_wl2 = ack;
        conn.backoff = 0;
        conn.cubic = Cubic::new(conn.mss32());
        conn.clear(flag::TIMER_RTX | flag::RTT_TIMING | flag::SYN_DUE);
        conn.rx_kind = RxFlags::TCP | RxFlags::L4_OK;
        if conn.has(flag::TS) {
            conn.rx_kind |= RxFlags::TIMESTAMP;
        }
        debug_assert_eq!(conn.rx_kind & !FAST_MASK, 0);
        if self.common.cfg.keepalive != 0 {
            self.set_life(c, self.common.cfg.keepalive, now);
        }
        self.tell(c, event::OPENED);
    }

    fn send_cookie<L: Link>(&mut self, from: &Origin, seg: &Segment, now: Micros, link: &mut L) {
        let mss = seg
            .options
            .mss
            .unwrap_or(DEFAULT_MSS[usize::from(from.local != Local::V4)]);
        let seq = isn::cookie(self.common.cfg.secret, &from.tuple, seg.seq, mss, now);
        let mut options = Options {
            mss: Some(own_mss(&self.common.cfg, from.local)),
            ..Options::default()
        };
        let mut flags = tcp::SYN | tcp::ACK;
        if let Some((value, _)) = seg.options.timestamps {
            let ecn =
                self.common.cfg.ecn && seg.flags & (tcp::ECE | tcp::CWR) == tcp::ECE | tcp::CWR;
            let offset = isn::timestamp_offset(self.common.cfg.secret, &from.tuple);
            let scale = seg.options.window_scale;
            let sack = seg.options.sack_permitted;
            let offer = Offer {
                window_scale: scale.unwrap_or(15),
                sack,
                ecn,
            };
            let clock = super::output::timestamp_clock(now).wrapping_add(offset);
            options.timestamps = Some((offer.into_timestamp(clock), value));
            options.window_scale = scale.map(|_| window_shift(&self.common.cfg));
            options.sack_permitted = sack;
            flags |= if ecn { tcp::ECE } else { 0 };
        }
        let window = self.common.cfg.recv_window.min(0xffff) as u16;
        let fields = Fields {
            seq,
            ack: seg.seq.wrapping_add(1),
            flags,
            window,
        };
        self.common.cookie_at = Some(now);
        self.common.stats.cookies_sent += 1;
        self.answer(from, fields, &options, link);
    }

    /// The third segment of a handshake of which we kept nothing.
    fn take_cookie<L: Link>(
        &mut self,
        from: &Origin,
        seg: &Segment,
        hash: u32,
        now: Micros,
        link: &mut L,
    ) -> Option<usize> {
        let sent_lately = now.since(self.common.cookie_at?) < COOKIE_LIFE;
        let (iss, irs) = (seg.ack.wrapping_sub(1), seg.seq.wrapping_sub(1));
        let size = isn::open_cookie(self.common.cfg.secret, &from.tuple, irs, iss, now)
            .filter(|_| sent_lately)?;
        let Some(c) = self.allocate().or_else(|| self.evict_half_open()) else {
            self.common.stats.refused += 1;
            return None;
        };
        self.begin(c, from, hash, iss, State::SynReceived, now);
        let mut options = Options {
            mss: Some(size),
            ..Options::default()
        };
        let conn = &mut self.conns[c];
        if let Some((value, echo)) = seg.options.timestamps {
            let offer = Offer::from_timestamp(echo);
            options.timestamps = Some((value, echo));
            options.window_scale = (offer.window_scale != 15).then_some(offer.window_scale);
            options.sack_permitted = offer.sack;
            if offer.ecn && self.common.cfg.ecn {
                conn.set(flag::ECN);
            }
        }
        conn.rcv_nxt = seg.seq;
        conn.snd_wl1 = seg.seq;
        negotiate(conn, &self.common.cfg, &options, u32::from(seg.window));
        conn.snd_wnd = u32::from(seg.window) << conn.snd_shift;
        conn.max_wnd = conn.snd_wnd;
        self.offer_first_window(c, now);
        self.write_template(c, from, link);
        self.establish(c, seg.ack, now);
        self.common.stats.accepted += 1;
        self.common.stats.cookies_accepted += 1;
        Some(c)
    }

    /// Gives up a handshake under way for one that is complete.
    fn evict_half_open(&mut self) -> Option<usize> {
        let passive = |conn: &Conn| conn.state == State::SynReceived && !conn.has(flag::ACTIVE);
        let c = self.conns.iter().position(passive)?;
        self.die(c, CloseReason::TimedOut);
        self.allocate()
    }

    fn established_by_cookie(&mut self, c: usize, seg: &Segment, now: Micros) -> Buffer {
        let inside = u32::from(seg.len) <= self.common.cfg.recv_window.min(0xffff);
        if inside {
            self.receive(c, seg, now)
        } else {
            Buffer::Unused
        }
    }

    /// The options of our SYN or SYN-ACK: all that we offer, or what the peer offered too.
    pub(super) fn syn_options(&self, c: usize, now: Micros) -> Options {
        let conn = &self.conns[c];
        Options {
            mss: Some(own_mss(&self.common.cfg, conn.local)),
            window_scale: conn.has(flag::WSCALE).then_some(conn.rcv_shift),
            sack_permitted: conn.has(flag::SACK),
            timestamps: super::output::timestamps(conn, now),
            ..Options::default()
        }
    }
}

/// Flow hash of the frames that the other side sends.
pub fn tuple_hash(to: &Origin) -> u32 {
    let Tuple { peer, local, ports } = to.tuple;
    let words = if to.local == Local::V4 { 1 } else { 4 };
    let mut bytes = [0; 36];
    let all = peer
        .iter()
        .take(words)
        .chain(local.iter().take(words))
        .chain([&ports]);
    for (place, word) in bytes.chunks_exact_mut(4).zip(all) {
        place.copy_from_slice(&word.to_be_bytes());
    }
    flow_hash(&[&bytes[..8 * words + 4]])
}

/// The segment size that we offer: without options (RFC 6691).
fn own_mss(cfg: &Config, local: Local) -> u16 {
    cfg.mtu
        .saturating_sub(if local == Local::V4 { 40 } else { 60 })
}

/// The least shift with which our window fits the field.
fn window_shift(cfg: &Config) -> u8 {
    (0..14)
        .find(|shift| cfg.recv_window >> shift <= 0xffff)
        .unwrap_or(14)
}

/// Takes the peer's SYN: what it does not offer is not used.
fn negotiate(conn: &mut Conn, cfg: &Config, offered: &Options, window: u32) {
    let active = conn.state == State::SynSent;
    let may = |offered: bool, bit: u32| if offered { bit } else { 0 };
    let bits = may(offered.timestamps.is_some(), flag::TS)
        | may(offered.sack_permitted, flag::SACK)
        | may(offered.window_scale.is_some(), flag::WSCALE);
    let all = flag::TS | flag::SACK | flag::WSCALE;
    conn.flags = if active {
        conn.flags & (bits | !all)
    } else {
        conn.flags & !all | bits
    };
    conn.snd_shift = offered.window_scale.unwrap_or(0).min(14);
    conn.rcv_shift = if conn.has(flag::WSCALE) {
        window_shift(cfg)
    } else {
        0
    };
    conn.ts_recent = offered.timestamps.map_or(0, |(value, _)| value);
    let v4 = conn.local == Local::V4;
    let peer = offered
        .mss
        .unwrap_or(DEFAULT_MSS[usize::from(!v4)])
        .max(LEAST_MSS);
    let mss = peer.min(own_mss(cfg, conn.local)).min(MOST_MSS);
    conn.mss = mss - if conn.has(flag::TS) { 12 } else { 0 };
    conn.snd_wnd = window;
    conn.max_wnd = window;
    debug_assert!(after(conn.snd_end, conn.snd_una));
}
