//! Updating a sealed sector with data (snap deals).

use std::path::{Path, PathBuf};

use anyhow::Result;
use filecoin_proofs::EmptySectorUpdateEncoded;
use filecoin_proofs_api::{PartitionProofBytes, RegisteredUpdateProof, update};
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use serde::{Deserialize, Serialize};

use crate::convert::{array, from_json, proof, short, to_json};
use crate::errors::guarded;
use crate::files;
use crate::pieces::{PieceInfo, api_pieces};
use crate::snark::{self, Commitments};

/// The commitments of an updated sector.
#[pyclass(frozen, eq, hash, module = "damocles_proofs")]
#[derive(PartialEq, Eq, Hash, Serialize, Deserialize)]
#[allow(clippy::struct_field_names, reason = "the names are those of the JSON")]
#[allow(
    clippy::unsafe_derive_deserialize,
    reason = "the unsafe methods are pyo3's"
)]
pub struct UpdateEncoded {
    comm_r_new: [u8; 32],
    comm_r_last_new: [u8; 32],
    comm_d_new: [u8; 32],
}

impl From<EmptySectorUpdateEncoded> for UpdateEncoded {
    fn from(encoded: EmptySectorUpdateEncoded) -> Self {
        Self {
            comm_r_new: encoded.comm_r_new,
            comm_r_last_new: encoded.comm_r_last_new,
            comm_d_new: encoded.comm_d_new,
        }
    }
}

#[pymethods]
impl UpdateEncoded {
    #[new]
    fn new(comm_r_new: &[u8], comm_r_last_new: &[u8], comm_d_new: &[u8]) -> PyResult<Self> {
        Ok(Self {
            comm_r_new: array("comm_r_new", comm_r_new)?,
            comm_r_last_new: array("comm_r_last_new", comm_r_last_new)?,
            comm_d_new: array("comm_d_new", comm_d_new)?,
        })
    }

    #[staticmethod]
    #[pyo3(name = "from_json")]
    fn read(py: Python<'_>, data: &[u8]) -> PyResult<Self> {
        from_json(py, data)
    }

    #[pyo3(name = "to_json")]
    fn write<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        to_json(py, self)
    }

    #[getter]
    fn comm_r_new(&self) -> &[u8] {
        &self.comm_r_new
    }

    #[getter]
    fn comm_r_last_new(&self) -> &[u8] {
        &self.comm_r_last_new
    }

    #[getter]
    fn comm_d_new(&self) -> &[u8] {
        &self.comm_d_new
    }

    fn __repr__(&self) -> String {
        format!(
            "UpdateEncoded(comm_r_new={}, comm_r_last_new={}, comm_d_new={})",
            short(&self.comm_r_new),
            short(&self.comm_r_last_new),
            short(&self.comm_d_new)
        )
    }
}

fn commitments(comm_r_old: &[u8], comm_r_new: &[u8], comm_d_new: &[u8]) -> PyResult<Commitments> {
    Ok(Commitments {
        r_old: array("comm_r_old", comm_r_old)?,
        r_new: array("comm_r_new", comm_r_new)?,
        d_new: array("comm_d_new", comm_d_new)?,
    })
}

fn update_proof(name: &str) -> PyResult<RegisteredUpdateProof> {
    proof("registered_proof", name)
}

fn partitions(proofs: Vec<Vec<u8>>) -> Vec<PartitionProofBytes> {
    proofs.into_iter().map(PartitionProofBytes).collect()
}

/// A file of the sector's size, to read.
fn input(proof: RegisteredUpdateProof, path: &Path) -> Result<()> {
    files::of_size(path, &files::readable(path)?, proof.sector_size().into())
}

/// A file of the sector's size, to write.
fn output(proof: RegisteredUpdateProof, path: &Path) -> Result<()> {
    files::of_size(path, &files::writable(path)?, proof.sector_size().into())
}

