//! A circuit with its values: what a prover needs of it.

use bellperson::{Circuit, ConstraintSystem, Index, LinearCombination, SynthesisError, Variable};
use blstrs::Scalar;
use ff::Field;

/// The values of a circuit's variables, and each constraint's three linear combinations of them.
///
/// In the order of the parameter files: public inputs first, the constant one being the first of them.
#[derive(Default)]
pub struct Assignment {
    pub inputs: Vec<Scalar>,
    pub aux: Vec<Scalar>,
    pub a: Vec<Scalar>,
    pub b: Vec<Scalar>,
    pub c: Vec<Scalar>,
    /// Which variables stand in a left, or right, linear combination: parameter files hold points for these only.
    /// Public inputs all stand in a left one (see `Assignment::of`).
    pub aux_in_a: Vec<bool>,
    pub inputs_in_b: Vec<bool>,
    pub aux_in_b: Vec<bool>,
}

impl Assignment {
    /// Run a circuit.
    pub fn of<C: Circuit<Scalar>>(circuit: C) -> Result<Self, SynthesisError> {
        let mut this = Self::new();
        this.alloc_input(|| "", || Ok(Scalar::ONE))?;
        circuit.synthesize(&mut this)?;
        // One more constraint for each input, x * 0 = 0, makes sure that each has a point of its own.
        for i in 0..this.inputs.len() {
            this.enforce(
                || "",
                |lc| lc + Variable::new_unchecked(Index::Input(i)),
                |lc| lc,
                |lc| lc,
            );
        }
        Ok(this)
    }
}

/// Evaluate a linear combination, and mark the variables that stand in it.
fn evaluate(
    combination: &LinearCombination<Scalar>,
    inputs: &[Scalar],
    aux: &[Scalar],
    mut mark_input: impl FnMut(usize),
    mut mark_aux: impl FnMut(usize),
) -> Scalar {
    let mut sum = Scalar::ZERO;
    // Most values are bits and most factors are one: a multiplication is the exception.
    let mut add = |value: &Scalar, factor: &Scalar| {
        if *factor == Scalar::ONE {
            sum += value;
        } else if *value == Scalar::ONE {
            sum += factor;
        } else if *value != Scalar::ZERO {
            sum += *value * factor;
        }
    };
    for (&i, factor) in combination.iter_inputs() {
        if *factor != Scalar::ZERO {
            mark_input(i);
            add(&inputs[i], factor);
        }
    }
    for (&i, factor) in combination.iter_aux() {
        if *factor != Scalar::ZERO {
            mark_aux(i);
            add(&aux[i], factor);
        }
    }
    sum
}

impl ConstraintSystem<Scalar> for Assignment {
    type Root = Self;

    fn new() -> Self {
        Self::default()
    }

    fn alloc<F, A, AR>(&mut self, _: A, value: F) -> Result<Variable, SynthesisError>
    where
        F: FnOnce() -> Result<Scalar, SynthesisError>,
        A: FnOnce() -> AR,
        AR: Into<String>,
    {
        self.aux.push(value()?);
        self.aux_in_a.push(false);
        self.aux_in_b.push(false);
        Ok(Variable::new_unchecked(Index::Aux(self.aux.len() - 1)))
    }

    fn alloc_input<F, A, AR>(&mut self, _: A, value: F) -> Result<Variable, SynthesisError>
    where
        F: FnOnce() -> Result<Scalar, SynthesisError>,
        A: FnOnce() -> AR,
        AR: Into<String>,
    {
        self.inputs.push(value()?);
        self.inputs_in_b.push(false);
        Ok(Variable::new_unchecked(Index::Input(self.inputs.len() - 1)))
    }

    fn enforce<A, AR, LA, LB, LC>(&mut self, _: A, a: LA, b: LB, c: LC)
    where
        A: FnOnce() -> AR,
        AR: Into<String>,
        LA: FnOnce(LinearCombination<Scalar>) -> LinearCombination<Scalar>,
        LB: FnOnce(LinearCombination<Scalar>) -> LinearCombination<Scalar>,
        LC: FnOnce(LinearCombination<Scalar>) -> LinearCombination<Scalar>,
    {
        let (inputs, aux) = (&self.inputs, &self.aux);
        let (aux_in_a, aux_in_b) = (&mut self.aux_in_a, &mut self.aux_in_b);
        let inputs_in_b = &mut self.inputs_in_b;
        let zero = LinearCombination::zero;
        self.a.push(evaluate(
            &a(zero()),
            inputs,
            aux,
            |_| (),
            |i| aux_in_a[i] = true,
        ));
        self.b.push(evaluate(
            &b(zero()),
            inputs,
            aux,
            |i| inputs_in_b[i] = true,
            |i| aux_in_b[i] = true,
        ));
        self.c
            .push(evaluate(&c(zero()), inputs, aux, |_| (), |_| ()));
    }

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

    fn is_extensible() -> bool {
        true
    }

    /// Append a part that was synthesized on its own; its first input is the constant one again.
    fn extend(&mut self, part: &Self) {
        self.inputs.extend(&part.inputs[1..]);
        self.inputs_in_b.extend(&part.inputs_in_b[1..]);
        if let (Some(one), Some(used)) = (self.inputs_in_b.first_mut(), part.inputs_in_b.first()) {
            *one |= used;
        }
        self.aux.extend(&part.aux);
        self.aux_in_a.extend(&part.aux_in_a);
        self.aux_in_b.extend(&part.aux_in_b);
        self.a.extend(&part.a);
        self.b.extend(&part.b);
        self.c.extend(&part.c);
    }
}
