//! Sealing a sector, from tree-d to the SNARK, and getting its data back.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use filecoin_proofs::constants::{DefaultPieceHasher, LAYERS};
use filecoin_proofs_api::{
    ApiFeature, RegisteredSealProof, SectorId, UnpaddedByteIndex, UnpaddedBytesAmount, seal,
};
use memmap2::Mmap;
use merkletree::store::StoreConfig;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use storage_proofs_core::merkle::{BinaryMerkleTree, create_base_merkle_tree};
use storage_proofs_core::util::NODE_SIZE;

use crate::convert::{array, proof};
use crate::errors::guarded;
use crate::files::{self, TREE_D};
use crate::parents;
use crate::pieces::{PieceInfo, api_pieces};
use crate::records::{C1Output, Pc1Output, Pc2Output};
use crate::snark;

/// Synthetic vanilla proofs in a cache folder.
const SYNTHETIC_PROOFS: &str = "syn-porep-vanilla-proofs.dat";

/// Id of a tree-d in the making; its file is renamed when it is whole.
const UNFINISHED_TREE_D: &str = "unfinished-tree-d";

/// Build tree-d of the staged file.
#[pyfunction]
pub fn tree_d<'py>(
    py: Python<'py>,
    registered_proof: &str,
    staged_path: PathBuf,
    cache_dir: PathBuf,
) -> PyResult<Bound<'py, PyBytes>> {
    let registered_proof = proof("registered_proof", registered_proof)?;
    let comm_d = guarded(py, || {
        build_tree_d(registered_proof, &staged_path, &cache_dir)
    })?;
    Ok(PyBytes::new(py, &comm_d))
}

fn build_tree_d(proof: RegisteredSealProof, staged: &Path, cache: &Path) -> Result<[u8; 32]> {
    let sector_bytes = u64::from(proof.sector_size());
    files::of_size(staged, &files::readable(staged)?, sector_bytes)?;
    files::folder(cache)?;
    // The library loads a tree that it finds instead of building one: whatever a killed call left must go first.
    let unfinished = StoreConfig::data_path(cache, UNFINISHED_TREE_D);
    if unfinished.exists() {
        fs::remove_file(&unfinished)
            .with_context(|| format!("cannot remove {}", unfinished.display()))?;
    }
    // SAFETY: the staged file belongs to this call; nobody cuts it while it is mapped.
    let data = unsafe { Mmap::map(&File::open(staged)?)? };
    let tree = create_base_merkle_tree::<BinaryMerkleTree<DefaultPieceHasher>>(
        Some(StoreConfig::new(cache, UNFINISHED_TREE_D, 0)),
        data.len() / NODE_SIZE,
        &data,
    )?;
    let root = tree.root().into();
    drop(tree);
    File::open(&unfinished)?.sync_all()?;
    fs::rename(&unfinished, cache.join(TREE_D))
        .with_context(|| format!("cannot rename {}", unfinished.display()))?;
    Ok(root)
}

/// Compute the layers of a sector.
#[pyfunction]
pub fn pc1(
    py: Python<'_>,
    registered_proof: &str,
    cache_dir: PathBuf,
    staged_path: PathBuf,
    sealed_path: PathBuf,
    prover_id: &[u8],
    sector_id: u64,
    ticket: &[u8],
    pieces: Vec<PieceInfo>,
) -> PyResult<Pc1Output> {
    let registered_proof = proof("registered_proof", registered_proof)?;
    let (prover_id, ticket) = (array("prover_id", prover_id)?, array("ticket", ticket)?);
    guarded(py, || {
        let sector_bytes = u64::from(RegisteredSealProof::sector_size(registered_proof));
        files::of_size(&staged_path, &files::readable(&staged_path)?, sector_bytes)?;
        files::writable(&sealed_path)?;
        files::folder(&cache_dir)?;
        let tree = cache_dir.join(TREE_D);
        if fs::symlink_metadata(&tree).is_ok() {
            // The library takes what is there. A binary tree has one node less than twice its leaves.
            let tree_bytes = 2 * sector_bytes - NODE_SIZE as u64;
            files::of_size(&tree, &files::readable(&tree)?, tree_bytes)?;
        } else {
            build_tree_d(registered_proof, &staged_path, &cache_dir)?;
        }
        parents::ensure(registered_proof)?;
        let output = seal::seal_pre_commit_phase1(
            registered_proof,
            &cache_dir,
            &staged_path,
            &sealed_path,
            prover_id,
            SectorId::from(sector_id),
            ticket,
            &api_pieces(&pieces),
        )?;
        Ok(Pc1Output(output))
    })
}

