//! Butterflies of Fourier transforms over the scalar field, eight at a time.
//!
//! A vector holds the same limb of eight scalars; a scalar has five limbs of 52 bits. As elsewhere the scalars are those of
//! `blst`, in Montgomery form with 2^256, and a product is over 2^260: roots come with the missing 2^4.

use std::arch::x86_64::{
    __m512i, _mm512_add_epi64, _mm512_and_si512, _mm512_loadu_si512, _mm512_madd52hi_epu64,
    _mm512_madd52lo_epu64, _mm512_mask_blend_epi64, _mm512_movepi64_mask, _mm512_or_si512,
    _mm512_permutex2var_epi64, _mm512_permutexvar_epi64, _mm512_set1_epi64, _mm512_setr_epi64,
    _mm512_setzero_si512, _mm512_slli_epi64, _mm512_srai_epi64, _mm512_srli_epi64,
    _mm512_storeu_si512, _mm512_sub_epi64, _mm512_unpackhi_epi64, _mm512_unpacklo_epi64,
};

use blstrs::Scalar;

use super::{LANES, MASK, limbs_of, minus_inverse};

const LIMBS: usize = 5;

/// The order of the groups: the prime of the scalar field, in 64-bit words.
const PRIME: [u64; 4] = [
    0xffff_ffff_0000_0001,
    0x53bd_a402_fffe_5bfe,
    0x3339_d808_09a1_d805,
    0x73ed_a753_299d_7d48,
];

const PRIME_LIMBS: [u64; LIMBS] = limbs_of(&PRIME, 1);

const MINUS_INVERSE: u64 = minus_inverse(PRIME[0]);

const _: () = assert!(size_of::<Scalar>() == 32);

/// Eight scalars. Lanes are in no natural order, but always in the same.
#[derive(Clone, Copy)]
struct Fr8([__m512i; LIMBS]);

/// The 64-bit words of eight scalars, word by word.
#[derive(Clone, Copy)]
struct Words([__m512i; 4]);

impl Words {
    /// # Safety
    /// Eight scalars can be read, and the machine has the instructions.
    #[inline]
    #[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
    unsafe fn load(first: *const Scalar) -> Self {
        let place: *const __m512i = first.cast();
        // SAFETY: a scalar has four words, so eight of them fill four vectors.
        let (a, b, c, d) = unsafe {
            (
                _mm512_loadu_si512(place),
                _mm512_loadu_si512(place.add(1)),
                _mm512_loadu_si512(place.add(2)),
                _mm512_loadu_si512(place.add(3)),
            )
        };
        let (even_ab, odd_ab) = (_mm512_unpacklo_epi64(a, b), _mm512_unpackhi_epi64(a, b));
        let (even_cd, odd_cd) = (_mm512_unpacklo_epi64(c, d), _mm512_unpackhi_epi64(c, d));
        let first = _mm512_setr_epi64(0, 1, 4, 5, 8, 9, 12, 13);
        let second = _mm512_setr_epi64(2, 3, 6, 7, 10, 11, 14, 15);
        Self([
            _mm512_permutex2var_epi64(even_ab, first, even_cd),
            _mm512_permutex2var_epi64(odd_ab, first, odd_cd),
            _mm512_permutex2var_epi64(even_ab, second, even_cd),
            _mm512_permutex2var_epi64(odd_ab, second, odd_cd),
        ])
    }

