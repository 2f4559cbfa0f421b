"""Values that cross a wire or a disk, spelled as the original spells them.

Nothing here does I/O (but `toml.read`) or imports another part of damocles. Field names are Go's or Rust's, written out one by one,
because they follow no rule (`SectorStateResp.Id`, but `AllocatedSector.ID`).
"""
