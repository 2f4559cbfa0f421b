"""Window PoSts over sectors with damaged files: the damaged ones are named, and no others."""

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from damocles import proofs
from damocles.stages import job
from damocles.stages.processor import builtin
from damocles.wire import codec, tasks

from .sealed import Sector, run_here

SEED = codec.Bytes32(b"\xff" * 32)
WINDOW = "StackedDrgWindow2KiBV1_2"
LENGTHS = {"sealed": 2048, "cache/p_aux": 64, "cache/sc-02-data-tree-r-last.dat": 32}


@dataclass(frozen=True, slots=True)
class Fleet:
    """Three sealed sectors."""

    sectors: list[Sector]

    @property
    def replicas(self) -> list[tasks.Replica]:
        """Return them as tasks have them."""
        return [tasks.Replica(s.number, s.pc2out.comm_r, s.cache, s.sealed) for s in self.sectors]

    def found(self, log: list[object] | None = None) -> tuple[dict[int, str], list[int]]:
        """Return the reasons by sector that the check gives, and the faults that the proof names."""
        checked = run_here("check_replicas", tasks.CheckReplicas(1000, WINDOW, self.replicas, SEED, 60.0))
        around = job.Job(None if log is None else log.append)
        proved = builtin.window_post(tasks.WindowPoSt(1000, WINDOW, self.replicas, SEED), around)
        assert [] == proved.proofs
        return {fault.sector_id: fault.reason for fault in checked}, proved.faults


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> Fleet:
    """Seal sectors with the numbers 1 to 3."""
    folder = tmp_path_factory.mktemp("fleet")
    made = [Sector(folder / str(number), number=number) for number in (1, 2, 3)]
    for sector in made:
        sector.folder.mkdir()
        sector.seal()
    return Fleet(made)


@pytest.fixture
def fleet(sealed: Fleet) -> Iterator[Fleet]:
    """Put the files of the sectors right afterwards."""
    folder = sealed.sectors[0].folder.parent
    shutil.copytree(folder, folder.with_name("whole"), symlinks=True)
    yield sealed
    shutil.rmtree(folder)
    folder.with_name("whole").rename(folder)


@given(name=st.sampled_from(sorted(LENGTHS)), data=st.data())
def test_a_sector_with_a_cut_file_is_named(sealed, name, data):
    """Whichever file of a replica is cut, and wherever, that sector alone is a fault, and the reason names the file."""
    length = data.draw(st.integers(0, LENGTHS[name] - 1))
    path = sealed.sectors[1].folder / name
    whole = path.read_bytes()
    try:
        os.truncate(path, length)
        reasons, faults = sealed.found()
    finally:
        path.write_bytes(whole)
    assert ([2], [2]) == (list(reasons), faults)
    assert reasons[2].startswith(f"{path}: has {length} bytes, ")


def test_all_kinds_of_damage_are_named_at_once(fleet: Fleet) -> None:
    """A sector whose file is gone does not keep another, whose data is wrong, for the next try."""
    Path(fleet.sectors[0].sealed).unlink()
    Path(fleet.sectors[2].sealed).write_bytes(bytes(2048))
    log = list[object]()
    reasons, faults = fleet.found(log)
    assert ([1, 3], [1, 3]) == (list(reasons), faults)
    gone = f"{fleet.sectors[0].sealed}: No such file or directory"
    assert reasons[1] == gone
    assert reasons[3].startswith(f"{fleet.sectors[2].sealed} or its cache is damaged: ")
    assert f"sector 1: {gone}" in log
    assert any(str(line).startswith(f"sector 3: {fleet.sectors[2].sealed} or its cache is damaged") for line in log)


def test_a_proof_that_fails_without_a_name_is_looked_into(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the library fails over all sectors and names none, each is tried by itself."""

    def fails(_: tasks.WindowPoSt) -> bytes:
        raise proofs.ProofsError("io error: unexpected end of file")

    monkeypatch.setattr(proofs, "window_post", fails)
    Path(fleet.sectors[1].sealed).write_bytes(bytes(2048))
    task = tasks.WindowPoSt(1000, WINDOW, fleet.replicas, SEED)
    assert tasks.WindowPoStOutput([], [2]) == run_here("window_post", task)


def test_a_failure_that_no_sector_explains_stays_one(sealed: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole sectors are no faults, whatever else keeps them from being proved."""

    def fails(_: tasks.WindowPoSt) -> bytes:
        raise proofs.ProofsError("No cached parameters found")

    monkeypatch.setattr(proofs, "window_post", fails)
    with pytest.raises(proofs.ProofsError, match="No cached parameters found"):
        run_here("window_post", tasks.WindowPoSt(1000, WINDOW, sealed.replicas, SEED))


def test_a_winning_post_over_a_cut_file_names_it(fleet: Fleet) -> None:
    """The error has the file, not only what the library met."""
    path = Path(fleet.sectors[1].cache, "p_aux")
    os.truncate(path, 63)
    with pytest.raises(proofs.FaultySectors, match=f"faulty sector 2: {path}: has 63 bytes") as caught:
        run_here("winning_post", tasks.WindowPoSt(1000, "StackedDrgWinning2KiBV1", fleet.replicas[1:2], SEED))
    assert (2,) == caught.value.numbers


def test_a_proof_that_does_not_verify_is_not_handed_over(sealed: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    """The chain would refuse it after the deadline; one that cannot be verified here is better than none."""
    log = list[object]()
    task = tasks.WindowPoSt(1000, WINDOW, sealed.replicas, SEED)
    claims = []

    def verdict(claim: tasks.VerifyWindowPoSt) -> bool:
        claims.append(claim)
        return len(claims) > 1

    monkeypatch.setattr(proofs, "window_post", lambda _: b"proof")
    monkeypatch.setattr(proofs, "verify_window_post", verdict)
    with pytest.raises(proofs.ProofsError, match="does not verify, though no sector is faulty"):
        run_here("window_post", task)
    assert tasks.WindowPoStOutput([b"proof"], []) == run_here("window_post", task)
    public = [tasks.PublicReplica(replica.sector_id, replica.comm_r) for replica in task.replicas]
    assert tasks.VerifyWindowPoSt(1000, WINDOW, public, SEED, b"proof") == claims[0] == claims[1]

    def cannot(_: tasks.VerifyWindowPoSt) -> bool:
        raise proofs.ProofsError("No cached verifying key")

    monkeypatch.setattr(proofs, "verify_window_post", cannot)
    assert tasks.WindowPoStOutput([b"proof"], []) == builtin.window_post(task, job.Job(log.append))
    assert ["the window PoSt is submitted unverified: No cached verifying key"] == log
