#!/usr/bin/env bash
# One would guess that compute_comm_d, which is given the type of sector, returns the CommD of a sector with these pieces and
# zeros behind them: so much is what "the sector's data" means to chain and PC1. What is: zeros are filled in between pieces, to
# align them, and not behind the last one. One piece of 128 bytes in a sector of 2KiB gives the commitment of the piece itself,
# without an error, though no pieces at all give that of a whole sector of zeros.
#
# Why it matters: whoever computes CommD from a deal's pieces before the data is there, to compare it with the chain's or to
# put it into a pre-commit, gets a value that no sector has. The way out: add the zero pieces behind, up to the sector's
# size, largest last.
source "$(dirname "${BASH_SOURCE[0]}")/crate.sh"
build <<'RUST'
mod sector;
use filecoin_proofs_api::seal::compute_comm_d;
use filecoin_proofs_api::RegisteredSealProof::StackedDrg2KiBV1_1 as TWO_KIB;
use filecoin_proofs_api::{PieceInfo, UnpaddedBytesAmount};

fn piece(unpadded: u64, fill: u8) -> anyhow::Result<PieceInfo> {
    let data = std::io::Cursor::new(vec![fill; unpadded as usize]);
    Ok(filecoin_proofs_api::seal::generate_piece_commitment(TWO_KIB, data, UnpaddedBytesAmount(unpadded))?)
}

fn main() -> anyhow::Result<()> {
    let small = piece(127, 7)?;
    let alone = compute_comm_d(TWO_KIB, &[small.clone()])?;
    println!("128 bytes alone: the piece's own commitment: {}", alone == small.commitment);
    let mut filled = vec![small.clone()];
    for bytes in [127, 254, 508, 1016] {
        filled.push(piece(bytes, 0)?);
    }
    let whole = compute_comm_d(TWO_KIB, &filled)?;
    println!("with zeros up to 2048: the same: {}", whole == alone);
    let (folder, mut data) = (std::path::PathBuf::from("check"), vec![7u8; 127]);
    data.resize(2032, 0);
    std::fs::create_dir_all(&folder)?;
    let all = filecoin_proofs_api::seal::generate_piece_commitment(
        TWO_KIB, std::io::Cursor::new(data), UnpaddedBytesAmount(2032))?;
    println!("with zeros up to 2048: that of the sector's data: {}", whole == all.commitment);
    let gap = compute_comm_d(TWO_KIB, &[small.clone(), piece(508, 9)?])?;
    let by_hand = compute_comm_d(TWO_KIB, &[small, piece(127, 0)?, piece(254, 0)?, piece(508, 9)?])?;
    println!("128 and 512 bytes: zeros between them are filled in: {}", gap == by_hand);
    let none = compute_comm_d(TWO_KIB, &[])?;
    println!("no pieces: that of a sector of zeros: {}", none == piece(2032, 0)?.commitment);
    Ok(())
}
RUST
"$program" 2>&1 | expect "128 bytes alone: the piece's own commitment: true
with zeros up to 2048: the same: false
with zeros up to 2048: that of the sector's data: true
128 and 512 bytes: zeros between them are filled in: true
no pieces: that of a sector of zeros: true"
