#!/usr/bin/env bash
# One would guess that PC2, run again with the same output of PC1, gives the same CommR, or an error: the stage looks as
# if it read its input and wrote its output. What is: it encodes the sealed file in place, so that the second run encodes
# what is encoded already. It succeeds with another CommR, and the data cannot be got out of the sector any more.
#
# Why it matters: a sealing pipeline that repeats a stage whose answer was lost (a restart, a lost connection, a timeout)
# commits to a replica without data. Nothing fails at once: each PC2 succeeds.
# The way out: note that PC2 was begun before it begins, and restore the copy of the staged file before it is run again.
source "$(dirname "${BASH_SOURCE[0]}")/crate.sh"
build <<'RUST'
mod sector;
use filecoin_proofs_api::RegisteredSealProof::StackedDrg2KiBV1_1;
use sector::{data, short, Sector};

fn main() -> anyhow::Result<()> {
    let sector = Sector::new("sector", StackedDrg2KiBV1_1)?;
    let pc1 = sector.pc1()?;
    let once = sector.pc2(pc1.clone())?;
    println!("PC2: Ok, CommR {}", short(&once.comm_r));
    println!("the data comes out: {}", sector.unseal(once.comm_d, 0, 2032)? == data());
    let twice = sector.pc2(pc1.clone())?;
    println!("PC2 again: Ok, CommR {}", short(&twice.comm_r));
    println!("the data comes out: {}", sector.unseal(once.comm_d, 0, 2032)? == data());
    std::fs::copy("sector/staged", "sector/sealed")?;
    println!("PC2 after the sealed file was restored: Ok, CommR {}", short(&sector.pc2(pc1)?.comm_r));
    println!("the data comes out: {}", sector.unseal(once.comm_d, 0, 2032)? == data());
    Ok(())
}
RUST
"$program" 2>&1 | expect "PC2: Ok, CommR ed58539e
the data comes out: true
PC2 again: Ok, CommR b6f853ab
the data comes out: false
PC2 after the sealed file was restored: Ok, CommR ed58539e
the data comes out: true"
