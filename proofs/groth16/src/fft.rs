//! Fast Fourier transforms over the scalar field, and the quotient polynomial of a proof.
//!
//! Transforms come in two halves that need no permutation between them: from evaluations in their order to coefficients
//! in bit-reversed order (decimation in frequency), and back (decimation in time). Both cut their work in two until a part
//! fits a core's own cache, so that the parts are independent tasks.

use blstrs::Scalar;
use ff::{Field, PrimeField};
use rayon::prelude::*;

#[cfg(target_arch = "x86_64")]
use crate::{curve::is_wide, wide};

/// Below this length a transform is one task: 4,096 scalars are 128 KiB.
const ALONE: usize = 1 << 12;

/// Elements that one task of an element-wise step handles.
const CHUNK: usize = 1 << 14;

/// The roots of unity of a size: 2^k-th roots, for powers of two up to 2^31.
pub struct Domain {
    size: usize,
    /// Powers of the primitive root: those of the whole size, then those of each half size.
    levels: Vec<Vec<Scalar>>,
}

impl Domain {
    /// Make the smallest domain with room for a number of constraints.
    pub fn new(constraints: usize) -> Option<Self> {
        let size = constraints.next_power_of_two();
        let log = size.trailing_zeros();
        if log >= Scalar::S {
            return None;
        }
        let mut root = Scalar::ROOT_OF_UNITY;
        for _ in log..Scalar::S {
            root = root.square();
        }
        let mut levels = Vec::new();
        let mut half = size / 2;
        while half > 0 {
            levels.push(powers(Scalar::ONE, root, half));
            root = root.square();
            half /= 2;
        }
        Some(Self { size, levels })
    }

    pub const fn size(&self) -> usize {
        self.size
    }

    /// The inverse of the size.
    fn scale(&self) -> Scalar {
        Scalar::from(self.size as u64)
            .invert()
            .expect("a size is not zero")
    }

    /// Turn evaluations into coefficients in bit-reversed order, times the size.
    pub fn to_coefficients(&self, values: &mut [Scalar]) {
        assert_eq!(values.len(), self.size);
        decimate_in_frequency(values, &self.levels);
    }

    /// Turn coefficients in bit-reversed order into evaluations.
    pub fn to_evaluations(&self, values: &mut [Scalar]) {
        assert_eq!(values.len(), self.size);
        decimate_in_time(values, &self.levels);
    }

    /// Multiply coefficient i, in bit-reversed order, by `first * ratio^i`.
    fn distribute(&self, values: &mut [Scalar], first: Scalar, ratio: Scalar) {
        let log = self.size.trailing_zeros();
        // The index of place p is p's bits reversed: its high half comes from p's low half.
        let low_bits = log / 2;
        let high_bits = log - low_bits;
        let of_low_places = powers(
            Scalar::ONE,
            ratio.pow_vartime([1 << high_bits]),
            1 << low_bits,
        );
        let of_high_places = powers(first, ratio, 1 << high_bits);
        values
            .par_chunks_mut(1 << low_bits)
            .enumerate()
            .with_min_len((CHUNK >> low_bits).max(1))
            .for_each(|(high, values)| {
                let factor = of_high_places[reverse(high, high_bits)];
                for (low, value) in values.iter_mut().enumerate() {
                    *value *= factor * of_low_places[reverse(low, low_bits)];
                }
            });
    }

    /// Compute the quotient h = (a * b - c) / z from the evaluations of a, b and c, where c = a * b on the domain.
    ///
    /// With C the polynomial through a * b on the domain and C' the one through a * b on a coset, on which z is the
    /// constant k, a * b = C + z h gives C' = C + k h: one transform less than by evaluating c on the coset as well.
    /// Returns the coefficients in their order; the highest is zero if the constraints hold.
    pub fn quotient(
        &self,
        mut a: Vec<Scalar>,
        mut b: Vec<Scalar>,
        mut c: Vec<Scalar>,
    ) -> Vec<Scalar> {
        let shift = Scalar::MULTIPLICATIVE_GENERATOR;
        let scale = self.scale();
        for values in [&mut a, &mut b] {
            values.resize(self.size, Scalar::ZERO);
            self.to_coefficients(values);
            self.distribute(values, scale, shift);
            self.to_evaluations(values);
        }
        a.par_chunks_mut(CHUNK)
            .zip(b.par_chunks(CHUNK))
            .for_each(|(a, b)| a.iter_mut().zip(b).for_each(|(a, b)| *a *= b));
        drop(b);
        self.to_coefficients(&mut a);
        c.resize(self.size, Scalar::ZERO);
        self.to_coefficients(&mut c);
        let z = shift.pow_vartime([self.size as u64]) - Scalar::ONE;
        let over_z = scale * z.invert().expect("the coset is not the domain");
        let back = shift.invert().expect("a generator is not zero");
        self.distribute(&mut a, over_z, back);
        a.par_chunks_mut(CHUNK)
            .zip(c.par_chunks(CHUNK))
            .for_each(|(a, c)| a.iter_mut().zip(c).for_each(|(a, c)| *a -= over_z * c));
        let log = self.size.trailing_zeros();
        c.par_chunks_mut(CHUNK)
            .enumerate()
            .for_each(|(chunk, out)| {
                for (i, out) in out.iter_mut().enumerate() {
                    *out = a[reverse(chunk * CHUNK + i, log)];
                }
            });
        c
    }

