//! Points of the two groups in affine coordinates, and many additions at the price of one inversion.

use std::sync::atomic::{AtomicBool, Ordering};

use blst::{blst_fp, blst_fp2};
use blstrs::{G1Affine, G1Projective, G2Affine, G2Projective, Scalar};
use group::prime::{PrimeCurve, PrimeCurveAffine};

use crate::field::Field;
#[cfg(target_arch = "x86_64")]
use crate::wide;

/// A point in affine coordinates; the point at infinity is (0, 0), which is on neither curve.
#[derive(Clone, Copy, Default)]
#[repr(C)]
pub struct Affine<F> {
    pub x: F,
    pub y: F,
}

impl<F: Field> Affine<F> {
    pub fn is_infinity(&self) -> bool {
        self.x.is_zero() && self.y.is_zero()
    }

    #[must_use]
    pub fn negate(&self) -> Self {
        Self {
            x: self.x,
            y: self.y.negate(),
        }
    }
}

/// One of the two groups.
pub trait Curve: Copy + Send + Sync + 'static {
    type Field: Field;
    type Affine: PrimeCurveAffine<Curve = Self::Projective, Scalar = Scalar> + Copy + Send + Sync;
    type Projective: PrimeCurve<Affine = Self::Affine, Scalar = Scalar>;

    /// Bytes of an uncompressed point.
    const BYTES: usize;

    /// Take a point of the other crates.
    fn take(point: &Self::Affine) -> Affine<Self::Field>;
    /// Give a point to the other crates.
    fn give(point: &Affine<Self::Field>) -> Self::Affine;

    fn on_curve(point: &Affine<Self::Field>) -> bool;

    /// Read an uncompressed point of a parameter file, where none is at infinity. Whether it is on the curve is not checked.
    #[inline]
    fn read(bytes: &[u8]) -> Affine<Self::Field> {
        let (x, y) = bytes.split_at(Self::BYTES / 2);
        Affine {
            x: Self::Field::read(x),
            y: Self::Field::read(y),
        }
    }

    /// Write a point as parameter files hold it; bit 6 of the first byte marks infinity.
    fn write(point: &Affine<Self::Field>, bytes: &mut [u8]) {
        let (x, y) = bytes.split_at_mut(Self::BYTES / 2);
        point.x.write(x);
        point.y.write(y);
        if point.is_infinity() {
            bytes[0] |= 0x40;
        }
    }
}

#[derive(Clone, Copy)]
pub struct G1;

#[derive(Clone, Copy)]
pub struct G2;

impl Curve for G1 {
    type Field = blst_fp;
    type Affine = G1Affine;
    type Projective = G1Projective;
    const BYTES: usize = 96;

    fn take(point: &G1Affine) -> Affine<blst_fp> {
        let raw = point.as_ref();
        Affine { x: raw.x, y: raw.y }
    }

    fn give(point: &Affine<blst_fp>) -> G1Affine {
        let mut out = G1Affine::default();
        let raw = out.as_mut();
        (raw.x, raw.y) = (point.x, point.y);
        out
    }

    fn on_curve(point: &Affine<Self::Field>) -> bool {
        Self::give(point).is_on_curve().into()
    }
}

impl Curve for G2 {
    type Field = blst_fp2;
    type Affine = G2Affine;
    type Projective = G2Projective;
    const BYTES: usize = 192;

    fn take(point: &G2Affine) -> Affine<blst_fp2> {
        let raw = point.as_ref();
        Affine { x: raw.x, y: raw.y }
    }

    fn give(point: &Affine<blst_fp2>) -> G2Affine {
        let mut out = G2Affine::default();
        let raw = out.as_mut();
        (raw.x, raw.y) = (point.x, point.y);
        out
    }

    fn on_curve(point: &Affine<Self::Field>) -> bool {
        Self::give(point).is_on_curve().into()
    }
}

/// How many additions share an inversion: it costs as much as a hundred multiplications, and what is looked at twice
/// should still be in the nearest caches.
pub const BATCH: usize = 1024;

impl<F: Field> Default for Adder<F> {
    fn default() -> Self {
        Self::new()
    }
}

/// Adds many pairs of points with one inversion for all (Montgomery's trick): six multiplications a pair.
///
/// Eight pairs at a time where the machine can (see `wide`).
pub struct Adder<F: Field> {
    /// What is to be inverted for each pair; zero where nothing is.
    denominators: Vec<F>,
    /// The product of the denominators before it.
    products: Vec<F>,
    #[cfg(target_arch = "x86_64")]
    wide: Option<wide::Scratch<F::Lanes>>,
}

impl<F: Field> Adder<F> {
    pub fn new() -> Self {
        Self {
            denominators: Vec::with_capacity(BATCH),
            products: Vec::with_capacity(BATCH),
            #[cfg(target_arch = "x86_64")]
            wide: is_wide().then(wide::Scratch::new),
        }
    }

