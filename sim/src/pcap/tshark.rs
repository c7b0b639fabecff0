//! Has tshark dissect a capture: an independent judge of every byte on the wire.

use std::{io, path::Path, process::Command};

/// What tshark found in a capture that is in order.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Report {
    /// Frames.
    pub frames: usize,
    /// IPv4, TCP, UDP and ICMP checksums found good.
    pub good_checksums: usize,
    /// NVMe/TCP PDUs.
    pub pdus: usize,
    /// RoCEv2 packets; their ICRC is not looked at.
    pub roce_packets: usize,
    /// Header digests found good.
    pub good_header_digests: usize,
    /// Data digests found good.
    pub good_data_digests: usize,
}

/// Why a capture is not in order, or could not be judged.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// The program is missing.
    #[error("tshark is not installed; `cargo xtask setup` installs it")]
    NotInstalled,
    /// The program failed.
    #[error("tshark could not read {path}: {message}")]
    Failed {
        /// The capture.
        path: String,
        /// What tshark said.
        message: String,
    },
    /// Nothing to judge.
    #[error("{path}: no frame was captured")]
    Empty {
        /// The capture.
        path: String,
    },
    /// Bad frames.
    #[error("{path}: {count} bad frames, the first:\n{first}")]
    Bad {
        /// The capture.
        path: String,
        /// How many.
        count: usize,
        /// The first few, one a line.
        first: String,
    },
}

/// End of the name of captures with padding.
pub(super) const PADDED: &str = ".padded.pcap";

/// Status values of tshark's checksum fields.
const BAD: &str = "0";
const GOOD: &str = "1";

const PREFERENCES: [&str; 8] = [
    "ip.check_checksum:TRUE",
    "tcp.check_checksum:TRUE",
    "udp.check_checksum:TRUE",
    "tcp.desegment_tcp_streams:TRUE",
    "tcp.reassemble_out_of_order:TRUE",
    "nvme-tcp.subsystem_ports:4420,8009",
    "nvme-tcp.check_hdgst:TRUE",
    // It takes what comes to other ports for anything that it may look like.
    "nvme-rdma.subsystem_ports:4420,5420",
];

/// Opcodes of RDMA WRITEs of several packets: tshark 4.0 takes Identify data for ended with the packet and calls it malformed, three
/// times in nearly every capture of one Linux talking to another.
const MISJUDGED: [&str; 3] = ["6", "7", "8"];

const TCP: &str = "tcp.checksum.status";
const CHECKSUMS: [&str; 5] = [
    "ip.checksum.status",
    TCP,
    "udp.checksum.status",
    "icmp.checksum.status",
    "icmpv6.checksum.status",
];

/// Reads `path` with tshark: no malformed packet but those it misjudges, every IP, TCP, UDP and ICMP checksum and every NVMe/TCP digest good.
///
/// # Errors
/// [`CheckError`], naming the first bad frames.
pub fn check_with_tshark(path: &Path) -> Result<Report, CheckError> {
    check(path, "TRUE")
}

/// The same without data digests, for captures of connections with HPDA or CPDA above 0: tshark 4.0 does not expect padding
/// between header and data, looks for the data digest in the wrong place and calls such a PDU malformed.
///
/// # Errors
/// [`CheckError`], naming the first bad frames.
pub fn check_padded_with_tshark(path: &Path) -> Result<Report, CheckError> {
    check(path, "FALSE")
}

/// One or the other, as the capture's name says; a capture without a frame is not in order.
///
/// # Errors
/// [`CheckError`], naming the first bad frames.
pub fn check_kept(path: &Path) -> Result<Report, CheckError> {
    let report = if is_padded(path) {
        check_padded_with_tshark(path)
    } else {
        check_with_tshark(path)
    }?;
    if report.frames == 0 {
        return Err(CheckError::Empty {
            path: path.display().to_string(),
        });
    }
    Ok(report)
}

/// Whether a capture's name marks it as one of connections with padding.
pub(super) fn is_padded(path: &Path) -> bool {
    path.file_name()
        .is_some_and(|name| name.to_string_lossy().ends_with(PADDED))
}

