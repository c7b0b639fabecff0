//! Reset and trap entry. Ibex takes exceptions at boot address + 0, NMI at + 7Ch, and its first instruction at + 80h
//! (Ibex documentation, "Exceptions and Interrupts"; the boot address of this card is 0).
//!
//! No interrupt is ever enabled: the loop polls. Any entry to a vector is therefore a fault.
#![allow(unsafe_code, reason = "leaf module: assembly")]

use core::arch::global_asm;

global_asm!(
    r#"
    .section .vectors, "ax"
    .global _vectors
    .option push
    .option norvc
_vectors:
    .rept 32
    j     _trap
    .endr
    /* 0x80: reset */
    j     _start
    .option pop

    .section .text.boot, "ax"
    .balign 4
_start:
    la    sp, __stack_top
    la    a0, __bss_start
    la    a1, __bss_end
    /* .bss is most of the memory, and a multiple of 16 bytes: 64 at a time as long as there are so many, 19 clocks each. */
    andi  a2, a1, -64
    j     2f
1:
    .set  word, 0
    .rept 16
    sw    zero, 4*word(a0)
    .set  word, word + 1
    .endr
    addi  a0, a0, 64
2:  addi  a3, a0, 64
    bgeu  a2, a3, 1b
    j     4f
3:  sw    zero, 0(a0)
    addi  a0, a0, 4
4:  bltu  a0, a1, 3b
    call  sluice_main
5:  j     5b

    /* Never returns, so nothing is saved; the stack may be what broke and is started anew. */
_trap:
    csrr  a0, mcause
    csrr  a1, mepc
    csrr  a2, mtval
    mv    a3, ra
    mv    a4, sp
    la    sp, __stack_top
    call  {trap}
6:  j     6b
"#,
    trap = sym crate::trap::trap,
);
