// A sector of 2KiB with one piece, sealed by calling filecoin-proofs-api directly. Shared by the programs of the scripts.
#![allow(dead_code)]

use std::fs::{self, File, OpenOptions};
use std::io::Cursor;
use std::path::PathBuf;

use anyhow::Result;
use filecoin_proofs_api::seal::{
    self, SealCommitPhase1Output, SealPreCommitPhase1Output, SealPreCommitPhase2Output,
};
use filecoin_proofs_api::{
    PieceInfo, ProverId, RegisteredSealProof, SectorId, Ticket, UnpaddedByteIndex, UnpaddedBytesAmount,
};

pub const DATA_BYTES: u64 = 2032;
pub const TICKET: Ticket = [1; 32];
pub const SEED: Ticket = [2; 32];

pub struct Sector {
    pub folder: PathBuf,
    pub proof: RegisteredSealProof,
    pub pieces: Vec<PieceInfo>,
}

pub fn data() -> Vec<u8> {
    (0..DATA_BYTES).map(|i| ((37 * i + i * i / 7) % 256) as u8).collect()
}

pub fn prover() -> ProverId {
    let mut id = [0; 32];
    id[..2].copy_from_slice(&[0xe8, 0x07]); // t01000
    id
}

impl Sector {
    /// Stage the data in a new folder.
    pub fn new(folder: &str, proof: RegisteredSealProof) -> Result<Self> {
        let folder = PathBuf::from(folder);
        fs::create_dir_all(folder.join("cache"))?;
        let staged = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(folder.join("staged"))?;
        let (piece, _) =
            seal::add_piece(proof, Cursor::new(data()), &staged, UnpaddedBytesAmount(DATA_BYTES), &[])?;
        File::create(folder.join("sealed"))?;
        Ok(Self { folder, proof, pieces: vec![piece] })
    }

    pub fn pc1(&self) -> Result<SealPreCommitPhase1Output> {
        seal::seal_pre_commit_phase1(
            self.proof,
            self.folder.join("cache"),
            self.folder.join("staged"),
            self.folder.join("sealed"),
            prover(),
            SectorId::from(1),
            TICKET,
            &self.pieces,
        )
    }

    pub fn pc2(&self, pc1: SealPreCommitPhase1Output) -> Result<SealPreCommitPhase2Output> {
        seal::seal_pre_commit_phase2(pc1, self.folder.join("cache"), self.folder.join("sealed"))
    }

    pub fn c1(&self, pc2: SealPreCommitPhase2Output) -> Result<SealCommitPhase1Output> {
        seal::seal_commit_phase1(
            self.folder.join("cache"),
            self.folder.join("sealed"),
            prover(),
            SectorId::from(1),
            TICKET,
            SEED,
            pc2,
            &self.pieces,
        )
    }

    pub fn unseal(&self, comm_d: [u8; 32], offset: u64, num_bytes: u64) -> Result<Vec<u8>> {
        let (work, out) = (self.folder.join("work"), self.folder.join("out"));
        let _ = fs::remove_dir_all(&work);
        fs::create_dir(&work)?;
        let written = seal::get_unsealed_range(
            self.proof,
            work,
            self.folder.join("sealed"),
            out.clone(),
            prover(),
            SectorId::from(1),
            comm_d,
            TICKET,
            UnpaddedByteIndex(offset),
            UnpaddedBytesAmount(num_bytes),
        )?;
        let bytes = fs::read(out)?;
        assert_eq!((u64::from(written), bytes.len() as u64), (num_bytes, num_bytes));
        Ok(bytes)
    }
}

pub fn short(commitment: &[u8; 32]) -> String {
    commitment[..4].iter().map(|byte| format!("{byte:02x}")).collect()
}
