//! Additions of points eight at a time.

use std::arch::x86_64::__mmask8;

use blst::{blst_fp, blst_fp2};

use super::{LANES, Lanes};
use crate::curve::{Affine, BATCH, slow_sum};
use crate::field::Field;

/// What additions remember of each group of lanes.
struct Group<L> {
    /// What is to be inverted; something harmless in the lanes that need no slope.
    denominator: L,
    /// The product of the denominators before it.
    product: L,
    /// The lanes that are added up one by one.
    special: __mmask8,
}

/// Room for the groups of a batch.
pub struct Scratch<L> {
    groups: Vec<Group<L>>,
}

impl<L: Lanes> Scratch<L> {
    pub fn new() -> Self {
        Self {
            groups: Vec::with_capacity(BATCH / LANES),
        }
    }

    /// See `curve::Adder::add`.
    ///
    /// Elements are blst's: x stands for x 2^384. Products here are over 2^416, so each lane's last inverse is made
    /// 2^816 over the product of its denominators. Then the inverse for a pair is 2^816 / (dx 2^384), its slope
    /// s 2^400, the slope's square s^2 2^384 as it should be, and s (x1 - x3) lacks 2^16.
    ///
    /// # Safety
    /// The machine has the instructions (`possible`).
    #[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
    pub unsafe fn add(
        &mut self,
        count: usize,
        get: impl Fn(usize) -> (Affine<L::Element>, Affine<L::Element>),
        mut put: impl FnMut(usize, Affine<L::Element>),
    ) {
        // SAFETY: as the caller's.
        unsafe {
            let harmless = L::load(std::ptr::from_ref(&L::Element::ONE).cast(), 0);
            let mut product = harmless;
            self.groups.clear();
            let mut pair = Pairs::<L>::new();
            for first in (0..count).step_by(LANES) {
                pair.fill(first, count, &get);
                let (x1, x2) = (
                    L::load(pair.x1(), Pairs::<L>::STRIDE),
                    L::load(pair.x2(), Pairs::<L>::STRIDE),
                );
                let special = x1.zeros() | x2.zeros() | x1.same(&x2);
                let denominator = x2.sub(&x1).replace(special, &harmless);
                self.groups.push(Group {
                    denominator,
                    product,
                    special,
                });
                product = product.mul(&denominator);
            }
            let mut inverse = invert(&product);
            for (first, group) in (0..count).step_by(LANES).zip(&self.groups).rev() {
                pair.fill(first, count, &get);
                let (x1, x2) = (
                    L::load(pair.x1(), Pairs::<L>::STRIDE),
                    L::load(pair.x2(), Pairs::<L>::STRIDE),
                );
                let (y1, y2) = (
                    L::load(pair.y1(), Pairs::<L>::STRIDE),
                    L::load(pair.y2(), Pairs::<L>::STRIDE),
                );
                let this = inverse.mul(&group.product);
                inverse = inverse.mul(&group.denominator);
                let slope = y2.sub(&y1).mul(&this);
                let x = slope.mul(&slope).sub(&x1).sub(&x2).canonical();
                let y = slope.mul(&x1.sub(&x).shift()).sub(&y1).canonical();
                let mut sums = [Affine::<L::Element>::default(); LANES];
                let words: *mut u64 = sums.as_mut_ptr().cast();
                x.store(words, Pairs::<L>::STRIDE);
                y.store(words.add(Pairs::<L>::STRIDE / 2), Pairs::<L>::STRIDE);
                for lane in (0..LANES.min(count - first)).rev() {
                    let sum = if group.special >> lane & 1 == 1 {
                        slow_sum(&pair.p[lane], &pair.q[lane])
                    } else {
                        sums[lane]
                    };
                    put(first + lane, sum);
                }
            }
        }
    }
}

// What the strides and the loads of whole points rest on.
const _: () = assert!(size_of::<Affine<blst_fp>>() == 96 && size_of::<Affine<blst_fp2>>() == 192);

/// Eight pairs of points, side by side.
struct Pairs<L: Lanes> {
    p: [Affine<L::Element>; LANES],
    q: [Affine<L::Element>; LANES],
}

impl<L: Lanes> Pairs<L> {
    /// Words from one point to the next.
    const STRIDE: usize = size_of::<Affine<L::Element>>() / size_of::<u64>();

    fn new() -> Self {
        Self {
            p: [Affine::default(); LANES],
            q: [Affine::default(); LANES],
        }
    }

    /// Take the pairs from `first` on; behind the last one there is infinity.
    #[allow(
        clippy::inline_always,
        reason = "what it copies would go through the stack"
    )]
    #[inline(always)]
    fn fill(
        &mut self,
        first: usize,
        count: usize,
        get: &impl Fn(usize) -> (Affine<L::Element>, Affine<L::Element>),
    ) {
        let lanes = LANES.min(count - first);
        for lane in 0..lanes {
            (self.p[lane], self.q[lane]) = get(first + lane);
        }
        self.p[lanes..].fill(Affine::default());
    }

    const fn x1(&self) -> *const u64 {
        std::ptr::from_ref(&self.p).cast()
    }

    const fn x2(&self) -> *const u64 {
        std::ptr::from_ref(&self.q).cast()
    }

    const fn y1(&self) -> *const u64 {
        self.x1().wrapping_add(Self::STRIDE / 2)
    }

    const fn y2(&self) -> *const u64 {
        self.x2().wrapping_add(Self::STRIDE / 2)
    }
}

/// 2^816 over each element, taken as a plain number.
///
/// # Safety
/// The machine has the instructions.
#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
unsafe fn invert<L: Lanes>(product: &L) -> L {
    let mut elements = [L::Element::default(); LANES];
    let stride = size_of::<L::Element>() / size_of::<u64>();
    // SAFETY: the arrays have room for eight elements.
    unsafe {
        product
            .canonical()
            .store(elements.as_mut_ptr().cast(), stride);
    };
    // One inversion for all eight. None of them is zero: pairs with equal x have a harmless denominator.
    let mut before = [L::Element::ONE; LANES];
    let mut total = L::Element::ONE;
    for (element, before) in elements.iter().zip(&mut before) {
        *before = total;
        total = total.mul(element);
    }
    // For blst the number v stands for v / 2^384, and its inverse is written as 2^768 / v.
    let mut inverse = total.invert().times_2_to_48();
    for (element, before) in elements.iter_mut().zip(&before).rev() {
        let this = inverse.mul(before);
        inverse = inverse.mul(element);
        *element = this;
    }
    // SAFETY: as above.
    unsafe { L::load(elements.as_ptr().cast(), stride) }
}
