//! Proofs of spacetime: winning and window `PoSt`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use filecoin_proofs_api::{
    MerkleTreeTrait, PartitionSnarkProof, PoStType, PrivateReplicaInfo, PublicReplicaInfo,
    RegisteredPoStProof, SectorId, SnarkProof, post,
};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::convert::{self, array, short};
use crate::errors::{Faults, guarded};
use crate::files;
use crate::snark::{self, Claim};

/// A sealed sector on disk, as a `PoSt` reads it.
#[pyclass(frozen, eq, hash, from_py_object, module = "damocles_proofs")]
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct PrivateReplica {
    #[pyo3(get)]
    sector_id: u64,
    comm_r: [u8; 32],
    #[pyo3(get)]
    cache_dir: String,
    #[pyo3(get)]
    sealed_path: String,
}

#[pymethods]
impl PrivateReplica {
    #[new]
    fn new(
        sector_id: u64,
        comm_r: &[u8],
        cache_dir: PathBuf,
        sealed_path: PathBuf,
    ) -> PyResult<Self> {
        let text = |argument: &str, path: PathBuf| {
            path.into_os_string().into_string().map_err(|path| {
                PyValueError::new_err(format!("{argument}: not UTF-8: {}", path.display()))
            })
        };
        Ok(Self {
            sector_id,
            comm_r: array("comm_r", comm_r)?,
            cache_dir: text("cache_dir", cache_dir)?,
            sealed_path: text("sealed_path", sealed_path)?,
        })
    }

    #[getter]
    fn comm_r(&self) -> &[u8] {
        &self.comm_r
    }

    fn __repr__(&self) -> String {
        format!(
            "PrivateReplica(sector_id={}, comm_r={}, cache_dir='{}', sealed_path='{}')",
            self.sector_id,
            short(&self.comm_r),
            self.cache_dir,
            self.sealed_path
        )
    }
}

impl PrivateReplica {
    fn api(&self, proof: RegisteredPoStProof) -> PrivateReplicaInfo {
        PrivateReplicaInfo::new(
            proof,
            self.comm_r,
            PathBuf::from(&self.cache_dir),
            PathBuf::from(&self.sealed_path),
        )
    }

    /// The replica as the library's inner functions take it.
    pub fn with_tree<Tree: 'static + MerkleTreeTrait>(
        &self,
    ) -> Result<filecoin_proofs::PrivateReplicaInfo<Tree>> {
        filecoin_proofs::PrivateReplicaInfo::new(
            PathBuf::from(&self.sealed_path),
            self.comm_r,
            PathBuf::from(&self.cache_dir),
        )
    }

    /// The files that the library opens before it looks at single sectors; a missing one fails the whole `PoSt` there.
    fn check(&self) -> Result<()> {
        files::folder_with(Path::new(&self.cache_dir), &["p_aux"])?;
        files::readable(Path::new(&self.sealed_path))?;
        Ok(())
    }
}

/// A sealed sector as a verifier knows it.
#[pyclass(frozen, eq, hash, from_py_object, module = "damocles_proofs")]
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct PublicReplica {
    #[pyo3(get)]
    sector_id: u64,
    comm_r: [u8; 32],
}

#[pymethods]
impl PublicReplica {
    #[new]
    fn new(sector_id: u64, comm_r: &[u8]) -> PyResult<Self> {
        Ok(Self {
            sector_id,
            comm_r: array("comm_r", comm_r)?,
        })
    }

    #[getter]
    fn comm_r(&self) -> &[u8] {
        &self.comm_r
    }

    fn __repr__(&self) -> String {
        format!(
            "PublicReplica(sector_id={}, comm_r={})",
            self.sector_id,
            short(&self.comm_r)
        )
    }
}

/// A `PoSt` type by its name, of the kind that the call is about.
fn post_proof(name: &str, expected: Option<PoStType>) -> PyResult<RegisteredPoStProof> {
    let proof: RegisteredPoStProof = convert::proof("registered_proof", name)?;
    match expected {
        Some(kind) if proof.typ() != kind => Err(PyValueError::new_err(format!(
            "registered_proof: {name} is not a {kind:?} PoSt"
        ))),
        _ => Ok(proof),
    }
}

/// What a proof of this kind is to be about.
fn claim(
    kind: PoStType,
    registered_proof: &str,
    randomness: &[u8],
    prover_id: &[u8],
) -> PyResult<Claim> {
    Ok(Claim {
        proof: post_proof(registered_proof, Some(kind))?,
        randomness: array("randomness", randomness)?,
        prover: array("prover_id", prover_id)?,
    })
}

/// Replicas by sector number; a number that comes twice is a `ValueError`.
fn by_sector<'a, R, T>(
    replicas: &'a [R],
    entry: impl Fn(&'a R) -> (u64, T),
) -> PyResult<BTreeMap<SectorId, T>> {
    let mut map = BTreeMap::new();
    for (number, info) in replicas.iter().map(entry) {
        if map.insert(SectorId::from(number), info).is_some() {
            return Err(PyValueError::new_err(format!(
                "replicas: sector {number} comes twice"
            )));
        }
    }
    Ok(map)
}