/// Build the other trees and encode the replica.
#[pyfunction]
pub fn pc2(
    py: Python<'_>,
    pc1_output: &Bound<'_, Pc1Output>,
    cache_dir: PathBuf,
    sealed_path: PathBuf,
) -> PyResult<Pc2Output> {
    let phase1 = pc1_output.get().0.clone();
    guarded(py, || {
        let sector_bytes = u64::from(phase1.registered_proof.sector_size());
        files::of_size(&sealed_path, &files::writable(&sealed_path)?, sector_bytes)?;
        files::folder_with(&cache_dir, &[TREE_D])?;
        layers(phase1.registered_proof, &cache_dir)?;
        Ok(seal::seal_pre_commit_phase2(phase1, &cache_dir, &sealed_path)?.into())
    })
}

/// The layers of a sector, as files.
fn layers(proof: RegisteredSealProof, cache: &Path) -> Result<()> {
    let counts = LAYERS.read().expect("nobody panics while counting layers");
    for layer in 1..=counts[&u64::from(proof.sector_size())] {
        files::readable(&cache.join(format!("sc-02-data-layer-{layer}.dat")))?;
    }
    Ok(())
}

/// Write the synthetic vanilla proofs of a sector.
#[pyfunction]
pub fn generate_synth_proofs(
    py: Python<'_>,
    cache_dir: PathBuf,
    sealed_path: PathBuf,
    prover_id: &[u8],
    sector_id: u64,
    ticket: &[u8],
    pc2_output: &Bound<'_, Pc2Output>,
    pieces: Vec<PieceInfo>,
) -> PyResult<()> {
    let (prover_id, ticket) = (array("prover_id", prover_id)?, array("ticket", ticket)?);
    let phase2 = pc2_output.get().api();
    guarded(py, || {
        let proof = phase2.registered_proof;
        ensure!(
            proof.feature_enabled(ApiFeature::SyntheticPoRep),
            "{proof:?} has no synthetic proofs"
        );
        files::readable(&sealed_path)?;
        files::folder_with(&cache_dir, &["p_aux", "t_aux", TREE_D])?;
        layers(proof, &cache_dir)?;
        seal::generate_synth_proofs(
            &cache_dir,
            &sealed_path,
            prover_id,
            SectorId::from(sector_id),
            ticket,
            phase2,
            &api_pieces(&pieces),
        )
    })
}

/// Prove the challenged nodes of a sector.
#[pyfunction]
pub fn c1(
    py: Python<'_>,
    cache_dir: PathBuf,
    sealed_path: PathBuf,
    prover_id: &[u8],
    sector_id: u64,
    ticket: &[u8],
    seed: &[u8],
    pc2_output: &Bound<'_, Pc2Output>,
    pieces: Vec<PieceInfo>,
) -> PyResult<C1Output> {
    let (prover_id, ticket) = (array("prover_id", prover_id)?, array("ticket", ticket)?);
    let seed = array("seed", seed)?;
    let phase2 = pc2_output.get().api();
    guarded(py, || {
        files::readable(&sealed_path)?;
        files::folder_with(&cache_dir, &["p_aux", "t_aux"])?;
        let proof = phase2.registered_proof;
        if proof.feature_enabled(ApiFeature::SyntheticPoRep) {
            files::readable(&cache_dir.join(SYNTHETIC_PROOFS))?;
        } else {
            files::readable(&cache_dir.join(TREE_D))?;
            layers(proof, &cache_dir)?;
        }
        let output = seal::seal_commit_phase1(
            &cache_dir,
            &sealed_path,
            prover_id,
            SectorId::from(sector_id),
            ticket,
            seed,
            phase2,
            &api_pieces(&pieces),
        )?;
        Ok(C1Output(output))
    })
}

