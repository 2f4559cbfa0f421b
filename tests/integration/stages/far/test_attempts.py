"""Stages that write files, as attempts in folders of their own: what the winner made is taken, and no other attempt can do harm.

The stages are the real ones, and run in this process; the machines are in `test_two_machines`.
"""

import functools
import os
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.integration.stages import sealed

from damocles.proofs import ProofsError
from damocles.stages import errors
from damocles.stages.far import attempts, settings
from damocles.stages.supervision import executor, pool
from damocles.stores import layout
from damocles.wire import codec, sectors, tasks

NAME = sectors.SectorID(1000, 1)


class Stored(sealed.Sector):
    """A sector in the folders of a sealing store."""

    @property
    def place(self) -> layout.Layout:
        """Where its files are."""
        return layout.Layout(self.folder / "data", NAME, sectors.SectorSize.KIB2)

    @property
    def staged(self) -> str:
        """The data."""
        return str(self.place.staged_file)

    @property
    def sealed(self) -> str:
        """The replica."""
        return str(self.place.sealed_file)

    @property
    def cache(self) -> str:
        """Layers and trees."""
        return str(self.place.cache_dir)

    @property
    def prepared(self) -> str:
        """Tree-d."""
        return str(self.place.prepared_dir)


def stored(folder: Path, proof: str = sealed.PROOF) -> Stored:
    """Return a sector whose folders are there."""
    sector = Stored(folder, proof=proof)
    for path in (sector.staged, sector.sealed, sector.cache, sector.prepared):
        Path(path).parent.mkdir(parents=True)
    return sector


def begun(stage: str, task: Any) -> attempts.Attempt:
    """Begin an attempt at a task."""
    attempt = attempts.of(stage, msgspec.Raw(codec.encode(task)))
    assert attempt is not None
    attempt.begin()
    return attempt


def work(attempt: attempts.Attempt, stage: str, kind: type[Any]) -> Any:
    """Do what the far machine would."""
    return sealed.run_here(stage, codec.decode(attempt.task, kind))


def run(stage: str, task: Any) -> Any:
    """Run a stage as an attempt that wins."""
    attempt = begun(stage, task)
    output = work(attempt, stage, type(task))
    attempt.take()
    attempt.remove()
    return output


def through_attempts(sector: Stored) -> Stored:
    """Seal a sector with all its stages as attempts."""
    sector.pieces = run("add_pieces", tasks.AddPieces(sector.proof, [], sector.staged))
    Path(sector.prepared).mkdir()
    assert run("tree_d", tasks.TreeD(sector.proof, sector.staged, sector.prepared))
    sector.prepare()
    sector.pc1out = run("pc1", sector.pc1())
    sector.pc2out = run("pc2", tasks.PC2(sector.pc1out, sector.cache, sector.sealed))
    return sector


def contents(sector: Stored) -> dict[str, bytes]:
    """Return the files of a sector but `t_aux`, which names the paths of its sealing."""
    data = sector.place.data
    return {
        str(path.relative_to(data)): path.read_bytes()
        for path in data.rglob("*")
        if path.is_file() and path.name != "t_aux" and layout.ATTEMPTS not in path.parts
    }


def test_a_sector_made_by_attempts_is_the_same(tmp_path: Path) -> None:
    """Every stage of sealing leaves the files and commitments that it leaves without attempts, and C1 proves them."""
    direct = stored(tmp_path / "direct")
    direct.seal()
    made = through_attempts(stored(tmp_path / "made"))
    assert made.pc2out == direct.pc2out
    assert contents(made) == contents(direct)
    assert [] == list((made.place.data / layout.ATTEMPTS).iterdir())
    assert sealed.run_here("c1", made.c1())


def test_synthetic_proofs_replace_the_layers(tmp_path: Path) -> None:
    """The proofs come into the sector's folder, and the layers that they replace go from there."""
    sector = through_attempts(stored(tmp_path, sealed.SYNTHETIC))
    assert any(Path(sector.cache).glob("sc-02-data-layer-*"))
    assert run("synth_proof", sector.synthetic())
    assert not any(Path(sector.cache).glob("sc-02-data-layer-*"))
    assert Path(sector.cache, layout.SYNTHETIC_PROOFS).stat().st_size
    assert run("synth_proof", sector.synthetic())  # as after a kill between the mark and the answer
    assert sealed.run_here("c1", sector.c1())


