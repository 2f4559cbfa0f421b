//! Proofs: Groth16 (<https://eprint.iacr.org/2016/260>), as `bellperson` lays it out.

use anyhow::{Context, Result, ensure};
use bellperson::Circuit;
use bellperson::groth16::Proof;
use blstrs::{Bls12, G1Projective, G2Projective, Scalar};
use ff::Field;
use group::{Curve as _, prime::PrimeCurveAffine};
use rand::RngCore;

use crate::curve::{Curve, G2};
use crate::fft::Domain;
use crate::msm;
use crate::parameters::{Parameters, Points};
use crate::synthesis::Assignment;

/// Prove circuits one after another; the next one is synthesized while one is proved.
///
/// `rng` is asked for two scalars a proof, which hide the values: it has to be the operating system's, or as good.
/// The proofs are not verified here. A circuit that cannot be synthesized is an error once the one before it is proved.
pub fn prove<C: Circuit<Scalar> + Send>(
    circuits: Vec<C>,
    parameters: &Parameters,
    rng: &mut impl RngCore,
) -> Result<Vec<Proof<Bls12>>> {
    let hiding: Vec<_> = circuits
        .iter()
        .map(|_| (Scalar::random(&mut *rng), Scalar::random(&mut *rng)))
        .collect();
    let mut circuits = circuits.into_iter();
    let mut proofs = Vec::with_capacity(hiding.len());
    let mut next = circuits.next().map(Assignment::of);
    for (r, s) in hiding {
        let assignment = next.take().expect("a circuit for each pair of scalars")?;
        let proof;
        (proof, next) = rayon::join(
            || prove_one(assignment, parameters, r, s),
            || circuits.next().map(Assignment::of),
        );
        proofs.push(proof?);
    }
    Ok(proofs)
}

fn prove_one(
    assignment: Assignment,
    parameters: &Parameters,
    r: Scalar,
    s: Scalar,
) -> Result<Proof<Bls12>> {
    let Assignment {
        inputs,
        aux,
        a,
        b,
        c,
        aux_in_a,
        inputs_in_b,
        aux_in_b,
    } = assignment;
    let key = parameters.key();
    ensure!(
        !bool::from(key.delta_g1.is_identity() | key.delta_g2.is_identity()),
        "{}: delta is the point at infinity",
        parameters.path().display()
    );

    let domain = Domain::new(a.len()).context("the circuit has too many constraints")?;
    let mut quotient = domain.quotient(a, b, c);
    quotient.truncate(domain.size() - 1);
    drop(domain);
    let h: G1Projective = sum(&quotient, &parameters.h(), parameters, "h")?;
    drop(quotient);
    let l: G1Projective = sum(&aux, &parameters.l(), parameters, "l")?;

    let all_inputs = inputs.iter().copied();
    let in_a: Vec<_> = all_inputs.chain(chosen(&aux, &aux_in_a)).collect();
    let a: G1Projective = sum(&in_a, &parameters.a(), parameters, "a")?;
    drop(in_a);
    let in_b: Vec<_> = chosen(&inputs, &inputs_in_b)
        .chain(chosen(&aux, &aux_in_b))
        .collect();
    let b_g1: G1Projective = sum(&in_b, &parameters.b_g1(), parameters, "b in G1")?;
    let b_g2: G2Projective = sum::<G2>(&in_b, &parameters.b_g2(), parameters, "b in G2")?;

    let g_a = a + key.alpha_g1 + key.delta_g1 * r;
    let g_b1 = b_g1 + key.beta_g1 + key.delta_g1 * s;
    let g_b2 = b_g2 + key.beta_g2 + key.delta_g2 * s;
    let g_c = h + l + g_a * s + g_b1 * r - key.delta_g1 * (r * s);
    Ok(Proof {
        a: g_a.to_affine(),
        b: g_b2.to_affine(),
        c: g_c.to_affine(),
    })
}

fn chosen<'a>(values: &'a [Scalar], which: &'a [bool]) -> impl Iterator<Item = Scalar> + 'a {
    let pairs = values.iter().zip(which);
    pairs.filter_map(|(value, &chosen)| chosen.then_some(*value))
}

/// The sum of a list's points, each times its scalar; there have to be as many of both.
fn sum<C: Curve>(
    scalars: &[Scalar],
    points: &Points<'_, C>,
    parameters: &Parameters,
    list: &str,
) -> Result<C::Projective> {
    ensure!(
        scalars.len() == points.len(),
        "{} belongs to another circuit: list {list} has {} points, and the circuit needs {}",
        parameters.path().display(),
        points.len(),
        scalars.len()
    );
    Ok(msm::multiply::<C>(scalars, |i| points.get(i)))
}
