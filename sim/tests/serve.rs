//! `serve` on a TAP interface, with this machine's own TCP as the host: the functional card keeps up with a native host, not
//! only with one in a VM. Everything is in a network namespace of its own. Needs root and `/dev/net/tun`; without them the
//! test says so and passes.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command as Program;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, unshare};
use nix::unistd::Uid;
use sluice_sim::initiator::{Command, Data, pattern, pdu};
use sluice_sim::options::CardKind;
use sluice_sim::scenario::serve;
use sluice_sim::scenario::server::Setup;
use sluice_wire::fabrics::{self, CNTLID_DYNAMIC, ConnectData};
use sluice_wire::nvme::{Cc, Cqe, SglDescriptor, SglKind, feature, register};

const NQN: &str = "nqn.2026-11.io.github.sluice:demo";
const HOST_NQN: &str = "nqn.2014-08.org.nvmexpress:uuid:5e1f0c52-7c8f-4b8e-9d6c-0a1b2c3d4e5f";
const BLOCK: usize = 512;
const QUEUES: u16 = 4;
/// Commands in flight on each queue.
const DEPTH: u64 = 32;
/// Rounds of `DEPTH` writes, read back.
const ROUNDS: u64 = 6;
/// Bytes of each command: more than goes into a capsule, so that R2Ts are part of it.
const BYTES: usize = 65_536;

/// A queue over a TCP connection of the operating system.
struct Queue {
    stream: TcpStream,
    terms: pdu::Terms,
    next_cid: u16,
}

impl Queue {
    fn open() -> Self {
        let mut stream = TcpStream::connect("10.0.0.2:4420").expect("the card listens");
        let patience = Some(Duration::from_secs(60));
        stream.set_read_timeout(patience).expect("a timeout");
        stream.set_nodelay(true).expect("no delay");
        stream
            .write_all(&pdu::ic_req(true, true, 0, 4))
            .expect("ICReq");
        let mut queue = Self {
            stream,
            terms: pdu::Terms::PLAIN,
            next_cid: 0,
        };
        let bytes = queue.receive();
        let Ok(pdu::Pdu::IcResp(resp)) = pdu::parse(&bytes, &queue.terms) else {
            panic!("no ICResp");
        };
        queue.terms = pdu::Terms {
            header_digest: resp.digests & 1 != 0,
            data_digest: resp.digests & 2 != 0,
            max_h2c_data: resp.max_h2c_data.get(),
            ..queue.terms
        };
        queue
    }

    fn receive(&mut self) -> Vec<u8> {
        let mut pdu = vec![0; 8];
        self.stream.read_exact(&mut pdu).expect("a PDU");
        let len = pdu::pdu_len(&pdu).expect("8 bytes are there");
        assert!((8..1 << 20).contains(&len), "PLEN {len}");
        pdu.resize(len, 0);
        self.stream.read_exact(&mut pdu[8..]).expect("its rest");
        pdu
    }

    /// Sends a command; its command identifier.
    fn send(&mut self, command: &Command) -> u16 {
        let cid = self.next_cid;
        self.next_cid = (cid + 1) % 128;
        let mut sqe = command.sqe;
        sqe.cid.set(cid);
        let (capsule, sgl): (&[u8], _) = match &command.data {
            Data::ToCard(bytes) if command.always_in_capsule => {
                (bytes, Some((SglKind::Offset, bytes.len())))
            }
            Data::ToCard(bytes) => (&[], Some((SglKind::Transport, bytes.len()))),
            Data::FromCard(len) => (&[], Some((SglKind::Transport, *len))),
            // Where other commands say that they have no data, Fabrics commands without data have fields of theirs.
            Data::None if sqe.opcode == fabrics::OPCODE => (&[], None),
            Data::None => (&[], Some((SglKind::Transport, 0))),
        };
        if let Some((kind, len)) = sgl {
            sqe.set_sgl(SglDescriptor::new(kind, 0, len as u32));
        }
        let pdu = pdu::command(sqe.bytes(), capsule, &self.terms);
        self.stream.write_all(&pdu).expect("a command");
        cid
    }

    /// Sends commands and takes everything until all are done; what they read, in their order.
    fn exec(&mut self, commands: &[Command]) -> Vec<(Cqe, Vec<u8>)> {
        let cids: Vec<u16> = commands.iter().map(|c| self.send(c)).collect();
        let at = |cid: u16| cids.iter().position(|c| *c == cid).expect("one of ours");
        let mut read = vec![Vec::new(); commands.len()];
        let mut done = vec![None; commands.len()];
        while done.contains(&None) {
            let bytes = self.receive();
            match pdu::parse(&bytes, &self.terms).expect("a right PDU") {
                pdu::Pdu::Response(cqe) => done[at(cqe.cid.get())] = Some(cqe),
                pdu::Pdu::Data {
                    cid,
                    offset,
                    data,
                    success,
                    ..
                } => {
                    assert_eq!(offset as usize, read[at(cid)].len());
                    read[at(cid)].extend_from_slice(data);
                    if success {
                        done[at(cid)] = Some(Cqe::default());
                    }
                }
                pdu::Pdu::R2t {
                    cid,
                    ttag,
                    offset,
                    len,
                } => {
                    let Data::ToCard(data) = &commands[at(cid)].data else {
                        panic!("R2T for a command that writes nothing");
                    };
                    let data = &data[offset as usize..(offset + len) as usize];
                    let pdu = pdu::h2c_data(cid, ttag, offset, data, true, &self.terms);
                    self.stream.write_all(&pdu).expect("H2CData");
                }
                other => panic!("{other:?}"),
            }
        }
        done.into_iter().flatten().zip(read).collect()
    }

