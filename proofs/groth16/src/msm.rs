//! Multi-scalar multiplication: the sum of points, each times its scalar.
//!
//! Pippenger's method with signed digits. Buckets are affine, and those of a window are filled by rounds of additions that
//! share their inversions (`curve::Adder`), after the points have been sorted by bucket: no two additions of a round
//! need each other, whatever the scalars are. Most scalars of a Filecoin circuit are bits: zeros are left out, and the
//! points of ones are only added up.

use blstrs::Scalar;
use ff::Field;
use group::{Group, prime::PrimeCurveAffine};
use rayon::prelude::*;

use crate::curve::{Adder, Affine, BATCH, Curve, prefetch, sum_up};
use crate::digits::{Windows, Words};
use crate::field;

/// Points whose digits are sorted at a time: so many that each bucket gets several, and few enough for the caches.
const SLICE: usize = 1 << 18;

/// Points that one task adds up.
const SUM: usize = 1 << 13;

/// Sum up `scalars[i] * point(i)`.
///
/// `point` is asked only for the points of scalars that are not zero, from any thread.
pub fn multiply<C: Curve>(
    scalars: &[Scalar],
    point: impl Fn(usize) -> Affine<C::Field> + Sync,
) -> C::Projective {
    let (ones, others) = sort_out(scalars);
    let ones = sum_of::<C>(&ones, &point);
    let points: Vec<_> = others.par_iter().map(|&i| point(i as usize)).collect();
    // A point costs an addition for each window, and a bucket about three.
    let windows = Windows::cheapest(20, |bits| points.len() + (3 << (bits - 1)));
    let words: Vec<_> = others
        .par_iter()
        .map(|&i| windows.words(&scalars[i as usize]))
        .collect();
    drop(others);
    ones + pippenger::<C>(windows, &points, &words)
}

/// The indices of the scalars that are one, and of those that are neither zero nor one.
fn sort_out(scalars: &[Scalar]) -> (Vec<u32>, Vec<u32>) {
    assert!(u32::try_from(scalars.len()).is_ok(), "indices have 32 bits");
    let (mut ones, mut others) = (Vec::new(), Vec::new());
    for (scalar, i) in scalars.iter().zip(0_u32..) {
        if *scalar == Scalar::ONE {
            ones.push(i);
        } else if *scalar != Scalar::ZERO {
            others.push(i);
        }
    }
    (ones, others)
}

fn sum_of<C: Curve>(
    indices: &[u32],
    point: &(impl Fn(usize) -> Affine<C::Field> + Sync),
) -> C::Projective {
    indices
        .par_chunks(SUM)
        .map_init(Adder::new, |adder, chunk| {
            let mut points: Vec<_> = chunk.iter().map(|&i| point(i as usize)).collect();
            C::give(&sum_up(&mut points, adder)).to_curve()
        })
        .sum()
}

fn pippenger<C: Curve>(
    windows: Windows,
    points: &[Affine<C::Field>],
    words: &[Words],
) -> C::Projective {
    // One task a window, unless there are more threads than windows.
    let parts = rayon::current_num_threads().div_ceil(windows.count).max(1);
    let part = points.len().div_ceil(parts).max(1);
    let mut sums = vec![C::Projective::identity(); windows.count];
    let tasks: Vec<_> = points
        .chunks(part)
        .zip(words.chunks(part))
        .flat_map(|slices| (0..windows.count).map(move |window| (window, slices)))
        .collect();
    let of_tasks: Vec<_> = tasks
        .par_iter()
        .with_max_len(1)
        .map(|&(window, (points, words))| {
            let buckets = fill::<C>(windows, window, points, words);
            weigh::<C>(buckets)
        })
        .collect();
    for ((window, _), sum) in tasks.iter().zip(of_tasks) {
        sums[*window] += sum;
    }
    let mut total = C::Projective::identity();
    for sum in sums.iter().rev() {
        for _ in 0..windows.bits {
            total = total.double();
        }
        total += sum;
    }
    total
}

/// Add each point to the bucket of its digit, or subtract it. Bucket b is at b-1; digits of zero go nowhere.
fn fill<C: Curve>(
    windows: Windows,
    window: usize,
    points: &[Affine<C::Field>],
    words: &[Words],
) -> Vec<Affine<C::Field>> {
    let mut buckets = vec![Affine::default(); 1 << (windows.bits - 1)];
    let mut rounds = Rounds::<C>::new(buckets.len(), points.len().min(SLICE));
    for (points, words) in points.chunks(SLICE).zip(words.chunks(SLICE)) {
        rounds.add(&mut buckets, points, |i| windows.digit(&words[i], window));
    }
    buckets
}

