# Smoke test of the flattened card: what each step proves stands beside it; main.cpp plays the world outside.
# Core 0 runs the steps; core 1 sleeps and answers mail. FW_STATUS: 1 all right, 100 + step: that step failed.
        .option norvc
        .equ PM,     0x40000000
        .equ CORE,   0x80000000
        .equ BAR0,   0x90000000
        .equ BELL,   0xA0000000
        .org 0x80
start:
        li   s0, PM + 0x600000
        li   s1, CORE
        li   s2, BAR0
        li   s3, BELL
        li   sp, 0x8000
        la   t0, fault
        csrw mtvec, t0
        lw   t0, 0x000(s1)            # CORE_ID
        andi t0, t0, 31
        bnez t0, core1

# Step 1: packet memory keeps words, halves, bytes, also across row and word borders.
        li   s4, 1
        li   t0, 0x44332211
        sw   t0, 0(s0)
        sw   t0, 13(s0)               # crosses a row, misaligned
        lw   t1, 0(s0)
        bne  t0, t1, fail
        lw   t1, 13(s0)
        bne  t0, t1, fail
        lhu  t1, 14(s0)
        li   t2, 0x3322
        bne  t1, t2, fail
        sb   zero, 1(s0)
        lw   t1, 0(s0)
        li   t2, 0x44330011
        bne  t1, t2, fail

# Step 2: polling a word sees what another agent writes (main.cpp writes 0x5A5A to row 0x610000 over BAR2).
        li   s4, 2
        li   a0, PM + 0x610000
        li   t2, 0x5A5A
1:      lw   t1, 0(a0)
        bne  t1, t2, 1b
        lw   t3, 4(a0)                # same row, same write
        bne  t3, t2, 1b

# Step 3: doorbell: slot 5 to a bus address, after a packet-memory store.
        li   s4, 3
        li   t0, 0xBEEF0014
        sw   t0, 0x428(s2)
        li   t0, 0x12
        sw   t0, 0x42C(s2)
        lw   t1, 0x42C(s2)
        bne  t0, t1, fail
        li   t0, 0x77
        sw   t0, 0x20(s0)
        sw   t0, 20(s3)               # main.cpp checks address, data and that memory has the 0x77

# Step 4: CRC unit: "123456789" has CRC32C E3069283.
        li   s4, 4
        sw   zero, 0x030(s1)
        li   t0, 0x34333231
        sw   t0, 0x034(s1)
        li   t0, 0x38373635
        sw   t0, 0x034(s1)
        li   t0, 0x39
        sw   t0, 0x038(s1)
        lw   t1, 0x03C(s1)
        li   t0, 0xE3069283
        bne  t0, t1, fail

# Step 5: move 9 bytes, gathered from two places, with CRC; stores just before the post must be seen.
        li   s4, 5
        li   t0, 0x34333231
        sw   t0, 0x100(s0)
        li   t0, 0x38373635
        sw   t0, 0x104(s0)
        li   t0, 0x39
        sw   t0, 0x203(s0)
        li   t0, 0x1234 | (2 << 16) | (1 << 20) | (1 << 21) | (1 << 22)
        sw   t0, 0x1C0(s1)
        sw   zero, 0x1C4(s1)
        sw   zero, 0x1C8(s1)
        sw   zero, 0x1CC(s1)
        li   t0, 0x600301
        sw   t0, 0x1D0(s1)
        sw   zero, 0x1D4(s1)
        li   t0, 0x600100
        sw   t0, 0x1D8(s1)
        li   t0, 8
        sw   t0, 0x1DC(s1)
        li   t0, 0x600203
        sw   t0, 0x1E0(s1)
        li   t0, 1
        sw   t0, 0x1E4(s1)
        sw   zero, 0x184(s1)
        li   t2, 2
        sw   t2, 0x008(s1)            # EVENT_MASK: moved
        call sleep
        lw   t1, 0x188(s1)
        li   t0, 0x80011234
        bne  t0, t1, fail
        lw   t1, 0x18C(s1)
        li   t0, 0xE3069283
        bne  t0, t1, fail
        sw   zero, 0x190(s1)
        lw   t1, 0x188(s1)
        bltz t1, fail
        lw   t1, 0x301(s0)
        li   t0, 0x34333231
        bne  t0, t1, fail
        lbu  t1, 0x309(s0)
        li   t0, 0x39
        bne  t0, t1, fail