    /// # Safety
    /// Eight scalars can be written, and the machine has the instructions.
    #[inline]
    #[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
    unsafe fn store(self, first: *mut Scalar) {
        let [w0, w1, w2, w3] = self.0;
        let low = _mm512_setr_epi64(0, 1, 8, 9, 2, 3, 10, 11);
        let high = _mm512_setr_epi64(4, 5, 12, 13, 6, 7, 14, 15);
        let (even_ab, even_cd) = (
            _mm512_permutex2var_epi64(w0, low, w2),
            _mm512_permutex2var_epi64(w0, high, w2),
        );
        let (odd_ab, odd_cd) = (
            _mm512_permutex2var_epi64(w1, low, w3),
            _mm512_permutex2var_epi64(w1, high, w3),
        );
        let place: *mut __m512i = first.cast();
        // SAFETY: as in `load`.
        unsafe {
            _mm512_storeu_si512(place, _mm512_unpacklo_epi64(even_ab, odd_ab));
            _mm512_storeu_si512(place.add(1), _mm512_unpackhi_epi64(even_ab, odd_ab));
            _mm512_storeu_si512(place.add(2), _mm512_unpacklo_epi64(even_cd, odd_cd));
            _mm512_storeu_si512(place.add(3), _mm512_unpackhi_epi64(even_cd, odd_cd));
        }
    }

