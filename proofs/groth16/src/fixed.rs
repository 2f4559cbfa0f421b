//! Many multiples of one point, by tables of its multiples.

use blstrs::Scalar;
use group::Curve as _;
use rayon::prelude::*;

use crate::curve::{Adder, Affine, BATCH, Curve, prefetch};

/// Bits of a digit: the tables have 2^15 points for each of 16 digits, 48 MiB in G1 and 96 MiB in G2.
const BITS: usize = 16;

/// 256 bits.
const DIGITS: usize = 256 / BITS;

/// Multiples of a point: for each digit d and place w, d * 2^(16 w) times the point.
///
/// Digits are signed, so a table ends at 2^15.
pub struct Table<C: Curve> {
    places: Vec<Vec<Affine<C::Field>>>,
}

impl<C: Curve> Table<C> {
    pub fn of(base: &C::Projective) -> Self {
        let mut bases = Vec::with_capacity(DIGITS);
        let mut power = *base;
        for _ in 0..DIGITS {
            bases.push(C::take(&power.to_affine()));
            for _ in 0..BITS {
                power = power + power;
            }
        }
        let places = bases
            .into_par_iter()
            .map(|base| multiples::<C>(base))
            .collect();
        Self { places }
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
        let digits: Vec<_> = scalars.iter().map(signed_digits).collect();
        let mut sums = vec![Affine::default(); products.len()];
        for (place, table) in self.places.iter().enumerate() {
            for digits in &digits {
                prefetch(&table[(digits[place].unsigned_abs() as usize).saturating_sub(1)]);
            }
            let term = |k: usize| {
                let digit = digits[k][place];
                if digit == 0 {
                    return Affine::default();
                }
                let multiple = table[digit.unsigned_abs() as usize - 1];
                if digit < 0 {
                    multiple.negate()
                } else {
                    multiple
                }
            };
            adder.add(
                products.len(),
                |k| (products[k], term(k)),
                |k, sum| sums[k] = sum,
            );
            products.copy_from_slice(&sums);
        }
    }
}

/// base, 2 base, ... 2^15 base.
fn multiples<C: Curve>(base: Affine<C::Field>) -> Vec<Affine<C::Field>> {
    let count = 1 << (BITS - 1);
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

/// Digits from -2^15 to 2^15, the lowest first. Scalars are below 2^255, so nothing is carried out of the last.
fn signed_digits(scalar: &Scalar) -> [i32; DIGITS] {
    let bytes = scalar.to_bytes_le();
    let mut carry = 0;
    std::array::from_fn(|place| {
        let digit = i32::from(bytes[2 * place]) + 256 * i32::from(bytes[2 * place + 1]) + carry;
        carry = i32::from(digit > 1 << (BITS - 1));
        digit - (carry << BITS)
    })
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
        let table = Table::<C>::of(&base);
        for (scalar, product) in scalars.iter().zip(table.multiply(&scalars)) {
            assert_eq!(C::give(&product), (base * scalar).to_affine());
        }
        assert!(table.multiply(&[]).is_empty());
    }

    #[test]
    fn products_are_those_of_the_curve() {
        check::<G1>(G1Projective::generator() * Scalar::from(77));
        check::<G2>(G2Projective::generator() * Scalar::from(78));
    }
}