# Step 6: mail to core 1 comes back incremented; mail to a core that does not exist is refused.
        li   s4, 6
        li   t0, 41
        sw   t0, 0x23C(s1)
        li   t0, 1
        sw   t0, 0x200(s1)
1:      lw   t1, 0x204(s1)
        andi t2, t1, 1
        bnez t2, 1b
        bnez t1, fail
        li   t2, 4
        sw   t2, 0x008(s1)
        call sleep
        lw   t1, 0x25C(s1)
        li   t0, 42
        bne  t0, t1, fail
        sw   zero, 0x20C(s1)
        li   t0, 9
        sw   t0, 0x200(s1)
1:      lw   t1, 0x204(s1)
        andi t2, t1, 1
        bnez t2, 1b
        li   t0, 2
        bne  t0, t1, fail

# Step 7: a received frame (main.cpp sends an ARP request) arrives, and its buffer goes back.
        li   s4, 7
        li   t2, 1
        sw   t2, 0x008(s1)
        sw   t2, 0x20(s0)             # asks main.cpp for the frame
        call sleep
        lw   t0, 0x0C0(s1)
        slli t1, t0, 20
        srli t1, t1, 9                # buffer number * 2048
        li   t2, PM
        add  t1, t1, t2
        lhu  t2, 14(t1)               # EtherType, 12 bytes into the frame, which is 2 into the buffer
        li   t3, 0x0608
        bne  t2, t3, fail
        srli t2, t0, 16
        li   t3, 60
        bne  t2, t3, fail
        lw   t2, 0x0C4(s1)
        li   t3, 0x200
        bne  t2, t3, fail
        andi t0, t0, 0x7ff
        sw   t0, 0x088(s1)
        sw   zero, 0x084(s1)
        lw   t1, 0x080(s1)
        bnez t1, fail

# Step 8: a raw transmit job of 64 bytes, the first 4 from memory just written.
        li   s4, 8
        li   t0, 0x04030201
        li   t1, 0x610100 + PM
        sw   t0, 0(t1)
        li   t0, (1 << 4)
        sw   t0, 0x140(s1)
        li   t0, 0x610100
        sw   t0, 0x160(s1)
        li   t0, 64
        sw   t0, 0x164(s1)
        sw   zero, 0x104(s1)
        li   t2, 0x10
        sw   t2, 0x008(s1)
        call sleep
        lw   t1, 0x108(s1)
        li   t0, 1
        bne  t0, t1, fail

# Step 9: time passes, the timer wakes, the snooped range wakes.
        li   s4, 9
        li   t2, 0x08
        sw   t2, 0x004(s1)
        sw   t2, 0x008(s1)
        lw   t0, 0x010(s1)
        addi t0, t0, 3
        sw   t0, 0x01C(s1)
        call sleep
        lw   t1, 0x010(s1)
        blt  t1, t0, fail
        li   t0, 0x06210620
        sw   t0, 0x00C(s1)
        li   t2, 0x40
        sw   t2, 0x004(s1)
        sw   t2, 0x008(s1)
        li   t0, 2
        sw   t0, 0x20(s0)             # asks main.cpp for a write to 0x620000
        call sleep
        li   t1, 0x620000 + PM
        lw   t1, 8(t1)
        li   t0, 0x600D
        bne  t0, t1, fail