    /// Put the scalars in the opposite order.
    #[inline]
    #[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
    fn reversed(self) -> Self {
        let order = _mm512_setr_epi64(7, 6, 5, 4, 3, 2, 1, 0);
        let [w0, w1, w2, w3] = self.0;
        Self([
            _mm512_permutexvar_epi64(order, w0),
            _mm512_permutexvar_epi64(order, w1),
            _mm512_permutexvar_epi64(order, w2),
            _mm512_permutexvar_epi64(order, w3),
        ])
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
    fn limbs(self) -> Fr8 {
        let mask = _mm512_set1_epi64(MASK.cast_signed());
        let [w0, w1, w2, w3] = self.0;
        Fr8([
            _mm512_and_si512(w0, mask),
            join(
                _mm512_srli_epi64::<52>(w0),
                _mm512_slli_epi64::<12>(w1),
                mask,
            ),
            join(
                _mm512_srli_epi64::<40>(w1),
                _mm512_slli_epi64::<24>(w2),
                mask,
            ),
            join(
                _mm512_srli_epi64::<28>(w2),
                _mm512_slli_epi64::<36>(w3),
                mask,
            ),
            _mm512_srli_epi64::<16>(w3),
        ])
    }

    /// The limbs of 2^4 times the scalars.
    #[inline]
    #[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
    fn limbs_of_sixteen_times(self) -> Fr8 {
        let mask = _mm512_set1_epi64(MASK.cast_signed());
        let [w0, w1, w2, w3] = self.0;
        Fr8([
            _mm512_and_si512(_mm512_slli_epi64::<4>(w0), mask),
            join(
                _mm512_srli_epi64::<48>(w0),
                _mm512_slli_epi64::<16>(w1),
                mask,
            ),
            join(
                _mm512_srli_epi64::<36>(w1),
                _mm512_slli_epi64::<28>(w2),
                mask,
            ),
            join(
                _mm512_srli_epi64::<24>(w2),
                _mm512_slli_epi64::<40>(w3),
                mask,
            ),
            _mm512_srli_epi64::<12>(w3),
        ])
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
fn join(low: __m512i, high: __m512i, mask: __m512i) -> __m512i {
    _mm512_and_si512(_mm512_or_si512(low, high), mask)
}

impl Fr8 {
    #[inline]
    #[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
    fn words(self) -> Words {
        let [l0, l1, l2, l3, l4] = self.0;
        Words([
            _mm512_or_si512(l0, _mm512_slli_epi64::<52>(l1)),
            _mm512_or_si512(_mm512_srli_epi64::<12>(l1), _mm512_slli_epi64::<40>(l2)),
            _mm512_or_si512(_mm512_srli_epi64::<24>(l2), _mm512_slli_epi64::<28>(l3)),
            _mm512_or_si512(_mm512_srli_epi64::<36>(l3), _mm512_slli_epi64::<16>(l4)),
        ])
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
    fn prime() -> [__m512i; LIMBS] {
        five!(I => _mm512_set1_epi64(PRIME_LIMBS[I].cast_signed()))
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
        carry!(0 1 2 3);
        Self(limbs)
    }

    /// Below the prime, of a value below two primes.
    #[inline]
    #[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
    fn canonical(self) -> Self {
        let prime = Self::prime();
        let less = Self::carried(five!(I => _mm512_sub_epi64(self.0[I], prime[I])));
        let negative = _mm512_movepi64_mask(less.0[LIMBS - 1]);
        Self(five!(I => _mm512_mask_blend_epi64(negative, less.0[I], self.0[I])))
    }

    /// The canonical sum of canonical scalars.
    #[inline]
    #[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
    fn plus(self, other: Self) -> Self {
        Self::carried(five!(I => _mm512_add_epi64(self.0[I], other.0[I]))).canonical()
    }

    /// self - other + the prime.
    #[inline]
    #[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
    fn minus(self, other: Self) -> Self {
        let prime = Self::prime();
        Self::carried(
            five!(I => _mm512_add_epi64(_mm512_sub_epi64(self.0[I], other.0[I]), prime[I])),
        )
    }

    /// The canonical product of a value below two primes and of sixteen times a canonical one, over 2^260.
    #[inline]
    #[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
    fn times(self, other: Self) -> Self {
        let zero = _mm512_setzero_si512();
        let prime = Self::prime();
        let minus_inverse = _mm512_set1_epi64(MINUS_INVERSE.cast_signed());
        let a = self.0;
        let mut t = [zero; LIMBS];
        macro_rules! round {
            ($($b:literal)*) => {
                $(
                    let b = other.0[$b];
                    t = five!(J => _mm512_madd52lo_epu64(t[J], a[J], b));
                    let m = _mm512_madd52lo_epu64(zero, t[0], minus_inverse);
                    t = five!(J => _mm512_madd52lo_epu64(t[J], m, prime[J]));
                    let carry = _mm512_srli_epi64::<52>(t[0]);
                    t = [_mm512_add_epi64(t[1], carry), t[2], t[3], t[4], zero];
                    t = five!(J => _mm512_madd52hi_epu64(t[J], a[J], b));
                    t = five!(J => _mm512_madd52hi_epu64(t[J], m, prime[J]));
                )*
            };
        }
        round!(0 1 2 3 4);
        Self::carried(t).canonical()
    }
}

/// (x, y) becomes (x + r y, x - r y), for as many as go into vectors; returns how many that were.
///
/// # Safety
/// The machine has the instructions. The slices are equally long.
#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
pub unsafe fn butterflies_in_time(
    low: &mut [Scalar],
    high: &mut [Scalar],
    roots: &[Scalar],
) -> usize {
    let whole = low.len() / LANES * LANES;
    for first in (0..whole).step_by(LANES) {
        // SAFETY: eight scalars from `first` on are within the slices.
        unsafe {
            let x = Words::load(low.as_ptr().add(first)).limbs();
            let y = Words::load(high.as_ptr().add(first)).limbs();
            let root = Words::load(roots.as_ptr().add(first)).limbs_of_sixteen_times();
            let product = y.times(root);
            x.plus(product).words().store(low.as_mut_ptr().add(first));
            x.minus(product)
                .canonical()
                .words()
                .store(high.as_mut_ptr().add(first));
        }
    }
    whole
}

/// (x, y) becomes (x + y, (y - x) r), where r comes from the end of `roots` backwards; returns how many were done.
///
/// # Safety
/// The machine has the instructions. The slices are equally long.
#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
pub unsafe fn butterflies_in_frequency(
    low: &mut [Scalar],
    high: &mut [Scalar],
    roots: &[Scalar],
) -> usize {
    let whole = low.len() / LANES * LANES;
    for first in (0..whole).step_by(LANES) {
        // SAFETY: eight scalars from `first` on, and from the end of the roots backwards, are within the slices.
        unsafe {
            let x = Words::load(low.as_ptr().add(first)).limbs();
            let y = Words::load(high.as_ptr().add(first)).limbs();
            let root = Words::load(roots.as_ptr().add(roots.len() - first - LANES));
            let product = y.minus(x).times(root.reversed().limbs_of_sixteen_times());
            x.plus(y).words().store(low.as_mut_ptr().add(first));
            product.words().store(high.as_mut_ptr().add(first));
        }
    }
    whole
}
