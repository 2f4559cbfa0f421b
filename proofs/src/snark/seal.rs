//! C2.

use anyhow::{Context, Result, ensure};
use bellperson::groth16::aggregate::AggregateVersion;
use filecoin_hashers::Domain;
use filecoin_proofs::constants::DefaultPieceHasher;
use filecoin_proofs::parameters::public_params;
use filecoin_proofs::{
    DefaultPieceDomain, PoRepConfig, SealCommitOutput, aggregate_seal_commit_proofs,
    as_safe_commitment, verify_seal, with_shape,
};
use filecoin_proofs_api::seal::SealCommitPhase1Output;
use filecoin_proofs_api::{ApiFeature, MerkleTreeTrait, ProverId, SectorId};
use storage_proofs_porep::stacked::{self, StackedCircuit, StackedCompound, StackedDrg};

use super::circuit_proofs;

/// Prove a sector, and verify the proof.
pub fn commit_phase2(
    phase1: SealCommitPhase1Output,
    prover: ProverId,
    sector: SectorId,
) -> Result<Vec<u8>> {
    with_shape!(
        u64::from(phase1.registered_proof.sector_size()),
        commit_with_shape,
        phase1,
        prover,
        sector,
    )
}

/// Prove the partitions of a sector, without the aggregation that a non-interactive `PoRep` ends in.
pub fn commit_phase2_circuit_proofs(phase1: SealCommitPhase1Output) -> Result<Vec<u8>> {
    with_shape!(
        u64::from(phase1.registered_proof.sector_size()),
        partitions_with_shape,
        &phase1.registered_proof.as_v1_config(),
        phase1,
    )
}

fn commit_with_shape<Tree: 'static + MerkleTreeTrait>(
    phase1: SealCommitPhase1Output,
    prover: ProverId,
    sector: SectorId,
) -> Result<Vec<u8>> {
    let config = phase1.registered_proof.as_v1_config();
    let (comm_r, comm_d) = (phase1.comm_r, phase1.comm_d);
    let (ticket, seed) = (phase1.ticket, phase1.seed);
    let mut proof = partitions_with_shape::<Tree>(&config, phase1)?;
    if config.feature_enabled(ApiFeature::NonInteractivePoRep) {
        let outputs = [SealCommitOutput { proof }];
        proof = aggregate_seal_commit_proofs::<Tree>(
            &config,
            &[comm_r],
            &[seed],
            &outputs,
            AggregateVersion::V2,
        )?;
    }
    let valid = verify_seal::<Tree>(
        &config, comm_r, comm_d, prover, sector, ticket, seed, &proof,
    )
    .context("the proof cannot be verified")?;
    ensure!(
        valid,
        "the proof does not verify, though its SNARK does: the C1 output is of another prover id, sector, ticket or seed, \
         or the .vk file beside the parameters is another set's"
    );
    Ok(proof)
}

fn partitions_with_shape<Tree: 'static + MerkleTreeTrait>(
    config: &PoRepConfig,
    phase1: SealCommitPhase1Output,
) -> Result<Vec<u8>> {
    ensure!(
        phase1.comm_d != [0; 32],
        "Invalid all zero commitment (comm_d)"
    );
    ensure!(
        phase1.comm_r != [0; 32],
        "Invalid all zero commitment (comm_r)"
    );
    ensure!(phase1.seed != [0; 32], "Invalid porep challenge seed");
    let vanilla: Vec<Vec<stacked::Proof<Tree, DefaultPieceHasher>>> =
        phase1.vanilla_proofs.try_into()?;
    ensure!(
        !vanilla.is_empty() && vanilla.iter().all(|partition| !partition.is_empty()),
        "C1 output contains no vanilla proofs"
    );
    ensure!(
        vanilla.len() == usize::from(config.partitions),
        "C1 output has {} partitions of {}",
        vanilla.len(),
        usize::from(config.partitions)
    );
    let replica_id: blstrs::Scalar = phase1.replica_id.into();
    let public_inputs = stacked::PublicInputs {
        replica_id: replica_id.into(),
        tau: Some(stacked::Tau {
            comm_d: DefaultPieceDomain::try_from_bytes(&phase1.comm_d)?,
            comm_r: as_safe_commitment(&phase1.comm_r, "comm_r")?,
        }),
        k: None,
        seed: Some(phase1.seed),
    };
    let public_params = public_params::<Tree>(config)?;
    circuit_proofs::<
        StackedCompound<Tree, DefaultPieceHasher>,
        StackedDrg<'_, Tree, DefaultPieceHasher>,
        StackedCircuit<Tree, DefaultPieceHasher>,
    >(&public_inputs, vanilla, &public_params)
}
