//! Cortex-M on QEMU's mps2 boards.

core::arch::global_asm!(
    ".section .vectors, \"a\"",
    ".word stack_top",
    ".word reset",
    ".rept 14",
    ".word fault",
    ".endr",
    ".section .text.reset, \"ax\"",
    ".global reset",
    ".type reset, %function",
    ".thumb_func",
    "reset:",
    "ldr r0, =stack_bottom",
    "ldr r1, =stack_top",
    "ldr r2, =0x5AFE57AC",
    "1: str r2, [r0], #4",
    "cmp r0, r1",
    "blo 1b",
    "ldr r0, =bss_start",
    "ldr r1, =bss_end",
    "movs r2, #0",
    "2: cmp r0, r1",
    "bhs 3f",
    "str r2, [r0], #4",
    "b 2b",
    "3:",
    // Coprocessors 10 and 11, the floating-point unit, where there is one.
    "ldr r0, =0xE000ED88",
    "ldr r1, [r0]",
    "orr r1, r1, #0xF00000",
    "str r1, [r0]",
    "dsb",
    "isb",
    "bl entry",
    ".ltorg",
);

/// Timer 0 of the board: 32 bits, down, 25 MHz.
const TIMER: *mut u32 = 0x4000_0000 as *mut u32;
/// With QEMU's `-icount shift=0` an instruction takes a nanosecond.
const INSTRUCTIONS_A_TICK: u64 = 40;

pub fn start_counting() {
    // SAFETY: the timer's registers: reload, value, control (enable).
    unsafe {
        TIMER.add(2).write_volatile(u32::MAX);
        TIMER.add(1).write_volatile(u32::MAX);
        TIMER.write_volatile(1);
    }
}

pub fn instructions() -> u64 {
    // SAFETY: the timer's value.
    let value = unsafe { TIMER.add(1).read_volatile() };
    u64::from(u32::MAX - value) * INSTRUCTIONS_A_TICK
}

pub fn semihosting(operation: usize, parameter: usize) {
    // SAFETY: the debugger's call; reads what `parameter` points to, returns in r0.
    unsafe { core::arch::asm!("bkpt 0xAB", inout("r0") operation => _, in("r1") parameter, options(nostack)) }
}