def test_an_upgrade_and_its_data_come_from_attempts(tmp_path: Path) -> None:
    """Encoding leaves the sector as it was; what is decoded, or unsealed, is the data."""
    old = through_attempts(stored(tmp_path))
    before = contents(old)
    place, payload = old.place, os.urandom(2032)
    Path(old.staged).unlink()
    (tmp_path / "a.car").write_bytes(payload)
    source = tasks.PieceSource({"local": str(tmp_path / "a.car")}, 2032, 2032)
    pieces = run("add_pieces", tasks.AddPieces(old.proof, [source], old.staged))
    (place.tree_d_file).unlink()
    run("tree_d", tasks.TreeD(old.proof, old.staged, old.prepared))
    place.update_cache_dir.mkdir(parents=True)
    (place.update_cache_dir / layout.TREE_D).symlink_to(place.tree_d_file)
    place.update_file.parent.mkdir()
    place.update_file.write_bytes(bytes(2048))
    paths = (str(place.update_file), str(place.update_cache_dir), old.sealed, old.cache, old.staged)
    encoded = run("snap_encode", tasks.SnapEncode("StackedDrg2KiBV1", *paths, pieces))
    kept = {name: content for name, content in before.items() if name.startswith("sealed")}
    assert kept == {name: content for name, content in contents(old).items() if name in kept}

    output = place.piece_file("piece")
    output.touch()
    comm_d, size = encoded.comm_d_new, len(payload)
    decoding = tasks.SnapDecode(
        "StackedDrg2KiBV1", str(place.update_file), old.sealed, old.cache, comm_d, str(output), 0, size
    )
    assert run("snap_decode", decoding) == size
    assert output.read_bytes() == payload
    output.write_bytes(b"")
    unsealing = tasks.Unseal(
        old.proof, sealed.PROVER, 1, old.pc2out.comm_d, sealed.TICKET, old.cache, old.sealed, str(output), 0, size
    )
    assert run("unseal", unsealing) == size
    assert output.read_bytes() == bytes(size)


def test_an_attempt_that_wakes_up_can_harm_nobody(tmp_path: Path) -> None:
    """One that has lost, and goes on with the files that it has open and the paths that it knows, changes nothing of the winner's.

    PC2 is the stage that encodes a file where it lies: the frozen one has that file open.
    """
    sector = stored(tmp_path)
    direct = stored(tmp_path / "direct")
    direct.seal()
    sector.pieces = run("add_pieces", tasks.AddPieces(sector.proof, [], sector.staged))
    Path(sector.prepared).mkdir()
    run("tree_d", tasks.TreeD(sector.proof, sector.staged, sector.prepared))
    sector.prepare()
    sector.pc1out = run("pc1", sector.pc1())
    task = tasks.PC2(sector.pc1out, sector.cache, sector.sealed)

    frozen = begun("pc2", task)
    its = codec.decode(frozen.task, tasks.PC2)
    assert not Path(sector.sealed).exists()
    with Path(its.sealed_file).open("r+b") as held, Path(its.cache_dir, "p_aux").open("wb") as tree:
        assert frozen.end()
        # What the worker's handler does when it finds the mark of an earlier PC2.
        Path(sector.sealed).write_bytes(Path(sector.staged).read_bytes())
        sector.pc2out = run("pc2", task)

        won = contents(sector)
        for file in (held, tree):
            file.write(b"spoiled")
            file.flush()
        with pytest.raises(ProofsError):
            work(frozen, "pc2", tasks.PC2)
        for path in (its.sealed_file, f"{its.cache_dir}/sc-02-data-layer-1.dat"):
            with pytest.raises(FileNotFoundError):
                Path(path).write_bytes(b"spoiled")
    assert contents(sector) == won == contents(direct)