/// Prove a sector.
#[pyfunction]
pub fn c2<'py>(
    py: Python<'py>,
    c1_output: &Bound<'_, C1Output>,
    prover_id: &[u8],
    sector_id: u64,
) -> PyResult<Bound<'py, PyBytes>> {
    let prover_id = array("prover_id", prover_id)?;
    let phase1 = c1_output.get();
    let own = snark::own_prover();
    let proof = guarded(py, || {
        let (phase1, sector) = (phase1.0.clone(), SectorId::from(sector_id));
        if own? {
            return snark::commit_phase2(phase1, prover_id, sector);
        }
        Ok(seal::seal_commit_phase2(phase1, prover_id, sector)?.proof)
    })?;
    Ok(PyBytes::new(py, &proof))
}

/// Prove a sector without aggregation.
#[pyfunction]
pub fn c2_circuit_proofs<'py>(
    py: Python<'py>,
    c1_output: &Bound<'_, C1Output>,
    sector_id: u64,
) -> PyResult<Bound<'py, PyBytes>> {
    let phase1 = c1_output.get();
    let own = snark::own_prover();
    let proof = guarded(py, || {
        let phase1 = phase1.0.clone();
        if own? {
            return snark::commit_phase2_circuit_proofs(phase1);
        }
        let sector = SectorId::from(sector_id);
        Ok(seal::seal_commit_phase2_circuit_proofs(phase1, sector)?.proof)
    })?;
    Ok(PyBytes::new(py, &proof))
}

/// A folder that goes when the call ends; one that a killed call has left goes first.
struct Scratch(PathBuf);

impl Scratch {
    fn make(path: PathBuf) -> Result<Self> {
        if path.exists() {
            fs::remove_dir_all(&path)
                .with_context(|| format!("cannot remove {}", path.display()))?;
        }
        fs::create_dir(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Write a range of a sector's data to a file.
#[pyfunction]
pub fn unseal_range(
    py: Python<'_>,
    registered_proof: &str,
    cache_dir: PathBuf,
    sealed_path: PathBuf,
    output_path: PathBuf,
    prover_id: &[u8],
    sector_id: u64,
    comm_d: &[u8],
    ticket: &[u8],
    offset: u64,
    num_bytes: u64,
) -> PyResult<u64> {
    let registered_proof: RegisteredSealProof = proof("registered_proof", registered_proof)?;
    let (prover_id, ticket) = (array("prover_id", prover_id)?, array("ticket", ticket)?);
    let comm_d = array("comm_d", comm_d)?;
    let sector_bytes = registered_proof.sector_size();
    let most = u64::from(UnpaddedBytesAmount::from(sector_bytes));
    if offset.checked_add(num_bytes).is_none_or(|end| end > most) {
        return Err(PyValueError::new_err(format!(
            "offset, num_bytes: {offset} + {num_bytes} is beyond the {most} bytes of the sector"
        )));
    }
    guarded(py, || {
        let sealed = files::writable(&sealed_path)?;
        files::of_size(&sealed_path, &sealed, sector_bytes.into())?;
        files::folder(&cache_dir)?;
        files::parent(&output_path)?;
        parents::ensure(registered_proof)?;
        // The library writes each layer over `sc-02-data-tree-d.dat` of the folder that it is given, and leaves the last
        // one there: a sector's own folder would lose its tree-d.
        let scratch = Scratch::make(cache_dir.join("unsealing"))?;
        let written = seal::get_unsealed_range(
            registered_proof,
            scratch.0.clone(),
            sealed_path,
            output_path,
            prover_id,
            SectorId::from(sector_id),
            comm_d,
            ticket,
            UnpaddedByteIndex(offset),
            UnpaddedBytesAmount(num_bytes),
        )?;
        Ok(written.into())
    })
}

/// Remove tree-d, tree-c and the layers from a cache folder.
#[pyfunction]
pub fn clear_cache(py: Python<'_>, cache_dir: PathBuf) -> PyResult<()> {
    guarded(py, || {
        files::folder(&cache_dir)?;
        seal::clear_cache(&cache_dir)
    })
}

/// Remove the synthetic vanilla proofs from a cache folder.
#[pyfunction]
pub fn clear_synthetic_proofs(py: Python<'_>, cache_dir: PathBuf) -> PyResult<()> {
    guarded(py, || {
        files::folder(&cache_dir)?;
        seal::clear_synthetic_proofs(&cache_dir)
    })
}
