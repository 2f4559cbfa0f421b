//! Parameters of a circuit from toxic waste: for test networks, where nobody has to trust them.
//!
//! The same waste makes the same bytes as `bellperson::groth16::generate_parameters` and `Parameters::write`.

use std::borrow::Cow;
use std::io::Write;

use anyhow::{Context, Result, ensure};
use bellperson::groth16::VerifyingKey;
use bellperson::{Circuit, ConstraintSystem, Index, LinearCombination, SynthesisError, Variable};
use blstrs::{Bls12, G1Projective, G2Projective, Scalar};
use ff::Field;
use group::{Curve as _, Group};
use rand::RngCore;
use rayon::prelude::*;

use crate::curve::{Curve, G1, G2};
use crate::fft::{Domain, powers};
use crate::fixed::Table;

/// What nobody may know if proofs are to mean something.
pub struct Waste {
    pub g1: G1Projective,
    pub g2: G2Projective,
    pub alpha: Scalar,
    pub beta: Scalar,
    pub gamma: Scalar,
    pub delta: Scalar,
    pub tau: Scalar,
}

impl Waste {
    pub fn random(mut rng: impl RngCore) -> Self {
        Self {
            g1: G1Projective::random(&mut rng),
            g2: G2Projective::random(&mut rng),
            alpha: Scalar::random(&mut rng),
            beta: Scalar::random(&mut rng),
            gamma: Scalar::random(&mut rng),
            delta: Scalar::random(&mut rng),
            tau: Scalar::random(&mut rng),
        }
    }
}

/// Points that are made before they are written.
const BLOCK: usize = 1 << 16;

/// Write the parameters of a circuit. `circuit` is called twice and has to make the same circuit.
///
/// `announce` gets the number of bytes before the first of them is written.
pub fn generate<C: Circuit<Scalar>>(
    circuit: impl Fn() -> C,
    waste: &Waste,
    mut out: impl Write,
    announce: impl FnOnce(u64) -> Result<()>,
) -> Result<()> {
    let mut count = Counts::default();
    synthesize(circuit(), &mut count)?;
    let domain = Domain::new(count.constraints).context("the circuit has too many constraints")?;
    let size = domain.size();

    let mut sums = Sums::new(domain.lagrange(&waste.tau), &count);
    let over_delta = domain.vanishing(&waste.tau) * inverse(&waste.delta, "delta")?;
    drop(domain);
    synthesize(circuit(), &mut sums)?;
    let second = (sums.constraint, sums.inputs_allocated, sums.aux_allocated);
    ensure!(
        second == (count.constraints, count.inputs, count.aux),
        "the circuit was another one the second time"
    );
    let Sums { inputs, aux, .. } = sums;

    let (over_gamma, inverse_delta) = (
        inverse(&waste.gamma, "gamma")?,
        inverse(&waste.delta, "delta")?,
    );
    let query =
        |term: &Terms, over: &Scalar| (term.a * waste.beta + term.b * waste.alpha + term.c) * over;
    let ic: Vec<_> = inputs.iter().map(|term| query(term, &over_gamma)).collect();
    let l: Vec<_> = aux
        .par_iter()
        .map(|term| query(term, &inverse_delta))
        .collect();
    // A point at infinity in l would free its variable of every constraint.
    ensure!(
        l.par_iter().all(|scalar| *scalar != Scalar::ZERO),
        SynthesisError::UnconstrainedVariable
    );
    let nonzero = |part: fn(&Terms) -> Scalar| -> Vec<Scalar> {
        let all = inputs.iter().chain(&aux).map(part);
        all.filter(|scalar| *scalar != Scalar::ZERO).collect()
    };
    let (a, b) = (nonzero(|term| term.a), nonzero(|term| term.b));
    drop((inputs, aux));
    let tables = Tables {
        g1: Table::of(&waste.g1, size + ic.len() + l.len() + a.len() + b.len()),
        g2: Table::of(&waste.g2, b.len()),
    };

    let mut key_bytes = Vec::new();
    key(waste, &tables, &ic).write(&mut key_bytes)?;
    let points = (size - 1 + l.len() + a.len() + b.len()) * G1::BYTES + b.len() * G2::BYTES;
    announce((key_bytes.len() + 5 * size_of::<u32>() + points) as u64)?;
    out.write_all(&key_bytes)?;
    list(&mut out, &tables.g1, size - 1, |first, count| {
        powers(
            over_delta * waste.tau.pow_vartime([first as u64]),
            waste.tau,
            count,
        )
        .into()
    })?;
    for scalars in [&l, &a, &b] {
        list(&mut out, &tables.g1, scalars.len(), |first, count| {
            scalars[first..first + count].into()
        })?;
    }
    list(&mut out, &tables.g2, b.len(), |first, count| {
        b[first..first + count].into()
    })?;
    Ok(out.flush()?)
}