    /// Evaluate each Lagrange polynomial of the domain at a point.
    pub fn lagrange(&self, tau: &Scalar) -> Vec<Scalar> {
        // Coefficients tau^i make, transformed, sum_i (tau w^-j)^i / size.
        let mut values = powers(self.scale(), *tau, self.size);
        self.to_coefficients(&mut values);
        let log = self.size.trailing_zeros();
        for i in 0..self.size {
            let j = reverse(i, log);
            if i < j {
                values.swap(i, j);
            }
        }
        values
    }

    /// Evaluate the polynomial that is zero on the domain.
    pub fn vanishing(&self, tau: &Scalar) -> Scalar {
        tau.pow_vartime([self.size as u64]) - Scalar::ONE
    }
}

/// `first * ratio^i` for each i below `count`.
pub fn powers(first: Scalar, ratio: Scalar, count: usize) -> Vec<Scalar> {
    let mut out = vec![Scalar::ZERO; count];
    out.par_chunks_mut(CHUNK)
        .enumerate()
        .for_each(|(chunk, out)| {
            let mut power = first * ratio.pow_vartime([(chunk * CHUNK) as u64]);
            for value in out {
                *value = power;
                power *= ratio;
            }
        });
    out
}

fn reverse(index: usize, bits: u32) -> usize {
    index
        .reverse_bits()
        .checked_shr(usize::BITS - bits)
        .unwrap_or(0)
}

/// Decimation in frequency, with inverse roots: w^-j is -w^(half - j).
fn decimate_in_frequency(values: &mut [Scalar], levels: &[Vec<Scalar>]) {
    let half = values.len() / 2;
    if half == 0 {
        return;
    }
    let (roots, below) = (&levels[0], &levels[1..]);
    let (low, high) = values.split_at_mut(half);
    let butterflies = |first: usize, low: &mut [Scalar], high: &mut [Scalar]| {
        let done = usize::from(first == 0);
        if first == 0 {
            (low[0], high[0]) = (low[0] + high[0], low[0] - high[0]);
        }
        let (low, high) = (&mut low[done..], &mut high[done..]);
        let from = half - first - done + 1;
        let roots = &roots[from - low.len()..from];
        let done = wide_butterflies_in_frequency(low, high, roots);
        let pairs = low.iter_mut().zip(high).skip(done);
        for ((x, y), root) in pairs.zip(roots.iter().rev().skip(done)) {
            (*x, *y) = (*x + *y, (*y - *x) * root);
        }
    };
    if values_alone(half) {
        butterflies(0, low, high);
        decimate_in_frequency(low, below);
        decimate_in_frequency(high, below);
    } else {
        low.par_chunks_mut(CHUNK)
            .zip(high.par_chunks_mut(CHUNK))
            .enumerate()
            .for_each(|(chunk, (low, high))| butterflies(chunk * CHUNK, low, high));
        rayon::join(
            || decimate_in_frequency(low, below),
            || decimate_in_frequency(high, below),
        );
    }
}

/// Decimation in time, with the roots themselves.
fn decimate_in_time(values: &mut [Scalar], levels: &[Vec<Scalar>]) {
    let half = values.len() / 2;
    if half == 0 {
        return;
    }
    let (roots, below) = (&levels[0], &levels[1..]);
    let (low, high) = values.split_at_mut(half);
    let butterflies = |first: usize, low: &mut [Scalar], high: &mut [Scalar]| {
        let roots = &roots[first..first + low.len()];
        let done = wide_butterflies_in_time(low, high, roots);
        let pairs = low.iter_mut().zip(high).skip(done);
        for ((x, y), root) in pairs.zip(&roots[done..]) {
            let product = *y * root;
            (*x, *y) = (*x + product, *x - product);
        }
    };
    if values_alone(half) {
        decimate_in_time(low, below);
        decimate_in_time(high, below);
        butterflies(0, low, high);
    } else {
        rayon::join(
            || decimate_in_time(low, below),
            || decimate_in_time(high, below),
        );
        low.par_chunks_mut(CHUNK)
            .zip(high.par_chunks_mut(CHUNK))
            .enumerate()
            .for_each(|(chunk, (low, high))| butterflies(chunk * CHUNK, low, high));
    }
}

/// Do what the machine's wide instructions can, and return how many that were.
fn wide_butterflies_in_frequency(
    low: &mut [Scalar],
    high: &mut [Scalar],
    roots: &[Scalar],
) -> usize {
    assert!(low.len() == high.len() && low.len() == roots.len());
    #[cfg(target_arch = "x86_64")]
    if is_wide() {
        // SAFETY: the machine has the instructions, and the slices are equally long.
        return unsafe { wide::butterflies_in_frequency(low, high, roots) };
    }
    0
}

/// Do what the machine's wide instructions can, and return how many that were.
fn wide_butterflies_in_time(low: &mut [Scalar], high: &mut [Scalar], roots: &[Scalar]) -> usize {
    assert!(low.len() == high.len() && low.len() == roots.len());
    #[cfg(target_arch = "x86_64")]
    if is_wide() {
        // SAFETY: the machine has the instructions, and the slices are equally long.
        return unsafe { wide::butterflies_in_time(low, high, roots) };
    }
    0
}

const fn values_alone(half: usize) -> bool {
    2 * half <= ALONE
}
