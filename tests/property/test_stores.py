"""Stores, homes and sectors that are shared in whatever combination."""

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from damocles.stages import job
from damocles.stages.files import copies, fences, strangers
from damocles.stores import holding, identity, layout, persist, sealing
from damocles.wire import sectors, tasks

PLACES = ("a", "b", "c")
HOMES = ("home1", "home2")
SECTOR = sectors.SectorID(1000, 1)


@contextmanager
def scratch() -> Iterator[Path]:
    """Yield a folder for one example."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


@settings(max_examples=60)
@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from(["look", "unmount", "mount", "swap", "accept"]),
            st.sampled_from(HOMES),
            st.sampled_from(PLACES),
            st.sampled_from(PLACES),
        ),
        max_size=25,
    )
)
def test_a_home_takes_for_a_store_only_what_it_has_seen_there(steps):
    """However disks are unmounted, mounted and swapped, a place that was seen has its own store or is refused.

    The model: what each home has seen where. A bare mount point that nobody has seen becomes a store of its own.
    """
    with scratch() as base:
        disks: dict[str, str | None] = {}
        seen: dict[tuple[str, str], str] = {}
        for place in PLACES:
            persist.init(base / place)
            disks[place] = identity.mark_of(base / place)
        for what, home, place, other in steps:
            folder, memory = base / place, identity.Memory(base / home)
            away = base / f"{place} away"
            if what == "unmount" and not away.exists():
                folder.rename(away)
                folder.mkdir()
            elif what == "mount" and away.exists():
                for left in folder.iterdir():
                    left.unlink()
                folder.rmdir()
                away.rename(folder)
            elif what == "swap" and place != other:
                (base / place).rename(base / "between")
                (base / other).rename(base / place)
                (base / "between").rename(base / other)
            elif what == "accept":
                memory.forget(folder)
                seen.pop((home, place), None)
            elif what == "look":
                found, expected = identity.mark_of(folder), seen.get((home, place))
                if expected is not None and found != expected:
                    with pytest.raises(identity.NotTheStore):
                        memory.admit(folder)
                    assert found == identity.mark_of(folder), "it is left as it is"
                else:
                    memory.admit(folder)
                    now = identity.mark_of(folder)
                    assert now is not None
                    seen[home, place] = now


@settings(max_examples=60)
@given(st.lists(st.tuples(st.sampled_from(PLACES), st.sampled_from(HOMES)), min_size=1, max_size=6))
def test_whatever_workers_share_is_one_s_at_a_time(workers):
    """Each worker takes a home and a store; whoever shares one with an earlier worker gets neither, and harms nothing."""
    with scratch() as base, ExitStack() as running:
        for place in PLACES:
            sealing.init(base / place)
        for home in HOMES:
            (base / home).touch()
        taken: set[str] = set()
        for place, home in workers:
            with ExitStack() as starting:
                try:
                    starting.enter_context(holding.held(base / home))
                    starting.enter_context(sealing.opened(base / place))
                except (holding.InUse, sealing.InUse) as error:
                    told = str(error)
                    assert taken & {place, home}
                    assert "pid " in told
                else:
                    assert not taken & {place, home}
                    taken |= {place, home}
                    running.push(starting.pop_all())
        held = {name for name in PLACES if sealing.is_in_use(base / name)}
        assert held == taken & set(PLACES)
        running.close()
        assert not any(sealing.is_in_use(base / name) for name in PLACES)


@settings(max_examples=80)
@given(
    st.lists(
        st.tuples(st.integers(1, 3), st.booleans(), st.integers(0, 4), st.one_of(st.none(), st.integers(1, 3))),
        min_size=1,
        max_size=8,
    )
)
def test_a_sector_s_files_are_never_mixed_with_another_one_s(runs):
    """Whichever sectors of one number are persisted in what order, cut short after whatever file, and under what attempt:
    the files of a replica in the store are all of the one that came first.
    """
    with scratch() as base:
        store = base / "store"
        store.mkdir()
        first: dict[bool, int] = {}
        for seed, upgraded, done, attempt in runs:
            names = layout.persisted_names(SECTOR, sectors.SectorSize.KIB2, upgraded=upgraded)
            source = base / f"source{seed}"
            for name in names:
                (source / name).parent.mkdir(parents=True, exist_ok=True)
                (source / name).write_bytes(bytes([seed]) * (64 if name.endswith("p_aux") else 256))
            routes = [
                tasks.Route(
                    {"store_name": None, "uri": str(source / name)}, {"store_name": "s", "uri": str(store / name)}
                )
                for name in sorted(names, key=lambda name: not name.endswith("/p_aux"))
            ]
            fence = tasks.Fence(str(store / layout.FENCES / str(SECTOR)), attempt) if attempt is not None else None
            keep = tasks.Keep(str(SECTOR), str(source), str(store), names[0], str(Path(names[-1]).parent))
            try:
                copies.run(tasks.Transfer({}, routes[:done], fence, keep), job.Job())
            except strangers.Stranger:
                assert first[upgraded] != seed
            except fences.Overtaken:
                assert attempt is not None
            else:
                assert first.get(upgraded, seed) == seed or not done
                if done:
                    first.setdefault(upgraded, seed)
            found = {(store / name).read_bytes()[0] for name in names if (store / name).exists()}
            assert found <= {first.get(upgraded)}