fn inverse(scalar: &Scalar, name: &str) -> Result<Scalar> {
    Option::from(scalar.invert()).with_context(|| format!("{name} is zero"))
}

struct Tables {
    g1: Table<G1>,
    g2: Table<G2>,
}

fn key(waste: &Waste, tables: &Tables, ic: &[Scalar]) -> VerifyingKey<Bls12> {
    let ic = tables.g1.multiply(ic);
    VerifyingKey {
        alpha_g1: (waste.g1 * waste.alpha).to_affine(),
        beta_g1: (waste.g1 * waste.beta).to_affine(),
        beta_g2: (waste.g2 * waste.beta).to_affine(),
        gamma_g2: (waste.g2 * waste.gamma).to_affine(),
        delta_g1: (waste.g1 * waste.delta).to_affine(),
        delta_g2: (waste.g2 * waste.delta).to_affine(),
        ic: ic.iter().map(G1::give).collect(),
    }
}

/// Write a list of a point's multiples, block by block; `scalars(first, count)` are their scalars.
fn list<'a, C: Curve>(
    out: &mut impl Write,
    table: &Table<C>,
    count: usize,
    scalars: impl Fn(usize, usize) -> Cow<'a, [Scalar]>,
) -> Result<()> {
    out.write_all(&u32::try_from(count)?.to_be_bytes())?;
    let mut bytes = vec![0; BLOCK.min(count) * C::BYTES];
    for first in (0..count).step_by(BLOCK) {
        let points = table.multiply(&scalars(first, BLOCK.min(count - first)));
        let bytes = &mut bytes[..points.len() * C::BYTES];
        points
            .par_iter()
            .zip(bytes.par_chunks_mut(C::BYTES))
            .for_each(|(point, bytes)| C::write(point, bytes));
        out.write_all(bytes)?;
    }
    Ok(())
}

/// Synthesize a circuit, with the constraints x * 0 = 0 that give each public input a point of its own.
fn synthesize<CS: Assembly, C: Circuit<Scalar>>(
    circuit: C,
    assembly: &mut CS,
) -> Result<(), SynthesisError> {
    assembly.alloc_input(|| "", || Ok(Scalar::ONE))?;
    circuit.synthesize(assembly)?;
    for i in 0..assembly.inputs() {
        assembly.enforce(
            || "",
            |lc| lc + Variable::new_unchecked(Index::Input(i)),
            |lc| lc,
            |lc| lc,
        );
    }
    Ok(())
}

trait Assembly: ConstraintSystem<Scalar> {
    fn inputs(&self) -> usize;
}

/// The size of a circuit.
#[derive(Default)]
struct Counts {
    inputs: usize,
    aux: usize,
    constraints: usize,
}

impl Assembly for Counts {
    fn inputs(&self) -> usize {
        self.inputs
    }
}

/// A variable's three polynomials, evaluated at tau.
#[derive(Clone, Copy, Default)]
struct Terms {
    a: Scalar,
    b: Scalar,
    c: Scalar,
}

