//! Window and winning `PoSt`.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use filecoin_hashers::Hasher;
use filecoin_proofs::parameters::{window_post_public_params, winning_post_public_params};
use filecoin_proofs::{
    FallbackPoStSectorProof, PoStConfig, as_safe_commitment, partition_vanilla_proofs,
    single_partition_vanilla_proofs, with_shape,
};
use filecoin_proofs_api::{
    ApiVersion, ChallengeSeed, MerkleTreeTrait, PoStType, ProverId, RegisteredPoStProof, SectorId,
};
use rayon::prelude::*;
use storage_proofs_core::proof::ProofScheme;
use storage_proofs_post::fallback::{
    self, FallbackPoSt, FallbackPoStCircuit, FallbackPoStCompound, PrivateInputs, PrivateSector,
    PublicInputs, PublicSector,
};

use super::{circuit_proofs, require};

type TreeDomain<Tree> = <<Tree as MerkleTreeTrait>::Hasher as Hasher>::Domain;

/// What a `PoSt` is about.
#[derive(Clone, Copy)]
pub struct Claim {
    pub proof: RegisteredPoStProof,
    pub randomness: ChallengeSeed,
    pub prover: ProverId,
}

/// A replica as the crate's inner functions take it: where it and its trees are, by sector.
pub type Replicas<'a> = BTreeMap<SectorId, &'a crate::post::PrivateReplica>;

/// Prove a `PoSt` from the sectors on disk.
pub fn generate_post(claim: Claim, replicas: Replicas<'_>) -> Result<Vec<u8>> {
    with_shape!(
        u64::from(claim.proof.sector_size()),
        from_replicas,
        claim,
        replicas,
    )
}

/// Prove a `PoSt` from the vanilla proofs of its sectors.
pub fn generate_post_with_vanilla(claim: Claim, vanilla: &[Vec<u8>]) -> Result<Vec<u8>> {
    with_shape!(
        u64::from(claim.proof.sector_size()),
        from_vanilla,
        claim,
        vanilla,
    )
}

/// Whether this prover can prove a partition on its own: in the oldest version challenges depend on the position of a
/// sector among those of all partitions, which only the library's own function goes by.
pub fn proves_single_partition(proof: RegisteredPoStProof, partition: usize) -> bool {
    partition == 0 || proof.as_v1_config().api_version != ApiVersion::V1_0_0
}

/// Prove one partition of a window `PoSt` from the vanilla proofs of its sectors.
pub fn generate_single_partition(
    claim: Claim,
    vanilla: &[Vec<u8>],
    partition: usize,
) -> Result<Vec<u8>> {
    with_shape!(
        u64::from(claim.proof.sector_size()),
        one_partition,
        claim,
        vanilla,
        partition,
    )
}

/// The parts of a `PoSt` that do not depend on where its vanilla proofs come from.
struct Setting<Tree: MerkleTreeTrait> {
    config: PoStConfig,
    params: fallback::PublicParams,
    randomness: TreeDomain<Tree>,
    prover: TreeDomain<Tree>,
}

impl<Tree: 'static + MerkleTreeTrait> Setting<Tree> {
    fn of(claim: Claim) -> Result<Self> {
        let config = claim.proof.as_v1_config();
        let params = match config.typ {
            PoStType::Window => window_post_public_params::<Tree>(&config)?,
            PoStType::Winning => winning_post_public_params::<Tree>(&config)?,
        };
        require::<FallbackPoStCompound<Tree>, FallbackPoSt<'_, Tree>, FallbackPoStCircuit<Tree>>(
            &params,
        )?;
        Ok(Self {
            params,
            randomness: as_safe_commitment(&claim.randomness, "randomness")?,
            prover: as_safe_commitment(&claim.prover, "prover_id")?,
            config,
        })
    }

    fn public(
        &self,
        sectors: Vec<PublicSector<TreeDomain<Tree>>>,
    ) -> PublicInputs<TreeDomain<Tree>> {
        PublicInputs {
            randomness: self.randomness,
            prover_id: self.prover,
            sectors,
            k: None,
        }
    }

    /// How many partitions so many sectors take; a winning `PoSt` has one.
    fn partitions(&self, sectors: usize) -> usize {
        match self.config.typ {
            PoStType::Window => sectors.div_ceil(self.config.sector_count).max(1),
            PoStType::Winning => 1,
        }
    }

    /// How often each sector stands in the public inputs: a winning `PoSt` proves its one once for each challenge.
    fn rounds(&self, sectors: usize) -> Result<usize> {
        if self.config.typ == PoStType::Window {
            return Ok(1);
        }
        ensure!(
            sectors == self.config.sector_count,
            "a winning PoSt is about {} sectors, not {sectors}",
            self.config.sector_count
        );
        Ok(self.params.sector_count)
    }

    fn prove(
        &self,
        public: &PublicInputs<TreeDomain<Tree>>,
        vanilla: Vec<fallback::Proof<Tree::Proof>>,
    ) -> Result<Vec<u8>> {
        circuit_proofs::<
            FallbackPoStCompound<Tree>,
            FallbackPoSt<'_, Tree>,
            FallbackPoStCircuit<Tree>,
        >(public, vanilla, &self.params)
    }
}

