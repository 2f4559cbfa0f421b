//! The wide instructions of newer machines: AVX-512 with 52-bit multiplications (IFMA).
//!
//! Intel has them since Ice Lake, AMD since Zen 4. Others take the paths beside.

/// An array by index, written out: closures would keep the vectors from staying in registers.
macro_rules! by_index {
    ($i:ident => $value:expr; $($index:literal)*) => {
        [$({
            const $i: usize = $index;
            $value
        }),*]
    };
}

macro_rules! five {
    ($i:ident => $value:expr) => {
        by_index!($i => $value; 0 1 2 3 4)
    };
}

macro_rules! eight {
    ($i:ident => $value:expr) => {
        by_index!($i => $value; 0 1 2 3 4 5 6 7)
    };
}

mod lanes;
mod points;
mod scalars;

pub use lanes::{Fp2x8, Fp8, Lanes};
pub use points::Scratch;
pub use scalars::{butterflies_in_frequency, butterflies_in_time};

/// Elements that are handled at a time.
const LANES: usize = 8;

const MASK: u64 = (1 << 52) - 1;

/// Whether this machine can.
pub fn possible() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512ifma")
}

/// A multiple of a number of 64-bit words, in limbs of 52 bits.
const fn limbs_of<const WORDS: usize, const LIMBS: usize>(
    number: &[u64; WORDS],
    factor: u64,
) -> [u64; LIMBS] {
    let mut out = [0; LIMBS];
    let mut carry = 0;
    let mut i = 0;
    while i < LIMBS {
        let bit = 52 * i;
        let (word, shift) = (bit / 64, bit % 64);
        let mut limb = number[word] >> shift;
        if shift > 12 && word + 1 < WORDS {
            limb |= number[word + 1] << (64 - shift);
        }
        let sum = (limb & MASK) * factor + carry;
        out[i] = sum & MASK;
        carry = sum >> 52;
        i += 1;
    }
    out
}

/// -1 / number modulo 2^52, by the lowest word of an odd number.
const fn minus_inverse(word: u64) -> u64 {
    // Newton's iteration doubles the right bits each time; an odd number is its own inverse modulo 8.
    let mut inverse = word;
    let mut round = 0;
    while round < 5 {
        inverse = inverse.wrapping_mul(2_u64.wrapping_sub(word.wrapping_mul(inverse)));
        round += 1;
    }
    inverse.wrapping_neg() & MASK
}
