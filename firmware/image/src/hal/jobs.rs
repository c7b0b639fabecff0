//! Transmit and move jobs into the core's registers. Layouts: `docs/card.md`, section 3.
//!
//! Words that a job does not use keep what an earlier job left: the engines do not read them.

use sluice_hal::{
    Busy, MAX_GATHER, MoveDone, MoveJob, MoveSource, MoveTarget, PmSlice, RawJob, TcpJob, TxJob,
    roce::RoceJob,
};
use volatile_register::WO;

use crate::{
    arch,
    regs::{Put, core},
};

/// Queues a transmit job.
#[inline]
pub fn post_tx(job: &TxJob) -> Result<(), Busy> {
    if core().tx_status.read().free() == 0 {
        return Err(Busy);
    }
    match job {
        TxJob::Tcp(job) => put_tcp(job),
        TxJob::Raw(job) => put_raw(job),
        TxJob::Roce(job) => put_roce(job),
    }
    arch::fence_before_io();
    core().tx_post.put(0);
    Ok(())
}

#[inline(always)]
fn put_tcp(job: &TcpJob) {
    let word = &core().tx_word;
    let fields = &job.overrides;
    let stamped = u32::from(fields.timestamps.is_some());
    word[0].put(
        1 | stamped << 3
            | u32::from(job.gather_len) << 4
            | u32::from(fields.flags) << 8
            | u32::from(fields.window) << 16,
    );
    word[1].put(job.template.0);
    word[2].put(
        u32::from(job.header_len) | u32::from(job.l3_offset) << 8 | u32::from(job.l4_offset) << 16,
    );
    word[3].put(u32::from(job.mss));
    word[4].put(fields.seq);
    word[5].put(fields.ack);
    if let Some((value, echo)) = fields.timestamps {
        word[6].put(value);
        word[7].put(echo);
    }
    put_pieces(
        [
            &word[8], &word[9], &word[10], &word[11], &word[12], &word[13], &word[14], &word[15],
        ],
        &job.gather,
        job.gather_len,
    );
}

/// [`post_tx`] without the way through a [`TxJob`].
#[inline]
pub fn post_roce(job: &RoceJob) -> Result<(), Busy> {
    if core().tx_status.read().free() == 0 {
        return Err(Busy);
    }
    put_roce(job);
    arch::fence_before_io();
    core().tx_post.put(0);
    Ok(())
}

#[inline(always)]
fn put_roce(job: &RoceJob) {
    let word = &core().tx_word;
    job.head_words(|i, value| word[i].put(value));
    put_pieces(
        [
            &word[8], &word[9], &word[10], &word[11], &word[12], &word[13], &word[14], &word[15],
        ],
        &job.gather,
        job.gather_len,
    );
}

#[inline(always)]
fn put_raw(job: &RawJob) {
    let word = &core().tx_word;
    word[0].put((job.checksum as u32) << 1 | u32::from(job.gather_len) << 4);
    word[2].put(u32::from(job.l3_offset) << 8 | u32::from(job.l4_offset) << 16);
    put_pieces(
        [
            &word[8], &word[9], &word[10], &word[11], &word[12], &word[13], &word[14], &word[15],
        ],
        &job.gather,
        job.gather_len,
    );
}

/// The used pieces into pairs of words; written out, since an index computed at run time costs more than the stores.
#[inline(always)]
fn put_pieces(to: [&WO<u32>; 2 * MAX_GATHER], pieces: &[PmSlice; MAX_GATHER], used: u8) {
    let put = |i: usize| {
        to[2 * i].put(pieces[i].addr.0);
        to[2 * i + 1].put(pieces[i].len);
    };
    if used > 0 {
        put(0);
        if used > 1 {
            put(1);
            if used > 2 {
                put(2);
                if used > 3 {
                    put(3);
                }
            }
        }
    }
}

/// Queues a move.
#[inline]
pub fn post_move(job: &MoveJob) -> Result<(), Busy> {
    if core().move_status.read().free() == 0 {
        return Err(Busy);
    }
    let word = &core().move_word;
    let flags = &job.flags;
    let mut first =
        u32::from(job.tag) | u32::from(flags.crc) << 20 | u32::from(flags.crc_init) << 21;
    match &job.source {
        MoveSource::Pm(pieces, used) => {
            first |= u32::from(*used) << 16;
            let to = [
                &word[6], &word[7], &word[8], &word[9], &word[10], &word[11], &word[12], &word[13],
            ];
            put_pieces(to, pieces, *used);
        }
        MoveSource::Host(bus, len) => {
            first |= 1 << 16 | 1 << 23;
            word[6].put(*bus as u32);
            word[7].put(*len);
            word[14].put((bus >> 32) as u32);
        }
    }
    match job.target {
        MoveTarget::Discard => {}
        MoveTarget::Pm(at) => {
            first |= 1 << 22;
            word[4].put(at.0);
        }
        MoveTarget::Host(bus) => {
            first |= 1 << 22 | 1 << 24;
            word[4].put(bus as u32);
            word[5].put((bus >> 32) as u32);
        }
    }
    if let Some(at) = flags.crc_to {
        first |= 1 << 25;
        word[3].put(at.0);
    }
    word[0].put(first);
    word[1].put(u32::from(job.crc_context));
    arch::fence_before_io();
    core().move_post.put(0);
    Ok(())
}

/// Takes the oldest completion of a move.
#[inline]
pub fn next_move_done() -> Option<MoveDone> {
    let done = core().move_done.read();
    if !done.valid() {
        return None;
    }
    arch::fence_after_io();
    let crc = core().move_crc.read();
    core().move_pop.put(0);
    Some(MoveDone {
        tag: done.tag(),
        crc,
        ok: done.ok(),
    })
}