fn from_replicas<Tree: 'static + MerkleTreeTrait>(
    claim: Claim,
    replicas: Replicas<'_>,
) -> Result<Vec<u8>> {
    let setting = Setting::<Tree>::of(claim)?;
    // Thousands of trees, maybe on a store far away: together.
    let sectors = replicas
        .into_par_iter()
        .map(|(id, replica)| {
            let replica = replica.with_tree::<Tree>()?;
            let tree = replica
                .merkle_tree(setting.config.sector_size)
                .with_context(|| format!("merkle_tree failed: {id:?}"))?;
            Ok((id, replica, tree))
        })
        .collect::<Result<Vec<_>>>()?;
    let rounds = setting.rounds(sectors.len())?;
    let (mut public, mut private) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        for (id, replica, tree) in &sectors {
            public.push(PublicSector {
                id: *id,
                comm_r: replica.safe_comm_r()?,
            });
            private.push(PrivateSector {
                tree,
                comm_c: replica.safe_comm_c(),
                comm_r_last: replica.safe_comm_r_last(),
            });
        }
    }
    let partitions = setting.partitions(sectors.len());
    let public = setting.public(public);
    let private = PrivateInputs::<Tree> { sectors: &private };
    let vanilla =
        FallbackPoSt::<Tree>::prove_all_partitions(&setting.params, &public, &private, partitions)?;
    ensure!(
        FallbackPoSt::<Tree>::verify_all_partitions(&setting.params, &public, &vanilla)?,
        "sanity check failed"
    );
    setting.prove(&public, vanilla)
}

/// Read vanilla proofs, by sector number: whoever verifies takes sectors in that order.
fn read<Tree: MerkleTreeTrait>(vanilla: &[Vec<u8>]) -> Result<Vec<FallbackPoStSectorProof<Tree>>> {
    let mut proofs = vanilla
        .iter()
        .map(|bytes| Ok(bincode::deserialize(bytes)?))
        .collect::<Result<Vec<FallbackPoStSectorProof<Tree>>>>()?;
    ensure!(!proofs.is_empty(), "vanilla_proofs cannot be an empty list");
    proofs.sort_by_key(|proof| proof.sector_id);
    for pair in proofs.windows(2) {
        ensure!(
            pair[0].sector_id != pair[1].sector_id,
            "the vanilla proof of sector {} comes twice",
            u64::from(pair[0].sector_id)
        );
    }
    Ok(proofs)
}

fn public_sectors<Tree: MerkleTreeTrait>(
    vanilla: &[FallbackPoStSectorProof<Tree>],
) -> Vec<PublicSector<TreeDomain<Tree>>> {
    let sectors = vanilla.iter().map(|proof| PublicSector {
        id: proof.sector_id,
        comm_r: proof.comm_r,
    });
    sectors.collect()
}

fn from_vanilla<Tree: 'static + MerkleTreeTrait>(
    claim: Claim,
    vanilla: &[Vec<u8>],
) -> Result<Vec<u8>> {
    let setting = Setting::<Tree>::of(claim)?;
    let vanilla = read::<Tree>(vanilla)?;
    let rounds = setting.rounds(vanilla.len())?;
    let sectors = (0..rounds).flat_map(|_| public_sectors(&vanilla));
    let public = setting.public(sectors.collect());
    let partitions = setting.partitions(vanilla.len());
    let parts = partition_vanilla_proofs(
        &setting.config,
        &setting.params,
        &public,
        partitions,
        &vanilla,
    )?;
    setting.prove(&public, parts)
}

fn one_partition<Tree: 'static + MerkleTreeTrait>(
    claim: Claim,
    vanilla: &[Vec<u8>],
    partition: usize,
) -> Result<Vec<u8>> {
    let setting = Setting::<Tree>::of(claim)?;
    let vanilla = read::<Tree>(vanilla)?;
    let mut public = setting.public(public_sectors(&vanilla));
    public.k = Some(partition);
    let part =
        single_partition_vanilla_proofs(&setting.config, &setting.params, &public, &vanilla)?;
    setting.prove(&public, vec![part])
}
