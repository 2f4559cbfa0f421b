//! Sums and transforms against those of the crates that they replace.

use std::sync::Arc;

use bellperson::domain::EvaluationDomain;
use blstrs::{G1Affine, G1Projective, G2Affine, G2Projective, Scalar};
use damocles_groth16::curve::{Curve, G1, G2, set_wide};
use damocles_groth16::fft::Domain;
use damocles_groth16::msm;
use ec_gpu_gen::multiexp_cpu::{FullDensity, multiexp_cpu};
use ec_gpu_gen::threadpool::Worker;
use ff::{Field, PrimeField};
use group::prime::PrimeCurveAffine;
use group::{Curve as _, Group};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// This file is two test programs: `portable.rs` includes it, and does without wide instructions.
fn setup() {
    set_wide(!module_path!().starts_with("portable"));
}

/// Lengths where something could be off by one, up to several slices of points.
fn lengths() -> Vec<usize> {
    let powers = [4, 8, 32, 128, 1024, 4096, 1 << 13];
    let around = powers.iter().flat_map(|power| power - 1..=power + 1);
    [0, 1, 2].into_iter().chain(around).collect()
}

fn scalars(kind: usize, count: usize, rng: &mut StdRng) -> Vec<Scalar> {
    let special = [
        Scalar::ZERO,
        Scalar::ONE,
        -Scalar::ONE,
        Scalar::from(2),
        -Scalar::from(2),
        Scalar::from(u64::MAX),
        Scalar::from(1 << 15),
    ];
    let repeated = Scalar::random(&mut *rng);
    let mut one = |i: usize| match kind {
        0 => Scalar::random(&mut *rng),
        1 => special[rng.gen_range(0..special.len())],
        2 => special[i % 2],
        3 => repeated,
        4 => Scalar::from(rng.gen_range(0..300_u64)),
        _ => {
            if rng.r#gen() {
                special[rng.gen_range(0..special.len())]
            } else {
                Scalar::random(&mut *rng)
            }
        }
    };
    (0..count).map(&mut one).collect()
}

/// Random points, and among them the same ones again, opposite ones and, if allowed, infinity.
fn points<C: Curve>(count: usize, infinity: bool, rng: &mut StdRng) -> Vec<C::Affine> {
    let base = C::Projective::random(&mut *rng);
    let mut last = C::Projective::random(&mut *rng);
    let mut points: Vec<C::Affine> = Vec::with_capacity(count);
    for i in 0..count {
        last += base;
        let point = match rng.gen_range(0..10) {
            0 if i > 0 => points[i - 1],
            1 if i > 0 => (-points[i - 1].to_curve()).to_affine(),
            2 if infinity => C::Affine::identity(),
            _ => last.to_affine(),
        };
        points.push(point);
    }
    points
}

fn naive<C: Curve>(scalars: &[Scalar], points: &[C::Affine]) -> C::Projective {
    let products = scalars
        .iter()
        .zip(points)
        .map(|(scalar, point)| *point * scalar);
    products.fold(C::Projective::identity(), |sum, product| sum + product)
}

fn compare<C: Curve>(most: usize) {
    let mut rng = StdRng::seed_from_u64(1);
    for count in lengths().into_iter().filter(|&count| count <= most) {
        for kind in 0..6 {
            let (scalars, points) = (
                scalars(kind, count, &mut rng),
                points::<C>(count, true, &mut rng),
            );
            let sum = msm::multiply::<C>(&scalars, |i| C::take(&points[i]));
            assert_eq!(
                sum,
                naive::<C>(&scalars, &points),
                "{count} scalars of kind {kind}"
            );
        }
    }
}

/// A sum equals that of single products, for every length and kind of scalars, with points that come again, are opposite
/// or infinite.
#[test]
fn sums_in_g1_are_those_of_single_products() {
    setup();
    compare::<G1>(1025);
}

/// The same in G2.
#[test]
fn sums_in_g2_are_those_of_single_products() {
    setup();
    compare::<G2>(129);
}

/// Large sums, with more points than are sorted at a time, equal those of the crate that the library uses.
#[test]
fn large_sums_are_those_of_the_librarys_crate() {
    setup();
    let mut rng = StdRng::seed_from_u64(2);
    let worker = Worker::new();
    for (count, kind) in [(8191, 0), (8193, 5), (1 << 14, 3), ((1 << 18) + 1, 0)] {
        let scalars = scalars(kind, count, &mut rng);
        let exponents = Arc::new(scalars.iter().map(Scalar::to_repr).collect::<Vec<_>>());
        let points = Arc::new(points::<G1>(count, false, &mut rng));
        let theirs: G1Projective = multiexp_cpu(
            &worker,
            (Arc::clone(&points), 0),
            FullDensity,
            Arc::clone(&exponents),
        )
        .wait()
        .unwrap();
        assert_eq!(
            msm::multiply::<G1>(&scalars, |i| G1::take(&points[i])),
            theirs
        );
        if count < 10_000 {
            let points = Arc::new(points_g2(count, &mut rng));
            let theirs: G2Projective =
                multiexp_cpu(&worker, (Arc::clone(&points), 0), FullDensity, exponents)
                    .wait()
                    .unwrap();
            assert_eq!(
                msm::multiply::<G2>(&scalars, |i| G2::take(&points[i])),
                theirs
            );
        }
    }
}