    /// Add pair after pair: `put(k, p + q)` for `(p, q) = get(k)` and each k below `count`, from the last to the first.
    ///
    /// `get` is called twice for each k, and must not depend on a `put` of another k.
    pub fn add(
        &mut self,
        count: usize,
        get: impl Fn(usize) -> (Affine<F>, Affine<F>),
        mut put: impl FnMut(usize, Affine<F>),
    ) {
        if count == 0 {
            return;
        }
        #[cfg(target_arch = "x86_64")]
        if let Some(wide) = &mut self.wide {
            // SAFETY: there is a scratch only where the machine has the instructions.
            unsafe { wide.add(count, get, put) };
            return;
        }
        self.denominators.clear();
        self.products.clear();
        let mut product = F::ONE;
        for k in 0..count {
            let (p, q) = get(k);
            let denominator = denominator(&p, &q);
            self.products.push(product);
            self.denominators.push(denominator);
            if !denominator.is_zero() {
                product = product.mul(&denominator);
            }
        }
        let mut inverse = product.invert();
        for k in (0..count).rev() {
            let (p, q) = get(k);
            let denominator = &self.denominators[k];
            if denominator.is_zero() {
                put(k, simple_sum(&p, &q));
                continue;
            }
            let this = inverse.mul(&self.products[k]);
            inverse = inverse.mul(denominator);
            put(k, sum(&p, &q, &this));
        }
    }
}

/// Whether wide instructions are used where the machine has them.
static WIDE: AtomicBool = AtomicBool::new(true);

/// Use the instructions that every machine has, or the widest: for tests and comparisons.
pub fn set_wide(wide: bool) {
    WIDE.store(wide, Ordering::Relaxed);
}

/// Whether wide instructions are to be used, and are there.
#[cfg(target_arch = "x86_64")]
pub fn is_wide() -> bool {
    WIDE.load(Ordering::Relaxed) && wide::possible()
}

/// The sum of two points, by an inversion of its own.
pub fn slow_sum<F: Field>(p: &Affine<F>, q: &Affine<F>) -> Affine<F> {
    let denominator = denominator(p, q);
    if denominator.is_zero() {
        simple_sum(p, q)
    } else {
        sum(p, q, &denominator.invert())
    }
}

/// What the slope of the line through two points is divided by; zero where no slope is needed.
#[inline]
fn denominator<F: Field>(p: &Affine<F>, q: &Affine<F>) -> F {
    if p.is_infinity() || q.is_infinity() {
        return F::default();
    }
    if p.x.equals(&q.x) {
        // The same point is doubled; opposite points have no sum but infinity. No point has y = 0: the order is odd.
        return if p.y.equals(&q.y) {
            p.y.add(&p.y)
        } else {
            F::default()
        };
    }
    q.x.sub(&p.x)
}

/// A sum that needs no slope.
fn simple_sum<F: Field>(p: &Affine<F>, q: &Affine<F>) -> Affine<F> {
    if p.is_infinity() {
        *q
    } else if q.is_infinity() {
        *p
    } else {
        Affine::default()
    }
}

/// The sum of two finite points that are not opposite, by the inverse of their denominator.
#[inline]
fn sum<F: Field>(p: &Affine<F>, q: &Affine<F>, inverse: &F) -> Affine<F> {
    let numerator = if p.x.equals(&q.x) {
        let square = p.x.square();
        square.add(&square).add(&square)
    } else {
        q.y.sub(&p.y)
    };
    let slope = numerator.mul(inverse);
    let x = slope.square().sub(&p.x).sub(&q.x);
    let y = slope.mul(&p.x.sub(&x)).sub(&p.y);
    Affine { x, y }
}

/// Add up points, in place, pair by pair and then the sums of pairs.
pub fn sum_up<F: Field>(points: &mut [Affine<F>], adder: &mut Adder<F>) -> Affine<F> {
    let mut left = points.len();
    let mut sums = vec![Affine::default(); BATCH];
    while left > 1 {
        let pairs = left / 2;
        for first in (0..pairs).step_by(BATCH) {
            let count = BATCH.min(pairs - first);
            adder.add(
                count,
                |k| (points[2 * (first + k)], points[2 * (first + k) + 1]),
                |k, sum| sums[k] = sum,
            );
            // Only now: a sum lands where the first of the pairs before it were.
            points[first..first + count].copy_from_slice(&sums[..count]);
        }
        if left % 2 == 1 {
            points[pairs] = points[left - 1];
        }
        left = left.div_ceil(2);
    }
    if left == 0 {
        Affine::default()
    } else {
        points[0]
    }
}

/// Ask for what will be read soon: points lie all over the memory.
#[inline]
pub fn prefetch<T>(value: &T) {
    #[cfg(target_arch = "x86_64")]
    for line in (0..size_of::<T>()).step_by(64) {
        let place = std::ptr::from_ref(value).cast::<i8>().wrapping_add(line);
        // SAFETY: a prefetch reads nothing that the program could see, whatever the address.
        unsafe { std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(place) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = value;
}
