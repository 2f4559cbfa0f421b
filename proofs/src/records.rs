//! What the stages of sealing hand to each other, as opaque records that know their own JSON.

use filecoin_proofs_api::RegisteredSealProof;
use filecoin_proofs_api::seal::{
    SealCommitPhase1Output, SealPreCommitPhase1Output, SealPreCommitPhase2Output,
};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::convert::{array, from_json, name, proof, short, to_json};

/// What PC1 leaves for PC2.
#[pyclass(frozen, module = "damocles_proofs")]
pub struct Pc1Output(pub SealPreCommitPhase1Output);

#[pymethods]
impl Pc1Output {
    #[staticmethod]
    #[pyo3(name = "from_json")]
    fn read(py: Python<'_>, data: &[u8]) -> PyResult<Self> {
        from_json(py, data).map(Self)
    }

    #[pyo3(name = "to_json")]
    fn write<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        to_json(py, &self.0)
    }

    #[getter]
    fn registered_proof(&self) -> String {
        name(&self.0.registered_proof)
    }

    #[getter]
    fn comm_d(&self) -> &[u8] {
        &self.0.comm_d
    }

    fn __repr__(&self) -> String {
        format!(
            "Pc1Output(registered_proof='{}', comm_d={})",
            self.registered_proof(),
            short(&self.0.comm_d)
        )
    }
}

/// The two commitments of a sealed sector.
#[pyclass(frozen, eq, hash, module = "damocles_proofs")]
#[derive(PartialEq, Eq, Hash)]
pub struct Pc2Output {
    registered_proof: RegisteredSealProof,
    comm_r: [u8; 32],
    comm_d: [u8; 32],
}

impl Pc2Output {
    /// The same, as the library's own struct.
    pub fn api(&self) -> SealPreCommitPhase2Output {
        SealPreCommitPhase2Output {
            registered_proof: self.registered_proof,
            comm_r: self.comm_r,
            comm_d: self.comm_d,
        }
    }
}

impl From<SealPreCommitPhase2Output> for Pc2Output {
    fn from(output: SealPreCommitPhase2Output) -> Self {
        Self {
            registered_proof: output.registered_proof,
            comm_r: output.comm_r,
            comm_d: output.comm_d,
        }
    }
}

#[pymethods]
impl Pc2Output {
    #[new]
    fn new(registered_proof: &str, comm_r: &[u8], comm_d: &[u8]) -> PyResult<Self> {
        Ok(Self {
            registered_proof: proof("registered_proof", registered_proof)?,
            comm_r: array("comm_r", comm_r)?,
            comm_d: array("comm_d", comm_d)?,
        })
    }

    #[staticmethod]
    #[pyo3(name = "from_json")]
    fn read(py: Python<'_>, data: &[u8]) -> PyResult<Self> {
        from_json::<SealPreCommitPhase2Output>(py, data).map(Self::from)
    }

    #[pyo3(name = "to_json")]
    fn write<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        to_json(py, &self.api())
    }

    #[getter]
    fn registered_proof(&self) -> String {
        name(&self.registered_proof)
    }

    #[getter]
    fn comm_r(&self) -> &[u8] {
        &self.comm_r
    }

    #[getter]
    fn comm_d(&self) -> &[u8] {
        &self.comm_d
    }

    fn __repr__(&self) -> String {
        format!(
            "Pc2Output(registered_proof='{}', comm_r={}, comm_d={})",
            self.registered_proof(),
            short(&self.comm_r),
            short(&self.comm_d)
        )
    }
}

/// The vanilla proofs that C2 turns into a SNARK.
#[pyclass(frozen, module = "damocles_proofs")]
pub struct C1Output(pub SealCommitPhase1Output);

#[pymethods]
impl C1Output {
    #[staticmethod]
    #[pyo3(name = "from_json")]
    fn read(py: Python<'_>, data: &[u8]) -> PyResult<Self> {
        from_json(py, data).map(Self)
    }

    #[pyo3(name = "to_json")]
    fn write<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        to_json(py, &self.0)
    }

    #[getter]
    fn registered_proof(&self) -> String {
        name(&self.0.registered_proof)
    }

    #[getter]
    fn comm_r(&self) -> &[u8] {
        &self.0.comm_r
    }

    #[getter]
    fn comm_d(&self) -> &[u8] {
        &self.0.comm_d
    }

    #[getter]
    fn seed(&self) -> &[u8] {
        &self.0.seed
    }

    #[getter]
    fn ticket(&self) -> &[u8] {
        &self.0.ticket
    }

    fn __repr__(&self) -> String {
        format!(
            "C1Output(registered_proof='{}', comm_r={}, comm_d={})",
            self.registered_proof(),
            short(&self.0.comm_r),
            short(&self.0.comm_d)
        )
    }
}