fn points_g2(count: usize, rng: &mut StdRng) -> Vec<G2Affine> {
    points::<G2>(count, false, rng)
}

/// A sum is the same with one thread and with more threads than windows.
#[test]
fn the_number_of_threads_changes_no_sum() {
    setup();
    let mut rng = StdRng::seed_from_u64(3);
    let (scalars, points) = (
        scalars(5, 3000, &mut rng),
        points::<G1>(3000, true, &mut rng),
    );
    let sums: Vec<G1Affine> = [1, 2, 3, 200]
        .map(|threads| {
            let pool = rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build()
                .unwrap();
            pool.install(|| msm::multiply::<G1>(&scalars, |i| G1::take(&points[i])))
                .to_affine()
        })
        .to_vec();
    assert!(sums.iter().all(|sum| *sum == sums[0]));
}

/// The quotient equals the one that the crate computes with seven transforms.
#[test]
fn the_quotient_is_that_of_the_librarys_crate() {
    setup();
    let mut rng = StdRng::seed_from_u64(4);
    let worker = Worker::new();
    for count in [1, 2, 3, 4, 5, 7, 8, 9, 1000, 4096, 4097, 40_000] {
        let random = |rng: &mut StdRng| {
            (0..count)
                .map(|_| Scalar::random(&mut *rng))
                .collect::<Vec<_>>()
        };
        let (a, b) = (random(&mut rng), random(&mut rng));
        let c: Vec<_> = a.iter().zip(&b).map(|(a, b)| a * b).collect();
        let [mut da, mut db, mut dc] =
            [&a, &b, &c].map(|values| EvaluationDomain::from_coeffs(values.clone()).unwrap());
        let all = &mut [&mut da, &mut db, &mut dc];
        EvaluationDomain::ifft_many(all, &worker, &mut None).unwrap();
        EvaluationDomain::coset_fft_many(all, &worker, &mut None).unwrap();
        da.mul_assign(&worker, &db);
        da.sub_assign(&worker, &dc);
        da.divide_by_z_on_coset(&worker);
        da.icoset_fft(&worker, &mut None).unwrap();
        assert_eq!(
            Domain::new(count).unwrap().quotient(a, b, c),
            da.into_coeffs(),
            "{count} constraints"
        );
    }
}

/// Values that break the constraints have another quotient: the highest coefficient need not be zero any more.
#[test]
fn a_broken_constraint_shows_in_the_quotient() {
    setup();
    let mut rng = StdRng::seed_from_u64(5);
    let random = |rng: &mut StdRng| {
        (0..8)
            .map(|_| Scalar::random(&mut *rng))
            .collect::<Vec<_>>()
    };
    let (a, b) = (random(&mut rng), random(&mut rng));
    let mut c: Vec<_> = a.iter().zip(&b).map(|(a, b)| a * b).collect();
    let domain = Domain::new(8).unwrap();
    let right = domain.quotient(a.clone(), b.clone(), c.clone());
    assert_eq!(right[7], Scalar::ZERO);
    c[3] += Scalar::ONE;
    assert_ne!(domain.quotient(a, b, c), right);
}

/// Lagrange polynomials at a point add up values as the polynomial through them does.
#[test]
fn lagrange_polynomials_interpolate() {
    setup();
    let mut rng = StdRng::seed_from_u64(6);
    let worker = Worker::new();
    for count in [1, 2, 8, 64, 8192] {
        let values: Vec<_> = (0..count).map(|_| Scalar::random(&mut rng)).collect();
        let tau = Scalar::random(&mut rng);
        let domain = Domain::new(count).unwrap();
        let at_tau: Scalar = domain
            .lagrange(&tau)
            .iter()
            .zip(&values)
            .map(|(l, value)| *l * value)
            .sum();
        let mut theirs = EvaluationDomain::from_coeffs(values).unwrap();
        theirs.ifft(&worker, &mut None).unwrap();
        let coefficients = theirs.into_coeffs();
        let horner = coefficients
            .iter()
            .rev()
            .fold(Scalar::ZERO, |sum, coefficient| sum * tau + coefficient);
        assert_eq!(at_tau, horner);
        assert_eq!(
            domain.vanishing(&tau),
            tau.pow_vartime([count as u64]) - Scalar::ONE
        );
    }
    assert!(Domain::new(1 << 33).is_none());
}
