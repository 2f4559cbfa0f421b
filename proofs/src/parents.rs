//! The parent cache: a file per sector size that PC1 reads the graph from.
//!
//! The library gives a new cache its full length before it fills it, and later trusts any file of that length. A process
//! that is killed in between would spoil every sector that is sealed on the machine afterwards. A marker beside the
//! caches says that one is being made; who finds it left behind makes the cache again.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};
use filecoin_proofs::constants::{
    SectorShape2KiB, SectorShape8MiB, SectorShape32GiB, SectorShape64GiB, SectorShape512MiB,
};
use filecoin_proofs::parameters::public_params;
use filecoin_proofs_api::{MerkleTreeTrait, RegisteredSealProof};
use storage_proofs_core::settings::SETTINGS;

/// Make the parent cache of a proof type, if it is not there or was never finished.
pub fn ensure(proof: RegisteredSealProof) -> Result<()> {
    match u64::from(proof.sector_size()) {
        0x800 => ensure_shape::<SectorShape2KiB>(proof),
        0x80_0000 => ensure_shape::<SectorShape8MiB>(proof),
        0x2000_0000 => ensure_shape::<SectorShape512MiB>(proof),
        0x8_0000_0000 => ensure_shape::<SectorShape32GiB>(proof),
        _ => ensure_shape::<SectorShape64GiB>(proof),
    }
}

fn ensure_shape<Tree: 'static + MerkleTreeTrait>(proof: RegisteredSealProof) -> Result<()> {
    let folder = Path::new(&SETTINGS.parent_cache);
    let marker = fs::create_dir_all(folder).and_then(|()| {
        OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(folder.join(format!("{proof:?}.unfinished")))
    });
    let Ok(mut marker) = marker else {
        // Where we may not write, nobody makes a cache: either there is one to read, or the library says what it lacks.
        return Ok(());
    };
    // Held by whoever makes the cache; the others wait here until it is whole.
    marker.lock()?;
    let graph = public_params::<Tree>(&proof.as_v1_config())?.graph;
    if marker.metadata()?.len() > 0 {
        remove_empty_caches(folder)?;
        let spoilt = graph.parent_cache()?.path;
        fs::remove_file(&spoilt).with_context(|| format!("cannot remove {}", spoilt.display()))?;
    }
    marker.write_all(b"unfinished\n")?;
    marker.sync_all()?;
    graph.parent_cache()?;
    marker.set_len(0)?;
    Ok(())
}

/// Remove caches whose maker was killed before they had their length; the library cannot open them.
fn remove_empty_caches(folder: &Path) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let is_cache = path.extension().is_some_and(|name| name == "cache");
        if is_cache && fs::metadata(&path)?.len() == 0 {
            fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
        }
    }
    Ok(())
}
