#!/usr/bin/env bash
# One would guess that FIL_PROOFS_VERIFY_CACHE=true protects from a parent cache that a disk has spoilt: that is what it is
# for, and for plain PoRep it does: the cache is made anew. What is: the digests of synthetic and non-interactive PoRep are
# not in the library's manifest. There the setting reads the whole cache (56 GiB for sectors of 32GiB) and compares it with
# nothing. PC1 and PC2 succeed with a wrong CommR, with the setting as without it.
#
# Why it matters: synthetic PoRep is what most new sectors are sealed with. A damaged cache spoils each sector of the
# machine, and the first to notice is C1, when the pre-commit has landed and its deposit is at stake.
# The way out: delete the cache when in doubt; it is a pure function of the proof type.
source "$(dirname "${BASH_SOURCE[0]}")/crate.sh"
build <<'RUST'
mod sector;
use filecoin_proofs_api::RegisteredSealProof;
use sector::{short, Sector};

// Settings are read once in a process: each run seals one sector.
fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    let proof = match arguments[1].as_str() {
        "plain" => RegisteredSealProof::StackedDrg2KiBV1_1,
        _ => RegisteredSealProof::StackedDrg2KiBV1_1_Feat_SyntheticPoRep,
    };
    let sector = Sector::new(&arguments[2], proof)?;
    println!("Ok, CommR {}", short(&sector.pc2(sector.pc1()?)?.comm_r));
    Ok(())
}
RUST
seal() { "$program" "$1" "$(mktemp -u "$work/sector-XXXXXX")" 2>&1; }
spoil() { for file in "$work"/parents/*.cache; do size=$(stat -c %s "$file"); head -c "$size" /dev/zero > "$file"; done; }
spoilt() { cmp -s <(head -c 3584 /dev/zero) "$work"/parents/*.cache && echo "still zeros" || echo "made anew"; }
{
  for kind in plain synthetic; do
    rm -rf "$work/parents"
    echo "$kind: $(seal $kind)"
    spoil
    echo "$kind, cache of zeros: $(seal $kind); the cache is $(spoilt)"
    spoil
    echo "$kind, cache of zeros, FIL_PROOFS_VERIFY_CACHE=true: $(FIL_PROOFS_VERIFY_CACHE=true seal $kind); the cache is $(spoilt)"
  done
} | expect "plain: Ok, CommR ed58539e
plain, cache of zeros: Ok, CommR e223c376; the cache is still zeros
plain, cache of zeros, FIL_PROOFS_VERIFY_CACHE=true: Ok, CommR ed58539e; the cache is made anew
synthetic: Ok, CommR 6982db0d
synthetic, cache of zeros: Ok, CommR caff9475; the cache is still zeros
synthetic, cache of zeros, FIL_PROOFS_VERIFY_CACHE=true: Ok, CommR caff9475; the cache is still zeros"
