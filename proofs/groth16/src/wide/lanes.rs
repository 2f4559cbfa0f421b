//! Eight elements of the coordinate fields.
//!
//! A vector holds the same limb of eight elements of Fp; an element has eight limbs of 52 bits, the lowest first. A
//! multiplication divides by 2^416.

use std::arch::x86_64::{
    __m512i, __mmask8, _mm512_add_epi64, _mm512_and_si512, _mm512_cmpeq_epi64_mask,
    _mm512_i64gather_epi64, _mm512_madd52hi_epu64, _mm512_madd52lo_epu64, _mm512_mask_blend_epi64,
    _mm512_movepi64_mask, _mm512_or_si512, _mm512_set1_epi64, _mm512_setr_epi64,
    _mm512_setzero_si512, _mm512_slli_epi64, _mm512_srai_epi64, _mm512_srli_epi64,
    _mm512_storeu_si512, _mm512_sub_epi64,
};

use blst::{blst_fp, blst_fp2};

use super::{LANES, MASK, limbs_of, minus_inverse};
use crate::field::Field;

const LIMBS: usize = 8;

/// The prime of Fp, in 64-bit words.
const PRIME: [u64; 6] = [
    0xb9fe_ffff_ffff_aaab,
    0x1eab_fffe_b153_ffff,
    0x6730_d2a0_f6b0_f624,
    0x6477_4b84_f385_12bf,
    0x4b1b_a7b6_434b_acd7,
    0x1a01_11ea_397f_e69a,
];

/// Multiples of the prime in limbs: once, twice, four times.
const MULTIPLES: [[u64; LIMBS]; 3] = [
    limbs_of(&PRIME, 1),
    limbs_of(&PRIME, 2),
    limbs_of(&PRIME, 4),
];

const MINUS_INVERSE: u64 = minus_inverse(PRIME[0]);

/// Eight elements of Fp. Limbs have 52 bits, and values are below 2^416.
#[derive(Clone, Copy)]
pub struct Fp8([__m512i; LIMBS]);

/// Eight elements of Fp2.
#[derive(Clone, Copy)]
pub struct Fp2x8([Fp8; 2]);

/// Eight elements of a coordinate field.
///
/// The methods that say so take and return values of a few times the prime; the comments give the bounds, in primes.
pub trait Lanes: Copy + Send {
    type Element: Field;

    /// Load eight elements that lie `stride` words apart.
    ///
    /// # Safety
    /// All of them can be read, and the machine has the instructions.
    unsafe fn load(first: *const u64, stride: usize) -> Self;
    /// Store canonical values at the same places.
    ///
    /// # Safety
    /// All of them can be written, and the machine has the instructions.
    unsafe fn store(&self, first: *mut u64, stride: usize);
    /// Which elements are zero, of canonical values.
    ///
    /// # Safety
    /// The machine has the instructions, as for all that follow.
    unsafe fn zeros(&self) -> __mmask8;
    /// Which elements are the same, of canonical values.
    ///
    /// # Safety
    /// See `zeros`.
    unsafe fn same(&self, other: &Self) -> __mmask8;
    /// Take the elements of `other` where a bit is set.
    ///
    /// # Safety
    /// See `zeros`.
    unsafe fn replace(&self, which: __mmask8, other: &Self) -> Self;
    /// A product over 2^416 of values whose own product is up to 2^31 primes squared: Fp gives up to 1.1, Fp2 up to 5.1.
    ///
    /// # Safety
    /// See `zeros`.
    unsafe fn mul(&self, other: &Self) -> Self;
    /// self - other + 1, for a canonical `other`.
    ///
    /// # Safety
    /// See `zeros`.
    unsafe fn sub(&self, other: &Self) -> Self;
    /// 2^16 times values up to 2.
    ///
    /// # Safety
    /// See `zeros`.
    unsafe fn shift(&self) -> Self;
    /// The same elements below the prime, of values below 8.
    ///
    /// # Safety
    /// See `zeros`.
    unsafe fn canonical(&self) -> Self;
}

impl Fp8 {
    #[inline]
    #[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
    fn constant(limbs: &[u64; LIMBS]) -> Self {
        Self(eight!(I => _mm512_set1_epi64(limbs[I].cast_signed())))
    }

    /// Bring limbs back to 52 bits; they may be negative, as long as the value is not.
    #[inline]
    #[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
    fn carried(mut limbs: [__m512i; LIMBS]) -> Self {
        let mask = _mm512_set1_epi64(MASK.cast_signed());
        macro_rules! carry {
            ($($i:literal)*) => {
                $(
                    let carry = _mm512_srai_epi64::<52>(limbs[$i]);
                    limbs[$i] = _mm512_and_si512(limbs[$i], mask);
                    limbs[$i + 1] = _mm512_add_epi64(limbs[$i + 1], carry);
                )*
            };
        }
        carry!(0 1 2 3 4 5 6);
        Self(limbs)
    }

