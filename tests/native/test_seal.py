"""Sealing up to C1, and back."""

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import damocles_proofs as proofs
import pytest

TREE_D = "sc-02-data-tree-d.dat"
SYNTHETIC = "StackedDrg2KiBV1_1_Feat_SyntheticPoRep"
NON_INTERACTIVE = "StackedDrg2KiBV1_2_Feat_NonInteractivePoRep"


def test_sector_of_2kib(new_sector):
    """A sector goes from its piece to C1, and each stage hands on the same commitments."""
    sector = new_sector(payload=os.urandom(2000))

    pc1 = sector.pc1()
    assert (pc1.registered_proof, pc1.comm_d) == (sector.proof, sector.comm_d)
    pc2 = sector.pc2(pc1)
    assert (pc2.registered_proof, pc2.comm_d) == (sector.proof, sector.comm_d)
    c1 = sector.c1(pc2)
    assert (c1.registered_proof, c1.comm_d, c1.comm_r) == (sector.proof, sector.comm_d, pc2.comm_r)
    assert sorted(path.name for path in sector.cache.iterdir()) == [
        "p_aux",
        "sc-02-data-layer-1.dat",
        "sc-02-data-layer-2.dat",
        "sc-02-data-tree-c.dat",
        TREE_D,
        "sc-02-data-tree-r-last.dat",
        "t_aux",
    ]


def test_unsealing_returns_the_data(new_sector, tmp_path: Path):
    """Unsealing gives back any range of the bytes that were sealed, and leaves the sector's folders alone."""
    payload = os.urandom(2032)
    sector = new_sector(payload=payload)
    sector.pc2(sector.pc1())
    before = sector.sealed.read_bytes()
    cached = {path.name: path.read_bytes() for path in sector.cache.iterdir()}

    assert sector.unseal(tmp_path / "all", 0, 2032) == 2032
    assert (tmp_path / "all").read_bytes() == payload
    assert sector.unseal(tmp_path / "some", 508, 254) == 254
    assert (tmp_path / "some").read_bytes() == payload[508:762]
    assert sector.sealed.read_bytes() == before
    assert {path.name: path.read_bytes() for path in sector.cache.iterdir()} == cached
    assert not (sector.folder / "unsealing").exists()


def test_unsealing_beyond_the_sector(new_sector, tmp_path: Path):
    """A range that ends beyond the sector is refused before anything is written."""
    sector = new_sector()

    with pytest.raises(ValueError, match=r"2000 \+ 33 is beyond the 2032 bytes of the sector"):
        sector.unseal(tmp_path / "out", 2000, 33)
    assert not (tmp_path / "out").exists()


def test_prepared_tree_d_is_used(new_sector):
    """PC1 takes a linked tree-d as it is: the file behind the link is read and not written."""
    sector = new_sector(payload=b"some data")
    tree = sector.prepared / TREE_D
    tree.chmod(0o400)
    before = (tree.stat().st_ino, tree.stat().st_mtime_ns, tree.read_bytes())

    sector.pc2(sector.pc1())

    assert (tree.stat().st_ino, tree.stat().st_mtime_ns, tree.read_bytes()) == before
    assert (sector.cache / TREE_D).is_symlink()


def test_prepared_tree_d_gives_the_same_sector(new_sector):
    """A sector sealed with a prepared tree-d is the sector that PC1 seals when it builds tree-d by itself."""
    prepared = new_sector(number=7, payload=b"same data")
    with_tree = prepared.pc2(prepared.pc1())
    for path in prepared.cache.iterdir():
        path.unlink()
    prepared.sealed.write_bytes(b"")

    assert prepared.pc2(prepared.pc1()) == with_tree
    assert not (prepared.cache / TREE_D).is_symlink()


def test_wrong_tree_d_is_refused(new_sector):
    """PC1 reads tree-d from the cache folder: that of another sector does not pass for the pieces."""
    sector = new_sector(payload=b"ours")
    other = new_sector(number=2, payload=b"theirs")
    (sector.prepared / TREE_D).write_bytes((other.prepared / TREE_D).read_bytes())

    with pytest.raises(proofs.ProofsError, match="pieces and comm_d do not match"):
        sector.pc1()


def test_tree_d_of_wrong_length_is_refused(new_sector):
    """A cut tree-d is refused by name."""
    sector = new_sector()
    os.truncate(sector.prepared / TREE_D, 4000)

    with pytest.raises(proofs.FileError, match="has 4000 bytes, 4064 are expected") as caught:
        sector.pc1()
    assert caught.value.path == str(sector.cache / TREE_D)