fn check(path: &Path, data_digests: &str) -> Result<Report, CheckError> {
    let name = path.display().to_string();
    let mut command = Command::new("tshark");
    command
        .arg("-r")
        .arg(path)
        .args(["-T", "fields", "-E", "occurrence=a"]);
    for preference in PREFERENCES {
        command.args(["-o", preference]);
    }
    command.args(["-o", &format!("nvme-tcp.check_ddgst:{data_digests}")]);
    let fields = ["frame.number", "_ws.malformed", "_ws.malformed.expert"]
        .into_iter()
        .chain(CHECKSUMS)
        .chain([
            "nvme-tcp.type",
            "nvme-tcp.hdgst.status",
            "nvme-tcp.ddgst.status",
            "infiniband.bth.opcode",
            "tcp.checksum",
            "tcp.checksum_calculated",
        ]);
    for field in fields {
        command.args(["-e", field]);
    }
    let output = command.output().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => CheckError::NotInstalled,
        _ => CheckError::Failed {
            path: name.clone(),
            message: error.to_string(),
        },
    })?;
    if !output.status.success() {
        let message = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(CheckError::Failed {
            path: name,
            message,
        });
    }
    judge(name, &String::from_utf8_lossy(&output.stdout))
}

fn judge(path: String, table: &str) -> Result<Report, CheckError> {
    let mut report = Report::default();
    let mut bad = vec![];
    for line in table.lines() {
        report.frames += 1;
        if let Some(problem) = judge_frame(line, &mut report) {
            bad.push(problem);
        }
    }
    if bad.is_empty() {
        return Ok(report);
    }
    Err(CheckError::Bad {
        path,
        count: bad.len(),
        first: bad[..bad.len().min(5)].join("\n"),
    })
}

fn judge_frame(line: &str, report: &mut Report) -> Option<String> {
    let columns: Vec<&str> = line.split('\t').collect();
    let column = |at: usize| columns.get(at).copied().unwrap_or_default();
    let count = |at: usize, value| column(at).split(',').filter(|v| *v == value).count();
    let mut problems = vec![];
    let opcode = column(6 + CHECKSUMS.len());
    report.roce_packets += usize::from(!opcode.is_empty());
    let malformed = !column(1).is_empty() || !column(2).is_empty();
    if malformed && !MISJUDGED.contains(&opcode) {
        problems.push("malformed");
    }
    // In one's complement both are zero (RFC 1624, section 3), and receivers take both; QEMU writes this one.
    let other_zero =
        column(7 + CHECKSUMS.len()) == "0xffff" && column(8 + CHECKSUMS.len()) == "0x0000";
    for (i, name) in CHECKSUMS.iter().enumerate() {
        report.good_checksums += count(3 + i, GOOD);
        if count(3 + i, BAD) != 0 && !(*name == TCP && other_zero) {
            problems.push(name);
        }
    }
    let first = 3 + CHECKSUMS.len();
    report.pdus += column(first).split(',').filter(|v| !v.is_empty()).count();
    report.good_header_digests += count(first + 1, GOOD);
    report.good_data_digests += count(first + 2, GOOD);
    if count(first + 1, BAD) != 0 {
        problems.push("header digest");
    }
    if count(first + 2, BAD) != 0 {
        problems.push("data digest");
    }
    (!problems.is_empty()).then(|| format!("frame {}: {}", column(0), problems.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::super::writer::Writer;
    use super::*;

    /// An acknowledgment of a Linux host in QEMU whose TCP checksum comes out as zero.
    const ACK: [u8; 66] = [
        0x02, 0x53, 0x4c, 0x55, 0x43, 0x01, 0x52, 0x54, 0x00, 0x00, 0x00, 0x01, 0x08, 0x00, 0x45,
        0x00, 0x00, 0x34, 0x25, 0xd7, 0x40, 0x00, 0x40, 0x06, 0x00, 0xeb, 0x0a, 0x00, 0x00, 0x01,
        0x0a, 0x00, 0x00, 0x02, 0x93, 0x9c, 0x11, 0x44, 0xf9, 0x2d, 0x60, 0xbb, 0x53, 0xc3, 0x41,
        0x24, 0x80, 0x10, 0x0d, 0x94, 0xff, 0xff, 0x00, 0x00, 0x01, 0x01, 0x08, 0x0a, 0xf4, 0x4d,
        0x1f, 0xb0, 0xdf, 0x9f, 0xcd, 0xd7,
    ];

    #[test]
    fn both_zeros_of_a_tcp_checksum_are_right_and_nothing_beside_them() {
        let path = std::env::temp_dir().join(format!("sluice-zeros-{}.pcap", std::process::id()));
        for (checksum, right) in [([0xff, 0xff], true), ([0, 0], true), ([0xff, 0xfe], false)] {
            let mut frame = ACK;
            frame[50..52].copy_from_slice(&checksum);
            let mut capture = Writer::create(&path).expect("created");
            capture.write(0, &frame).expect("written");
            drop(capture);
            let judged = check_with_tshark(&path);
            assert_eq!(judged.is_ok(), right, "{checksum:02x?}: {judged:?}");
        }
        std::fs::remove_file(&path).expect("removed");
    }
}
