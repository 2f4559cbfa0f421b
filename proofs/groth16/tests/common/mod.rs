//! A small circuit with everything that a large one has.

use bellperson::{Circuit, ConstraintSystem, SynthesisError};
use blstrs::Scalar;
use ff::Field;

/// Public input `sum` is the sum of bits by weights, and a chain of squares starts from it.
///
/// It has bits, values of full size, a variable in no left or right combination, and a public input in a right one.
#[derive(Clone)]
pub struct Toy {
    pub bits: Vec<Option<bool>>,
    pub squares: usize,
}

impl Toy {
    pub fn blank(bits: usize, squares: usize) -> Self {
        Self {
            bits: vec![None; bits],
            squares,
        }
    }

    pub fn with(bits: usize, squares: usize, pattern: u64) -> Self {
        let bits = (0..bits).map(|i| Some(pattern >> (i % 64) & 1 == 1));
        Self {
            bits: bits.collect(),
            squares,
        }
    }

    /// The public inputs.
    pub fn inputs(&self) -> Vec<Scalar> {
        let sum = self.bits.iter().enumerate().map(|(i, bit)| {
            let one = bit.unwrap_or_default();
            Scalar::from(i as u64 + 3) * Scalar::from(u64::from(one))
        });
        vec![sum.sum()]
    }
}

impl Circuit<Scalar> for Toy {
    fn synthesize<CS: ConstraintSystem<Scalar>>(self, cs: &mut CS) -> Result<(), SynthesisError> {
        let known = self.bits.iter().all(Option::is_some);
        let total = self.inputs()[0];
        let get = |value: Scalar| {
            if known {
                Ok(value)
            } else {
                Err(SynthesisError::AssignmentMissing)
            }
        };
        let sum = cs.alloc_input(|| "sum", || get(total))?;
        let mut variables = Vec::new();
        for bit in &self.bits {
            let value = Scalar::from(u64::from(bit.unwrap_or_default()));
            let variable = cs.alloc(|| "bit", || get(value))?;
            cs.enforce(
                || "bit",
                |lc| lc + variable,
                |lc| lc + CS::one() - variable,
                |lc| lc,
            );
            variables.push(variable);
        }
        cs.enforce(
            || "sum",
            |lc| {
                let weighted = variables.iter().zip(3_u64..);
                weighted.fold(lc, |lc, (bit, weight)| lc + (Scalar::from(weight), *bit))
            },
            |lc| lc + CS::one(),
            |lc| lc + sum,
        );
        let (mut last, mut value) = (sum, total);
        for _ in 0..self.squares {
            let factor = value + Scalar::from(5);
            let next = value * factor;
            let variable = cs.alloc(|| "square", || get(next))?;
            cs.enforce(
                || "square",
                |lc| lc + last,
                |lc| lc + last + (Scalar::from(5), CS::one()),
                |lc| lc + variable,
            );
            (last, value) = (variable, next);
        }
        let double = cs.alloc(|| "double", || get(value.double()))?;
        cs.enforce(
            || "double",
            |lc| lc + (Scalar::from(2), last),
            |lc| lc + CS::one(),
            |lc| lc + double,
        );
        Ok(())
    }
}
