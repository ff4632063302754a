//! The random numbers of initial weights: the same as the host's.

/// Words a block has.
const BLOCK: usize = 16;
/// "expand 32-byte k".
const CONSTANTS: [u32; 4] = [0x6170_7865, 0x3320_646e, 0x7962_2d32, 0x6b20_6574];
/// What the host draws initial values for.
const PARAMETERS: u32 = 4;

/// ChaCha8 with the key `seed, PARAMETERS, 0, 0` (64 bits each), a stream of its own for each layer, from its beginning.
pub(crate) struct Stream {
    seed: [u32; 2],
    layer: u32,
    blocks: u32,
    words: [u32; BLOCK],
    used: usize,
}

impl Stream {
    /// The stream of a layer.
    pub(crate) fn new(seed: u64, layer: u32) -> Self {
        let seed = [seed as u32, (seed >> 32) as u32];
        Self { seed, layer, blocks: 0, words: [0; BLOCK], used: BLOCK }
    }

    /// Its layer.
    pub(crate) fn layer(&self) -> u32 {
        self.layer
    }

    /// Its next word.
    pub(crate) fn word(&mut self) -> u32 {
        if self.used >= BLOCK {
            self.words = self.block();
            self.blocks = self.blocks.wrapping_add(1);
            self.used = 0;
        }
        let word = self.words.get(self.used).copied().unwrap_or_default();
        self.used += 1;
        word
    }

    fn block(&self) -> [u32; BLOCK] {
        let [low, high] = self.seed;
        let start = [CONSTANTS, [low, high, PARAMETERS, 0], [0; 4], [self.blocks, 0, self.layer, 0]];
        let mut rows = start;
        for _ in 0..4 {
            quarter_rounds(&mut rows);
            turn(&mut rows, [1, 2, 3]);
            quarter_rounds(&mut rows);
            turn(&mut rows, [3, 2, 1]);
        }
        let mut words = [0; BLOCK];
        let sums = rows.as_flattened().iter().zip(start.as_flattened()).map(|(row, start)| row.wrapping_add(*start));
        words.iter_mut().zip(sums).for_each(|(word, sum)| *word = sum);
        words
    }
}

/// One quarter round in each of the four columns.
fn quarter_rounds([a, b, c, d]: &mut [[u32; 4]; 4]) {
    for (((a, b), c), d) in a.iter_mut().zip(b).zip(c).zip(d) {
        for [first, second] in [[16, 12], [8, 7]] {
            *a = a.wrapping_add(*b);
            *d = (*d ^ *a).rotate_left(first);
            *c = c.wrapping_add(*d);
            *b = (*b ^ *c).rotate_left(second);
        }
    }
}

/// Moves the rows but the first to the left by so many columns.
fn turn([_, b, c, d]: &mut [[u32; 4]; 4], by: [u32; 3]) {
    for (row, by) in [b, c, d].into_iter().zip(by) {
        for _ in 0..by {
            let [first, second, third, fourth] = *row;
            *row = [second, third, fourth, first];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_are_those_of_the_host() {
        // The first four as in the host's `order`; all from an implementation that shares no code with either.
        let mut stream = Stream::new(1, 5);
        let words = [(); 4].map(|()| stream.word());
        assert_eq!(words, [0x9ffe_5b0d, 0x1e82_2e98, 0xa379_8449, 0x991d_8133]);
        let third_block = (4..33).map(|_| stream.word()).last();
        assert_eq!(third_block, Some(0x1d91_e094));
    }
}
