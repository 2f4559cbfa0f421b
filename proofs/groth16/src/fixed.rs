//! Many multiples of one point, by tables of its multiples.

use blstrs::Scalar;
use group::Curve as _;
use rayon::prelude::*;

use crate::curve::{Adder, Affine, BATCH, Curve, prefetch};
use crate::digits::Windows;

/// Bits of the largest digits: tables of 2^15 points for each of 16 digits take 48 MiB in G1 and 96 MiB in G2.
const MOST_BITS: usize = 16;

/// Multiples of a point: for each digit d and window w of b bits, d * 2^(b w) times the point.
pub struct Table<C: Curve> {
    windows: Windows,
    multiples: Vec<Vec<Affine<C::Field>>>,
}

impl<C: Curve> Table<C> {
    /// Make the tables that are cheapest for a number of products: an entry costs as much as a digit of a product.
    pub fn of(base: &C::Projective, products: usize) -> Self {
        let windows = Windows::cheapest(MOST_BITS, |bits| products + (1 << (bits - 1)));
        let mut bases = Vec::with_capacity(windows.count);
        let mut power = *base;
        for _ in 0..windows.count {
            bases.push(C::take(&power.to_affine()));
            for _ in 0..windows.bits {
                power = power + power;
            }
        }
        let multiples = bases
            .into_par_iter()
            .map(|base| multiples::<C>(base, windows.largest()))
            .collect();
        Self { windows, multiples }
    }

    /// Multiply the point by each scalar; a multiple of zero is infinity.
    pub fn multiply(&self, scalars: &[Scalar]) -> Vec<Affine<C::Field>> {
        let mut products = vec![Affine::default(); scalars.len()];
        products
            .par_chunks_mut(BATCH)
            .zip(scalars.par_chunks(BATCH))
            .for_each_init(Adder::new, |adder, (products, scalars)| {
                self.multiply_batch(scalars, products, adder);
            });
        products
    }

    fn multiply_batch(
        &self,
        scalars: &[Scalar],
        products: &mut [Affine<C::Field>],
        adder: &mut Adder<C::Field>,
    ) {
        let words: Vec<_> = scalars
            .iter()
            .map(|scalar| self.windows.words(scalar))
            .collect();
        let mut sums = vec![Affine::default(); products.len()];
        let mut digits = vec![0; products.len()];
        for (window, multiples) in self.multiples.iter().enumerate() {
            for (digit, words) in digits.iter_mut().zip(&words) {
                *digit = self.windows.digit(words, window);
                prefetch(&multiples[(digit.unsigned_abs() as usize).saturating_sub(1)]);
            }
            let term = |k: usize| {
                let digit = digits[k];
                if digit == 0 {
                    return Affine::default();
                }
                let multiple = multiples[digit.unsigned_abs() as usize - 1];
                if digit < 0 {
                    multiple.negate()
                } else {
                    multiple
                }
            };
            let get = |k: usize| (products[k], term(k));
            adder.add(products.len(), get, |k, sum| sums[k] = sum);
            products.copy_from_slice(&sums);
        }
    }
}

/// base, 2 base, ... count base.
fn multiples<C: Curve>(base: Affine<C::Field>, count: usize) -> Vec<Affine<C::Field>> {
    let mut table = Vec::with_capacity(count);
    table.push(base);
    let mut adder = Adder::new();
    // The first n multiples plus n times the base are the next n.
    while table.len() < count {
        let known = table.len();
        let last = table[known - 1];
        for first in (0..known).step_by(BATCH) {
            let size = BATCH.min(known - first);
            let mut sums = vec![Affine::default(); size];
            adder.add(size, |k| (table[first + k], last), |k, sum| sums[k] = sum);
            table.extend(sums);
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::curve::{G1, G2};
    use blstrs::{G1Projective, G2Projective};
    use ff::Field;
    use group::Group;

    fn check<C: Curve>(base: C::Projective) {
        let mut scalars = vec![
            Scalar::ZERO,
            Scalar::ONE,
            -Scalar::ONE,
            Scalar::from(1 << 15),
            Scalar::from((1 << 15) + 1),
            Scalar::from(u64::MAX),
            -Scalar::from(u64::MAX),
        ];
        let mut rng = rand::thread_rng();
        scalars.extend((0..1500).map(|_| Scalar::random(&mut rng)));
        for products in [0, 1, 100, 5000, 10_000_000] {
            let table = Table::<C>::of(&base, products);
            for (scalar, product) in scalars.iter().zip(table.multiply(&scalars)) {
                assert_eq!(C::give(&product), (base * scalar).to_affine());
            }
            assert!(table.multiply(&[]).is_empty());
        }
    }

    #[test]
    fn products_are_those_of_the_curve() {
        check::<G1>(G1Projective::generator() * Scalar::from(77));
        check::<G2>(G2Projective::generator() * Scalar::from(78));
    }
}