# Step 10: move from host memory and to it, then an interrupt: main.cpp sees the data before the MSI-X write.
        li   s4, 10
        li   t0, 0x77 | (1 << 16) | (1 << 22) | (1 << 23)
        sw   t0, 0x1C0(s1)
        li   t0, 0x630005
        sw   t0, 0x1D0(s1)
        li   t0, 0x00001003           # bus address 0x1_00001003
        sw   t0, 0x1D8(s1)
        li   t0, 300
        sw   t0, 0x1DC(s1)
        li   t0, 1
        sw   t0, 0x1F8(s1)
        sw   zero, 0x184(s1)
        li   t0, 0x78 | (1 << 16) | (1 << 22) | (1 << 24)
        sw   t0, 0x1C0(s1)
        li   t0, 0x00002001
        sw   t0, 0x1D0(s1)
        li   t0, 1
        sw   t0, 0x1D4(s1)
        li   t0, 0x630005
        sw   t0, 0x1D8(s1)
        li   t0, 300
        sw   t0, 0x1DC(s1)
        sw   zero, 0x184(s1)
        li   t2, 2
        sw   t2, 0x008(s1)
        call sleep
        sw   zero, 0x190(s1)
        call sleep
        lw   t1, 0x188(s1)
        li   t0, 0x80010078
        bne  t0, t1, fail
        li   t0, 3
        sw   t0, 0x034(s2)            # vector 3

# Step 11: the watchdog expires unless kicked (main.cpp sees bit 0 and vector 1), phases are counted.
        li   s4, 11
        li   t0, 5
        sw   t0, 0x024(s1)
        li   t0, 500
        sw   t0, 0x028(s1)
        lw   t3, 0x018(s1)
1:      lw   t1, 0x018(s1)
        sub  t1, t1, t3
        li   t0, 1000
        blt  t1, t0, 1b
        sw   zero, 0x028(s1)
        sw   zero, 0x024(s1)
        lw   t1, 0x074(s1)
        blt  t1, t0, fail
        lw   t1, 0x040(s1)            # payload accesses were counted
        beqz t1, fail

# Step 12: four words of a row cost one trip to memory (at most 12 clocks in all); a row is not kept across a store.
        li   s4, 12
        li   a0, 0x11
        sw   a0, 0x40(s0)
        sw   a0, 0x4C(s0)
        lw   t0, 0x018(s1)
        lw   t2, 0x40(s0)
        lw   t3, 0x44(s0)
        lw   t4, 0x48(s0)
        lw   t5, 0x4C(s0)
        lw   t1, 0x018(s1)
        sub  t1, t1, t0
        li   t0, 13
        bge  t1, t0, fail
        bne  t5, a0, fail
        lw   t2, 0x40(s0)
        addi a0, a0, 1
        sw   a0, 0x4C(s0)
        lw   t5, 0x4C(s0)
        bne  t5, a0, fail
        lw   t5, 0x4C(s0)             # twice the same word: from memory both times
        bne  t5, a0, fail

        li   t0, 1
        sw   t0, 0x024(s2)
stop:   wfi
        j    stop
fail:   li   t4, PM + 0x6FFF00        # what was compared, for main.cpp to print
        sw   t0, 0(t4)
        sw   t1, 4(t4)
        sw   t2, 8(t4)
        addi s4, s4, 100
        sw   s4, 0x024(s2)
        j    stop
fault:  csrr t0, mepc
        csrr t1, mcause
        csrr t2, mtval
        li   s4, -1
        j    fail
        j    stop

# Waits in wfi for the events in EVENT_MASK, with interrupts globally off.
sleep:  li   t5, 0x800
        csrw mie, t5
1:      wfi
        lw   t5, 0x004(s1)
        lw   t6, 0x008(s1)
        and  t5, t5, t6
        beqz t5, 1b
        ret

core1:  li   t2, 4
        sw   t2, 0x008(s1)
1:      call sleep
        lw   t0, 0x25C(s1)
        addi t0, t0, 1
        sw   t0, 0x23C(s1)
        sw   zero, 0x20C(s1)
        sw   zero, 0x200(s1)
        j    1b
