"""A thread's `config.toml`, changed while its worker runs: what is in work goes on as it began, what comes next is new."""

import os
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from damocles.testing.farm import MINER, Farm, program, wait_until

from . import plan_farms


class Held:
    """A stage whose tasks wait, each until it is let go, and are counted."""

    def __init__(self, base: Path, stage: str, *, holds: bool = True) -> None:
        self.fifo, self.seen = base / f"{stage}.fifo", base / f"{stage}.seen"
        self.seen.touch()
        os.mkfifo(self.fifo)
        # Opening the pipe for reading waits for the one who opens it for writing.
        wait = f"cat {shlex.quote(str(self.fifo))} >/dev/null;" if holds else ""
        pass_on = f"echo . >>{shlex.quote(str(self.seen))}; {wait} printf '%s\\n' \"$line\""
        processor = f"exec {program('damocles-worker')} processor {stage}"
        script = f"{{ while IFS= read -r line; do {pass_on}; done; }} | {processor}"
        self.config = f"[[processors.{stage}]]\nbin = \"/bin/sh\"\nargs = ['-c', '''{script}''']\n"

    @property
    def tasks(self) -> int:
        """How many have come."""
        return self.seen.read_text().count(".")

    def wait_for(self, count: int) -> None:
        """Wait until as many tasks have come."""
        wait_until(lambda: self.tasks == count, f"{count} tasks have come, not {self.tasks}")

    def let_go(self) -> None:
        """Let the task that waits go on."""
        with self.fifo.open("wb"):
            pass


def set_options(f: Farm, text: str) -> None:
    """Write the thread's `config.toml` as a whole, as an editor does."""
    part = f.stores[0] / "config.toml.part"
    part.write_text(text)
    part.replace(f.stores[0] / "config.toml")


@contextmanager
def sealing(base: Path, *stages: Held) -> Iterator[Farm]:
    """Yield a farm that seals without parameters, so that its sectors come to C1Done and pause there."""
    (base / "none").mkdir()
    processors = "".join(stage.config for stage in stages)
    with Farm(base, threads=1, parameters=base / "none", processors=processors) as f:
        plan_farms.start_manager(f)
        yield f


def give_up(f: Farm) -> None:
    """End the sector in work."""
    with f.worker_client() as worker:
        worker.call("Damocles.ActOn", [{"indexes": [0]}, {"verb": "abort", "reason": "for the next one"}])


def sector(f: Farm) -> str | None:
    """Return the sector in work."""
    return f.thread(0).job_id


@pytest.mark.timeout(400)
def test_new_options_begin_with_the_next_sector(tmp_path):
    """Options written during PC1 are not those of this sector's PC2; the next sector has them, none is lost."""
    pc1, c1 = Held(tmp_path, "pc1"), Held(tmp_path, "c1", holds=False)
    with sealing(tmp_path, pc1, c1) as f:
        f.start_worker()
        pc1.wait_for(1)
        set_options(f, "[sealing]\nverify_after_pc2 = true\nseal_interval = '100ms'\n")
        pc1.let_go()
        plan_farms.paused_with(f, "No cached parameters")
        assert "s-t010000-1" == sector(f)
        assert 1 == c1.tasks  # the sector's own, none after PC2
        give_up(f)
        pc1.wait_for(2)
        assert "s-t010000-2" == sector(f)
        pc1.let_go()
        plan_farms.paused_with(f, "No cached parameters")
        assert 3 == c1.tasks
        assert ["Allocate", "Allocate"] == [event for event in f.events(0) if event == "Allocate"]


@pytest.mark.timeout(400)
def test_a_new_plan_begins_when_the_work_of_the_old_one_is_done(tmp_path, sealed, no_parameters):
    """A piece that is being unsealed comes out whole, then the thread seals; without the file, it unseals again."""
    unseal = Held(tmp_path, "unseal")
    fields = {"parameters": no_parameters, "processors": unseal.config, "seal_interval": "100ms"}
    with plan_farms.going_on(sealed, tmp_path, "unseal", **fields) as f:
        payload = next(path for path in (tmp_path / "deals").glob("*.car") if path.stat().st_size == 400)
        want = ("sectors", "unseal", payload.stem, "--miner", str(MINER), "--sector", "1", "--dest")
        plan_farms.ask(f, *want, f"file://{tmp_path}/out")
        f.start_worker()
        unseal.wait_for(1)
        set_options(f, 'plan = "sealer"\n')
        assert "unseal" == f.thread(0).plan
        unseal.let_go()
        plan_farms.paused_with(f, "No cached parameters")
        assert payload.read_bytes() == (tmp_path / "out").read_bytes()
        assert ("sealer", "s-t010000-2", "C1Done") == (f.thread(0).plan, sector(f), f.thread(0).job_state)
        first = ["AllocatedUnsealSector", "Unsealed", "Uploaded", "UploadPieceDone", "Finalized", "Allocate"]
        assert first == f.events(0)[: len(first)]

        (f.stores[0] / "config.toml").unlink()
        plan_farms.ask(f, *want, f"file://{tmp_path}/again")
        give_up(f)
        unseal.wait_for(2)
        assert ("unseal", "s-t010000-1", None) == (f.thread(0).plan, sector(f), f.thread(0).last_error)
        unseal.let_go()
        plan_farms.finished(f, times=2)
        assert payload.read_bytes() == (tmp_path / "again").read_bytes()


@pytest.mark.timeout(400)
def test_a_broken_file_is_told_and_the_options_from_before_stay(tmp_path):
    """The sector in work and the next one are sealed as before, with the file's errors beside; mended, it counts."""
    pc1, c1 = Held(tmp_path, "pc1"), Held(tmp_path, "c1", holds=False)
    with sealing(tmp_path, pc1, c1) as f:
        set_options(f, "[sealing]\nverify_after_pc2 = true\nseal_interval = '100ms'\n")
        f.start_worker()
        pc1.wait_for(1)
        set_options(f, "[sealing]\nverify_after_pc2 = maybe\n")
        pc1.let_go()
        plan_farms.paused_with(f, "No cached parameters")
        assert 2 == c1.tasks
        give_up(f)
        pc1.wait_for(2)
        told = f"critical: {f.stores[0]}/config.toml:2: is not TOML"
        assert (f.thread(0).last_error or "").startswith(told)
        assert "the previous options stay in force" in (f.thread(0).last_error or "")
        assert 1 == f.log().count("thread options not read")
        pc1.let_go()
        plan_farms.paused_with(f, "No cached parameters")
        assert 4 == c1.tasks  # PC2 was still verified

        # A typing error in a value is told as well as one in the form, and each error once.
        set_options(f, "plan = 'seal'\n[sealing]\nmax_retries = -1\n")
        give_up(f)
        pc1.wait_for(3)
        assert "plan = " in (f.thread(0).last_error or "")
        assert "max_retries = -1" in (f.thread(0).last_error or "")
        pc1.let_go()
        plan_farms.paused_with(f, "No cached parameters")

        set_options(f, "[sealing]\nseal_interval = '100ms'\n")
        give_up(f)
        pc1.wait_for(4)
        assert f.thread(0).last_error is None
        pc1.let_go()
        plan_farms.paused_with(f, "No cached parameters")
        assert 7 == c1.tasks  # not verified any more