    fn must(&mut self, command: Command) -> u64 {
        let (cqe, _) = self.exec(&[command]).remove(0);
        assert!(cqe.status().is_ok(), "{:?}", cqe.status());
        cqe.result.get()
    }

    fn connect(&mut self, qid: u16, cntlid: u16) -> u16 {
        let mut data = ConnectData {
            hostid: [7; 16],
            ..ConnectData::default()
        };
        data.cntlid.set(cntlid);
        data.subnqn[..NQN.len()].copy_from_slice(NQN.as_bytes());
        data.hostnqn[..HOST_NQN.len()].copy_from_slice(HOST_NQN.as_bytes());
        self.must(Command::connect(qid, 128, true, 0, &data)) as u16
    }
}

/// Writes and reads back on queue `qid`; bytes moved each way.
fn work(qid: u16, cntlid: u16) -> u64 {
    let mut queue = Queue::open();
    queue.connect(qid, cntlid);
    let blocks = BYTES / BLOCK;
    let first = u64::from(qid) * 40_000;
    for round in 0..ROUNDS {
        let places: Vec<u64> = (0..DEPTH)
            .map(|i| first + (round * DEPTH + i) * blocks as u64)
            .collect();
        let made = |lba: &u64| pattern::make(*lba, blocks as u64, BLOCK, round + 1);
        let writes: Vec<_> = places
            .iter()
            .map(|lba| Command::write(1, *lba, made(lba), BLOCK))
            .collect();
        for (cqe, _) in queue.exec(&writes) {
            assert!(cqe.status().is_ok(), "{:?}", cqe.status());
        }
        let reads: Vec<_> = places
            .iter()
            .map(|lba| Command::read(1, *lba, blocks as u32, BLOCK))
            .collect();
        for ((cqe, data), lba) in queue.exec(&reads).iter().zip(&places) {
            assert!(cqe.status().is_ok(), "{:?}", cqe.status());
            pattern::check(data, *lba, BLOCK, round + 1).expect("what was written");
        }
    }
    ROUNDS * DEPTH * BYTES as u64
}

fn ip(args: &str) {
    let done = Program::new("ip")
        .args(args.split(' '))
        .output()
        .expect("iproute2 is there");
    let errors = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "ip {args}: {errors}");
}

#[test]
fn a_native_host_works_at_full_speed_over_a_tap_interface() {
    if !Uid::effective().is_root() || !std::path::Path::new("/dev/net/tun").exists() {
        println!("skipped: needs root and /dev/net/tun");
        return;
    }
    let all = thread::spawn(|| {
        // Threads made from here on are in the same namespace.
        unshare(CloneFlags::CLONE_NEWNET).expect("root may unshare");
        let stop = Arc::new(AtomicBool::new(false));
        let heard = Arc::clone(&stop);
        let server = thread::spawn(move || {
            let setup = Setup::new(CardKind::Functional, 1, 1);
            let limit = Some(Duration::from_secs(240));
            serve::run(&setup, "tap:sluice0", limit, &heard).expect("the card serves")
        });
        let begun = Instant::now();
        while !std::path::Path::new("/proc/self/net/dev").exists()
            || !std::fs::read_to_string("/proc/thread-self/net/dev")
                .expect("this thread's devices")
                .contains("sluice0")
        {
            assert!(begun.elapsed() < Duration::from_secs(60), "no interface");
            thread::sleep(Duration::from_millis(20));
        }
        ip("addr add 10.0.0.1/24 dev sluice0");
        ip("link set sluice0 up");
        let mut admin = Queue::open();
        let cntlid = admin.connect(0, CNTLID_DYNAMIC);
        let mut cc = Cc(0);
        cc.set_iosqes(6);
        cc.set_iocqes(4);
        cc.set_en(true);
        admin.must(Command::property_set(register::CC, cc.0));
        let queues = u32::from(QUEUES - 1);
        admin.must(Command::set_features(
            feature::QUEUES,
            queues << 16 | queues,
        ));
        let begun = Instant::now();
        let hosts: Vec<_> = (1..=QUEUES)
            .map(|qid| thread::spawn(move || work(qid, cntlid)))
            .collect();
        let bytes: u64 = hosts.into_iter().map(|h| h.join().expect("a queue")).sum();
        let seconds = begun.elapsed().as_secs_f64();
        println!(
            "{QUEUES} queues, {} MiB each way with both digests: {:.0} MB/s",
            bytes >> 20,
            2.0 * bytes as f64 / seconds / 1e6
        );
        stop.store(true, Ordering::Relaxed);
        server.join().expect("the server")
    });
    let served = all.join().expect("the scenario");
    println!("{served:?}");
    // What the card announces before the interface is up finds nobody.
    assert!(served.dropped < 10, "the port dropped frames");
    assert!(served.received > 1000 && served.sent > 1000);
}