def test_tree_d_replaces_what_was_there(new_sector):
    """Building tree-d again replaces a spoilt one, and does not take over what a killed call has left."""
    sector = new_sector(payload=b"data")
    tree = sector.prepared / TREE_D
    good = tree.read_bytes()
    tree.write_bytes(bytes(len(good)))
    (sector.prepared / "sc-02-data-unfinished-tree-d.dat").write_bytes(bytes(len(good)))

    assert proofs.tree_d(sector.proof, sector.staged, sector.prepared) == sector.comm_d
    assert tree.read_bytes() == good
    assert [path.name for path in sector.prepared.iterdir()] == [TREE_D]


def test_tree_d_spares_the_target_of_a_link(new_sector):
    """Building tree-d over a link replaces the link, not the shared file behind it."""
    sector = new_sector(payload=b"data")
    shared = sector.folder / "shared"
    shared.write_bytes(b"for all sectors without data")
    (sector.prepared / TREE_D).unlink()
    (sector.prepared / TREE_D).symlink_to(shared)

    proofs.tree_d(sector.proof, sector.staged, sector.prepared)

    assert shared.read_bytes() == b"for all sectors without data"
    assert not (sector.prepared / TREE_D).is_symlink()


def test_pc1_goes_on_after_its_last_layer(new_sector):
    """PC1 after a kill takes the layers that are whole, makes the others, and ends in the same sector."""
    sector = new_sector(payload=b"data")
    expected = sector.pc2(sector.pc1())
    first, second = (sector.cache / f"sc-02-data-layer-{n}.dat" for n in (1, 2))
    before = first.stat().st_mtime_ns
    second.unlink()

    assert sector.pc2(sector.pc1()) == expected
    assert first.stat().st_mtime_ns == before


def test_json_of_pc1(new_sector):
    """The output of PC1 is the JSON that filecoin-proofs-api writes, and survives a round trip."""
    sector = new_sector()
    output = sector.pc1()
    cache = str(sector.cache)

    assert json.loads(output.to_json()) == {
        "registered_proof": "StackedDrg2KiBV1_1",
        "labels": {
            "StackedDrg2KiBV1": {
                "labels": [
                    {"path": cache, "id": "layer-1", "size": 64, "rows_to_discard": 0},
                    {"path": cache, "id": "layer-2", "size": 64, "rows_to_discard": 0},
                ],
                "_h": None,
            }
        },
        "config": {"path": cache, "id": "tree-d", "size": 127, "rows_to_discard": 0},
        "comm_d": list(sector.comm_d),
    }
    assert proofs.Pc1Output.from_json(output.to_json()).to_json() == output.to_json()


def test_json_of_pc2(new_sector):
    """The output of PC2 is three fields, commitments as lists of numbers."""
    sector = new_sector()
    output = sector.pc2(sector.pc1())

    assert json.loads(output.to_json()) == {
        "registered_proof": "StackedDrg2KiBV1_1",
        "comm_r": list(output.comm_r),
        "comm_d": list(output.comm_d),
    }
    assert proofs.Pc2Output.from_json(output.to_json()) == output
    assert proofs.Pc2Output(output.registered_proof, output.comm_r, output.comm_d) == output


def test_json_of_c1(new_sector):
    """The output of C1 keeps every byte through JSON."""
    sector = new_sector()
    output = sector.c1(sector.pc2(sector.pc1()))
    written = output.to_json()

    assert list(json.loads(written)) == [
        "registered_proof",
        "vanilla_proofs",
        "comm_r",
        "comm_d",
        "replica_id",
        "seed",
        "ticket",
    ]
    assert list(json.loads(written)["vanilla_proofs"]) == ["StackedDrg2KiBV1"]
    again = proofs.C1Output.from_json(written)
    assert again.to_json() == written
    assert (again.seed, again.ticket) == (output.seed, output.ticket)


def test_wrong_json():
    """JSON of something else is a ValueError that says what is missing."""
    with pytest.raises(ValueError, match="data: missing field `labels`"):
        proofs.Pc1Output.from_json(b'{"registered_proof": "StackedDrg2KiBV1_1"}')
    with pytest.raises(ValueError, match="data: expected ident at line 1"):
        proofs.C1Output.from_json(b"nonsense")