/// Sums up each variable's polynomials constraint by constraint, so that no matrix is ever held.
struct Sums {
    lagrange: Vec<Scalar>,
    inputs: Vec<Terms>,
    aux: Vec<Terms>,
    inputs_allocated: usize,
    aux_allocated: usize,
    constraint: usize,
}

impl Sums {
    fn new(lagrange: Vec<Scalar>, count: &Counts) -> Self {
        Self {
            lagrange,
            inputs: vec![Terms::default(); count.inputs],
            aux: vec![Terms::default(); count.aux],
            inputs_allocated: 0,
            aux_allocated: 0,
            constraint: 0,
        }
    }

    fn add(
        &mut self,
        combination: &LinearCombination<Scalar>,
        part: fn(&mut Terms) -> &mut Scalar,
    ) {
        // A circuit that has grown is an error afterwards.
        let Some(&at) = self.lagrange.get(self.constraint) else {
            return;
        };
        let product = |factor: &Scalar| {
            if *factor == Scalar::ONE {
                at
            } else {
                at * factor
            }
        };
        for (&i, factor) in combination.iter_inputs() {
            if let Some(terms) = self.inputs.get_mut(i) {
                *part(terms) += product(factor);
            }
        }
        for (&i, factor) in combination.iter_aux() {
            if let Some(terms) = self.aux.get_mut(i) {
                *part(terms) += product(factor);
            }
        }
    }
}

impl Assembly for Sums {
    fn inputs(&self) -> usize {
        self.inputs.len()
    }
}

/// Values are never asked for, and names of variables and constraints are of no use here.
macro_rules! assembly {
    ($this:ty, $inputs:ident, $aux:ident, |$self:ident, $a:ident, $b:ident, $c:ident| $enforce:block) => {
        impl ConstraintSystem<Scalar> for $this {
            type Root = Self;

            fn alloc<F, A, AR>(&mut self, _: A, _: F) -> Result<Variable, SynthesisError>
            where
                F: FnOnce() -> Result<Scalar, SynthesisError>,
                A: FnOnce() -> AR,
                AR: Into<String>,
            {
                self.$aux += 1;
                Ok(Variable::new_unchecked(Index::Aux(self.$aux - 1)))
            }

            fn alloc_input<F, A, AR>(&mut self, _: A, _: F) -> Result<Variable, SynthesisError>
            where
                F: FnOnce() -> Result<Scalar, SynthesisError>,
                A: FnOnce() -> AR,
                AR: Into<String>,
            {
                self.$inputs += 1;
                Ok(Variable::new_unchecked(Index::Input(self.$inputs - 1)))
            }

            fn enforce<A, AR, LA, LB, LC>(&mut $self, _: A, $a: LA, $b: LB, $c: LC)
            where
                A: FnOnce() -> AR,
                AR: Into<String>,
                LA: FnOnce(LinearCombination<Scalar>) -> LinearCombination<Scalar>,
                LB: FnOnce(LinearCombination<Scalar>) -> LinearCombination<Scalar>,
                LC: FnOnce(LinearCombination<Scalar>) -> LinearCombination<Scalar>,
            $enforce

            fn push_namespace<NR, N>(&mut self, _: N)
            where
                NR: Into<String>,
                N: FnOnce() -> NR,
            {
            }

            fn pop_namespace(&mut self) {}

            fn get_root(&mut self) -> &mut Self::Root {
                self
            }
        }
    };
}

assembly!(Counts, inputs, aux, |self, _a, _b, _c| {
    self.constraints += 1;
});

assembly!(Sums, inputs_allocated, aux_allocated, |self, a, b, c| {
    let zero = LinearCombination::zero;
    self.add(&a(zero()), |terms| &mut terms.a);
    self.add(&b(zero()), |terms| &mut terms.b);
    self.add(&c(zero()), |terms| &mut terms.c);
    self.constraint += 1;
});
