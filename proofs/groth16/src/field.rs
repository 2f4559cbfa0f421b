//! The coordinate fields of the curve, as thin values over `blst`'s assembly.

use blst::{blst_fp, blst_fp2};

/// A field whose elements are coordinates: Fp under G1, Fp2 under G2. Elements are in Montgomery form.
pub trait Field: Copy + Default + Send + Sync + 'static {
    const ONE: Self;

    /// Eight elements for wide instructions.
    #[cfg(target_arch = "x86_64")]
    type Lanes: crate::wide::Lanes<Element = Self> + Send;

    fn add(&self, other: &Self) -> Self;
    fn sub(&self, other: &Self) -> Self;
    fn mul(&self, other: &Self) -> Self;
    fn square(&self) -> Self;
    fn negate(&self) -> Self;
    /// The inverse; that of zero is zero.
    fn invert(&self) -> Self;

    /// 2^48 times the element.
    fn times_2_to_48(&self) -> Self {
        (0..48).fold(*self, |sum, _| sum.add(&sum))
    }

    fn equals(&self, other: &Self) -> bool;
    fn is_zero(&self) -> bool;

    /// Read the big-endian bytes of a point's coordinate. They are not checked.
    fn read(bytes: &[u8]) -> Self;
    /// Write big-endian bytes.
    fn write(&self, bytes: &mut [u8]);
}

/// Bytes of an element of Fp.
const FP_BYTES: usize = 48;

/// 2^384 modulo the field's prime: one, in Montgomery form.
const FP_ONE: blst_fp = blst_fp {
    l: [
        0x7609_0000_0002_fffd,
        0xebf4_000b_c40c_0002,
        0x5f48_9857_53c7_58ba,
        0x77ce_5853_7052_5745,
        0x5c07_1a97_a256_ec6d,
        0x15f6_5ec3_fa80_e493,
    ],
};

fn fp_words(element: &blst_fp) -> impl Iterator<Item = u64> {
    element.l.into_iter()
}

fn fp2_words(element: &blst_fp2) -> impl Iterator<Item = u64> {
    element.fp.into_iter().flat_map(|part| part.l)
}

/// Define the operations of a field by the functions of `blst`.
macro_rules! operations {
    ($add:ident, $sub:ident, $mul:ident, $sqr:ident, $cneg:ident, $inverse:ident, $words:expr) => {
        #[inline]
        fn add(&self, other: &Self) -> Self {
            let mut out = Self::default();
            // SAFETY: the three pointers are of live values of the right type.
            unsafe { blst::$add(&raw mut out, self, other) };
            out
        }

        #[inline]
        fn sub(&self, other: &Self) -> Self {
            let mut out = Self::default();
            // SAFETY: as in `add`.
            unsafe { blst::$sub(&raw mut out, self, other) };
            out
        }

        #[inline]
        fn mul(&self, other: &Self) -> Self {
            let mut out = Self::default();
            // SAFETY: as in `add`.
            unsafe { blst::$mul(&raw mut out, self, other) };
            out
        }

        #[inline]
        fn square(&self) -> Self {
            let mut out = Self::default();
            // SAFETY: as in `add`.
            unsafe { blst::$sqr(&raw mut out, self) };
            out
        }

        #[inline]
        fn negate(&self) -> Self {
            let mut out = Self::default();
            // SAFETY: as in `add`.
            unsafe { blst::$cneg(&raw mut out, self, true) };
            out
        }

        fn invert(&self) -> Self {
            let mut out = Self::default();
            // SAFETY: as in `add`.
            unsafe { blst::$inverse(&raw mut out, self) };
            out
        }

        #[inline]
        fn equals(&self, other: &Self) -> bool {
            // Without a call of memcmp, which costs as much as an addition.
            let pairs = $words(self).zip($words(other));
            pairs.fold(0, |differs, (a, b)| differs | (a ^ b)) == 0
        }

        #[inline]
        fn is_zero(&self) -> bool {
            $words(self).fold(0, |any, word| any | word) == 0
        }
    };
}

impl Field for blst_fp {
    const ONE: Self = FP_ONE;

    #[cfg(target_arch = "x86_64")]
    type Lanes = crate::wide::Fp8;

    operations!(
        blst_fp_add,
        blst_fp_sub,
        blst_fp_mul,
        blst_fp_sqr,
        blst_fp_cneg,
        blst_fp_inverse,
        fp_words
    );

    #[inline]
    fn read(bytes: &[u8]) -> Self {
        assert_eq!(bytes.len(), FP_BYTES);
        let mut out = Self::default();
        // SAFETY: the function reads 48 bytes, and there are as many.
        unsafe { blst::blst_fp_from_bendian(&raw mut out, bytes.as_ptr()) };
        out
    }

    fn write(&self, bytes: &mut [u8]) {
        assert_eq!(bytes.len(), FP_BYTES);
        // SAFETY: the function writes 48 bytes, and there is room for as many.
        unsafe { blst::blst_bendian_from_fp(bytes.as_mut_ptr(), self) };
    }
}

impl Field for blst_fp2 {
    const ONE: Self = blst_fp2 {
        fp: [FP_ONE, blst_fp { l: [0; 6] }],
    };

    #[cfg(target_arch = "x86_64")]
    type Lanes = crate::wide::Fp2x8;

    operations!(
        blst_fp2_add,
        blst_fp2_sub,
        blst_fp2_mul,
        blst_fp2_sqr,
        blst_fp2_cneg,
        blst_fp2_inverse,
        fp2_words
    );

    #[inline]
    fn read(bytes: &[u8]) -> Self {
        let (c1, c0) = bytes.split_at(FP_BYTES);
        Self {
            fp: [blst_fp::read(c0), blst_fp::read(c1)],
        }
    }

    fn write(&self, bytes: &mut [u8]) {
        let (c1, c0) = bytes.split_at_mut(FP_BYTES);
        self.fp[0].write(c0);
        self.fp[1].write(c1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_one<F: Field>(bytes: &[u8]) {
        let x = F::read(bytes);
        assert!(x.mul(&F::ONE).equals(&x));
        assert!(x.mul(&x.invert()).equals(&F::ONE));
        assert!(x.add(&x.negate()).is_zero());
        assert!(x.square().equals(&x.mul(&x)));
        assert!(F::default().invert().is_zero());
        let mut written = vec![0; bytes.len()];
        x.write(&mut written);
        assert_eq!(written, bytes);
    }

    #[test]
    fn one_is_neutral_and_bytes_come_back() {
        let bytes: Vec<u8> = (0..96).map(|i| i % 24 + 1).collect();
        check_one::<blst_fp>(&bytes[..48]);
        check_one::<blst_fp2>(&bytes);
    }
}
