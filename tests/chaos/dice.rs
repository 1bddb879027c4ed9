//! Random numbers that a seed repeats.

/// `SplitMix64` (Steele, Lea, Flood, OOPSLA 2014): the same seed gives the same night.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Returns a number from `least` to `most`, both included.
    pub fn between(&mut self, least: u64, most: u64) -> u64 {
        least + self.roll() % (most - least + 1)
    }

    pub fn coin(&mut self) -> bool {
        self.roll().is_multiple_of(2)
    }

    /// Picks one; none of an empty slice.
    pub fn pick<'t, T>(&mut self, all: &'t [T]) -> Option<&'t T> {
        let last = u64::try_from(all.len()).unwrap().checked_sub(1)?;
        all.get(usize::try_from(self.between(0, last)).unwrap())
    }
}