/// Sectors whose files cannot be opened are faulty: the others can be proved without them.
fn check_all(replicas: &[PrivateReplica]) -> Result<()> {
    let mut faults = Faults::default();
    for replica in replicas {
        if let Err(error) = replica.check() {
            faults.sectors.push(replica.sector_id);
            faults.problems.push(error.to_string());
        }
    }
    if faults.sectors.is_empty() {
        return Ok(());
    }
    Err(faults.into())
}

/// The library returns a list with one entry for each version of proofs, and there is one version.
fn only(mut proofs: Vec<(RegisteredPoStProof, SnarkProof)>) -> Result<SnarkProof> {
    ensure!(proofs.len() == 1, "expected one PoSt, got {}", proofs.len());
    Ok(proofs.remove(0).1)
}

/// Return the indices of the sectors that a winning `PoSt` must prove.
#[pyfunction]
pub fn generate_winning_post_sector_challenge(
    py: Python<'_>,
    registered_proof: &str,
    randomness: &[u8],
    sector_count: u64,
    prover_id: &[u8],
) -> PyResult<Vec<u64>> {
    let proof = post_proof(registered_proof, Some(PoStType::Winning))?;
    let randomness = array("randomness", randomness)?;
    let prover_id = array("prover_id", prover_id)?;
    guarded(py, || {
        post::generate_winning_post_sector_challenge(proof, &randomness, sector_count, prover_id)
    })
}

/// Return the challenged leaves of each sector.
#[pyfunction]
pub fn generate_fallback_sector_challenges(
    py: Python<'_>,
    registered_proof: &str,
    randomness: &[u8],
    sector_ids: Vec<u64>,
    prover_id: &[u8],
) -> PyResult<BTreeMap<u64, Vec<u64>>> {
    let proof = post_proof(registered_proof, None)?;
    let randomness = array("randomness", randomness)?;
    let prover_id = array("prover_id", prover_id)?;
    let sectors: Vec<_> = sector_ids.into_iter().map(SectorId::from).collect();
    let challenges = guarded(py, || {
        post::generate_fallback_sector_challenges(proof, &randomness, &sectors, prover_id)
    })?;
    let plain = challenges
        .into_iter()
        .map(|(id, leaves)| (u64::from(id), leaves));
    Ok(plain.collect())
}

/// Prove the challenged leaves of one sector.
#[pyfunction]
pub fn generate_single_vanilla_proof<'py>(
    py: Python<'py>,
    registered_proof: &str,
    replica: PrivateReplica,
    challenges: Vec<u64>,
) -> PyResult<Bound<'py, PyBytes>> {
    let proof = post_proof(registered_proof, None)?;
    let vanilla = guarded(py, || {
        replica.check()?;
        let id = SectorId::from(replica.sector_id);
        post::generate_single_vanilla_proof(proof, id, &replica.api(proof), &challenges)
    })?;
    Ok(PyBytes::new(py, &vanilla))
}

/// Turn the vanilla proof of a winning `PoSt` into its proof.
#[pyfunction]
pub fn generate_winning_post_with_vanilla<'py>(
    py: Python<'py>,
    registered_proof: &str,
    randomness: &[u8],
    prover_id: &[u8],
    vanilla_proofs: Vec<Vec<u8>>,
) -> PyResult<Bound<'py, PyBytes>> {
    let claim = claim(PoStType::Winning, registered_proof, randomness, prover_id)?;
    let own = snark::own_prover();
    let snark = guarded(py, || {
        if own? {
            return snark::generate_post_with_vanilla(claim, &vanilla_proofs);
        }
        only(post::generate_winning_post_with_vanilla(
            claim.proof,
            &claim.randomness,
            claim.prover,
            &vanilla_proofs,
        )?)
    })?;
    Ok(PyBytes::new(py, &snark))
}

/// Prove a winning `PoSt` from the sectors on disk.
#[pyfunction]
pub fn generate_winning_post<'py>(
    py: Python<'py>,
    registered_proof: &str,
    randomness: &[u8],
    replicas: Vec<PrivateReplica>,
    prover_id: &[u8],
) -> PyResult<Bound<'py, PyBytes>> {
    let claim = claim(PoStType::Winning, registered_proof, randomness, prover_id)?;
    let map = by_sector(&replicas, |one| (one.sector_id, one))?;
    let own = snark::own_prover();
    let snark = guarded(py, || {
        check_all(&replicas)?;
        if own? {
            return snark::generate_post(claim, map);
        }
        let map = map.into_iter().map(|(id, one)| (id, one.api(claim.proof)));
        only(post::generate_winning_post(
            &claim.randomness,
            &map.collect(),
            claim.prover,
        )?)
    })?;
    Ok(PyBytes::new(py, &snark))
}

