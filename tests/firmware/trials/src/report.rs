//! What a trial prints. Nothing here formats through `core::fmt`, which would be a third of a small program.

/// What a trial runs on.
pub trait Machine {
    /// Whether it wants a line after every step; a trial only trains where it does not.
    const PRINTS: bool;

    /// Prints.
    fn text(&mut self, text: &str);
    /// Instructions executed so far; 0 where they are not counted.
    fn instructions(&mut self) -> u64;
    /// Takes note of a figure for the label.
    fn note(&mut self, label: Label, value: u64);
    /// Takes the trained parameters.
    fn trained(&mut self, params: &[f32]);
}

/// A figure that a trial itself knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Label {
    /// Bytes of work memory that the plan asks for.
    Arena,
    /// Instructions of the first step of a stage (from 1).
    Step(u32),
}

/// A line of words; ends with [`Line::end`].
#[must_use]
pub struct Line<'m, M: Machine>(&'m mut M);

impl<'m, M: Machine> Line<'m, M> {
    /// An empty line.
    pub fn new(machine: &'m mut M) -> Self {
        Self(machine)
    }

    /// A word and a space.
    pub fn text(self, text: &str) -> Self {
        self.0.text(text);
        self.0.text(" ");
        self
    }

    /// A number in decimal.
    pub fn number(self, value: u32) -> Self {
        let (mut digits, mut rest) = ([b' '; 11], value);
        for digit in digits.iter_mut().rev().skip(1) {
            *digit = b'0' + (rest % 10) as u8;
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        self.ascii(&digits)
    }

    /// Bits in hexadecimal.
    pub fn bits(self, value: u32) -> Self {
        let (mut digits, mut rest) = ([b' '; 9], value);
        for digit in digits.iter_mut().rev().skip(1) {
            let nibble = (rest & 15) as u8;
            *digit = nibble + if nibble < 10 { b'0' } else { b'a' - 10 };
            rest >>= 4;
        }
        self.ascii(&digits)
    }

    /// The end of the line.
    pub fn end(self) {
        self.0.text("\n");
    }

    fn ascii(self, bytes: &[u8]) -> Self {
        self.0.text(core::str::from_utf8(bytes.trim_ascii_start()).unwrap_or_default());
        self
    }
}

/// One step's line.
pub struct Step {
    /// Epoch from 0.
    pub epoch: u32,
    /// Step of the epoch from 0.
    pub step: u32,
    /// Loss at the parameters before the step.
    pub loss: f32,
    /// Test images classified correctly after the step.
    pub correct: u32,
    /// Hash of the parameters after the step.
    pub hash: Hash,
}

impl Step {
    /// Prints it.
    pub fn print(&self, machine: &mut impl Machine) {
        let line = Line::new(machine).text("epoch").number(self.epoch).text("step").number(self.step);
        let line = line.text("milliloss").number((self.loss * 1000.0) as u32).bits(self.loss.to_bits());
        let hash = self.hash.bits();
        line.text("correct").number(self.correct).text("hash").bits((hash >> 32) as u32).bits(hash as u32).end();
    }
}

/// FNV-1a, 64 bits, over the bits of numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hash(u64);

impl Hash {
    /// The hash of numbers.
    pub fn of(values: &[f32]) -> Self {
        let mut hash = Self(0xCBF2_9CE4_8422_2325);
        for byte in values.iter().flat_map(|value| value.to_bits().to_le_bytes()) {
            hash.0 = (hash.0 ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3);
        }
        hash
    }

    /// Its bits.
    pub const fn bits(self) -> u64 {
        self.0
    }
}
