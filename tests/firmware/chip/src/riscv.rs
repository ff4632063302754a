//! RISC-V 32 on QEMU's virt board.

core::arch::global_asm!(
    ".section .text.reset, \"ax\"",
    ".global reset",
    "reset:",
    "la t0, fault",
    "csrw mtvec, t0",
    "la sp, stack_top",
    "la t0, stack_bottom",
    "li t1, 0x5AFE57AC",
    "1: sw t1, 0(t0)",
    "addi t0, t0, 4",
    "bltu t0, sp, 1b",
    "la t0, bss_start",
    "la t1, bss_end",
    "2: bgeu t0, t1, 3f",
    "sw zero, 0(t0)",
    "addi t0, t0, 4",
    "j 2b",
    "3: call entry",
);

pub fn start_counting() {}

pub fn instructions() -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: reads a counter; the upper half does not move in a run.
    unsafe {
        core::arch::asm!("csrr {low}, minstret", "csrr {high}, minstreth", low = out(reg) low, high = out(reg) high)
    }
    u64::from(high) << 32 | u64::from(low)
}

pub fn semihosting(operation: usize, parameter: usize) {
    // SAFETY: the debugger's call, three uncompressed instructions in one page; returns in a0.
    unsafe {
        core::arch::asm!(
            ".balign 16",
            ".option push",
            ".option norvc",
            "slli x0, x0, 0x1f",
            "ebreak",
            "srai x0, x0, 7",
            ".option pop",
            inout("a0") operation => _,
            in("a1") parameter,
            options(nostack)
        )
    }
}
