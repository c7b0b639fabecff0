//! Packet memory: every port against one model of memory in which grants are the order of events.

use sluice_benches::{bench::Bench, memory::PmReq, random::Random};
use std::collections::{HashMap, VecDeque};

const PORTS: usize = 6;
const LATENCY: u64 = 2;
const RSP: usize = 20;

struct Client {
    held: Option<PmReq>,
    answers: VecDeque<(u64, [u8; 16])>,
    next_row: u32,
}

fn random_request(random: &mut Random, rows: u64) -> PmReq {
    PmReq {
        req: true,
        we: random.chance(50),
        row: random.range(0, rows - 1) as u32,
        be: random.bits() as u16,
        wdata: random.fill(16).try_into().expect("16 bytes"),
    }
}

/// Runs all ports with requests from `next` and checks every answer; returns grants per port.
fn run(
    random: &mut Random,
    clocks: u64,
    mut next: impl FnMut(&mut Random, usize, &mut Client) -> Option<PmReq>,
) -> [u64; PORTS] {
    let mut bench = Bench::new("sluice_pm", 7);
    let (req, rsp) = (bench.port("req_i"), bench.port("rsp_o"));
    let mut clients: Vec<Client> = (0..PORTS)
        .map(|p| Client {
            held: None,
            answers: VecDeque::new(),
            next_row: p as u32,
        })
        .collect();
    let mut memory: HashMap<u32, [u8; 16]> = HashMap::new();
    let mut grants = [0; PORTS];
    // The rows in use are written first, so that no answer depends on what memory held at power-on.
    let mut filling = 0..64_u32;
    for _ in 0..clocks + 200 {
        let fill = filling.next();
        let mut packed = Vec::new();
        for (p, client) in clients.iter_mut().enumerate() {
            if client.held.is_none() {
                client.held = match fill {
                    Some(row) if p == 0 => Some(PmReq {
                        req: true,
                        we: true,
                        row,
                        be: 0xFFFF,
                        wdata: [row as u8; 16],
                    }),
                    Some(_) => None,
                    None => next(random, p, client),
                };
            }
            packed.extend(client.held.unwrap_or_default().pack());
        }
        bench.set_bytes(req, &packed);
        bench.settle();
        let answers: Vec<u8> = bench.bytes(rsp).to_vec();
        let mut writes = Vec::new();
        for (p, client) in clients.iter_mut().enumerate() {
            let answer = &answers[p * RSP..(p + 1) * RSP];
            let due = client
                .answers
                .front()
                .is_some_and(|(at, _)| *at == bench.clock);
            assert_eq!(
                answer[16] & 1 == 1,
                due,
                "port {p} answers exactly {LATENCY} clocks after its grant"
            );
            if due {
                let (_, wanted) = client.answers.pop_front().expect("just seen");
                assert_eq!(answer[..16], wanted, "port {p} reads what was written last");
            }
            if answer[16] & 2 == 2 {
                let request = client.held.take().expect("only a request is granted");
                grants[p] += 1;
                if request.we {
                    writes.push(request);
                } else {
                    client
                        .answers
                        .push_back((bench.clock + LATENCY, memory[&request.row]));
                }
            }
        }
        for write in writes {
            let row = memory.entry(write.row).or_default();
            for lane in (0..16).filter(|lane| write.be >> lane & 1 == 1) {
                row[lane] = write.wdata[lane];
            }
        }
        bench.tick();
    }
    grants
}

#[test]
fn every_read_sees_all_writes_granted_before_it() {
    let mut random = Random::new(1);
    run(&mut random, 20_000, |r, _, _| {
        r.chance(70).then(|| random_request(r, 64))
    });
}

#[test]
fn four_streams_get_a_row_a_clock_each() {
    let mut random = Random::new(2);
    let clocks = 4_000;
    let grants = run(&mut random, clocks, |_, p, client| {
        let row = client.next_row;
        client.next_row = (row + 1) % 64;
        (p >= 2).then_some(PmReq {
            req: true,
            we: p % 2 == 0,
            row,
            be: 0xFFFF,
            wdata: [p as u8; 16],
        })
    });
    for (port, granted) in grants.iter().enumerate().skip(2) {
        assert!(
            *granted >= clocks * 95 / 100,
            "port {port} got {granted} of {clocks}"
        );
    }
}

#[test]
fn no_port_starves_when_all_want_one_bank() {
    let mut random = Random::new(3);
    let grants = run(&mut random, 4_000, |r, p, _| {
        (p >= 2 || r.chance(10)).then(|| PmReq {
            row: r.range(0, 15) as u32 * 4,
            ..random_request(r, 64)
        })
    });
    for (port, granted) in grants.iter().enumerate().skip(2) {
        assert!(*granted > 600, "port {port} got {granted}");
    }
}
