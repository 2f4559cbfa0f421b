#!/usr/bin/env bash
# One would guess that unsealing a range gives those bytes of the sector, or an error. What is: unless the range begins at
# a multiple of 127, the call succeeds, writes as many bytes as were asked for, and they are wrong. The library counts
# elements of 32 bytes from wherever the padded range begins, and drops two bits at the end of each.
#
# Why it matters: a piece that does not begin at a multiple of 127 unpadded bytes (a padded offset taken for an unpadded
# one, a part of a piece for a retrieval) leaves the provider as garbage, and nobody learns of it before the client does.
# The way out: read from the multiple of 127 before, and drop what precedes.
source "$(dirname "${BASH_SOURCE[0]}")/crate.sh"
build <<'RUST'
mod sector;
use filecoin_proofs_api::RegisteredSealProof::StackedDrg2KiBV1_1;

fn main() -> anyhow::Result<()> {
    let sector = sector::Sector::new("sector", StackedDrg2KiBV1_1)?;
    let comm_d = sector.pc2(sector.pc1()?)?.comm_d;
    let data = sector::data();
    println!("the whole sector: {}", if sector.unseal(comm_d, 0, 2032)? == data { "right" } else { "wrong" });
    for (offset, size) in [(127, 32), (508, 500), (1, 126), (126, 2), (1024, 127), (1000, 1000)] {
        let bytes = sector.unseal(comm_d, offset, size)?;
        let wanted = &data[offset as usize..(offset + size) as usize];
        let wrong = bytes.iter().zip(wanted).filter(|(a, b)| a != b).count();
        println!("{size} bytes from {offset}: Ok, {wrong} of {size} wrong");
    }
    let (mut right, mut wrong) = (vec![], 0);
    for offset in 0..300 {
        if sector.unseal(comm_d, offset, 100)? == data[offset as usize..offset as usize + 100] {
            right.push(offset);
        } else {
            wrong += 1;
        }
    }
    println!("100 bytes from each offset below 300: {wrong} times Ok and wrong, right from {right:?}");
    Ok(())
}
RUST
"$program" 2>&1 | expect "the whole sector: right
32 bytes from 127: Ok, 0 of 32 wrong
500 bytes from 508: Ok, 0 of 500 wrong
126 bytes from 1: Ok, 5 of 126 wrong
2 bytes from 126: Ok, 1 of 2 wrong
127 bytes from 1024: Ok, 34 of 127 wrong
1000 bytes from 1000: Ok, 531 of 1000 wrong
100 bytes from each offset below 300: 297 times Ok and wrong, right from [0, 127, 254]"
