//! Scalars in signed digits, for sums and for tables of multiples.

use blstrs::Scalar;

/// A scalar with what makes its digits signed added, as little-endian words.
pub type Words = [u64; 4];

/// How scalars are cut into digits: `count` windows of `bits` bits.
#[derive(Clone, Copy)]
pub struct Windows {
    pub bits: usize,
    pub count: usize,
}

impl Windows {
    /// The cheapest cut into digits of 2 to `most` bits, if a window of so many bits costs so much.
    pub fn cheapest(most: usize, cost: impl Fn(usize) -> usize) -> Self {
        let bits = (2..=most).min_by_key(|&bits| 256_usize.div_ceil(bits) * cost(bits));
        Self::of(bits.expect("there are at least two bits"))
    }

    pub const fn of(bits: usize) -> Self {
        Self {
            bits,
            count: 256_usize.div_ceil(bits),
        }
    }

    /// The largest digit, of either sign.
    pub const fn largest(self) -> usize {
        1 << (self.bits - 1)
    }

    /// Add 2^(bits-1) to each digit but the highest, so that digits can be taken one by one without carry.
    ///
    /// Scalars are below 2^255 and there are 256 bits in all, so the highest digit stays within 2^(bits-1).
    pub fn words(self, scalar: &Scalar) -> Words {
        let bytes = scalar.to_bytes_le();
        let mut words: Words =
            std::array::from_fn(|i| u64::from_le_bytes(std::array::from_fn(|j| bytes[8 * i + j])));
        for window in 0..self.count - 1 {
            let bit = self.bits * window + self.bits - 1;
            let (mut word, mut carry) = (bit / 64, 1_u64 << (bit % 64));
            while carry != 0 {
                let (sum, over) = words[word].overflowing_add(carry);
                words[word] = sum;
                carry = u64::from(over);
                word += 1;
            }
        }
        words
    }

    /// The digit of a window, from -2^(bits-1) to 2^(bits-1).
    #[inline]
    pub fn digit(self, words: &Words, window: usize) -> i32 {
        let first = self.bits * window;
        let (word, shift) = (first / 64, first % 64);
        let mut value = words[word] >> shift;
        if shift + self.bits > 64 && word + 1 < words.len() {
            value |= words[word + 1] << (64 - shift);
        }
        let digit = i32::try_from(value & ((1 << self.bits) - 1)).expect("20 bits at the most");
        if window == self.count - 1 {
            digit
        } else {
            digit - (1 << (self.bits - 1))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ff::Field;

    #[test]
    fn digits_make_the_scalar_again() {
        let scalars = [
            Scalar::ZERO,
            Scalar::ONE,
            -Scalar::ONE,
            Scalar::from(u64::MAX),
            -Scalar::from(1 << 40),
            Scalar::ONE.double().invert().unwrap(),
        ];
        for bits in 2..=20 {
            let windows = Windows::of(bits);
            for scalar in scalars {
                let words = windows.words(&scalar);
                let base = Scalar::from(1 << bits);
                let mut back = Scalar::ZERO;
                for window in (0..windows.count).rev() {
                    let digit = windows.digit(&words, window);
                    assert!(digit.unsigned_abs() <= 1 << (bits - 1));
                    let size = Scalar::from(u64::from(digit.unsigned_abs()));
                    back = back * base + if digit < 0 { -size } else { size };
                }
                assert_eq!(back, scalar, "{bits} bits");
            }
        }
    }
}
