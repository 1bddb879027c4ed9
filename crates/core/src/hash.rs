//! Hashes texts to values that are stable across releases and machines, which `std`'s hasher does not guarantee.

/// Hashes texts by FNV-1a, 64 bits.
#[derive(Clone, Copy, Debug)]
pub struct StableHash(u64);

impl StableHash {
    /// Hashes the texts in order. Each is terminated by a zero byte, so that `["ab", "c"]` and `["a", "bc"]` differ.
    #[must_use]
    pub fn from_texts<'a>(texts: impl IntoIterator<Item = &'a str>) -> Self {
        let mut hash = Self(0xcbf2_9ce4_8422_2325);
        for text in texts {
            hash.write(text);
        }
        hash
    }

    /// Adds a text.
    pub fn write(&mut self, text: &str) {
        for byte in text.bytes().chain(std::iter::once(0)) {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }

    /// Returns all 64 bits.
    #[must_use]
    pub const fn value(self) -> u64 {
        self.0
    }

    /// Returns the lower 32 bits as eight hex digits, for names and keys.
    #[must_use]
    pub fn short_hex(self) -> String {
        format!("{:08x}", self.0 & 0xffff_ffff)
    }
}
