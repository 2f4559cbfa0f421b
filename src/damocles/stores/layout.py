"""Names of the files in a sealing store and in a persist store; they are the original's.

```
<location>/
  .holder                                 made by `store sealing-init`; locked by the worker that uses the store
  .damocles-store                         its mark (see `stores.identity`); persist stores have one too
  config.toml                             optional options of this thread
  meta/journal.db                         what happened to the sectors
  meta/CURRENT                            keeps workers of the original out (see `stores.original`)
  data/prepared/s-t0<miner>-<n>/          tree-d
  data/unsealed/s-t0<miner>-<n>           staged file: the padded pieces
  data/cache/s-t0<miner>-<n>/             layers, trees, p_aux, t_aux
  data/sealed/s-t0<miner>-<n>             the replica
  data/update/s-t0<miner>-<n>             the replica of an upgrade, data/update-cache/… its trees and auxiliary files
  data/unsealed/<piece cid>               a piece, or a part of it, on its way out of a sector
  data/attempts/<attempt>/                what stages on other machines write (see `stages.far.attempts`)
  trash/<time>-s-t0<miner>-<n>/           files of an aborted sector
```

A persist store has `sealed/`, `cache/`, `update/` and `update-cache/` as `data/` has them, and of ours alone
`.fences/s-t0<miner>-<n>`: the number of the newest attempt that has copied files of the sector to it.
"""

from dataclasses import dataclass
from pathlib import Path

from damocles.wire.sectors import SectorID, SectorSize

FENCES = ".fences"
ATTEMPTS = "attempts"
OF_SECTORS = frozenset({"sealed", "cache", "update", "update-cache", FENCES})  # where a persist store has its sectors
TREE_D = "sc-02-data-tree-d.dat"
SYNTHETIC_PROOFS = "syn-porep-vanilla-proofs.dat"
# Present from the first start of PC2 on, which encodes the sealed file in place: from then on the sealed file has to be
# made anew from the staged file before PC2 may run again. PC1 clears the cache folder and the marker with it.
PC2_STARTED = ".pc2_running"
P_AUX_BYTES = 64  # CommC and CommRLast

_NODE_BYTES = 32


def tree_r_last_names(size: SectorSize) -> list[str]:
    """Return the file names of tree-r-last: one up to 512MiB, 8 for 32GiB, 16 for 64GiB."""
    parts = {SectorSize.GIB32: 8, SectorSize.GIB64: 16}.get(size, 0)
    return [f"sc-02-data-tree-r-last-{i}.dat" for i in range(parts)] or ["sc-02-data-tree-r-last.dat"]


def tree_r_last_bytes(size: SectorSize, rows_to_discard: int) -> int:
    """Return the length of each file of tree-r-last.

    A node has eight children. The library keeps neither the leaves, which are the replica, nor as many rows above them
    as its setting names, but always the root.
    """
    leaves = int(size) // _NODE_BYTES // len(tree_r_last_names(size))
    rows = (leaves.bit_length() - 1) // 3  # above the leaves
    # Of two rows one is left out, whatever the setting.
    kept = 1 if rows == 2 else max(1, rows - rows_to_discard)
    return _NODE_BYTES * sum(1 << 3 * row for row in range(kept))


def persisted_folders(*, upgraded: bool = False) -> tuple[str, str]:
    """Return below which folders a persist store has replicas, and their trees and auxiliary files."""
    return ("update", "update-cache") if upgraded else ("sealed", "cache")


def persisted_names(sector: SectorID, size: SectorSize, *, upgraded: bool = False) -> list[str]:
    """Return what a persist store keeps of a sector, as paths below its root, in the order of copying."""
    replica, cache = persisted_folders(upgraded=upgraded)
    names = [*tree_r_last_names(size), "p_aux", "t_aux"]
    return [f"{replica}/{sector}", *(f"{cache}/{sector}/{name}" for name in names)]


@dataclass(frozen=True, slots=True)
class Layout:
    """The working files of one sector below a store's `data` folder."""

    data: Path
    sector: SectorID
    size: SectorSize

    @property
    def staged_file(self) -> Path:
        """The padded pieces."""
        return self.data / "unsealed" / str(self.sector)

    @property
    def prepared_dir(self) -> Path:
        """Holds tree-d until the cache folder links to it."""
        return self.data / "prepared" / str(self.sector)

    @property
    def tree_d_file(self) -> Path:
        """Tree-d."""
        return self.prepared_dir / TREE_D

    @property
    def cache_dir(self) -> Path:
        """Layers, trees and auxiliary files."""
        return self.data / "cache" / str(self.sector)

    @property
    def sealed_file(self) -> Path:
        """The replica."""
        return self.data / "sealed" / str(self.sector)

    @property
    def update_file(self) -> Path:
        """The replica of an upgrade."""
        return self.data / "update" / str(self.sector)

    @property
    def update_cache_dir(self) -> Path:
        """Trees and auxiliary files of an upgrade."""
        return self.data / "update-cache" / str(self.sector)

    def piece_file(self, cid: str) -> Path:
        """Return where a piece goes that is got out of the sector."""
        return self.data / "unsealed" / cid

    def at_hand(self) -> frozenset[str]:
        """Return which parts are there, by the names that the plans' tables use."""
        cache = self.cache_dir
        size = int(self.size)
        checks = {
            "staged": _has_size(self.staged_file, size),
            "tree_d": self.tree_d_file.exists(),
            "layers": any(cache.glob("sc-02-data-layer-*.dat")),
            "sealed": _has_size(self.sealed_file, size) and (cache / "p_aux").exists(),
            "tree_r_last": all((cache / name).exists() for name in tree_r_last_names(self.size)),
            # C1 reads layers and tree-c, or the synthetic proofs that replaced them.
            "proof_source": any(cache.glob("sc-02-data-layer-*.dat")) or (cache / SYNTHETIC_PROOFS).exists(),
            "update": _has_size(self.update_file, size) and self._has_update_cache(),
            "unsealed_piece": any(path != self.staged_file for path in self.staged_file.parent.glob("*")),
        }
        return frozenset(name for name, there in checks.items() if there)

    def _has_update_cache(self) -> bool:
        return all(
            (self.update_cache_dir / name).exists() for name in [*tree_r_last_names(self.size), "p_aux", "t_aux"]
        )


def _has_size(path: Path, size_bytes: int) -> bool:
    try:
        return path.stat().st_size == size_bytes
    except FileNotFoundError:
        return False
