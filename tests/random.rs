//! Numbers that depend on nothing but a seed and a position.

/// A counter-based generator: draw `i` of seed `s` is a mix of `(s, i)`, whatever was drawn before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Numbers {
    /// Names the sequence.
    pub seed: u64,
    drawn: u64,
}

impl Numbers {
    /// The sequence of `seed`, from its start.
    pub const fn new(seed: u64) -> Self {
        Self { seed, drawn: 0 }
    }

    /// The sequence of a case: the seed is a hash (FNV-1a) of its description.
    pub fn named(description: &str) -> Self {
        let hash = |state: u64, byte: u8| (state ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        Self::new(description.bytes().fold(0xcbf2_9ce4_8422_2325, hash))
    }

    /// 64 random bits (the finaliser of SplitMix64).
    pub fn bits(&mut self) -> u64 {
        self.drawn += 1;
        let mut z = self.seed.wrapping_add(self.drawn.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// An integer below `bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.bits() % bound.max(1) as u64) as usize
    }

    /// A number between `low` and `high`, with 24 random bits.
    pub fn between(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * (self.bits() >> 40) as f32 / 16_777_216.0
    }

    /// A number of magnitude 0.02 to 2, of either sign: no zero, and no sum of a few that vanishes.
    pub fn number(&mut self) -> f32 {
        let magnitude = self.between(0.02, 2.0);
        if self.bits() & 1 == 0 { magnitude } else { -magnitude }
    }

    /// `length` of [`Numbers::number`].
    pub fn list(&mut self, length: usize) -> Vec<f32> {
        (0..length).map(|_| self.number()).collect()
    }

    /// `length` numbers between `low` and `high`.
    pub fn list_between(&mut self, length: usize, low: f32, high: f32) -> Vec<f32> {
        (0..length).map(|_| self.between(low, high)).collect()
    }
}