/// The sum of all buckets, each as often as its number says.
///
/// With the buckets in rows, bucket b = row * width + column + 1, so that the sums of rows and those of columns are
/// enough, and only these few need additions that wait for each other.
fn weigh<C: Curve>(mut buckets: Vec<Affine<C::Field>>) -> C::Projective {
    let width = 1 << (buckets.len().ilog2() / 2);
    let mut adder = Adder::new();
    let columns = sum_columns(buckets.clone(), width, &mut adder);
    // Each round adds the right half of each row to its left half.
    let mut half = width / 2;
    while half > 0 {
        let count = buckets.len() / 2;
        let left = |k: usize| 2 * half * (k / half) + k % half;
        add_in_place(
            &mut buckets,
            count,
            |k| (left(k), left(k) + half),
            &mut adder,
        );
        buckets.truncate(count);
        half /= 2;
    }
    let rows = running::<C>(&buckets[1..]);
    (0..width.ilog2()).fold(rows, |sum, _| sum.double()) + running::<C>(&columns)
}

/// Sums of columns: each round adds the lower half of the rows to the upper half.
fn sum_columns<F: field::Field>(
    mut cells: Vec<Affine<F>>,
    width: usize,
    adder: &mut Adder<F>,
) -> Vec<Affine<F>> {
    while cells.len() > width {
        let half = cells.len() / 2;
        add_in_place(&mut cells, half, |k| (k, k + half), adder);
        cells.truncate(half);
    }
    cells
}

/// cells[k] = the sum of the two cells that `pair(k)` names, neither of which is before k.
fn add_in_place<F: field::Field>(
    cells: &mut [Affine<F>],
    count: usize,
    pair: impl Fn(usize) -> (usize, usize),
    adder: &mut Adder<F>,
) {
    let mut sums = vec![Affine::default(); BATCH.min(count)];
    for first in (0..count).step_by(BATCH) {
        let size = BATCH.min(count - first);
        let get = |k: usize| {
            let (one, other) = pair(first + k);
            (cells[one], cells[other])
        };
        adder.add(size, get, |k, sum| sums[k] = sum);
        cells[first..first + size].copy_from_slice(&sums[..size]);
    }
}

/// The sum of points, the first once, the second twice and so on.
fn running<C: Curve>(points: &[Affine<C::Field>]) -> C::Projective {
    let (mut above, mut total) = (C::Projective::identity(), C::Projective::identity());
    for point in points.iter().rev() {
        if !point.is_infinity() {
            above += C::give(point);
        }
        total += above;
    }
    total
}

/// The bit of a sorted index that says: minus the point.
const MINUS: u32 = 1 << 31;

/// Adds slices of points to buckets, in rounds of independent additions.
struct Rounds<C: Curve> {
    /// How many terms each bucket has left.
    counts: Vec<u32>,
    /// The indices of the slice's points, sorted by bucket.
    sorted: Vec<u32>,
    /// The terms after the first round, by bucket.
    terms: Vec<Affine<C::Field>>,
    /// Sums that have no place yet.
    sums: Vec<Affine<C::Field>>,
    /// The two terms of each addition that waits for its batch.
    pairs: Vec<(u32, u32)>,
    adder: Adder<C::Field>,
}

impl<C: Curve> Rounds<C> {
    fn new(buckets: usize, slice: usize) -> Self {
        Self {
            counts: vec![0; buckets],
            sorted: Vec::with_capacity(slice),
            terms: Vec::with_capacity(slice / 2 + buckets),
            sums: vec![Affine::default(); BATCH],
            pairs: Vec::with_capacity(BATCH),
            adder: Adder::new(),
        }
    }

    fn add(
        &mut self,
        buckets: &mut [Affine<C::Field>],
        points: &[Affine<C::Field>],
        digit: impl Fn(usize) -> i32,
    ) {
        self.sort(points.len(), digit);
        self.first_round(points);
        while self.next_round() {}
        // Each bucket has one term left, or none.
        self.settle(buckets);
    }