/// Encode staged data into a sealed sector.
#[pyfunction]
pub fn update_encode_into(
    py: Python<'_>,
    registered_proof: &str,
    new_replica_path: PathBuf,
    new_cache_dir: PathBuf,
    sector_key_path: PathBuf,
    sector_key_cache_dir: PathBuf,
    staged_path: PathBuf,
    pieces: Vec<PieceInfo>,
) -> PyResult<UpdateEncoded> {
    let proof = update_proof(registered_proof)?;
    guarded(py, || {
        output(proof, &new_replica_path)?;
        files::folder(&new_cache_dir)?;
        input(proof, &sector_key_path)?;
        files::folder_with(&sector_key_cache_dir, &["p_aux", "t_aux"])?;
        input(proof, &staged_path)?;
        let encoded = update::empty_sector_update_encode_into(
            proof,
            new_replica_path,
            new_cache_dir,
            sector_key_path,
            sector_key_cache_dir,
            staged_path,
            &api_pieces(&pieces),
        )?;
        Ok(encoded.into())
    })
}

/// Write the data of an updated sector.
#[pyfunction]
pub fn update_decode_from(
    py: Python<'_>,
    registered_proof: &str,
    output_path: PathBuf,
    replica_path: PathBuf,
    sector_key_path: PathBuf,
    sector_key_cache_dir: PathBuf,
    comm_d_new: &[u8],
) -> PyResult<()> {
    let proof = update_proof(registered_proof)?;
    let comm_d_new = array("comm_d_new", comm_d_new)?;
    guarded(py, || {
        output(proof, &output_path)?;
        input(proof, &replica_path)?;
        input(proof, &sector_key_path)?;
        files::folder_with(&sector_key_cache_dir, &["p_aux"])?;
        update::empty_sector_update_decode_from(
            proof,
            output_path,
            replica_path,
            sector_key_path,
            sector_key_cache_dir,
            comm_d_new,
        )
    })
}

/// Compute the sector key from an updated sector and its data.
#[pyfunction]
pub fn update_remove_encoded_data(
    py: Python<'_>,
    registered_proof: &str,
    sector_key_path: PathBuf,
    sector_key_cache_dir: PathBuf,
    replica_path: PathBuf,
    key_aux_dir: PathBuf,
    data_path: PathBuf,
    comm_d_new: &[u8],
) -> PyResult<()> {
    let proof = update_proof(registered_proof)?;
    let comm_d_new = array("comm_d_new", comm_d_new)?;
    guarded(py, || {
        output(proof, &sector_key_path)?;
        files::folder(&sector_key_cache_dir)?;
        input(proof, &replica_path)?;
        files::folder_with(&key_aux_dir, &["p_aux", "t_aux"])?;
        input(proof, &data_path)?;
        update::empty_sector_update_remove_encoded_data(
            proof,
            sector_key_path,
            sector_key_cache_dir,
            replica_path,
            key_aux_dir,
            data_path,
            comm_d_new,
        )
    })
}

/// Return the vanilla proofs of an update.
#[pyfunction]
pub fn update_partition_proofs<'py>(
    py: Python<'py>,
    registered_proof: &str,
    comm_r_old: &[u8],
    comm_r_new: &[u8],
    comm_d_new: &[u8],
    sector_key_path: PathBuf,
    sector_key_cache_dir: PathBuf,
    replica_path: PathBuf,
    replica_cache_dir: PathBuf,
) -> PyResult<Vec<Bound<'py, PyBytes>>> {
    let proof = update_proof(registered_proof)?;
    let comm = commitments(comm_r_old, comm_r_new, comm_d_new)?;
    let proofs = guarded(py, || {
        input(proof, &sector_key_path)?;
        files::folder_with(&sector_key_cache_dir, &["p_aux", "t_aux"])?;
        input(proof, &replica_path)?;
        files::folder_with(&replica_cache_dir, &[files::TREE_D])?;
        update::generate_partition_proofs(
            proof,
            comm.r_old,
            comm.r_new,
            comm.d_new,
            sector_key_path,
            sector_key_cache_dir,
            replica_path,
            replica_cache_dir,
        )
    })?;
    let bytes = proofs.iter().map(|proof| PyBytes::new(py, &proof.0));
    Ok(bytes.collect())
}