    /// self - other + a multiple of the prime.
    #[inline]
    #[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
    fn sub_plus(&self, other: &Self, multiple: &[u64; LIMBS]) -> Self {
        Self::carried(eight!(I => {
            let difference = _mm512_sub_epi64(self.0[I], other.0[I]);
            _mm512_add_epi64(difference, _mm512_set1_epi64(multiple[I].cast_signed()))
        }))
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
    fn plus(&self, other: &Self) -> Self {
        Self::carried(eight!(I => _mm512_add_epi64(self.0[I], other.0[I])))
    }

    /// Subtract a multiple of the prime where the value is not below it.
    #[inline]
    #[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
    fn below(&self, multiple: &[u64; LIMBS]) -> Self {
        let less = Self::carried(eight!(I => {
            _mm512_sub_epi64(self.0[I], _mm512_set1_epi64(multiple[I].cast_signed()))
        }));
        let negative = _mm512_movepi64_mask(less.0[LIMBS - 1]);
        Self(eight!(I => {
            _mm512_mask_blend_epi64(negative, less.0[I], self.0[I])
        }))
    }

    /// Montgomery's product, over 2^416.
    ///
    /// Each round adds one limb's multiple of `self`, and the multiple of the prime that clears the lowest limb. A limb
    /// gathers at most 32 terms of 52 bits before it is carried.
    #[inline]
    #[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
    fn product(&self, other: &Self) -> Self {
        let zero = _mm512_setzero_si512();
        let prime = Self::constant(&MULTIPLES[0]).0;
        let minus_inverse = _mm512_set1_epi64(MINUS_INVERSE.cast_signed());
        let a = &self.0;
        let mut t = [zero; LIMBS];
        macro_rules! round {
            ($b:literal) => {
                let b = other.0[$b];
                t = eight!(J => _mm512_madd52lo_epu64(t[J], a[J], b));
                let m = _mm512_madd52lo_epu64(zero, t[0], minus_inverse);
                t = eight!(J => _mm512_madd52lo_epu64(t[J], m, prime[J]));
                let carry = _mm512_srli_epi64::<52>(t[0]);
                t = [_mm512_add_epi64(t[1], carry), t[2], t[3], t[4], t[5], t[6], t[7], zero];
                t = eight!(J => _mm512_madd52hi_epu64(t[J], a[J], b));
                t = eight!(J => _mm512_madd52hi_epu64(t[J], m, prime[J]));
            };
        }
        round!(0);
        round!(1);
        round!(2);
        round!(3);
        round!(4);
        round!(5);
        round!(6);
        round!(7);
        Self::carried(t)
    }
}

impl Lanes for Fp8 {
    type Element = blst_fp;