    /// Sort the indices of points by the absolute value of their digits (a counting sort).
    fn sort(&mut self, count: usize, digit: impl Fn(usize) -> i32) {
        self.counts.fill(0);
        for i in 0..count {
            let digit = digit(i);
            if digit != 0 {
                self.counts[digit.unsigned_abs() as usize - 1] += 1;
            }
        }
        let mut total = 0;
        let mut places: Vec<u32> = self
            .counts
            .iter()
            .map(|count| {
                let place = total;
                total += count;
                place
            })
            .collect();
        self.sorted.clear();
        self.sorted.resize(total as usize, 0);
        for (i, index) in (0..count).zip(0_u32..) {
            let digit = digit(i);
            if digit != 0 {
                let place = &mut places[digit.unsigned_abs() as usize - 1];
                self.sorted[*place as usize] = if digit < 0 { index | MINUS } else { index };
                *place += 1;
            }
        }
    }

    /// Add points of the same bucket in pairs; what is left over becomes a term as it is.
    fn first_round(&mut self, points: &[Affine<C::Field>]) {
        let take = |index: u32| {
            let point = points[(index & !MINUS) as usize];
            if index & MINUS == 0 {
                point
            } else {
                point.negate()
            }
        };
        self.terms.clear();
        let mut first = 0;
        for count in &mut self.counts {
            let last = first + *count as usize;
            let bucket = &self.sorted[first..last];
            for pair in bucket.chunks(2) {
                for index in pair {
                    prefetch(&points[(index & !MINUS) as usize]);
                }
                // A term without a partner is added to infinity, which costs nothing.
                self.pairs
                    .push((pair[0], *pair.get(1).unwrap_or(&u32::MAX)));
                if self.pairs.len() == BATCH {
                    Self::flush_points(
                        &mut self.adder,
                        &mut self.pairs,
                        &mut self.sums,
                        &mut self.terms,
                        take,
                    );
                }
            }
            first = last;
            *count = count.div_ceil(2);
        }
        Self::flush_points(
            &mut self.adder,
            &mut self.pairs,
            &mut self.sums,
            &mut self.terms,
            take,
        );
    }

    fn flush_points(
        adder: &mut Adder<C::Field>,
        pairs: &mut Vec<(u32, u32)>,
        sums: &mut [Affine<C::Field>],
        terms: &mut Vec<Affine<C::Field>>,
        take: impl Fn(u32) -> Affine<C::Field>,
    ) {
        let get = |k: usize| {
            let (one, other) = pairs[k];
            let second = if other == u32::MAX {
                Affine::default()
            } else {
                take(other)
            };
            (take(one), second)
        };
        adder.add(pairs.len(), get, |k, sum| sums[k] = sum);
        terms.extend_from_slice(&sums[..pairs.len()]);
        pairs.clear();
    }

    /// Add terms of the same bucket in pairs; return whether any bucket had two.
    fn next_round(&mut self) -> bool {
        if self.counts.iter().all(|&count| count < 2) {
            return false;
        }
        let (mut from, mut to) = (0_u32, 0_usize);
        for i in 0..self.counts.len() {
            let count = self.counts[i];
            for k in 0..count.div_ceil(2) {
                let one = from + 2 * k;
                let other = if 2 * k + 1 < count { one + 1 } else { u32::MAX };
                self.pairs.push((one, other));
                if self.pairs.len() == BATCH {
                    to = self.flush_terms(to);
                }
            }
            from += count;
            self.counts[i] = count.div_ceil(2);
        }
        to = self.flush_terms(to);
        self.terms.truncate(to);
        true
    }

    /// Sums land before what is still to be read, since two terms make one.
    fn flush_terms(&mut self, to: usize) -> usize {
        let count = self.pairs.len();
        let (pairs, terms, sums) = (&self.pairs, &self.terms, &mut self.sums);
        let get = |k: usize| {
            let (one, other) = pairs[k];
            let second = if other == u32::MAX {
                Affine::default()
            } else {
                terms[other as usize]
            };
            (terms[one as usize], second)
        };
        self.adder.add(count, get, |k, sum| sums[k] = sum);
        self.terms[to..to + count].copy_from_slice(&self.sums[..count]);
        self.pairs.clear();
        to + count
    }

    fn settle(&mut self, buckets: &mut [Affine<C::Field>]) {
        let targets: Vec<usize> = (0..buckets.len())
            .filter(|&bucket| self.counts[bucket] > 0)
            .collect();
        for (targets, terms) in targets.chunks(BATCH).zip(self.terms.chunks(BATCH)) {
            let sums = &mut self.sums;
            self.adder.add(
                targets.len(),
                |k| (buckets[targets[k]], terms[k]),
                |k, sum| sums[k] = sum,
            );
            for (target, sum) in targets.iter().zip(&self.sums) {
                buckets[*target] = *sum;
            }
        }
    }
}
