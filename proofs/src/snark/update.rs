//! Snap proofs.

use std::path::Path;

use anyhow::{Result, ensure};
use filecoin_hashers::Domain;
use filecoin_proofs::{
    DefaultPieceDomain, SectorUpdateConfig, TreeRHasher, generate_partition_proofs, with_shape,
};
use filecoin_proofs_api::{MerkleTreeTrait, PartitionProofBytes, RegisteredUpdateProof};
use storage_proofs_core::proof::ProofScheme;
use storage_proofs_update::constants::TreeRDomain;
use storage_proofs_update::{
    EmptySectorUpdate, EmptySectorUpdateCircuit, EmptySectorUpdateCompound, PartitionProof,
    PublicInputs, PublicParams,
};

use super::{circuit_proofs, require};

/// The three commitments that an update proof is about.
#[derive(Clone, Copy)]
pub struct Commitments {
    pub r_old: [u8; 32],
    pub r_new: [u8; 32],
    pub d_new: [u8; 32],
}

/// Where an update's files are.
pub struct UpdateFiles<'a> {
    pub sector_key: &'a Path,
    pub sector_key_cache: &'a Path,
    pub replica: &'a Path,
    pub replica_cache: &'a Path,
}

/// Prove an update from its vanilla proofs.
pub fn prove_update_with_vanilla(
    proof: RegisteredUpdateProof,
    vanilla: Vec<PartitionProofBytes>,
    commitments: Commitments,
) -> Result<Vec<u8>> {
    with_shape!(
        u64::from(proof.sector_size()),
        from_bytes,
        proof,
        vanilla,
        commitments,
    )
}

/// Prove an update from its files.
pub fn prove_update(
    proof: RegisteredUpdateProof,
    commitments: Commitments,
    files: UpdateFiles<'_>,
) -> Result<Vec<u8>> {
    with_shape!(
        u64::from(proof.sector_size()),
        from_files,
        proof,
        commitments,
        files,
    )
}

fn from_bytes<Tree: 'static + MerkleTreeTrait<Hasher = TreeRHasher>>(
    proof: RegisteredUpdateProof,
    vanilla: Vec<PartitionProofBytes>,
    commitments: Commitments,
) -> Result<Vec<u8>> {
    let vanilla = vanilla
        .iter()
        .map(|bytes| Ok(bincode::deserialize(&bytes.0)?))
        .collect::<Result<_>>()?;
    prove::<Tree>(proof, vanilla, commitments)
}

fn from_files<Tree: 'static + MerkleTreeTrait<Hasher = TreeRHasher>>(
    proof: RegisteredUpdateProof,
    commitments: Commitments,
    files: UpdateFiles<'_>,
) -> Result<Vec<u8>> {
    let (public, params) = setting(proof, commitments)?;
    require::<
        EmptySectorUpdateCompound<Tree>,
        EmptySectorUpdate<Tree>,
        EmptySectorUpdateCircuit<Tree>,
    >(&params)?;
    let vanilla = generate_partition_proofs::<Tree>(
        SectorUpdateConfig::from_porep_config(&proof.as_v1_config()),
        commitments.r_old,
        commitments.r_new,
        commitments.d_new,
        files.sector_key,
        files.sector_key_cache,
        files.replica,
        files.replica_cache,
    )?;
    ensure!(
        EmptySectorUpdate::<Tree>::verify_all_partitions(&params, &public, &vanilla)?,
        "the vanilla proofs do not verify: the files and the commitments differ"
    );
    prove::<Tree>(proof, vanilla, commitments)
}

/// What is proved, and for which size of sectors.
fn setting(
    proof: RegisteredUpdateProof,
    commitments: Commitments,
) -> Result<(PublicInputs, PublicParams)> {
    let config = SectorUpdateConfig::from_porep_config(&proof.as_v1_config());
    let public = PublicInputs {
        k: usize::from(config.update_partitions),
        comm_r_old: TreeRDomain::try_from_bytes(&commitments.r_old)?,
        comm_d_new: DefaultPieceDomain::try_from_bytes(&commitments.d_new)?,
        comm_r_new: TreeRDomain::try_from_bytes(&commitments.r_new)?,
        h: config.h,
    };
    let params = PublicParams::from_sector_size(u64::from(config.sector_size));
    Ok((public, params))
}

fn prove<Tree: 'static + MerkleTreeTrait<Hasher = TreeRHasher>>(
    proof: RegisteredUpdateProof,
    vanilla: Vec<PartitionProof<Tree>>,
    commitments: Commitments,
) -> Result<Vec<u8>> {
    let (public, params) = setting(proof, commitments)?;
    ensure!(
        vanilla.len() == public.k,
        "expected vanilla proofs of {} partitions, got {}",
        public.k,
        vanilla.len()
    );
    circuit_proofs::<
        EmptySectorUpdateCompound<Tree>,
        EmptySectorUpdate<Tree>,
        EmptySectorUpdateCircuit<Tree>,
    >(&public, vanilla, &params)
}