    #[inline]
    #[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
    unsafe fn load(first: *const u64, stride: usize) -> Self {
        let places = (stride * size_of::<u64>()).cast_signed() as i64;
        let index = _mm512_setr_epi64(
            0,
            places,
            2 * places,
            3 * places,
            4 * places,
            5 * places,
            6 * places,
            7 * places,
        );
        // SAFETY: the caller vouches for the six words of each lane.
        macro_rules! word {
            ($i:literal) => {
                _mm512_i64gather_epi64::<1>(index, first.add($i).cast())
            };
        }
        // SAFETY: the caller vouches for the six words of each lane.
        let w = unsafe { [word!(0), word!(1), word!(2), word!(3), word!(4), word!(5)] };
        let mask = _mm512_set1_epi64(MASK.cast_signed());
        let join = |low, high| _mm512_and_si512(_mm512_or_si512(low, high), mask);
        Self([
            _mm512_and_si512(w[0], mask),
            join(_mm512_srli_epi64::<52>(w[0]), _mm512_slli_epi64::<12>(w[1])),
            join(_mm512_srli_epi64::<40>(w[1]), _mm512_slli_epi64::<24>(w[2])),
            join(_mm512_srli_epi64::<28>(w[2]), _mm512_slli_epi64::<36>(w[3])),
            join(_mm512_srli_epi64::<16>(w[3]), _mm512_slli_epi64::<48>(w[4])),
            _mm512_and_si512(_mm512_srli_epi64::<4>(w[4]), mask),
            join(_mm512_srli_epi64::<56>(w[4]), _mm512_slli_epi64::<8>(w[5])),
            _mm512_srli_epi64::<44>(w[5]),
        ])
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
    unsafe fn store(&self, first: *mut u64, stride: usize) {
        let l = &self.0;
        let words = [
            _mm512_or_si512(l[0], _mm512_slli_epi64::<52>(l[1])),
            _mm512_or_si512(_mm512_srli_epi64::<12>(l[1]), _mm512_slli_epi64::<40>(l[2])),
            _mm512_or_si512(_mm512_srli_epi64::<24>(l[2]), _mm512_slli_epi64::<28>(l[3])),
            _mm512_or_si512(_mm512_srli_epi64::<36>(l[3]), _mm512_slli_epi64::<16>(l[4])),
            _mm512_or_si512(
                _mm512_or_si512(_mm512_srli_epi64::<48>(l[4]), _mm512_slli_epi64::<4>(l[5])),
                _mm512_slli_epi64::<56>(l[6]),
            ),
            _mm512_or_si512(_mm512_srli_epi64::<8>(l[6]), _mm512_slli_epi64::<44>(l[7])),
        ];
        let mut lanes = [[0_u64; LANES]; 6];
        for (word, lanes) in words.iter().zip(&mut lanes) {
            // SAFETY: there is room for eight words.
            unsafe { _mm512_storeu_si512(lanes.as_mut_ptr().cast(), *word) };
        }
        for lane in 0..LANES {
            for (i, word) in lanes.iter().enumerate() {
                // SAFETY: the caller vouches for the six words of each lane.
                unsafe { *first.add(lane * stride + i) = word[lane] };
            }
        }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
    unsafe fn zeros(&self) -> __mmask8 {
        let any = self.0[1..]
            .iter()
            .fold(self.0[0], |any, limb| _mm512_or_si512(any, *limb));
        _mm512_cmpeq_epi64_mask(any, _mm512_setzero_si512())
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
    unsafe fn same(&self, other: &Self) -> __mmask8 {
        let pairs = self.0.iter().zip(&other.0);
        pairs.fold(0xff, |same, (a, b)| same & _mm512_cmpeq_epi64_mask(*a, *b))
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
    unsafe fn replace(&self, which: __mmask8, other: &Self) -> Self {
        Self(eight!(I => _mm512_mask_blend_epi64(which, self.0[I], other.0[I])))
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
    unsafe fn mul(&self, other: &Self) -> Self {
        self.product(other)
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
    unsafe fn sub(&self, other: &Self) -> Self {
        self.sub_plus(other, &MULTIPLES[0])
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
    unsafe fn shift(&self) -> Self {
        Self::carried(eight!(I => _mm512_slli_epi64::<11>(self.0[I]))).shifted_by_five()
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
    unsafe fn canonical(&self) -> Self {
        self.below(&MULTIPLES[2])
            .below(&MULTIPLES[1])
            .below(&MULTIPLES[0])
    }
}

impl Fp8 {
    /// A limb of 52 bits has room for eleven more at a time, with the sign.
    #[inline]
    #[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
    fn shifted_by_five(&self) -> Self {
        Self::carried(eight!(I => _mm512_slli_epi64::<5>(self.0[I])))
    }
}

impl Lanes for Fp2x8 {
    type Element = blst_fp2;

    #[inline]
    #[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
    unsafe fn load(first: *const u64, stride: usize) -> Self {
        // SAFETY: the caller vouches for the twelve words of each lane.
        unsafe { Self([Fp8::load(first, stride), Fp8::load(first.add(6), stride)]) }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
    unsafe fn store(&self, first: *mut u64, stride: usize) {
        // SAFETY: the caller vouches for the twelve words of each lane.
        unsafe {
            self.0[0].store(first, stride);
            self.0[1].store(first.add(6), stride);
        }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
    unsafe fn zeros(&self) -> __mmask8 {
        // SAFETY: the machine has the instructions.
        unsafe { self.0[0].zeros() & self.0[1].zeros() }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
    unsafe fn same(&self, other: &Self) -> __mmask8 {
        // SAFETY: the machine has the instructions.
        unsafe { self.0[0].same(&other.0[0]) & self.0[1].same(&other.0[1]) }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
    unsafe fn replace(&self, which: __mmask8, other: &Self) -> Self {
        // SAFETY: the machine has the instructions.
        unsafe {
            Self([
                self.0[0].replace(which, &other.0[0]),
                self.0[1].replace(which, &other.0[1]),
            ])
        }
    }

    /// Karatsuba's three products; i^2 = -1.
    #[inline]
    #[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
    unsafe fn mul(&self, other: &Self) -> Self {
        let ([a0, a1], [b0, b1]) = (&self.0, &other.0);
        let (low, high) = (a0.product(b0), a1.product(b1));
        let cross = a0.plus(a1).product(&b0.plus(b1));
        let real = low.sub_plus(&high, &MULTIPLES[1]);
        let imaginary = cross.sub_plus(&low.plus(&high), &MULTIPLES[2]);
        Self([real, imaginary])
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
    unsafe fn sub(&self, other: &Self) -> Self {
        // SAFETY: the machine has the instructions.
        unsafe { Self([self.0[0].sub(&other.0[0]), self.0[1].sub(&other.0[1])]) }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
    unsafe fn shift(&self) -> Self {
        // SAFETY: the machine has the instructions.
        unsafe { Self([self.0[0].shift(), self.0[1].shift()]) }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
    unsafe fn canonical(&self) -> Self {
        // SAFETY: the machine has the instructions.
        unsafe { Self([self.0[0].canonical(), self.0[1].canonical()]) }
    }
}