def test_synthetic_porep(new_sector):
    """With synthetic proofs on disk, C1 needs no layers; without them it names the file that it misses."""
    sector = new_sector(proof=SYNTHETIC)
    pc2 = sector.pc2(sector.pc1())
    with pytest.raises(proofs.FileError) as caught:
        sector.c1(pc2)
    assert caught.value.path == str(sector.cache / "syn-porep-vanilla-proofs.dat")

    arguments = (sector.cache, sector.sealed, b"\xe8\x07".ljust(32, b"\0"), sector.number, bytes([1]) * 32, pc2)
    proofs.generate_synth_proofs(*arguments, sector.pieces)
    proofs.clear_cache(sector.cache)
    assert sector.c1(pc2).registered_proof == SYNTHETIC

    proofs.clear_synthetic_proofs(sector.cache)
    assert sorted(path.name for path in sector.cache.iterdir()) == ["p_aux", "sc-02-data-tree-r-last.dat", "t_aux"]


def test_synthetic_proofs_of_a_plain_sector(new_sector):
    """A proof type without synthetic proofs is told so."""
    sector = new_sector()
    pc2 = sector.pc2(sector.pc1())

    with pytest.raises(proofs.ProofsError, match="StackedDrg2KiBV1_1 has no synthetic proofs"):
        proofs.generate_synth_proofs(sector.cache, sector.sealed, bytes(32), 1, bytes(32), pc2, sector.pieces)


def test_non_interactive_porep(new_sector):
    """Non-interactive PoRep proves more partitions in C1."""
    sector = new_sector(proof=NON_INTERACTIVE)
    c1 = json.loads(sector.c1(sector.pc2(sector.pc1())).to_json())

    assert len(c1["vanilla_proofs"]["StackedDrg2KiBV1"]) == 13


def test_seal_inputs():
    """Public inputs of a circuit are scalars of 32 bytes, a list for each partition."""
    comm_d = proofs.zero_piece(2032).commitment
    arguments = (bytes([1]) * 32, comm_d, bytes(32), 1, bytes(32), bytes([2]) * 32)

    (partition,) = proofs.get_seal_inputs("StackedDrg2KiBV1_1", *arguments)
    assert {len(scalar) for scalar in partition} == {32}
    assert len(proofs.get_seal_inputs(NON_INTERACTIVE, *arguments)) == 13


FRESH_PROCESS = """
import sys
from pathlib import Path
import damocles_proofs as proofs

folder = Path(sys.argv[1])
folder.mkdir()
(folder / "cache").mkdir()
(folder / "sealed").touch()
proof = "StackedDrg2KiBV1_1"
pieces = [proofs.add_piece(proof, None, 0, 2032, folder / "staged")]
pc1 = proofs.pc1(proof, folder / "cache", folder / "staged", folder / "sealed", bytes(32), 1, bytes(32), pieces)
print(proofs.pc2(pc1, folder / "cache", folder / "sealed").comm_r.hex())
"""


def seal_in_a_fresh_process(folder: Path, **settings: str) -> str:
    """Seal a sector of zeros in a process with its own settings, and return CommR."""
    command = [sys.executable, "-c", textwrap.dedent(FRESH_PROCESS), str(folder)]
    done = subprocess.run(command, env={**os.environ, **settings}, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def test_multicore_sdr(tmp_path: Path):
    """PC1 on several cores ends in the same sector as on one."""
    many = seal_in_a_fresh_process(tmp_path / "many", FIL_PROOFS_USE_MULTICORE_SDR="1")
    one = seal_in_a_fresh_process(tmp_path / "one", FIL_PROOFS_USE_MULTICORE_SDR="0")

    assert many == one


@pytest.mark.parametrize("length", [0, 3584])
def test_unfinished_parent_cache_is_made_again(tmp_path: Path, length: int):
    """A parent cache whose maker was killed does not spoil the sectors that follow."""
    parents = tmp_path / "parents"
    first = seal_in_a_fresh_process(tmp_path / "first", FIL_PROOFS_PARENT_CACHE=str(parents))
    (cache,) = parents.glob("*.cache")
    whole = cache.read_bytes()
    cache.write_bytes(bytes(length))
    (parents / "StackedDrg2KiBV1_1.unfinished").write_text("unfinished\n")

    assert seal_in_a_fresh_process(tmp_path / "second", FIL_PROOFS_PARENT_CACHE=str(parents)) == first
    assert cache.read_bytes() == whole
    assert (parents / "StackedDrg2KiBV1_1.unfinished").read_text() == ""