def test_the_next_attempt_ends_those_that_nobody_has_ended(tmp_path: Path) -> None:
    """After a kill of the helper, its attempt is over when the next one at the store begins, and its files are removed."""
    sector = stored(tmp_path)
    task = tasks.AddPieces(sector.proof, [], sector.staged)
    left, other = begun("add_pieces", task), begun("add_pieces", task)
    with pytest.raises(FileNotFoundError):
        work(left, "add_pieces", tasks.AddPieces)
    other.sweep()
    assert [other.root] == list(other.root.parent.iterdir())
    assert not left.end()


def test_what_was_made_there_has_to_be_seen_here(tmp_path: Path) -> None:
    """A file that the far machine has made, and that is not here yet or not whole, is named; links are nobody's work."""
    sector = stored(tmp_path)
    sector.pieces = run("add_pieces", tasks.AddPieces(sector.proof, [], sector.staged))
    Path(sector.prepared).mkdir()
    Path(sector.prepared, "link").symlink_to(sector.staged)
    attempt = begun("tree_d", tasks.TreeD(sector.proof, sector.staged, sector.prepared))
    work(attempt, "tree_d", tasks.TreeD)
    made, name = attempts.listed(attempt.root), f"prepared/{NAME}/{layout.TREE_D}"
    assert made == {name: 2 * 2048 - 32}
    assert "" == attempt.unseen(made)
    os.truncate(attempt.root / name, 32)
    assert name == attempt.unseen(made)
    (attempt.root / name).unlink()
    assert name == attempt.unseen(made)


def test_what_is_told_has_the_paths_of_the_sector(tmp_path: Path) -> None:
    """Answers and errors name the sector's own files, with what JSON makes of their names."""
    sector = stored(tmp_path / 'a "quoted" store')
    attempt = begun("add_pieces", tasks.AddPieces(sector.proof, [], sector.staged))
    line = codec.encode({"err_msg": f"{codec.decode(attempt.task, tasks.AddPieces).staged_filepath} is not found"})
    assert codec.decode(attempt.told(line), dict[str, str]) == {"err_msg": f"{sector.staged} is not found"}


def test_an_answer_without_its_files_is_not_taken(tmp_path: Path) -> None:
    """What was made and is not there, as on a disk that is another one, is a failure that names the file."""
    sector = stored(tmp_path)
    attempt = begun("add_pieces", tasks.AddPieces(sector.proof, [], sector.staged))
    with pytest.raises(FileNotFoundError, match="attempts"):
        attempt.take()


async def test_a_helper_takes_what_an_attempt_here_has_made(tmp_path: Path) -> None:
    """While there is no cluster, the task runs here as an attempt: the file is in its place, the failure of another names ours."""
    group = settings.Group(
        stage="add_pieces",
        address="127.0.0.1:1",
        away="local",
        insecure=True,
        ready_seconds=60.0,
        shared=(str(tmp_path),),
    )
    sector = stored(tmp_path)
    missing = tasks.PieceSource({"local": str(tmp_path / "gone.car")}, 2032, 2032)
    async with executor.Stages(groups={"add_pieces": [pool.ProcessorGroup(ray=group, concurrent=1)]}) as stages:
        run = functools.partial(stages.run, "add_pieces", lane=0, on_status=lambda _: None)
        assert await run(tasks.AddPieces(sector.proof, [], sector.staged))
        assert Path(sector.staged).read_bytes() == bytes(2048)
        assert [] == list((sector.place.data / layout.ATTEMPTS).iterdir())
        with pytest.raises(errors.StageFailed, match=r"gone\.car"):
            await run(tasks.AddPieces(sector.proof, [missing], sector.staged))
        (tmp_path / "nowhere").touch()
        with pytest.raises(errors.StageFailed, match=f"cannot be moved: .*{tmp_path.name}/nowhere"):
            await run(tasks.AddPieces(sector.proof, [], f"{tmp_path}/nowhere/unsealed/s-t01000-1"))


@pytest.mark.parametrize("stage", ["c2", "c1", "window_post"])
def test_stages_that_write_no_files_have_no_attempt_folders(stage: str) -> None:
    """Their tasks are sent as they are."""
    assert attempts.of(stage, msgspec.Raw(b"{}")) is None
