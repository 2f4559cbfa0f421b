//! Checking seal proofs, and aggregating them.

use anyhow::ensure;
use blstrs::Scalar;
use filecoin_proofs_api::seal::{self, SealCommitPhase2Output};
use filecoin_proofs_api::{RegisteredAggregationProof, SectorId};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::convert::{self, array, arrays, short};
use crate::errors::guarded;

/// One sealed sector with its proof.
#[pyclass(frozen, eq, hash, from_py_object, module = "damocles_proofs")]
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct SealClaim {
    comm_r: [u8; 32],
    comm_d: [u8; 32],
    prover_id: [u8; 32],
    #[pyo3(get)]
    sector_id: u64,
    ticket: [u8; 32],
    seed: [u8; 32],
    proof: Vec<u8>,
}

#[pymethods]
impl SealClaim {
    #[new]
    fn new(
        comm_r: &[u8],
        comm_d: &[u8],
        prover_id: &[u8],
        sector_id: u64,
        ticket: &[u8],
        seed: &[u8],
        proof: &[u8],
    ) -> PyResult<Self> {
        Ok(Self {
            comm_r: array("comm_r", comm_r)?,
            comm_d: array("comm_d", comm_d)?,
            prover_id: array("prover_id", prover_id)?,
            sector_id,
            ticket: array("ticket", ticket)?,
            seed: array("seed", seed)?,
            proof: proof.to_vec(),
        })
    }

    #[getter]
    fn comm_r(&self) -> &[u8] {
        &self.comm_r
    }

    #[getter]
    fn comm_d(&self) -> &[u8] {
        &self.comm_d
    }

    #[getter]
    fn prover_id(&self) -> &[u8] {
        &self.prover_id
    }

    #[getter]
    fn ticket(&self) -> &[u8] {
        &self.ticket
    }

    #[getter]
    fn seed(&self) -> &[u8] {
        &self.seed
    }

    #[getter]
    fn proof(&self) -> &[u8] {
        &self.proof
    }

    fn __repr__(&self) -> String {
        format!(
            "SealClaim(sector_id={}, comm_r={}, comm_d={})",
            self.sector_id,
            short(&self.comm_r),
            short(&self.comm_d)
        )
    }
}

/// Check the proof of a sector.
#[pyfunction]
pub fn verify_seal(
    py: Python<'_>,
    registered_proof: &str,
    comm_r: &[u8],
    comm_d: &[u8],
    prover_id: &[u8],
    sector_id: u64,
    ticket: &[u8],
    seed: &[u8],
    proof: &[u8],
) -> PyResult<bool> {
    let registered_proof = convert::proof("registered_proof", registered_proof)?;
    let (comm_r, comm_d) = (array("comm_r", comm_r)?, array("comm_d", comm_d)?);
    let (prover_id, sector_id) = (array("prover_id", prover_id)?, SectorId::from(sector_id));
    let (ticket, seed) = (array("ticket", ticket)?, array("seed", seed)?);
    guarded(py, || {
        seal::verify_seal(
            registered_proof,
            comm_r,
            comm_d,
            prover_id,
            sector_id,
            ticket,
            seed,
            proof,
        )
    })
}

/// Check the proofs of many sectors at once.
#[pyfunction]
pub fn verify_batch_seal(
    py: Python<'_>,
    registered_proof: &str,
    claims: Vec<SealClaim>,
) -> PyResult<bool> {
    let registered_proof = convert::proof("registered_proof", registered_proof)?;
    guarded(py, || {
        let column = |pick: fn(&SealClaim) -> [u8; 32]| claims.iter().map(pick).collect::<Vec<_>>();
        let sectors: Vec<_> = claims
            .iter()
            .map(|claim| SectorId::from(claim.sector_id))
            .collect();
        let proofs: Vec<_> = claims.iter().map(|claim| claim.proof.as_slice()).collect();
        seal::verify_batch_seal(
            registered_proof,
            &column(|claim| claim.comm_r),
            &column(|claim| claim.comm_d),
            &column(|claim| claim.prover_id),
            &sectors,
            &column(|claim| claim.ticket),
            &column(|claim| claim.seed),
            &proofs,
        )
    })
}