/// Turn the vanilla proofs of a window `PoSt` into its proof.
#[pyfunction]
pub fn generate_window_post_with_vanilla<'py>(
    py: Python<'py>,
    registered_proof: &str,
    randomness: &[u8],
    prover_id: &[u8],
    vanilla_proofs: Vec<Vec<u8>>,
) -> PyResult<Bound<'py, PyBytes>> {
    let claim = claim(PoStType::Window, registered_proof, randomness, prover_id)?;
    let own = snark::own_prover();
    let snark = guarded(py, || {
        if own? {
            return snark::generate_post_with_vanilla(claim, &vanilla_proofs);
        }
        only(post::generate_window_post_with_vanilla(
            claim.proof,
            &claim.randomness,
            claim.prover,
            &vanilla_proofs,
        )?)
    })?;
    Ok(PyBytes::new(py, &snark))
}

/// Prove a window `PoSt` from the sectors on disk.
#[pyfunction]
pub fn generate_window_post<'py>(
    py: Python<'py>,
    registered_proof: &str,
    randomness: &[u8],
    replicas: Vec<PrivateReplica>,
    prover_id: &[u8],
) -> PyResult<Bound<'py, PyBytes>> {
    let claim = claim(PoStType::Window, registered_proof, randomness, prover_id)?;
    let map = by_sector(&replicas, |one| (one.sector_id, one))?;
    let own = snark::own_prover();
    let snark = guarded(py, || {
        check_all(&replicas)?;
        if own? {
            return snark::generate_post(claim, map);
        }
        let map = map.into_iter().map(|(id, one)| (id, one.api(claim.proof)));
        only(post::generate_window_post(
            &claim.randomness,
            &map.collect(),
            claim.prover,
        )?)
    })?;
    Ok(PyBytes::new(py, &snark))
}

/// Prove one partition of a window `PoSt`.
#[pyfunction]
pub fn generate_single_window_post_with_vanilla<'py>(
    py: Python<'py>,
    registered_proof: &str,
    randomness: &[u8],
    prover_id: &[u8],
    vanilla_proofs: Vec<Vec<u8>>,
    partition_index: usize,
) -> PyResult<Bound<'py, PyBytes>> {
    let claim = claim(PoStType::Window, registered_proof, randomness, prover_id)?;
    let own = snark::own_prover();
    let snark = guarded(py, || {
        if own? && snark::proves_single_partition(claim.proof, partition_index) {
            return snark::generate_single_partition(claim, &vanilla_proofs, partition_index);
        }
        let snark = post::generate_single_window_post_with_vanilla(
            claim.proof,
            &claim.randomness,
            claim.prover,
            &vanilla_proofs,
            partition_index,
        )?;
        Ok(snark.0)
    })?;
    Ok(PyBytes::new(py, &snark))
}

/// Join the proofs of all partitions.
#[pyfunction]
pub fn merge_window_post_partition_proofs<'py>(
    py: Python<'py>,
    registered_proof: &str,
    partition_proofs: Vec<Vec<u8>>,
) -> PyResult<Bound<'py, PyBytes>> {
    let proof = post_proof(registered_proof, Some(PoStType::Window))?;
    let parts = partition_proofs
        .into_iter()
        .map(PartitionSnarkProof)
        .collect();
    let snark = guarded(py, || {
        post::merge_window_post_partition_proofs(proof, parts)
    })?;
    Ok(PyBytes::new(py, &snark))
}

/// Return the number of partitions of a window `PoSt`.
#[pyfunction]
pub fn get_num_partition_for_fallback_post(
    py: Python<'_>,
    registered_proof: &str,
    sector_count: usize,
) -> PyResult<usize> {
    let proof = post_proof(registered_proof, Some(PoStType::Window))?;
    guarded(py, || {
        post::get_num_partition_for_fallback_post(proof, sector_count)
    })
}

/// Check a winning `PoSt`.
#[pyfunction]
pub fn verify_winning_post(
    py: Python<'_>,
    registered_proof: &str,
    randomness: &[u8],
    proof: &[u8],
    replicas: Vec<PublicReplica>,
    prover_id: &[u8],
) -> PyResult<bool> {
    let registered = post_proof(registered_proof, Some(PoStType::Winning))?;
    let randomness = array("randomness", randomness)?;
    let prover_id = array("prover_id", prover_id)?;
    let map = by_sector(&replicas, |one| {
        (
            one.sector_id,
            PublicReplicaInfo::new(registered, one.comm_r),
        )
    })?;
    guarded(py, || {
        post::verify_winning_post(&randomness, proof, &map, prover_id)
    })
}

/// Check a window `PoSt`.
#[pyfunction]
pub fn verify_window_post(
    py: Python<'_>,
    registered_proof: &str,
    randomness: &[u8],
    proof: &[u8],
    replicas: Vec<PublicReplica>,
    prover_id: &[u8],
) -> PyResult<bool> {
    let registered = post_proof(registered_proof, Some(PoStType::Window))?;
    let randomness = array("randomness", randomness)?;
    let prover_id = array("prover_id", prover_id)?;
    let map = by_sector(&replicas, |one| {
        (
            one.sector_id,
            PublicReplicaInfo::new(registered, one.comm_r),
        )
    })?;
    guarded(py, || {
        post::verify_window_post(&randomness, &[(registered, proof)], &map, prover_id)
    })
}
