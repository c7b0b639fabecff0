//! Reset and trap entry: as in firmware/image, Ibex begins at its boot address + 80h and has its vectors before that.
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
1:  bgeu  a0, a1, 2f
    sw    zero, 0(a0)
    addi  a0, a0, 4
    j     1b
2:  call  {run}
3:  j     3b

_trap:
    la    sp, __stack_top
    call  {give_up}
    "#,
    run = sym run,
    give_up = sym give_up,
);

extern "C" fn run() {
    crate::run();
}

extern "C" fn give_up() -> ! {
    crate::give_up()
}
