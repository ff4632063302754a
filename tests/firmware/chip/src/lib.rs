//! A bare chip as QEMU emulates it: start-up, a console, a counter of instructions, and the label.
//!
//! Nothing here is needed to use the core; a firmware has its own. A panic that the optimiser could not prove
//! impossible does not link.
#![no_std]
#![cfg(target_os = "none")]

#[cfg(target_arch = "arm")]
#[path = "arm.rs"]
mod arch;
#[cfg(target_arch = "riscv32")]
#[path = "riscv.rs"]
mod arch;

use core::cell::UnsafeCell;

use core::mem::MaybeUninit;

use sse_sam_core::Error;
use sse_sam_trials::{Hash, Label, Machine, digits};

/// The digits, in a section of their own: data is not code.
#[unsafe(link_section = ".samples")]
static SAMPLES: [u8; digits::BYTES.len()] = *digits::BYTES;

/// What a program lends its trial, once: work memory, and room for its network.
pub struct Memory<const WORK: usize, R> {
    work: UnsafeCell<[f32; WORK]>,
    // Start-up writes nothing but zeros, which need not be an empty room.
    room: UnsafeCell<MaybeUninit<R>>,
}

// SAFETY: a single core without interrupts; `run` alone borrows it.
unsafe impl<const WORK: usize, R> Sync for Memory<WORK, R> {}

impl<const WORK: usize, R> Memory<WORK, R> {
    /// Nothing but zeros.
    pub const fn zeros() -> Self {
        Self { work: UnsafeCell::new([0.0; WORK]), room: UnsafeCell::new(MaybeUninit::zeroed()) }
    }
}

/// Runs a trial in `memory` and stops the machine: status 0, or 1 when the trial failed.
#[inline(always)]
pub fn run<const PRINTS: bool, const WORK: usize, R: Default>(
    trial: impl FnOnce(&mut Chip<PRINTS>, &mut R, &mut [f32], &[u8]) -> Result<(), Error>,
    memory: &'static Memory<WORK, R>,
) -> ! {
    let mut chip = Chip { arena: 0, steps: [0; 2], hash: 0 };
    arch::start_counting();
    // SAFETY: called once, by the program's entry, which never returns.
    let (work, room) = unsafe { (&mut *memory.work.get(), &mut *memory.room.get()) };
    let result = trial(&mut chip, room.write(R::default()), work, &SAMPLES);
    if !PRINTS {
        chip.print_label();
    }
    exit(result.is_ok())
}

/// The program's entry point: a trial, the number of `f32` it works in, and its room. It prints after every step, or it `trains`
/// and does nothing else but print its label.
#[macro_export]
macro_rules! program {
    (trains $trial:path, $work:expr, $room:ty) => {
        $crate::program!($trial, $work, $room, false);
    };
    ($trial:path, $work:expr, $room:ty) => {
        $crate::program!($trial, $work, $room, true);
    };
    ($trial:path, $work:expr, $room:ty, $prints:expr) => {
        static MEMORY: $crate::Memory<{ $work }, $room> = $crate::Memory::zeros();

        /// Where start-up leads.
        #[unsafe(no_mangle)]
        extern "C" fn entry() -> ! {
            $crate::run::<$prints, _, _>(|chip, room, work, samples| $trial(chip, room, work, samples), &MEMORY)
        }
    };
}

/// What a trial runs on: semihosting for a console, and the figures it noted.
pub struct Chip<const PRINTS: bool> {
    arena: u32,
    steps: [u32; 2],
    hash: u64,
}

fn print(byte: u8) {
    arch::semihosting(WRITE_CHARACTER, (&raw const byte) as usize);
}

impl<const PRINTS: bool> Machine for Chip<PRINTS> {
    const PRINTS: bool = PRINTS;

    fn text(&mut self, text: &str) {
        text.bytes().for_each(print);
    }

    fn instructions(&mut self) -> u64 {
        arch::instructions()
    }

    fn note(&mut self, label: Label, value: u64) {
        match label {
            Label::Arena => self.arena = value as u32,
            Label::Step(1) if self.steps[0] == 0 => self.steps[0] = value as u32,
            Label::Step(2) if self.steps[1] == 0 => self.steps[1] = value as u32,
            Label::Step(_) => {}
        }
    }

    #[inline(never)]
    #[unsafe(link_section = ".report")]
    fn trained(&mut self, params: &[f32]) {
        if !PRINTS {
            self.hash = Hash::of(params).bits();
        }
    }
}

const WRITE_CHARACTER: usize = 0x03;
const EXIT: usize = 0x18;
const APPLICATION_EXIT: usize = 0x20026;
const RUN_TIME_ERROR: usize = 0x20023;
const PAINT: u32 = 0x5AFE_57AC;

unsafe extern "C" {
    static text_start: u32;
    static text_end: u32;
    static rodata_start: u32;
    static rodata_end: u32;
    static bss_start: u32;
    static bss_end: u32;
    static stack_bottom: u32;
    static stack_top: u32;
}

impl<const PRINTS: bool> Chip<PRINTS> {
    /// `text rodata ram arena stack stage1 stage2 hash`, a word of 32 bits in hexadecimal each, the hash in two.
    #[inline(never)]
    #[unsafe(link_section = ".report")]
    fn print_label(&mut self) {
        let [text, rodata, ram] = [
            (&raw const text_start, &raw const text_end),
            (&raw const rodata_start, &raw const rodata_end),
            (&raw const bss_start, &raw const bss_end),
        ]
        .map(|(start, end)| (end as usize - start as usize) as u32);
        let [stage1, stage2] = self.steps;
        let hash = [(self.hash >> 32) as u32, self.hash as u32];
        for word in [text, rodata, ram, self.arena, stack_used(), stage1, stage2, hash[0], hash[1]] {
            for nibble in (0..8).rev().map(|place| (word >> (4 * place)) as u8 & 15) {
                print(nibble + if nibble < 10 { b'0' } else { b'a' - 10 });
            }
            print(b' ');
        }
    }
}

/// Bytes of stack that were ever written.
fn stack_used() -> u32 {
    let (mut at, top) = (&raw const stack_bottom, &raw const stack_top);
    // SAFETY: from the stack's end to its start; start-up painted the whole words of it.
    while at < top && unsafe { at.read_volatile() } == PAINT {
        at = at.wrapping_add(1);
    }
    (top as usize - at as usize) as u32
}

/// Stops the emulator.
fn exit(success: bool) -> ! {
    arch::semihosting(EXIT, if success { APPLICATION_EXIT } else { RUN_TIME_ERROR });
    loop {
        core::hint::spin_loop();
    }
}

/// Where every exception leads.
#[unsafe(no_mangle)]
extern "C" fn fault() -> ! {
    exit(false)
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    unsafe extern "C" {
        fn a_panic_path_was_linked() -> !;
    }
    // SAFETY: defined nowhere, so that a program which could get here does not link.
    unsafe { a_panic_path_was_linked() }
}
