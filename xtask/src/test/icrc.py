"""Is the ICRC of every RoCEv2 packet in these captures right? Two calculations judge, neither of them the project's own: the few
lines below, straight from the standard, for every packet; scapy's, which is slow, for every packet of a capture or, in large ones,
for so many spread evenly over it.

usage: icrc.py [--most N] CAPTURE_OR_FOLDER...

Every argument must hold at least one packet. Source: InfiniBand Architecture Specification 1.4, annex A17, section A17.3.3.
"""

import argparse
import itertools
import logging
import mmap
import multiprocessing
import os
import struct
import sys
import zlib

logging.getLogger("scapy").setLevel(logging.ERROR)

from scapy.contrib.roce import BTH
from scapy.layers import inet, inet6  # noqa: F401 (they teach Ether what may follow)
from scapy.layers.l2 import Ether

PORT = 4791
VLANS = (0x8100, 0x88A8)
# Packets that one process takes at a time.
SLICE = 4000


class Bad(Exception):
    """A packet for the RoCE port that is none."""


def roce(frame):
    """The IP packet in `frame` and where its BTH begins, if it is for the RoCE port."""
    at = 12
    while int.from_bytes(frame[at : at + 2], "big") in VLANS:
        at += 4
    kind, ip = int.from_bytes(frame[at : at + 2], "big"), frame[at + 2 :]
    if kind == 0x0800 and len(ip) >= 20 and ip[9] == 17:
        udp = (ip[0] & 15) * 4
        ip = ip[: int.from_bytes(ip[2:4], "big")]
        fragment = int.from_bytes(ip[6:8], "big") & 0x3FFF
    elif kind == 0x86DD and len(ip) >= 40 and ip[6] == 17:
        udp = 40
        ip = ip[: 40 + int.from_bytes(ip[4:6], "big")]
        fragment = 0
    else:
        return None
    if int.from_bytes(ip[udp + 2 : udp + 4], "big") != PORT:
        return None
    if fragment:
        raise Bad("a fragment")
    if int.from_bytes(ip[udp + 4 : udp + 6], "big") != len(ip) - udp:
        raise Bad("UDP and IP do not agree on the length, or the frame is cut short")
    if len(ip) < udp + 8 + 12 + 4:
        raise Bad("too short for a BTH and an ICRC")
    return ip, udp + 8


def by_the_standard(ip, bth):
    """CRC-32 over the packet behind 8 bytes of ones (the LRH that is not there), with ones in what routers may change."""
    masked = bytearray(ip[:-4])
    if ip[0] >> 4 == 4:
        masked[1] = masked[8] = 0xFF  # type of service, time to live
        masked[10:12] = b"\xff\xff"  # header checksum
    else:
        masked[0] |= 0x0F  # traffic class, flow label
        masked[1:4] = b"\xff\xff\xff"
        masked[7] = 0xFF  # hop limit
    masked[bth - 2 : bth] = b"\xff\xff"  # UDP checksum
    masked[bth + 4] = 0xFF  # FECN, BECN, reserved
    return struct.pack("<I", zlib.crc32(b"\xff" * 8 + masked))


def by_scapy(frame):
    return Ether(frame)[BTH].compute_icrc(b"")


def judge(task):
    """RoCE packets among so many frames from `first` on, those that scapy judged, and what is wrong."""
    path, first, offset, stride = task
    packets = judged = 0
    wrong = []
    for number, (_, frame) in enumerate(itertools.islice(records(path, offset), SLICE), first):
        try:
            found = roce(frame)
        except Bad as reason:
            wrong.append(f"{path}: frame {number + 1}: {reason}")
            continue
        if not found:
            continue
        packets += 1
        carried = found[0][-4:]
        said = {"the standard": by_the_standard(*found)}
        if number % stride == 0:
            judged += 1
            said["scapy"] = by_scapy(frame)
        for judge_name, value in said.items():
            if value != carried:
                wrong.append(
                    f"{path}: frame {number + 1}: ICRC {carried.hex()}, {value.hex()} according to {judge_name}"
                )
    return packets, judged, wrong


def records(path, offset=None):
    """Records of a capture from byte `offset` on: where each begins, and its frame. Files are little-endian, with times
    in microseconds or nanoseconds, as the project and tcpdump on its machines write them."""
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        if data[:4] not in (b"\x4d\x3c\xb2\xa1", b"\xd4\xc3\xb2\xa1"):
            raise SystemExit(f"{path}: a capture in little-endian pcap format was wanted")
        at = 24 if offset is None else offset
        while at + 16 <= len(data):
            (size,) = struct.unpack_from("<I", data, at + 8)
            yield at, data[at + 16 : at + 16 + size]
            at += 16 + size


def captures(path):
    if not os.path.isdir(path):
        return [path]
    return sorted(
        os.path.join(folder, name)
        for folder, _, names in os.walk(path)
        for name in names
        if name.endswith(".pcap")
    )


def tasks(path, most):
    """Slices of a capture; scapy takes every so manieth frame."""
    offsets = [offset for offset, _ in records(path)]
    stride = max(1, -(-len(offsets) // most)) if most else 1
    return [(path, first, offsets[first], stride) for first in range(0, len(offsets), SLICE)]


def notices(path):
    """Both judges notice a single flipped bit: whoever accepts everything has judged nothing."""
    for _, frame in records(path):
        try:
            found = roce(frame)
        except Bad:
            continue
        if found:
            ip, bth = found
            at = frame.index(ip) + bth + 11  # the last byte of the PSN
            spoilt = frame[:at] + bytes([frame[at] ^ 1]) + frame[at + 1 :]
            ip, bth = roce(spoilt)
            return ip[-4:] not in (by_the_standard(ip, bth), by_scapy(spoilt))
    return None


def main():
    parser = argparse.ArgumentParser(description="judges the ICRC of every RoCEv2 packet in captures")
    parser.add_argument("--most", type=int, default=0, help="packets of one capture that scapy judges; 0: all")
    parser.add_argument("paths", nargs="+", help="captures, or folders of *.pcap")
    options = parser.parse_args()
    failed = False
    with multiprocessing.Pool() as pool:
        for path in options.paths:
            files = captures(path)
            work = [task for file in files for task in tasks(file, options.most)]
            results = pool.map(judge, work, chunksize=1)
            packets = sum(result[0] for result in results)
            judged = sum(result[1] for result in results)
            wrong = [line for result in results for line in result[2]]
            holding = len({task[0] for task, result in zip(work, results) if result[0]})
            print(f"{path}: {packets} RoCE packets in {holding} captures, {judged} of them judged by scapy too")
            if not packets or not judged:
                print(f"FAILED {path}: no RoCE packet")
                failed = True
                continue
            if not any(map(notices, files)):
                print(f"FAILED {path}: a spoilt packet was not noticed")
                failed = True
            for line in wrong[:10]:
                print(f"FAILED {line}")
            if wrong:
                print(f"FAILED {path}: {len(wrong)} in all")
                failed = True
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