/// Return the public inputs of a sector's circuits.
#[pyfunction]
pub fn get_seal_inputs<'py>(
    py: Python<'py>,
    registered_proof: &str,
    comm_r: &[u8],
    comm_d: &[u8],
    prover_id: &[u8],
    sector_id: u64,
    ticket: &[u8],
    seed: &[u8],
) -> PyResult<Vec<Vec<Bound<'py, PyBytes>>>> {
    let registered_proof = convert::proof("registered_proof", registered_proof)?;
    let (comm_r, comm_d) = (array("comm_r", comm_r)?, array("comm_d", comm_d)?);
    let (prover_id, sector_id) = (array("prover_id", prover_id)?, SectorId::from(sector_id));
    let (ticket, seed) = (array("ticket", ticket)?, array("seed", seed)?);
    let inputs = guarded(py, || {
        seal::get_seal_inputs(
            registered_proof,
            comm_r,
            comm_d,
            prover_id,
            sector_id,
            ticket,
            seed,
        )
    })?;
    let partition = |scalars: Vec<Scalar>| {
        let bytes = scalars.iter().map(Scalar::to_bytes_le);
        bytes.map(|scalar| PyBytes::new(py, &scalar)).collect()
    };
    Ok(inputs.into_iter().map(partition).collect())
}

/// Aggregate the seal proofs of several sectors.
#[pyfunction]
pub fn aggregate_seal_proofs<'py>(
    py: Python<'py>,
    registered_proof: &str,
    aggregation: &str,
    comm_rs: Vec<Vec<u8>>,
    seeds: Vec<Vec<u8>>,
    proofs: Vec<Vec<u8>>,
) -> PyResult<Bound<'py, PyBytes>> {
    let registered_proof = convert::proof("registered_proof", registered_proof)?;
    let aggregation: RegisteredAggregationProof = convert::proof("aggregation", aggregation)?;
    let (comm_rs, seeds) = (arrays("comm_rs", &comm_rs)?, arrays("seeds", &seeds)?);
    same_length(comm_rs.len(), seeds.len(), "seeds")?;
    same_length(comm_rs.len(), proofs.len(), "proofs")?;
    let outputs: Vec<_> = proofs
        .into_iter()
        .map(|proof| SealCommitPhase2Output { proof })
        .collect();
    let aggregate = guarded(py, || {
        seal::aggregate_seal_commit_proofs(
            registered_proof,
            aggregation,
            &comm_rs,
            &seeds,
            &outputs,
        )
    })?;
    Ok(PyBytes::new(py, &aggregate))
}

/// Check an aggregate.
#[pyfunction]
pub fn verify_aggregate_seal_proofs(
    py: Python<'_>,
    registered_proof: &str,
    aggregation: &str,
    aggregate: Vec<u8>,
    comm_rs: Vec<Vec<u8>>,
    seeds: Vec<Vec<u8>>,
    inputs: Vec<Vec<Vec<u8>>>,
) -> PyResult<bool> {
    let registered_proof = convert::proof("registered_proof", registered_proof)?;
    let aggregation: RegisteredAggregationProof = convert::proof("aggregation", aggregation)?;
    let (comm_rs, seeds) = (arrays("comm_rs", &comm_rs)?, arrays("seeds", &seeds)?);
    same_length(comm_rs.len(), seeds.len(), "seeds")?;
    let inputs = inputs
        .iter()
        .enumerate()
        .map(|(index, partition)| scalars(&format!("inputs[{index}]"), partition))
        .collect::<PyResult<Vec<_>>>()?;
    guarded(py, || {
        ensure!(!inputs.is_empty(), "no inputs: nothing to verify");
        seal::verify_aggregate_seal_commit_proofs(
            registered_proof,
            aggregation,
            aggregate,
            &comm_rs,
            &seeds,
            inputs,
        )
    })
}

fn scalars(argument: &str, list: &[Vec<u8>]) -> PyResult<Vec<Scalar>> {
    arrays(argument, list)?
        .iter()
        .map(|bytes| {
            Option::from(Scalar::from_bytes_le(bytes)).ok_or_else(|| {
                PyValueError::new_err(format!("{argument}: not a scalar of BLS12-381"))
            })
        })
        .collect()
}

fn same_length(expected: usize, got: usize, argument: &str) -> PyResult<()> {
    if expected == got {
        return Ok(());
    }
    Err(PyValueError::new_err(format!(
        "{argument}: expected {expected} entries, as many as comm_rs, got {got}"
    )))
}