/// Check vanilla proofs of an update.
#[pyfunction]
pub fn update_verify_partition_proofs(
    py: Python<'_>,
    registered_proof: &str,
    vanilla_proofs: Vec<Vec<u8>>,
    comm_r_old: &[u8],
    comm_r_new: &[u8],
    comm_d_new: &[u8],
) -> PyResult<bool> {
    let proof = update_proof(registered_proof)?;
    let comm = commitments(comm_r_old, comm_r_new, comm_d_new)?;
    let proofs = partitions(vanilla_proofs);
    guarded(py, || {
        update::verify_partition_proofs(proof, &proofs, comm.r_old, comm.r_new, comm.d_new)
    })
}

/// Turn the vanilla proofs of an update into its proof.
#[pyfunction]
pub fn update_prove_with_vanilla<'py>(
    py: Python<'py>,
    registered_proof: &str,
    vanilla_proofs: Vec<Vec<u8>>,
    comm_r_old: &[u8],
    comm_r_new: &[u8],
    comm_d_new: &[u8],
) -> PyResult<Bound<'py, PyBytes>> {
    let proof = update_proof(registered_proof)?;
    let comm = commitments(comm_r_old, comm_r_new, comm_d_new)?;
    let proofs = partitions(vanilla_proofs);
    let own = snark::own_prover();
    let snark = guarded(py, || {
        if own? {
            return snark::prove_update_with_vanilla(proof, proofs, comm);
        }
        let snark = update::generate_empty_sector_update_proof_with_vanilla(
            proof, proofs, comm.r_old, comm.r_new, comm.d_new,
        )?;
        Ok(snark.0)
    })?;
    Ok(PyBytes::new(py, &snark))
}

/// Prove an update in one go.
#[pyfunction]
pub fn update_prove<'py>(
    py: Python<'py>,
    registered_proof: &str,
    comm_r_old: &[u8],
    comm_r_new: &[u8],
    comm_d_new: &[u8],
    sector_key_path: PathBuf,
    sector_key_cache_dir: PathBuf,
    replica_path: PathBuf,
    replica_cache_dir: PathBuf,
) -> PyResult<Bound<'py, PyBytes>> {
    let proof = update_proof(registered_proof)?;
    let comm = commitments(comm_r_old, comm_r_new, comm_d_new)?;
    let own = snark::own_prover();
    let snark = guarded(py, || {
        input(proof, &sector_key_path)?;
        files::folder_with(&sector_key_cache_dir, &["p_aux", "t_aux"])?;
        input(proof, &replica_path)?;
        files::folder_with(&replica_cache_dir, &[files::TREE_D])?;
        if own? {
            let files = snark::UpdateFiles {
                sector_key: &sector_key_path,
                sector_key_cache: &sector_key_cache_dir,
                replica: &replica_path,
                replica_cache: &replica_cache_dir,
            };
            return snark::prove_update(proof, comm, files);
        }
        let snark = update::generate_empty_sector_update_proof(
            proof,
            comm.r_old,
            comm.r_new,
            comm.d_new,
            sector_key_path,
            sector_key_cache_dir,
            replica_path,
            replica_cache_dir,
        )?;
        Ok(snark.0)
    })?;
    Ok(PyBytes::new(py, &snark))
}

/// Check the proof of an update.
#[pyfunction]
pub fn update_verify(
    py: Python<'_>,
    registered_proof: &str,
    proof: &[u8],
    comm_r_old: &[u8],
    comm_r_new: &[u8],
    comm_d_new: &[u8],
) -> PyResult<bool> {
    let registered_proof = update_proof(registered_proof)?;
    let comm = commitments(comm_r_old, comm_r_new, comm_d_new)?;
    guarded(py, || {
        update::verify_empty_sector_update_proof(
            registered_proof,
            proof,
            comm.r_old,
            comm.r_new,
            comm.d_new,
        )
    })
}
